//! How cursors move.

use crtmp_media::Limits;
use proptest::prelude::*;

use super::*;
use crate::testing::{ALL, Rig, audio, config, delta, key};

fn squeeze(text: &str) -> String {
    text.replace(' ', "")
}

#[test]
fn a_newcomer_gets_headers_and_the_group_and_then_follows() {
    let mut rig = Rig::new(Limits::default());
    for frame in [config(0, b"C"), key(0), delta(40), key(80), delta(120)] {
        rig.push(frame);
    }
    let mut cursor = Cursor::new(0);
    assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 999)), "C@80;K80@80;d120@120;");
    assert_eq!(rig.send(&mut cursor, ALL, false, 999), "");
    rig.push(audio(130));
    assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 999)), "a130@130;");
    assert!(cursor.is_drained(&rig.log, ALL));
}

#[test]
fn a_player_that_came_first_starts_with_the_source() {
    let mut rig = Rig::new(Limits::default());
    let mut cursor = Cursor::new(0);
    assert_eq!(rig.send(&mut cursor, ALL, false, 999), "");
    rig.push(config(0, b"C"));
    rig.push(audio(0));
    rig.push(key(0));
    let sent = squeeze(&rig.send(&mut cursor, ALL, false, 999));
    assert_eq!(sent, "C@0;K0@0;");
}

#[test]
fn a_player_that_falls_off_the_log_skips_to_a_key_frame_between_packets() {
    let mut rig = Rig::new(Limits { gop_messages: 16, ..Limits::default() });
    rig.push(config(0, b"C"));
    rig.push(key(0));
    let mut cursor = Cursor::new(0);
    assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 8)), "C@0;K");
    for ms in 1..30 {
        rig.push(delta(ms));
    }
    assert_eq!(squeeze(&rig.send(&mut cursor, ALL, true, 999)), "0@0;", "the packet in flight is finished");
    assert_eq!(rig.send(&mut cursor, ALL, true, 999), "", "there is no key frame to start at");
    rig.push(key(40));
    rig.push(delta(41));
    assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 999)), "K40@40;d41@41;", "headers are known");
    assert_eq!(cursor.counters.skips.total(), 1);
    assert!(cursor.counters.skipped_packets >= 29);
}

#[test]
fn a_slow_player_skips_only_forward_and_is_told_of_headers_that_it_missed() {
    let mut rig = Rig::new(Limits { player_queue_bytes: 100, ..Limits::default() });
    rig.push(config(0, b"C"));
    rig.push(key(0));
    let mut cursor = Cursor::new(0);
    rig.send(&mut cursor, ALL, false, 4);
    for ms in 1..40 {
        rig.push(delta(ms));
    }
    let sent = squeeze(&rig.send(&mut cursor, ALL, true, 30));
    assert!(sent.starts_with("K0@0;d1@1;"), "no key frame ahead: it goes on: {sent}");
    rig.push(config(40, b"D"));
    rig.push(key(41));
    let mut rest = squeeze(&rig.send(&mut cursor, ALL, true, 999));
    rest = rest.split_once(';').map(|(_, rest)| rest.to_owned()).unwrap_or(rest);
    assert_eq!(rest, "D@41;K41@41;");
}

/// What the socket took is not with the player: a large buffer of the system hides seconds.
#[test]
fn lag_that_the_system_hides_counts_too() {
    let mut rig = Rig::new(Limits { player_queue_bytes: 64 * 1024, ..Limits::default() });
    let mut cursor = Cursor::new(0);
    let mut sent = |rig: &mut Rig| rig.send(&mut cursor, ALL, true, usize::MAX).replace(' ', "");
    [config(0, b"C"), key(0), delta(40)].into_iter().for_each(|frame| rig.push(frame));
    assert_eq!(sent(&mut rig), "C@0;K0@0;d40@40;");
    rig.unsent = 64 * 1024 + 1;
    [delta(80), key(120), delta(160)].into_iter().for_each(|frame| rig.push(frame));
    assert_eq!(sent(&mut rig), "", "not even from the key frame at hand");
    rig.unsent = 48 * 1024;
    [delta(200), key(240), delta(280)].into_iter().for_each(|frame| rig.push(frame));
    assert_eq!(sent(&mut rig), "", "it would be too far behind at once");
    rig.unsent = 32 * 1024;
    assert_eq!(sent(&mut rig), "K240@240;d280@280;");
    assert_eq!((cursor.counters.skips.lag, cursor.counters.skipped_packets), (1, 4));
}

#[test]
fn what_is_sent_and_missed_is_counted_by_kind() {
    let mut rig = Rig::new(Limits::default());
    let mut cursor = Cursor::new(0);
    [key(0), delta(40), audio(40)].into_iter().for_each(|frame| rig.push(frame));
    let sent = rig.send(&mut cursor, ALL, false, 999);
    let of = |kind: char| {
        let packets = sent.split_inclusive(';').filter(|packet| packet.starts_with(kind));
        packets.map(|packet| packet.len() as u64).sum::<u64>()
    };
    let video = Sent { packets: 2, bytes: of('K') + of('d'), ..Sent::default() };
    let audio_sent = Sent { packets: 1, bytes: of('a'), ..Sent::default() };
    assert_eq!((cursor.counters.video, cursor.counters.audio), (video, audio_sent), "{sent}");
    cursor.rejoin(&rig.log);
    [delta(80), audio(80), audio(90), key(120)].into_iter().for_each(|frame| rig.push(frame));
    let next = rig.send(&mut cursor, ALL, false, 999);
    let (video, audio) = (cursor.counters.video, cursor.counters.audio);
    assert_eq!((video.packets, audio.packets), (3, 1), "{next}");
    assert_eq!((video.skipped_packets, audio.skipped_packets), (1, 2), "{next}");
    assert_eq!((video.skipped_bytes, audio.skipped_bytes), (of('d'), 2 * of('a')), "{next}");
}

