//! TLS 1.3 for callers: certificate, key and the authority of clients, checked when they are read and read again when they change.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tracing::{error, info};
use x509_parser::parse_x509_certificate;

use crate::clock::Clock;
use crate::files;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
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

/// Why files cannot be used: one sentence.
#[derive(Debug)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn unusable<T>(path: &Path, what: impl fmt::Display) -> Result<T, Unusable> {
    Err(Unusable(format!("{} {what}", path.display())))
}

/// Which version of a file was read.
type Version = Vec<Option<(u64, SystemTime, u64)>>;

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
}

impl Configs {
    fn read(files: &Files, now: Timestamp) -> Result<Self, Unusable> {
        let http2 = read(files, now)?;
        let mut http1 = http2.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { http2: Arc::new(http2), http1: Arc::new(http1) })
    }
}

/// The configurations in force, and the files they came from.
pub struct Tls {
    files: Files,
    configs: RwLock<Configs>,
}

impl Tls {
    /// Reads and checks the files.
    pub fn load(files: Files, now: Timestamp) -> Result<Self, Unusable> {
        let configs = RwLock::new(Configs::read(&files, now)?);
        Ok(Self { files, configs })
    }

    /// The configuration for the next connection; connections keep that with which they began.
    pub(super) fn config(&self, speaks: Speaks) -> Arc<ServerConfig> {
        let configs = self.configs.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(match speaks {
            Speaks::Http2 => &configs.http2,
            Speaks::Http1 => &configs.http1,
        })
    }

    /// Reads the files again whenever they change; never returns. What cannot be used is told, and what was in force
    /// stays in force.
    pub(super) async fn follow(&self, clock: &Clock) {
        let mut known = version(&self.files);
        loop {
            tokio::time::sleep(LOOK).await;
            let seen = version(&self.files);
            if seen == known {
                continue;
            }
            known = seen;
            match Configs::read(&self.files, clock.now()) {
                Ok(configs) => {
                    *self.configs.write().unwrap_or_else(PoisonError::into_inner) = configs;
                    info!("certificates read again");
                }
                Err(why) => error!(%why, "new certificates cannot be used; the ones before stay in force"),
            }
        }
    }
}

fn version(files: &Files) -> Version {
    let paths = [Some(&files.certificate), Some(&files.key), files.clients.as_ref()];
    let of = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
    };
    paths.into_iter().flatten().map(of).collect()
}

fn read(files: &Files, now: Timestamp) -> Result<ServerConfig, Unusable> {
    let chain = certificates(&files.certificate, now)?;
    let key = key(&files.key)?;
    let versions = [&rustls::version::TLS13];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| Unusable(format!("TLS 1.3 cannot be had: {error}")))?;
    let builder = match &files.clients {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path, now)? {
                roots
                    .add(authority)
                    .or_else(|error| unusable(path, format_args!("is no authority: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier =
                verifier.or_else(|error| unusable(path, format_args!("is no authority: {error}")))?;
            builder.with_client_cert_verifier(verifier)
        }
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
    // What the parser says could quote the key.
    PrivateKeyDer::from_pem_slice(&bytes).or_else(|_| unusable(path, "has no private key in PEM form"))
}

fn content(path: &Path) -> Result<(Vec<u8>, Metadata), Unusable> {
    files::read(path).or_else(|why| unusable(path, why))
}
