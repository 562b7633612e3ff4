//! Whom a connection of ours trusts (TLS-05).

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use crtmp_media::{Fault, LayerSettings, Prepared, Value};
use sha2::{Digest, Sha256};

use super::{Authority, Files, Pair, alone, made, texts};
use crate::{
    client::server_name,
    fuzz::peer::{Peer, outbound_of, server},
    pem,
};

/// Connects to `host` with these keys, where `pair` is; what went wrong.
fn said(files: &Files, pair: &Pair, host: &str, keys: &[(&str, Value)]) -> Option<String> {
    files.put("server.pem", pair.cert.as_str());
    files.put("server.key", pair.key.as_str());
    let there = files.server(&[("sslCert", "server.pem".into()), ("sslKey", "server.key".into())]);
    let mut far = server(there.unwrap().1.config());
    let (settings, trust) = files.client(keys).unwrap();
    let mut peer = Peer::new(outbound_of(&LayerSettings { host: host.into(), ..settings }, Arc::new(trust)));
    peer.open();
    peer.shake(&mut far, usize::MAX);
    assert_eq!(peer.is_open(), peer.ended.is_none());
    peer.ended.map(|error| {
        assert_eq!((error.fault, error.protocol), (Fault::Peer, "tls"));
        error.rule
    })
}

fn refused(files: &Files, keys: &[(&str, Value)]) -> Vec<String> {
    files.client(keys).map(drop).map_err(texts).unwrap_err()
}

/// TLS-05.
#[test]
fn certificates_are_judged_and_the_text_says_why() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let mut files = Files::default();
    files.put("ca.pem", ours.cert.as_str());
    files.roots = vec![pem_to_der(&ours.cert), b"junk".to_vec()];
    let good = |names: &[&str]| ours.signs(names, |_| {});
    let expired = ours.signs(&["h.example"], |params| params.not_after = rcgen::date_time_ymd(2024, 1, 1));
    let early = ours.signs(&["h.example"], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    let both = ["tlsCa", ""];
    for (pair, host, wrong) in [
        (good(&["h.example"]), "h.example", None),
        (good(&["*.h.example"]), "a.h.example", None),
        (good(&["127.0.0.1"]), "127.0.0.1", None),
        (good(&["2001:db8::1"]), "[2001:db8::1]", None),
        (good(&["i.example"]), "h.example", Some("is for i.example, not for h.example")),
        (good(&["127.0.0.1"]), "127.0.0.2", Some("not for 127.0.0.2")),
        (good(&["localhost"]), "127.0.0.1", Some("not for 127.0.0.1")),
        (expired, "h.example", Some("has expired")),
        (early, "h.example", Some("is not valid yet")),
        (theirs.signs(&["h.example"], |_| {}), "h.example", Some("of an authority that is not trusted")),
        (alone(&["h.example"]), "h.example", Some("of an authority that is not trusted")),
    ] {
        for from in both {
            let keys: Vec<_> = if from.is_empty() { vec![] } else { vec![(from, Value::from("ca.pem"))] };
            let said = said(&files, &pair, host, &keys);
            match wrong {
                None => assert_eq!(said, None, "{host}"),
                Some(wrong) => {
                    assert!(said.as_ref().is_some_and(|said| said.contains(wrong)), "{host}: {said:?}")
                }
            }
            // Who asks for it takes anybody.
            assert_eq!(self::said(&files, &pair, host, &[("tlsVerify", false.into())]), None);
        }
    }
    // Another name than the one that was connected to.
    let keys = [("tlsCa", "ca.pem".into()), ("tlsName", "i.example".into())];
    assert_eq!(said(&files, &good(&["i.example"]), "127.0.0.1", &keys), None);
    assert!(said(&files, &good(&["h.example"]), "h.example", &keys).unwrap().contains("not for i.example"));
}

fn pem_to_der(cert: &str) -> Vec<u8> {
    Pair { cert: cert.to_owned(), key: String::new() }.der()
}

/// TLS-05.
#[test]
fn a_system_without_authorities_trusts_nobody() {
    let files = Files::default();
    let said = said(&files, &alone(&["h.example"]), "h.example", &[]).unwrap();
    assert!(said.contains("not trusted"), "{said}");
}

/// TLS-05.
#[test]
fn a_pinned_key_is_enough_and_no_other_is() {
    let files = Files::default();
    let expired = made(&["i.example"], |params| params.not_after = rcgen::date_time_ymd(2024, 1, 1));
    let key = pem::parse(&expired.der()).unwrap().public_key;
    let pin = format!("sha256//{}", BASE64_STANDARD.encode(Sha256::digest(&key)));
    assert_eq!(said(&files, &expired, "h.example", &[("tlsPin", pin.clone().into())]), None);
    let other = said(&files, &alone(&["h.example"]), "h.example", &[("tlsPin", pin.clone().into())]).unwrap();
    assert!(other.contains("another key than `tlsPin` says"), "{other}");
    for wrong in ["x", "sha256//AAAA", &pin[..pin.len() - 4], &format!("{pin};{pin}")] {
        let texts = refused(&files, &[("tlsPin", wrong.into())]);
        assert!(texts[0].starts_with("tlsPin: found another text"), "{texts:?}");
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let files = Files::default();
    let (pair, pin) = (alone(&["a"]), "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    files.put("ca.pem", pair.cert.as_str());
    files.put("ca.key", pair.key.as_str());
    files.put("other.key", alone(&["a"]).key);
    for (keys, wrong) in [
        (vec![("tlsVerify", Value::from(false)), ("tlsPin", pin.into())], "tlsVerify: found false beside"),
        (vec![("tlsVerify", false.into()), ("tlsCa", "ca.pem".into())], "tlsVerify: found false beside"),
        (vec![("tlsPin", pin.into()), ("tlsCa", "ca.pem".into())], "tlsPin: found another key beside"),
        (vec![("tlsCa", "no.pem".into())], "tlsCa: found \"no.pem\": no such file"),
        (vec![("tlsCert", "ca.pem".into())], "tlsKey: found nothing"),
        (vec![("tlsKey", "ca.key".into())], "tlsCert: found nothing"),
        (vec![("tlsCert", "ca.pem".into()), ("tlsKey", "other.key".into())], "tlsKey: found \"other.key\""),
        (vec![("tlsName", "a b".into())], "tlsName: found \"a b\""),
        (vec![("tlsMinVersion", "1.0".into())], "tlsMinVersion: found \"1.0\""),
        (vec![("cipherSuite", "ALL".into())], "cipherSuite: found \"ALL\""),
    ] {
        let texts = refused(&files, &keys);
        assert!(texts[0].starts_with(wrong), "{texts:?}");
    }
    let (_, trust) = files.client(&[("tlsCert", "ca.pem".into()), ("tlsKey", "ca.key".into())]).unwrap();
    assert_eq!(trust.terms().len(), 1);
    files.put("ca.pem", "");
    assert!(files.with(|outside| trust.renew(outside)).is_err());
}

#[test]
fn a_host_that_no_certificate_can_name_is_refused() {
    let host = |host: &str| LayerSettings { host: host.into(), ..LayerSettings::default() };
    for good in ["h.example", "127.0.0.1", "[::1]", "a_b.example"] {
        assert!(server_name(&host(good)).is_ok(), "{good}");
    }
    for wrong in ["", "-", "a..b", "a b"] {
        assert!(server_name(&host(wrong)).unwrap_err().contains("tlsName"), "{wrong}");
    }
}
