//! What the keys of an acceptor may hold.

use std::sync::Arc;

use crtmp_media::{Limits, Prepared, Value};
use rustls::{
    CipherSuite, ClientConfig, Connection, HandshakeKind, SupportedProtocolVersion, client::Resumption,
    version,
};

use super::{Authority, Files, alone, made, texts};
use crate::{
    ciphers::SUITES,
    fuzz::peer::{self, Peer, client, inbound_of, settings},
    server::ServerKeys,
};

fn files() -> Files {
    let files = Files::default();
    let pair = alone(&["localhost"]);
    files.put("cert.pem", pair.cert);
    files.put("key.pem", pair.key);
    files
}

/// The usual keys and these.
fn with<'a>(keys: &[(&'a str, Value)]) -> Vec<(&'a str, Value)> {
    [&[("sslCert", "cert.pem".into()), ("sslKey", "key.pem".into())], keys].concat()
}

fn refused(files: &Files, keys: &[(&str, Value)]) -> Vec<String> {
    files.server(keys).map(drop).map_err(texts).unwrap_err()
}

fn config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(crate::shared_provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(crate::client::anybody())
        .with_no_client_auth()
}

fn shake(keys: &Arc<ServerKeys>, far: &mut Connection) -> Peer {
    let mut peer = Peer::new(inbound_of(&settings(Limits::default(), &[]), keys.clone()));
    peer.open();
    peer.shake(far, usize::MAX);
    peer
}

fn server(keys: &[(&str, Value)]) -> Arc<ServerKeys> {
    Arc::new(files().server(&with(keys)).unwrap().1)
}

#[test]
fn a_certificate_and_its_key_are_needed() {
    let files = files();
    for (keys, missing) in [
        (vec![], vec!["sslCert: found nothing", "sslKey: found nothing"]),
        (vec![("sslCert", Value::from("cert.pem"))], vec!["sslKey: found nothing"]),
        (vec![("sslKey", "key.pem".into())], vec!["sslCert: found nothing"]),
        (vec![("sslCert", "".into()), ("sslKey", "key.pem".into())], vec!["sslCert: found nothing"]),
    ] {
        let texts = refused(&files, &keys);
        assert_eq!(texts.len(), missing.len(), "{texts:?}");
        assert!(texts.iter().zip(missing).all(|(text, missing)| text.starts_with(missing)), "{texts:?}");
    }
}

#[test]
fn keys_with_a_password_are_named_as_such() {
    let files = files();
    for text in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
    ] {
        files.put("key.pem", text);
        let texts = refused(&files, &with(&[]));
        assert!(texts[0].contains("encrypted with a password"), "{texts:?}");
    }
}

#[test]
fn chains_have_a_bound() {
    let files = files();
    let pair = alone(&["localhost"]);
    files.put("key.pem", pair.key.as_str());
    for (count, good) in [(15, true), (16, true), (17, false)] {
        files.put("cert.pem", pair.cert.repeat(count));
        assert_eq!(files.server(&with(&[])).is_ok(), good, "{count}");
    }
}

#[test]
fn how_long_a_chain_holds_is_how_long_all_of_it_holds() {
    let files = files();
    let authority = made(&["authority"], |params| params.not_after = rcgen::date_time_ymd(2031, 1, 1));
    let pair = made(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    });
    files.put("cert.pem", pair.cert + &authority.cert);
    files.put("key.pem", pair.key);
    let terms = files.server(&with(&[])).unwrap().1.terms();
    assert_eq!((terms.len(), &*terms[0].name, &*terms[0].of), (1, "cert.pem", "localhost"));
    assert_eq!((terms[0].from, terms[0].until), (1_577_836_800, 1_924_992_000));
}

/// TLS-02.
#[test]
fn versions_below_the_least_are_refused() {
    for (least, client_version, agreed) in [
        (None, &version::TLS12, true),
        (Some("1.2"), &version::TLS12, true),
        (Some("1.3"), &version::TLS12, false),
        (Some("1.3"), &version::TLS13, true),
    ] {
        let keys: Vec<_> = least.map(|least| ("tlsMinVersion", least.into())).into_iter().collect();
        let mut far = client(Arc::new(config(&[client_version])));
        let peer = shake(&server(&keys), &mut far);
        assert_eq!(peer.is_open(), agreed, "{least:?}");
        if let Some(error) = peer.ended {
            assert!(error.rule.contains("no TLS version that is allowed here"), "{error}");
        }
    }
    for wrong in ["1.1", "TLSv1.2", "", "2"] {
        let texts = refused(&files(), &with(&[("tlsMinVersion", wrong.into())]));
        assert!(texts[0].contains("expected \"1.2\" or \"1.3\""), "{texts:?}");
    }
}

