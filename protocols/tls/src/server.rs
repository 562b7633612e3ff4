//! The certificates of an acceptor: read and checked once, chosen by the name that a client asks for, and exchanged
//! while connections go on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crtmp_media::{KeyKind, KeyRow, LayerSettings, Outside, Prepared, Term, Unfit, Value};
use rustls::{
    InconsistentKeys, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use crate::{ciphers, pem, shared_provider, words};

/// The keys of an acceptor with TLS.
pub const KEYS: &[KeyRow] = &[
    KeyRow { name: "sslCert", kind: KeyKind::Text },
    KeyRow { name: "sslKey", kind: KeyKind::Text },
    KeyRow { name: "sslNames", kind: KeyKind::Tables(&["cert", "key"]) },
    KeyRow { name: "cipherSuite", kind: KeyKind::Text },
    KeyRow { name: "tlsMinVersion", kind: KeyKind::Text },
    KeyRow { name: "tlsTickets", kind: KeyKind::Flag },
    KeyRow { name: "tlsClientCa", kind: KeyKind::Text },
];

/// Tickets that a TLS 1.3 client gets, where it gets any.
const TICKETS: usize = 2;

/// The certificates of an acceptor, and how it uses them.
#[derive(Debug)]
pub struct ServerKeys {
    settings: LayerSettings,
    current: Mutex<Arc<Current>>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    terms: Vec<Term>,
}

impl ServerKeys {
    /// Reads what the keys of an acceptor name.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn prepare(settings: &LayerSettings, outside: &Outside<'_>) -> Result<Arc<dyn Prepared>, Vec<Unfit>> {
        Ok(Arc::new(Self::new(settings, outside)?))
    }

    /// [`prepare`](Self::prepare), by its type.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn new(settings: &LayerSettings, outside: &Outside<'_>) -> Result<Self, Vec<Unfit>> {
        let current = Mutex::new(Arc::new(read(settings, outside)?));
        Ok(Self { settings: settings.clone(), current })
    }

    /// What a new connection begins with.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.now().config.clone()
    }

    fn now(&self) -> Arc<Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Prepared for ServerKeys {
    fn renew(&self, outside: &Outside<'_>) -> Result<(), Vec<Unfit>> {
        let current = Arc::new(read(&self.settings, outside)?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    fn terms(&self) -> Vec<Term> {
        self.now().terms.clone()
    }
}

/// Certificates by name. Whoever asks for another name, or for none, gets the default one: many encoders connect by
/// address, and a refusal would tell them nothing.
#[derive(Debug)]
struct Names {
    default: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wild: HashMap<String, Arc<CertifiedKey>>,
}

impl Names {
    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name.map(str::to_ascii_lowercase) else { return &self.default };
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wild.get(parent));
        self.exact.get(&name).or_else(parent).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()).clone())
    }
}

