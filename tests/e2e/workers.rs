//! Publishers and players on several workers.

use std::fs;
use std::time::Duration;

use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::numbered::Shape;
use crtmp_tests::wire::Client;
use crtmp_tests::{
    Config, Counters, Kind, Program, Recording, Server, ffmpeg, fixture, folder_of_programs, poll, wait_for,
};

use crate::crowd::{Crowd, Pace};
use crate::{SOON, file};

#[test]
fn a_stream_hops_from_worker_to_worker() {
    let server = Server::start(&Config::new().whole_groups().workers(2));
    let _publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    let players: Vec<Program> = (0..4).map(|_| Recording::start(&server.url("one"))).collect();
    let home = server.counters().publisher_of("one").expect("it publishes").worker;
    server.wait_for_counters("a player on each worker", SOON, |counters| {
        let players = counters.players_of("one");
        let here = players.iter().any(|player| player.worker == home);
        let there = players.iter().any(|player| player.worker != home);
        (here && there && players.len() == 4).then_some(())
    });
    let enough = |player| Recording::of_program(player).of(Kind::Video).len() >= 3 * fixture::GOP;
    assert!(poll(SOON, || players.iter().all(enough).then_some(())).is_some(), "a player gets no pictures");
    for player in &players {
        let recording = Recording::of_program(player);
        recording.assert_part_of(fixture::packets());
        recording.assert_no_gap();
    }
    server.stop();
}

#[test]
fn connections_spread_over_the_workers() {
    let server = Server::start(&Config::new().workers(2));
    let address = server.address();
    let clients: Vec<_> = (0..10).map(|_| Client::connected(address, "live")).collect();
    let shares = server.counters().connections_per_worker();
    assert_eq!(shares.iter().sum::<u64>(), 10, "{shares:?}");
    assert!(shares.iter().all(|share| (4..=6).contains(share)), "{shares:?}");
    drop(clients);
    server.wait_for_counters("an empty server", SOON, |counters| {
        counters.connections().is_empty().then_some(())
    });
    server.stop();
}

/// Turns of a worker's loop so far.
fn turns(counters: &Counters, worker: u64) -> u64 {
    let workers = counters.json()["workers"].as_array().map_or(&[][..], Vec::as_slice);
    let entry = workers.iter().find(|entry| entry["id"] == worker).expect("each worker tells its turns");
    entry["turns"].as_u64().expect("a number")
}

/// How often a worker's thread has waited for something so far.
fn waits(server: &Server, worker: u64) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).expect("it runs");
    let read =
        |task: &fs::DirEntry, file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
    let name = format!("worker-{worker}");
    let task = tasks.flatten().find(|task| read(task, "comm").trim() == name).expect("a thread of this name");
    let status = read(&task, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

#[test]
fn a_worker_sleeps_while_the_streams_of_another_go_on() {
    const PICTURES: u32 = 75;
    // Timers of connections that were there a moment ago may still end.
    const FEW: u64 = 10;
    let server = Server::start(&Config::new().workers(2).log_level(3));
    let mut crowd = Crowd::new(&server, "one", Shape { picture: 2000, gop: 25, interval: 40 });
    let home = crowd.counters().publisher_of("one").expect("it publishes").worker;
    let other = 1 - home;
    let workers_of_players = |crowd: &Crowd<'_>| {
        let players = crowd.counters().players_of("one");
        players.into_iter().map(|player| (player.peer, player.worker)).collect::<Vec<_>>()
    };

    // New connections go where there are fewer: they fill the one worker, then the other.
    crowd.join(6, Pace::Fast);
    let placed = workers_of_players(&crowd);
    crowd.players.retain(|player| placed.contains(&(player.address.clone(), home)));
    assert!(!crowd.players.is_empty(), "no player on the worker of the publisher: {placed:?}");
    let alone = |counters: &Counters| counters.connections_per_worker()[other as usize] == 0;
    crowd.go_on("an empty worker", SOON, |crowd| alone(&crowd.counters()).then_some(()));

    let (before, slept) = (crowd.counters(), waits(&server, other));
    crowd.go_on_for(PICTURES);
    let (woken, after) = (waits(&server, other) - slept, crowd.counters());
    let grown = |worker: u64| turns(&after, worker) - turns(&before, worker);
    println!(
        "{PICTURES} pictures: {} turns here, {} turns and {woken} wake-ups there",
        grown(home),
        grown(other)
    );
    assert!(grown(home) >= u64::from(PICTURES) / 2, "the measure sees nothing: {} turns", grown(home));
    // One is for the counters themselves.
    assert!(grown(other) <= 1 + FEW && woken <= FEW, "{} turns and {woken} wake-ups", grown(other));

    // With a player there, the same measure sees the frames.
    crowd.join(4, Pace::Fast);
    assert!(workers_of_players(&crowd).iter().any(|(_, worker)| *worker == other));
    let before = crowd.counters();
    crowd.go_on_for(25);
    let frames = turns(&crowd.counters(), other) - turns(&before, other);
    assert!(frames > FEW, "{frames} turns with a player");
    crowd.assert_fast_are_whole();
    server.stop();
}

