//! Sessions of all three faces, through a chain, with a clock of the test's own.

use crtmp_media::{Chain, Env};

use super::*;
use crate::{asciicli, jsoncli, txtcli};

type MakeLayer = fn(&LayerSettings, Instant) -> Box<dyn Layer>;

const FACES: [(&str, MakeLayer); 3] =
    [("txtCli", txtcli::layer), ("jsonCli", jsoncli::layer), ("asciiCli", asciicli::layer)];

struct Peer {
    chain: Chain,
    now: Instant,
    out: String,
    /// The commands so far, with their parameters.
    ran: Vec<String>,
    asked: Option<RequestId>,
}

impl Peer {
    fn new(make: MakeLayer, limits: Limits) -> Self {
        let now = Instant::now();
        let settings = LayerSettings { limits: Arc::new(limits), ..LayerSettings::default() };
        let chain = Chain::new(vec![make(&settings, now)]).unwrap();
        let mut peer = Self { chain, now, out: String::new(), ran: Vec::new(), asked: None };
        peer.step(Chain::on_open).unwrap();
        peer
    }

    fn connected(limits: Limits) -> Self {
        let mut peer = Self::new(txtcli::layer, limits);
        peer.connect(Answer::Accept).unwrap();
        peer
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut env = Env { now: self.now, random: &mut |_| () };
        let result = step(&mut self.chain, &mut env);
        let queue = self.chain.send().unwrap();
        let bytes = queue.slices().collect::<Vec<_>>().concat();
        queue.advance(bytes.len());
        self.out.push_str(std::str::from_utf8(&bytes).unwrap());
        result
    }

    fn connect(&mut self, answer: Answer) -> Result<(), Error> {
        let Some(Event::Connect { request, .. }) = self.chain.poll_event() else { panic!() };
        self.step(|chain, env| chain.on_command(Command::AnswerConnect { request, answer }, env))
    }

    /// Says something; commands wait for their answers.
    fn say(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let result = self.step(|chain, env| chain.on_data(bytes, env));
        self.take_events();
        result
    }

    /// Says something, and has every command answered by its own name.
    fn converse(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.say(bytes)?;
        while self.asked.is_some() {
            let name = self.ran.last().unwrap().split(' ').next().unwrap().to_owned();
            self.answer(&name)?;
        }
        Ok(())
    }

    fn answer(&mut self, description: &str) -> Result<(), Error> {
        let request = self.asked.take().expect("a command");
        let text = serde_json::json!({ "status": "SUCCESS", "description": description }).to_string();
        let answer = Command::AnswerMessage { request, result: Ok(text.into()) };
        let result = self.step(|chain, env| chain.on_command(answer, env));
        self.take_events();
        result
    }

    fn take_events(&mut self) {
        while let Some(event) = self.chain.poll_event() {
            let Event::Message { request, slot: StreamSlot(0), command, args } = event else {
                panic!("{event:?}")
            };
            assert!(self.asked.is_none(), "a command before the answer to the last");
            assert!(self.chain.is_paused());
            self.asked = request;
            let [Value::String(parameters)] = args.as_slice() else { panic!("{args:?}") };
            self.ran.push(format!("{command} {parameters}"));
        }
    }

    fn wait(&mut self, seconds: f64) -> Result<(), Error> {
        self.now += Duration::from_secs_f64(seconds);
        self.step(Chain::on_timeout)
    }

    /// What has been said since the last look, with `|` for line ends.
    fn heard(&mut self) -> String {
        std::mem::take(&mut self.out).replace("\r\n", "|")
    }
}

#[test]
fn applications_know_the_faces_apart() {
    for (agent, make) in FACES {
        let mut peer = Peer::new(make, Limits::default());
        assert!(peer.chain.is_paused(), "nothing is read before the answer");
        let Some(Event::Connect { info, .. }) = peer.chain.poll_event() else { panic!() };
        assert_eq!(*info, ConnectInfo { agent: agent.into(), ..ConnectInfo::default() });
    }
}