fn read(settings: &LayerSettings, outside: &Outside<'_>) -> Result<Current, Vec<Unfit>> {
    let mut unfit = Vec::new();
    let text = |key: &str| settings.key(key).and_then(Value::as_str);
    for (key, expected) in
        [("sslCert", "a PEM file with a certificate"), ("sslKey", "a PEM file with its key")]
    {
        if text(key).is_none_or(str::is_empty) {
            unfit.push(Unfit::new(key, "nothing", expected));
        }
    }
    let (Some(cert), Some(key), true) = (text("sslCert"), text("sslKey"), unfit.is_empty()) else {
        return Err(unfit);
    };
    let mut terms = Vec::new();
    let default = pair(["sslCert", "sslKey"], cert, key, &mut terms, outside);
    let mut named = Vec::new();
    let list = match settings.key("sslNames") {
        Some(Value::StrictArray(list)) => list.as_slice(),
        _ => &[],
    };
    for (index, entry) in list.iter().enumerate() {
        let part = |part: &str| entry.get(part).and_then(Value::as_str).unwrap_or_default();
        let keys = ["cert", "key"].map(|part| format!("sslNames[{}].{part}", index + 1));
        match pair([&keys[0], &keys[1]], part("cert"), part("key"), &mut terms, outside) {
            Ok(pair) => named.push((keys[0].clone(), pair)),
            Err(wrong) => unfit.push(wrong),
        }
    }
    let (mut provider, mut versions, mut clients) = (None, None, None);
    let default = default.map_err(|wrong| unfit.push(wrong)).ok();
    match ciphers::suites(settings) {
        Ok(found) => provider = found.map(Arc::new),
        Err(wrong) => unfit.push(wrong),
    }
    let has_order = provider.is_some();
    let provider = provider.unwrap_or_else(shared_provider);
    match ciphers::versions(settings) {
        Ok(found) => versions = Some(found),
        Err(wrong) => unfit.push(wrong),
    }
    if let Some(file) = text("tlsClientCa") {
        match authorities(file, outside) {
            Ok(roots) => clients = Some(roots),
            Err(wrong) => unfit.push(wrong),
        }
    }
    let names = default.and_then(|default| by_name(default, &named).map_err(|wrong| unfit.push(wrong)).ok());
    let (Some(names), Some(versions), true) = (names, versions, unfit.is_empty()) else { return Err(unfit) };
    let other = |error: &dyn std::fmt::Display| {
        vec![Unfit::new("cipherSuite", error.to_string(), "versions, suites and certificates that fit")]
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| other(&error))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(
                    |error| vec![Unfit::new("tlsClientCa", error.to_string(), "authorities of clients")],
                )?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(names));
    config.ignore_client_order = has_order;
    if settings.flag("tlsTickets") {
        config.ticketer = Ticketer::new().map_err(|error| other(&error))?;
        config.send_tls13_tickets = TICKETS;
    } else {
        // rtmpdump 2.4 takes what follows a TLS 1.3 handshake for RTMP.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(Current { config: Arc::new(config), terms })
}

/// A certificate with its key.
fn pair(
    keys: [&str; 2],
    cert: &str,
    key: &str,
    terms: &mut Vec<Term>,
    outside: &Outside<'_>,
) -> Result<Arc<CertifiedKey>, Unfit> {
    let chain = pem::chain(keys[0], cert, outside)?;
    let private = pem::private_key(keys[1], key, outside)?;
    terms.extend(pem::term(cert, &chain));
    match CertifiedKey::from_der(chain, private, &crate::provider()) {
        Ok(pair) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let found = format!("{key:?}, whose key is not that of {cert:?}");
            Err(Unfit::new(keys[1], found, "the key of the certificate"))
        }
        Err(error) => {
            let found = format!("{key:?}: {}", words::of(&error));
            Err(Unfit::new(keys[1], found, "an RSA, ECDSA or Ed25519 key that TLS can use"))
        }
    }
}

fn by_name(default: Arc<CertifiedKey>, named: &[(String, Arc<CertifiedKey>)]) -> Result<Names, Unfit> {
    const EXPECTED: &str = "a certificate for DNS names (subjectAltName) that no other one is for";
    let (mut exact, mut wild) = (HashMap::new(), HashMap::new());
    for (key, pair) in named {
        let leaf = pair.cert.first().and_then(|leaf| pem::parse(leaf).ok());
        let names = leaf.map(|said| said.names).unwrap_or_default();
        if names.is_empty() {
            return Err(Unfit::new(key, "a certificate without such names", EXPECTED));
        }
        for name in names {
            let before = match name.strip_prefix("*.") {
                Some(parent) => wild.insert(parent.to_owned(), pair.clone()),
                None => exact.insert(name.clone(), pair.clone()),
            };
            if before.is_some_and(|before| !Arc::ptr_eq(&before, pair)) {
                return Err(Unfit::new(key, format!("one for {name:?}, as another one is"), EXPECTED));
            }
        }
    }
    Ok(Names { default, exact, wild })
}

fn authorities(file: &str, outside: &Outside<'_>) -> Result<RootCertStore, Unfit> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::authorities("tlsClientCa", file, outside)? {
        roots.add(certificate).map_err(|error| {
            Unfit::new(
                "tlsClientCa",
                format!("{file:?}: {}", words::of(&error)),
                "certificates of authorities",
            )
        })?;
    }
    Ok(roots)
}
