use std::{collections::HashMap, time::Duration};

use crtmp_media::{Encoder, Frame, Limits};
use proptest::prelude::*;

use super::*;
use crate::{
    Began, Start,
    cursor::Cursor,
    testing::{ALL, Rig, audio, config, delta, frame, key},
};

/// Packets with the times in front, as `dts+cts|`, and a body that says which frame it is. Those with an `x` have to
/// be copied to get other times.
struct Timed;

/// Bytes of the times.
const TIMES: usize = 15;

fn times(dts: i64, cts: i32) -> String {
    format!("{dts:>8}+{cts:>5}|")
}

impl Encoder for Timed {
    fn encode(&self, frame: &Frame, dts: i64) -> Packet {
        let bytes = [times(dts, frame.cts).as_bytes(), &frame.body, b";"].concat().into();
        let (kind, role, cts) = (frame.kind, frame.role, frame.cts);
        Packet { bytes, header_len: 0, kind, role, track: frame.track, dts, cts, data_at: 0 }
    }

    fn retime(&self, packet: &Packet, dts: i64, cts: i32) -> Retimed {
        let head = Head::new(&[times(dts, cts).as_bytes()], TIMES).unwrap();
        if packet.bytes.contains(&b'x') {
            Retimed::Copy(head.join(packet, dts, cts))
        } else {
            Retimed::Head(head)
        }
    }
}

fn rig(lag: u64, limits: Limits) -> Rig {
    Rig::with(Box::new(Timed), Start::Near(Duration::from_millis(lag)), limits)
}

fn disposable(dts: i64) -> Frame {
    frame(MediaKind::Video, Role::Disposable, dts, format!("b{dts:>7}").as_bytes())
}

fn cue(dts: i64) -> Frame {
    frame(MediaKind::Data, Role::Side, dts, format!("s{dts:>7}").as_bytes())
}

fn push(rig: &mut Rig, frames: impl IntoIterator<Item = Frame>) {
    frames.into_iter().for_each(|frame| rig.push(frame));
}

fn all(rig: &mut Rig, cursor: &mut Cursor) -> String {
    let mut sent = String::new();
    loop {
        let some = rig.send(cursor, ALL, false, usize::MAX);
        if some.is_empty() {
            return sent.replace(' ', "");
        }
        sent.push_str(&some);
    }
}

#[test]
fn times_are_pressed_together_without_a_seam() {
    let times = Times { from: 1000, to: 9000, lag: 800 };
    for (old, new) in
        [(1000, 8200), (1010, 8201), (5000, 8600), (8999, 9000), (9000, 9000), (9040, 9040), (0, 8100)]
    {
        assert_eq!(times.map(old), new, "{old}");
    }
    for (times, old, new) in [
        (Times { lag: 0, ..times }, 1000, 9000),
        (Times { from: 9000, ..times }, 9000, 9000),
        (Times { from: i64::MIN, to: i64::MAX, lag: 700 }, 0, 0),
    ] {
        assert!(times.map(old) >= new, "{times:?}");
    }
}

#[test]
fn a_player_gets_the_pictures_that_it_needs_and_the_sound_of_its_time() {
    let mut rig = rig(100, Limits::default());
    rig.push(config(0, b"C"));
    rig.push(Frame { cts: 40, ..key(0) });
    for step in 1..25 {
        let at = step * 40;
        rig.push(if step % 2 == 0 { Frame { cts: 80, ..delta(at) } } else { disposable(at) });
        rig.push(audio(at + 1));
        if step % 10 == 0 {
            rig.push(cue(at + 2));
        }
    }
    let mut cursor = Cursor::new(0);
    let sent = all(&mut rig, &mut cursor);
    let catch_up = "860+0|C;860+5|K0;869+8|d80;877+8|d160;885+9|d240;894+8|d320;902+8|d400;860+0|s402;\
                    910+9|d480;919+8|d560;927+8|d640;935+9|d720;944+8|d800;860+0|s802;952+8|d880;881+0|a881;\
                    921+0|a921;960+80|d960;961+0|a961;";
    assert_eq!(sent, catch_up);
    assert_eq!((cursor.counters.began, cursor.counters.start_lag), (Began::CatchUp, 100));
    assert_eq!((cursor.counters.left_out_pictures, cursor.counters.left_out_audio), (12, 21));
    rig.push(disposable(1000));
    rig.push(audio(1001));
    assert_eq!(all(&mut rig, &mut cursor), "1000+0|b1000;1001+0|a1001;");
    assert_eq!(cursor.counters.skips.total(), 0);
    let bytes: u64 = cursor.counters.bytes;
    assert_eq!(bytes, (2 + 27 - 1 - 10 + 3) * 24 - 7, "as many as have been sent");
}

