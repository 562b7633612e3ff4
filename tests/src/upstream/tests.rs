use std::io::{self, Write};
use std::net::Shutdown;

use super::*;
use crate::Value;
use crate::wire::{self, Client, amf};

const SOON: Duration = Duration::from_secs(10);

fn shaken(upstream: &Upstream) -> Client {
    Client::shaken(upstream.address())
}

fn media(kind: u8, time: u32, payload: &[u8]) -> Message {
    Message { chunk_stream: 6, kind, stream: 1, time, payload: payload.to_vec() }
}

/// The answer to a `createStream`.
fn created(client: &mut Client) -> Option<Value> {
    client.send(&Message::command(0, "createStream", 4.0, &[amf::null()]));
    Command::of(&client.expect("_result"))?.values.pop()
}

#[test]
fn a_publisher_is_served_and_what_it_says_is_kept() {
    let upstream = Upstream::start(Script::new());
    let mut client = Client::publisher(upstream.address(), "live", "one");
    client.send(&media(9, 40, &[0x17; 300]));
    let visit = upstream.visit(0);
    assert_eq!(visit.wait_for_media(1), [media(9, 40, &[0x17; 300])]);
    let names: Vec<String> = visit.commands().into_iter().map(|command| command.name).collect();
    assert_eq!(names, ["connect", "createStream", "publish"]);
    assert_eq!(visit.command("connect").values[0].get("app").and_then(Value::text), Some("live"));
    assert_eq!(visit.command("publish").text(1), Some("one"));
    client.send(&control(5, &1000_u32.to_be_bytes()));
    client.send(&control(3, &7_u32.to_be_bytes()));
    client.send(&control(4, &[0, 6, 0, 0, 0, 9]));
    assert_eq!(client.expect_kind(4).payload, [0, 7, 0, 0, 0, 9]);
    assert_eq!((visit.window(), visit.acknowledgements(), visit.chunk_size()), (Some(1000), vec![7], None));
    drop(client);
    assert_eq!(visit.wait_for_end(), End::Client);
}

#[test]
fn a_player_is_served() {
    let messages = [media(9, 10, &[0x17; 5000]), media(8, 20, &[0xaf; 10])];
    let upstream = Upstream::start(Script::serving(messages.to_vec()).streams_from(5));
    let mut client = Client::connected(upstream.address(), "live");
    assert_eq!(created(&mut client), Some(Value::Number(5.0)));
    client.send(&wire::play(5, "one"));
    assert_eq!(client.expect("NetStream.Play.Start").stream, 5);
    for message in messages {
        assert_eq!(client.message(SOON), Some(Message { stream: 5, ..message }));
    }
    assert_eq!(client.expect_kind(4).payload, [0, 1, 0, 0, 0, 5]);
    client.expect("NetStream.Play.UnpublishNotify");
    // The test may speak itself.
    upstream.visit(0).send(&media(9, 30, b"late"));
    assert_eq!(client.expect_kind(9).payload, b"late");
}

#[test]
fn one_connection_has_several_streams() {
    let serve = |payload: &[u8]| {
        let messages = [media(9, 0, payload), media(9, 40, payload)];
        [Act::Answer, Act::Serve(messages.into(), Pace::Real)]
    };
    let script = Script::new()
        .on(Moment::Stream("play", "one"), serve(b"first"))
        .on(Moment::Stream("play", "two"), serve(b"second"));
    let upstream = Upstream::start(script);
    let mut client = Client::connected(upstream.address(), "live");
    for (stream, name) in [(1, "one"), (2, "two")] {
        client.send(&Message::command(0, "createStream", 4.0, &[amf::null()]));
        client.send(&wire::play(stream, name));
    }
    let pictures = (0..4).map(|_| client.expect_kind(9));
    let mut found: Vec<_> = pictures.map(|message| (message.stream, message.time, message.payload)).collect();
    found.sort();
    let expected = [(1, 0, &b"first"[..]), (1, 40, b"first"), (2, 0, b"second"), (2, 40, b"second")];
    assert_eq!(found, expected.map(|(stream, time, payload)| (stream, time, payload.to_vec())));
}

