//! CMD-01: what each command does in each state, written down in `testdata/commands.txt`.

use std::{fmt::Write as _, fs, path::PathBuf};

use super::*;

/// Every command that the session knows, one that it does not know, and answers to nothing, as a peer would send
/// them on message stream 1 or on 0.
fn commands() -> Vec<(&'static str, Message)> {
    let on_connection = |name, args: &[Value]| call(0, name, 7.0, args);
    let on_stream = |name, args: &[Value]| call(1, name, 0.0, args);
    vec![
        ("connect", on_connection("connect", &[])),
        ("createStream", on_connection("createStream", &[])),
        ("deleteStream 1", call(0, "deleteStream", 0.0, &[1.0.into()])),
        ("closeStream", on_stream("closeStream", &[])),
        ("publish", on_stream("publish", &["x".into(), "live".into()])),
        ("publish false", on_stream("publish", &[false.into()])),
        ("play", on_stream("play", &["x".into()])),
        ("play false", on_stream("play", &[false.into()])),
        ("play2", on_stream("play2", &[object(&[])])),
        ("pause", on_stream("pause", &[true.into(), 0.0.into()])),
        ("seek", on_stream("seek", &[0.0.into()])),
        ("receiveAudio", on_stream("receiveAudio", &[false.into()])),
        ("receiveVideo", on_stream("receiveVideo", &[false.into()])),
        ("releaseStream", on_connection("releaseStream", &["film".into()])),
        ("FCPublish", on_connection("FCPublish", &["film".into()])),
        ("FCUnpublish film", on_connection("FCUnpublish", &["film".into()])),
        ("FCSubscribe", on_connection("FCSubscribe", &["film".into()])),
        ("FCUnsubscribe", on_connection("FCUnsubscribe", &["film".into()])),
        ("_checkbw", on_connection("_checkbw", &[])),
        ("getStreamLength", on_connection("getStreamLength", &["film".into()])),
        ("an unknown call", on_connection("chat", &["hello".into()])),
        ("an unknown call that wants no answer", call(0, "chat", 0.0, &["hello".into()])),
        ("an unknown call on the stream", call(1, "chat", 7.0, &["hello".into()])),
        ("_result", on_connection("_result", &[])),
        ("_error", on_connection("_error", &[])),
        ("onStatus", on_stream("onStatus", &[])),
    ]
}

type State = (&'static str, fn() -> Peer);

const STATES: [State; 9] = [
    ("handshaken", || Peer::shaken(Limits::default())),
    ("connecting", || {
        let mut peer = Peer::shaken(Limits::default());
        peer.call(0, "connect", 1.0, &[]);
        peer
    }),
    ("connected", || Peer::connected(Limits::default())),
    ("stream created", || Peer::ready(Limits::default())),
    ("publish asked", || {
        let mut peer = Peer::ready(Limits::default());
        peer.publish("film");
        peer
    }),
    ("publishing", || Peer::publishing(Limits::default())),
    ("play asked", || {
        let mut peer = Peer::ready(Limits::default());
        peer.play("film");
        peer
    }),
    ("playing", || Peer::playing(Limits::default())),
    ("closed", || {
        let mut peer = Peer::publishing(Limits::default());
        peer.order(Order::Close { code: "NetConnection.Connect.Closed".into(), text: String::new() });
        peer
    }),
];

/// What the peer hears and the server is told, in one line.
fn reaction(peer: &mut Peer) -> String {
    let told = peer.events().into_iter().map(|event| format!("[{event}]"));
    let lines: Vec<String> = peer.said().into_iter().chain(told).collect();
    lines.join(", ")
}

/// What `message` does in a state; where it waits for a verdict, what it does after a yes.
fn effect(make: fn() -> Peer, message: &Message) -> String {
    let mut peer = make();
    peer.forget();
    peer.send(message);
    let now = reaction(&mut peer);
    if !now.is_empty() || peer.requests.is_empty() {
        return if now.is_empty() { "nothing".to_owned() } else { now };
    }
    peer.accept();
    let later = reaction(&mut peer);
    let mut without = make();
    without.forget();
    without.accept();
    let accepted = reaction(&mut without);
    let effect = later.strip_prefix(&accepted).expect("the verdict comes first");
    format!("waits, then {}", effect.trim_start_matches(", "))
}

fn table() -> String {
    let mut out = String::from(HEAD);
    for (name, message) in commands() {
        writeln!(out, "\n{name}").unwrap();
        for (state, make) in STATES {
            writeln!(out, "  {state:<16} {}", effect(make, &message)).unwrap();
        }
    }
    out
}

const HEAD: &str = "\
What a server session does with each command in each state. Checked by a test.

What the peer is told comes first: the answer, its transaction, and its code; \"@1\" is on message stream 1.
What the server is told stands in brackets. In the states \"connecting\", \"publish asked\" and \"play asked\" the
application has not decided yet; what a command does after a yes follows \"waits, then\".
";

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "testdata/commands.txt"].iter().collect()
}

#[test]
fn each_command_has_a_known_effect_in_each_state() {
    let written = fs::read_to_string(file()).unwrap();
    for (line, (found, expected)) in table().lines().zip(written.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(table().len(), written.len());
}

/// A peer that wants an answer gets one, or the connection is over.
#[test]
fn no_call_is_met_with_silence() {
    for (name, message) in commands() {
        if matches!(name, "_result" | "_error") || message.stream == 1 {
            continue;
        }
        let wants_answer =
            Command::parse(message.kind, &message.body, &Limits::default()).unwrap().transaction != 0.0;
        for (state, make) in STATES {
            if wants_answer && state != "closed" {
                let effect = effect(make, &message);
                let answered = ["_result 7", "_error 7", "[Connect", "wants an answer"];
                assert!(answered.iter().any(|answer| effect.contains(answer)), "{name}, {state}: {effect}");
            }
        }
    }
}

/// Writes the table: `cargo test -p crtmp-rtmp -- --ignored write_the_table`.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_table() {
    fs::write(file(), table()).unwrap();
}