#[test]
fn who_may_not_connect_is_told_why() {
    let reject = || Answer::Reject { code: "X".into(), text: "not from here".into() };
    for ((_, make), expected) in FACES.into_iter().zip([
        "error: not from here||",
        "{\"data\":null,\"description\":\"not from here\",\"status\":\"FAIL\"}||",
        "Command failed!|not from here||",
    ]) {
        let mut peer = Peer::new(make, Limits::default());
        peer.connect(reject()).unwrap();
        assert_eq!(peer.heard(), expected);
        assert!(peer.chain.closing().unwrap().rule.contains("not from here"));
        peer.say(b"version\n").unwrap();
        assert!(peer.ran.is_empty(), "nothing more is read");
        assert_eq!(peer.chain.poll_timeout(), None);
    }
    let mut peer = Peer::new(txtcli::layer, Limits::default());
    peer.connect(Answer::Redirect { url: "telnet://b".into() }).unwrap();
    assert_eq!(peer.heard(), "error: not here: go to telnet://b||");
}

#[test]
fn commands_run_one_after_the_other() {
    let mut peer = Peer::connected(Limits::default());
    peer.say(b"\r\nfirst a=1\r\n\n  \nsecond b=x,y\nbad line\nthird").unwrap();
    assert_eq!(peer.ran, ["first {\"a\":\"1\"}"]);
    peer.answer("one").unwrap();
    assert_eq!(peer.ran.len(), 2);
    assert_eq!(peer.heard(), "one||");
    peer.answer("two").unwrap();
    assert!(peer.heard().starts_with("two||error: byte 4: a parameter without `=`"));
    peer.converse(b"\n").unwrap();
    assert_eq!(peer.ran, ["first {\"a\":\"1\"}", "second {\"b\":[\"x\",\"y\"]}", "third {}"]);
}

#[test]
fn answers_to_nothing_and_other_orders_are_ignored() {
    let mut peer = Peer::connected(Limits::default());
    peer.say(b"version\n").unwrap();
    let stray = |request| Command::AnswerMessage { request: RequestId(request), result: Ok("{}".into()) };
    let asked = peer.asked.unwrap().0;
    peer.step(|chain, env| chain.on_command(stray(asked + 1), env)).unwrap();
    peer.step(|chain, env| chain.on_command(Command::SourceStarted { slot: StreamSlot(0) }, env)).unwrap();
    assert!(peer.chain.is_paused() && peer.heard().is_empty());
    peer.answer("one").unwrap();
    peer.step(|chain, env| chain.on_command(stray(asked), env)).unwrap();
    assert_eq!(peer.heard(), "one||");
}

#[test]
fn calls_of_the_server_are_refused() {
    let mut peer = Peer::connected(Limits::default());
    let call = |ticket| Command::Call { ticket, command: "x".into(), args: Vec::new() };
    peer.step(|chain, env| chain.on_command(call(None), env)).unwrap();
    assert!(peer.chain.poll_event().is_none());
    peer.step(|chain, env| chain.on_command(call(Some(7)), env)).unwrap();
    let Some(Event::CallResult { ticket: 7, outcome: CallOutcome::Refused, .. }) = peer.chain.poll_event()
    else {
        panic!()
    };
}

#[test]
fn the_server_closes_after_the_answer() {
    let mut peer = Peer::connected(Limits::default());
    peer.say(b"quit\nversion\n").unwrap();
    let close = Command::Close { code: "X".into(), text: "quit".into() };
    let answer =
        Command::AnswerMessage { request: peer.asked.unwrap(), result: Err(("X".into(), "no".into())) };
    // The second command was read between the answer and the order; nobody answers it.
    peer.step(|chain, env| chain.on_command(answer, env)).unwrap();
    peer.step(|chain, env| chain.on_command(close, env)).unwrap();
    assert_eq!(peer.heard(), "error: no||");
    assert_eq!(peer.chain.closing().unwrap().rule, "quit");
}

