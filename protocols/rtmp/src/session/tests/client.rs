//! A client's session against a scripted server.

use std::time::{Duration, Instant};

use crtmp_media::{Pull, Push, Via};

use super::*;
use crate::{handshake::ServerHandshake, layer::OutboundRtmp, message::Status};

/// A server, the client's chain, and the clock of both.
struct Server {
    chain: Chain,
    now: Instant,
    writer: ChunkWriter,
    reader: ChunkReader,
    events: Vec<String>,
    requests: Vec<Request>,
    failed: Option<String>,
}

impl Server {
    /// A server that a client has come to, whose handshake is done.
    fn shaken(limits: Limits) -> Self {
        let mut server = Self::fresh(limits);
        let mut handshake = ServerHandshake::new(true, &[7; RANDOM]);
        let mut answer = Vec::new();
        assert!(!handshake.input(&server.sent(), &mut answer).unwrap().1);
        server.bytes(&answer);
        let (used, done) = handshake.input(&server.sent(), &mut Vec::new()).unwrap();
        assert_eq!((used, done), (1536, true));
        server
    }

    /// One that a client has come to, and nothing else has happened.
    fn fresh(limits: Limits) -> Self {
        let now = Instant::now();
        let settings = SessionSettings { limits: Arc::new(limits), instance: Arc::from("us"), ..settings() };
        let chain = Chain::new(vec![Box::new(OutboundRtmp::new(settings, now))]).unwrap();
        let mut server = Self {
            chain,
            now,
            writer: ChunkWriter::new(),
            reader: ChunkReader::new(),
            events: Vec::new(),
            requests: Vec::new(),
            failed: None,
        };
        server.step(Chain::on_open);
        server
    }

    /// One whose client is connected.
    fn connected() -> Self {
        Self::connected_with(Limits::default(), vec![])
    }

    fn connected_with(limits: Limits, properties: Vec<(String, Value)>) -> Self {
        let mut server = Self::shaken(limits);
        server.order(connect());
        server.said();
        let success = Status::new("NetConnection.Connect.Success", "");
        let result = Command::result(1.0, Value::Object(properties), vec![success.into()]);
        server.say(&command(0, &result));
        assert_eq!(server.said(), ["WindowAckSize 2500000"]);
        let events = server.events();
        assert!(
            events[0].starts_with("CallResult 1 Result") && events[0].ends_with(".Success"),
            "{events:?}"
        );
        server
    }

    /// One whose client has asked to play "far" on message stream 5.
    fn asked_to_play() -> Self {
        let mut server = Self::connected();
        server.pull(7);
        assert_eq!(server.said(), ["createStream 2"]);
        server.result(2.0, 5.0);
        assert_eq!(server.said(), ["play@5 far", "User(SetBufferLength { stream: 5, ms: 3000 })"]);
        server
    }

    fn pull(&mut self, ticket: u64) {
        let pull = Pull {
            ticket,
            name: "far".to_owned(),
            local: "near".to_owned(),
            start_ms: -2000,
            duration_ms: -1,
            takes_over: false,
        };
        self.order(Order::Pull(Box::new(pull)));
    }

    fn push(&mut self, ticket: u64) {
        let push = Push {
            ticket,
            local: "near".to_owned(),
            name: "far".to_owned(),
            kind: PublishKind::Live,
            via: Via::default().and("us/live/near".to_owned()),
            again: false,
        };
        self.order(Order::Push(Box::new(push)));
    }

