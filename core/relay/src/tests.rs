//! Several workers in one process, with a clock of their own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{Format, Frame, Limits, StreamName, StreamSlot, Via};

use crate::{
    ConnectionId, Delivery, Directory, DuplicatePublisher, Flush, HomeId, Merge, Notice, Play, PlayOptions,
    PlayerId, Refusal, Relay, Slices, Spent, Start, StreamKey, WorkerId,
    testing::{FORMAT, audio, config, delta, key, plain},
};

mod tracks;

/// Workers that exchange messages at the end of each turn.
struct World {
    workers: Vec<Relay>,
    limits: Arc<Limits>,
    now: Instant,
}

impl World {
    fn new(workers: u16) -> Self {
        Self::with(workers, Limits::default())
    }

    fn with(workers: u16, limits: Limits) -> Self {
        let (now, limits) = (Instant::now(), Arc::new(limits));
        let directory = Arc::new(Directory::new(now));
        let relay = |worker| Relay::new(WorkerId(worker), directory.clone(), limits.clone(), now);
        Self { workers: (0..workers).map(relay).collect(), limits, now }
    }

    fn publish(&mut self, worker: usize, policy: DuplicatePublisher) -> Result<HomeId, Refusal> {
        let connection = ConnectionId(100 + worker as u64);
        self.workers[worker].publish(name(), connection, StreamSlot(1), policy, None, self.now)
    }

    fn play(&mut self, worker: usize, connection: u64) -> (PlayerId, bool) {
        self.play_within(worker, connection, 60)
    }

    fn play_within(&mut self, worker: usize, connection: u64, seconds: u64) -> (PlayerId, bool) {
        self.play_as(worker, connection, seconds, FORMAT)
    }

    fn play_as(&mut self, worker: usize, connection: u64, seconds: u64, format: Format) -> (PlayerId, bool) {
        let options = PlayOptions {
            wait: Duration::from_secs(seconds),
            publisher_return: Duration::from_secs(10),
            start: None,
        };
        let play = Play {
            key: name(),
            connection: ConnectionId(connection),
            slot: StreamSlot(1),
            format,
            encoder: plain,
            options,
        };
        self.workers[worker].play(play, self.now)
    }

    fn frames(&mut self, worker: usize, home: HomeId, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.workers[worker].frame(home, frame, self.now);
        }
        self.turn();
    }

    /// Lets messages travel until nobody has any.
    fn turn(&mut self) {
        loop {
            let mut post = Vec::new();
            for worker in &mut self.workers {
                post.extend(worker.end_turn(self.now));
            }
            if post.is_empty() {
                return;
            }
            for (to, message) in post {
                self.workers[usize::from(to.0)].on_message(message, self.now);
            }
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        for worker in &mut self.workers {
            worker.on_timeout(self.now);
        }
        self.turn();
    }

    fn sent(&mut self, worker: usize, player: PlayerId) -> String {
        let relay = &mut self.workers[worker];
        assert!(
            relay.prepare(player, Flush { now: self.now, limits: &self.limits, judge: false, unsent: 0 })
        );
        let mut slices = Slices::new();
        relay.fill(player, &mut slices, usize::MAX);
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        drop(slices);
        assert_eq!(relay.advance(player, bytes.len()), (0, None));
        assert!(relay.is_drained(player));
        String::from_utf8(bytes).unwrap().replace(' ', "")
    }
}

fn name() -> StreamKey {
    StreamKey { application: "live".into(), name: StreamName::new("", "a", &Limits::default()).unwrap() }
}

#[test]
fn a_player_on_another_worker_gets_group_and_live_without_gap_or_repetition() {
    for player_worker in [0, 1] {
        let mut world = World::new(2);
        let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
        world.frames(0, home, [config(0, b"C"), key(0), delta(40)]);
        let (player, _) = world.play(player_worker, 7);
        // Frames that come while the subscription travels.
        world.workers[0].frame(home, delta(80), world.now);
        world.turn();
        world.frames(0, home, [delta(120)]);
        assert_eq!(world.sent(player_worker, player), "C@0;K0@0;d40@40;d80@80;d120@120;");
        world.workers[player_worker].unplay(player, world.now);
        world.turn();
        assert!(world.workers[player_worker].replicas().is_empty());
        assert!(world.workers[0].publishes()[0].subscribers.is_empty());
    }
}

