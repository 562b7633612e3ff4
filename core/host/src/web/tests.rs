//! The client against servers that answer well, badly, slowly, and not at all.

use std::{net::TcpStream, sync::mpsc, thread, time::Duration};

use crtmp_media::{Limits, Seconds};

use super::{
    testing::{Heard, PATIENCE, Server, hang, hear, nowhere, reset, say},
    *,
};
use crate::{config::OutboundPolicy, outbound::Ports};

const BODY: usize = 1024;
/// Threads that one server may hold.
const THREADS: usize = 3;

fn client() -> Client {
    Client::start(&Limits { web_body: BODY, ..Limits::default() }, Outbound::default()).unwrap()
}

fn get(url: String) -> Request {
    Request { origin: Origin::Configuration, timeout: Some(PATIENCE), ..Request::get(url) }
}

fn short(url: String) -> Request {
    Request { timeout: Some(Duration::from_millis(200)), ..get(url) }
}

#[test]
fn a_request_is_heard_as_it_was_made() {
    let server = Server::start(|_, stream| {
        say(stream, "HTTP/1.1 201 Created\r\nX-Name: \u{fc}\r\nContent-Length: 5\r\n\r\nhello");
    });
    let client = client();
    let mut request = Request {
        origin: Origin::Configuration,
        timeout: Some(Duration::MAX),
        ..Request::post(server.url("/a%20b?c=d"), "the body")
    };
    request.headers.push(("X-Mine".into(), "1".into()));
    let answer = client.call(&request).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (201, b"hello".as_slice()));
    assert!(answer.is_success());
    assert_eq!(answer.headers[0], ("x-name".into(), "\u{fc}".into()));
    let heard = server.hear();
    assert!(heard.head.starts_with("POST /a%20b?c=d HTTP/1.1\r\n"), "{}", heard.head);
    let head = heard.head.to_ascii_lowercase();
    let host = format!("\r\nhost: {}", server.address);
    for line in [
        &host,
        "\r\nx-mine: 1",
        "\r\ncontent-length: 8",
        "\r\nconnection: close",
        "\r\nuser-agent: crtmpserver/",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert_eq!(heard.body, "the body");

    let empty = Request { body: Vec::new(), ..request };
    client.call(&empty).unwrap();
    assert!(server.hear().head.to_ascii_lowercase().contains("\r\ncontent-length: 0"));
    client.call(&get(server.url("/"))).unwrap();
    assert!(!server.hear().head.to_ascii_lowercase().contains("content-length"));
}

#[test]
fn statuses_are_answers_and_redirects_are_not_followed() {
    for status in [204, 302, 307, 404, 500, 503] {
        let server = Server::start(move |_, stream| {
            let place = "Location: http://169.254.169.254/latest/meta-data/";
            let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
            say(stream, format!("HTTP/1.1 {status} X\r\n{place}\r\n{length}\r\n"));
        });
        let answer =
            client().call(&Request { body: b"x".into(), method: "POST".into(), ..get(server.url("/")) });
        assert_eq!(answer.unwrap().status, status);
        server.hear();
        assert!(!server.heard_more());
    }
}

#[test]
fn answers_that_are_none_are_errors() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(2000));
    let cases: [(&str, &'static str); 10] = [
        ("nothing", ""),
        ("another protocol", "220 mail ESMTP\r\n\r\n"),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("a head without end", long.leak()),
        ("a head of many fields", many.leak()),
        ("too short a body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        ("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc"),
        ("a chunk that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n"),
        ("half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
    ];
    for (name, answer) in cases {
        let server = Server::start(move |_, stream| say(stream, answer));
        let outcome = client().call(&get(server.url("/")));
        let error = outcome.expect_err(name);
        assert!(matches!(error, WebError::Answer(_) | WebError::Connection(_)), "{name}: {error:?}");
        assert!(!error.to_string().contains(['\r', '\n']), "{name}: {error:?}");
    }
}

#[test]
fn a_connection_that_breaks_is_an_error() {
    let server = Server::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        reset(stream);
    });
    let broken = client().call(&get(server.url("/")));
    assert!(matches!(broken, Err(WebError::Connection(_))), "{broken:?}");
    let refused = client().call(&get(format!("http://{}/", nowhere())));
    assert!(matches!(refused, Err(WebError::Connection(_))), "{refused:?}");
    let unknown = client().call(&get("http://host.invalid/".into()));
    assert!(matches!(unknown, Err(WebError::Resolve(_))), "{unknown:?}");
}

