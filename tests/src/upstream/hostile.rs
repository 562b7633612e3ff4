//! Servers that no client may be harmed by: what they do, by name.
//!
//! Each of them is met by a client that pulls and by one that pushes: what is done at `play` is done at `publish` too.
//! A client may give up or go on, as it likes. It must not crash, hang, grow without bound, or disturb anybody else,
//! and it must ask nobody whom it may not ask.
//!
//! What needs the address of an upstream is not here: one that sends its clients on to itself, or two to each other
//! ([`Upstream::follow`](super::Upstream::follow) with an [`Act::Redirect`]).

use crate::wire::{Message, amf};

use super::script::information;
use super::{Acknowledge, Act, Moment, Script, control};

/// The commands at which a stream begins.
const BEGIN: [&str; 2] = ["play", "publish"];
/// How much is said of what is said too often: more than any limit allows.
const FLOOD: usize = 20_000;

/// All of them, each with a name of its own.
pub fn scripts() -> Vec<(String, Script)> {
    let mut found = Vec::new();
    let mut add = |name: &str, script: Script| found.push((name.to_owned(), script));
    handshakes(&mut add);
    connects(&mut add);
    streams(&mut add);
    begins(&mut add);
    chunks(&mut add);
    controls(&mut add);
    floods(&mut add);
    media(&mut add);
    ends(&mut add);
    found
}

/// Takes a name and a script.
type Add<'a> = &'a mut dyn FnMut(&str, Script);

fn handshakes(add: Add<'_>) {
    let on = |moment, acts: Vec<Act>| Script::new().on(moment, acts);
    let hello = |bytes: Vec<u8>| on(Moment::Hello, vec![Act::Raw(bytes)]);
    add("says nothing", on(Moment::Hello, vec![]));
    add("accepts and closes", on(Moment::Accepted, vec![Act::Close]));
    add("accepts and resets", on(Moment::Accepted, vec![Act::Reset]));
    add("accepts and reads nothing", on(Moment::Accepted, vec![Act::Deafness]));
    add("closes after C1", on(Moment::Hello, vec![Act::Close]));
    add("resets after C1", on(Moment::Hello, vec![Act::Reset]));
    add("closes after C2", on(Moment::Shaken, vec![Act::Close]));
    add("resets after C2", on(Moment::Shaken, vec![Act::Reset]));
    add("sends half a handshake", hello(vec![3; 1000]));
    add("sends all of a handshake but one byte", hello(vec![3; 2 * 1536]));
    add("sends half a handshake and finishes", {
        on(Moment::Hello, vec![Act::Raw(vec![3; 1000]), Act::Finish])
    });
    add("has version 0", hello(vec![0; 1 + 2 * 1536]));
    add("has version 6", hello(vec![6; 1 + 2 * 1536]));
    add("has version 255", hello(vec![255; 1 + 2 * 1536]));
    add("echoes something else", hello(vec![3; 1 + 2 * 1536]));
    add("is a web server", hello(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()));
    add("speaks TLS", hello(vec![0x15, 3, 1, 0, 2, 2, 70]));
    add("speaks first", on(Moment::Accepted, vec![Act::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())]));
    add("sends zeros without end", on(Moment::Accepted, vec![Act::Endless(vec![0; 65_536])]));
    add("sends threes without end", on(Moment::Accepted, vec![Act::Endless(vec![3; 65_536])]));
}

