//! Whom a connection trusts that the server makes: the system's authorities, others, one key, or anybody.

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine, prelude::BASE64_STANDARD};
use crtmp_media::{KeyKind, KeyRow, LayerSettings, Outside, Prepared, Term, Unfit, Value};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};

use crate::{ciphers, pem, shared_provider, words};

/// The keys of a connection that the server makes with TLS.
pub const KEYS: &[KeyRow] = &[
    KeyRow { name: "tlsVerify", kind: KeyKind::Flag },
    KeyRow { name: "tlsCa", kind: KeyKind::Text },
    KeyRow { name: "tlsPin", kind: KeyKind::Text },
    KeyRow { name: "tlsName", kind: KeyKind::Text },
    KeyRow { name: "tlsCert", kind: KeyKind::Text },
    KeyRow { name: "tlsKey", kind: KeyKind::Text },
    KeyRow { name: "tlsMinVersion", kind: KeyKind::Text },
    KeyRow { name: "cipherSuite", kind: KeyKind::Text },
];

/// Whom connections with the same keys trust.
#[derive(Debug)]
pub struct ClientTrust {
    settings: LayerSettings,
    current: Mutex<Arc<Current>>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ClientConfig>,
    terms: Vec<Term>,
}

impl ClientTrust {
    /// Reads what the keys name.
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
        let current = Mutex::new(Arc::new(read(settings, outside).map_err(|wrong| vec![wrong])?));
        Ok(Self { settings: settings.clone(), current })
    }

    /// What a new connection begins with.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.now().config.clone()
    }

    fn now(&self) -> Arc<Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Prepared for ClientTrust {
    fn renew(&self, outside: &Outside<'_>) -> Result<(), Vec<Unfit>> {
        let current = Arc::new(read(&self.settings, outside).map_err(|wrong| vec![wrong])?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    fn terms(&self) -> Vec<Term> {
        self.now().terms.clone()
    }
}

/// Whose certificate is looked for at the far end: `tlsName`, or the host that was connected to. An address is looked for
/// among the addresses in the certificate, and not said to the far end.
///
/// # Errors
///
/// If it is no name and no address.
pub fn server_name(settings: &LayerSettings) -> Result<ServerName<'static>, String> {
    let given = settings.key("tlsName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let host = given.unwrap_or(&settings.host).trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} cannot stand in a certificate: `tlsName` says another name"))
}

fn read(settings: &LayerSettings, outside: &Outside<'_>) -> Result<Current, Unfit> {
    let text = |key: &str| settings.key(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let provider = ciphers::suites(settings)?.map_or_else(shared_provider, Arc::new);
    let versions = ciphers::versions(settings)?;
    if let Some(name) = text("tlsName") {
        ServerName::try_from(name)
            .map_err(|_| Unfit::new("tlsName", format!("{name:?}"), "a DNS name or an IP address"))?;
    }
    let verify = settings.key("tlsVerify").and_then(Value::as_bool).unwrap_or(true);
    let pin = text("tlsPin");
    let judged = |judge| Arc::new(Verifier { judge, provider: provider.clone() });
    let verifier: Arc<dyn ServerCertVerifier> = match (verify, pin, text("tlsCa")) {
        (false, None, None) => judged(Judge::Anybody),
        (true, Some(pin), None) => judged(Judge::Pinned(pin_of(pin)?)),
        (true, None, file) => {
            let roots = match file {
                Some(file) => roots_of(file, outside)?,
                None => system_roots(outside),
            };
            if roots.is_empty() {
                judged(Judge::Nobody)
            } else {
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| Unfit::new("tlsCa", error.to_string(), "certificates of authorities"))?
            }
        }
        (false, ..) => {
            let found = "false beside `tlsCa` or `tlsPin`";
            return Err(Unfit::new("tlsVerify", found, "one of them"));
        }
        (true, Some(_), Some(_)) => {
            let expected = "one of the two: a pinned key needs no authority";
            return Err(Unfit::new("tlsPin", "another key beside `tlsCa`", expected));
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| Unfit::new("cipherSuite", error.to_string(), "versions and suites that fit"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut terms = Vec::new();
    let mut config = match (text("tlsCert"), text("tlsKey")) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = pem::chain("tlsCert", cert, outside)?;
            let private = pem::private_key("tlsKey", key, outside)?;
            terms.extend(pem::term(cert, &chain));
            builder.with_client_auth_cert(chain, private).map_err(|error| {
                let found = format!("{key:?}: {}", words::of(&error));
                Unfit::new("tlsKey", found, "the key of the certificate")
            })?
        }
        (cert, _) => {
            let (there, missing) = if cert.is_some() { ("tlsCert", "tlsKey") } else { ("tlsKey", "tlsCert") };
            return Err(Unfit::new(missing, "nothing", format!("a PEM file, since `{there}` is given")));
        }
    };
    config.resumption = Resumption::disabled();
    Ok(Current { config: Arc::new(config), terms })
}

fn roots_of(file: &str, outside: &Outside<'_>) -> Result<RootCertStore, Unfit> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::authorities("tlsCa", file, outside)? {
        roots.add(certificate).map_err(|error| {
            Unfit::new("tlsCa", format!("{file:?}: {}", words::of(&error)), "certificates of authorities")
        })?;
    }
    Ok(roots)
}

fn system_roots(outside: &Outside<'_>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Systems hold some that nobody can read any more.
    roots.add_parsable_certificates((outside.roots)().into_iter().map(CertificateDer::from));
    roots
}

/// The SHA-256 of a public key, as `curl --pinnedpubkey` takes it: `sha256//` and base64.
fn pin_of(text: &str) -> Result<[u8; 32], Unfit> {
    let encoded = text.strip_prefix("sha256//").unwrap_or(text);
    let bytes = BASE64_STANDARD.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| {
        Unfit::new("tlsPin", "another text", "`sha256//` and the SHA-256 of the public key (DER) in base64")
    })
}

/// What decides about a certificate where no authority does.
#[derive(Clone, Copy, Debug)]
enum Judge {
    /// Anybody may be at the far end: somebody between can read and change everything.
    Anybody,
    /// The far end has the key of this SHA-256, whoever vouches for it, under whatever name, and for how long.
    Pinned([u8; 32]),
    /// No authority is known.
    Nobody,
}

#[derive(Debug)]
struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.judge {
            Judge::Anybody => {}
            Judge::Pinned(pin) => {
                let said = pem::parse(end_entity).map_err(|_| CertificateError::BadEncoding)?;
                let key: [u8; 32] = Sha256::digest(&said.public_key).into();
                if key != pin {
                    return Err(CertificateError::ApplicationVerificationFailure.into());
                }
            }
            Judge::Nobody => return Err(CertificateError::UnknownIssuer.into()),
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What takes everybody.
#[cfg(test)]
pub(crate) fn anybody() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier { judge: Judge::Anybody, provider: shared_provider() })
}