/// TLS-02.
#[test]
fn cipher_suites_go_by_the_names_of_openssl() {
    let agreed = |list: &str, version| {
        let keys = server(&[("cipherSuite", list.into())]);
        let mut far = client(Arc::new(config(&[version])));
        let peer = shake(&keys, &mut far);
        assert!(peer.is_open(), "{list}: {:?}", peer.ended);
        far.negotiated_cipher_suite().unwrap().suite()
    };
    let (v12, v13) = (&version::TLS12, &version::TLS13);
    // The certificate of the tests has an ECDSA key.
    for (name, suite) in SUITES {
        if name.contains("RSA") && !name.contains("ECDSA") {
            continue;
        }
        assert_eq!(agreed(name, if name.starts_with("TLS_") { v13 } else { v12 }), suite);
    }
    // Ours is the order.
    let both = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
    assert_eq!(agreed(both, v13), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    // Of a version that is not spoken of all stay.
    agreed("TLS_AES_128_GCM_SHA256", v12);
    agreed("ECDHE-ECDSA-AES128-GCM-SHA256", v13);
    for wrong in
        ["", "HIGH:!aNULL", "ECDHE-RSA-AES256-SHA", "RC4-SHA", "TLS_AES_128_GCM_SHA256:", "AES128-GCM-SHA256"]
    {
        let texts = refused(&files(), &with(&[("cipherSuite", wrong.into())]));
        assert!(texts[0].starts_with("cipherSuite: found \""), "{texts:?}");
        assert!(texts[0].contains("ECDHE-RSA-AES128-GCM-SHA256"), "{texts:?}");
    }
    let twice = "TLS_AES_128_GCM_SHA256:TLS_AES_128_GCM_SHA256";
    assert!(refused(&files(), &with(&[("cipherSuite", twice.into())]))[0].contains("twice"));
}

#[test]
fn nothing_in_common_is_said_so() {
    let keys = server(&[("cipherSuite", "ECDHE-RSA-AES128-GCM-SHA256".into())]);
    let peer = shake(&keys, &mut client(Arc::new(config(&[&version::TLS12]))));
    let error = peer.ended.unwrap();
    assert!(error.rule.contains("no cipher suite that is allowed here"), "{error}");
}

#[test]
fn tickets_are_given_only_where_they_are_asked_for() {
    for (tickets, version, resumed) in [
        (false, &version::TLS13, false),
        (true, &version::TLS13, true),
        (false, &version::TLS12, false),
        (true, &version::TLS12, true),
    ] {
        let keys = server(&[("tlsTickets", tickets.into())]);
        let mut config = config(&[version]);
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut far = client(config.clone());
            let mut peer = shake(&keys, &mut far);
            let mut ciphertext = Vec::new();
            peer::say(&mut far, b"a", &mut ciphertext);
            peer.say(&ciphertext);
            assert_eq!(peer::read(&mut far, &peer.heard), b"a");
            kinds.push(far.handshake_kind() == Some(HandshakeKind::Resumed));
        }
        assert_eq!(kinds, [false, resumed], "{tickets} {version:?}");
    }
}

#[test]
fn clients_may_have_to_show_a_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = files();
    files.put("ca.pem", ours.cert.as_str());
    let keys = Arc::new(files.server(&with(&[("tlsClientCa", "ca.pem".into())])).unwrap().1);
    let said = |of: Option<&Authority>| {
        let trust = match of {
            None => files.client(&[("tlsVerify", false.into())]),
            Some(authority) => {
                let pair = authority.signs(&["encoder"], |_| {});
                files.put("client.pem", pair.cert);
                files.put("client.key", pair.key);
                files.client(&[
                    ("tlsVerify", false.into()),
                    ("tlsCert", "client.pem".into()),
                    ("tlsKey", "client.key".into()),
                ])
            }
        };
        let mut far = client(trust.unwrap().1.config());
        let peer = shake(&keys, &mut far);
        assert_eq!(peer.is_open(), peer.ended.is_none());
        peer.ended.map(|error| error.rule)
    };
    assert_eq!(said(Some(&ours)), None);
    assert!(said(None).unwrap().contains("shows no certificate"));
    assert!(said(Some(&theirs)).unwrap().contains("of an authority that is not trusted"));
    assert!(refused(&files, &with(&[("tlsClientCa", "no.pem".into())]))[0].contains("no such file"));
    files.put("ca.pem", "nothing");
    assert!(refused(&files, &with(&[("tlsClientCa", "ca.pem".into())]))[0].contains("no certificate"));
}