#[test]
fn a_young_key_frame_needs_no_catching_up() {
    for (lag, began) in [(39, Began::CatchUp), (40, Began::Key), (41, Began::Key)] {
        let mut rig = rig(lag, Limits::default());
        push(&mut rig, [config(0, b"C"), key(1000), delta(1040), audio(1100)]);
        let mut cursor = Cursor::new(0);
        let sent = all(&mut rig, &mut cursor);
        assert_eq!(cursor.counters.began, began);
        assert_eq!(cursor.counters.start_lag, lag.min(40));
        if began == Began::Key {
            assert_eq!(sent, "1000+0|C;1000+0|K1000;1040+0|d1040;1100+0|a1100;");
        }
    }
}

#[test]
fn two_pictures_get_one_time_only_where_there_is_no_room() {
    for (lag, expected) in [
        (700, vec![300, 424, 548, 671, 795, 918, 1000]),
        (4, vec![996, 996, 996, 997, 998, 999, 1000]),
        (6, vec![994, 995, 996, 997, 998, 999, 1000]),
        (0, vec![1000; 7]),
    ] {
        let mut rig = rig(lag, Limits::default());
        rig.push(key(0));
        for dts in [176, 353, 529, 706, 882, 1000] {
            rig.push(delta(dts));
        }
        let mut cursor = Cursor::new(0);
        let sent = all(&mut rig, &mut cursor);
        let times: Vec<i64> = sent
            .split_terminator(';')
            .map(|packet| packet.split_once('+').unwrap().0.parse().unwrap())
            .collect();
        assert_eq!(times, expected, "{lag}");
    }
}

/// Slides: one picture, and sound for long after it.
#[test]
fn sound_says_what_is_live_where_pictures_are_rare() {
    let mut rig = rig(100, Limits::default());
    push(&mut rig, [config(0, b"C"), key(0), delta(40)]);
    (1..=200).for_each(|step| rig.push(audio(step * 50)));
    let mut cursor = Cursor::new(0);
    let sent = all(&mut rig, &mut cursor);
    assert_eq!(sent, "9900+0|C;9900+0|K0;9901+0|d40;9900+0|a9900;9950+0|a9950;10000+0|a10000;");
    assert_eq!(cursor.counters.start_lag, 100);
    // A picture that was late by all that time would lie behind the others.
    rig.push(delta(80));
    rig.push(delta(10_040));
    rig.push(key(10_080));
    rig.push(delta(10_120));
    assert_eq!(all(&mut rig, &mut cursor), "10080+0|K10080;10120+0|d10120;");
}

