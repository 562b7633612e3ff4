//! Command line interfaces under attack and under load: guessed secrets, floods, browsers, readers that stop.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crtmp_tests::cli::{Faces, Http, Session, administrator, without_counts};
use crtmp_tests::wire::{Client, Message, amf, connect, publish};
use crtmp_tests::{Canary, Config, Namespace, Server, wait_for};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::SOON;
use crate::commands::ask;

const SECRET: &str = "open-sesame";

fn config(settings: &str) -> Config {
    Config::new().workers(2).block(&Faces::block(&format!("maxSessions = 100, {settings}")))
}

fn with_secret() -> Config {
    config(&format!("secret = \"{SECRET}\", maxFailures = 3, lockoutSeconds = 3600"))
}

/// A session from one of this machine's many addresses.
fn from(ip: [u8; 4], to: SocketAddr) -> Session {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((ip, 0)).into()).expect("all of 127.0.0.0/8 is this machine");
    socket.connect(&to.into()).expect("the server listens");
    Session::over(socket.into())
}

/// What a server says that does not start because of a block of `applications`.
fn start_that_fails(block: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("server.lua");
    let text = Config::new().block(block).text(folder.path(), &crtmp_tests::folder_of_programs());
    std::fs::write(&path, text).expect("a temporary file");
    let outcome = Server::run(&[&path.to_string_lossy()]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    outcome.stderr
}

/// What `--check` refuses does not start either.
#[test]
fn settings_that_make_no_sense_do_not_start() {
    for (settings, expected) in [
        ("secret = \"\"", "`secret` needs at least 8 bytes"),
        ("secret = \"1234567\"", "`secret` needs at least 8 bytes"),
        ("secret = 81549300", "setting `secret`: expected a string; it is not shown here"),
        ("maxSessions = 0", "`maxSessions` must be at least 1"),
        ("maxFailures = 0", "`maxFailures` must be at least 1"),
    ] {
        let found = start_that_fails(&Faces::block(settings));
        assert!(found.contains("configuration.applications[3]") && found.contains(expected), "{found}");
    }
}

/// ADM-01: what others could reach needs a secret to be set.
#[test]
fn a_command_line_beyond_this_machine_needs_a_secret() {
    let block = |settings: &str| {
        let acceptor = "{ ip = \"0.0.0.0\", port = 0, protocol = \"inboundJsonCli\" }";
        format!("{{ name = \"admin\", acceptors = {{ {acceptor} }}, {settings} }}")
    };
    for settings in ["", "secret = \"\"", "secret = \"1234567\""] {
        let found = start_that_fails(&block(settings));
        for part in ["applications[3].acceptors[1].ip", "inboundJsonCli", "set `secret`"] {
            assert!(found.contains(part), "{part}: {found}");
        }
    }

    let Some(elsewhere) = Namespace::new() else { return };
    let server = Server::start(&Config::new().block(&block(&format!("secret = \"{SECRET}\""))));
    let service = server.services().iter().find(|service| service.application == "admin").expect("it");
    let commands = format!("printf 'version\\nauth secret={SECRET}\\nversion\\nquit\\n'");
    let script = format!("{commands} | nc -N {} {}", elsewhere.host(), service.address.port());
    let outcome = crtmp_tests::Launch::new("sh").arg("-c").arg(script).inside(&elsewhere).run();
    let answers: Vec<&str> = outcome.stdout.split("\r\n\r\n").collect();
    assert!(answers[0].contains("auth secret=") && answers[0].contains("FAIL"), "{outcome:?}");
    assert!(answers[1].contains("welcome") && answers[2].contains("releaseNumber"), "{outcome:?}");
    server.stop();
}

/// ADM-02.
#[test]
fn guesses_are_delayed_and_locked_out_by_address() {
    let server = Server::start(&with_secret());
    let faces = Faces::of(&server);
    let mut guesser = Session::open(faces.json);
    assert!(guesser.fails("setLogLevel level=3").contains("changes something"));
    for guess in ["", "open-sesam", "open-sesame1"] {
        let asked = Instant::now();
        assert_eq!(guesser.fails(&format!("auth secret={guess}")), "that is not the secret");
        assert!(asked.elapsed() >= Duration::from_millis(490), "a guess has to wait");
    }
    // Now nothing helps, in no session and by no face.
    for _ in 0..100 {
        assert!(guesser.fails(&format!("auth secret={SECRET}")).contains("too many wrong secrets"));
    }
    let mut again = Session::open(faces.text);
    assert!(again.show(&format!("auth secret={SECRET}")).contains("too many wrong secrets"));
    let (status, _) = Http::new(faces.http, Some(SECRET)).post("version", "");
    assert_eq!(status, 429);
    // Another address of this machine is no other guesser; looking is still allowed.
    let mut other = from([127, 1, 2, 3], faces.json);
    assert!(other.fails(&format!("auth secret={SECRET}")).contains("too many wrong secrets"));
    guesser.done("version");
    let logged = server.log().matches("a wrong secret from").count();
    assert_eq!(logged, 1, "three within seconds are one line");
    assert!(!server.log().contains(SECRET), "the secret is in the log");
    server.stop();
}

/// Shows wrong secrets over several connections, face by face; gives how many were compared, and demands that all the
/// others were refused unseen.
fn guess(faces: Faces, connections: usize, each: usize) -> usize {
    const UNSEEN: &str = "too many wrong secrets";
    let mut compared = 0;
    for connection in 0..connections {
        if connection % 4 == 3 {
            // By HTTP each is a connection of its own.
            for _ in 0..each {
                let (status, answer) = Http::new(faces.http, Some("a guess")).post("version", "");
                assert!([401, 429].contains(&status), "{status}: {answer}");
                assert_eq!(status == 429, answer.to_string().contains(UNSEEN), "{answer}");
                compared += usize::from(status == 401);
            }
            continue;
        }
        let mut session = Session::open([faces.json, faces.text, faces.ascii][connection % 4]);
        session.write(format!("{}quit\n", "auth secret=a\\ guess\n".repeat(each)).as_bytes());
        let heard = String::from_utf8(session.rest()).expect("UTF-8");
        let (unseen, wrong) =
            (heard.matches(UNSEEN).count(), heard.matches("that is not the secret").count());
        assert_eq!(unseen + wrong, each, "{heard:.1000}");
        compared += wrong;
    }
    compared
}

/// ADM-02: many guesses over many connections are compared as slowly as a few, cost no memory, and shut out neither who
/// has shown the secret nor who comes from elsewhere.
#[test]
fn ten_thousand_guesses_are_few_and_lock_out_no_operator() {
    const THREADS: usize = 8;
    const CONNECTIONS: usize = 25;
    const EACH: usize = 50;
    let beyond = "{ ip = \"0.0.0.0\", port = 0, protocol = \"inboundJsonCli\" }";
    let open = |chain| format!("{{ ip = \"127.0.0.1\", port = 0, protocol = \"{chain}\" }}");
    let acceptors = ["inboundTxtCli", "inboundAsciiCli", "inboundHttpJsonCli"].map(open).join(", ");
    let block = format!(
        "{{ name = \"admin\", acceptors = {{ {beyond}, {acceptors} }}, maxSessions = 100, \
         secret = \"{SECRET}\", maxFailures = 3, lockoutSeconds = 2 }}"
    );
    let server = Server::start(&Config::new().workers(2).block(&block));
    let faces = Faces::of(&server);
    let port = faces.json.port();
    let faces = Faces { json: SocketAddr::from(([127, 0, 0, 1], port)), ..faces };
    let mut operator = Session::open(faces.json);
    operator.done(&format!("auth secret={SECRET}"));
    let elsewhere = Namespace::new();
    let mut canary = Canary::start(&server);
    // What is kept from the first ones on is there.
    guess(faces, 4, EACH);
    let before = server.counters().usage();

    let begun = Instant::now();
    let compared: usize = thread::scope(|scope| {
        let guessers: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(move || guess(faces, CONNECTIONS, EACH))).collect();
        while !guessers.iter().all(thread::ScopedJoinHandle::is_finished) {
            operator.done("setLogLevel level=6");
            if let Some(elsewhere) = &elsewhere {
                let script =
                    format!("printf 'auth secret={SECRET}\nquit\n' | nc -N {} {port}", elsewhere.host());
                let outcome = crtmp_tests::Launch::new("sh").arg("-c").arg(script).inside(elsewhere).run();
                assert!(outcome.stdout.contains("welcome"), "{outcome:?}");
            }
        }
        guessers.into_iter().map(|guesser| guesser.join().expect("it is answered")).sum()
    });
    let periods = usize::try_from(begun.elapsed().as_secs() / 2).expect("a short time") + 2;
    assert!(compared <= 3 * periods, "{compared} of {} were compared", THREADS * CONNECTIONS * EACH);

    let after = server.wait_for_counters("the end of all guessers", SOON, |counters| {
        let usage = counters.usage();
        (usage.files <= before.files).then_some(usage)
    });
    assert!(after.threads == before.threads, "{before:?} {after:?}");
    // Fifty bytes for each: the picture that the canary is at is in there too.
    assert!(after.allocated <= before.allocated + (512 << 10), "{before:?} {after:?}");
    let logged = server.log().matches("a wrong secret from").count();
    assert!(logged <= 1 + periods / 5, "{logged} lines");
    // Nobody guesses any more.
    wait_for("the end of the lockout", SOON, || {
        let answer = Session::open(faces.json).run(&format!("auth secret={SECRET}"));
        (answer["status"] == "SUCCESS").then_some(())
    });
    canary.check(&server);
    server.stop();
}

