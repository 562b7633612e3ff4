//! Pulls and pushes whose far ends flap, reset, lead in circles, or are none that anybody may go to; and a server that
//! stands still in the middle of them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::flapper::{Flapper, Mode};
use crtmp_tests::nginx::{self, Nginx};
use crtmp_tests::upstream::{Act, Moment, Pace, Script, Upstream};
use crtmp_tests::{
    Canary, Config, Kind, Program, Recording, Server, Usage, ffmpeg, fixture, flv, poll, wait_for,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{SOON, entries, entry, free_port, wait_for_more};

/// Bytes that the heap may grow by where nothing is left behind: what the allocator and the log need for a moment.
const HEAP: u64 = 256 << 10;

fn config() -> Config {
    Config::new()
        .workers(2)
        .application("publisherReturn", "60")
        .top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }")
        .block(&administrator())
}

fn status(entry: &Value) -> &str {
    entry["status"]["current"]["description"].as_str().unwrap_or_default()
}

/// Waits until a pull or push is as `probe` wants it.
fn wait_for_entry(
    session: &mut Session,
    group: &str,
    stream: &str,
    what: &str,
    probe: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    let found = poll(Duration::from_secs(40), || {
        last = entry(session, group, stream);
        probe(&last).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("waited in vain for {what}: {last}"))
}

fn wait_for_streaming(session: &mut Session, group: &str, stream: &str) -> Value {
    wait_for_entry(session, group, stream, "media", |entry| status(entry) == "Streaming")
}

/// Ends all pulls and pushes and waits until the server takes no more of the machine than `before`.
fn assert_nothing_left(server: &Server, session: &mut Session, before: Usage) {
    for group in ["pull", "push"] {
        for entry in entries(session, group) {
            session.done(&format!("removeConfig id={}", entry["configId"]));
        }
    }
    let mut last = before;
    let flat = poll(SOON, || {
        last = server.counters().usage();
        let small = last.files <= before.files && last.threads <= before.threads;
        (small && last.allocated <= before.allocated + HEAP).then_some(())
    });
    assert!(flat.is_some(), "before {before:?}, now {last:?}");
}

/// FLT-08: an origin that comes and goes in every way. Attempts are further and further apart, there is never more than
/// one, players stay, and nothing is left in the end.
#[test]
fn an_upstream_that_flaps_is_tried_with_patience_and_keeps_its_players() {
    let origin = Server::start(&Config::new());
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let way = Flapper::start(origin.address());
    let server = Server::start(&config().limit("handshakeTimeout", "1").log_level(3));
    let mut session = Session::operator(&server);
    let before = server.counters().usage();
    session.done(&format!("pullStream uri=rtmp://{}/live/one keepAlive=1", way.address()));
    wait_for_streaming(&mut session, "pull", "one");
    let mut player = Recording::start(&server.url("one"));
    wait_for_more(&mut player, fixture::GOP);

    for mode in [Mode::Close, Mode::Reset, Mode::Silent, Mode::Refuse] {
        let failures = entry(&mut session, "pull", "one")["failures"].as_u64().expect("a number");
        way.set(mode);
        let mut least = failures + 1;
        if mode == Mode::Close {
            // That is the first failure; the attempt that meets this mode is the next.
            way.cut();
            least += 1;
        }
        let failed = |entry: &Value| entry["failures"].as_u64() >= Some(least) && entry["cause"].is_string();
        let failed = wait_for_entry(&mut session, "pull", "one", "a failure", failed);
        let players = origin.counters().players_of("one").len();
        assert!(players <= 1, "{mode:?}: {players} sessions at the origin, {failed}");
    }
    way.set(Mode::Through);
    wait_for_streaming(&mut session, "pull", "one");
    wait_for_more(&mut player, fixture::GOP);
    Recording::of_program(&player).assert_forward();
    assert_eq!(origin.counters().players_of("one").len(), 1, "one session at a time");

    // The second attempt comes after 1 second, then 2, 4, 8 and 16, each a quarter more or less, and nobody is early;
    // who was refused, after 8, is not seen here.
    let attempts = way.attempts();
    assert_eq!(attempts.len(), 5, "{attempts:?}");
    for (pair, least) in attempts.windows(2).skip(1).zip([1.4, 2.9, 17.9]) {
        let apart = (pair[1] - pair[0]).as_secs_f64();
        assert!(apart >= least, "{apart} s apart, at least {least} expected: {attempts:?}");
    }
    player.kill();
    assert_nothing_left(&server, &mut session, before);
    let lines = server.log().lines().filter(|line| line.contains("pull of")).count();
    assert!(lines <= 10, "{lines} lines of the log are about the pull");
    server.stop();
    origin.stop();
}

/// FLT-08: a far end that is up and down several times a second, for many pulls and pushes at once. When it stays up, all
/// come back, each once.
#[test]
fn many_links_over_a_way_that_flickers_come_back_once_each() {
    const EACH: usize = 15;
    let far = Server::start(&Config::new());
    let _publisher = ffmpeg::publish_film(&far.url("one")).start();
    far.wait_for_publisher("one");
    let way = Flapper::start(far.address());
    // On a busy machine the canary's player would begin in the middle of a group.
    let server = Server::start(&config().whole_groups().log_level(3).application("publisherReturn", "1"));
    let mut canary = Canary::start(&server);
    let mut session = Session::operator(&server);
    let before = server.counters().usage();
    for number in 0..EACH {
        // Each pull and push share a connection, and no others: they say something else when they connect.
        let uri = format!("rtmp://{}/live", way.address());
        let said = format!("pageUrl=http://x/{number}");
        session.done(&format!("pullStream uri={uri}/one localStreamName=p{number} {said}"));
        let name = Canary::STREAM;
        session
            .done(&format!("pushStream uri={uri} localStreamName={name} targetStreamName=q{number} {said}"));
    }
    let modes = [Mode::Through, Mode::Close, Mode::Through, Mode::Reset, Mode::Through, Mode::Refuse];
    for mode in modes.into_iter().cycle().take(24) {
        way.set(mode);
        let until = Instant::now() + Duration::from_millis(200);
        wait_for("a moment to pass", SOON, || (Instant::now() >= until).then_some(()));
        if mode == Mode::Through { way.cut() } else { way.reset() }
    }
    way.set(Mode::Through);
    wait_for("all of them", 2 * SOON, || {
        let all = [entries(&mut session, "pull"), entries(&mut session, "push")].concat();
        all.iter().all(|entry| status(entry) == "Streaming").then_some(())
    });
    // Those that one side has given up end on the other when that hears of it.
    let wait_for_each = |what: &str, most: usize| {
        far.wait_for_counters(what, 2 * SOON, |counters| {
            let connections = counters.connections();
            let plays: usize = connections.iter().map(|one| one.plays.len()).sum();
            let publishes: usize = connections.iter().map(|one| one.publishes.len()).sum();
            (plays == EACH && publishes == EACH + 1 && connections.len() <= most).then_some(())
        });
    };
    // Where two breaks in a row looked as if the far end bore one stream for each connection, a pull and a push are apart.
    wait_for_each("each once", 2 * EACH + 1);
    // That was a guess, which the next break takes back.
    way.cut();
    wait_for_each("each pair on one connection", EACH + 1);
    canary.check(&server);
    assert_nothing_left(&server, &mut session, before);
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("pull of") || line.contains("push of")).count();
    assert!(lines < 150, "{lines} lines in the log");
    server.stop();
    far.stop();
}

