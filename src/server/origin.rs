//! Where a call comes from: the address of its connection, and the certificate that was verified when that began.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::AttributeTypeAndValue;

use super::capacity::Capacity;
use super::cuts::Source;
use super::telling::Telling;
use crate::callers::{Certificate, Trust};

/// Where a call comes from; an extension of each request.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The bytes that the requests of its connection may hold while they are coming.
    pub(super) memory: Arc<Semaphore>,
    /// The lines that the log has for its refused calls.
    pub(super) telling: Telling,
    /// The address at the other end; `None`: a socket of the system has none.
    pub(super) source: Option<IpAddr>,
    /// The caller's certificate.
    pub(super) certificate: Option<Arc<Certificate>>,
}

impl Origin {
    /// The origin of a connection; `chain` is what its caller has shown in the handshake, and as long as it is trusted, and
    /// its requests may hold so many bytes while they are coming.
    pub(super) fn new(
        source: Option<IpAddr>,
        (chain, trust): (Option<&[CertificateDer<'_>]>, Trust),
        memory: usize,
    ) -> Self {
        let own = chain.and_then(<[_]>::first);
        Self {
            memory: Arc::new(Semaphore::new(memory)),
            telling: Telling::of(Source(source)),
            source,
            certificate: own.and_then(|own| subject(own, trust)).map(Arc::new),
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self::new(None, (None, Trust::default()), Capacity::default().memory_of_connection)
    }
}

/// What a certificate says about its subject; `None` if it cannot be read.
fn subject(certificate: &[u8], trust: Trust) -> Option<Certificate> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    // What is no text names nobody, and is not left out: an empty name is refused.
    let text = |one: &AttributeTypeAndValue<'_>| one.as_str().unwrap_or_default().to_owned();
    Some(Certificate {
        common_names: parsed.subject().iter_common_name().map(text).collect(),
        organizations: parsed.subject().iter_organization().map(text).collect(),
        end: Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?,
        trust,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_subject_is_its_common_name_and_its_organizations() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "alice");
        params.distinguished_name.push(DnType::OrganizationName, "team");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let origin = Origin::new(None, (Some(&[certificate.der().clone()]), Trust::default()), 1);
        let read = origin.certificate.unwrap();
        assert_eq!(
            (read.common_names.as_slice(), read.organizations.as_slice()),
            (&["alice".to_owned()][..], &["team".to_owned()][..])
        );
        assert!(read.end > Timestamp::now());
        assert!(Origin::new(None, (None, Trust::default()), 1).certificate.is_none());
    }
}