/// ADM-03.
#[test]
fn lines_are_bounded() {
    let limits = || Limits { cli_line: 256, ..Limits::default() };
    for (length, good) in [(255, true), (256, true), (257, false)] {
        let mut line = format!("a k={}", "x".repeat(length - 4)).into_bytes();
        line.extend(b"\r\nversion\n");
        let mut peer = Peer::connected(limits());
        let result = peer.converse(&line);
        if good {
            assert_eq!((result, peer.ran.len()), (Ok(()), 2));
        } else {
            let rule = "a line is longer than cliLine = 256 bytes";
            assert_eq!(result, Err(Error::peer("txtcli", rule)));
            assert_eq!(peer.heard(), format!("error: {rule}||"));
            assert!(peer.ran.is_empty());
            peer.say(b"version\n").unwrap();
            assert!(peer.ran.is_empty(), "nothing more is read");
        }
    }
    // No line end for ever.
    let mut peer = Peer::connected(limits());
    assert!((0..300).any(|_| peer.say(b"x").is_err()));
}

/// ADM-03.
#[test]
fn many_lines_in_one_packet_are_all_answered() {
    let mut peer = Peer::connected(Limits::default());
    peer.converse(&b"version\n".repeat(10_000)).unwrap();
    assert_eq!(peer.ran.len(), 10_000);
    assert_eq!(peer.heard(), "version||".repeat(10_000));
}

/// ADM-03.
#[test]
fn odd_bytes_are_answered_by_an_error_and_never_come_back() {
    let mut peer = Peer::connected(Limits::default());
    for line in [&b"\xff\xfd\x03\n"[..], b"\x1b[2J\n", b"a k=\0\n", b"\xc3\n", b"a k\n", b"a=\xe2\x80\xae\n"]
    {
        peer.say(line).unwrap();
        let heard = peer.heard();
        assert!(heard.starts_with("error: byte ") && heard.ends_with("||"), "{heard}");
        assert!(!heard.contains(char::is_control));
    }
    assert!(peer.ran.is_empty());
}

/// ADM-04.
#[test]
fn other_protocols_run_nothing() {
    for (start, other) in [
        (&b"POST / HTTP/1.1\r\nHost: a\r\n\r\nshutdownServer\n"[..], "HTTP"),
        (b"GET /", "HTTP"),
        (b"\nX y HTTP/1.1\n", "HTTP"),
        (b"\x16\x03\x01\x02\0\x01", "TLS"),
    ] {
        for (_, make) in FACES {
            let mut peer = Peer::new(make, Limits::default());
            peer.connect(Answer::Accept).unwrap();
            let error = peer.say(start).unwrap_err();
            assert!(error.rule.contains(other), "{error}");
            assert!(peer.ran.is_empty() && peer.heard().is_empty());
            peer.say(b"shutdownServer\n").unwrap();
            assert!(peer.ran.is_empty(), "nothing more is read");
        }
    }
    let mut peer = Peer::connected(Limits::default());
    peer.converse(b"version\nGET / HTTP/1.1\n").unwrap();
    assert!(peer.heard().contains("error: byte 4"), "only the first line is a sign of it");
}

#[test]
fn silence_ends_a_session() {
    let idle = Limits { cli_idle: crtmp_media::Seconds::new(10), ..Limits::default() };
    let mut peer = Peer::connected(idle.clone());
    peer.wait(6.0).unwrap();
    peer.converse(b"version\n").unwrap();
    peer.wait(6.0).unwrap();
    // Neither an empty line nor a mistake nor half a line is a command.
    peer.converse(b"\n \r\n=\nvers").unwrap();
    peer.heard();
    let error = peer.wait(4.0).unwrap_err();
    assert_eq!(error, Error::timeout("txtcli", "no command within cliIdle = 10 s"));
    assert_eq!(peer.heard(), "error: no command within cliIdle = 10 s||");

    // Neither an application that thinks nor a server that does not read is the peer's silence.
    let mut peer = Peer::connected(idle);
    peer.say(b"version\n").unwrap();
    peer.wait(60.0).unwrap();
    peer.answer("one").unwrap();
    peer.chain.set_unread(true);
    peer.wait(20.0).unwrap();
    peer.chain.set_unread(false);
    peer.wait(9.0).unwrap();
    peer.wait(2.0).unwrap_err();
}
