//! Tests of both layers within chains.

use std::{collections::VecDeque, time::Duration};

use crtmp_media::{
    Chain, Env, Fault, HttpHead, HttpStart, Layer, LayerSettings, OutQueue, Piece, Seconds, Skipped,
};

use super::*;
use crate::{
    VariantErrorKind, frame,
    testing::{object, small},
};

/// A chain, and a clock that only moves when it is told to.
struct Peer {
    chain: Chain,
    now: Instant,
}

impl Peer {
    fn new(layers: Vec<Box<dyn Layer>>, now: Instant) -> Self {
        Self { chain: Chain::new(layers).unwrap(), now }
    }

    fn raw(encoding: Encoding, limits: Limits) -> Self {
        let (settings, now) = (settings(limits), Instant::now());
        Self::new(vec![Box::new(RawVariant::new(encoding, &settings, now))], now)
    }

    fn http(encoding: Encoding, limits: Limits) -> Self {
        let (settings, now) = (settings(limits), Instant::now());
        let endpoint = Box::new(HttpVariant::new(encoding, &settings, now));
        Self::new(vec![Box::new(FakeHttp::default()), endpoint], now)
    }

    fn with<R>(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> R) -> R {
        run(&mut self.chain, &mut Env { now: self.now, random: &mut |bytes| bytes.fill(7) })
    }

    /// Opens and accepts; gives what the peer said of itself.
    fn accepted(&mut self) -> String {
        self.with(Chain::on_open).unwrap();
        let Some(Event::Connect { request, info }) = self.chain.poll_event() else { panic!("a connect") };
        assert!(self.chain.is_paused());
        assert_eq!(*info, ConnectInfo { agent: info.agent.clone(), ..ConnectInfo::default() });
        self.order(Command::AnswerConnect { request, answer: Answer::Accept });
        info.agent
    }

    fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        self.with(|chain, env| chain.on_data(data, env))
    }

    fn order(&mut self, command: Command) {
        self.with(|chain, env| chain.on_command(command, env)).unwrap();
    }

    /// The question that waits, and the value in it.
    fn asked(&mut self) -> (RequestId, Value) {
        let Some(Event::Message { request: Some(request), slot, command, mut args }) =
            self.chain.poll_event()
        else {
            panic!("a message")
        };
        assert_eq!((slot, command.as_str(), args.len()), (StreamSlot(0), "variant", 1));
        assert!(self.chain.is_paused());
        (request, args.remove(0))
    }

    fn answer(&mut self, request: RequestId, result: Result<Value, (String, String)>) {
        self.order(Command::AnswerMessage { request, result });
    }

    fn sent(&mut self) -> Vec<u8> {
        let queue = self.chain.send().unwrap();
        let bytes = queue.slices().collect::<Vec<_>>().concat();
        queue.advance(bytes.len());
        bytes
    }

    fn timeout_after(&mut self, seconds: u64) -> Result<(), Error> {
        self.now += Duration::from_secs(seconds);
        self.with(Chain::on_timeout)
    }
}

/// Stands for HTTP: `>METHOD NAME:VALUE,…|BODY~` is a request, and responses look like `<STATUS TYPE LENGTH|BODY~`.
#[derive(Default)]
struct FakeHttp {
    waiting: VecDeque<u8>,
}

impl Layer for FakeHttp {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut used = 0;
        for byte in data {
            if cx.is_paused() {
                break;
            }
            used += 1;
            self.waiting.push_back(*byte);
            let text =
                || String::from_utf8_lossy(&self.waiting.iter().copied().collect::<Vec<_>>()).into_owned();
            if *byte == b'~' {
                let text = text();
                self.waiting.clear();
                let (head, body) = text.trim_end_matches('~').split_once('|').unwrap();
                let (method, headers) = head.trim_start_matches('>').split_once(' ').unwrap();
                let start = HttpStart::Request { method: method.to_owned(), target: "/".to_owned() };
                let headers = headers.split(',').filter_map(|header| header.split_once(':'));
                let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                let length = Some(body.len() as u64).filter(|length| *length < 2000);
                cx.deliver_head(&HttpHead { start, headers, length })?;
                for piece in body.as_bytes().chunks(7) {
                    cx.deliver(piece)?;
                }
                cx.deliver_end()?;
            }
        }
        Ok(used)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        while let Some(piece) = near.pop() {
            far.write_with(|out| match &piece {
                Piece::Begin(head) => {
                    let HttpStart::Response { status } = head.start else { panic!("a response") };
                    let kind = head.header("content-type").unwrap_or("");
                    let allow = head.header("allow").map(|allow| format!(" {allow}")).unwrap_or_default();
                    out.extend(format!("<{status} {kind}{allow} {}|", head.length.unwrap()).bytes());
                }
                Piece::End => out.push(b'~'),
                bytes => out.extend_from_slice(bytes.bytes()),
            });
        }
        Ok(())
    }
}

