//! Looks once more at an address where a connection was lost: what is spoken there, and whether it refuses who calls.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use super::address::Address;

/// How long each step of a look may take.
const STEP: Duration = Duration::from_secs(2);
/// What begins HTTP/2, with empty settings behind it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// A request of HTTP/1.
const OLDER: &[u8] = b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Where a frame has its kind, and the kind that begins the answer to this.
const KIND: usize = 3;
const SETTINGS: u8 = 4;
/// What the records of TLS begin with: an alert, and a handshake.
const RECORDS: [u8; 2] = [0x15, 0x16];

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// TLS is spoken where none was.
    Tls,
    /// HTTP/1 alone.
    Older,
    /// Whoever calls must show a certificate, and showed none.
    MustShow,
    /// The certificate that was shown is not taken.
    NotTaken,
}

/// Looks at what is at an address; `own` is the certificate that is shown. `None`: nothing that says more.
pub async fn look(address: &Address, own: Option<Arc<CertifiedKey>>) -> Option<Found> {
    let Address::Host { is_https, host, port } = address.clone() else { return None };
    let port = port.unwrap_or(if is_https { 443 } else { 80 });
    let look = move || {
        if is_https { secured(&host, port, own) } else { plain(&host, port) }
    };
    tokio::task::spawn_blocking(look).await.ok()?.ok()?
}

fn connected(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut refused = io::Error::from(ErrorKind::NotFound);
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, STEP) {
            Ok(stream) => {
                stream.set_read_timeout(Some(STEP))?;
                stream.set_write_timeout(Some(STEP))?;
                return Ok(stream);
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// What is spoken where no TLS is meant to be.
fn plain(host: &str, port: u16) -> io::Result<Option<Found>> {
    let mut answer = [0; KIND + 1];
    let mut stream = connected(host, port)?;
    stream.write_all(PREFACE)?;
    if stream.read_exact(&mut answer).is_ok() && answer[KIND] == SETTINGS {
        return Ok(None);
    }
    let mut stream = connected(host, port)?;
    let (mut hello, _) = client(host, None).map_err(io::Error::other)?;
    hello.write_tls(&mut stream)?;
    if stream.read_exact(&mut answer[..1]).is_ok() && RECORDS.contains(&answer[0]) {
        return Ok(Some(Found::Tls));
    }
    // Whoever is silent at all of these may be an adapter that has just gone.
    let mut stream = connected(host, port)?;
    stream.write_all(OLDER)?;
    let is_older = stream.read_exact(&mut answer).is_ok() && &answer == b"HTTP";
    Ok(is_older.then_some(Found::Older))
}

/// Whether TLS has refused who calls: it says so once the handshake has ended, for whoever reads before it writes.
fn secured(host: &str, port: u16, own: Option<Arc<CertifiedKey>>) -> io::Result<Option<Found>> {
    let is_shown = own.is_some();
    let (client, was_asked) = client(host, own).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(client, connected(host, port)?);
    let refused = match stream.read_exact(&mut [0]) {
        Ok(()) => return Ok(None),
        Err(error) => error,
    };
    let is_alert = matches!(
        refused.get_ref().and_then(|inner| inner.downcast_ref::<Error>()),
        Some(Error::AlertReceived(_))
    );
    if !is_alert || !was_asked.0.load(Ordering::Relaxed) {
        return Ok(None);
    }
    Ok(Some(if is_shown { Found::NotTaken } else { Found::MustShow }))
}

/// A client of TLS, and whether it was asked for a certificate.
fn client(host: &str, own: Option<Arc<CertifiedKey>>) -> Result<(ClientConnection, Arc<Asked>), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let asked = Arc::new(Asked(AtomicBool::new(false), own));
    let own: Arc<dyn ResolvesClientCert> = Arc::<Asked>::clone(&asked);
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Unread(provider)));
    let mut config = builder.with_client_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|_| Error::General("it is no name of a host".to_owned()))?;
    Ok((ClientConnection::new(Arc::new(config), name)?, asked))
}

/// Shows a certificate, if there is one, and notes that it was asked for.
#[derive(Debug)]
struct Asked(AtomicBool, Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        self.1.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes every certificate: nothing is sent here and nothing believed, the connection that was lost has verified it.
#[derive(Debug)]
struct Unread(Arc<CryptoProvider>);

impl ServerCertVerifier for Unread {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