/// ADM-08: whoever does not know the secret shuts nobody out.
#[test]
fn strangers_do_not_shut_out_the_operator() {
    let settings = format!("secret = \"{SECRET}\", maxSessions = 8, authSeconds = 2");
    let server = Server::start(&Config::new().workers(2).block(&Faces::block(&settings)));
    let faces = Faces::of(&server);
    let mut operator = Session::open(faces.json);
    operator.done(&format!("auth secret={SECRET}"));

    let mut strangers: Vec<Session> = [faces.json, faces.text, faces.http]
        .iter()
        .cycle()
        .take(60)
        .map(|face| Session::open(*face))
        .collect();
    // The operator and the six that a stranger may have.
    wait_for("the others to make room", SOON, || {
        (operator.done("getConnectionsCount")["count"] == 7).then_some(())
    });
    let mut second = Session::open(faces.json);
    second.done(&format!("auth secret={SECRET}"));
    operator.done("setLogLevel level=6");
    // Those that are left lose their places by and by, whatever empty lines they send.
    for stranger in &mut strangers {
        stranger.write(b"\n");
    }
    let asked = Instant::now();
    for stranger in &mut strangers {
        stranger.rest();
    }
    assert!(asked.elapsed() < SOON, "they are closed long before cliIdle and httpIdle");
    operator.done("version");
    second.done("version");

    // What a page of a stranger's opens is closed with its answer.
    let mut browser = Session::open(faces.http);
    browser.write(b"GET /version HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    assert!(browser.rest().starts_with(b"HTTP/1.1 403 "));
    server.stop();
}

/// What a session was let in by holds no longer than the configuration that said so.
#[test]
fn a_reload_with_another_secret_ends_sessions() {
    let block = |settings: &str| Config::new().workers(2).block(&Faces::block(settings));
    let secret = |secret: &str| block(&format!("secret = {secret:?}"));
    let mut server = Server::start(&block(""));
    let faces = Faces::of(&server);
    let mut client = Client::publisher(server.address(), "live", "stays");
    // One of an instance that is replaced while the secret stays, and then changes.
    server.rewrite(&block("maxSessions = 90"));
    let mut oldest = Session::open(faces.json);
    oldest.done("reload");
    oldest.done("setLogLevel level=5");
    for (wanted, shown, next) in [
        (secret("the first one"), None, Some("the first one")),
        (secret("the second one"), Some("the first one"), Some("the second one")),
        (block("maxFailures = 3, secret = \"the second one\""), Some("the second one"), None),
    ] {
        // A port that the system has chosen stays as long as its acceptor does.
        let faces = Faces { json: faces.json, ..faces };
        let open = || {
            let mut session = Session::open(faces.json);
            shown.into_iter().for_each(|secret| {
                session.done(&format!("auth secret={}", secret.replace(' ', "\\ ")));
            });
            session
        };
        let (mut asker, mut other) = (open(), open());
        server.rewrite(&wanted);
        asker.done("reload");
        let Some(next) = next else {
            // The same secret: everything goes on.
            other.done("setLogLevel level=5");
            break;
        };
        for command in ["setLogLevel level=5", "version"] {
            // Closed already, or refused.
            other.write(format!("{command}\n").as_bytes());
            let answer = other.answer();
            assert!(answer.is_none_or(|answer| answer["status"] == "FAIL"), "{command}");
        }
        other.rest();
        asker.rest();
        let mut new = Session::open(faces.json);
        assert!(new.fails("setLogLevel level=5").contains("changes something"));
        new.done(&format!("auth secret={}", next.replace(' ', "\\ ")));
        new.done("setLogLevel level=5");
    }
    oldest.rest();
    // Without the application its sessions end too, and nobody else's.
    let mut last = Session::open(faces.json);
    last.done("version");
    server.rewrite(&Config::new().workers(2));
    server.signal(nix::sys::signal::Signal::SIGHUP);
    last.rest();
    client.send(&Message::command(0, "createStream", 4.0, &[amf::null()]));
    assert!(client.message(SOON).is_some(), "the publisher is still there");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.ended();
}

/// Also where the port by which they came was closed before.
#[test]
fn sessions_of_a_removed_application_have_no_rights_left() {
    let acceptor = "{ ip = \"127.0.0.1\", port = 0, protocol = \"inboundJsonCli\" }";
    let other = format!(
        "{{ name = \"admin2\", library = \"admin\", secret = \"{SECRET}\", acceptors = {{ {acceptor} }} }}"
    );
    let config = Config::new().workers(2).block(&administrator());
    let server = Server::start(&config.clone().block(&other));
    let mut operator = Session::operator(&server);
    let of_other = |service: &&crtmp_tests::Service| service.application == "admin2";
    let address = server.services().iter().find(of_other).expect("its port").address;
    let mut session = Session::open(address);
    session.done(&format!("auth secret={SECRET}"));
    session.done("setLogLevel level=5");
    let services = operator.done("listServices");
    let mut services = services.as_array().expect("a list").iter();
    let service = services.find(|service| service["appName"] == "admin2").expect("its port");
    operator.done(&format!("shutdownService id={}", service["id"]));
    session.done("setLogLevel level=6");
    server.rewrite(&config);
    operator.done("reload");
    // Closed already, or refused.
    session.write(b"setLogLevel level=5\n");
    assert!(session.answer().is_none_or(|answer| answer["status"] == "FAIL"));
    session.rest();
    operator.done("version");
    server.stop();
}

/// A setting of this name may mean anything to other applications, and lets nobody in.
#[test]
fn another_secret_takes_nothing_from_what_an_application_asks_itself() {
    let config = |secret: &str| {
        let block = format!("{{ name = \"asker\", secret = \"{secret}\" }}");
        Config::new().block(&block).block(&administrator())
    };
    let server = Server::start(&config("the first"));
    let mut operator = Session::operator(&server);
    let mut client = Client::connected(server.address(), "asker");
    let mut level = || ask(&mut client, "setLogLevel", &json!({ "level": 6 }))["status"].clone();
    assert_eq!(level(), "SUCCESS");
    server.rewrite(&config("the second"));
    assert_eq!(operator.done("reload")["started"], json!(["asker"]));
    assert_eq!(level(), "SUCCESS");
    server.stop();
}

/// ADM-03: many lines in one packet are answered in their order, and lines without end are not kept.
#[test]
fn floods_of_lines_are_answered_in_order_or_closed() {
    const LINES: usize = 10_000;
    let server = Server::start(&config(""));
    let faces = Faces::of(&server);
    let mut canary = Canary::start(&server);

    let mut session = Session::open(faces.json);
    let mut writer = session.socket().try_clone().expect("a second handle");
    let sender = thread::spawn(move || {
        let lines: String = (0..LINES).map(|number| format!("nonsense{number}\n")).collect();
        writer.write_all(lines.as_bytes()).expect("the server reads on");
    });
    for number in 0..LINES {
        let answer = session.answer().expect("an answer to each");
        let why = answer["description"].as_str().expect("a text");
        assert!(why.contains(&format!("\"nonsense{number}\"")), "{number}: {why}");
    }
    sender.join().expect("it has sent all");

    let mut endless = Session::open(faces.json);
    endless.write(&[b'x'; 9000]);
    assert!(endless.answer().is_none_or(|answer| answer.to_string().contains("cliLine")));
    endless.rest();
    for odd in
        [&b"\0\n"[..], b"\x1b[31mversion\n", b"\xff\xfd\x06version\n", b"version \xc3\x28\n", b"\xc2\x9b2J\n"]
    {
        let mut session = Session::open(faces.text);
        session.write(odd);
        let shown = session.block().expect("an answer");
        assert!(shown.starts_with("error: byte "), "{shown}");
        assert!(!shown.trim_end().chars().any(char::is_control), "{shown:?}");
        assert!(session.show("version").contains("releaseNumber"));
    }
    canary.check(&server);
    server.stop();
}

/// ADM-04, WEB-02, WEB-03: what a browser can be made to send.
#[test]
fn requests_of_browsers_run_nothing() {
    let server = Server::start(&config(""));
    let faces = Faces::of(&server);
    let mut session = Session::open(faces.json);
    let before = without_counts(&session.done("listServices"));
    let id = before[0]["id"].to_string();
    let commands = format!("shutdownService id={id}\r\nshutdownStream localStreamName=a\r\nquit\r\n");
    for start in
        ["POST / HTTP/1.1", "GET /version HTTP/1.1", "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0", "\x16\x03\x01"]
    {
        for address in [faces.text, faces.json, faces.ascii] {
            let mut browser = Session::open(address);
            browser.write(format!("{start}\r\nHost: 127.0.0.1\r\n\r\n{commands}").as_bytes());
            assert_eq!(browser.rest(), b"", "{start}");
        }
    }

    let http = Http::new(faces.http, None);
    let body = format!("{{\"id\":{id}}}");
    let length = format!("content-length: {}\r\n", body.len());
    let json = "content-type: application/json\r\n";
    let (own, host) = (faces.http, format!("host: {}\r\n", faces.http));
    for (head, status) in [
        // Forms and no-cors requests; a preflight; another origin; a name that leads here.
        (format!("POST /shutdownService HTTP/1.1\r\n{host}content-type: text/plain\r\n{length}"), 415),
        (format!("POST /shutdownService HTTP/1.1\r\n{host}{length}"), 415),
        (format!("OPTIONS /shutdownService HTTP/1.1\r\n{host}origin: http://{own}\r\n"), 405),
        (format!("OPTIONS /shutdownService HTTP/1.1\r\n{host}origin: http://evil.example\r\n"), 403),
        (
            format!("POST /shutdownService HTTP/1.1\r\n{host}{json}origin: http://evil.example\r\n{length}"),
            403,
        ),
        (format!("POST /shutdownService HTTP/1.1\r\n{host}{json}origin: null\r\n{length}"), 403),
        (
            format!("POST /shutdownService HTTP/1.1\r\n{host}{json}sec-fetch-site: cross-site\r\n{length}"),
            403,
        ),
        (format!("POST /shutdownService HTTP/1.1\r\nhost: evil.example\r\n{json}{length}"), 403),
    ] {
        let answer = http.raw(&head, if head.starts_with("POST") { &body } else { "" });
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}{answer}");
        assert!(!answer.to_lowercase().contains("access-control-"), "{answer}");
    }
    // A proxy on this machine may ask for anybody.
    for header in ["forwarded: for=192.0.2.1", "x-forwarded-for: 127.0.0.1", "via: 1.1 proxy"] {
        let head = |path: &str| format!("POST {path} HTTP/1.1\r\n{host}{json}{length}{header}\r\n");
        let answer = http.raw(&head("/shutdownService"), &body);
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("a proxy"), "{header}: {answer}");
    }
    // A GET changes nothing: `aWQ9MQ==` is `id=1`.
    let (status, answer) = http.get("/shutdownService?params=aWQ9MQ==");
    assert_eq!((status, &answer["status"]), (405, &Value::from("FAIL")), "{answer}");
    assert_eq!(without_counts(&session.done("listServices")), before);
    server.stop();
}