    fn step(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>) {
        let mut env = Env { now: self.now, random: &mut |bytes| bytes.fill(4) };
        if let Err(error) = run(&mut self.chain, &mut env) {
            self.failed = Some(error.to_string());
        }
        while let Some(event) = self.chain.poll_event() {
            match &event {
                Event::Publish { request, .. } => self.requests.push(Request::Publish(*request)),
                Event::Play(play) => self.requests.push(Request::Play(play.request)),
                Event::Message { request: Some(request), .. } => {
                    self.requests.push(Request::Message(*request));
                }
                _ => {}
            }
            self.events.push(event_line(&event));
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.step(|chain, env| chain.on_data(bytes, env));
    }

    fn say(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        self.writer.write(&mut bytes, message).unwrap();
        self.bytes(&bytes);
    }

    fn result(&mut self, transaction: f64, value: impl Into<Value>) {
        self.say(&command(0, &Command::result(transaction, Value::Null, vec![value.into()])));
    }

    fn status(&mut self, stream: u32, status: Status) {
        self.say(&command(stream, &Command::on_status(status)));
    }

    fn order(&mut self, order: Order) {
        self.step(|chain, env| chain.on_command(order, env));
    }

    fn answer(&mut self, answer: Answer) {
        let order = match self.requests.pop().expect("a request") {
            Request::Publish(request) => Order::AnswerPublish { request, answer },
            Request::Play(request) => Order::AnswerPlay { request, answer },
            other => panic!("{other:?}"),
        };
        self.order(order);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.step(Chain::on_timeout);
    }

    fn sent(&mut self) -> Vec<u8> {
        let queue = self.chain.send().unwrap();
        let bytes: Vec<u8> = queue.slices().flatten().copied().collect();
        queue.advance(bytes.len());
        bytes
    }

    fn said(&mut self) -> Vec<String> {
        let bytes = self.sent();
        let (mut rest, mut lines) = (&bytes[..], Vec::new());
        while let (used, Some(message)) =
            self.reader.read(rest, &ReadLimits::after(&Limits::default())).unwrap()
        {
            rest = &rest[used..];
            lines.push(message_line(&message));
        }
        lines
    }

    fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }
}

fn connect() -> Order {
    let args = vec![object(&[("app", "live".into()), ("tcUrl", "rtmp://far/live".into())])];
    Order::Call { ticket: Some(1), command: "connect".to_owned(), args }
}

fn failure(text: &str) -> Status {
    Status::error("NetStream.Failed", text)
}

#[test]
fn connect_says_what_the_user_says_and_what_servers_expect() {
    let mut server = Server::shaken(Limits::default());
    server.order(connect());
    let bytes = server.sent();
    let (_, message) = server.reader.read(&bytes, &ReadLimits::after(&Limits::default())).unwrap();
    let command = Command::parse(kind::COMMAND, &message.unwrap().body, &Limits::default()).unwrap();
    assert_eq!((command.name.as_str(), command.transaction), ("connect", 1.0));
    let member = |key: &str| command.object.get(key).cloned();
    assert_eq!(member("app"), Some("live".into()));
    assert_eq!(member("tcUrl"), Some("rtmp://far/live".into()));
    assert_eq!(member("objectEncoding"), Some(0.0.into()));
    assert_eq!(member("instanceId"), Some("us".into()));
    assert!(member("flashVer").is_some_and(|agent| agent.as_str().unwrap().starts_with("FMLE/3.0")));
    // Nothing can be done twice, or before its time.
    server.order(connect());
    server.pull(2);
    server.push(3);
    server.order(Order::Call { ticket: Some(4), command: "hello".to_owned(), args: vec![] });
    assert_eq!(
        server.events(),
        ["CallResult 1 Refused", "CallResult 2 Refused", "CallResult 3 Refused", "CallResult 4 Refused"]
    );
    assert_eq!(server.said(), [""; 0]);
}

#[test]
fn a_connect_that_is_ordered_early_waits_for_the_handshake() {
    let now = Instant::now();
    let mut chain = Chain::new(vec![Box::new(OutboundRtmp::new(settings(), now))]).unwrap();
    let mut env = Env { now, random: &mut |bytes| bytes.fill(4) };
    chain.on_command(connect(), &mut env).unwrap();
    assert_eq!(chain.send().unwrap().len(), 0, "the connection is not there yet");
    chain.on_open(&mut env).unwrap();
    let hello: Vec<u8> = chain.send().unwrap().slices().flatten().copied().collect();
    let queued = chain.send().unwrap().len();
    chain.send().unwrap().advance(queued);
    let mut answer = Vec::new();
    ServerHandshake::new(true, &[7; RANDOM]).input(&hello, &mut answer).unwrap();
    chain.on_data(&answer, &mut env).unwrap();
    assert!(chain.send().unwrap().len() > 1536, "C2 and connect");
}

