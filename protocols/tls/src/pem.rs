//! Certificates and keys in PEM files (RFC 7468), and what a certificate says of itself.

use crtmp_media::{Outside, Term, Unfit};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Certificates in one file of a certificate chain.
const CHAIN: usize = 16;

/// Certificates in one file of authorities.
const AUTHORITIES: usize = 1000;

const CHAIN_EXPECTED: &str = "a PEM file with a certificate, followed by those that vouch for it";

/// The certificates of a server or a client, its own first.
///
/// # Errors
///
/// If the file cannot be read, or holds something else.
pub fn chain(key: &str, file: &str, outside: &Outside<'_>) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let chain = certificates(key, file, CHAIN, CHAIN_EXPECTED, outside)?;
    for certificate in &chain {
        parse(certificate).map_err(|text| Unfit::new(key, format!("{file:?}: {text}"), CHAIN_EXPECTED))?;
    }
    Ok(chain)
}

/// The certificates of authorities.
///
/// # Errors
///
/// As for [`chain`].
pub fn authorities(
    key: &str,
    file: &str,
    outside: &Outside<'_>,
) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    certificates(key, file, AUTHORITIES, "a PEM file with certificates of authorities", outside)
}

/// A private key.
///
/// # Errors
///
/// As for [`chain`]; what the file holds is not in the text.
pub fn private_key(key: &str, file: &str, outside: &Outside<'_>) -> Result<PrivateKeyDer<'static>, Unfit> {
    let unfit = |found: &str| Unfit::new(key, format!("{file:?}: {found}"), "a PEM file with a private key");
    let text = (outside.read)(file).map_err(|error| unfit(&error))?;
    if text.windows(20).any(|part| part == b"BEGIN ENCRYPTED PRIV" || part == b"Proc-Type: 4,ENCRYPT") {
        let found = format!("{file:?}: a key that is encrypted with a password");
        return Err(Unfit::new(key, found, "one without a password, readable by nobody else"));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| unfit("no private key, or one that has been cut"))
}

/// What a certificate says of itself.
pub struct Said {
    /// The DNS names that it is for, in small letters; a leading `*.` stands for one label.
    pub names: Vec<String>,
    /// Its public key with the algorithm, as bytes (SubjectPublicKeyInfo).
    pub public_key: Vec<u8>,
    /// Seconds since 1970 from which on it holds.
    pub from: i64,
    /// Seconds since 1970 until which it holds.
    pub until: i64,
}

/// Reads a certificate.
///
/// # Errors
///
/// If it is none.
pub fn parse(certificate: &[u8]) -> Result<Said, &'static str> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| "a certificate that cannot be read")?;
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let names = alternatives.into_iter().flat_map(|extension| &extension.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    Ok(Said {
        names: names.filter_map(name).collect(),
        public_key: parsed.public_key().raw.to_vec(),
        from: parsed.validity().not_before.timestamp(),
        until: parsed.validity().not_after.timestamp(),
    })
}

/// How long a chain holds: as long as all of its certificates.
#[must_use]
pub fn term(file: &str, chain: &[CertificateDer<'_>]) -> Option<Term> {
    let said: Vec<Said> = chain.iter().filter_map(|certificate| parse(certificate).ok()).collect();
    Some(Term {
        name: file.to_owned(),
        of: said.first()?.names.join(" "),
        from: said.iter().map(|said| said.from).max()?,
        until: said.iter().map(|said| said.until).min()?,
    })
}

fn certificates(
    key: &str,
    file: &str,
    most: usize,
    expected: &str,
    outside: &Outside<'_>,
) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let unfit = |found: &str| Unfit::new(key, format!("{file:?}: {found}"), expected);
    let text = (outside.read)(file).map_err(|error| unfit(&error))?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        found.push(certificate.map_err(|_| unfit("a certificate that has been cut, or is no PEM"))?);
        if found.len() > most {
            return Err(unfit(&format!("more than {most} certificates")));
        }
    }
    if found.is_empty() {
        return Err(unfit("no certificate"));
    }
    Ok(found)
}