#[test]
fn a_body_has_a_limit() {
    for (length, fits) in [(BODY - 1, true), (BODY, true), (BODY + 1, false)] {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
        let server = Server::start(move |_, stream| say(stream, &text));
        let outcome = client().call(&get(server.url("/"))).map(|answer| answer.body.len());
        assert_eq!(outcome, if fits { Ok(length) } else { Err(WebError::TooLarge(BODY)) });
    }
    let endless = |head: &'static str, piece: &'static str| {
        let server = Server::start(move |_, stream| {
            say(stream, head);
            let piece = piece.repeat(4096);
            while io_write(stream, piece.as_bytes()) {}
        });
        assert_eq!(client().call(&get(server.url("/"))), Err(WebError::TooLarge(BODY)), "{head}");
    };
    endless("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", "x");
    endless("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "x");
    endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n");
}

fn io_write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    std::io::Write::write_all(stream, bytes).is_ok()
}

#[test]
fn a_server_that_takes_too_long_is_left() {
    let silent = Server::start(|_, stream| hang(stream));
    assert_eq!(client().call(&short(silent.url("/"))), Err(WebError::Timeout));
    for head in ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"] {
        let slow = Server::start(move |_, stream| {
            say(stream, head);
            // One byte at a time, for ever.
            while io_write(stream, b"x") {
                thread::sleep(Duration::from_millis(10));
            }
        });
        assert_eq!(client().call(&short(slow.url("/"))), Err(WebError::Timeout), "{head}");
    }
    // Whoever does not even accept: the queue of connections is full, or there is nobody.
    let at_once = Request { timeout: Some(Duration::ZERO), ..get(silent.url("/")) };
    assert_eq!(client().call(&at_once), Err(WebError::Timeout));
}

#[test]
fn foreign_urls_do_not_lead_to_neighbours() {
    let server = Server::content();
    let port = server.address.port();
    let client = client();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "0",
        "[::]",
        "169.254.169.254",
        "[fe80::1]",
        "10.0.0.1",
        "192.168.1.1",
        "224.0.0.1",
    ] {
        let request = Request { origin: Origin::Request, ..get(format!("http://{host}:{port}/")) };
        let outcome = client.call(&request);
        // A machine without IPv6 cannot resolve some of them; all that counts is that nobody was asked.
        let refused = matches!(outcome, Err(WebError::Refused(_) | WebError::Resolve(_)));
        assert!(refused, "{host}: {outcome:?}");
        if !host.starts_with('[') {
            assert!(matches!(outcome, Err(WebError::Refused(_))), "{host}");
        }
    }
    assert!(!server.heard_more());
    for host in ["127.0.0.1", "2130706433", "0177.0.0.1", "localhost"] {
        assert!(client.call(&get(format!("http://{host}:{port}/"))).is_ok(), "{host}");
    }
}

