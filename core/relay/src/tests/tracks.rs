//! Streams of several tracks.

use crtmp_media::{Codec, Codecs, MediaKind, Slice, View, tag};

use super::*;
use crate::TrackReport;

/// What a publisher sends, with its time.
fn video(dts: i64, body: &[u8]) -> Frame {
    let tag::TagHeader { codec, role, track, cts, data_at, .. } =
        tag::video(body, &Limits::default()).expect("a header");
    let (kind, body) = (MediaKind::Video, Slice::copy_from_slice(body));
    Frame { kind, role, codec, track, dts, cts, body, data_at }
}

/// A picture of a track by its own message.
fn picture(key: bool, track: u8, dts: i64) -> Frame {
    let (first, id) = (if key { 0x96 } else { 0xa6 }, [track]);
    let name = format!("{}{track}", if key { 'K' } else { 'd' });
    video(dts, &[&[first, 0x03][..], b"av01", &id, name.as_bytes()].concat())
}

/// What of text can be read, without what stands around it.
fn readable(sent: &str) -> String {
    sent.replace(|c: char| c.is_control() || c == '\u{fffd}', "")
}

impl World {
    fn text(&mut self, worker: usize, player: PlayerId) -> String {
        let relay = &mut self.workers[worker];
        let flush = Flush { now: self.now, limits: &self.limits, judge: false, unsent: 0 };
        assert!(relay.prepare(player, flush));
        let mut sent = Vec::new();
        while let Some(packet) = relay.next_packet(player) {
            sent.extend_from_slice(&packet.bytes);
        }
        readable(&String::from_utf8_lossy(&sent))
    }
}

/// On the publisher's worker and on another: configurations of all tracks, also where they came in one message, and a
/// start at the newest key frame of the default track, whatever key frames the others have.
#[test]
fn newcomers_get_every_track_and_start_with_the_default_one() {
    for worker in [0, 1] {
        let mut world = World::new(2);
        let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
        let both = video(0, b"\x96\x10av01\x01\x00\x00\x02c1\x04\x00\x00\x02c4");
        world.frames(0, home, [both, picture(true, 1, 0), picture(true, 4, 0)]);
        world.frames(0, home, [picture(false, 1, 40), picture(true, 4, 40), picture(false, 1, 80)]);
        let (player, _) = world.play(worker, 1);
        world.turn();
        let text = world.text(worker, player);
        assert_eq!(text, "av01c1@0;av01c4@0;av01K1@0;av01K4@0;av01d1@40;av01K4@40;av01d1@80;");
        world.frames(0, home, [picture(true, 1, 120), picture(true, 4, 120)]);
        assert_eq!(world.text(worker, player), "av01K1@120;av01K4@120;");
        let report = world.workers[0].publish_report(home).unwrap();
        let track = |track| TrackReport { kind: MediaKind::Video, track, codec: Codec::Av1 };
        assert_eq!(report.tracks, [track(1), track(4)]);
    }
}

/// What another track begins with anew holds up nobody; a new configuration of the default track does.
#[test]
fn a_new_configuration_of_another_track_lets_the_pictures_go_on() {
    let mut world = World::new(1);
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    let config = |dts, track: u8, name: &[u8]| video(dts, &[b"\x96\x00av01", &[track][..], name].concat());
    world.frames(0, home, [config(0, 0, b"c0"), config(0, 1, b"c1"), picture(true, 0, 0)]);
    let (player, _) = world.play(0, 1);
    world.turn();
    world.text(0, player);
    world.frames(0, home, [config(40, 1, b"x1"), picture(true, 1, 40), picture(false, 0, 40)]);
    assert_eq!(world.text(0, player), "av01x1@40;av01K1@40;av01d0@40;");
    world.frames(0, home, [config(80, 0, b"x0"), picture(false, 0, 80), picture(true, 1, 80)]);
    assert_eq!(world.text(0, player), "av01x0@80;", "until the key frame of the default track");
    world.frames(0, home, [picture(true, 0, 120), picture(false, 1, 120)]);
    assert_eq!(world.text(0, player), "av01K0@120;av01d1@120;");
}

/// Tracks stay together while a player catches up; where they share messages nobody does.
#[test]
fn tracks_keep_their_times_while_a_player_catches_up() {
    let group = |together: bool| {
        (0..50_i64).flat_map(move |at| {
            let (key, dts) = (at == 0, at * 40);
            if together {
                let first = if key { 0x96 } else { 0xa6 };
                let body = [&[first, 0x13][..], b"av01\0\0\0\x01p\x01\0\0\x01q"].concat();
                return vec![video(dts, &body)];
            }
            vec![picture(key, 0, dts), picture(key, 1, dts)]
        })
    };
    for together in [false, true] {
        let mut world = World::new(1);
        let near = Delivery { start: Start::Near(Duration::from_millis(400)), ..Delivery::default() };
        world.workers[0].set_delivery(&name().application, near);
        let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
        world.frames(0, home, group(together));
        let (player, _) = world.play(0, 1);
        world.turn();
        let text = world.text(0, player);
        let times: Vec<i64> =
            text.split(';').filter_map(|packet| packet.split_once('@')?.1.parse().ok()).collect();
        if together {
            assert_eq!(times, (0..50).map(|at| at * 40).collect::<Vec<_>>());
            continue;
        }
        assert_eq!((times.len(), times[0]), (100, 1960 - 400), "{times:?}");
        for pair in times.chunks(2) {
            assert_eq!(pair[0], pair[1], "{times:?}");
        }
        assert!(times.chunks(2).collect::<Vec<_>>().windows(2).all(|pair| pair[0][0] < pair[1][0]));
    }
}