#[test]
fn a_refused_connect_is_told_and_ends_the_connection() {
    let mut server = Server::shaken(Limits::default());
    server.order(connect());
    let redirect = object(&[("code", 302.0.into()), ("redirect", "rtmp://other/live".into())]);
    let status = Status::error("NetConnection.Connect.Rejected", "go away").with("ex", redirect);
    server.say(&command(0, &Command::error(1.0, status)));
    assert_eq!(server.events(), ["CallResult 1 Error NetConnection.Connect.Rejected"]);
    let reason = server.chain.closing().expect("it ends").to_string();
    assert_eq!(reason, "rtmp: the server refused the connect: NetConnection.Connect.Rejected go away");
    server.pull(2);
    assert_eq!(server.events(), ["CallResult 2 Refused"]);
}

#[test]
fn a_pull_is_settled_by_its_first_media() {
    let mut server = Server::asked_to_play();
    server.status(5, Status::new("NetStream.Play.Reset", ""));
    server.status(5, Status::new("NetStream.Play.Start", ""));
    server.say(&data(5, "|RtmpSampleAccess", &[true.into(), true.into()]));
    server.say(&data(5, "onStatus", &[object(&[("code", "NetStream.Data.Start".into())])]));
    assert_eq!(server.events(), [""; 0], "nothing has come yet");
    server.say(&data(5, "onMetaData", &[Value::EcmaArray(vec![("width".into(), 16.0.into())])]));
    server.say(&key_frame(5, 4_000_000_000, 100));
    assert_eq!(server.events(), ["Publish 5 near"]);
    server.answer(Answer::Accept);
    assert_eq!(
        server.events(),
        [
            "CallResult 7 Result 5 NetStream.Play.Start",
            "Metadata 5 of 1 values",
            "Frame 5 data info 0",
            "Frame 5 video key 4000000000"
        ]
    );
    server.say(&sound(5, 4_000_000_010));
    server.say(&data(5, "|RtmpSampleAccess", &[]));
    assert_eq!(server.events(), ["Frame 5 audio key 4000000010"]);
    assert_eq!(server.said(), [""; 0]);
}

/// Media of no message stream are those of the only pull; where there are two, nobody can tell.
#[test]
fn media_on_message_stream_0_belong_to_the_only_pull() {
    let mut server = Server::asked_to_play();
    server.say(&key_frame(0, 40, 100));
    assert_eq!(server.events(), ["Publish 5 near"]);
    server.say(&sound(0, 50));
    server.answer(Answer::Accept);
    assert_eq!(server.events()[1..], ["Frame 5 video key 40", "Frame 5 audio key 50"]);
    server.pull(8);
    server.said();
    server.result(3.0, 6.0);
    server.say(&sound(0, 60));
    assert_eq!(server.events(), ["Skipped StrayMedia"]);
}

#[test]
fn a_pull_ends_however_servers_say_it() {
    let say: [fn(&mut Server); 6] = [
        |server| server.status(5, Status::new("NetStream.Play.UnpublishNotify", "")),
        |server| server.status(5, Status::new("NetStream.Play.Stop", "")),
        |server| server.status(5, Status::new("NetStream.Play.Complete", "")),
        |server| server.status(5, Status::error("NetStream.Play.Something", "")),
        |server| server.say(&control_message(Control::User(UserControl::StreamEof(5)))),
        |server| {
            let (slot, code, text) = (crtmp_media::StreamSlot(5), String::new(), String::new());
            server.order(Order::StopPublish { slot, code, text });
            // Whoever orders it knows.
            server.events.push("Unpublish 5".to_owned());
        },
    ];
    for (index, end) in say.iter().enumerate() {
        let mut server = Server::asked_to_play();
        server.say(&key_frame(5, 40, 100));
        server.answer(Answer::Accept);
        server.events();
        end(&mut server);
        assert_eq!(server.events(), ["Unpublish 5"], "{index}");
        assert_eq!(server.said(), ["deleteStream 5"], "{index}");
        server.say(&key_frame(5, 80, 100));
        assert_eq!(server.events(), [""; 0], "what was on its way, {index}");
        // The number is free again.
        server.pull(8);
        server.said();
        server.result(3.0, 5.0);
        assert_eq!(server.said()[0], "play@5 far", "{index}");
    }
}