#[test]
fn a_policy_that_changes_holds_for_the_next_request() {
    let server = Server::content();
    let outbound = Outbound::default();
    let client = Client::start(&Limits::default(), outbound.clone()).unwrap();
    let ask = |origin| client.call(&Request { origin, ..get(server.url("/")) });
    let set = |change: &dyn Fn(&mut OutboundPolicy)| {
        let mut policy = OutboundPolicy::default();
        change(&mut policy);
        outbound.policy.set(policy);
    };
    let is_ok = |origin| match ask(origin) {
        Ok(_) => true,
        Err(WebError::Refused(_)) => false,
        Err(other) => panic!("{other}"),
    };
    let both = || (is_ok(Origin::Configuration), is_ok(Origin::Request));
    assert_eq!(both(), (true, false));
    set(&|policy| policy.allow = vec!["127.0.0.1".parse().unwrap()]);
    assert_eq!(both(), (true, true));
    let port = Ports::one(server.address.port());
    set(&|policy| {
        policy.allow = vec!["127.0.0.1".parse().unwrap()];
        policy.deny_ports = vec![port];
    });
    assert_eq!(both(), (true, false));
    set(&|policy| policy.deny = vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(both(), (false, false));
    set(&|policy| policy.ports = vec![Ports::one(1)]);
    assert_eq!(both(), (false, false));
    set(&|policy| policy.schemes = vec!["https".to_owned()]);
    let refused = ask(Origin::Configuration).unwrap_err();
    assert!(refused.to_string().contains("outboundPolicy.schemes (https)"), "{refused}");
}

#[test]
fn what_is_too_much_is_refused_and_the_rest_is_answered() {
    let (go, wait) = crossbeam_channel::unbounded::<()>();
    let server = Server::start(move |_: &Heard, stream| {
        let _ = wait.recv_timeout(PATIENCE);
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let client = Client::start(
        &Limits { web_queue: 3, web_threads: THREADS + 1, ..Limits::default() },
        Outbound::default(),
    )
    .unwrap();
    let (tell, replies) = mpsc::channel();
    let ask = |reply: Box<dyn FnOnce(Outcome) + Send>| client.request(get(server.url("/")), reply);
    for _ in 0..THREADS {
        let tell = tell.clone();
        // The panic of a reply must not cost a thread.
        ask(Box::new(move |outcome| {
            tell.send(outcome.map(|answer| answer.status)).unwrap();
            panic!("a reply that fails");
        }))
        .unwrap();
        server.hear();
    }
    for _ in 0..2 {
        let tell = tell.clone();
        ask(Box::new(move |outcome| tell.send(outcome.map(|answer| answer.status)).unwrap())).unwrap();
    }
    assert_eq!(ask(Box::new(|_| panic!("nothing was sent"))), Err(Full));
    for _ in 0..THREADS + 2 {
        go.send(()).unwrap();
    }
    for _ in 0..THREADS + 2 {
        assert_eq!(replies.recv_timeout(PATIENCE).unwrap(), Ok(200));
    }
}

#[test]
fn the_time_in_the_queue_counts_and_the_end_answers_what_waits() {
    let (go, wait) = crossbeam_channel::unbounded::<()>();
    let server = Server::start(move |_: &Heard, stream| {
        let _ = wait.recv_timeout(PATIENCE);
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let limits = Limits { web_timeout: Seconds::new(30), web_threads: THREADS + 1, ..Limits::default() };
    let client = Client::start(&limits, Outbound::default()).unwrap();
    let (tell, replies) = mpsc::channel();
    let ask = |name: &'static str, request: Request| {
        let tell = tell.clone();
        let reply = move |outcome: Outcome| tell.send((name, outcome.map(drop))).unwrap();
        client.request(request, Box::new(reply)).unwrap();
    };
    let expect = |expected: (&str, Result<(), WebError>)| {
        assert_eq!(replies.recv_timeout(PATIENCE).unwrap(), expected);
    };
    for _ in 0..THREADS {
        ask("first", get(server.url("/")));
    }
    for _ in 0..THREADS {
        server.hear();
    }
    ask("late", Request { timeout: Some(Duration::ZERO), ..get(server.url("/")) });
    go.send(()).unwrap();
    expect(("first", Ok(())));
    expect(("late", Err(WebError::Timeout)));
    ask("fourth", get(server.url("/")));
    server.hear();
    ask("waiting", get(server.url("/")));
    drop(client);
    for _ in 0..THREADS {
        go.send(()).unwrap();
    }
    let mut rest: Vec<_> = (0..=THREADS).map(|_| replies.recv_timeout(PATIENCE).unwrap()).collect();
    rest.retain(|(name, outcome)| !(["first", "fourth"].contains(name) && outcome.is_ok()));
    assert_eq!(rest, [("waiting", Err(WebError::Stopped))]);
}

#[test]
fn certificates_are_checked() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            if hear(&mut stream).is_some() {
                say(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    let root = Certificate::from_der(made.cert.der()).to_owned();
    let trusting = Client::with_roots(&Limits::default(), Outbound::default(), Some(vec![root])).unwrap();
    for _ in 0..2 {
        assert_eq!(trusting.call(&get(format!("https://localhost:{port}/"))).unwrap().body, b"ok");
    }
    let wrong_name = trusting.call(&get(format!("https://127.0.0.1:{port}/")));
    assert!(matches!(wrong_name, Err(WebError::Tls(_))), "{wrong_name:?}");
    let strange = client().call(&get(format!("https://localhost:{port}/")));
    assert!(matches!(strange, Err(WebError::Tls(_))), "{strange:?}");
}