#[test]
fn a_player_that_waits_for_the_next_key_frame_gets_no_older_one() {
    let mut rig = Rig::with(Box::new(Timed), Start::Next, Limits::default());
    push(&mut rig, [config(0, b"C"), key(0), delta(40)]);
    let mut cursor = Cursor::new(rig.log.first_place(Start::Next));
    assert_eq!(all(&mut rig, &mut cursor), "");
    assert_eq!(cursor.counters.began, Began::Waiting);
    push(&mut rig, [delta(80), key(120), delta(160)]);
    assert_eq!(all(&mut rig, &mut cursor), "120+0|C;120+0|K120;160+0|d160;");
    assert_eq!((cursor.counters.began, cursor.counters.start_lag), (Began::Next, 40));
    // A skip goes to the newest one all the same.
    rig.push(key(200));
    cursor.rejoin(&rig.log);
    push(&mut rig, [delta(280), key(320), delta(360)]);
    assert_eq!(all(&mut rig, &mut cursor), "320+0|K320;360+0|d360;", "not at its next");
    // What was there before this worker followed the stream is older than the player, too.
    let mut cursor = Cursor::new(0);
    rig.log.end_snapshot();
    assert_eq!(all(&mut rig, &mut cursor), "");
    // A stream without pictures begins where it is.
    let mut rig = Rig::with(Box::new(Timed), Start::Next, Limits::default());
    rig.push(audio(0));
    let mut cursor = Cursor::new(rig.log.first_place(Start::Next));
    assert_eq!(all(&mut rig, &mut cursor), "");
    rig.push(audio(20));
    assert_eq!(all(&mut rig, &mut cursor), "20+0|a20;");
    assert_eq!(cursor.counters.began, Began::Live);
}

/// A player that has started without pictures gets none that lean on a key frame which it has not.
#[test]
fn pictures_that_come_again_begin_with_a_key_frame() {
    let mut rig = rig(700, Limits { gop_messages: 16, ..Limits::default() });
    push(&mut rig, [config(0, b"C"), key(0), delta(40)]);
    (1..=20).for_each(|step| rig.push(audio(step * 500)));
    let mut cursor = Cursor::new(0);
    assert_eq!(all(&mut rig, &mut cursor), "10000+0|C;");
    push(&mut rig, [delta(10_001), audio(10_002), key(10_003), delta(10_004)]);
    assert_eq!(all(&mut rig, &mut cursor), "10002+0|a10002;10003+0|K10003;10004+0|d10004;");
}

#[test]
fn no_picture_is_to_be_shown_before_it_is_decoded_however_dense_they_are() {
    let mut rig = rig(100, Limits::default());
    rig.push(key(0));
    (1..=5).for_each(|step| rig.push(Frame { cts: if step == 3 { -1 } else { 1 }, ..delta(step) }));
    rig.push(delta(1000));
    let mut cursor = Cursor::new(0);
    let sent = all(&mut rig, &mut cursor);
    assert_eq!(sent, "900+0|K0;901+0|d1;902+0|d2;903+-2|d3;904+0|d4;905+0|d5;1000+0|d1000;");
}

#[test]
fn sound_begins_exactly_where_the_time_of_the_player_does() {
    let mut rig = rig(100, Limits::default());
    rig.push(key(0));
    (1..=10).for_each(|step| rig.push(delta(step * 100)));
    [899, 900, 901].into_iter().for_each(|dts| rig.push(audio(dts)));
    let mut cursor = Cursor::new(0);
    let sent = all(&mut rig, &mut cursor);
    assert!(sent.ends_with("|d1000;900+0|a900;901+0|a901;"), "{sent}");
}

/// Chains in which a layer changes bytes take whole packets.
#[test]
fn packets_one_by_one_are_the_same_bytes() {
    let mut rig = rig(100, Limits::default());
    rig.push(config(0, b"C"));
    rig.push(Frame { cts: 80, ..key(0) });
    for step in 1..100 {
        let big = frame(MediaKind::Video, Role::Delta, step * 40, b"dx");
        rig.push(match step % 4 {
            0 => audio(step * 40),
            1 => big,
            2 => disposable(step * 40),
            _ => Frame { cts: 40, ..delta(step * 40) },
        });
    }
    let mut cursor = Cursor::new(0);
    let whole = all(&mut rig, &mut cursor);
    let mut cursor = Cursor::new(0);
    rig.send(&mut cursor, ALL, false, 0);
    let mut bytes = Vec::new();
    while let Some(packet) = cursor.step(&rig.log, ALL) {
        assert_eq!(times(packet.dts, packet.cts).as_bytes(), &packet.bytes[..TIMES]);
        bytes.extend_from_slice(&packet.bytes);
    }
    assert_eq!(String::from_utf8(bytes).unwrap().replace(' ', ""), whole);
    assert!(cursor.is_drained(&rig.log, ALL));
}

