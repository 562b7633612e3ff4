//! Pulls and pushes in networks where nobody answers: cables that are cut, hosts and name servers that say nothing or
//! too much.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crtmp_tests::cli::{Session, administrator, administrator_at};
use crtmp_tests::{Canary, Config, Launch, Namespace, Recording, Server, ffmpeg, fixture, poll, wait_for};
use serde_json::Value;

use crate::{SOON, cpu, entries, entry, free_port, wait_for_more};

/// Addresses that belong to nobody: documents have them for examples.
const NOWHERE: &str = "192.0.2.0/24";

/// What the heap may grow by from one round of a thousand dead pulls to another.
const HEAP: u64 = 512 << 10;

/// Threads of such a server while as many names are looked up as may be (see *Threads* in docs/architecture.md): main, log,
/// signals, links and watchdog; workers; web; files of shared objects; two for each of three applications; the look-ups and
/// their clock.
const THREADS: u64 = 5 + 2 + 16 + 2 + 2 * 3 + 32 + 1;

fn pulls(streams: &str) -> String {
    format!("{{ {streams} }}")
}

fn is_streaming(entry: &Value) -> bool {
    entry["status"]["current"]["description"] == "Streaming"
}

fn cause(entry: &Value) -> &str {
    entry["cause"].as_str().unwrap_or_default()
}

/// FLT-09: the way to a server is cut in the middle, and neither side is told.
#[test]
fn pulls_and_pushes_notice_a_cut_cable_and_come_back() {
    let Some(namespace) = Namespace::new() else { return };
    let config = || Config::new().application("publisherReturn", "60");
    let far = Server::start_under(&namespace.words(), &config().ip(&namespace.inner().to_string()));
    let _publisher = ffmpeg::publish_film(&far.url("one")).inside(&namespace).start();
    far.wait_for_publisher("one");
    let allowed = format!("{{ allow = {{ \"{}\" }} }}", namespace.inner());
    let server = Server::start(&config().top("outboundPolicy", &allowed).block(&administrator()));
    let mut canary = Canary::start(&server);
    let mut session = Session::operator(&server);
    session.done(&format!("pullStream uri={}", far.url("one")));
    let there = format!("rtmp://{}/live", far.address());
    session
        .done(&format!("pushStream uri={there} localStreamName={} targetStreamName=there", Canary::STREAM));
    far.wait_for_publisher("there");
    server.wait_for_publisher("one");
    let mut player = Recording::start(&server.url("one"));
    wait_for_more(&mut player, fixture::GOP);

    namespace.cut_cable();
    let links = [("pull", "one"), ("push", Canary::STREAM)];
    for (group, name) in links {
        wait_for(&format!("the {group} to notice"), Duration::from_secs(13), || {
            (!cause(&entry(&mut session, group, name)).is_empty()).then_some(())
        });
    }
    namespace.mend();
    for (group, name) in links {
        wait_for("media again", SOON, || is_streaming(&entry(&mut session, group, name)).then_some(()));
    }
    wait_for_more(&mut player, fixture::GOP);
    Recording::of_program(&player).assert_forward();
    canary.check(&server);
    server.stop();
}

/// A server inside a namespace, for which `NOWHERE` swallows all packets.
struct Stage {
    namespace: Namespace,
    config: Config,
}

impl Stage {
    fn new() -> Option<Self> {
        let namespace = Namespace::new()?;
        namespace.swallow(NOWHERE);
        // The system gives up after 7 s and not only after minutes; the server would after 10.
        let tries = "-q -w net.ipv4.tcp_syn_retries=2";
        let _ = Launch::new("sysctl").inside(&namespace).args(tries).run();
        let config = Config::new()
            .workers(2)
            .log_level(3)
            .ip(&namespace.inner().to_string())
            .whole_groups()
            .top("outboundPolicy", &format!("{{ allow = {{ \"{}\" }} }}", namespace.host()))
            .block(&administrator_at(namespace.inner()));
        Some(Self { namespace, config })
    }

    fn start(&self, streams: &str) -> Server {
        let config = self.config.clone().application("externalStreams", &pulls(streams));
        Server::start_under(&self.namespace.words(), &config)
    }
}

/// Pulls of so many servers that do not answer; each fourth of them by a name that nobody resolves.
fn dead(count: usize) -> String {
    let mut streams = String::new();
    for number in 0..count {
        let host = match number % 4 {
            0 => format!("h{number}.z{}.example", number % 80),
            _ => format!("192.0.2.{}", number % 250 + 1),
        };
        let _ = write!(streams, "{{ uri = \"rtmp://{host}/a{number}/s{number}\" }}, ");
    }
    streams
}