#[test]
fn a_pull_that_fails_says_why() {
    let mut server = Server::asked_to_play();
    server.status(5, Status::error("NetStream.Play.StreamNotFound", "no such stream"));
    assert_eq!(server.events(), ["CallResult 7 Error 5 NetStream.Play.StreamNotFound"]);

    // Our side does not want it.
    let mut server = Server::asked_to_play();
    server.say(&key_frame(5, 40, 100));
    server.events();
    server.answer(Answer::Reject { code: "NetStream.Publish.BadName".to_owned(), text: "taken".to_owned() });
    assert_eq!(server.events(), ["Unpublish 5", "CallResult 7 Error 5 NetStream.Publish.BadName"]);
    assert_eq!(server.said(), ["deleteStream 5"]);

    // The server has no message stream for us.
    let mut server = Server::connected();
    server.pull(7);
    server.say(&command(0, &Command::error(2.0, failure("too many"))));
    assert_eq!(server.events(), ["CallResult 7 Error NetStream.Failed"]);
}

#[test]
fn a_message_stream_must_be_a_number_that_is_free() {
    for wrong in
        [Value::Null, "5".into(), 0.0.into(), f64::NAN.into(), (-1.0).into(), 4.5.into(), 1e20.into()]
    {
        let mut server = Server::connected();
        server.pull(7);
        server.result(2.0, wrong.clone());
        assert_eq!(server.events(), ["CallResult 7 Error NetStream.Failed"], "{wrong:?}");
    }
    let mut server = Server::asked_to_play();
    server.pull(8);
    server.result(3.0, 5.0);
    assert_eq!(server.events(), ["CallResult 8 Error NetStream.Failed"], "5 is in use");
    server.say(&key_frame(5, 40, 100));
    assert_eq!(server.events(), ["Publish 5 near"], "and goes on");
}

#[test]
fn a_push_publishes_as_encoders_do() {
    let mut server = Server::connected();
    server.push(7);
    assert_eq!(server.said(), ["releaseStream 2 far", "FCPublish 3 far", "createStream 4"]);
    // A server that knows only what is needed.
    server.say(&command(0, &Command::error(2.0, failure("?"))));
    server.result(4.0, 5.0);
    assert_eq!(server.said(), ["publish@5 far live"]);
    server.status(5, Status::new("NetStream.Publish.Start", ""));
    assert_eq!(server.events(), ["Play 5 near"]);
    server.answer(Answer::Accept);
    assert_eq!(server.events(), ["CallResult 7 Result 5 NetStream.Publish.Start"]);
    server.order(Order::SourceEnded { slot: crtmp_media::StreamSlot(5) });
    assert_eq!(server.events(), [""; 0]);
    assert_eq!(server.said(), ["FCUnpublish 5 far", "deleteStream 5"]);
}