/// FLT-21: far ends that reset in every state, some hundreds of times.
#[test]
fn resets_in_every_state_leave_nothing_behind() {
    let film: Vec<_> = flv::read(fixture::film()).into_iter().take(50).collect();
    let reset = |moment| Script::new().on(moment, [Act::Reset]);
    let upstreams = [
        reset(Moment::Accepted),
        reset(Moment::Hello),
        reset(Moment::Shaken),
        reset(Moment::Command("connect")),
        Script::new().at("connect", [Act::Answer, Act::Reset]),
        reset(Moment::Command("createStream")),
        Script::new().at("createStream", [Act::Answer, Act::Reset]),
        reset(Moment::Command("publish")).at("play", [Act::Reset]),
        Script::serving(film).at("publish", [Act::Answer, Act::Reset]),
        Script::new().at("play", [Act::Answer, Act::Reset]).on(Moment::Media(5), [Act::Reset]),
    ]
    .map(Upstream::start);
    let server = Server::start(&config().log_level(3).application("publisherReturn", "0"));
    let mut canary = Canary::start(&server);
    let mut session = Session::operator(&server);
    let round = |session: &mut Session| {
        let most = |upstreams: &[Upstream]| upstreams.iter().map(|one| one.visits().len()).sum::<usize>();
        let before = most(&upstreams);
        for (state, upstream) in upstreams.iter().enumerate() {
            let address = upstream.address();
            for number in 0..8 {
                // Each by a connection of its own: another application at the far end.
                let uri = format!("rtmp://{address}/app{number}");
                session.done(&format!("pullStream uri={uri}/x localStreamName=s{state}x{number}"));
                let name = Canary::STREAM;
                session
                    .done(&format!("pushStream uri={uri} localStreamName={name} targetStreamName=x{number}"));
            }
        }
        wait_for("hundreds of connections", SOON, || (most(&upstreams) >= before + 300).then_some(()));
    };
    round(&mut session);
    let ids = |session: &mut Session| {
        let all = [entries(session, "pull"), entries(session, "push")].concat();
        for entry in all {
            session.done(&format!("removeConfig id={}", entry["configId"]));
        }
    };
    ids(&mut session);
    let mut before = server.counters().usage();
    wait_for("all connections but three to end", SOON, || {
        before = server.counters().usage();
        (server.counters().connections().len() <= 3).then_some(())
    });
    canary.check(&server);
    round(&mut session);
    assert_nothing_left(&server, &mut session, before);
    canary.check(&server);
    // Each command has its line, and so has each push that has begun.
    let log = server.log();
    let others = |line: &&str| !line.contains("caller=") && !line.contains("playing stream=");
    let lines: Vec<&str> = log.lines().filter(others).collect();
    assert!(lines.len() < 150, "{} lines in the log: {lines:#?}", lines.len());
    server.stop();
}