#[test]
fn a_worker_without_players_gets_nothing() {
    let mut world = World::new(2);
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    world.workers[0].frame(home, key(0), world.now);
    assert_eq!(world.workers[0].end_turn(world.now).count(), 0);
}

#[test]
fn a_waiting_player_is_told_when_its_publisher_comes_and_when_it_never_does() {
    let mut world = World::new(2);
    let (player, live) = world.play(1, 7);
    assert!(!live);
    world.wait(59);
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    world.frames(0, home, [config(0, b"C"), key(0)]);
    let started = Notice::Started { connection: ConnectionId(7), slot: StreamSlot(1) };
    assert_eq!(world.workers[1].take_notices(), [started]);
    world.wait(2);
    assert_eq!(world.workers[1].take_notices(), []);
    assert_eq!(world.sent(1, player), "C@0;K0@0;");

    let mut world = World::new(1);
    world.play(0, 8);
    world.wait(60);
    let missing = Notice::Missing { connection: ConnectionId(8), slot: StreamSlot(1), key: name() };
    assert_eq!(world.workers[0].take_notices(), [missing]);
    assert!(world.workers[0].replicas().is_empty());
}

#[test]
fn who_may_not_wait_plays_what_is_live_on_another_worker() {
    let mut world = World::new(2);
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    world.frames(0, home, [config(0, b"C"), key(0)]);
    let (player, live) = world.play_within(1, 7, 0);
    assert!(live);
    world.workers[1].on_timeout(world.now);
    assert_eq!(world.workers[1].take_notices(), []);
    world.turn();
    assert_eq!(world.sent(1, player), "C@0;K0@0;");
}

#[test]
fn a_publisher_that_returns_in_time_goes_on_forward() {
    for second_worker in [0, 1] {
        let mut world = World::new(2);
        let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
        let (player, _) = world.play(1, 7);
        world.turn();
        world.frames(0, home, [config(0, b"C"), key(5000), delta(5040)]);
        assert_eq!(world.sent(1, player), "C@5000;K5000@5000;d5040@5040;");
        world.workers[0].unpublish(home, world.now);
        world.wait(3);
        let home = world.publish(second_worker, DuplicatePublisher::Reject).unwrap();
        world.frames(second_worker, home, [config(0, b"C"), delta(0), key(40), delta(80)]);
        assert_eq!(world.sent(1, player), "C@8040;K40@8080;d80@8120;", "nothing before the key frame");
        world.wait(60);
        assert_eq!(world.workers[1].take_notices(), [], "players are told nothing");
    }
}

/// A publish of a stream that comes from another server, or from an encoder.
fn publish_from(world: &mut World, worker: usize, relayed: bool) -> HomeId {
    let (relay, policy) = (&mut world.workers[worker], DuplicatePublisher::Replace);
    let via = relayed.then(Via::default);
    relay.publish(name(), ConnectionId(5), StreamSlot(1), policy, via, world.now).unwrap()
}

