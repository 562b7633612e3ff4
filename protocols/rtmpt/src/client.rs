//! The layer `outboundrtmpt`: a session of a server's, from the client's side.
//!
//! One exchange at a time: what the nearer layers write goes with the next `send`; where they write nothing, `idle` asks
//! for what there is. After an answer to an `idle` that brought something the next one goes at once; otherwise after the
//! pause that the server suggests, which grows while nothing comes.

use std::time::{Duration, Instant};

use crtmp_media::{Cx, Error, HttpHead, HttpStart, Layer, LayerSettings, OutQueue, Piece, TunnelVerb};

use crate::server::CONTENT_TYPE;

/// Bytes of a request's body, at most: what every server takes.
const BODY: usize = 128 * 1024;

/// Bytes of the id of a session, at most.
const ID: usize = 256;

/// What one step of the byte that servers begin answers with is worth. Nobody says; this makes of the steps of Flash
/// Media Server (1 to 33) what its clients did.
const STEP: Duration = Duration::from_millis(10);

/// The longest pause between two requests.
const LONGEST: Duration = Duration::from_millis(500);

/// What goes with requests that bring nothing: some servers do not take an empty body.
const NOTHING: &[u8] = b"\0";

/// Opens a session, and carries bytes in its requests and answers.
pub struct OutboundRtmpt {
    /// For the header of this name; an IPv6 address in brackets.
    host: String,
    /// As it goes into paths; none: the session is not open.
    id: Option<String>,
    /// The number of the next request.
    number: u32,
    /// What the open exchange is, where there is one.
    exchange: Option<Exchange>,
    /// What has come of the id, while the session is being opened.
    opening: Vec<u8>,
    /// The answer that is coming: the first byte, and whether there was more.
    answer: (Option<u8>, bool),
    /// Answers without content in succession.
    quiet: u32,
    /// When the server is asked next.
    ask_at: Option<Instant>,
    /// It is time to ask.
    due: bool,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Open,
    Verb(TunnelVerb),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// What the nearer layers have written is the last, and the end of the session follows.
    Asked,
    /// Nothing is sent any more.
    Over,
}

impl OutboundRtmpt {
    /// The layer of a connection that is being made.
    pub fn new(settings: &LayerSettings, _now: Instant) -> Self {
        Self {
            host: match &*settings.host {
                address if address.contains(':') && !address.starts_with('[') => format!("[{address}]"),
                host => host.to_owned(),
            },
            id: None,
            number: 0,
            exchange: None,
            opening: Vec::new(),
            answer: (None, false),
            quiet: 0,
            ask_at: None,
            due: false,
            ending: Ending::No,
        }
    }