/// FLT-12: far ends that send too little. What falls silent is noticed, what still answers is waited for, as is who has
/// sent no media yet; sound alone reaches players at once.
#[test]
fn upstreams_that_send_too_little_are_told_from_each_other() {
    let film: Vec<_> = flv::read(fixture::film()).into_iter().take(2000).collect();
    let begin = Act::Serve(film.iter().take(50).cloned().collect(), Pace::AtOnce);
    let sound: Vec<_> = film.into_iter().filter(|message| message.kind == 8).collect();
    let waiting = Upstream::start(Script::new());
    let alive = Upstream::start(Script::new().at("play", [Act::Answer, begin.clone()]));
    let silent = Upstream::start(Script::new().at("play", [Act::Answer, begin, Act::Silence]));
    let sounding = Upstream::start(Script::serving(sound));
    let server = Server::start(&config());
    let mut session = Session::operator(&server);
    let all = [("waiting", &waiting), ("alive", &alive), ("silent", &silent), ("sounding", &sounding)];
    for (name, upstream) in all {
        session.done(&format!("pullStream uri={} localStreamName={name}", upstream.url("live", "x")));
    }
    server.wait_for_publisher("sounding");
    let player = Recording::start(&server.url("sounding"));
    wait_for("sound", SOON, || (Recording::of_program(&player).of(Kind::Audio).len() > 20).then_some(()));
    let noticed =
        wait_for_entry(&mut session, "pull", "silent", "an end", |entry| entry["cause"].is_string());
    let began = silent.visit(0).began();
    assert!(began.elapsed() < Duration::from_secs(15), "after {:?}: {noticed}", began.elapsed());
    for (name, upstream, expected) in [
        ("waiting", &waiting, "Connecting"),
        ("alive", &alive, "Streaming"),
        ("sounding", &sounding, "Streaming"),
    ] {
        let now = entry(&mut session, "pull", name);
        assert_eq!((status(&now), &now["failures"]), (expected, &0.into()), "{now}");
        assert_eq!(upstream.visits().len(), 1);
    }
    server.stop();
}