fn settings(limits: Limits) -> LayerSettings {
    LayerSettings { limits: Arc::new(limits), ..LayerSettings::default() }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_frame(&mut out, body);
    out
}

const ENCODINGS: [(Encoding, &str, &str); 3] = [
    (Encoding::Xml, "xmlVariant", "httpXmlVariant"),
    (Encoding::Binary, "binVariant", "httpBinVariant"),
    (Encoding::Json, "jsonVariant", "httpJsonVariant"),
];

#[test]
fn a_message_is_asked_about_and_answered() {
    let limits = Limits::default();
    let value = object(&[("command", "list".into()), ("count", 300.0.into())]);
    let reply = Value::StrictArray(vec!["a".into(), Value::Null]);
    for (encoding, agent, _) in ENCODINGS {
        let mut peer = Peer::raw(encoding, limits.clone());
        assert_eq!(peer.accepted(), agent);
        peer.send(&framed(&encoding.encode(&value, &limits).unwrap())).unwrap();
        let (request, got) = peer.asked();
        assert_eq!(got, value);
        peer.answer(RequestId(request.0 + 1), Ok(Value::Null));
        assert_eq!(peer.sent(), b"", "an answer to something else is none");
        peer.answer(request, Ok(reply.clone()));
        assert_eq!(peer.sent(), framed(&encoding.encode(&reply, &limits).unwrap()));
        assert!(!peer.chain.is_paused());
        peer.answer(request, Ok(Value::Null));
        assert_eq!(peer.sent(), b"", "one answer is enough");
    }
}