fn connects(add: Add<'_>) {
    let connect = |acts: Vec<Act>| Script::new().at("connect", acts);
    add("never answers connect", connect(vec![]));
    add("refuses connect", connect(vec![Act::Error("NetConnection.Connect.Rejected")]));
    add("refuses connect and closes", {
        connect(vec![Act::Error("NetConnection.Connect.InvalidApp"), Act::Close])
    });
    let long = "x".repeat(60_000);
    for (name, description) in [
        ("asks who it is", "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : "),
        ("asks who it is in a way that nobody knows", "[ code=403 need auth; authmod=other ]"),
        (
            "asks who it is with a challenge that is none",
            "[ code=403 need auth; authmod=adobe ] : ?reason=needauth&user=&salt=&challenge=&opaque=",
        ),
        ("gives control characters as a reason", "\u{1b}[2J\r\n\0 all is well"),
        ("gives a long reason", long.as_str()),
    ] {
        add(
            name,
            connect(vec![Act::Refuse("NetConnection.Connect.Rejected", description.into()), Act::Close]),
        );
    }
    add("answers connect twice", connect(vec![Act::Answer, Act::Answer]));
    add("answers connect and refuses it", {
        connect(vec![Act::Answer, Act::Error("NetConnection.Connect.Rejected")])
    });
    add("refuses connect and answers it", {
        connect(vec![Act::Error("NetConnection.Connect.Rejected"), Act::Answer])
    });
    add("answers connect with nothing", connect(vec![Act::Send(Message::command(0, "_result", 1.0, &[]))]));
    add("answers connect with a number", connect(vec![Act::Result(amf::number(1.0))]));
    add("answers connect with a code that is a number", {
        connect(vec![Act::Result(amf::object(&[("code", amf::number(1.0))]))])
    });
    add("answers connect with an unknown code", {
        connect(vec![Act::Result(information("status", "NetConnection.Connect.Maybe", &[]))])
    });
    add("answers before it was asked", {
        let result = Message::command(0, "_result", 1.0, &[amf::null(), amf::null()]);
        Script::new().on(Moment::Shaken, vec![Act::Send(result)]).at("connect", vec![])
    });
    for transaction in [0.0, -1.0, 1e300, 77.0, f64::NAN, f64::INFINITY] {
        add(&format!("answers the transaction {transaction}"), {
            connect(vec![Act::ResultTo(transaction), Act::Answer, Act::ResultTo(transaction)])
        });
    }
    add("answers with objects in objects", {
        let deep = [3, 0, 1, b'a'].repeat(10_000);
        connect(vec![Act::Result(deep)])
    });
    add("answers with arrays in arrays", {
        let deep = [10, 0, 0, 0, 1].repeat(10_000);
        connect(vec![Act::Result(deep)])
    });
    add(
        "answers with an array of four thousand million",
        connect(vec![Act::Result(vec![10, 255, 255, 255, 255])]),
    );
    add(
        "answers with a text that ends too soon",
        connect(vec![Act::Result(vec![12, 255, 255, 255, 255, b'x'])]),
    );
    add("answers with a text that is none", connect(vec![Act::Result(vec![2, 0, 2, 0xc3, 0x28])]));
    add("answers with half an answer", {
        connect(vec![Act::Send(Message { kind: 20, payload: vec![2, 0, 7, b'_', b'r'], ..said() })])
    });
    let long = format!("rtmp://127.0.0.1/{}", "a".repeat(60_000));
    for target in [
        "",
        "rtmp://",
        "rtmp://:0/live",
        "rtmp://127.0.0.1:0/live",
        "rtmp://127.0.0.1:99999/live",
        "rtmp://127.0.0.1:22/live",
        "rtmp://169.254.169.254/latest/meta-data",
        "rtmp://[::1]:22/live",
        "rtmp://[::ffff:127.0.0.1]:22/live",
        "rtmp://2130706433/live",
        "rtmp://0x7f.1/live",
        "rtmp://0/live",
        "http://127.0.0.1/live",
        "file:///etc/passwd",
        "rtmp://a@b@127.0.0.1/live",
        "rtmp://127.0.0.1/live\r\nx: y",
        "rtmp://nowhere.invalid/live",
        &long,
    ] {
        let name: String = target.chars().filter(|character| !character.is_control()).take(50).collect();
        add(&format!("sends on to `{name}`"), connect(vec![Act::Redirect(target.into())]));
    }
}