/// A server that a stream is fetched from begins with its newest key frame each time.
#[test]
fn what_another_server_sends_again_comes_once_and_what_follows_goes_on() {
    let group = || [config(0, b"C"), key(5000), audio(5010), delta(5040)];
    for (relayed, second_worker, player_at) in
        [(true, 0, 1), (true, 1, 1), (true, 0, 0), (true, 1, 0), (false, 0, 1)]
    {
        let mut world = World::new(2);
        let home = publish_from(&mut world, 0, relayed);
        let (player, _) = world.play(player_at, 7);
        world.turn();
        world.frames(0, home, group());
        assert_eq!(world.sent(player_at, player), "C@5000;K5000@5000;a5010@5010;d5040@5040;");
        world.workers[0].unpublish(home, world.now);
        world.wait(1);
        let home = publish_from(&mut world, second_worker, relayed);
        world.frames(second_worker, home, group());
        world.frames(second_worker, home, [audio(5050), delta(5080), key(6000)]);
        let sent = world.sent(player_at, player);
        if !relayed {
            assert!(sent.contains("K5000@6040"), "an encoder may send what it likes: {sent}");
            continue;
        }
        assert_eq!(sent, "a5050@5050;d5080@5080;K6000@6000;", "on {second_worker}, at {player_at}");
        // Later repeats are the encoder's affair.
        world.frames(second_worker, home, [key(6000)]);
        assert!(world.sent(player_at, player).starts_with("K6000@6000"));
    }
}

#[test]
fn who_comes_while_a_server_repeats_itself_begins_with_its_group() {
    let mut world = World::new(2);
    let home = publish_from(&mut world, 0, true);
    let (player, _) = world.play(1, 7);
    world.turn();
    world.frames(0, home, [config(0, b"C"), key(5000), delta(5040)]);
    world.sent(1, player);
    world.workers[0].unpublish(home, world.now);
    world.wait(1);
    let home = publish_from(&mut world, 0, true);
    world.frames(0, home, [config(0, b"C"), key(5000)]);
    let (newcomer, _) = world.play(0, 8);
    world.turn();
    world.frames(0, home, [delta(5040), delta(5080)]);
    assert_eq!(world.sent(1, player), "d5080@5080;");
    assert_eq!(world.sent(0, newcomer), "C@5000;K5000@5000;d5040@5040;d5080@5080;");
}

#[test]
fn what_was_missed_in_a_break_is_a_gap() {
    let mut world = World::new(2);
    let home = publish_from(&mut world, 0, true);
    let (player, _) = world.play(1, 7);
    world.turn();
    world.frames(0, home, [config(0, b"C"), key(5000), delta(5040), delta(5080)]);
    world.sent(1, player);
    world.workers[0].unpublish(home, world.now);
    world.wait(1);
    // Another key frame has come meanwhile.
    let home = publish_from(&mut world, 0, true);
    world.frames(0, home, [config(0, b"C"), key(6000), delta(6040)]);
    assert_eq!(world.sent(1, player), "C@5081;K6000@6000;d6040@6040;");
    // The same clock, but other codecs.
    world.workers[0].unpublish(home, world.now);
    world.wait(1);
    let home = publish_from(&mut world, 0, true);
    world.frames(0, home, [config(0, b"D"), key(6000), delta(6040), delta(6080), key(7000)]);
    assert_eq!(world.sent(1, player), "D@6041;K7000@7000;");
}

/// A publisher that sends the same file again and again, and is looked at through another server.
#[test]
fn a_far_end_that_begins_anew_is_not_kept_back() {
    let mut world = World::new(1);
    let clip: Vec<Frame> = (0..50).map(|n| if n % 25 == 0 { key(n * 40) } else { delta(n * 40) }).collect();
    let mut home = publish_from(&mut world, 0, true);
    let (player, _) = world.play(0, 7);
    world.turn();
    let send = |world: &mut World, home: HomeId, count: usize| {
        let mut sent = String::new();
        for frames in clip[..count].chunks(5) {
            world.frames(0, home, frames.to_vec());
            sent += &world.sent(0, player);
        }
        let time = |packet: &str| packet.split_once('@').and_then(|(_, time)| time.parse::<i64>().ok());
        sent.split_terminator(';').filter_map(time).collect::<Vec<i64>>()
    };
    for round in 0..3 {
        assert_eq!(send(&mut world, home, 50).len(), 50, "round {round}");
    }
    // Also where it breaks off and comes again, whole or in part.
    let mut last = 0;
    for count in [50, 30, 50, 10, 50] {
        world.workers[0].unpublish(home, world.now);
        world.wait(1);
        home = publish_from(&mut world, 0, true);
        let times = send(&mut world, home, count);
        assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
        assert!(times.first().is_none_or(|first| *first > last), "{last} {times:?}");
        last = times.last().copied().unwrap_or(last);
        // However much of that was a repeat: what comes behind it is new.
        let more = send(&mut world, home, 50);
        assert!(more.len() >= 25, "after {count}: {more:?}");
        last = more.last().copied().unwrap_or(last);
    }
}