#[test]
fn acknowledgements_are_as_the_script_says() {
    for (how, expected) in [
        (Acknowledge::Totals, [1000, 2000, 3000]),
        (Acknowledge::Increments, [1000, 1000, 1000]),
        (Acknowledge::Backwards, [1000, 1000, 3000]),
        (Acknowledge::Beyond, [0x7000_03e8, 0x7000_07d0, 0x7000_0bb8]),
    ] {
        let upstream = Upstream::start(Script::new().acknowledges(how, Some(1000)));
        let mut client = shaken(&upstream);
        for expected in expected {
            // With twelve bytes of header and seven more that continue it these are a thousand.
            client.send(&media(9, 0, &[0; 981]));
            let found = u32::from_be_bytes(client.expect_kind(3).payload.try_into().expect("four bytes"));
            assert_eq!(found, expected, "{how:?}");
        }
    }
}

#[test]
fn refusals_reach_the_client() {
    let script = Script::new()
        .on(Moment::Stream("publish", "taken"), [Act::Status("error", "NetStream.Publish.BadName")])
        .at("createStream", [Act::Result(amf::number(f64::NAN))]);
    let redirect = Script::new().at("connect", [Act::Redirect("rtmp://there/live".into()), Act::Close]);
    let upstream = Upstream::start_in_turn(vec![script, redirect]);
    let mut client = Client::connected(upstream.address(), "live");
    assert!(created(&mut client).and_then(|value| value.number()).is_some_and(f64::is_nan));
    client.send(&wire::publish(1, "taken"));
    client.expect("NetStream.Publish.BadName");
    client.send(&wire::publish(1, "free"));
    client.expect("NetStream.Publish.Start");
    for number in 1..3 {
        let mut client = shaken(&upstream);
        client.send(&wire::connect("live", "rtmp://here/live"));
        let values = Command::of(&client.expect("_error")).expect("a command").values;
        let target = values[1].get("ex").and_then(|more| more.get("redirect"));
        assert_eq!(target.and_then(Value::text), Some("rtmp://there/live"));
        client.expect_close(SOON);
        assert_eq!(upstream.visit(number).wait_for_end(), End::Here);
    }
    upstream
        .follow(Script::new().at("connect", [Act::Refuse("NetConnection.Connect.Rejected", "who?".into())]));
    let mut client = shaken(&upstream);
    client.send(&wire::connect("live", "rtmp://here/live"));
    assert!(client.expect("_error").says("who?"));
}

#[test]
fn silence_and_resets() {
    let script = Script::new().at("connect", [Act::Silence, Act::Answer]).on(Moment::Media(2), [Act::Reset]);
    let upstream = Upstream::start(script);
    let mut client = shaken(&upstream);
    client.send(&wire::connect("live", "rtmp://here/live"));
    client.send(&control(4, &[0, 6, 0, 0, 0, 9]));
    client.send(&media(8, 0, &[0xaf]));
    let visit = upstream.visit(0);
    visit.wait_for_media(1);
    assert_eq!(client.message(Duration::from_millis(50)), None);
    client.send(&media(8, 0, &[0xaf]));
    client.expect_close(SOON);
    assert_eq!(visit.wait_for_end(), End::Here);
}

/// None of them fails itself, and each knows when its client has gone.
#[test]
fn hostile_scripts_run() {
    let mut begin = [&[3][..], &[0; 2 * 1536]].concat();
    for message in [
        wire::connect("live", "rtmp://here/live"),
        Message::command(0, "createStream", 2.0, &[amf::null()]),
        wire::publish(1, "one"),
        media(9, 0, &[0x17; 100]),
        media(9, 0, &[0x17; 100]),
        media(9, 0, &[0x17; 100]),
    ] {
        begin.extend(message.chunks(128));
    }
    for scripts in hostile::scripts().chunks(20) {
        let upstream = Upstream::start_in_turn(scripts.iter().map(|(_, script)| script.clone()).collect());
        let mut clients = Vec::new();
        for number in 0..scripts.len() {
            // Some are reset before they know that they were connected.
            let client = TcpStream::connect(upstream.address());
            upstream.visit(number);
            let Ok(client) = client else { continue };
            let _ = (&client).write_all(&begin);
            let reader = client.try_clone().expect("a socket has another handle");
            thread::spawn(move || io::copy(&mut &reader, &mut io::sink()));
            clients.push(client);
        }
        let listening = |number: &usize| !scripts[*number].0.contains("reads nothing");
        for number in (0..scripts.len()).filter(listening) {
            upstream.visit(number).wait_for(&scripts[number].0, |visit| {
                (visit.media().len() == 3 || visit.end().is_some()).then_some(())
            });
        }
        for client in clients {
            let _ = client.shutdown(Shutdown::Both);
        }
        for number in (0..scripts.len()).filter(listening) {
            upstream.visit(number).wait_for_end();
        }
    }
}