fn streams(add: Add<'_>) {
    let create = |acts: Vec<Act>| Script::new().at("createStream", acts);
    for number in [0.0, -1.0, 0.5, 4_294_967_295.0, 4_294_967_296.0, 1e300, f64::NAN, f64::INFINITY] {
        add(&format!("makes the stream {number}"), create(vec![Act::Result(amf::number(number))]));
    }
    add("makes the same stream twice", create(vec![Act::Result(amf::number(1.0))]));
    for (what, value) in [
        ("text", amf::string("1")),
        ("nothing", amf::null()),
        ("truth", amf::boolean(true)),
        ("object", amf::object(&[])),
        ("void", vec![]),
    ] {
        add(&format!("makes a stream that is a {what}"), create(vec![Act::Result(value)]));
    }
    add("never makes a stream", create(vec![]));
    add("refuses to make a stream", create(vec![Act::Error("NetConnection.Call.Failed")]));
    add("answers createStream twice", create(vec![Act::Answer, Act::Answer]));
    add("closes at createStream", create(vec![Act::Close]));
}

fn begins(add: Add<'_>) {
    let status = Act::Status;
    for (name, acts) in [
        ("never answers", vec![]),
        (
            "refuses by name",
            vec![
                status("error", "NetStream.Publish.BadName"),
                status("error", "NetStream.Play.StreamNotFound"),
            ],
        ),
        ("fails", vec![status("error", "NetStream.Failed")]),
        ("begins and fails", vec![Act::Answer, status("error", "NetStream.Failed")]),
        ("fails and begins", vec![status("error", "NetStream.Failed"), Act::Answer]),
        ("begins twice", vec![Act::Answer, Act::Answer]),
        ("answers by `_result`", vec![Act::Result(amf::null())]),
        ("refuses by `_error`", vec![Act::Error("NetStream.Publish.BadName")]),
        ("says a status that nobody knows", vec![status("status", "NetStream.Unheard.Of")]),
        ("says an empty status", vec![status("", "")]),
        ("says a status without anything", vec![Act::Send(Message::command(1, "onStatus", 0.0, &[]))]),
        (
            "says a status that is a number",
            vec![Act::Send(Message::command(1, "onStatus", 0.0, &[amf::null(), amf::number(1.0)]))],
        ),
        (
            "begins a stream that is not there",
            vec![Act::Send(Message::command(
                77,
                "onStatus",
                0.0,
                &[amf::null(), information("status", "NetStream.Play.Start", &[])],
            ))],
        ),
        (
            "begins what nobody asked for",
            vec![status("status", "NetStream.Publish.Start"), status("status", "NetStream.Play.Start")],
        ),
        ("begins and closes", vec![Act::Answer, Act::Close]),
        ("begins and resets", vec![Act::Answer, Act::Reset]),
        ("begins and falls silent", vec![Act::Answer, Act::Silence]),
        ("begins and reads nothing", vec![Act::Answer, Act::Deafness]),
        (
            "wants to play and publish itself",
            vec![
                Act::Answer,
                Act::Send(Message::command(1, "publish", 0.0, &[amf::null(), amf::string("x")])),
                Act::Send(Message::command(1, "play", 0.0, &[amf::null(), amf::string("x")])),
                Act::Send(Message::command(0, "connect", 9.0, &[amf::object(&[])])),
                Act::Send(Message::command(0, "createStream", 10.0, &[amf::null()])),
                Act::Send(Message::command(0, "deleteStream", 0.0, &[amf::null(), amf::number(1.0)])),
                Act::Send(Message::command(0, "close", 0.0, &[amf::null()])),
            ],
        ),
    ] {
        add(&format!("{name} at play and publish"), begin(acts));
    }
}