/// A thousand hosts that do not even refuse.
#[test]
fn a_thousand_pulls_of_hosts_that_do_not_answer_keep_nobody_waiting() {
    let Some(stage) = Stage::new() else { return };
    stage.namespace.name_server(Ipv4Addr::new(192, 0, 2, 53));
    let origin = Server::start(&Config::new().ip(&stage.namespace.host().to_string()));
    let _publisher = ffmpeg::publish_film(&origin.url("alive")).start();
    origin.wait_for_publisher("alive");
    let server = stage.start(&dead(1000));
    let mut canary = Canary::start(&server);
    let mut session = Session::operator(&server);
    assert_eq!(entries(&mut session, "pull").len(), 1000);

    // All 64 places are taken by those who wait for an answer; who comes now is the next.
    session.done(&format!("pullStream uri={}", origin.url("alive")));
    wait_for("a living host among the dead", SOON, || {
        is_streaming(&entry(&mut session, "pull", "alive")).then_some(())
    });
    canary.check(&server);
    let usage = server.counters().usage();
    assert!(usage.threads <= THREADS && usage.files < 200, "{usage:?}");
    // It comes back among the dead too.
    let id = entry(&mut session, "pull", "alive")["connectionId"].clone();
    session.done(&format!("closeConnection id={id}"));
    wait_for("the living host again", SOON, || {
        let entry = entry(&mut session, "pull", "alive");
        (is_streaming(&entry) && entry["connectionId"] != id).then_some(())
    });
    canary.check(&server);
    let lines = server.log().lines().filter(|line| line.contains("pull of")).count();
    assert!(lines < 100, "{lines} lines in the log");
    server.stop();
}

/// The same, for some rounds, which pass quickly where the system gives up soon: memory does not grow.
#[test]
fn rounds_of_dead_pulls_leave_nothing_behind() {
    let Some(stage) = Stage::new() else { return };
    stage.namespace.name_server(Ipv4Addr::new(192, 0, 2, 53));
    let soon = Launch::new("sysctl").inside(&stage.namespace).args("-q -w net.ipv4.tcp_syn_retries=1").run();
    if soon.code != Some(0) {
        eprintln!("skipped: this system does not give up sooner");
        return;
    }
    let config = stage.config.clone().limit("linkAttempts", "500");
    let server = Stage { config, ..stage }.start(&dead(600));
    let mut session = Session::operator(&server);
    let hosts = entries(&mut session, "pull").into_iter();
    let hosts: Vec<Value> = hosts.filter(|entry| entry["uri"].to_string().contains("192.0.2")).collect();
    assert_eq!(hosts.len(), 450);
    let round = |session: &mut Session, least: u64| {
        let mut left = hosts.clone();
        wait_for(&format!("{least} failures of each host"), Duration::from_secs(60), || {
            while let Some(entry) = left.pop() {
                let now = session.done(&format!("getConfigInfo id={}", entry["configId"]));
                if now["failures"].as_u64() < Some(least) {
                    left.push(entry);
                    return None;
                }
            }
            Some(())
        });
    };
    round(&mut session, 1);
    let (before, burnt) = (server.counters().usage(), cpu(&server));
    let rounds = std::env::var("CRTMP_DEAD_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    for least in 2..=rounds {
        round(&mut session, least);
        let usage = server.counters().usage();
        eprintln!("round {least}: {usage:?}, {:?} of processor time", cpu(&server) - burnt);
    }
    let mut last = before;
    let flat = poll(SOON, || {
        last = server.counters().usage();
        (last.allocated <= before.allocated + HEAP && last.threads <= before.threads + 8).then_some(())
    });
    assert!(flat.is_some(), "after a round {before:?}, later {last:?}");
    let lines = server.log().lines().filter(|line| line.contains("pull of")).count();
    assert!(lines < 100, "{lines} lines in the log");
    server.stop();
}

