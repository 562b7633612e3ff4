//! AMF: values that break the rules.

use crtmp_tests::{
    Config,
    wire::{Message, amf, publish},
};

use crate::{audio, stage::Stage};

/// A command whose object is these bytes.
fn command(bytes: &[u8]) -> Message {
    Message::command(0, "probe", 7.0, &[bytes.to_vec()])
}

/// Objects within objects, none of which ends.
fn nested(marker: u8, depth: usize) -> Vec<u8> {
    let level = match marker {
        3 => vec![3, 0, 1, b'a'],
        8 => vec![8, 0, 0, 0, 1, 0, 1, b'a'],
        _ => vec![10, 0, 0, 0, 1],
    };
    let mut out = level.repeat(depth);
    out.push(5);
    out
}

#[test]
fn values_that_break_the_rules() {
    let stage = Stage::start(&Config::new());

    stage.case("AMF-01 a command that is cut", || {
        let whole = command(&amf::object(&[("key", amf::string("value"))]));
        let cut = |length| Message { payload: whole.payload[..length].to_vec(), ..whole.clone() };
        for length in [2, 5, 10, 12, 20, 25, 30] {
            let mut client = stage.connected();
            client.send(&cut(length));
            stage.ends(client, "AMF data ends inside a value at offset");
        }
        // An object may lack its end, and a command its object: then the answer is that nobody knows it.
        for length in [17, 31] {
            let mut client = stage.connected();
            client.send(&cut(length));
            client.expect("_error");
        }
    });
    stage.case("AMF-02 depth", || {
        for marker in [3, 8, 10] {
            let mut client = stage.connected();
            client.send(&command(&nested(marker, 32)));
            client.expect("_error");
            for depth in [33, 8000] {
                let mut client = stage.connected();
                client.send(&command(&nested(marker, depth)));
                stage.ends(client, "AMF values nested deeper than amfDepth = 32 at offset");
            }
        }
    });
    stage.case("AMF-03 counts of what is not there", || {
        stage.three_times(|| {
            let before = stage.resident();
            let mut client = stage.connected();
            client.send(&command(&[10, 0xFF, 0xFF, 0xFF, 0xFF, 5]));
            stage.ends(client, "AMF data ends inside a value at offset");
            let mut client = stage.connected();
            client.send(&command(&[&[10, 0xFF, 0xFF, 0xFF, 0xFF][..], &[5; 10_000]].concat()));
            stage.ends(client, "more than amfNodes = 4096 AMF values at offset");
            assert!(stage.resident() <= before + 2048);
        });
    });
    stage.case("AMF-04 many small values", || {
        let mut client = stage.connected();
        client.send(&command(&vec![5; 60_000]));
        stage.ends(client, "more than amfNodes = 4096 AMF values at offset 4111");
    });
    stage.case("AMF-05 strings that reach beyond the end", || {
        for string in [&[2, 0xFF, 0xFF, b'x'][..], &[12, 0, 0, 0x80, 0, b'x']] {
            let mut client = stage.connected();
            client.send(&command(string));
            stage.ends(client, "AMF data ends inside a value at offset");
        }
        let mut client = stage.connected();
        client.send(&command(&[12, 0xFF, 0xFF, 0xFF, 0xFF, b'x']));
        stage.ends(client, "an AMF string longer than amfString = 65536 bytes at offset");
    });
    stage.case("AMF-05 text that would harm a terminal", || {
        let wild = "\u{1b}[2J\u{7}\r\nclosed: forged line\0";
        let mut client = stage.shaken();
        let properties = [("app", amf::string("live")), ("flashVer", amf::string(wild))];
        client.send(&Message::command(0, "connect", 1.0, &[amf::object(&properties)]));
        client.expect("_result");
        client.create_stream();
        client.send(&publish(1, wild));
        client.expect("NetStream.Publish.BadName");
        client.send(&Message::command(0, wild, 8.0, &[amf::null()]));
        client.expect("_error");
        // That nothing of it is raw in the log is looked at in the end, for all cases.
        let log = stage.server.log();
        assert!(log.contains("[2J"), "it is told, escaped");
        assert!(!log.lines().any(|line| line.starts_with("closed: forged")), "no line is forged");
    });
    stage.case("AMF-06 numbers that are none", || {
        let mut client = stage.ready();
        for odd in [f64::NAN, f64::INFINITY, -1.0, 1e308] {
            client.send(&Message::command(0, "deleteStream", odd, &[amf::null(), amf::number(odd)]));
            client.send(&Message::command(
                1,
                "play",
                odd,
                &[amf::null(), amf::string("x"), amf::number(odd)],
            ));
            client.send(&Message::command(1, "closeStream", odd, &[]));
            client.send(&Message::command(0, "nobody", odd, &[]));
        }
        client.expect_open();
    });
    stage.case("AMF-10 markers that nobody uses", || {
        for marker in [0x04, 0x07, 0x0D, 0x0E, 0x12, 0x80, 0xFF] {
            let mut client = stage.connected();
            client.send(&command(&[marker, 0, 0]));
            stage.ends(client, &format!("unknown AMF0 marker 0x{marker:02X} at offset 17"));
        }
    });
    stage.case("AMF-02 depth in AMF3", || {
        let switched = |outer: usize, inner: usize| {
            command(&[&[10, 0, 0, 0, 1].repeat(outer)[..], &[0x11], &[9, 3, 1].repeat(inner), &[1]].concat())
        };
        let mut client = stage.connected();
        client.send(&switched(16, 16));
        client.expect("_error");
        for (outer, inner) in [(16, 17), (0, 33), (0, 20_000), (33, 0)] {
            let mut client = stage.connected();
            client.send(&switched(outer, inner));
            stage.ends(client, "AMF values nested deeper than amfDepth = 32 at offset");
        }
    });
    stage.case("AMF-09 references of AMF3", || {
        for (bytes, rule) in [
            (&[0x11, 6, 2][..], "an AMF3 reference to string 1, which has not come before at offset 19"),
            (&[0x11, 9, 3, 1, 9, 0], "an AMF3 reference to an object that it stands in at offset 21"),
        ] {
            let mut client = stage.connected();
            client.send(&command(bytes));
            stage.ends(client, rule);
        }
        stage.three_times(|| {
            let before = stage.resident();
            let mut client = stage.connected();
            // 32 KiB, four thousand times.
            let mut bomb = vec![0x11, 9, 0xBF, 0x21, 1, 12, 0x84, 0x80, 0x01];
            bomb.extend([7; 32 * 1024]);
            bomb.extend([12, 2].repeat(4000));
            client.send(&command(&bomb));
            stage.ends(client, "AMF3 references that repeat more than amfRepeats = 1048576 bytes at offset");
            assert!(stage.resident() <= before + 4096);
        });
    });
    stage.case("AMF-10, AMF-12 what AMF3 does not have, and what it leaves open", || {
        for (bytes, rule) in [
            (&[0x11, 0x12][..], "unknown AMF3 marker 0x12 at offset 18"),
            (&[0x11, 4, 0xFF, 0xFF, 0xFF, 0xFF, 0x80], "unknown AMF0 marker 0x80 at offset 23"),
            (b"\x11\x0a\x07\x07a.B\x01", "an AMF3 object of the externalizable class \"a.B\", whose end"),
            (&[0x11, 10, 0xFF, 0xFF, 0xFF, 0xFB], "more than amfNodes = 4096 AMF values at offset 18"),
            (&[0x11, 13, 0xFF, 0xFF, 0xFF, 0xFF, 0], "AMF data ends inside a value at offset"),
        ] {
            let mut client = stage.connected();
            client.send(&command(bytes));
            stage.ends(client, rule);
        }
        let mut client = stage.connected();
        client.send(&command(b"\x11\x0a\x07\x43flex.messaging.io.ArrayCollection\x09\x03\x01\x03"));
        client.expect("_error");
    });
    stage.case("AMF-15 metadata that cannot be used", || {
        let mut client = stage.publisher("metadata");
        let data = |values: &[Vec<u8>]| Message {
            kind: 18,
            payload: [amf::string("@setDataFrame"), values.concat()].concat(),
            ..audio(0, &[])
        };
        let long =
            amf::object(&[("a", amf::string(&"x".repeat(40_000))), ("b", amf::string(&"x".repeat(40_000)))]);
        stage.skips(5, || {
            client.send(&data(&[]));
            client.send(&data(&[amf::string("onMetaData")]));
            client.send(&data(&[amf::string("onMetaData"), amf::string("text")]));
            client.send(&data(&[amf::string("onMetaData"), amf::string("onMetaData"), amf::object(&[])]));
            client.send(&data(&[amf::string("onMetaData"), long]));
        });
        client.expect_open();
    });
    stage.end();
}
