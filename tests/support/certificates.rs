//! Authorities and certificates for tests of TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority with its key.
pub type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A new authority.
pub fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate for a host and its key, valid from and until so many days from now.
pub fn issued(by: &Issuer, host: &str, from: i64, until: i64) -> (String, String) {
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now + time::Duration::days(from);
    params.not_after = now + time::Duration::days(until);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}
