//! What went wrong, in words for people: what it means for whoever runs the server, and what to do about it.

use std::fmt::Write;

use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};

/// The longest text that the library's own words get, in bytes.
const LONGEST: usize = 200;

/// An error of the library in words. What the peer has sent is not in it, but for names in certificates.
#[must_use]
pub fn of(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => alert_of(*alert),
        Error::PeerIncompatible(incompatible) => match incompatible {
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // What TLS 1.1 and older do not have.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13 => {
                "the peer has no TLS version that is allowed here (see `tlsMinVersion`)".to_owned()
            }
            PeerIncompatible::NoCipherSuitesInCommon => {
                "the peer has no cipher suite that is allowed here (see `cipherSuite`)".to_owned()
            }
            other => format!("the peer's TLS does not fit: {}", short(&format!("{other:?}"))),
        },
        Error::NoCertificatesPresented => "the peer shows no certificate".to_owned(),
        other => short(&other.to_string()),
    }
}

fn certificate(error: &CertificateError) -> String {
    let text = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the peer's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the peer's certificate is not valid yet"
        }
        CertificateError::UnknownIssuer => {
            "the peer's certificate is of an authority that is not trusted (see `tlsCa`)"
        }
        CertificateError::NotValidForName => "the peer's certificate is for another name",
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            let presented: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let presented = short(&presented.join(", "));
            return format!("the peer's certificate is for {presented}, not for {expected}");
        }
        CertificateError::ApplicationVerificationFailure => {
            "the peer's certificate has another key than `tlsPin` says"
        }
        CertificateError::BadSignature => "the peer does not have the key of its certificate",
        CertificateError::Revoked => "the peer's certificate has been revoked",
        CertificateError::Other(OtherError(other)) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the peer's certificate is one of an authority, which may not stand for a server (`tlsPin` takes it)"
        }
        other => return format!("the peer's certificate does not hold: {}", short(&other.to_string())),
    };
    text.to_owned()
}

fn alert_of(alert: AlertDescription) -> String {
    let meaning = match alert {
        AlertDescription::UnknownCA | AlertDescription::BadCertificate => "it does not trust our certificate",
        AlertDescription::CertificateExpired => "our certificate has expired for it",
        AlertDescription::CertificateUnknown => "it does not take our certificate",
        AlertDescription::CertificateRequired => "it wants a certificate of us (`tlsCert`, `tlsKey`)",
        AlertDescription::HandshakeFailure => "it finds nothing in common with us",
        AlertDescription::ProtocolVersion => "it does not take our TLS versions",
        AlertDescription::UnrecognisedName => "it does not know the name that was asked for",
        _ => "",
    };
    let mut text = format!("the peer has ended TLS with the alert {alert:?}");
    if !meaning.is_empty() {
        // Writing to a text does not fail.
        let _ = write!(text, ": {meaning}");
    }
    text
}

/// A name as it stands in the certificate; the library says `DnsName("a")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

/// One line, not long.
fn short(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter });
    let mut out = String::new();
    for letter in plain {
        if out.len() + letter.len_utf8() > LONGEST {
            out.push('…');
            break;
        }
        out.push(letter);
    }
    out
}