#[test]
fn a_push_may_be_answered_on_the_connection_and_end_any_time() {
    let begin = || {
        let mut server = Server::connected();
        server.push(7);
        server.result(4.0, 5.0);
        server
    };
    let mut server = begin();
    server.status(0, Status::new("NetStream.Publish.Start", ""));
    assert_eq!(server.events(), ["Play 5 near"]);
    server.answer(Answer::Accept);
    server.events();
    server.status(5, Status::error("NetStream.Publish.Failed", "no room"));
    assert_eq!(server.events(), ["Unplay 5"]);

    let mut server = begin();
    server.status(5, Status::error("NetStream.Publish.BadName", "taken"));
    assert_eq!(server.events(), ["CallResult 7 Error 5 NetStream.Publish.BadName"]);

    // Nothing is there to be pushed.
    let mut server = begin();
    server.status(5, Status::new("NetStream.Publish.Start", ""));
    server.answer(Answer::Reject { code: "NetStream.Play.StreamNotFound".to_owned(), text: String::new() });
    assert_eq!(
        server.events(),
        ["Play 5 near", "Unplay 5", "CallResult 7 Error 5 NetStream.Play.StreamNotFound"]
    );
}

#[test]
fn servers_of_this_family_tell_each_other_where_a_stream_has_been() {
    let kindred = || vec![("instanceId".to_owned(), "them".into())];
    let mut server = Server::connected_with(Limits::default(), kindred());
    server.push(7);
    server.said();
    server.result(4.0, 5.0);
    let bytes = server.sent();
    let (_, message) = server.reader.read(&bytes, &ReadLimits::after(&Limits::default())).unwrap();
    let publish = Command::parse(kind::COMMAND, &message.unwrap().body, &Limits::default()).unwrap();
    let via = Via::read(publish.args[2].get("via").unwrap(), &Limits::default());
    assert_eq!(via.marks(), ["us/live/near"]);

    let mut server = Server::connected_with(Limits::default(), kindred());
    server.pull(7);
    server.result(2.0, 5.0);
    let marks = Value::StrictArray(vec!["them/live/far".into()]);
    server.say(&command(5, &Command::call("onVia", 0.0, Value::Null, vec![marks])));
    let (seen, now) = (key_frame(5, 40, 100), server.now);
    let mut bytes = Vec::new();
    server.writer.write(&mut bytes, &seen).unwrap();
    let mut env = Env { now, random: &mut |bytes| bytes.fill(4) };
    server.chain.on_data(&bytes, &mut env).unwrap();
    let Some(Event::Publish { via, request, .. }) = server.chain.poll_event() else { panic!("no publish") };
    assert_eq!(via.marks(), ["them/live/far"]);
    server.order(Order::AnswerPublish { request, answer: Answer::Accept });
    server.events();
    // The far end has it from somewhere else now, or from there again.
    let says = |marks: &[&str]| {
        let marks = Value::StrictArray(marks.iter().map(|mark| (*mark).into()).collect());
        command(5, &Command::call("onVia", 0.0, Value::Null, vec![marks]))
    };
    server.say(&says(&["them/live/far"]));
    assert_eq!(server.events(), [""; 0]);
    server.say(&says(&["us/live/near", "them/live/far"]));
    assert_eq!(server.events(), ["Unpublish 5"]);
}

#[test]
fn who_owes_an_answer_has_call_timeout_for_it() {
    let limits = Limits::default();
    let time = limits.call_timeout.get();
    let almost = time - Duration::from_millis(1);
    let last = Duration::from_millis(1);

    let mut server = Server::shaken(Limits::default());
    server.order(connect());
    server.wait(almost);
    assert_eq!(server.events(), [""; 0]);
    server.wait(last);
    assert_eq!(server.events(), ["CallResult 1 Timeout"]);
    assert!(server.chain.closing().is_some());

    let mut server = Server::connected();
    server.pull(7);
    server.wait(almost);
    assert_eq!(server.events(), [""; 0]);
    server.wait(last);
    assert_eq!(server.events(), ["CallResult 7 Error NetStream.Failed"]);
    server.said();
    // It comes too late, and is given back.
    server.result(2.0, 5.0);
    assert_eq!(server.events(), ["Skipped BadCommand"]);

    // An answer to play or publish, too; but who has said anything may wait for media as long as it likes.
    for says in [false, true] {
        let mut server = Server::asked_to_play();
        if says {
            server.say(&control_message(Control::User(UserControl::StreamBegin(5))));
        }
        server.wait(almost);
        server.wait(last);
        let expected: &[&str] = if says { &[] } else { &["CallResult 7 Error 5 NetStream.Failed"] };
        assert_eq!(server.events(), expected);
    }

    // Who publishes has one answer to wait for, whatever else is said.
    let mut server = Server::connected();
    server.push(7);
    server.result(4.0, 5.0);
    server.say(&control_message(Control::User(UserControl::StreamBegin(5))));
    server.status(5, Status::new("NetStream.Publish.Idle", ""));
    server.wait(almost);
    assert_eq!(server.events(), [""; 0]);
    server.wait(last);
    assert_eq!(server.events(), ["CallResult 7 Error 5 NetStream.Failed"]);
}

