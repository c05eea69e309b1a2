//! The certificates and the key that a command line names: each fault tells its flag and its file, before any call.

use std::fmt::Display;
use std::fs::File;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use tonic::transport::{Certificate, Identity};

use super::failure::{Failure, both};
use super::source::{read, unreadable};

/// A file, and the flag that names it.
struct Named<'a> {
    flag: &'a str,
    file: &'a Path,
}

impl Named<'_> {
    fn wrong(&self, why: impl Display) -> Failure {
        Failure::usage(format!("{} {} {why}", self.flag, self.file.display()))
    }

    fn content(&self) -> Result<Vec<u8>, Failure> {
        let shown = format!("{} {}", self.flag, self.file.display());
        File::open(self.file).and_then(read).map_err(|error| unreadable(&shown, &error))
    }

    fn certificates(&self, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let found: Vec<_> =
            CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().unwrap_or_default();
        if found.is_empty() { Err(self.wrong("holds no certificate in PEM form")) } else { Ok(found) }
    }
}

/// The authorities of a file.
pub fn authority(file: &Path) -> Result<Certificate, Failure> {
    let named = Named { flag: "--ca-file", file };
    let bytes = named.content()?;
    let mut roots = RootCertStore::empty();
    for certificate in named.certificates(&bytes)? {
        roots.add(certificate).map_err(|_| named.wrong("holds a certificate that cannot be read"))?;
    }
    Ok(Certificate::from_pem(bytes))
}

/// The certificate of a caller, with its key.
pub fn identity(certificate: &Path, key: &Path) -> Result<(Identity, CertifiedKey), Failure> {
    let certificate = Named { flag: "--cert-file", file: certificate };
    let key = Named { flag: "--key-file", file: key };
    let (chain_bytes, key_bytes) = both(certificate.content(), key.content())?;
    let chain = certificate.certificates(&chain_bytes)?;
    // What the parser says could quote the key.
    let secret = PrivateKeyDer::from_pem_slice(&key_bytes);
    let secret = secret.map_err(|_| key.wrong("holds no private key in PEM form"))?;
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(chain, secret, &provider).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            key.wrong(format_args!("is not the key of --cert-file {}", certificate.file.display()))
        }
        Error::InvalidCertificate(_) => certificate.wrong("holds a certificate that cannot be read"),
        _ => key.wrong("holds a private key that cannot be used"),
    })?;
    Ok((Identity::from_pem(chain_bytes, key_bytes), certified))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(name: &str, text: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("panamax-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn refused<T>(read: Result<T, Failure>) -> Failure {
        let Err(failure) = read else { panic!("it is read") };
        assert_eq!(failure.code, super::super::failure::USAGE, "{}", failure.text);
        failure
    }

    /// A certificate and its key.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_file_without_an_authority_is_named() {
        let (certificate, key) = pair();
        assert!(authority(&file("good.pem", &certificate)).is_ok());
        for (name, text) in [("empty", ""), ("text", "hello\n"), ("a-key", key.as_str()), ("broken", BROKEN)]
        {
            let path = file(name, text);
            let failure = refused(authority(&path));
            assert!(failure.text.contains(&format!("--ca-file {} ", path.display())), "{}", failure.text);
        }
        let failure = refused(authority(Path::new("/no/such/file")));
        assert!(failure.text.contains("--ca-file /no/such/file"), "{}", failure.text);
    }

    #[test]
    fn a_certificate_and_a_key_that_do_not_fit_are_named() {
        let (certificate, key) = pair();
        let (good, own) = (file("cert.pem", &certificate), file("key.pem", &key));
        assert!(identity(&good, &own).is_ok());
        let other = file("other.pem", &pair().1);
        let empty = file("nothing.pem", "");
        let broken = file("broken.pem", BROKEN);
        for (certificate, key, flag) in [
            (&empty, &own, "--cert-file"),
            (&own, &own, "--cert-file"),
            (&broken, &own, "--cert-file"),
            (&good, &empty, "--key-file"),
            (&good, &good, "--key-file"),
            (&good, &other, "--key-file"),
        ] {
            let failure = refused(identity(certificate, key));
            assert!(failure.text.starts_with(&format!("error: {flag} ")), "{}", failure.text);
        }
    }
}
