//! Certificates that a test makes, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

/// An authority, and what it vouches for: files that go with this value.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
    params: CertificateParams,
    key: KeyPair,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificates {
    /// An authority in `ca.pem`, and a certificate `server` for `localhost` and 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let folder = tempfile::Builder::new().prefix("crtmp-tls-").tempdir().expect("a temporary folder");
        let own = params.self_signed(&key).expect("a certificate").pem();
        let certificates = Self { folder, params, key };
        certificates.write("ca.pem", &own);
        certificates.issue("server", &["localhost", "127.0.0.1"], |_| {});
        certificates
    }

    /// Makes `name.pem` and `name.key`, or makes them anew.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn issue(&self, name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        self.write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).expect("a certificate").pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// Writes a file beside them.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("a temporary file");
    }

    /// What a file of them holds.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect("a file")
    }

    /// The path of a file of them.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Their folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The keys of an acceptor with this one.
    pub fn keys(&self, name: &str) -> String {
        let [cert, key] = ["pem", "key"].map(|end| self.path(&format!("{name}.{end}")));
        format!("sslCert = {cert:?}, sslKey = {key:?}")
    }
}
