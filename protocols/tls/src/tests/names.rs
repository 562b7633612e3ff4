//! Which certificate a client gets (TLS-02, TLS-06).

use std::sync::Arc;

use crtmp_media::{Limits, Prepared, Value};
use rustls::{ClientConfig, ClientConnection, Connection, pki_types::ServerName};

use super::{Files, Pair, alone, texts};
use crate::{
    fuzz::peer::{Peer, inbound_of, settings},
    server::ServerKeys,
};

/// A table of `sslNames`.
fn entry(cert: &str, key: &str) -> Value {
    Value::Object(vec![("cert".to_owned(), cert.into()), ("key".to_owned(), key.into())])
}

fn files(pairs: &[(&str, &Pair)]) -> Files {
    let files = Files::default();
    for (name, pair) in pairs {
        files.put(&format!("{name}.pem"), pair.cert.as_str());
        files.put(&format!("{name}.key"), pair.key.as_str());
    }
    files
}

/// The certificate that a client is shown who asks for `name`, or for none.
fn shown(keys: &Arc<ServerKeys>, name: Option<&str>) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(crate::shared_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(crate::client::anybody())
        .with_no_client_auth();
    config.enable_sni = name.is_some();
    config.alpn_protocols = vec![b"h2".to_vec(), b"acme-tls/1".to_vec()];
    let name = ServerName::try_from(name.unwrap_or("x").to_owned()).unwrap();
    let mut far = Connection::Client(ClientConnection::new(Arc::new(config), name).unwrap());
    let mut peer = Peer::new(inbound_of(&settings(Limits::default(), &[]), keys.clone()));
    peer.open();
    peer.shake(&mut far, usize::MAX);
    assert!(peer.is_open(), "{:?}", peer.ended);
    far.peer_certificates().unwrap()[0].to_vec()
}

/// TLS-02.
#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let (default, news, wild) = (
        alone(&["a.example"]),
        alone(&["news.example", "also.example"]),
        alone(&["*.cdn.example", "News.Wild"]),
    );
    let files = files(&[("default", &default), ("news", &news), ("wild", &wild)]);
    let names = Value::StrictArray(vec![entry("news.pem", "news.key"), entry("wild.pem", "wild.key")]);
    let keys = [("sslCert", "default.pem".into()), ("sslKey", "default.key".into()), ("sslNames", names)];
    let keys = Arc::new(files.server(&keys).unwrap().1);
    for (name, pair) in [
        (None, &default),
        (Some("a.example"), &default),
        (Some("nobody.example"), &default),
        (Some("127.0.0.1"), &default),
        (Some("news.example"), &news),
        (Some("NEWS.EXAMPLE"), &news),
        (Some("also.example"), &news),
        (Some("x.cdn.example"), &wild),
        (Some("cdn.example"), &default),
        (Some("x.y.cdn.example"), &default),
        (Some("news.wild"), &wild),
    ] {
        assert!(shown(&keys, name) == pair.der(), "{name:?}");
    }
    assert_eq!(keys.terms().len(), 3);
    assert_eq!(keys.terms()[1].of, "news.example also.example");
}

#[test]
fn a_name_has_one_certificate() {
    let (one, two, nameless) = (alone(&["a.example"]), alone(&["b.example", "a.example"]), alone(&[]));
    let files = files(&[("one", &one), ("two", &two), ("nameless", &nameless)]);
    let with = |entries: Vec<Value>| {
        let keys = [
            ("sslCert", "one.pem".into()),
            ("sslKey", "one.key".into()),
            ("sslNames", Value::StrictArray(entries)),
        ];
        files.server(&keys).map(drop).map_err(texts)
    };
    assert_eq!(with(vec![entry("two.pem", "two.key")]), Ok(()), "the default one gives way");
    let twice = with(vec![entry("one.pem", "one.key"), entry("two.pem", "two.key")]).unwrap_err();
    assert!(
        twice[0].contains("sslNames[2].cert: found one for \"a.example\", as another one is"),
        "{twice:?}"
    );
    let none = with(vec![entry("nameless.pem", "nameless.key")]).unwrap_err();
    assert!(none[0].contains("sslNames[1].cert: found a certificate without such names"), "{none:?}");
    let all = with(vec![entry("no.pem", "one.key"), entry("two.pem", "one.key"), entry("", "")]).unwrap_err();
    assert_eq!(all.len(), 3, "all at once: {all:?}");
}

/// TLS-06.
#[test]
fn certificates_are_exchanged_for_new_connections_and_only_by_good_ones() {
    let (old, new) = (alone(&["a.example"]), alone(&["a.example"]));
    let files = files(&[("it", &old)]);
    let keys = [("sslCert", "it.pem".into()), ("sslKey", "it.key".into())];
    let keys = Arc::new(files.server(&keys).unwrap().1);
    let renew = || files.with(|outside| keys.renew(outside)).map_err(texts);
    assert!(shown(&keys, None) == old.der());
    // What a program leaves that writes one file after the other, or is cut while it writes.
    let cut = &new.cert[..new.cert.len() / 2];
    for (cert, key, wrong) in [
        (
            new.cert.as_str(),
            old.key.as_str(),
            "sslKey: found \"it.key\", whose key is not that of \"it.pem\"",
        ),
        (cut, old.key.as_str(), "sslCert: found \"it.pem\": a certificate that has been cut"),
        ("", old.key.as_str(), "sslCert: found \"it.pem\": no certificate"),
        (old.cert.as_str(), "", "sslKey: found \"it.key\": no private key"),
        (
            old.cert.as_str(),
            &old.key[..100],
            "sslKey: found \"it.key\": no private key, or one that has been cut",
        ),
        (old.key.as_str(), old.key.as_str(), "sslCert: found \"it.pem\": no certificate"),
    ] {
        files.put("it.pem", cert);
        files.put("it.key", key);
        let texts = renew().unwrap_err();
        assert!(texts[0].starts_with(wrong), "{texts:?}");
        assert!(!texts.concat().contains("BEGIN"), "{texts:?}");
        assert!(shown(&keys, None) == old.der(), "the old one stays");
    }
    files.put("it.pem", old.cert.as_str());
    files.files.borrow_mut().remove("it.key");
    assert!(renew().unwrap_err()[0].contains("no such file"));
    files.put("it.pem", new.cert.as_str());
    files.put("it.key", new.key.as_str());
    // Whoever has begun with the old one is not touched.
    let mut far = crate::fuzz::peer::client(crate::fuzz::peer::client_config());
    let mut peer = Peer::new(inbound_of(&settings(Limits::default(), &[]), keys.clone()));
    peer.open();
    peer.shake(&mut far, usize::MAX);
    assert_eq!(renew(), Ok(()));
    assert!(shown(&keys, None) == new.der());
    assert!(far.peer_certificates().unwrap()[0].to_vec() == old.der());
    let mut ciphertext = Vec::new();
    crate::fuzz::peer::say(&mut far, b"on", &mut ciphertext);
    peer.say(&ciphertext);
    assert_eq!(crate::fuzz::peer::read(&mut far, &peer.heard), b"on");
}