#[test]
fn a_server_whose_media_stop_is_asked_whether_it_lives() {
    let mut server = Server::asked_to_play();
    server.say(&key_frame(5, 40, 100));
    server.answer(Answer::Accept);
    server.events();
    let limits = Limits::default();
    server.wait(limits.ping_after.get());
    assert!(server.said()[0].starts_with("Ping "));
    server.wait(limits.publisher_idle.get() - limits.ping_after.get());
    assert!(server.failed.take().is_some_and(|text| text.contains("publisherIdle")));

    // Whom we push to may be silent for ever.
    let mut server = Server::connected();
    server.push(7);
    server.result(4.0, 5.0);
    server.status(5, Status::new("NetStream.Publish.Start", ""));
    server.answer(Answer::Accept);
    for _ in 0..10 {
        server.wait(limits.peer_idle.get());
    }
    assert_eq!(server.failed, None);
}

#[test]
fn as_many_links_as_message_streams() {
    let limits = Limits { message_streams: 2, ..Limits::default() };
    let mut server = Server::connected_with(limits, vec![]);
    for ticket in 1..=3 {
        server.pull(ticket);
    }
    assert_eq!(server.events(), ["CallResult 3 Refused"]);
}

#[test]
fn commands_of_the_server_reach_the_application_and_a_flood_ends() {
    let mut server = Server::connected();
    server.say(&call(0, "onBWDone", 0.0, &[8192.0.into()]));
    server.say(&call(0, "_onbwcheck", 3.0, &[]));
    assert_eq!(server.said(), ["_result 3"]);
    server.say(&call(0, "hello", 4.0, &["you".into()]));
    assert_eq!(server.events(), ["Message 0 hello wants an answer"]);
    let Some(Request::Message(request)) = server.requests.pop() else { panic!("no request") };
    server.order(Order::AnswerMessage { request, result: Ok("me".into()) });
    assert_eq!(server.said(), ["_result 4 me"]);

    let limits = Limits::default();
    for count in [limits.commands_before - 1, limits.commands_before, limits.commands_before + 1] {
        let mut server = Server::shaken(Limits::default());
        server.order(connect());
        for _ in 0..count {
            server.say(&call(0, "onBWDone", 0.0, &[]));
        }
        assert_eq!(server.failed.is_some(), count > limits.commands_before, "{count}");
    }
    // Once it has let us in it may call as often as it likes.
    let mut server = Server::connected();
    for _ in 0..1000 {
        server.say(&call(0, "hello", 0.0, &[]));
    }
    assert_eq!(server.failed, None);
}

#[test]
fn a_late_word_about_one_message_stream_is_not_about_another() {
    let mut server = Server::connected();
    server.push(7);
    server.result(4.0, 5.0);
    server.status(5, Status::new("NetStream.Publish.Start", ""));
    server.answer(Answer::Accept);
    server.push(8);
    server.result(7.0, 6.0);
    server.order(Order::SourceEnded { slot: crtmp_media::StreamSlot(5) });
    server.events();
    server.status(5, Status::new("NetStream.Unpublish.Success", ""));
    assert_eq!(server.events(), ["Skipped BadCommand"]);
    server.status(6, Status::new("NetStream.Publish.Start", ""));
    assert_eq!(server.events(), ["Play 6 near"]);
}