/// A name server, as good as it must be. It ends when this is dropped.
struct Names {
    stop: Arc<AtomicBool>,
    /// How often `changing.example` was asked for.
    changing: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

impl Names {
    /// Answers on port 53 of `address`; a name that changes leads there in the end.
    fn start(address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 53)).expect("port 53 is free");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket option");
        let (stop, changing) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let thread = thread::spawn({
            let (stop, changing) = (stop.clone(), changing.clone());
            move || {
                let mut buffer = [0; 1500];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                    if let Some(answer) = answer(&buffer[..length], address, &changing) {
                        let _ = socket.send_to(&answer, from);
                    }
                }
            }
        });
        Self { stop, changing, thread: Some(thread) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is answered to a question, if anything.
fn answer(question: &[u8], address: Ipv4Addr, changing: &AtomicU32) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push_str(&String::from_utf8_lossy(question.get(at..at + length)?));
        name.push('.');
        at += length;
    }
    let asked = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let question_end = at + 4;
    let (mut code, mut records) = (0, Vec::new());
    let v4 = |address: Ipv4Addr| (TYPE_A, address.octets().to_vec());
    match name.as_str() {
        "silent.example." => return None,
        name if name.ends_with(".dead.") => return None,
        "alive.example." => records.push(v4(address)),
        "failing.example." => code = 2,
        "many.example." => records.extend((1..=100).map(|last| v4(Ipv4Addr::new(127, 9, 9, last)))),
        "six.example." => records.push((TYPE_AAAA, std::net::Ipv6Addr::LOCALHOST.octets().to_vec())),
        "changing.example." => {
            let before = match asked {
                TYPE_A => changing.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
            records.push(v4(if before == 0 { Ipv4Addr::new(127, 9, 9, 9) } else { address }));
        }
        // Leads to itself.
        "circle.example." => records.push((5, b"\x06circle\x07example\x00".to_vec())),
        _ => code = 3,
    }
    records.retain(|(kind, _)| *kind == asked || *kind == 5);
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(records.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question.get(12..question_end)?);
    for (kind, data) in records {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

/// FLT-10: name servers that deny, fail, say nothing, too much, something else each time, or only IPv6.
#[test]
fn name_servers_of_every_kind_delay_nobody() {
    let Some(stage) = Stage::new() else { return };
    let host = stage.namespace.host();
    let names = Names::start(host);
    stage.namespace.name_server(host);
    let origin = Server::start(&Config::new().ip(&host.to_string()));
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let inside = Server::start_under(&stage.namespace.words(), &Config::new().ip("::1"));
    let six = inside.address().port();
    let _other = ffmpeg::publish_film(&inside.url("one")).inside(&stage.namespace).start();
    inside.wait_for_publisher("one");

    let (alive, refused) = (origin.address().port(), free_port());
    let mut streams = String::new();
    for (name, port) in [
        ("missing", alive),
        ("failing", alive),
        ("silent", alive),
        ("circle", alive),
        ("many", refused),
        ("six", six),
        ("changing", alive),
    ] {
        let _ = write!(
            streams,
            "{{ uri = \"rtmp://{name}.example:{port}/live/one\", localStreamName = \"{name}\" }}, "
        );
    }
    let server = stage.start(&streams);
    let mut canary = Canary::start(&server);
    let mut session = Session::operator(&server);
    for name in ["six", "changing"] {
        wait_for("media", SOON, || is_streaming(&entry(&mut session, "pull", name)).then_some(()));
    }
    let changed = entry(&mut session, "pull", "changing");
    assert_eq!(changed["failures"], 1, "{changed}");
    assert!(names.changing.load(Ordering::Relaxed) >= 2);
    assert_eq!(entry(&mut session, "pull", "six")["address"], format!("[::1]:{six}"));
    for (name, words) in [
        ("missing", "not known"),
        ("failing", "name resolution"),
        ("silent", "too long"),
        ("circle", "not known"),
        ("many", "refused"),
    ] {
        let mut last = Value::Null;
        let found = poll(SOON, || {
            last = entry(&mut session, "pull", name);
            (!cause(&last).is_empty()).then_some(())
        });
        assert!(found.is_some() && cause(&last).contains(words), "{name}: {last}");
    }
    canary.check(&server);
    let usage = server.counters().usage();
    assert!(usage.threads <= THREADS, "{usage:?}");
    server.stop();
    inside.stop();
    origin.stop();
}

/// FLT-10: a thousand names whose servers do not answer, each of a zone of its own, beside one whose server does.
#[test]
fn a_thousand_names_that_nobody_answers_for_keep_none_waiting() {
    let Some(stage) = Stage::new() else { return };
    let host = stage.namespace.host();
    let _names = Names::start(host);
    stage.namespace.name_server(host);
    let origin = Server::start(&Config::new().ip(&host.to_string()));
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let mut streams = String::new();
    for number in 0..1000 {
        let _ = write!(streams, "{{ uri = \"rtmp://h.z{number}.dead/live/s{number}\" }}, ");
    }
    let server = stage.start(&streams);
    let mut session = Session::operator(&server);
    let alive = format!("rtmp://alive.example:{}/live/one", origin.address().port());
    session.done(&format!("pullStream uri={alive}"));
    // It waits for a place among the attempts, and for a thread that looks names up: ten seconds for each at most.
    wait_for("a living name among the dead", 2 * SOON, || {
        is_streaming(&entry(&mut session, "pull", "one")).then_some(())
    });
    assert_eq!(entry(&mut session, "pull", "one")["attempts"], 1);
    let usage = server.counters().usage();
    assert!(usage.threads <= THREADS, "{usage:?}");
    server.stop();
    origin.stop();
}