fn chunks(add: Add<'_>) {
    let after = |act: Act| vec![Act::Answer, act];
    let raw = |bytes: Vec<u8>| begin(vec![Act::Answer, Act::Raw(bytes)]);
    for size in [0_u32, 0x8000_0000, 0xffff_ffff] {
        add(
            &format!("announces chunks of {size:#x}"),
            begin(after(Act::Send(control(1, &size.to_be_bytes())))),
        );
    }
    for size in [1_u32, 2, 0x00ff_ffff, 0x7fff_ffff] {
        let acts = [vec![Act::Answer, Act::ChunkSize(size)], pictures().into_iter().map(Act::Send).collect()];
        add(&format!("has chunks of {size:#x}"), begin(acts.concat()));
    }
    add("announces chunks of a size of two bytes", begin(after(Act::Send(control(1, &[1, 0])))));
    add("continues what has not begun", raw([0xc9; 64].to_vec()));
    add("begins with a short header", raw([0x89; 64].to_vec()));
    add("sends what is no chunk", raw([0xff; 4096].to_vec()));
    add("announces much and sends nothing", raw(vec![9, 0, 0, 0, 255, 255, 255, 9, 1, 0, 0, 0]));
    add("announces much on many chunk streams", {
        let header = |id: u8| [0, id, 0, 0, 0, 255, 255, 255, 9, 1, 0, 0, 0, 0x17].to_vec();
        raw((0..=255).flat_map(header).collect())
    });
    add("changes its mind within a message", {
        let begun = Message { kind: 9, stream: 1, payload: vec![0x17; 100_000], ..said() }.chunks(4096);
        let other = Message { kind: 8, stream: 1, payload: vec![0xaf; 10], ..said() }.chunks(4096);
        raw([&begun[..5000], &other].concat())
    });
    add("aborts what has not begun", begin(after(Act::Send(control(2, &[0, 0, 0, 77])))));
    add("aborts with two bytes", begin(after(Act::Send(control(2, &[0, 7])))));
    for kind in [0, 7, 10, 14, 16, 19, 21, 23, 255] {
        add(&format!("sends a message of type {kind}"), {
            begin(after(Act::Send(Message { kind, stream: 1, payload: vec![1, 2, 3], ..said() })))
        });
    }
    add("sends nothing in every type", {
        let empty = (0..=255).map(|kind| Act::Send(Message { kind, stream: 1, ..said() }));
        begin([Act::Answer].into_iter().chain(empty).collect())
    });
}

fn controls(add: Add<'_>) {
    let mut send = |name: &str, kind: u8, payload: &[u8]| {
        add(name, begin(vec![Act::Answer, Act::Send(control(kind, payload))]));
    };
    for size in [0_u32, 1, 0x7fff_ffff, 0xffff_ffff] {
        send(&format!("wants to hear of every {size:#x} bytes"), 5, &size.to_be_bytes());
        for limit in [0, 1, 2, 3, 255] {
            let payload = [&size.to_be_bytes()[..], &[limit]].concat();
            send(&format!("limits to {size:#x} bytes, of kind {limit}"), 6, &payload);
        }
        send(&format!("has got {size:#x} bytes"), 3, &size.to_be_bytes());
    }
    for kind in 3..=6 {
        send(&format!("sends two bytes in type {kind}"), kind, &[0, 0]);
    }
    for event in (0..=8).chain([26, 31, 32, 255]) {
        send(&format!("sends the event {event} of stream 77"), 4, &[0, event, 0, 0, 0, 77]);
        send(&format!("sends the event {event} with one byte"), 4, &[0, event, 1]);
    }
    for how in [Acknowledge::Backwards, Acknowledge::Beyond, Acknowledge::Increments] {
        add(&format!("acknowledges by {how:?}"), Script::new().acknowledges(how, Some(1000)));
    }
    add("acknowledges every byte", Script::new().acknowledges(Acknowledge::Totals, Some(1)));
    add("acknowledges nothing and answers no ping", {
        Script::new().acknowledges(Acknowledge::Never, None).without_pongs()
    });
}

