//! Certificates and keys for tests, and folders for them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority that issues certificates.
pub type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A new authority.
pub fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate for `localhost` and its key, valid from and until so many days from now.
pub fn issued(by: &Issuer, from: i64, until: i64) -> (String, String) {
    issued_for(by, time::Duration::days(from), time::Duration::days(until))
}

/// A certificate that is valid from and until so long from now.
pub fn issued_for(by: &Issuer, from: time::Duration, until: time::Duration) -> (String, String) {
    issued_to(by, "localhost", from, until)
}

/// The same for any host.
pub fn issued_to(by: &Issuer, host: &str, from: time::Duration, until: time::Duration) -> (String, String) {
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now + from;
    params.not_after = now + until;
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// A folder of files for one test.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// Writes a file as tools do that replace it whole; returns its path.
    pub fn write(&self, name: &str, text: &str, mode: u32) -> String {
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        fs::write(&new, text).expect("a file");
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("its mode");
        fs::rename(&new, &path).expect("a file in its place");
        path.to_str().expect("a path").to_owned()
    }

    /// The path of a file in it, which need not be there.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path").to_owned()
    }

    /// Certificate and key of a server.
    pub fn server(&self, by: &Issuer) -> (String, String) {
        let (certificate, key) = issued(by, -1, 1);
        (self.write("cert.pem", &certificate, 0o644), self.write("key.pem", &key, 0o600))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
