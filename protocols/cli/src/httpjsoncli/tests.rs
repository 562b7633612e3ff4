//! Requests and responses, with a layer in the place of HTTP that passes on what the test says.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use crtmp_media::{Answer, Chain, Env, Event, OutQueue, Piece, RequestId};
use proptest::prelude::*;

use super::*;

/// A request and the body that follows it in pieces; a response and its body.
type Message = (HttpHead, Vec<u8>);

type Pieces = Vec<Vec<u8>>;

#[derive(Clone, Default)]
struct Wire {
    requests: Rc<RefCell<VecDeque<(HttpHead, Pieces)>>>,
    responses: Rc<RefCell<Vec<Message>>>,
}

/// Stands where HTTP would: any byte hands on the next request.
struct Stand(Wire);

impl Layer for Stand {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let Some((head, body)) = self.0.requests.borrow_mut().pop_front() else { return Ok(data.len()) };
        cx.deliver_head(&head)?;
        for piece in body {
            cx.deliver(&piece)?;
        }
        cx.deliver_end()?;
        Ok(data.len())
    }

    fn on_send(&mut self, near: &mut OutQueue, _: &mut OutQueue) -> Result<(), Error> {
        let mut responses = self.0.responses.borrow_mut();
        let mut open = false;
        while let Some(piece) = near.pop() {
            match piece {
                Piece::Begin(head) => {
                    assert!(!open, "a response within another");
                    open = true;
                    responses.push((*head, Vec::new()));
                }
                Piece::End => open = false,
                other => {
                    assert!(open, "a body without head");
                    responses.last_mut().unwrap().1.extend_from_slice(other.bytes());
                }
            }
        }
        assert!(!open, "a response without end");
        Ok(())
    }
}

struct Peer {
    chain: Chain,
    wire: Wire,
    now: Instant,
}

impl Peer {
    fn new(keys: &[(&str, Value)], limits: Limits) -> Self {
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let settings = LayerSettings { keys, limits: Arc::new(limits), ..LayerSettings::default() };
        let (wire, now) = (Wire::default(), Instant::now());
        let layers: Vec<Box<dyn Layer>> = vec![Box::new(Stand(wire.clone())), layer(&settings, now).unwrap()];
        let mut peer = Self { chain: Chain::new(layers).unwrap(), wire, now };
        peer.step(Chain::on_open);
        peer
    }

    fn connected(keys: &[(&str, Value)]) -> Self {
        let mut peer = Self::new(keys, Limits::default());
        peer.connect(Answer::Accept);
        peer
    }

    fn step(&mut self, step: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>) {
        let mut env = Env { now: self.now, random: &mut |_| () };
        step(&mut self.chain, &mut env).unwrap();
    }

    fn connect(&mut self, answer: Answer) {
        let Some(Event::Connect { request, info }) = self.chain.poll_event() else { panic!() };
        assert_eq!((info.agent.as_str(), info.app.as_str()), (AGENT, ""));
        assert!(self.chain.is_paused());
        self.step(|chain, env| chain.on_command(Command::AnswerConnect { request, answer }, env));
    }

    /// Sends a request; returns the command that it runs and its parameters, and what is said about it.
    fn ask(&mut self, head: HttpHead, body: &[&[u8]]) -> Option<(RequestId, [String; 3])> {
        let body = body.iter().map(|piece| piece.to_vec()).collect();
        self.wire.requests.borrow_mut().push_back((head, body));
        self.step(|chain, env| chain.on_data(b".", env));
        let Some(event) = self.chain.poll_event() else {
            assert!(!self.chain.is_paused());
            return None;
        };
        let Event::Message { request: Some(request), command, args, .. } = event else { panic!("{event:?}") };
        assert!(self.chain.is_paused() && self.chain.poll_event().is_none());
        let [Value::String(parameters), Value::String(about)] = args.as_slice() else { panic!("{args:?}") };
        Some((request, [command, parameters.clone(), about.clone()]))
    }

    fn answer(&mut self, request: RequestId, result: Result<Value, (String, String)>) -> Message {
        self.step(|chain, env| chain.on_command(Command::AnswerMessage { request, result }, env));
        self.response()
    }

