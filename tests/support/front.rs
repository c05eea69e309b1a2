//! Speaks TLS in front of a server that does not, with a certificate that can be replaced.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::certificates::{Issuer, issued};

/// A server of TLS; its connections break when it is dropped.
pub struct Front {
    pub address: SocketAddr,
    acceptor: watch::Sender<TlsAcceptor>,
    _tasks: JoinSet<()>,
}

impl Front {
    /// Stands before a server, with a certificate of an authority for `localhost`.
    pub async fn of(server: SocketAddr, authority: &Issuer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (acceptor, mut current) = watch::channel(acceptor(authority));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let acceptor = current.borrow_and_update().clone();
                // What was open ends with its certificate.
                let mut open = JoinSet::new();
                loop {
                    let (mut here, _) = tokio::select! {
                        biased;
                        _ = current.changed() => break,
                        accepted = listener.accept() => accepted.expect("a connection"),
                    };
                    let acceptor = acceptor.clone();
                    open.spawn(async move {
                        // Who does not trust it leaves.
                        let Ok(mut here) = acceptor.accept(&mut here).await else { return };
                        let mut there = TcpStream::connect(server).await.expect("the server");
                        let _ = copy_bidirectional(&mut here, &mut there).await;
                    });
                }
            }
        });
        Self { address, acceptor, _tasks: tasks }
    }

    /// Has a certificate of another authority from now on.
    pub fn replace(&self, authority: &Issuer) {
        self.acceptor.send_replace(acceptor(authority));
    }
}

/// Accepts TLS with a new certificate of an authority for `localhost`.
pub fn acceptor(authority: &Issuer) -> TlsAcceptor {
    let (certificate, key) = issued(authority, -1, 1);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_no_client_auth();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).expect("a pair")))
}
