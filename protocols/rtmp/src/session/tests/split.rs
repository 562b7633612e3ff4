//! How the network cuts what a peer sends changes nothing.

use proptest::prelude::*;

use super::*;
#[cfg(feature = "digest")]
use crate::handshake::Scheme;

/// A recorded conversation: what a peer says in one go, and what happens in between.
enum Step {
    Say(Vec<u8>),
    Accept,
    Reject,
    Wait(u64),
}

/// Everything that came out of a conversation whose parts were cut into pieces by `cut`: events and bytes.
fn run(script: &[Step], mut cut: impl FnMut(usize) -> usize) -> (Vec<String>, Vec<u8>) {
    let mut peer = Peer::new(Limits { commands_before: 8, ..Limits::default() });
    peer.handshake = Some(ClientHandshake::new(HandshakeKind::Simple, &[7; RANDOM]));
    for step in script {
        let result = match step {
            Step::Say(bytes) => {
                let mut rest = &bytes[..];
                let mut result = Ok(());
                while !rest.is_empty() && result.is_ok() {
                    let (piece, later) = rest.split_at(cut(rest.len()).clamp(1, rest.len()));
                    result = peer.bytes(piece);
                    rest = later;
                }
                result
            }
            // What is damaged may ask for nothing.
            Step::Accept | Step::Reject if peer.requests.is_empty() => Ok(()),
            Step::Accept => peer.answer(Answer::Accept),
            Step::Reject => {
                peer.answer(Answer::Reject { code: "NetStream.Publish.BadName".into(), text: "no".into() })
            }
            Step::Wait(ms) => peer.wait(*ms),
        };
        if let Err(error) = result {
            peer.log.push(error.to_string());
            break;
        }
    }
    peer.log.extend(peer.closing());
    (peer.log, peer.raw)
}

fn chunks(messages: &[Message]) -> Vec<u8> {
    let mut writer = ChunkWriter::new();
    let mut out = Vec::new();
    for message in messages {
        writer.write(&mut out, message).unwrap();
    }
    out
}

fn hello() -> Vec<u8> {
    #[cfg(feature = "digest")]
    let kind = HandshakeKind::Digest(Scheme::KeyFirst);
    #[cfg(not(feature = "digest"))]
    let kind = HandshakeKind::Simple;
    let client = ClientHandshake::new(kind, &[7; RANDOM]);
    let mut out = Vec::new();
    client.start(&mut out);
    // C2 is not the echo of anything, and the digest is damaged so that nobody looks.
    out[1500] ^= 1;
    out.extend([0xAB; 1536]);
    out
}

/// A publisher that sends everything without waiting, through one message stream that is refused and one that is
/// accepted.
fn eager_publisher() -> Vec<Step> {
    let setup = [
        call(0, "connect", 1.0, &[]),
        call(0, "releaseStream", 2.0, &["film".into()]),
        call(0, "createStream", 3.0, &[]),
        call(0, "createStream", 4.0, &[]),
        call(1, "publish", 5.0, &["film".into()]),
        call(2, "publish", 6.0, &["other".into()]),
    ];
    let media = [
        data(1, "@setDataFrame", &["onMetaData".into(), object(&[("width", 1.0.into())])]),
        sound(1, 0xFF_FFFF),
        key_frame(1, 0x0100_0000, 3000),
        sound(2, 7),
        control_message(Control::User(UserControl::PingRequest(1))),
        key_frame(1, 0x0100_0028, 70_000),
        sound(1, 0x0100_0030),
    ];
    let end = [call(0, "FCUnpublish", 7.0, &["film".into()]), call(0, "deleteStream", 0.0, &[1.0.into()])];
    vec![
        Step::Say([hello(), chunks(&setup), chunks(&media)].concat()),
        Step::Accept,
        Step::Accept,
        Step::Reject,
        Step::Wait(4000),
        Step::Say([chunks(&media), chunks(&end), chunks(&media[1..3])].concat()),
        Step::Wait(20_000),
    ]
}

/// A player that asks an application, switches, and pauses.
fn player() -> Vec<Step> {
    let first = [
        call(0, "connect", 1.0, &[]),
        call(0, "createStream", 2.0, &[]),
        call(0, "chat", 3.0, &["hello".into()]),
        call(1, "play", 4.0, &["film".into()]),
        control_message(Control::User(UserControl::SetBufferLength { stream: 1, ms: 3000 })),
        call(1, "pause", 0.0, &[true.into()]),
        call(1, "play", 5.0, &["other".into()]),
    ];
    let last = [call(1, "closeStream", 0.0, &[]), sound(1, 0), call(0, "connect", 9.0, &[])];
    vec![
        Step::Say([hello(), chunks(&first)].concat()),
        Step::Accept,
        Step::Accept,
        Step::Accept,
        Step::Wait(6000),
        Step::Reject,
        Step::Say(chunks(&last)),
        Step::Say(vec![0x09; 100]),
    ]
}

/// A peer that is refused while it goes on talking.
fn refused() -> Vec<Step> {
    let messages = [call(0, "connect", 1.0, &[]), call(0, "createStream", 2.0, &[]), sound(1, 0)];
    vec![Step::Say([hello(), chunks(&messages)].concat()), Step::Reject, Step::Say(vec![0xFF; 200])]
}

fn scripts() -> [Vec<Step>; 3] {
    [eager_publisher(), player(), refused()]
}

#[test]
fn whole_byte_by_byte_or_in_odd_pieces_is_all_the_same() {
    for script in scripts() {
        let whole = run(&script, |all| all);
        assert!(whole.0.len() >= 2);
        for size in [1, 2, 3, 7, 127, 1400, 65_536] {
            let pieces = run(&script, |_| size);
            assert!(whole == pieces, "pieces of {size}");
        }
    }
}

/// CHK-23: a conversation with one bit wrong is served or refused, and never more than that.
#[test]
fn a_wrong_bit_is_survived() {
    for script in scripts() {
        let bytes = |step: &Step| if let Step::Say(bytes) = step { bytes.len() } else { 0 };
        let length: usize = script.iter().map(bytes).sum();
        // A prime, so that all bits of a byte have their turn.
        for bit in (0..length * 8).step_by(997) {
            let mut left = bit;
            let damaged: Vec<Step> = script
                .iter()
                .map(|step| match step {
                    Step::Say(bytes) => {
                        let mut bytes = bytes.clone();
                        if let Some(byte) = bytes.get_mut(left / 8) {
                            *byte ^= 1 << (left % 8);
                        }
                        left = left.checked_sub(bytes.len() * 8).unwrap_or(usize::MAX);
                        Step::Say(bytes)
                    }
                    Step::Accept => Step::Accept,
                    Step::Reject => Step::Reject,
                    Step::Wait(ms) => Step::Wait(*ms),
                })
                .collect();
            let (events, sent) = run(&damaged, |all| all);
            assert!(events.len() < 200 && sent.len() < 20_000, "bit {bit}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_cuts_change_nothing(sizes in prop::collection::vec(1..5000_usize, 1..40)) {
        for script in scripts() {
            let mut sizes = sizes.iter().cycle();
            let pieces = run(&script, |_| *sizes.next().unwrap());
            prop_assert!(pieces == run(&script, |all| all));
        }
    }
}