#[test]
fn a_publish_that_ends_while_it_repeats_itself_is_over() {
    let mut world = World::new(2);
    let home = publish_from(&mut world, 0, true);
    let (player, _) = world.play(1, 7);
    world.turn();
    world.frames(0, home, [config(0, b"C"), key(5000)]);
    world.sent(1, player);
    // One takes over while the other still publishes, and leaves.
    let home = publish_from(&mut world, 0, true);
    world.frames(0, home, [config(0, b"C"), key(5000)]);
    world.workers[0].unpublish(home, world.now);
    world.turn();
    world.wait(10);
    let ended = Notice::Ended { connection: ConnectionId(7), slot: StreamSlot(1) };
    assert!(world.workers[1].take_notices().contains(&ended));
}

#[test]
fn players_are_told_when_a_publisher_stays_away() {
    let mut world = World::new(2);
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    world.play(1, 7);
    world.turn();
    world.frames(0, home, [key(0)]);
    world.workers[0].unpublish(home, world.now);
    world.turn();
    world.wait(9);
    assert_eq!(world.workers[1].take_notices(), []);
    world.wait(1);
    let ended = Notice::Ended { connection: ConnectionId(7), slot: StreamSlot(1) };
    assert_eq!(world.workers[1].take_notices(), [ended]);
    assert!(world.workers[1].players(world.now).is_empty());
}

#[test]
fn one_that_takes_over_goes_on_forward_and_stragglers_of_the_old_one_are_ignored() {
    let mut world = World::new(3);
    let old = world.publish(0, DuplicatePublisher::Reject).unwrap();
    let (player, _) = world.play(1, 7);
    world.turn();
    world.frames(0, old, [config(0, b"C"), key(0), delta(40)]);
    world.sent(1, player);
    assert!(matches!(world.publish(2, DuplicatePublisher::ReplaceIfIdle), Err(Refusal::Silent(_))));
    world.now += Duration::from_secs(2);
    let new = world.publish(2, DuplicatePublisher::ReplaceIfIdle).unwrap();
    world.workers[2].frame(new, config(0, b"D"), world.now);
    world.workers[2].frame(new, key(0), world.now);
    // The old home has not heard of it yet and still sends.
    world.workers[0].frame(old, delta(80), world.now);
    let late: Vec<_> = world.workers[0].end_turn(world.now).collect();
    world.turn();
    for (_, message) in late {
        world.workers[1].on_message(message, world.now);
    }
    let sent = world.sent(1, player);
    assert!(sent.starts_with("D@") && sent.contains(";K0@") && !sent.contains("d80"), "{sent}");
    let evicted = Notice::Evicted { connection: ConnectionId(100), slot: StreamSlot(1), key: name() };
    assert_eq!(world.workers[0].take_notices(), [evicted]);
    world.workers[0].unpublish(old, world.now);
    world.turn();
    assert!(world.workers[1].is_live(&name()), "the end of the old publish does not end the new one");
}

#[test]
fn ending_everything_tells_every_player() {
    let mut world = World::new(1);
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    world.frames(0, home, [key(0)]);
    for connection in 0..3 {
        world.play(0, connection);
    }
    world.workers[0].end_all(world.now);
    assert_eq!(world.workers[0].take_notices().len(), 3);
}