    fn response(&mut self) -> Message {
        self.chain.send().unwrap();
        let mut responses = self.wire.responses.borrow_mut();
        assert_eq!(responses.len(), 1);
        let (head, body) = responses.pop().unwrap();
        assert_eq!(head.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        assert!(head.headers.iter().all(|(name, _)| !name.starts_with("access-control")));
        assert_eq!(head.length, Some(body.len() as u64));
        (head, body)
    }

    /// The status and text of the response to a request that runs nothing.
    fn refused(&mut self, head: HttpHead, body: &[&[u8]]) -> (u16, String) {
        let ran = self.ask(head, body);
        assert!(ran.is_none(), "{ran:?}");
        let (head, body) = self.response();
        assert_eq!(head.header("content-type"), Some("application/json"));
        (status(&head), String::from_utf8(body).unwrap())
    }
}

fn status(head: &HttpHead) -> u16 {
    match head.start {
        HttpStart::Response { status } => status,
        HttpStart::Request { .. } => panic!("a request"),
    }
}

fn get(target: &str) -> HttpHead {
    HttpHead::request("GET", target).with("host", "localhost:7777")
}

fn post(target: &str) -> HttpHead {
    HttpHead::request("POST", target).with("host", "localhost:7777").with("content-type", JSON)
}

#[test]
fn a_post_runs_a_command() {
    let mut peer = Peer::connected(&[]);
    let head = post("/pullStream").with("authorization", "Bearer x").with("cookie", "secret=1");
    let (request, said) = peer.ask(head, &[b"{\"uri\":\"rtmp://h/a\",", b" \"keepAlive\":1}"]).unwrap();
    let about = r#"{"authorization":"Bearer x","method":"POST","readOnly":false}"#;
    assert_eq!(said, ["pullStream", "{\"uri\":\"rtmp://h/a\", \"keepAlive\":1}", about]);
    let answer = "{\"status\": \"SUCCESS\"}";
    let (head, body) = peer.answer(request, Ok(answer.into()));
    assert_eq!((status(&head), head.header("content-type")), (200, Some("application/json")));
    assert_eq!(body, answer.as_bytes());
    // The next one on the same connection, without parameters.
    let (request, said) = peer.ask(post("/version?secret=1"), &[b" \r\n"]).unwrap();
    assert_eq!(said, ["version", "{}", r#"{"method":"POST","readOnly":false}"#]);
    let (head, body) = peer.answer(request, Err(("X".into(), "no".into())));
    assert_eq!((status(&head), body), (200, reply::fail("no").into_bytes()));
}

/// Whoever a proxy asks for is told of to the application.
#[test]
fn what_a_proxy_passes_on_is_said_to_be_so() {
    for (name, value) in [("forwarded", "for=192.0.2.1"), ("x-forwarded-for", ""), ("via", "1.1 proxy")] {
        let (_, said) = Peer::connected(&[]).ask(post("/x").with(name, value), &[]).unwrap();
        assert_eq!(said[2], r#"{"method":"POST","proxied":true,"readOnly":false}"#, "{name}");
    }
}

/// WEB-03.
#[test]
fn a_get_is_read_only_unless_it_is_allowed_more() {
    // a=b c=1,2 in base64, in all its spellings.
    for (allowed, target) in [
        (false, "/kick?params=YT1iIGM9MSwy"),
        (true, "/kick?x=y&params=YT1iIGM9MSwy&secret=1"),
        (false, "/kick?params=YT1iIGM9MSwyIA=="),
        (false, "/kick?params=YT1iIGM9MSwyIA%3D%3d"),
        (false, "/kick?params=YT1iIGM9MSwyIA"),
    ] {
        let mut peer = Peer::connected(&[(ALLOW_GET, allowed.into())]);
        let (_, said) = peer.ask(get(target), &[]).unwrap();
        let about = format!(r#"{{"method":"GET","readOnly":{}}}"#, !allowed);
        assert_eq!(said, ["kick", r#"{"a":"b","c":["1","2"]}"#, &about], "{target}");
    }
    let mut peer = Peer::connected(&[]);
    let (_, [_, parameters, _]) = peer.ask(get("/x?params=az3Dv8O_"), &[]).unwrap();
    assert_eq!(parameters, "{\"k\":\"ÿÿ\"}");
}

#[test]
fn what_runs_nothing_says_why() {
    let long = format!("/x?params={}", "YWFh".repeat(100));
    let twice = post("/x").with("content-type", JSON);
    let nested = "[".repeat(BODY_DEPTH + 1);
    let nested: [&[u8]; 2] = [b"{\"a\":", nested.as_bytes()];
    let cases: Vec<(HttpHead, &[&[u8]], u16, &str)> = vec![
        (get("/"), &[], 404, "path"),
        (get("/a/b"), &[], 404, "path"),
        (get("//version"), &[], 404, "path"),
        (get("/vers%69on"), &[], 404, "path"),
        (get("/é"), &[], 404, "path"),
        (get("version"), &[], 404, "path"),
        (HttpHead::request("PUT", "/x").with("host", "localhost"), &[], 405, "POST or GET"),
        (HttpHead::request("OPTIONS", "/x").with("host", "localhost"), &[], 405, "POST or GET"),
        (HttpHead::request("get", "/x").with("host", "localhost"), &[], 405, "POST or GET"),
        (get("/x?params=%"), &[], 400, "no base64"),
        (get("/x?params=%zz"), &[], 400, "no base64"),
        (get("/x?params=a"), &[], 400, "no base64"),
        (get("/x?params=YQ&params=YQ"), &[], 400, "twice"),
        (get("/x?params=AA"), &[], 400, "params, byte 0: a NUL"),
        (get("/x?params=YQ"), &[], 400, "params, byte 0: a parameter without"),
        (get(&long), &[], 400, "longer than cliLine = 256 bytes"),
        (get("/x"), &[b"{}"], 400, "a GET has no body"),
        (get("/x").with("authorization", "a").with("authorization", "b"), &[], 400, "Authorization"),
        (HttpHead::request("POST", "/x").with("host", "localhost"), &[b"{}"], 415, "content-type"),
        (get("/x").with("x", "y"), &[b"", b"x"], 400, "a GET has no body"),
        (twice, &[], 415, "content-type"),
        (post("/x").with("content-encoding", "gzip"), &[b"{}"], 415, "content-encoding"),
        (post("/x"), &[b"[]"], 400, "another JSON value"),
        (post("/x"), &[b"{"], 400, "no object of parameters: EOF"),
        (post("/x"), &[b"{} {}"], 400, "no object of parameters"),
        (post("/x"), &[b"{\"a\":1,\"A\":2}"], 400, "twice"),
        (post("/x"), &[b"{\"a\":1,\"a\":2}"], 400, "twice"),
        (post("/x"), &[b"{\"a\":\"\xff\"}"], 400, "no object of parameters"),
        (post("/x"), &nested, 400, "more than 32 lists"),
    ];
    for (head, body, expected, why) in cases {
        let limits = Limits { cli_line: 256, ..Limits::default() };
        let mut peer = Peer::new(&[], limits);
        peer.connect(Answer::Accept);
        let shown = format!("{head:?}");
        let (status, text) = peer.refused(head, body);
        assert_eq!(status, expected, "{shown} {text}");
        assert!(text.contains(why) && text.contains(r#""status":"FAIL""#), "{shown}: {text}");
        assert!(peer.ask(get("/version"), &[]).is_some(), "the connection goes on");
    }
}

/// WEB-02.
#[test]
fn forms_and_plain_text_run_nothing() {
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/jsonx",
    ] {
        let head =
            HttpHead::request("POST", "/shutdown").with("host", "localhost").with("content-type", kind);
        assert_eq!(Peer::connected(&[]).refused(head, &[b"{}"]).0, 415, "{kind}");
    }
    let head = HttpHead::request("POST", "/x").with("host", "localhost");
    assert!(
        Peer::connected(&[])
            .ask(head.with("content-type", "Application/JSON ; charset=utf-8"), &[])
            .is_some()
    );
}

/// WEB-02.
#[test]
fn pages_of_strangers_run_nothing() {
    let hosts = || Value::StrictArray(vec!["media.example".into()]);
    let with = |host: &str| HttpHead::request("GET", "/version").with("host", host);
    for (head, good) in [
        (with("media.example:7777"), true),
        (with("attacker.example"), false),
        (with("localhost").with("origin", "http://localhost"), true),
        (with("localhost").with("origin", "http://attacker.example"), false),
        (with("localhost").with("sec-fetch-site", "cross-site"), false),
        (HttpHead::request("PUT", "/").with("host", "attacker.example"), false),
    ] {
        let mut peer = Peer::connected(&[(HOSTS, hosts())]);
        match good {
            true => assert!(peer.ask(head, &[]).is_some()),
            false => assert_eq!(peer.refused(head, &[]).0, 403),
        }
    }
}

#[test]
fn hosts_must_be_names() {
    let keys = [(HOSTS.to_owned(), Value::StrictArray(vec!["https://a".into()]))].into();
    let error = layer(&LayerSettings { keys, ..LayerSettings::default() }, Instant::now()).err().unwrap();
    assert!(error.starts_with("`hosts`: found \"https://a\", expected"), "{error}");
}

#[test]
fn the_body_is_bounded() {
    for (more, expected) in [(-1_isize, 200), (0, 200), (1, 413)] {
        let mut peer = Peer::new(&[], Limits { http_body: 1024, ..Limits::default() });
        peer.connect(Answer::Accept);
        let body = vec![b' '; 1024_usize.saturating_add_signed(more)];
        let pieces: Vec<&[u8]> = body.chunks(100).collect();
        match expected {
            413 => assert_eq!(peer.refused(post("/x"), &pieces).0, 413),
            _ => assert!(peer.ask(post("/x"), &pieces).is_some()),
        }
    }
}

#[test]
fn the_values_are_bounded() {
    for (values, good) in [(BODY_VALUES - 1, true), (BODY_VALUES, true), (BODY_VALUES + 1, false)] {
        // The object and the list are values themselves.
        let body = format!("{{\"a\":[{}]}}", vec!["1"; values - 2].join(","));
        assert_eq!(Peer::connected(&[]).ask(post("/x"), &[body.as_bytes()]).is_some(), good, "{values}");
    }
}

#[test]
fn refusals_for_lack_of_a_secret_have_a_status() {
    for (code, expected, header, allowed) in [
        (AUTH_REQUIRED, 401, Some("Bearer"), None),
        (AUTH_THROTTLED, 429, None, None),
        (POST_NEEDED, 405, None, Some("POST")),
        ("Else", 200, None, None),
    ] {
        let mut peer = Peer::connected(&[]);
        let (request, _) = peer.ask(get("/version"), &[]).unwrap();
        let (head, body) = peer.answer(request, Err((code.into(), "why".into())));
        assert_eq!((status(&head), head.header("www-authenticate")), (expected, header));
        assert_eq!(head.header("allow"), allowed);
        assert_eq!(body, reply::fail("why").into_bytes());
    }
    let (_, _) = Peer::connected(&[]).refused(HttpHead::request("PUT", "/x").with("host", "[::1]"), &[]);
}

#[test]
fn other_methods_learn_which_there_are() {
    let mut peer = Peer::connected(&[]);
    assert!(peer.ask(HttpHead::request("HEAD", "/x").with("host", "[::1]"), &[]).is_none());
    let (head, _) = peer.response();
    assert_eq!((status(&head), head.header("allow")), (405, Some("GET, POST")));
}

#[test]
fn metrics_are_text() {
    for (head, answer, kind, expected) in [
        (get("/metrics"), r#"{"status":"SUCCESS","data":"a 1\n# EOF\n"}"#, OPEN_METRICS, "a 1\n# EOF\n"),
        (get("/metrics"), r#"{"status":"FAIL","data":"x"}"#, JSON, r#"{"status":"FAIL","data":"x"}"#),
        (get("/metrics"), r#"{"status":"SUCCESS","data":1}"#, JSON, r#"{"status":"SUCCESS","data":1}"#),
        (post("/metrics"), r#"{"status":"SUCCESS","data":"a"}"#, JSON, r#"{"status":"SUCCESS","data":"a"}"#),
        (get("/version"), r#"{"status":"SUCCESS","data":"a"}"#, JSON, r#"{"status":"SUCCESS","data":"a"}"#),
    ] {
        let mut peer = Peer::connected(&[]);
        let (request, _) = peer.ask(head, &[]).unwrap();
        let (head, body) = peer.answer(request, Ok(answer.into()));
        assert_eq!((status(&head), head.header("content-type")), (200, Some(kind)));
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
}

#[test]
fn who_may_not_connect_is_told_at_its_first_request() {
    let mut peer = Peer::new(&[], Limits::default());
    peer.connect(Answer::Reject { code: "X".into(), text: "from this machine only".into() });
    assert!(peer.chain.closing().is_none());
    let (status, text) = peer.refused(get("/version"), &[]);
    assert_eq!(status, 403);
    assert!(text.contains("from this machine only"));
    assert!(peer.chain.closing().unwrap().rule.contains("from this machine only"));
    assert!(peer.ask(get("/version"), &[]).is_none(), "nothing more is read");
}

/// A page of a stranger keeps no place for sessions; whoever makes another mistake goes on.
#[test]
fn who_is_refused_as_a_stranger_is_closed() {
    let mut peer = Peer::connected(&[]);
    assert_eq!(peer.refused(get("/no/command"), &[]).0, 404);
    assert!(peer.chain.closing().is_none());
    assert_eq!(peer.refused(get("/version").with("origin", "http://evil.example"), &[]).0, 403);
    assert!(peer.chain.closing().unwrap().rule.contains("another origin"));
    assert!(peer.ask(get("/version"), &[]).is_none(), "nothing more is read");
}

#[test]
fn the_server_closes() {
    let mut peer = Peer::connected(&[]);
    let (request, _) = peer.ask(get("/quit"), &[]).unwrap();
    peer.answer(request, Ok("{}".into()));
    peer.step(|chain, env| chain.on_command(Command::Close { code: "X".into(), text: "bye".into() }, env));
    assert_eq!(peer.chain.closing().unwrap().rule, "bye");
    assert!(peer.ask(get("/version"), &[]).is_none());
}

proptest! {
    #[test]
    fn nothing_panics(
        method in "GET|POST|PUT",
        target in "/?[a-z/%?&=]{0,6}(params=[A-Za-z0-9%=_-]{0,12})?",
        host in "localhost|\\[?[0-9a-f:.\\]]{0,8}",
        body in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..3),
    ) {
        let head = HttpHead::request(&method, &target).with("host", host).with("content-type", JSON);
        let body: Vec<&[u8]> = body.iter().map(Vec::as_slice).collect();
        let _ = Peer::connected(&[]).ask(head, &body);
    }
}
