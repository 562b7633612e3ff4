//! An application that does everything wrong, beside 50 players of another application and a running stream of its own:
//! none of them may lose a frame, and the server must end well.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crtmp_tests::cli::{self, Session};
use crtmp_tests::numbered::{Shape, Source};
use crtmp_tests::wire::{self, Client, Message, amf};
use crtmp_tests::{Config, Server, wait_for};
use serde_json::Value;

use crate::SOON;
use crate::crowd::{Crowd, Pace};

const SHAPE: Shape = Shape { picture: 2000, gop: 25, interval: 40 };

/// The types of messages.
const USER_CONTROL: u8 = 4;
const DATA: u8 = 18;

/// Has the misbehaving application obey; gives what it knows.
fn obey(session: &mut Session, hook: &str, order: &str) -> Value {
    session.done(&format!("misbehave hook={hook} order={}", order.replace(' ', "\\ ")))
}

/// What is known of an application.
pub(crate) fn application(session: &mut Session, name: &str) -> Value {
    let all = session.done("listApplications");
    let all = all.as_array().expect("a list");
    all.iter().find(|application| application["name"] == name).expect("it is there").clone()
}

/// The misbehaving application with a port of its own, and an administrator.
fn stage() -> Server {
    Server::start(&config("hookTimeout = 1, laterTimeout = 1"))
}

fn config(keys: &str) -> Config {
    let misbehaving = format!(
        "{{ name = \"misbehaving\", pingInterval = 1, drop = \"panic in drop\", {keys}, {} }}",
        acceptor("inboundRtmp")
    );
    Config::new().log_level(3).workers(2).block(&misbehaving).block(&cli::administrator())
}

/// The acceptor of the misbehaving application itself.
fn own_address(server: &Server) -> SocketAddr {
    let mut services = server.services().iter().rev();
    services.find(|service| service.chain == "inboundRtmp").expect("its acceptor").address
}

fn acceptor(chain: &str) -> String {
    format!("acceptors = {{ {{ ip = \"127.0.0.1\", port = 0, protocol = {chain:?} }} }}")
}

