//! TLS 1.3 for callers: certificate, key and the authority of clients, checked when they are read and read again when they change.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tracing::{error, info};
use x509_parser::parse_x509_certificate;

use crate::clock::Clock;
use crate::files::{self, Followed, Unusable};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What keys in PEM form say that are encrypted: PKCS#8's, and the older ones of OpenSSL.
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// Where certificates and keys are.
#[derive(Clone, Debug)]
pub struct Files {
    /// The server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key; only its owner may read the file.
    pub key: PathBuf,
    /// The authority of clients' certificates; `None`: clients need none.
    pub clients: Option<PathBuf>,
}

impl Files {
    fn paths(&self) -> Vec<PathBuf> {
        let paths = [Some(&self.certificate), Some(&self.key), self.clients.as_ref()];
        paths.into_iter().flatten().cloned().collect()
    }
}

fn unusable<T>(path: &Path, what: impl fmt::Display) -> Result<T, Unusable> {
    Err(format!("{} {what}", path.display()))
}

/// What is spoken over TLS.
#[derive(Clone, Copy, Debug)]
pub(super) enum Speaks {
    /// HTTP/2.
    Http2,
    /// HTTP/1.1.
    Http1,
}

/// The configurations in force, which differ in what is spoken alone.
struct Configs {
    http2: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
    /// What verifies clients' certificates.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Configs {
    fn read(files: &Files, now: Timestamp) -> Result<Self, Unusable> {
        let clients = files.clients.as_deref().map(|path| verifier(path, now)).transpose()?;
        let http2 = read(files, clients.clone(), now)?;
        let mut http1 = http2.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { http2: Arc::new(http2), http1: Arc::new(http1), clients })
    }
}

/// The configurations in force, and the files they came from.
pub struct Tls {
    files: Files,
    configs: Followed<Configs>,
    changes: watch::Sender<()>,
}

impl Tls {
    /// Reads and checks the files.
    pub fn load(files: Files, now: Timestamp) -> Result<Self, Unusable> {
        let configs = Followed::read(files.paths(), || Configs::read(&files, now))?;
        Ok(Self { files, configs, changes: watch::Sender::new(()) })
    }

    /// The configuration for the next connection; connections keep that with which they began.
    pub(super) fn config(&self, speaks: Speaks) -> Arc<ServerConfig> {
        let configs = self.configs.now();
        Arc::clone(match speaks {
            Speaks::Http2 => &configs.http2,
            Speaks::Http1 => &configs.http1,
        })
    }

    /// Hears of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether the authorities in force verify a client's certificate, which comes first, and those behind it.
    pub(super) fn verifies(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        match (&self.configs.now().clients, chain) {
            (Some(verifier), [own, between @ ..]) => verifier.verify_client_cert(own, between, now).is_ok(),
            _ => false,
        }
    }

    /// Reads the files again whenever they change; never returns. What cannot be used is told, and what was in force
    /// stays in force until it can be.
    pub(super) async fn follow(&self, clock: &Clock) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look(clock.now());
        }
    }

    fn look(&self, now: Timestamp) {
        match self.configs.look(|| Configs::read(&self.files, now)) {
            Some(Ok(())) => {
                info!("certificates read again");
                self.changes.send_replace(());
            }
            Some(Err(why)) => {
                error!(why, "new certificates cannot be used yet; the ones before stay in force");
            }
            None => {}
        }
    }
}

/// What verifies clients' certificates by the authorities of a file.
fn verifier(path: &Path, now: Timestamp) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, now)? {
        roots.add(authority).or_else(|error| unusable(path, format_args!("is no authority: {error}")))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .or_else(|error| unusable(path, format_args!("is no authority: {error}")))
}