/// Streams that are there at once in [`sessions_at_once_see_one_truth`], and the threads that publish them.
const CHURNING: usize = 1000;
const THREADS: usize = 4;

/// Publishes its part of them, and when there are all, that of others instead, one for one. Who is kicked is replaced
/// in its turn.
fn churn(address: SocketAddr, thread: usize, all_seen: &AtomicBool) {
    let mut staying = VecDeque::new();
    for round in 0..2 * CHURNING / THREADS {
        let mut client = Client::shaken(address);
        client.send(&connect("live", &format!("rtmp://{address}/live")));
        client.send(&Message::command(0, "createStream", 4.0, &[amf::null()]));
        client.send(&publish(1, &format!("stream \"{thread}\" <b>,{round}")));
        // Half of them are not yet done when the next one comes.
        if round % 2 == 0 {
            while client.message(SOON).is_some_and(|message| !message.says("NetStream.Publish.Start")) {}
        }
        staying.push_back(client);
        if round + 1 == CHURNING / THREADS {
            wait_for("all streams to be seen", 2 * SOON, || all_seen.load(Ordering::Relaxed).then_some(()));
        }
        if staying.len() > CHURNING / THREADS {
            staying.pop_front();
        }
    }
}

/// ADM-05.
#[test]
fn sessions_at_once_see_one_truth() {
    let server = Server::start(&with_secret());
    let (faces, address) = (Faces::of(&server), server.address());
    let operator = || {
        let mut session = Session::open(faces.json);
        session.done(&format!("auth secret={SECRET}"));
        session
    };
    let mut first = operator();
    let before = without_counts(&first.done("listServices"));

    // Both change the same things again and again; whatever the order, each sees its own done.
    let both = [operator(), operator()].map(|mut session| {
        thread::spawn(move || {
            for level in 0..50 {
                let made = session.done("createService ip=127.0.0.1 port=0 protocol=inboundRtmp");
                let id = made["id"].as_u64().expect("a number");
                session.done(&format!("enableService id={id} enable=0"));
                session.done(&format!("setLogLevel level={}", level % 3 + 3));
                session.done(&format!("shutdownService id={id}"));
                session.fails(&format!("shutdownService id={id}"));
            }
        })
    });
    for one in both {
        one.join().expect("both are served");
    }
    assert_eq!(without_counts(&first.done("listServices")), before);

    // All streams are there at once, and each is replaced by another while they are listed and kicked.
    let mut kicker = operator();
    let all_seen = AtomicBool::new(false);
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let all_seen = &all_seen;
                scope.spawn(move || churn(address, thread, all_seen))
            })
            .collect();
        while !publishers.iter().all(thread::ScopedJoinHandle::is_finished) {
            let streams = first.done("listStreams");
            let streams = streams.as_array().expect("a list");
            let mut ids: Vec<u64> = streams.iter().filter_map(|stream| stream["uniqueId"].as_u64()).collect();
            assert_eq!(ids.len(), streams.len(), "each has a number");
            assert!(ids.is_sorted());
            ids.dedup();
            assert_eq!(ids.len(), streams.len(), "none is there twice");
            let mut names: Vec<&str> = streams.iter().filter_map(|stream| stream["name"].as_str()).collect();
            assert!(names.iter().all(|name| name.starts_with("stream \"") && name.contains("\" <b>,")));
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), streams.len(), "no name is there twice");
            if streams.len() == CHURNING {
                all_seen.store(true, Ordering::Relaxed);
            }
            // Not before: else there would never be all of them.
            if all_seen.load(Ordering::Relaxed) {
                for stream in streams.iter().step_by(50) {
                    // Gone already, perhaps.
                    kicker.run(&format!("closeConnection id={}", stream["connectionId"]));
                }
            }
        }
    });
    assert!(all_seen.into_inner(), "all {CHURNING} streams were seen at once");
    wait_for("no streams", SOON, || (first.done("getStreamsCount")["streamCount"] == 0).then_some(()));
    server.stop();
}

