//! The layer against rustls in memory, and keys of acceptors against files that a test makes up.

mod handshake;
mod keys;
mod names;
mod trust;

use std::{cell::RefCell, collections::HashMap};

use crtmp_media::{LayerSettings, Limits, Outside, Unfit, Value};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;

use crate::{client::ClientTrust, fuzz::peer, server::ServerKeys};

/// Files by name, and what the system trusts.
#[derive(Default)]
struct Files {
    files: RefCell<HashMap<String, Vec<u8>>>,
    roots: Vec<Vec<u8>>,
}

impl Files {
    fn put(&self, name: &str, text: impl Into<Vec<u8>>) {
        self.files.borrow_mut().insert(name.to_owned(), text.into());
    }

    fn with<T>(&self, run: impl FnOnce(&Outside<'_>) -> T) -> T {
        let read = |name: &str| self.files.borrow().get(name).cloned().ok_or("no such file".to_owned());
        run(&Outside { read: &read, roots: &|| self.roots.clone() })
    }

    fn server(&self, keys: &[(&str, Value)]) -> Result<(LayerSettings, ServerKeys), Vec<Unfit>> {
        let settings = peer::settings(Limits::default(), keys);
        let keys = self.with(|outside| ServerKeys::new(&settings, outside))?;
        Ok((settings, keys))
    }

    fn client(&self, keys: &[(&str, Value)]) -> Result<(LayerSettings, ClientTrust), Vec<Unfit>> {
        let settings = peer::settings(Limits::default(), keys);
        let trust = self.with(|outside| ClientTrust::new(&settings, outside))?;
        Ok((settings, trust))
    }
}

/// A certificate and its key, as PEM.
struct Pair {
    cert: String,
    key: String,
}

impl Pair {
    fn der(&self) -> Vec<u8> {
        rustls::pki_types::CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap().to_vec()
    }
}

/// One that vouches for itself.
fn alone(names: &[&str]) -> Pair {
    made(names, |_| {})
}

/// One that vouches for itself and is changed before.
fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    change(&mut params);
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// An authority.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    cert: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let cert = params.self_signed(&key).unwrap().pem();
        Self { params, key, cert }
    }

    /// A certificate that it vouches for.
    fn signs(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let issuer = Issuer::from_params(&self.params, &self.key);
        Pair { cert: params.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn texts(unfit: Vec<Unfit>) -> Vec<String> {
    unfit.iter().map(ToString::to_string).collect()
}