#[test]
fn headers_that_a_skip_overtakes_are_sent_after_it() {
    let mut rig = Rig::new(Limits { gop_messages: 16, ..Limits::default() });
    rig.push(config(0, b"C"));
    rig.push(key(0));
    let mut cursor = Cursor::new(0);
    assert_eq!(rig.send(&mut cursor, ALL, false, 0), "", "the player has its place, and nothing else");
    for ms in 1..40 {
        rig.push(key(ms));
    }
    assert_eq!(squeeze(&rig.send(&mut cursor, ALL, true, 999)), "C@39;K39@39;");
}

#[test]
fn a_paused_player_holds_nothing_and_goes_on_live() {
    let mut rig = Rig::new(Limits::default());
    rig.push(config(0, b"C"));
    rig.push(key(0));
    let mut cursor = Cursor::new(0);
    rig.send(&mut cursor, ALL, false, 999);
    let paused = Wants { paused: true, ..ALL };
    cursor.rejoin(&rig.log);
    for ms in 1..20 {
        rig.push(delta(ms));
    }
    assert_eq!(rig.send(&mut cursor, paused, true, 999), "");
    assert_eq!(cursor.needs(), None);
    assert_eq!(rig.send(&mut cursor, ALL, false, 999), "", "what it has missed leans on what it has missed");
    rig.push(key(20));
    rig.push(delta(21));
    assert_eq!(squeeze(&rig.send(&mut cursor, ALL, false, 999)), "K20@20;d21@21;");
    assert_eq!((cursor.counters.skips.pause, cursor.counters.skipped_packets), (1, 19));
}

#[test]
fn audio_and_video_can_be_switched_off() {
    let mut rig = Rig::new(Limits::default());
    for frame in [config(0, b"C"), key(0), audio(10), delta(40)] {
        rig.push(frame);
    }
    let mut cursor = Cursor::new(0);
    let no_video = Wants { video: false, ..ALL };
    assert_eq!(squeeze(&rig.send(&mut cursor, no_video, false, 999)), "C@0;a10@10;");
    let mut cursor = Cursor::new(0);
    let no_audio = Wants { audio: false, ..ALL };
    assert_eq!(squeeze(&rig.send(&mut cursor, no_audio, false, 999)), "C@0;K0@0;d40@40;");
}

#[derive(Clone, Debug)]
enum Step {
    Key,
    Delta,
    Audio,
    Config(u8),
    Gap,
    Send(usize),
    Trim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Key),
        4 => Just(Step::Delta),
        4 => Just(Step::Audio),
        1 => (0u8..3).prop_map(Step::Config),
        1 => Just(Step::Gap),
        6 => (0usize..80).prop_map(Step::Send),
        1 => Just(Step::Trim),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    /// Whatever happens, a player gets whole packets, pictures only after a key frame and a header that
    /// belong to them, each packet once and in order.
    #[test]
    fn no_player_ever_gets_a_torn_picture(steps in steps()) {
        let limits = Limits { gop_messages: 16, player_queue_bytes: 120, ..Limits::default() };
        let mut rig = Rig::new(limits);
        let mut cursor = Cursor::new(0);
        let mut sent = String::new();
        let (mut ms, mut config_now, mut stalled) = (0, 0, false);
        rig.push(config(0, b"C0"));
        // What a decoder may be shown: each delta belongs to the key frame and configuration before it.
        let mut belongs = std::collections::HashMap::new();
        let mut last_key = None;
        for step in steps {
            ms += 1;
            match step {
                Step::Key => { last_key = Some(ms); belongs.insert(ms, (ms, config_now)); rig.push(key(ms)); }
                Step::Delta => {
                    if let Some(key) = last_key { belongs.insert(ms, (key, config_now)); }
                    rig.push(delta(ms));
                }
                Step::Audio => rig.push(audio(ms)),
                Step::Config(number) => {
                    if number != config_now { last_key = None; }
                    config_now = number;
                    rig.push(config(ms, format!("C{number}").as_bytes()));
                }
                Step::Gap => { last_key = None; rig.log.gap(); }
                Step::Send(room) => {
                    let some = rig.send(&mut cursor, ALL, stalled, room);
                    prop_assert_ne!(&some, "CUT");
                    stalled = some.len() == room;
                    sent.push_str(&some);
                }
                Step::Trim => rig.log.trim(cursor.needs()),
            }
        }
        for _ in 0..4 {
            let some = rig.send(&mut cursor, ALL, false, usize::MAX);
            sent.push_str(&some);
        }
        prop_assert!(sent.is_empty() || sent.ends_with(';'), "{}", sent);
        let (mut last, mut header, mut shown_key) = (-1, None, None);
        for packet in sent.split_terminator(';') {
            let (body, time) = packet.split_once('@').unwrap();
            let time: i64 = time.parse().unwrap();
            if let Some(number) = body.strip_prefix('C') {
                let number: u8 = number.parse().unwrap();
                if header != Some(number) { shown_key = None; }
                header = Some(number);
                continue;
            }
            prop_assert!(time > last, "{} after {}", packet, last);
            last = time;
            if body.starts_with('K') { shown_key = Some(time); }
            if body.starts_with('K') || body.starts_with('d') {
                let (key, config) = belongs[&time];
                prop_assert_eq!((shown_key, header), (Some(key), Some(config)), "{}", packet);
            }
        }
    }
}