/// SSRF-03: what would come from itself does not, by pull and push, over one server and two, under the same name and
/// others. Each says why, and nobody else notices.
#[test]
fn streams_do_not_go_in_circles() {
    let [here, there] = [free_port(), free_port()];
    let at = |port: u16, name: &str| format!("rtmp://127.0.0.1:{port}/live/{name}");
    let both = |port: u16| config().port(port).limit("hops", "2");
    let pull = |uri: String, name: &str| format!("{{ uri = {uri:?}, localStreamName = {name:?} }}, ");
    let streams = [
        pull(at(here, "itself"), "itself"),
        pull(at(here, "right"), "left"),
        pull(at(here, "left"), "right"),
        pull(at(there, "round"), "round"),
    ];
    let first =
        Server::start(&both(here).application("externalStreams", &format!("{{ {} }}", streams.concat())));
    let second = Server::start(
        &both(there).application("externalStreams", &format!("{{ {} }}", pull(at(here, "round"), "round"))),
    );
    let mut canary = Canary::start(&first);
    let mut session = Session::operator(&first);
    let mut other = Session::operator(&second);
    // Pushes: back and forth, and on under new names.
    let uri = |port: u16| format!("rtmp://127.0.0.1:{port}/live");
    session.done(&format!("pushStream uri={} localStreamName=ball", uri(there)));
    other.done(&format!("pushStream uri={} localStreamName=ball", uri(here)));
    for step in 0..5 {
        let to = step + 1;
        session.done(&format!(
            "pushStream uri={} localStreamName=step{step} targetStreamName=step{to}",
            uri(here)
        ));
    }
    let _publishers: Vec<Program> =
        ["ball", "step0", "left", "itself"].map(|name| ffmpeg::publish_film(&first.url(name)).start()).into();
    second.wait_for_publisher("ball");
    first.wait_for_publisher("step2");

    let has = |text: &'static str| {
        move |entry: &Value| entry["cause"].as_str().is_some_and(|cause| cause.contains(text))
    };
    let refused = wait_for_entry(&mut other, "push", "ball", "a refusal", has("come from itself"));
    assert!(refused["failures"].as_u64() > Some(0), "{refused}");
    wait_for_entry(&mut session, "push", "step2", "a refusal", has("hops = 2"));
    assert!(first.counters().publisher_of("step3").is_none(), "it has come too far");
    // Those who published are there still.
    for name in ["ball", "step0", "left", "itself"] {
        assert!(first.counters().publisher_of(name).is_some(), "{name}");
    }
    wait_for_streaming(&mut session, "pull", "right");
    for name in ["itself", "left"] {
        wait_for_entry(&mut session, "pull", name, "a refusal", has("come from itself"));
    }
    let connections = first.counters().connections().len();
    assert!(connections < 40, "{connections} connections");
    canary.check(&first);
    first.stop();
    second.stop();
}