#[test]
fn a_player_that_is_too_slow_to_catch_up_begins_again() {
    let mut rig = rig(100, Limits { gop_messages: 16, ..Limits::default() });
    rig.push(key(0));
    (1..16).for_each(|step| rig.push(delta(step * 40)));
    let mut cursor = Cursor::new(0);
    let sent = rig.send(&mut cursor, ALL, false, 32).replace(' ', "");
    assert_eq!(sent, "500+0|K0;507");
    (16..24).for_each(|step| rig.push(delta(step * 40)));
    let rest = rig.send(&mut cursor, ALL, true, 999).replace(' ', "");
    assert_eq!(
        rest, "+0|d40;",
        "the packet that has gone out in part, and then nothing that leans on what is lost"
    );
    assert_eq!((cursor.counters.skips.fell_off, cursor.needs()), (1, None));
    push(&mut rig, [key(960), delta(1000), delta(1080)]);
    assert_eq!(all(&mut rig, &mut cursor), "980+0|K960;1014+0|d1000;1080+0|d1080;");
}

/// What is behind it in the same call would be taken for its own.
#[test]
fn a_player_says_when_there_is_more_than_it_adds() {
    let mut rig = rig(100, Limits::default());
    rig.push(key(0));
    (1..=READY as i64).for_each(|step| rig.push(delta(step * 40)));
    let mut cursor = Cursor::new(0);
    let mut fill = |rig: &mut Rig, taken: usize, budget| {
        rig.send(&mut cursor, ALL, false, 0);
        let mut slices = Slices::new();
        (0..taken).for_each(|_| slices.push(IoSlice::new(b"another's")));
        cursor.fill(&rig.log, ALL, &mut slices, budget)
    };
    assert!(!fill(&mut rig, 0, usize::MAX), "one is not ready yet");
    assert!(!fill(&mut rig, 1, usize::MAX));
    assert!(!fill(&mut rig, 0, 50));
    rig.send(&mut cursor, ALL, false, 24);
    assert!(!cursor.fill(&rig.log, ALL, &mut Slices::new(), 50));
    all(&mut rig, &mut cursor);
    rig.push(delta(2000));
    assert!(cursor.fill(&rig.log, ALL, &mut Slices::new(), usize::MAX));
    assert!(!cursor.fill(&rig.log, ALL, &mut Slices::new(), 0));
}

/// What a start sends at once may be worth more time than a player may be behind, until the player has it.
#[test]
fn what_a_start_sends_at_once_is_no_lag() {
    for lag in [100, 10_000] {
        let mut rig = rig(lag, Limits::default());
        rig.delivery.max_lag = Duration::from_secs(2);
        rig.push(key(0));
        (1..=100).for_each(|step| rig.push(delta(step * 40)));
        let mut cursor = Cursor::new(0);
        all(&mut rig, &mut cursor);
        assert!(rig.log.time_of(cursor.counters.bytes) > Duration::from_secs(3));
        (101..=140).for_each(|step| rig.push(delta(step * 40)));
        rig.unsent = cursor.counters.bytes;
        assert_eq!(rig.send(&mut cursor, ALL, true, usize::MAX).matches(';').count(), 40, "{lag}");
        // What is live counts.
        (141..=160).for_each(|step| rig.push(delta(step * 40)));
        all(&mut rig, &mut cursor);
        rig.push(delta(6440));
        rig.unsent = cursor.counters.bytes;
        assert_eq!(rig.send(&mut cursor, ALL, true, usize::MAX), "", "{lag}");
        assert_eq!(cursor.counters.skips.lag, 1);
    }
}

#[test]
fn what_a_player_switches_off_on_the_way_is_not_sent() {
    let mut rig = rig(100, Limits::default());
    rig.push(config(0, b"C"));
    rig.push(key(0));
    (1..100).for_each(|step| rig.push(delta(step * 40)));
    rig.push(audio(3950));
    let mut cursor = Cursor::new(0);
    rig.send(&mut cursor, ALL, false, 60);
    let sound = Wants { video: false, ..ALL };
    let sent = rig.send(&mut cursor, sound, false, usize::MAX).replace(' ', "");
    assert!(sent.ends_with("3950+0|a3950;"), "{sent}");
    assert!(!sent.contains('|') || sent.matches('|').count() == 1, "only what had gone out in part: {sent}");
    assert!(cursor.is_drained(&rig.log, sound));
}