fn floods(add: Add<'_>) {
    let call = |transaction| Message::command(0, "onBWCheck", transaction, &[amf::null(), amf::number(0.0)]);
    let metadata = {
        let mut payload = [amf::string("onMetaData"), vec![8, 0, 0, 255, 255]].concat();
        for index in 0..2000 {
            payload.extend([0, 6]);
            payload.extend(format!("key{index:03}").into_bytes().get(..6).expect("six bytes"));
            payload.extend(amf::number(0.0));
        }
        payload.extend([0, 0, 9]);
        Message { kind: 18, stream: 1, payload, ..said() }
    };
    let status = [amf::null(), information("status", "NetStream.Play.Start", &[])];
    let picture = pictures().pop().expect("pictures");
    for (name, message) in [
        ("pings", control(4, &[0, 6, 0, 0, 0, 1])),
        ("pongs", control(4, &[0, 7, 0, 0, 0, 1])),
        ("sizes of chunks", control(1, &[0, 0, 16, 0])),
        ("windows", control(5, &[0, 0, 16, 0])),
        ("acknowledgements", control(3, &[0, 0, 16, 0])),
        ("ends of streams", control(4, &[0, 1, 0, 0, 0, 1])),
        ("calls that want an answer", call(7.0)),
        ("calls that want none", call(0.0)),
        ("answers to nothing", Message::command(0, "_result", 99.0, &[amf::null()])),
        ("statuses", Message::command(1, "onStatus", 0.0, &status)),
        ("metadata", metadata),
        ("unknown messages", Message { kind: 99, stream: 1, payload: vec![0; 100], ..said() }),
        ("pictures", picture),
        ("pictures of stream 77", Message { kind: 9, stream: 77, payload: vec![0x17, 1, 0, 0, 0], ..said() }),
        ("empty pictures", Message { kind: 9, stream: 1, ..said() }),
    ] {
        let bytes = message.chunks(4096);
        add(&format!("sends {name} without end"), begin(vec![Act::Answer, Act::Endless(bytes.clone())]));
        add(&format!("sends {name} before it answers connect"), {
            Script::new()
                .at("connect", vec![Act::ChunkSize(4096), Act::Raw(bytes.repeat(FLOOD / bytes.len() + 1))])
        });
    }
    add("sends a message without end", {
        let header = [9, 0, 0, 0, 255, 255, 255, 9, 1, 0, 0, 0].to_vec();
        let part = [&[0x17; 4096][..], &[0xc9]].concat().repeat(16);
        begin(vec![Act::Answer, Act::Raw(header), Act::Endless(part)])
    });
}

fn media(add: Add<'_>) {
    let send = |messages: Vec<Message>| messages.into_iter().map(Act::Send).collect::<Vec<_>>();
    let times = |times: &[u32]| {
        let key = pictures().remove(2);
        times.iter().map(|time| Message { time: *time, ..key.clone() }).collect::<Vec<_>>()
    };
    add(
        "sends media before it answers connect",
        Script::new().at("connect", [send(pictures()), vec![Act::Answer]].concat()),
    );
    add("sends media before it makes a stream", {
        Script::new().at("createStream", [send(pictures()), vec![Act::Answer]].concat())
    });
    add("sends media before it begins", begin([send(pictures()), vec![Act::Answer]].concat()));
    for stream in [0, 2, u32::MAX] {
        let others = pictures().into_iter().map(|message| Message { stream, ..message }).collect();
        add(&format!("sends media on stream {stream}"), begin([vec![Act::Answer], send(others)].concat()));
    }
    for (name, messages) in [
        ("whose time goes back", times(&[1000, 500, 0])),
        ("whose time jumps", times(&[0, 0x7fff_ffff, 10, 0xffff_ffff])),
        ("whose time comes around", times(&[0xffff_fff0, 0xffff_ffff, 0, 40])),
        ("without headers", times(&[0, 40, 80])),
        ("of nonsense", (0..100).map(nonsense).collect()),
        (
            "in an aggregate that lies",
            vec![Message { kind: 22, stream: 1, payload: vec![9, 255, 255, 255], ..said() }, {
                let payload = [&[9, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0][..], &[0x17; 100]].concat();
                Message { kind: 22, stream: 1, payload, ..said() }
            }],
        ),
        ("in data that is no AMF", vec![Message { kind: 18, stream: 1, payload: vec![255; 100], ..said() }]),
        (
            "in data that nests",
            vec![Message { kind: 18, stream: 1, payload: [3, 0, 1, b'a'].repeat(10_000), ..said() }],
        ),
        ("in shared objects", vec![Message { kind: 19, stream: 1, payload: vec![0, 255, 255], ..said() }]),
        ("in AMF3", vec![Message { kind: 15, stream: 1, payload: vec![0x11; 100], ..said() }]),
    ] {
        add(&format!("sends media {name}"), begin([vec![Act::Answer], send(messages)].concat()));
    }
}