    /// Begins a request; `length` bytes of its body and its end are to follow.
    fn begin(&mut self, exchange: Exchange, length: usize, far: &mut OutQueue) {
        let target = match exchange {
            Exchange::Open => "/open/1".to_owned(),
            Exchange::Verb(verb) => {
                let verb = match verb {
                    TunnelVerb::Send => "send",
                    TunnelVerb::Idle => "idle",
                    TunnelVerb::Close => "close",
                };
                let number = self.number;
                self.number = number.wrapping_add(1);
                format!("/{verb}/{}/{number}", self.id.as_deref().unwrap_or_default())
            }
        };
        let headers = [
            ("host", self.host.as_str()),
            ("Content-Type", CONTENT_TYPE),
            // What servers of RTMPT know.
            ("User-Agent", "Shockwave Flash"),
            ("Cache-Control", "no-cache"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let start = HttpStart::Request { method: "POST".to_owned(), target };
        far.begin(HttpHead { start, headers, length: Some(length as u64) });
        self.exchange = Some(exchange);
        (self.ask_at, self.due) = (None, false);
    }

    fn ask(&mut self, exchange: Exchange, far: &mut OutQueue) {
        self.begin(exchange, NOTHING.len(), far);
        far.write_with(|out| out.extend_from_slice(NOTHING));
        far.end();
    }

    /// Sends what the nearer layers have written, up to a body's worth of it.
    fn send(&mut self, near: &mut OutQueue, far: &mut OutQueue) {
        let mut left = near.len().min(BODY);
        self.begin(Exchange::Verb(TunnelVerb::Send), left, far);
        while left > 0 {
            let first = near.slices().next().map_or(0, <[u8]>::len);
            if (1..=left).contains(&first) {
                let Some(piece) = near.pop() else { break };
                left -= piece.bytes().len();
                // A nearer layer without HTTP has no heads to send.
                if !matches!(piece, Piece::Begin(_) | Piece::End) {
                    far.push(piece);
                }
            } else {
                let part: Vec<u8> = near.slices().next().into_iter().flatten().take(left).copied().collect();
                near.advance(part.len());
                left -= part.len();
                far.push(Piece::Owned(part));
            }
        }
        far.end();
    }

    /// The answer to the open exchange is complete.
    fn answered(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let Some(exchange) = self.exchange.take() else { return Ok(()) };
        let (interval, content) = std::mem::take(&mut self.answer);
        match exchange {
            Exchange::Open => {
                let id = std::str::from_utf8(&self.opening).unwrap_or_default().trim();
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
                if id.is_empty() || !id.bytes().all(fits) {
                    return Err(Error::peer("rtmpt", "the server opened a session and named none"));
                }
                self.id = Some(id.to_owned());
                self.opening = Vec::new();
                self.ask_at = cx.now().checked_add(STEP);
                return cx.open();
            }
            Exchange::Verb(TunnelVerb::Close) => self.ending = Ending::Over,
            Exchange::Verb(TunnelVerb::Idle) if content => self.due = true,
            Exchange::Verb(_) => {}
        }
        self.quiet = if content { 0 } else { self.quiet.saturating_add(1) };
        if !self.due {
            let suggested = STEP * u32::from(interval.unwrap_or(1).max(1));
            // Some servers always suggest the shortest.
            let own = STEP * (1 << self.quiet.saturating_sub(1).min(6));
            self.ask_at = cx.now().checked_add(suggested.max(own).min(LONGEST));
        }
        Ok(())
    }
}

impl Layer for OutboundRtmpt {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.ask(Exchange::Open, cx.out());
        Ok(())
    }

    fn on_head(&mut self, head: &HttpHead, _: &mut Cx<'_>) -> Result<(), Error> {
        let rule = match (&head.start, self.exchange) {
            (HttpStart::Response { status: 200 }, _) => return Ok(()),
            (HttpStart::Response { status }, Some(Exchange::Open)) => {
                format!("the server opens no session: it answers with the status {status}")
            }
            (HttpStart::Response { status: 404 }, _) => {
                "the server knows the session no more: it answers with the status 404".to_owned()
            }
            (HttpStart::Response { status }, _) => {
                format!("the server ends the session: it answers with the status {status}")
            }
            (HttpStart::Request { .. }, _) => "a request came where responses come".to_owned(),
        };
        self.ending = Ending::Over;
        Err(Error::peer("rtmpt", rule))
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        if self.exchange == Some(Exchange::Open) {
            if self.opening.len() + data.len() > ID {
                return Err(Error::peer("rtmpt", format!("the id of the session has more than {ID} bytes")));
            }
            self.opening.extend_from_slice(data);
            return Ok(data.len());
        }
        let content = match (self.answer.0, data) {
            (None, [first, rest @ ..]) => {
                self.answer.0 = Some(*first);
                rest
            }
            _ => data,
        };
        if !content.is_empty() {
            self.answer.1 = true;
            cx.deliver(content)?;
        }
        Ok(data.len())
    }

    fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.answered(cx)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        if self.ending == Ending::Over {
            near.advance(near.len());
        }
        if self.id.is_none() || self.exchange.is_some() || self.ending == Ending::Over {
            return Ok(());
        }
        if !near.is_empty() {
            self.send(near, far);
        } else if self.ending == Ending::Asked {
            self.ask(Exchange::Verb(TunnelVerb::Close), far);
        } else if self.due {
            self.ask(Exchange::Verb(TunnelVerb::Idle), far);
        }
        Ok(())
    }