/// What is sent to players of a view.
fn seen(world: &mut World, worker: usize, connection: u64, view: View) -> PlayerId {
    world.play_as(worker, connection, 60, Format { view, ..FORMAT }).0
}

fn only(codecs: &[Codec], tracks: bool) -> View {
    let video = codecs.iter().fold(Codecs::default(), |all, codec| all.with(*codec));
    View { video, audio: video, tracks }
}

/// ERT-08: who has not declared multitrack gets the default track without its id, and whatever is not declared is not sent;
/// also to who comes later, and on another worker. Nobody else gets anything else because of that.
#[test]
fn players_get_what_they_have_declared() {
    for worker in [0, 1] {
        let mut world = World::new(2);
        let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
        let configs = b"\x96\x20hvc1\x01\x00\x00\x02c1av01\x02\x00\x00\x02c2";
        let pair = |key: bool, dts, name: &[u8]| {
            let first = if key { 0x96 } else { 0xa6 };
            let tracks = [&b"hvc1\x01\x00\x00\x02"[..], name, b"av01\x02\x00\x00\x02", name].concat();
            video(dts, &[&[first, 0x23][..], &tracks].concat())
        };
        world.frames(0, home, [video(0, configs), pair(true, 0, b"K0")]);
        let all = seen(&mut world, worker, 1, View::ALL);
        let plain = seen(&mut world, worker, 2, only(&[Codec::Hevc, Codec::Av1], false));
        let av1 = seen(&mut world, worker, 3, only(&[Codec::Av1], true));
        let single = seen(&mut world, worker, 4, only(&[Codec::Av1], false));
        world.turn();
        let first: Vec<String> = [plain, av1, single].map(|player| world.text(worker, player)).to_vec();
        assert_eq!(first, ["hvc1c1@0;hvc1K0@0;", "av01c2@0;av01K0@0;", "av01c2@0;av01K0@0;"]);
        world.frames(0, home, [pair(false, 40, b"d1"), pair(true, 80, b"K2")]);
        assert_eq!(world.text(worker, all).matches("K2").count(), 2);
        assert_eq!(world.text(worker, plain), "hvc1d1@40;hvc1K2@80;");
        assert_eq!(world.text(worker, av1), "av01d1@40;av01K2@80;");
        assert_eq!(world.text(worker, single), "av01d1@40;av01K2@80;");
        let late = seen(&mut world, worker, 5, only(&[Codec::Hevc, Codec::Av1], false));
        world.turn();
        assert_eq!(world.text(worker, late), "hvc1c1@80;hvc1K2@80;");
    }
}

/// ERT-08: where nothing may be sent the player is told, not at once, for something may still come; and who may be sent
/// sound stays.
#[test]
fn who_can_be_sent_nothing_is_told() {
    let mut world = World::new(1);
    let home = world.publish(0, DuplicatePublisher::Reject).unwrap();
    seen(&mut world, 0, 7, only(&[Codec::Hevc], false));
    let deaf = View { audio: Codecs::ALL, ..only(&[], false) };
    seen(&mut world, 0, 8, deaf);
    let mut told = Vec::new();
    for second in 0..4 {
        world.frames(0, home, [picture(true, 0, second * 1000), audio(second * 1000)]);
        told.extend(world.workers[0].take_notices().into_iter().map(|notice| (second, notice)));
        world.wait(1);
    }
    assert_eq!(told.len(), 0, "{told:?}");
    for second in 4..8 {
        world.frames(0, home, [picture(true, 0, second * 1000)]);
        told.extend(world.workers[0].take_notices().into_iter().map(|notice| (second, notice)));
        world.wait(1);
    }
    let unplayable =
        |connection| Notice::Unplayable { connection: ConnectionId(connection), slot: StreamSlot(1) };
    assert_eq!(told, [(6, unplayable(7)), (6, unplayable(8))], "sound without a FourCC is for everybody");
    assert!(world.workers[0].is_live(&name()));
}

/// `streamViews` at −1, 0 and +1; who is sent everything is never refused.
#[test]
fn forms_of_a_stream_are_bounded() {
    let mut world = World::with(1, Limits { stream_views: 2, ..Limits::default() });
    let views =
        [Codec::Hevc, Codec::Av1, Codec::Vp9].map(|codec| Format { view: only(&[codec], true), ..FORMAT });
    for (number, view) in (0..).zip(views) {
        assert_eq!(world.workers[0].has_room(&name(), view), number < 2, "{number}");
        world.play_as(0, number, 60, view);
    }
    assert!(world.workers[0].has_room(&name(), FORMAT));
    assert!(world.workers[0].has_room(&name(), views[0]), "it is there");
}