fn read(
    files: &Files,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    now: Timestamp,
) -> Result<ServerConfig, Unusable> {
    let chain = certificates(&files.certificate, now)?;
    let key = key(&files.key)?;
    pair(files, &chain, &key)?;
    let versions = [&rustls::version::TLS13];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| format!("TLS 1.3 cannot be had: {error}"))?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).or_else(|error| {
        unusable(&files.key, format_args!("does not belong to {}: {error}", files.certificate.display()))
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    if files.clients.is_some() {
        // A resumed session would bring back a caller whose certificate has expired meanwhile, or whose authority is
        // trusted no more: nobody looks at it again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// Fails with what is to be changed unless the key is one that can be used, and that of the first certificate.
fn pair(
    files: &Files,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), Unusable> {
    let provider = rustls::crypto::ring::default_provider();
    let Ok(key) = provider.key_provider.load_private_key(key.clone_key()) else {
        let what = "has a private key of a kind that is not taken; use RSA of 2,048 bits or more, ECDSA with P-256 or \
                    P-384, or Ed25519";
        return unusable(&files.key, what);
    };
    let is_of = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key)).keys_match().is_ok()
    };
    let of = files.certificate.display();
    match chain {
        [first, ..] if is_of(first) => Ok(()),
        [_, others @ ..] if others.iter().any(is_of) => unusable(
            &files.key,
            format_args!(
                "belongs to {of}, but not to its first certificate; write the key's own certificate first"
            ),
        ),
        _ => unusable(
            &files.key,
            format_args!("does not belong to {of}; its first certificate must be the key's own"),
        ),
    }
}

/// The certificates of a file, each valid now.
fn certificates(path: &Path, now: Timestamp) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let (bytes, _) = content(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.or_else(|_| unusable(path, "is no PEM file of certificates"))?;
    if certificates.is_empty() {
        return unusable(path, "has no certificate in PEM form");
    }
    for certificate in &certificates {
        let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
            return unusable(path, "has a certificate that cannot be read");
        };
        let validity = parsed.validity();
        if validity.not_after.timestamp() < now.as_second() {
            return unusable(path, format_args!("has expired: it was valid until {}", validity.not_after));
        }
        if validity.not_before.timestamp() > now.as_second() {
            return unusable(path, format_args!("is not valid yet: it will be from {}", validity.not_before));
        }
    }
    Ok(certificates)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let (bytes, metadata) = content(path)?;
    if metadata.mode() & 0o004 != 0 {
        return unusable(
            path,
            "can be read by everybody; let only its owner and group read it (chmod o-rwx)",
        );
    }
    if ENCRYPTED.iter().any(|mark| bytes.windows(mark.len()).any(|part| part == *mark)) {
        return unusable(
            path,
            "is encrypted, and there is nobody to ask for its password; decrypt it (openssl pkey)",
        );
    }
    // What the parser says could quote the key.
    PrivateKeyDer::from_pem_slice(&bytes).or_else(|_| unusable(path, "has no private key in PEM form"))
}

fn content(path: &Path) -> Result<(Vec<u8>, Metadata), Unusable> {
    files::read(path).or_else(|why| unusable(path, why))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn what_cannot_be_used_yet_is_in_force_once_it_can_be_though_nobody_writes_it() {
        let folder = std::env::temp_dir().join(format!("panamax-tls-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let files = Files { certificate: folder.join("c.pem"), key: folder.join("k.pem"), clients: None };
        let key_mode = |mode| fs::set_permissions(&files.key, Permissions::from_mode(mode)).unwrap();
        // A new pair, valid from so many seconds on, with this mode of its key.
        let write = |from: i64, mode| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.not_before = OffsetDateTime::from_unix_timestamp(from).unwrap();
            let key = KeyPair::generate().unwrap();
            fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
            fs::write(&files.key, key.serialize_pem()).unwrap();
            key_mode(mode);
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        write(1_000, 0o600);
        let tls = Tls::load(files.clone(), at(1_000)).unwrap();
        let in_force = || tls.config(Speaks::Http2);
        for (from, mode) in [(1_000, 0o644), (1_009, 0o600)] {
            let old = in_force();
            write(from, mode);
            tls.look(at(1_001));
            assert!(Arc::ptr_eq(&in_force(), &old), "{from}");
            key_mode(0o600);
            tls.look(at(1_009));
            assert!(!Arc::ptr_eq(&in_force(), &old), "{from}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