fn ends(add: Add<'_>) {
    let status = |code| Act::Status("status", code);
    for (name, acts) in [
        ("ends the stream", vec![Act::Event(1)]),
        ("unpublishes", vec![status("NetStream.Play.UnpublishNotify"), Act::Event(1)]),
        ("stops", vec![status("NetStream.Play.Stop")]),
        ("completes", vec![status("NetStream.Play.Complete"), status("NetStream.Play.Stop"), Act::Event(1)]),
        ("takes the stream from its publisher", vec![status("NetStream.Unpublish.Success")]),
        ("ends the application", vec![status("NetConnection.Connect.AppShutdown")]),
        ("says that it is closed", vec![status("NetConnection.Connect.Closed")]),
        ("finishes", vec![Act::Finish]),
        ("closes", vec![Act::Close]),
        ("resets", vec![Act::Reset]),
        ("falls silent", vec![Act::Silence]),
        ("ends and begins again", vec![Act::Event(1), Act::Event(0), status("NetStream.Play.Start")]),
        ("begins anew within", vec![Act::Answer]),
    ] {
        let begun = [Act::Answer].into_iter().chain(pictures().into_iter().map(Act::Send));
        // A client that pushes has sent something then.
        let script = begin(begun.chain(acts.clone()).collect()).on(Moment::Media(3), acts);
        add(&format!("{name} after some media"), script);
    }
}

/// A script that does this at `play` and at `publish`.
fn begin(acts: Vec<Act>) -> Script {
    BEGIN.into_iter().fold(Script::new(), |script, command| script.at(command, acts.clone()))
}

/// What messages of servers have in common.
fn said() -> Message {
    Message { chunk_stream: 9, ..Message::default() }
}

fn nonsense(index: u8) -> Message {
    let payload = vec![255 - index; usize::from(index)];
    Message { kind: [8, 9, 18][usize::from(index) % 3], stream: 1, time: u32::from(index), payload, ..said() }
}

/// Headers, a key frame, and some pictures.
fn pictures() -> Vec<Message> {
    let video = |time: u32, payload: Vec<u8>| Message { kind: 9, stream: 1, time, payload, ..said() };
    let header = [&[0x17, 0, 0, 0, 0][..], b"\x01\x42\xc0\x1e\xff\xe1\x00\x00\x01\x00\x00"].concat();
    let picture = |first: u8, size: usize| [&[first, 1, 0, 0, 0][..], &vec![0x55; size]].concat();
    vec![
        video(0, header),
        Message { kind: 8, ..video(0, vec![0xaf, 0, 0x12, 0x10]) },
        video(0, picture(0x17, 1000)),
        video(40, picture(0x27, 200)),
        video(80, picture(0x27, 200)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_script_has_a_name_of_its_own() {
        let scripts = scripts();
        let names: HashSet<&str> = scripts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), scripts.len());
        assert!(scripts.len() > 200, "{}", scripts.len());
    }
}