    fn on_closing(&mut self) {
        if self.ending == Ending::No {
            self.ending = if self.id.is_some() { Ending::Asked } else { Ending::Over };
        }
    }

    fn owes(&self) -> bool {
        let closing = self.exchange == Some(Exchange::Verb(TunnelVerb::Close));
        self.ending == Ending::Asked && !closing
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.ask_at.take_if(|at| *at <= cx.now()).is_some() {
            self.due = true;
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.ask_at
    }
}

#[cfg(test)]
mod tests {
    use crtmp_http::client::OutboundHttp;
    use crtmp_media::{Chain, Env};

    use super::*;

    /// The nearest layer: keeps what comes, and says when it may speak.
    #[derive(Default)]
    struct Near(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Layer for Near {
        fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
            cx.out().write_with(|out| out.extend(b"hello"));
            Ok(())
        }

        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            self.0.borrow_mut().extend(data);
            if data.ends_with(b"?") {
                cx.out().write_with(|out| out.extend(b"!"));
            }
            Ok(data.len())
        }
    }

    struct Peer {
        chain: Chain,
        got: std::rc::Rc<std::cell::RefCell<Vec<u8>>>,
        now: Instant,
    }

    impl Peer {
        fn new() -> Self {
            let (now, got) = (Instant::now(), std::rc::Rc::<std::cell::RefCell<Vec<u8>>>::default());
            let settings = LayerSettings { host: "example".into(), ..LayerSettings::default() };
            let http = Box::new(OutboundHttp::new(&settings, now));
            let rtmpt = Box::new(OutboundRtmpt::new(&settings, now));
            let chain = Chain::new(vec![http, rtmpt, Box::new(Near(got.clone()))]).unwrap();
            let mut peer = Self { chain, got, now };
            peer.env(|chain, env| chain.on_open(env)).unwrap();
            peer
        }

        /// One whose session is open, with what it has sent first.
        fn opened() -> Self {
            let mut peer = Self::new();
            peer.heard();
            peer.answer(200, b"abc\n").unwrap();
            assert_eq!(peer.heard(), "POST /send/abc/0 hello");
            peer
        }

        fn env<T>(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> T) -> T {
            run(&mut self.chain, &mut Env { now: self.now, random: &mut |bytes| bytes.fill(7) })
        }

        /// What it asks for: the start of the request and its body.
        fn heard(&mut self) -> String {
            let queue = self.chain.send().unwrap();
            let bytes = queue.slices().collect::<Vec<_>>().concat();
            queue.advance(bytes.len());
            let text = String::from_utf8(bytes).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return text };
            assert!(head.contains("\r\nhost: example\r\nContent-Type: application/x-fcs\r\n"), "{head}");
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
            format!("{} {body}", head.split(" HTTP").next().unwrap())
        }

        fn answer(&mut self, status: u16, body: &[u8]) -> Result<(), Error> {
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
            self.env(|chain, env| chain.on_data(&[head.as_bytes(), body].concat(), env))
        }