/// SSRF-03: a server of another family in the middle says nothing of where a stream has been. Who publishes a name
/// already stays.
#[test]
fn a_circle_through_a_foreign_server_ends_at_who_publishes_already() {
    let port = free_port();
    let ours = format!("rtmp://127.0.0.1:{port}/live");
    let other = Nginx::start(&[
        nginx::Application::live("live").push(&ours),
        nginx::Application::live("back").pull_on_demand(&ours),
    ]);
    let server = Server::start(&config().port(port));
    let mut session = Session::operator(&server);
    session.done(&format!("pushStream uri=rtmp://{}/live localStreamName=one", other.address()));
    let mut publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    let first = server.counters().publisher_of("one").expect("a publisher").id;
    session.done(&format!("pullStream uri=rtmp://{}/back/one localStreamName=one", other.address()));
    other.wait_for_publisher("live", "one");
    let mut player = Recording::start(&server.url("one"));
    wait_for_more(&mut player, fixture::GOP);
    let refused =
        wait_for_entry(&mut session, "pull", "one", "a refusal", |entry| entry["cause"].is_string());
    assert!(refused["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{refused}");
    wait_for_more(&mut player, 2 * fixture::GOP);
    assert!(publisher.runs());
    assert_eq!(server.counters().publisher_of("one").expect("it publishes").id, first);
    let recording = Recording::of_program(&player);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
    let connections = server.counters().connections().len();
    assert!(connections < 20, "{connections} connections");
    server.stop();
}

/// Counts who knocks, and lets nobody in.
struct Doorbell(TcpListener);

impl Doorbell {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("an address").port()
    }

    fn rings(&self) -> Vec<SocketAddr> {
        std::iter::from_fn(|| self.0.accept().ok().map(|(_, from)| from)).collect()
    }
}

/// SSRF-01: who may send commands does not get the server to call at its neighbours, however they are spelt.
#[test]
fn commands_lead_to_no_neighbour() {
    let bell = Doorbell::new();
    let port = bell.port();
    let server = Server::start(&Config::new().block(&administrator()));
    let mut session = Session::operator(&server);
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");

    for url in [
        "file:///etc/passwd",
        "concat:/etc/passwd|/etc/passwd",
        "gopher://127.0.0.1:{}/live/x",
        "http://127.0.0.1:{}/live/x",
        "https://127.0.0.1:{}/live/x",
        "rtmps://127.0.0.1:{}/live/x",
        "rtmp:127.0.0.1:{}/live/x",
        "rtmp://127.0.0.1:{}",
        "rtmp://127.0.0.1%00.example:{}/live/x",
        "rtmp://127.0.0.1:{}#@example.com/live/x",
        "//127.0.0.1:{}/live/x",
        "",
    ] {
        let url = url.replace("{}", &port.to_string());
        for command in ["pullStream", "pushStream"] {
            let text = session.fails(&format!("{command} uri={url} localStreamName=one keepAlive=0"));
            assert!(!text.contains("passwd"), "{url}: {text}");
        }
    }
    let mut asked = 0;
    for place in [
        "127.0.0.1:{}",
        "127.255.255.254:{}",
        "0.0.0.0:{}",
        "[::1]:{}",
        "[::]:{}",
        "[::ffff:127.0.0.1]:{}",
        "[::ffff:7f00:1]:{}",
        "[64:ff9b::127.0.0.1]:{}",
        "10.0.0.1:{}",
        "192.168.0.1:{}",
        "172.16.0.1:{}",
        "100.64.0.1:{}",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]:{}",
        "[fd00:ec2::254]",
        "1.1.1.1:22",
        "me:secret@127.0.0.1:{}",
        "example.com@127.0.0.1:{}",
        // What the system takes for addresses, and a name of this machine.
        "2130706433:{}",
        "0x7f000001:{}",
        "0x7f.1:{}",
        "0177.0.0.1:{}",
        "017700000001:{}",
        "127.1:{}",
        "0:{}",
        "localhost:{}",
        "LOCALHOST:{}",
        "ip6-localhost:{}",
    ] {
        let place = place.replace("{}", &port.to_string());
        for command in ["pullStream", "pushStream"] {
            let answer =
                session.run(&format!("{command} uri=rtmp://{place}/live/x localStreamName=one keepAlive=0"));
            if answer["status"] == "FAIL" {
                let text = answer["description"].as_str().unwrap_or_default();
                assert!(text.contains("outboundPolicy"), "{place}: {text}");
                continue;
            }
            // It takes a look-up to know.
            asked += 1;
            let group = if command == "pullStream" { "pull" } else { "push" };
            let ended =
                wait_for_entry(&mut session, group, "one", "an end", |entry| status(entry) == "Ended");
            let cause = ended["cause"].as_str().unwrap_or_default();
            let nowhere = cause.contains("outboundPolicy") || cause.contains("not known");
            assert!(nowhere, "{place}: {cause}");
            session.done(&format!("removeConfig id={}", ended["configId"]));
        }
    }
    assert!(asked > 0, "no name was looked up");
    assert_eq!(bell.rings(), []);
    server.stop();
}