/// The times in ms at which rounds begin for a stream of a frame each 40 ms, and audio 10 and 30 ms after each.
fn round_times(merge: Merge, level: impl Fn(&mut World)) -> Vec<u64> {
    let mut world = World::new(1);
    let application: Arc<str> = "live".into();
    world.workers[0].set_delivery(&application, Delivery { merge, ..Delivery::default() });
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    world.frames(0, home, [config(0, b"C"), key(0)]);
    let (player, _) = world.play(0, 7);
    world.sent(0, player);
    level(&mut world);
    let mut times = Vec::new();
    for ms in 1..=200 {
        world.now += Duration::from_millis(1);
        let now = world.now;
        let relay = &mut world.workers[0];
        relay.on_timeout(now);
        match ms % 40 {
            0 => relay.frame(home, delta(ms), now),
            10 | 30 => relay.frame(home, audio(ms), now),
            _ => {}
        }
        assert_eq!(relay.end_turn(now).count(), 0);
        if relay.next_owner(|| now).is_some() {
            times.push(u64::try_from(ms).unwrap());
        }
        assert_eq!(relay.next_owner(|| now), None);
        // What has been said to be sent is sent, all of it.
        assert!(relay.poll_timeout().is_none_or(|at| at > now));
    }
    times
}

#[test]
fn messages_wait_as_the_application_says() {
    let all: Vec<_> = (1..=200).filter(|ms| matches!(ms % 40, 0 | 10 | 30)).collect();
    assert_eq!(round_times(Merge::Fixed(Duration::ZERO), |_| ()), all);
    assert_eq!(round_times(Merge::Auto { max: Duration::from_millis(100) }, |_| ()), all, "idle");
    // The first waits 60 ms, and the first after it again.
    assert_eq!(round_times(Merge::Fixed(Duration::from_millis(60)), |_| ()), [70, 140]);
}

#[test]
fn messages_wait_as_the_load_asks_for() {
    let players = |count: usize| {
        move |world: &mut World| {
            for _ in 0..20 {
                world.now += Duration::from_millis(250);
                let writes = count as u64 * 5;
                let sending = Duration::from_micros(5 * writes);
                world.workers[0].serves(count);
                world.workers[0].spent(Spent { sending, writes, ..Spent::default() }, world.now);
            }
        }
    };
    let auto = Merge::Auto { max: Duration::from_millis(100) };
    assert_eq!(round_times(auto, players(1800)), [40, 80, 120, 160, 200], "audio rides");
    // 80 ms: with the video frame after which the next would come too late.
    assert_eq!(round_times(auto, players(7200)), [80, 160]);
    assert_eq!(round_times(Merge::Auto { max: Duration::ZERO }, players(7200)).len(), 15);
}

/// What a log keeps while its players follow is the group of pictures that newcomers need, and little more.
#[test]
fn a_log_keeps_one_group() {
    for (merge, group) in [(0, 50), (100, 50), (0, 1), (0, 255), (0, 256), (0, 257)] {
        let mut world = World::new(1);
        let merge = Merge::Fixed(Duration::from_millis(merge));
        world.workers[0].set_delivery(&"live".into(), Delivery { merge, ..Delivery::default() });
        let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
        world.frames(0, home, [config(0, b"C")]);
        let players = [world.play(0, 7).0, world.play(0, 8).0];
        let packet = format!("{:>8}@{};", "", 0).len() as u64;
        for index in 0..4 * group.max(50) {
            let ms = index * 40;
            world.now += Duration::from_millis(40);
            world.frames(0, home, [if index % group == 0 { key(ms) } else { delta(ms) }]);
            let relay = &mut world.workers[0];
            relay.on_timeout(world.now);
            assert_eq!(relay.end_turn(world.now).count(), 0);
            let now = world.now;
            let due = std::iter::from_fn(|| relay.next_owner(|| now)).count() > 0;
            if due {
                for player in players {
                    world.sent(0, player);
                }
            }
            let log = world.workers[0].replicas()[0].logs[0];
            let needed = u64::try_from(index % group).unwrap() + 1;
            // While messages wait for each other their players stand that far behind.
            let waiting = if merge == Merge::Fixed(Duration::ZERO) { 1 } else { 3 };
            assert!(log.packets as u64 <= needed + waiting, "{group}: {} packets at {index}", log.packets);
            // Times have up to six digits here.
            assert!(log.bytes <= (needed + waiting) * (packet + 5));
        }
    }
}