#[test]
fn what_a_silent_worker_has_is_not_said_to_be_missing() {
    let broken = folder_of_programs().join("libbrokenlayers.so");
    let config = Config::new()
        .workers(2)
        .limit("handshakeTimeout", "60")
        .block(&administrator())
        .top("plugins", &format!("{{ {broken:?} }}"))
        .application("acceptors", "{ { ip = \"127.0.0.1\", port = 0, protocol = \"hangsRtmp\" } }");
    let server = Server::start(&config);
    let mut session = Session::operator(&server);
    let mut worker_of = |of: &Client| {
        let peer = of.socket().local_addr().expect("it is connected").port();
        wait_for("the connection in the list", SOON, || {
            let all = session.done("listConnections");
            all.as_array()?.iter().find(|connection| connection["port"] == peer)?["worker"].as_u64()
        })
    };
    // New connections go where there are fewer: the publisher is not where the session is.
    let publisher = Client::publisher(server.address(), "live", "news");
    let home = worker_of(&publisher);
    let mut on_worker = |worker: u64, open: &dyn Fn() -> Client| {
        let mut all: Vec<Client> = Vec::new();
        while all.last().is_none_or(|client| worker_of(client) != worker) {
            all.push(open());
        }
        all
    };
    let players = on_worker(1 - home, &|| Client::player(server.address(), "live", "news"));
    let mut hung = on_worker(home, &|| Client::open(server.address_of("hangsRtmp")));
    let hung = hung.last_mut().expect("one is there");

    // It hangs from its next turn on, for six seconds; a command may come before.
    let mut partial = |session: &mut Session, line: &str| {
        let text = poll(SOON, || {
            hung.write(&[3; 3]);
            let text = session.fails(line);
            text.starts_with("partial:").then_some(text)
        });
        text.unwrap_or_else(|| panic!("{line} is never partial"))
    };
    let silent = "partial: 1 of 2 workers did not answer in time; the others have no";
    assert_eq!(
        partial(&mut session, "getStreamInfo id=999999"),
        format!("{silent} stream 999999; try again")
    );
    // This would end a play instead of the publish.
    assert_eq!(
        session.fails("shutdownStream localStreamName=news"),
        format!("{silent} published stream of the name \"news\"; try again, or give the `id` of a play")
    );
    assert_eq!(
        partial(&mut session, "closeConnection id=999999"),
        format!("{silent} connection 999999; try again")
    );
    let plays = poll(SOON, || {
        let count = session.run("clientsConnected localStreamName=news");
        (count["description"] == "Number of players").then(|| count["data"]["outboundCount"].clone())
    });
    assert_eq!(plays, Some(players.len().into()));
    drop((publisher, players));
    server.stop();
}

/// `CRTMP_FAN_OUT_SECONDS` sets the length: 30 before a release, fewer in between.
#[test]
fn twenty_publishers_with_five_players_each_lose_nothing() {
    let seconds: u64 =
        std::env::var("CRTMP_FAN_OUT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let length = Duration::from_secs(seconds);
    let server = Server::start(&Config::new().whole_groups().workers(2).log_level(4));
    let names: Vec<String> = (0..20).map(|index| format!("s{index}")).collect();
    let publishers: Vec<Program> =
        names.iter().map(|name| ffmpeg::publish_film(&server.url(name)).start()).collect();
    for name in &names {
        server.wait_for_publisher(name);
    }
    let (folder, _) = file("unused");
    let mut players = Vec::new();
    for name in &names {
        for index in 0..5 {
            let out = folder.path().join(format!("{name}-{index}.flv"));
            let launch = ffmpeg::record(&server.url(name), length, &out).within(Duration::from_secs(100));
            players.push((launch.start(), out));
        }
    }
    let source = fixture::packets();
    for (player, out) in players {
        ffmpeg::assert_clean(player.wait(length + Duration::from_secs(90)));
        let recording = Recording::of_file(&out);
        recording.assert_part_of(source);
        let pictures = recording.of(Kind::Video).len() as u64;
        assert!(pictures >= (seconds - 1) * 25, "{pictures} pictures in {}", out.display());
    }
    for mut publisher in publishers {
        assert!(publisher.runs(), "a publisher was ended");
    }
    server.stop();
}