#[test]
fn a_refusal_is_a_map_of_code_and_description() {
    let mut peer = Peer::raw(Encoding::Json, Limits::default());
    peer.accepted();
    peer.send(&framed(b"1")).unwrap();
    let (request, _) = peer.asked();
    peer.answer(request, Err(("No.Way".into(), "not today".into())));
    assert_eq!(peer.sent(), framed(br#"{"code":"No.Way","description":"not today"}"#));
}

#[test]
fn an_answer_is_owed_until_it_is_given() {
    let mut peer = Peer::raw(Encoding::Json, Limits::default());
    assert!(!peer.chain.owes());
    peer.with(Chain::on_open).unwrap();
    let Some(Event::Connect { request, .. }) = peer.chain.poll_event() else { panic!("a connect") };
    peer.send(&[framed(b"1"), framed(b"2")].concat()).unwrap();
    assert!(peer.chain.owes(), "a message waits for the verdict");
    peer.order(Command::AnswerConnect { request, answer: Answer::Accept });
    for _ in 0..2 {
        let (request, value) = peer.asked();
        assert!(peer.chain.owes());
        peer.answer(request, Ok(value));
    }
    assert!(!peer.chain.owes());
}

#[test]
fn messages_in_one_go_are_asked_about_one_after_the_other() {
    let mut peer = Peer::raw(Encoding::Json, Limits::default());
    peer.accepted();
    peer.send(&[framed(b"1"), framed(b"2"), framed(b"3")].concat()).unwrap();
    for number in [1.0, 2.0, 3.0] {
        let (request, value) = peer.asked();
        assert!(peer.chain.poll_event().is_none(), "the next one waits");
        peer.answer(request, Ok(value.clone()));
        assert_eq!(value, number.into());
    }
    assert_eq!(peer.sent(), [framed(b"1"), framed(b"2"), framed(b"3")].concat());
}

#[test]
fn the_split_changes_nothing() {
    let stream = [framed(b"[1]"), framed(b"\"a\"")].concat();
    let run = |pieces: &[&[u8]]| {
        let mut peer = Peer::raw(Encoding::Json, Limits::default());
        peer.accepted();
        let mut values = Vec::new();
        for piece in pieces {
            peer.send(piece).unwrap();
            while peer.chain.is_paused() {
                let (request, value) = peer.asked();
                values.push(value.clone());
                peer.answer(request, Ok(value));
            }
        }
        (values, peer.sent())
    };
    let whole = run(&[&stream]);
    assert_eq!(whole, (vec![Value::StrictArray(vec![1.0.into()]), "a".into()], stream.clone()));
    assert_eq!(run(&stream.chunks(1).collect::<Vec<_>>()), whole);
    for at in 0..=stream.len() {
        let (first, second) = stream.split_at(at);
        assert_eq!(run(&[first, second]), whole, "{at}");
    }
}

#[test]
fn what_comes_before_the_verdict_waits() {
    let mut peer = Peer::raw(Encoding::Json, Limits::default());
    peer.with(Chain::on_open).unwrap();
    let Some(Event::Connect { request, .. }) = peer.chain.poll_event() else { panic!("a connect") };
    peer.send(&framed(b"1")).unwrap();
    assert!(peer.chain.poll_event().is_none());
    peer.order(Command::AnswerConnect { request, answer: Answer::Accept });
    assert_eq!(peer.asked().1, 1.0.into());
}

#[test]
fn who_is_refused_is_closed() {
    let reject = Answer::Reject { code: "Code".into(), text: "the text".into() };
    for (answer, rule) in [
        (reject, "the connect was refused: Code the text"),
        (
            Answer::Redirect { url: "rtmp://b".into() },
            "the connect was refused: the peer should go to rtmp://b",
        ),
    ] {
        let mut peer = Peer::raw(Encoding::Binary, Limits::default());
        peer.with(Chain::on_open).unwrap();
        let Some(Event::Connect { request, .. }) = peer.chain.poll_event() else { panic!("a connect") };
        peer.order(Command::AnswerConnect { request, answer });
        assert_eq!(peer.chain.closing().unwrap(), &Error::peer("variant", rule));
        peer.send(&[0xFF; 100]).unwrap();
        assert!(peer.chain.poll_event().is_none(), "nothing is read any more");
        assert_eq!(peer.chain.poll_timeout(), None);
    }
}

#[test]
fn broken_messages_end_a_raw_connection() {
    for (encoding, stream, rule) in [
        (Encoding::Json, framed(b"[1,"), "the message ends inside a value at offset 3"),
        (Encoding::Json, framed(b""), "a message without a value"),
        (Encoding::Xml, framed(b"<a/>"), "an element whose name is no variant type at offset 0"),
        (Encoding::Binary, framed(&[99]), "unknown variant type 99 at offset 0"),
        (Encoding::Binary, vec![0, 0, 4, 1], "a message of more than variantSize = 1024 bytes"),
    ] {
        let mut peer = Peer::raw(encoding, small());
        peer.accepted();
        assert_eq!(peer.send(&stream), Err(Error::peer("variant", rule)));
    }
}

#[test]
fn an_answer_that_cannot_be_sent_is_told() {
    for (value, kind) in [
        (Value::String("a".repeat(2000)), VariantErrorKind::Size(1024)),
        (crate::testing::nested(5), VariantErrorKind::Depth(4)),
    ] {
        for (encoding, ..) in ENCODINGS {
            let mut peer = Peer::raw(encoding, small());
            peer.accepted();
            peer.send(&framed(&encoding.encode(&Value::Null, &small()).unwrap())).unwrap();
            let (request, _) = peer.asked();
            assert_eq!(encoding.encode(&value, &small()).unwrap_err().kind, kind);
            peer.answer(request, Ok(value.clone()));
            let reply = encoding.decode(&peer.sent()[4..], &Limits::default()).unwrap();
            assert_eq!(reply.get("code"), Some(&"NetConnection.Call.Failed".into()));
            assert!(reply.get("description").unwrap().as_str().unwrap().contains("cannot be sent"));
        }
    }
}

#[test]
fn the_server_closes() {
    let close = || Command::Close { code: "Code".into(), text: "bye".into() };
    let mut peer = Peer::raw(Encoding::Json, Limits::default());
    peer.accepted();
    peer.order(close());
    assert_eq!(peer.sent(), b"", "nobody asked");
    assert_eq!(peer.chain.closing().unwrap().rule, "closed by the server: Code bye");
    let mut peer = Peer::raw(Encoding::Json, Limits::default());
    peer.accepted();
    peer.send(&framed(b"1")).unwrap();
    let (request, _) = peer.asked();
    peer.order(close());
    peer.answer(request, Ok(Value::Null));
    peer.order(close());
    assert_eq!(
        peer.sent(),
        framed(br#"{"code":"Code","description":"bye"}"#),
        "one answer, whoever gives it"
    );
}

#[test]
fn the_peer_cannot_be_called() {
    let mut peer = Peer::raw(Encoding::Json, Limits::default());
    peer.accepted();
    let call = |ticket| Command::Call { ticket, command: "a".into(), args: vec![] };
    peer.order(call(None));
    assert!(peer.chain.poll_event().is_none());
    peer.order(call(Some(7)));
    let Some(Event::CallResult { ticket: 7, outcome: CallOutcome::Refused, args }) = peer.chain.poll_event()
    else {
        panic!("a refusal")
    };
    assert!(args.is_empty() && peer.sent().is_empty());
}

#[test]
fn time_runs_while_the_peer_should_speak() {
    let limits = Limits { http_idle: Seconds::new(30), peer_idle: Seconds::new(60), ..Limits::default() };
    let idle = "the peer is silent: no message within peerIdle = 60 s";
    let slow = "no whole message within httpIdle = 30 s";

    let mut peer = Peer::raw(Encoding::Json, limits.clone());
    peer.with(Chain::on_open).unwrap();
    assert_eq!(peer.chain.poll_timeout(), None, "the application has its own time");
    let Some(Event::Connect { request, .. }) = peer.chain.poll_event() else { panic!("a connect") };
    peer.now += Duration::from_secs(100);
    peer.order(Command::AnswerConnect { request, answer: Answer::Accept });
    peer.timeout_after(59).unwrap();
    assert_eq!(peer.timeout_after(1), Err(Error::timeout("variant", idle)));

    // Bytes that come now and then do not help.
    let mut peer = Peer::raw(Encoding::Json, limits.clone());
    peer.accepted();
    peer.send(&[0]).unwrap();
    peer.timeout_after(29).unwrap();
    peer.send(&[0, 0]).unwrap();
    assert_eq!(peer.timeout_after(1), Err(Error::timeout("variant", slow)));

    // A whole message starts the time anew, when it is answered.
    let mut peer = Peer::raw(Encoding::Json, limits.clone());
    peer.accepted();
    peer.timeout_after(59).unwrap();
    peer.send(&framed(b"1")).unwrap();
    let (request, _) = peer.asked();
    peer.timeout_after(1000).unwrap();
    peer.answer(request, Ok(Value::Null));
    peer.timeout_after(59).unwrap();
    assert!(peer.timeout_after(1).is_err());

    // Who is not read is not silent.
    let mut peer = Peer::raw(Encoding::Json, limits);
    peer.accepted();
    peer.send(&[0]).unwrap();
    peer.chain.set_unread(true);
    peer.timeout_after(31).unwrap();
    peer.chain.set_unread(false);
    peer.timeout_after(29).unwrap();
    assert_eq!(peer.timeout_after(1).unwrap_err().fault, Fault::Timeout);
}

#[test]
fn a_post_is_asked_about_and_answered() {
    let mut peer = Peer::http(Encoding::Json, Limits::default());
    assert_eq!(peer.accepted(), "httpJsonVariant");
    peer.send(b">POST content-type:application/json|[1,2,3,4,5]~>POST content-type:application/json|2~")
        .unwrap();
    let (request, value) = peer.asked();
    assert_eq!(value, Value::StrictArray([1.0, 2.0, 3.0, 4.0, 5.0].map(Value::from).to_vec()));
    peer.answer(request, Ok("yes".into()));
    assert_eq!(peer.sent(), b"<200 application/json 5|\"yes\"~");
    let (request, _) = peer.asked();
    peer.answer(request, Err(("No".into(), "way".into())));
    assert_eq!(peer.sent(), b"<200 application/json 33|{\"code\":\"No\",\"description\":\"way\"}~");
    for (encoding, _, agent) in ENCODINGS {
        assert_eq!(Peer::http(encoding, Limits::default()).accepted(), agent);
    }
}

#[test]
fn http_bodies_have_types() {
    for (encoding, headers, taken) in [
        (Encoding::Json, "content-type:application/json", true),
        (Encoding::Json, "content-type:Application/JSON ; charset=utf-8", true),
        (Encoding::Json, "content-type:text/xml", false),
        (Encoding::Json, "content-type:application/jsonp", false),
        (Encoding::Json, "content-type:", false),
        (Encoding::Json, "content-type:text/plain", false),
        (Encoding::Json, "content-type:application/x-www-form-urlencoded", false),
        (Encoding::Json, "content-type:multipart/form-data; boundary=a", false),
        (Encoding::Json, "content-type:text/plain; application/json", false),
        (Encoding::Json, "content-type:application/json,origin:http://a", true),
        (Encoding::Json, "", true),
        (Encoding::Json, "origin:http://a", false),
        (Encoding::Json, "origin:null", false),
        (Encoding::Json, "sec-fetch-site:cross-site", false),
        (Encoding::Xml, "content-type:text/xml", true),
        (Encoding::Xml, "content-type:application/xml", true),
        (Encoding::Xml, "content-type:application/octet-stream", false),
        (Encoding::Binary, "content-type:application/octet-stream", true),
        (Encoding::Binary, "content-type:application/xml", false),
    ] {
        let mut peer = Peer::http(encoding, Limits::default());
        peer.accepted();
        // None of them is a value of any notation.
        peer.send(format!(">POST {headers}|!~").as_bytes()).unwrap();
        let sent = String::from_utf8(peer.sent()).unwrap();
        assert_eq!(sent.starts_with("<400 "), taken, "{headers}: {sent}");
        assert_eq!(sent.starts_with("<415 "), !taken, "{headers}: {sent}");
        assert!(matches!(peer.chain.poll_event(), Some(Event::Skipped(_))));
        assert!(!peer.chain.is_paused() && peer.chain.closing().is_none());
    }
}

#[test]
fn other_requests_are_refused_and_the_next_is_served() {
    let mut peer = Peer::http(Encoding::Json, small());
    peer.accepted();
    let json = "content-type:application/json";
    let long = |count: usize| format!("POST {json}|{}", "1".repeat(count));
    let (post, size) = ("Send the message with POST.\n", "A message has up to variantSize = 1024 bytes.\n");
    let empty = "The message cannot be read: a message without a value.\n";
    for (request, status, allow, text) in [
        ("GET a:b|".to_owned(), 405, " POST", post),
        ("OPTIONS origin:http://a|".to_owned(), 405, " POST", post),
        ("post a:b|1".to_owned(), 405, " POST", post),
        // The first says its length before, the second does not.
        (long(1025), 413, "", size),
        (long(5000), 413, "", size),
        (long(0), 400, "", empty),
    ] {
        peer.send(format!(">{request}~").as_bytes()).unwrap();
        let head = format!("<{status} text/plain; charset=utf-8{allow} {}|", text.len());
        assert_eq!(String::from_utf8(peer.sent()).unwrap(), format!("{head}{text}~"));
        assert!(matches!(peer.chain.poll_event(), Some(Event::Skipped(Skipped::BadCommand))));
        peer.send(format!(">POST {json}|1~").as_bytes()).unwrap();
        let (request, _) = peer.asked();
        peer.answer(request, Ok(Value::Null));
        assert_eq!(peer.sent(), b"<200 application/json 4|null~");
    }
}

#[test]
fn a_response_to_head_has_no_body() {
    let mut peer = Peer::http(Encoding::Json, Limits::default());
    peer.accepted();
    peer.send(b">HEAD a:b|~").unwrap();
    assert_eq!(peer.sent(), b"<405 text/plain; charset=utf-8 POST 28|~");
}

#[test]
fn http_waits_no_longer_than_the_limits_say() {
    let mut peer = Peer::http(Encoding::Json, Limits::default());
    peer.accepted();
    peer.send(b">GET a:b|~").unwrap();
    peer.timeout_after(59).unwrap();
    assert!(peer.timeout_after(1).unwrap_err().rule.contains("peerIdle = 60 s"));
}

#[test]
fn a_peer_that_has_closed_its_side_is_owed_its_answer() {
    let mut peer = Peer::raw(Encoding::Json, Limits::default());
    peer.with(Chain::on_open).unwrap();
    let Some(Event::Connect { request, .. }) = peer.chain.poll_event() else { panic!("a connect") };
    assert!(peer.chain.owes(), "what came before the answer to the connect has not been looked at");
    peer.order(Command::AnswerConnect { request, answer: Answer::Accept });
    assert!(!peer.chain.owes());
    peer.send(b"\0\0\0\x04true").unwrap();
    let (request, value) = peer.asked();
    assert!(peer.chain.owes());
    peer.answer(request, Ok(value));
    assert!(!peer.chain.owes());
    assert_eq!(peer.sent(), b"\0\0\0\x04true");
}