/// Whatever the source sends, and although a player does not take any of it.
#[test]
fn a_log_is_bounded_without_key_frames_and_with_a_player_that_stands_still() {
    for name in ["audio alone", "pictures after one key frame"] {
        let make = if name == "audio alone" { audio } else { delta };
        let mut world = World::new(1);
        let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
        world.frames(0, home, [config(0, b"C"), key(0)]);
        let (player, _) = world.play(0, 7);
        assert_eq!(world.sent(0, player), "C@0;K0@0;");
        for index in 1..10_000 {
            world.now += Duration::from_millis(20);
            world.frames(0, home, [make(index * 20)]);
            let log = world.workers[0].replicas()[0].logs[0];
            assert!(log.packets <= 1501, "{name}: {} packets, although they are 30 s old", log.packets);
        }
        for index in 10_000..20_000 {
            world.frames(0, home, [make(index * 20)]);
            let log = world.workers[0].replicas()[0].logs[0];
            assert!(log.packets <= world.limits.gop_messages, "{name}: {} packets", log.packets);
        }
        assert_eq!(world.workers[0].publishes()[0].gop_messages, 0, "nothing is kept for other workers");
        world.frames(0, home, [key(400_000), delta(400_020)]);
        world.sent(0, player);
        assert!(world.workers[0].replicas()[0].logs[0].packets <= 3000);
    }
}

/// What a worker is told when it begins to follow a stream is older than its player.
#[test]
fn a_player_that_waits_for_the_next_key_frame_does_so_on_any_worker() {
    for player_worker in [0, 1] {
        let mut world = World::new(2);
        let delivery = Delivery { start: Start::Next, ..Delivery::default() };
        world.workers.iter_mut().for_each(|worker| worker.set_delivery(&"live".into(), delivery));
        let (early, _) = world.play(player_worker, 6);
        let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
        world.frames(0, home, [config(0, b"C"), key(0), delta(40)]);
        assert_eq!(world.sent(player_worker, early), "C@0;K0@0;d40@40;", "it came before the first");
        world.workers[player_worker].unplay(early, world.now);
        world.turn();
        let (late, _) = world.play(player_worker, 7);
        world.turn();
        world.frames(0, home, [delta(80)]);
        assert_eq!(world.sent(player_worker, late), "");
        world.frames(0, home, [key(120), delta(160)]);
        assert_eq!(world.sent(player_worker, late), "C@120;K120@120;d160@160;");
    }
}

/// A worker that was behind lacks pictures of its group; the gap was closed by sound, since pictures had stopped.
#[test]
fn newcomers_get_no_group_with_a_hole() {
    let limits = Limits { worker_queue_bytes: 2 * (Frame::OVERHEAD + 8), ..Limits::default() };
    let mut world = World::with(2, limits);
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    let (first, _) = world.play(1, 7);
    world.turn();
    world.frames(0, home, [config(0, b"C"), key(0), delta(40)]);
    assert_eq!(world.sent(1, first), "C@0;K0@0;d40@40;");
    world.frames(0, home, (2..10).map(|picture| delta(picture * 40)));
    world.frames(0, home, [audio(6000), delta(6040)]);
    let variant = FORMAT.variant + 1;
    let (second, _) = world.play_as(1, 8, 60, Format { variant, ..FORMAT });
    assert!(!world.sent(1, second).contains('d'), "a picture without those before it");
    world.frames(0, home, [key(6080), delta(6120)]);
    assert!(world.sent(1, second).ends_with("K6080@6080;d6120@6120;"));
}