/// Lets 50 players of another application and 10 of this one go on during `work`; then none of them may have lost
/// anything.
pub(crate) fn beside_canaries(server: &Server, application: &str, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    let ready = std::sync::Barrier::new(3);
    let crowd = |application, players| {
        let mut crowd = Crowd::of_application(server, application, "canary", SHAPE);
        crowd.join(players, Pace::Fast);
        ready.wait();
        crowd.go_on_until(&over);
        crowd.assert_fast_are_whole();
    };
    thread::scope(|scope| {
        scope.spawn(|| crowd("live", 50));
        scope.spawn(|| crowd(application, 10));
        ready.wait();
        // The others end also where this fails.
        let _over = Over(&over);
        work();
    });
    assert!(server.runs(), "the server is gone");
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client of the misbehaving application with a message stream.
fn client(server: &Server) -> Client {
    let mut client = Client::connected(server.address(), "misbehaving");
    client.create_stream();
    client
}

fn publisher(server: &Server, name: &str) -> Source {
    Source::of(Client::publisher(server.address(), "misbehaving", name), SHAPE, 0)
}

/// What calls a hook.
type Trigger = fn(&Server, &mut Session);

/// Every hook but `new` and `drop`, and what calls it.
const HOOKS: [(&str, Trigger); 16] = [
    ("accept", |server, _| {
        let mut client = Client::open(own_address(server));
        client.expect_close(SOON);
    }),
    ("connect", |server, _| {
        let mut client = Client::shaken(server.address());
        client.send(&wire::connect("misbehaving/panic in connect", "rtmp://x/misbehaving"));
        client.expect("_error");
    }),
    ("publish", |server, _| {
        let mut client = client(server);
        client.send(&wire::publish(1, "panic in publish"));
        client.expect_refusal();
    }),
    ("play", |server, _| {
        let mut client = client(server);
        client.send(&wire::play(1, "panic in play"));
        client.expect_refusal();
    }),
    ("message", |server, _| {
        let mut client = client(server);
        client.send(&Message::command(0, "panic in message", 7.0, &[amf::null()]));
        client.expect("_error");
    }),
    ("metadata", |server, _| {
        let mut source = publisher(server, "described");
        let object = amf::object(&[("width", amf::number(1.0))]);
        let payload = [amf::string("@setDataFrame"), amf::string("onMetaData"), object].concat();
        source.client().send(&Message {
            chunk_stream: 5,
            kind: DATA,
            stream: 1,
            payload,
            ..Message::default()
        });
        source.client().expect_open();
    }),
    ("unpublish", |server, _| drop(publisher(server, "ends"))),
    ("unplay", |server, _| {
        let mut player = Client::player(server.address(), "misbehaving", "canary");
        player.expect("NetStream.Play.Start");
    }),
    ("close", |server, _| drop(client(server))),
    ("cancel", |server, _| {
        let mut client = client(server);
        client.send(&wire::publish(1, "later"));
        client.expect_refusal();
    }),
    ("pong", |server, _| {
        let mut client = client(server);
        let ping = client.expect_kind(USER_CONTROL);
        let mut payload = ping.payload.clone();
        let until = Instant::now() + SOON;
        while payload[..2] != [0, 6] {
            assert!(Instant::now() < until, "no ping came");
            payload = client.expect_kind(USER_CONTROL).payload;
        }
        payload[1] = 7;
        client.send(&Message { chunk_stream: 2, kind: USER_CONTROL, payload, ..Message::default() });
        client.expect_open();
    }),
    ("frame", |server, _| {
        let mut source = publisher(server, "tap");
        source.picture();
        source.client().expect_open();
    }),
    ("stream", |server, cli| {
        let _source = publisher(server, "comes");
        // A stream that ends before the application has heard of it has never been.
        cli.run("misbehave hook=command order=nothing");
    }),
    ("source", |_, cli| drop(obey(cli, "command", "source"))),
    ("timer", |_, cli| drop(obey(cli, "command", "timer"))),
    ("result", |_, cli| drop(obey(cli, "command", "call"))),
];

#[test]
fn every_hook_may_panic() {
    let server = stage();
    beside_canaries(&server, "misbehaving", || {
        let mut cli = Session::operator(&server);
        let mut disabled = 0;
        for (hook, trigger) in HOOKS {
            let before = application(&mut cli, "misbehaving")["panics"].as_u64().expect("a number");
            obey(&mut cli, hook, &format!("panic in {hook}"));
            trigger(&server, &mut cli);
            let what = format!("the panic in {hook}");
            let now = wait_for(&what, SOON, || {
                let now = application(&mut cli, "misbehaving");
                (now["panics"].as_u64() > Some(before)).then_some(now)
            });
            if now["health"] == "disabled" {
                disabled += 1;
                let refused = cli.run("misbehave hook=command order=nothing");
                assert_eq!(refused["status"], "FAIL", "{refused}");
                let mut other = Client::shaken(server.address());
                other.send(&wire::connect("misbehaving", "rtmp://x/misbehaving"));
                other.expect("_error");
                cli.done("enableApplication name=misbehaving");
            }
            assert_eq!(application(&mut cli, "misbehaving")["health"], "well", "after {hook}");
        }
        assert_eq!(disabled, 1, "ten panics within a minute disable it");
        let failed = cli.run("misbehave hook=command order=panic");
        assert_eq!(failed["status"], "FAIL", "{failed}");
        client(&server).expect_open();
    });
    server.stop();
}

#[test]
fn hooks_that_sleep_and_never_return_cost_their_own_application_only() {
    let server = stage();
    beside_canaries(&server, "misbehaving", || {
        let mut cli = Session::operator(&server);
        let mut stuck = client(&server);
        let asked = Instant::now();
        stuck.send(&wire::publish(1, "sleep5000"));
        stuck.expect_refusal();
        assert!(asked.elapsed() < Duration::from_secs(4), "it is refused after hookTimeout");
        assert_eq!(application(&mut cli, "misbehaving")["health"], "stuck");
        let refused = cli.run("misbehave hook=command order=nothing");
        assert_eq!(refused["status"], "FAIL", "{refused}");
        wait_for("the end of the sleep", SOON, || {
            (application(&mut cli, "misbehaving")["health"] == "well").then_some(())
        });
        stuck.expect_open();

        let mut never = client(&server);
        never.send(&wire::publish(1, "never"));
        never.expect_refusal();
        assert_eq!(application(&mut cli, "misbehaving")["health"], "stuck");
        cli.done("enableApplication name=misbehaving");
        assert_eq!(application(&mut cli, "misbehaving")["health"], "well");
        assert_eq!(application(&mut cli, "misbehaving")["oldInstances"], 1);
        client(&server).expect_open();
        obey(&mut cli, "command", "nothing");
        publisher(&server, "healthy").client().expect_open();
    });
    let ending = Instant::now();
    server.stop();
    assert!(ending.elapsed() < Duration::from_secs(12), "it took {:?}", ending.elapsed());
}

#[test]
fn absurd_calls_and_all_that_can_be_taken_at_once() {
    // On a busy machine a thousand calls take their time, and a publisher may pause for longer than another one of its
    // name must wait; the application is one.
    let server =
        Server::start(&config("hookTimeout = 10, laterTimeout = 1, duplicatePublisher = \"reject\""));
    beside_canaries(&server, "misbehaving", || {
        let mut cli = Session::operator(&server);
        assert_eq!(obey(&mut cli, "command", "commands")["taken"], 255, "256 with the one that orders");
        assert_eq!(obey(&mut cli, "command", "timers")["taken"], 10_000);
        obey(&mut cli, "command", "flood");
        assert_eq!(obey(&mut cli, "command", "allocate")["kept"], 64);
        assert_eq!(obey(&mut cli, "command", "sources")["sources"], 1000);
        // What the application does to the newest connection of its own is its own business.
        let victim = client(&server);
        cli.run("misbehave hook=command order=everything");
        wait_for("the application to be well again", SOON, || {
            (application(&mut cli, "misbehaving")["health"] == "well").then_some(())
        });
        drop(victim);
        let names = ["wrong", "twice", "answer"];
        for name in names {
            let mut client = client(&server);
            client.send(&wire::publish(1, name));
            client.expect("NetStream.");
            client.expect_open();
        }
        assert_eq!(obey(&mut cli, "command", "others")["taken"], 0, "nobody waits for an answer");
        let streams = || server.counters().json()["streams"].as_array().map_or(0, Vec::len);
        wait_for("the sources", SOON, || (streams() >= 1002).then_some(()));
        cli.done("disableApplication name=misbehaving");
        wait_for("the end of the sources", SOON, || (streams() <= 3).then_some(()));
        cli.done("enableApplication name=misbehaving");
        obey(&mut cli, "command", "nothing");
    });
    server.stop();
}

/// What waits for the end of a start is bounded.
#[test]
fn a_start_that_connects_without_end_is_held_back() {
    let block = format!("{{ name = \"misbehaving\", new = \"connects\", {} }}", acceptor("inboundRtmp"));
    let server = Server::start(&Config::new().workers(2).block(&block).block(&cli::administrator()));
    server.wait_for_log("256 connects of 1000 are taken");
    assert_eq!(application(&mut Session::operator(&server), "misbehaving")["health"], "well");
    server.stop();
}

#[test]
fn who_taps_and_is_slow_misses_frames_and_memory_stays() {
    let server = stage();
    let shape = Shape { picture: 200_000, ..SHAPE };
    beside_canaries(&server, "misbehaving", || {
        let mut cli = Session::operator(&server);
        let before = server.counters().usage().allocated;
        let client = Client::publisher(server.address(), "misbehaving", "tap slowly");
        let mut source = Source::of(client, shape, 0);
        let known = wait_for("frames that are left out", SOON, || {
            source.keep_pace();
            let known = obey(&mut cli, "command", "nothing");
            (known["leftOut"].as_u64() > Some(10)).then_some(known)
        });
        assert!(known["frames"].as_u64() > Some(5), "{known}");
        let grown = server.counters().usage().allocated.saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes more");
    });
    server.stop();
}

/// What a connection has given up counts against it until the application has answered it.
#[test]
fn who_asks_and_gives_up_in_a_loop_takes_no_room_from_others() {
    let server = stage();
    let mut cli = Session::operator(&server);
    // It is allowed one stream, so that commandsBefore does not count.
    let mut peer = Client::publisher(server.address(), "misbehaving", "allowed");
    peer.create_stream();
    let before = server.counters().usage().allocated;
    let give_up = Message::command(2, "closeStream", 0.0, &[amf::null()]).chunks(128);
    for wish in [wire::publish(2, "sleep20"), wire::play(2, "sleep20")] {
        let round = [wish.chunks(128), give_up.clone()].concat().repeat(500);
        for _ in 0..40 {
            peer.write(&round);
        }
        // All of it has been read.
        peer.expect_open();
        let known = application(&mut cli, "misbehaving");
        assert_eq!(known["health"], "well");
        assert!(known["waiting"].as_u64().is_some_and(|waiting| waiting <= 8), "{known}");
        let asked = Instant::now();
        publisher(&server, "another").client().expect_open();
        assert!(asked.elapsed() < Duration::from_secs(2), "another is asked about at once");
    }
    let grown = server.counters().usage().allocated.saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes more");
    // It is served itself, too.
    peer.send(&wire::publish(2, "in earnest"));
    peer.expect("NetStream.Publish.Start");
    server.stop();
}

#[test]
fn it_is_disabled_while_hooks_wait_and_enabled_again() {
    let server = stage();
    beside_canaries(&server, "misbehaving", || {
        let mut cli = Session::operator(&server);
        let mut later = client(&server);
        later.send(&wire::publish(1, "later"));
        let mut asleep = client(&server);
        asleep.send(&wire::publish(1, "sleep900"));
        // Hooks of one connection come in order: this one waits behind the other.
        asleep.create_stream();
        asleep.send(&wire::publish(2, "waits"));
        let asked = Instant::now();
        cli.done("disableApplication name=misbehaving");
        later.expect_refusal();
        asleep.expect_refusal();
        asleep.expect_refusal();
        assert!(asked.elapsed() < Duration::from_millis(800), "all are refused at once");
        assert_eq!(application(&mut cli, "misbehaving")["health"], "disabled");
        cli.done("enableApplication name=misbehaving");
        assert_eq!(cli.run("enableApplication name=misbehaving")["status"], "FAIL", "it is well");
        publisher(&server, "healthy").client().expect_open();
        drop((later, asleep));
    });
    // With its connections the old instance goes.
    let mut cli = Session::operator(&server);
    wait_for("the end of the old instance", SOON, || {
        (application(&mut cli, "misbehaving")["oldInstances"] == 0).then_some(())
    });
    obey(&mut cli, "command", "nothing");
    server.stop();
}

#[test]
fn a_connection_waits_for_on_accept() {
    let server = stage();
    let mut cli = Session::operator(&server);
    let address = own_address(&server);
    for order in ["wrong", "later", "answer"] {
        obey(&mut cli, "accept", order);
        Client::open(address).expect_close(SOON);
    }
    for order in ["twice", "sleep300", "nothing"] {
        obey(&mut cli, "accept", order);
        Client::connected(address, "misbehaving").expect_open();
    }
    assert!(server.log().contains("answered: Ok(()), Err(Gone)"));
    // One that leaves while it waits is not missed, and one that is hurried by the end of its application goes.
    obey(&mut cli, "accept", "later");
    drop(Client::open(address));
    obey(&mut cli, "accept", "sleep900");
    let mut waiting = Client::open(address);
    cli.done("disableApplication name=misbehaving");
    waiting.expect_close(Duration::from_secs(5));
    server.stop();
}