/// What a player has ready is bounded, whatever the stream: a few beginnings, and one packet of its own.
#[test]
fn little_is_ready_at_a_time() {
    let mut rig = rig(700, Limits::default());
    rig.push(key(0));
    for step in 1..500 {
        let copied = frame(MediaKind::Video, Role::Delta, step * 40, b"dx");
        rig.push(if step > 100 { copied } else { delta(step * 40) });
    }
    let approach = Approach::new(&rig.log, rig.log.group().unwrap(), rig.now);
    let mut catch_up = approach.catch_up(700, &rig.log).unwrap();
    let mut counters = Counters::default();
    let mut count = 0;
    while catch_up.make_ready(&rig.log, ALL, &mut counters) {
        let copies = catch_up.ready.iter().filter(|ready| matches!(ready.form, Form::Copy(_))).count();
        assert!(copies <= 1 && catch_up.ready.len() <= READY);
        count += catch_up.ready.len();
        while catch_up.take(&rig.log).is_some() {}
    }
    assert_eq!(count, 500);
    assert!(size_of::<CatchUp>() <= 2560, "{}", size_of::<CatchUp>());
}

#[derive(Clone, Debug)]
enum Step {
    Key,
    Delta(i32),
    Disposable(i32),
    Big,
    Audio,
    Cue,
    Config,
    Gap,
    Send(usize),
    Trim,
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
    let step = prop_oneof![
        1 => Just(Step::Key),
        6 => (0..5).prop_map(|frames| Step::Delta(frames * 20)),
        4 => (0..5).prop_map(|frames| Step::Disposable(frames * 20)),
        1 => Just(Step::Big),
        4 => Just(Step::Audio),
        1 => Just(Step::Cue),
        1 => Just(Step::Config),
        1 => proptest::option::weighted(0.2, Just(())).prop_map(|gap| gap.map_or(Step::Audio, |()| Step::Gap)),
        5 => (0_usize..200).prop_map(Step::Send),
        1 => Just(Step::Trim),
    ];
    proptest::collection::vec((step, 10..40_i64), 0..150)
}

/// What the source has made of a picture.
#[derive(Clone, Copy, Debug)]
struct Made {
    key: i64,
    /// How many pictures that others need come before it in its group.
    needed: usize,
    disposable: bool,
    cts: i32,
}