/// ADM-06.
#[test]
fn a_reader_that_stops_is_closed_and_costs_little() {
    let server = Server::start(&config(""));
    let faces = Faces::of(&server);
    let mut canary = Canary::start(&server);
    let before = server.counters().usage().resident;
    let mut readers: Vec<TcpStream> = (0..8)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_recv_buffer_size(8192).expect("a socket option");
            socket.connect(&faces.json.into()).expect("the server listens");
            socket.into()
        })
        .collect();
    // Answers of ten kilobytes each, for lines of five bytes.
    for reader in &mut readers {
        reader.set_write_timeout(Some(SOON)).expect("a socket option");
        let _ = reader.write_all("help\n".repeat(10_000).as_bytes());
    }
    server.wait_for_log("controlQueue");
    // Only the canary and this session are left.
    let mut session = Session::open(faces.ascii);
    wait_for("the end of all readers", SOON, || {
        session.write(b"getConnectionsCount\n");
        let data = [session.block(), session.block()].map(Option::unwrap_or_default).concat();
        data.contains("count: 3").then_some(())
    });
    let closed = |reader: &mut TcpStream| {
        reader.shutdown(Shutdown::Write).ok();
        reader.set_read_timeout(Some(SOON)).expect("a socket option");
        let mut heard = 0;
        let mut piece = [0; 1 << 16];
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            heard += count;
        }
        heard
    };
    let grown = server.counters().usage().resident.saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for eight readers");
    for reader in &mut readers {
        assert!(closed(reader) < 10_000 * 5_000, "it was closed before all was answered");
    }
    canary.check(&server);
    server.stop();
}