        fn pass(&mut self, ms: u64) -> String {
            self.now += Duration::from_millis(ms);
            self.env(|chain, env| chain.on_timeout(env)).unwrap();
            self.heard()
        }
    }

    #[test]
    fn a_session_is_opened_and_what_is_written_is_sent_at_once() {
        let mut peer = Peer::new();
        assert_eq!(peer.heard(), "POST /open/1 \0");
        assert_eq!(peer.pass(1000), "", "one exchange at a time");
        peer.answer(200, b"aB-_.~\r\n").unwrap();
        assert_eq!(peer.heard(), "POST /send/aB-_.~/0 hello");
        peer.answer(200, b"\x01one?").unwrap();
        assert_eq!(*peer.got.borrow(), b"one?");
        assert_eq!(peer.heard(), "POST /send/aB-_.~/1 !");
    }

    #[test]
    fn who_gets_something_asks_again_at_once_and_who_does_not_after_a_while() {
        let mut peer = Peer::opened();
        peer.answer(200, b"\x01x").unwrap();
        assert_eq!(peer.heard(), "", "the answer to what was sent may come later");
        assert_eq!(peer.pass(10), "POST /idle/abc/1 \0");
        peer.answer(200, b"\x01y").unwrap();
        assert_eq!(peer.heard(), "POST /idle/abc/2 \0");
        let mut number = 3;
        for (interval, pause) in
            [(1, 10), (1, 20), (9, 90), (1, 80), (255, 500), (0, 320), (0, 500), (0, 500)]
        {
            peer.answer(200, &[interval]).unwrap();
            assert_eq!(peer.pass(pause - 1), "", "{interval}");
            assert_eq!(peer.pass(1), format!("POST /idle/abc/{number} \0"), "{interval}");
            number += 1;
        }
        peer.answer(200, b"\x01z").unwrap();
        assert_eq!(peer.heard(), format!("POST /idle/abc/{number} \0"));
        assert_eq!(*peer.got.borrow(), b"xyz");
        // Without as much as an interval.
        peer.answer(200, b"").unwrap();
        assert_eq!(peer.pass(10), format!("POST /idle/abc/{} \0", number + 1));
    }

    #[test]
    fn large_bodies_are_split() {
        let (mut near, mut far) = (OutQueue::default(), OutQueue::default());
        let mut layer = OutboundRtmpt::new(&LayerSettings::default(), Instant::now());
        layer.id = Some("a".to_owned());
        for size in [BODY - 10, 9, 2 * BODY] {
            near.push(Piece::Owned(vec![size as u8; size]));
        }
        let mut sizes = Vec::new();
        for _ in 0..3 {
            layer.on_send(&mut near, &mut far).unwrap();
            sizes.push(far.len());
            far = OutQueue::default();
            layer.exchange = None;
        }
        assert_eq!((sizes, near.len()), (vec![BODY, BODY, BODY - 1], 0));
    }

    #[test]
    fn refusals_end_the_connection_with_a_clear_text() {
        let mut peer = Peer::new();
        peer.heard();
        assert!(peer.answer(503, b"").unwrap_err().rule.contains("opens no session"));
        let mut peer = Peer::opened();
        assert!(peer.answer(404, b"").unwrap_err().rule.contains("knows the session no more"));
        assert_eq!(peer.pass(1000), "");
        let mut peer = Peer::opened();
        assert!(peer.answer(400, b"").unwrap_err().rule.contains("status 400"));
        for id in [&b""[..], b"\n", b"a/b", b"a b", b"\xff", &[b'a'; ID + 1]] {
            let mut peer = Peer::new();
            peer.heard();
            assert!(peer.answer(200, id).is_err(), "{id:?}");
        }
        let mut peer = Peer::new();
        peer.heard();
        peer.answer(200, &[b'a'; ID]).unwrap();
    }

    #[test]
    fn who_closes_says_the_last_words_and_then_that() {
        let mut peer = Peer::opened();
        peer.answer(200, b"\x01?").unwrap();
        peer.chain.on_closing();
        assert!(peer.chain.owes());
        assert_eq!(peer.heard(), "POST /send/abc/1 !");
        assert_eq!(peer.heard(), "");
        peer.answer(200, b"\x01").unwrap();
        assert!(peer.chain.owes());
        assert_eq!(peer.heard(), "POST /close/abc/2 \0");
        assert!(!peer.chain.owes());
        peer.answer(200, b"\x01").unwrap();
        assert_eq!(peer.pass(1000), "");
        let mut peer = Peer::new();
        peer.chain.on_closing();
        assert!(!peer.chain.owes(), "there is no session to close");
    }
}