proptest! {
    /// Whatever happens: whole packets, no picture without those that it needs, times that go forward, the old
    /// order of presentation, and after the catch-up the packets as all get them.
    #[test]
    fn no_player_that_catches_up_gets_a_torn_picture(
        steps in steps(),
        join in 0_usize..100,
        lag in prop::sample::select(vec![0_u64, 50, 700]),
        gop_messages in prop::sample::select(vec![16_usize, 3000]),
    ) {
        let limits = Limits { gop_messages, player_queue_bytes: 900, ..Limits::default() };
        let mut rig = rig(lag, limits);
        let mut cursor = Cursor::new(0);
        let (mut sent, mut starts) = (String::new(), Vec::new());
        let (mut ms, mut stalled) = (0, false);
        rig.push(config(0, b"C"));
        let mut made: HashMap<i64, Made> = HashMap::new();
        let mut group: Option<(i64, usize)> = None;
        for (index, (step, gap)) in steps.into_iter().chain((0..4).map(|_| (Step::Send(usize::MAX), 1))).enumerate() {
            ms += gap;
            let mut picture = |body: &str, role, cts, group: Option<(i64, usize)>| {
                if let Some((key, needed)) = group {
                    made.insert(ms, Made { key, needed, disposable: role == Role::Disposable, cts });
                }
                Frame { cts, ..frame(MediaKind::Video, role, ms, format!("{body}{ms:>6}").as_bytes()) }
            };
            match step {
                Step::Key => {
                    group = Some((ms, 0));
                    rig.push(picture("K", Role::Key, 40, group));
                    group = Some((ms, 1));
                }
                Step::Delta(cts) => {
                    rig.push(picture("d", Role::Delta, cts, group));
                    group = group.map(|(key, needed)| (key, needed + 1));
                }
                Step::Big => {
                    rig.push(picture("dx", Role::Delta, 20, group));
                    group = group.map(|(key, needed)| (key, needed + 1));
                }
                Step::Disposable(cts) => rig.push(picture("b", Role::Disposable, cts, group)),
                Step::Audio => rig.push(audio(ms)),
                Step::Cue => rig.push(cue(ms)),
                Step::Config => rig.push(config(ms, b"C")),
                Step::Gap => { group = None; rig.log.gap(); }
                Step::Send(_) if index < join => {}
                Step::Send(room) => {
                    let (before, skips) = (cursor.needs(), cursor.counters.skips.total());
                    let mut some = rig.send(&mut cursor, ALL, stalled, room);
                    prop_assert_ne!(&some, "CUT");
                    if cursor.needs().is_some() && (before.is_none() || skips < cursor.counters.skips.total()) {
                        starts.push((sent.len(), ms));
                    }
                    stalled = some.len() == room;
                    while room == usize::MAX && !cursor.is_drained(&rig.log, ALL) {
                        let more = rig.send(&mut cursor, ALL, false, room);
                        prop_assert!(!more.is_empty());
                        some.push_str(&more);
                    }
                    sent.push_str(&some);
                }
                Step::Trim => rig.log.trim(cursor.needs()),
            }
        }
        prop_assert!(sent.is_empty() || sent.ends_with(';'), "{}", sent);
        prop_assert_eq!(cursor.counters.bytes, sent.len() as u64);
        let mut at = 0;
        let mut last: HashMap<&str, i64> = HashMap::new();
        // The newest picture that others need, by key frame and number; pictures of the group, old and new time.
        let (mut shown, mut pictures) = (None, Vec::new());
        for text in sent.split_terminator(';') {
            let start = starts.iter().rev().find(|(from, _)| *from <= at).map_or(0, |(_, ms)| *ms);
            at += text.len() + 1;
            let (head, body) = text.split_once('|').unwrap();
            let (dts, cts) = head.split_once('+').unwrap();
            let (dts, cts): (i64, i64) = (dts.trim().parse().unwrap(), cts.trim().parse().unwrap());
            if body == "C" {
                continue;
            }
            let id: i64 = body[1..].trim_start_matches('x').trim().parse().unwrap();
            prop_assert!(dts >= id, "{} is earlier than it was", text);
            if id > start {
                prop_assert_eq!(dts, id, "{} came after the start", text);
            }
            let kind = match &body[..1] { "a" => "audio", "s" => "data", _ => "video" };
            let before = last.insert(kind, dts).unwrap_or(-1);
            let room = kind == "audio" || lag == 700 && kind == "video";
            prop_assert!(if room { dts > before } else { dts >= before }, "{} after {}", text, before);
            if kind != "video" {
                continue;
            }
            let made = made[&id];
            if id > start {
                prop_assert_eq!(cts, i64::from(made.cts), "{} came after the start", text);
            }
            prop_assert!(cts >= 0);
            if body.starts_with('K') {
                pictures.clear();
                shown = Some((id, 0));
            } else {
                let needed = made.needed - 1;
                prop_assert_eq!(shown, Some((made.key, needed)), "{} is torn", text);
                if !made.disposable {
                    shown = Some((made.key, made.needed));
                }
            }
            pictures.push((id + i64::from(made.cts), dts + cts));
            if lag == 700 {
                for (old, new) in &pictures {
                    let (old_order, new_order) = (old.cmp(&pictures[pictures.len() - 1].0), new.cmp(&(dts + cts)));
                    prop_assert!(old_order == new_order || old_order.is_eq() || new_order.is_eq(), "{}", text);
                }
            }
        }
    }
}