/// SSRF-01: the configuration may lead to neighbours, and even it not to where clouds keep their secrets.
#[test]
fn the_configuration_leads_to_neighbours_and_not_to_metadata() {
    let bell = Doorbell::new();
    let near = format!("rtmp://2130706433:{}/live/x", bell.port());
    let streams = format!(
        "{{ {{ uri = {near:?}, localStreamName = \"near\" }}, \
         {{ uri = \"rtmp://0xa9fea9fe/live/x\", localStreamName = \"away\" }} }}"
    );
    let config = Config::new().block(&administrator()).application("externalStreams", &streams);
    let server = Server::start(&config);
    wait_for("a connection to the neighbour", SOON, || (!bell.rings().is_empty()).then_some(()));
    let mut session = Session::operator(&server);
    let away = wait_for_entry(&mut session, "pull", "away", "a refusal", |entry| entry["cause"].is_string());
    assert!(away["cause"].as_str().is_some_and(|cause| cause.contains("outboundPolicy.deny")), "{away}");
    server.stop();

    let plain = "{ { uri = \"rtmp://169.254.169.254/live/x\" } }";
    let server = Server::start(&Config::new().block(&administrator()).application("externalStreams", plain));
    let away = wait_for_entry(&mut Session::operator(&server), "pull", "x", "a refusal", |entry| {
        entry["cause"].as_str().is_some_and(|cause| cause.contains("outboundPolicy.deny"))
    });
    assert_eq!(away["address"], Value::Null, "{away}");
    server.stop();
}

/// FLT-17: the whole server stands still for longer than it lets others be silent. Its timers end nothing that is healthy
/// then, since what has come meanwhile is read first.
#[test]
fn a_server_that_stood_still_goes_on() {
    let origin = Server::start(&Config::new().application("publisherReturn", "60"));
    let target = Server::start(&Config::new().application("publisherReturn", "60"));
    let _publisher = ffmpeg::publish_film(&origin.url("one")).start();
    origin.wait_for_publisher("one");
    let server =
        Server::start(&config().limit("publisherIdle", "3").limit("peerIdle", "3").limit("pingAfter", "1"));
    let mut session = Session::operator(&server);
    let _other = ffmpeg::publish_film(&server.url("other")).start();
    server.wait_for_publisher("other");
    session.done(&format!("pullStream uri={} localStreamName=one", origin.url("one")));
    session.done(&format!("pushStream uri=rtmp://{}/live localStreamName=one", target.address()));
    target.wait_for_publisher("one");
    let mut near = Recording::start(&server.url("one"));
    let mut far = Recording::start(&target.url("one"));
    let mut beside = Recording::start(&server.url("other"));
    for player in [&mut near, &mut far, &mut beside] {
        wait_for_more(player, fixture::GOP);
    }
    let publishers = |server: &Server| {
        let counters = server.counters();
        ["one", "other"].map(|name| counters.publisher_of(name).map(|publisher| publisher.id))
    };
    let before = publishers(&server);
    server.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    wait_for("some seconds", SOON, || (stopped.elapsed() >= STOOD_STILL).then_some(()));
    server.signal(Signal::SIGCONT);
    for player in [&mut near, &mut far, &mut beside] {
        wait_for_more(player, 2 * fixture::GOP);
        Recording::of_program(player).assert_forward();
    }
    for group in ["pull", "push"] {
        let entry = wait_for_streaming(&mut session, group, "one");
        assert_eq!(entry["failures"], 0, "{entry}");
    }
    assert_eq!(publishers(&server), before, "nobody had to come again");
    server.stop();
    target.stop();
    origin.stop();
}

/// How long the server stands still.
const STOOD_STILL: Duration = Duration::from_secs(6);