/// ADM-06: who reads slowly gets even a list that is larger than `controlQueue`.
#[test]
fn a_slow_reader_gets_a_huge_list_whole() {
    let server = Server::start(&config("").log_level(3).limit("controlQueue", "16384"));
    let faces = Faces::of(&server);
    let publishers: Vec<Client> = (0..200)
        .map(|number| Client::publisher(server.address(), "live", &format!("stream{number}")))
        .collect();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    socket.connect(&faces.json.into()).expect("the server listens");
    let mut socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(SOON)).expect("a socket option");
    socket.write_all(b"listStreams\n").expect("the server reads");
    let mut heard = Vec::new();
    let mut piece = [0; 1024];
    while !heard.ends_with(b"\r\n\r\n") {
        let count = socket.read(&mut piece).expect("more of the list");
        assert_ne!(count, 0, "the server closed after {} bytes", heard.len());
        heard.extend_from_slice(&piece[..count]);
        thread::sleep(Duration::from_millis(2));
    }
    assert!(heard.len() > 100_000, "{} bytes", heard.len());
    let answer: Value = serde_json::from_slice(&heard).expect("JSON");
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(publishers.len()));
    server.stop();
}

/// ADM-07, WEB-01: names come back as they were, whatever is in them, and move no terminal.
#[test]
fn odd_names_come_back_exactly() {
    let server = Server::start(&config(""));
    let faces = Faces::of(&server);
    let mut json = Session::open(faces.json);
    let mut readable = Session::open(faces.text);
    for name in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "it's \"a\" name, of one line",
        "\u{202e}gpj.exe\u{200b}\u{feff}",
        "back\\slash = and, comma",
        "日本 \u{1f600}",
    ] {
        let _client = Client::publisher(server.address(), "live", name);
        let escaped: String = name
            .chars()
            .flat_map(|letter| match letter {
                '\\' | ' ' | '=' | ',' => vec!['\\', letter],
                letter => vec![letter],
            })
            .collect();
        let stream = json.done(&format!("getStreamInfo localStreamName={escaped}"));
        assert_eq!(stream["name"], name);
        let (_, answer) = Http::new(faces.http, None).get("/listInboundStreamNames");
        assert!(answer["data"].as_array().expect("a list").iter().any(|stream| stream["name"] == name));
        let shown = readable.show("listInboundStreamNames");
        assert!(!shown.replace("\r\n", "").chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains(['\u{202e}', '\u{200b}', '\u{feff}']), "{shown:?}");
        json.done(&format!("shutdownStream localStreamName={escaped}"));
    }
    server.stop();
}