#[test]
fn what_a_call_fails_with_ends_nothing_else() {
    let mut server = Server::asked_to_play();
    server.status(0, Status::error("NetConnection.Call.Failed", "unknown: FCPublish"));
    assert_eq!((server.failed.take(), server.events()), (None, Vec::new()));
}

#[test]
fn a_pull_that_waits_can_be_given_up() {
    let mut server = Server::asked_to_play();
    server.say(&control_message(Control::User(UserControl::StreamBegin(5))));
    server.order(Order::Withdraw { ticket: 7 });
    assert_eq!(server.events(), ["CallResult 7 Error 5 NetStream.Failed"]);
    assert_eq!(server.said(), ["deleteStream 5"]);
    server.say(&key_frame(5, 40, 100));
    assert_eq!(server.events(), [""; 0], "what was on its way");
    // While our own side decides, and before there is a message stream.
    let mut server = Server::asked_to_play();
    server.say(&key_frame(5, 40, 100));
    server.order(Order::Withdraw { ticket: 7 });
    assert_eq!(server.events(), ["Publish 5 near", "Unpublish 5", "CallResult 7 Error 5 NetStream.Failed"]);
    let mut server = Server::connected();
    server.pull(7);
    server.order(Order::Withdraw { ticket: 7 });
    assert_eq!(server.events(), ["CallResult 7 Error NetStream.Failed"]);
    server.said();
    server.result(2.0, 5.0);
    assert_eq!(server.said(), ["deleteStream 5"], "given back");
    // What runs is ended by other words.
    let mut server = Server::asked_to_play();
    server.say(&key_frame(5, 40, 100));
    server.answer(Answer::Accept);
    server.events();
    server.order(Order::Withdraw { ticket: 7 });
    assert_eq!(server.events(), [""; 0]);
}

#[test]
fn the_end_of_the_connection_is_understood() {
    for code in ["NetConnection.Connect.Closed", "NetConnection.Connect.AppShutdown"] {
        let mut server = Server::asked_to_play();
        server.status(0, Status::new(code, "bye"));
        assert!(server.failed.take().is_some_and(|text| text.contains(code)));
    }
    let mut server = Server::asked_to_play();
    server.order(Order::Close { code: String::new(), text: String::new() });
    assert_eq!(server.said(), ["deleteStream 5"]);
}

#[test]
fn a_client_that_is_closed_before_the_handshake_ends_says_nothing_after_it() {
    let mut server = Server::fresh(Limits::default());
    server.order(connect());
    let mut handshake = ServerHandshake::new(true, &[7; RANDOM]);
    let mut answer = Vec::new();
    handshake.input(&server.sent(), &mut answer).unwrap();
    server.order(Order::Close { code: String::new(), text: String::new() });
    server.bytes(&answer);
    assert_eq!((server.sent(), server.failed), (Vec::new(), None));
}

/// A server that asks to connect again is heard some times, and what it says is not taken for more than it is.
#[test]
fn a_server_may_ask_to_connect_again() {
    let mut server = Server::connected();
    let code = "NetConnection.Connect.ReconnectRequest";
    server.status(0, Status::new(code, "maintenance"));
    server.status(0, Status::new(code, "").with("tcUrl", "//other/live"));
    server.status(0, Status::new(code, "").with("tcUrl", "x".repeat(5000).as_str()));
    server.status(0, Status::new(code, "").with("tcUrl", 7.0));
    // Links are told where to go, applications what was said; nobody waits for an answer.
    let message = "Message 0 onStatus";
    assert_eq!(
        server.events(),
        [
            ["Reconnect here", message],
            ["Reconnect //other/live", message],
            ["Reconnect here", message],
            ["Reconnect here", message]
        ]
        .concat()
    );
    for _ in 0..100 {
        server.status(0, Status::new(code, ""));
    }
    assert_eq!(server.events().len(), 2 * 4, "8 in all");
}
