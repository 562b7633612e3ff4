//! The layer `rtmpt`: requests of sessions, on a connection that carries them.
//!
//! | Request | What it is | Response |
//! |---|---|---|
//! | `POST /fcs/ident2`, `/fcs/ident` | is there a server? | nothing: this one |
//! | `POST /open/1` | a new session | its id and a line feed |
//! | `POST /send/<id>/<number>` | bytes of the session | interval byte, bytes of the session |
//! | `POST /idle/<id>/<number>` | nothing | the same |
//! | `POST /close/<id>/<number>` | the end | interval byte |
//!
//! The session itself lives elsewhere: what a request wants is an [`Event::Tunnel`], and its response comes with
//! [`Command::AnswerTunnel`].

use std::time::Instant;

use crtmp_media::{
    Command, Cx, Error, Event, HttpHead, HttpStart, KeyKind, KeyRow, Layer, LayerSettings, RequestId, Slice,
    TunnelCall, TunnelId, TunnelVerb,
};

/// The type of all bodies.
pub const CONTENT_TYPE: &str = "application/x-fcs";

/// The keys that an acceptor may have for it.
pub const KEYS: &[KeyRow] = &[KeyRow { name: BIND_ADDRESS, kind: KeyKind::Flag }];

/// What whoever asks for anything else is told.
const ELSEWHERE: &str = "There is nothing here but RTMP over HTTP, for clients of rtmpt:// and rtmpts://.\n";

const BIND_ADDRESS: &str = "bindAddress";

/// Digits of the largest number of a request.
const DIGITS: usize = 10;

/// Reads requests of sessions and writes their responses.
#[derive(Debug)]
pub struct InboundRtmpt {
    bind_address: bool,
    phase: Phase,
    last_request: u32,
    /// The server wants the connection closed: the next response is the last.
    last: bool,
}

#[derive(Debug)]
enum Phase {
    /// No request is there.
    Ready,
    /// A request comes in.
    Reading(Asked),
    /// It waits for its response.
    Waiting(RequestId),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Whether there is a server.
    Ident,
    Call(TunnelCall),
    /// Something that gets this status.
    Refused(u16),
    /// Something that no client of tunnels asks for.
    Elsewhere,
}

impl InboundRtmpt {
    /// The layer of a new connection.
    pub fn new(settings: &LayerSettings, _now: Instant) -> Self {
        let bind_address = settings.flag(BIND_ADDRESS);
        Self { bind_address, phase: Phase::Ready, last_request: 0, last: false }
    }

    /// What a request wants, by its head.
    fn asked(&self, head: &HttpHead) -> Asked {
        let HttpStart::Request { method, target } = &head.start else { return Asked::Refused(400) };
        let asked = self.asked_by_path(target);
        if matches!(asked, Asked::Refused(404) | Asked::Elsewhere) {
            return asked;
        }
        if method != "POST" {
            return Asked::Refused(405);
        }
        // Pages of strangers can have a browser send anything to anybody, but not with this type.
        let kind = head.header("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case(CONTENT_TYPE) {
            return Asked::Refused(415);
        }
        asked
    }

    pub(crate) fn asked_by_path(&self, target: &str) -> Asked {
        let path = target.split('?').next().and_then(|path| path.strip_prefix('/'));
        let mut parts = path.unwrap_or_default().split('/');
        let [verb, session, number, more] = std::array::from_fn(|_| parts.next());
        let verb = match (verb, session, number) {
            (Some("fcs"), Some("ident" | "ident2"), None) => return Asked::Ident,
            (Some("open"), Some(number), None) if number_of(number).is_some() => {
                return Asked::Call(TunnelCall::Open { bind_address: self.bind_address });
            }
            (Some("send"), Some(_), _) => TunnelVerb::Send,
            (Some("idle"), Some(_), _) => TunnelVerb::Idle,
            (Some("close"), Some(_), _) => TunnelVerb::Close,
            _ => return Asked::Elsewhere,
        };
        let Some(session) = session.and_then(TunnelId::parse) else { return Asked::Refused(404) };
        match number.filter(|_| more.is_none()).and_then(number_of) {
            Some(number) => Asked::Call(TunnelCall::Next { session, number, verb, body: Vec::new() }),
            None => Asked::Refused(400),
        }
    }

    fn respond(&self, status: u16, body: Slice, cx: &mut Cx<'_>) {
        self.respond_with(status, CONTENT_TYPE, body, cx);
    }

    fn respond_with(&self, status: u16, kind: &str, body: Slice, cx: &mut Cx<'_>) {
        // The case of these names counts for librtmp.
        let headers = [("Content-Type", kind), ("Cache-Control", "no-cache")];
        let mut headers: Vec<_> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if status == 405 {
            headers.push(("Allow".to_owned(), "POST".to_owned()));
        }
        // Who guesses ids pays for each with a connection.
        let ends = self.last || status == 429;
        headers.push(("connection".to_owned(), if ends { "close" } else { "keep-alive" }.to_owned()));
        let length = Some(body.len() as u64);
        cx.out().begin(HttpHead { start: HttpStart::Response { status }, headers, length });
        cx.out().push(crtmp_media::Piece::Shared(body));
        cx.out().end();
    }
}

fn number_of(text: &str) -> Option<u32> {
    let digits = (1..=DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl Layer for InboundRtmpt {
    fn on_head(&mut self, head: &HttpHead, _: &mut Cx<'_>) -> Result<(), Error> {
        self.phase = Phase::Reading(self.asked(head));
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], _: &mut Cx<'_>) -> Result<usize, Error> {
        // How much may come, HTTP sees to. What comes with other requests says nothing.
        if let Phase::Reading(Asked::Call(TunnelCall::Next { verb: TunnelVerb::Send, body, .. })) =
            &mut self.phase
        {
            body.extend_from_slice(data);
        }
        Ok(data.len())
    }

    fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let Phase::Reading(asked) = std::mem::replace(&mut self.phase, Phase::Ready) else { return Ok(()) };
        match asked {
            Asked::Ident => self.respond(200, Slice::default(), cx),
            Asked::Refused(status) => self.respond(status, Slice::default(), cx),
            Asked::Elsewhere => {
                let body = ELSEWHERE.as_bytes().to_vec().into();
                self.respond_with(404, "text/plain", body, cx);
            }
            Asked::Call(call) => {
                self.last_request = self.last_request.wrapping_add(1);
                let request = RequestId(self.last_request);
                self.phase = Phase::Waiting(request);
                cx.emit(Event::Tunnel { request, call: Box::new(call) });
            }
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        match (command, &self.phase) {
            (Command::AnswerTunnel { request, status, body }, Phase::Waiting(waiting))
                if request == *waiting =>
            {
                self.phase = Phase::Ready;
                self.respond(status, body, cx);
            }
            (Command::Close { .. }, _) => self.last = true,
            _ => {}
        }
        Ok(())
    }

    fn owes(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }
}

#[cfg(test)]
mod tests {
    use crtmp_http::server::InboundHttp;
    use crtmp_media::{Chain, Env};

    use super::*;

    struct Peer {
        chain: Chain,
        now: Instant,
    }

    impl Peer {
        fn new(keys: &[(String, crtmp_media::Value)]) -> Self {
            let (now, settings) =
                (Instant::now(), LayerSettings { keys: keys.into(), ..LayerSettings::default() });
            let http = Box::new(InboundHttp::new(&settings, now));
            let chain = Chain::new(vec![http, Box::new(InboundRtmpt::new(&settings, now))]).unwrap();
            Self { chain, now }
        }

        fn env<T>(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> T) -> T {
            run(&mut self.chain, &mut Env { now: self.now, random: &mut |bytes| bytes.fill(7) })
        }

        fn post(&mut self, path: &str, body: &str) -> String {
            self.request("POST", path, "Content-Type: application/x-fcs\r\n", body)
        }

        fn request(&mut self, method: &str, path: &str, headers: &str, body: &str) -> String {
            let length = body.len();
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n");
            // What HTTP waits with until it has been asked about time.
            self.env(|chain, env| chain.on_timeout(env)).unwrap();
            self.env(|chain, env| chain.on_data((head + body).as_bytes(), env)).unwrap();
            self.heard()
        }

        fn answer(&mut self, request: RequestId, status: u16, body: &[u8]) -> String {
            let body = body.to_vec().into();
            self.env(|chain, env| chain.on_command(Command::AnswerTunnel { request, status, body }, env))
                .unwrap();
            self.heard()
        }

        fn heard(&mut self) -> String {
            let queue = self.chain.send().unwrap();
            let bytes = queue.slices().collect::<Vec<_>>().concat();
            queue.advance(bytes.len());
            String::from_utf8(bytes).unwrap()
        }

        fn call(&mut self) -> Option<(RequestId, TunnelCall)> {
            match self.chain.poll_event() {
                Some(Event::Tunnel { request, call }) => Some((request, *call)),
                Some(other) => panic!("{other:?}"),
                None => None,
            }
        }
    }

    fn id() -> TunnelId {
        TunnelId { secret: [0xab; 16], worker: 1 }
    }

    #[test]
    fn requests_of_a_session_become_calls_and_their_answers_responses() {
        let mut peer = Peer::new(&[]);
        let id = id();
        let next = |verb, number, body: &str| TunnelCall::Next {
            session: id,
            number,
            verb,
            body: body.as_bytes().to_vec(),
        };
        for (path, body, call) in [
            ("/open/1".to_owned(), "\0", TunnelCall::Open { bind_address: false }),
            (format!("/send/{}/0", id.digits()), "bytes", next(TunnelVerb::Send, 0, "bytes")),
            (format!("/idle/{}/1?x", id.digits().to_uppercase()), "\0", next(TunnelVerb::Idle, 1, "")),
            (format!("/close/{}/4294967295", id.digits()), "\0", next(TunnelVerb::Close, u32::MAX, "")),
        ] {
            assert_eq!(peer.post(&path, body), "");
            let (request, found) = peer.call().unwrap();
            assert_eq!(found, call);
            assert!(peer.chain.owes());
            assert_eq!(
                peer.answer(request, 200, b"\x01x"),
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-fcs\r\nCache-Control: no-cache\r\n\
                 Content-Length: 2\r\nConnection: keep-alive\r\n\r\n\u{1}x"
            );
        }
    }

    #[test]
    fn whoever_asks_whether_there_is_a_server_is_told_nothing_but_that() {
        let mut peer = Peer::new(&[]);
        for path in ["/fcs/ident2", "/fcs/ident"] {
            let heard = peer.post(path, "\0");
            assert!(
                heard.starts_with("HTTP/1.1 200 OK\r\n") && heard.contains("Content-Length: 0\r\n"),
                "{heard}"
            );
        }
        assert_eq!(peer.call(), None);
    }

    /// RPT-01 and RPT-05, as far as a request says it alone.
    #[test]
    fn what_is_no_request_of_a_session_is_refused() {
        let mut peer = Peer::new(&[]);
        let id = id().digits();
        let long = "a".repeat(1000);
        let percent = format!("%61{}", &id[1..]);
        for (path, status) in [
            ("/send//0", "404"),
            (&format!("/idle/{long}/0"), "404"),
            (&format!("/idle/{percent}/0"), "404"),
            (&format!("/idle/{}/0", &id[1..]), "404"),
            (&format!("/idle/{id}"), "400"),
            (&format!("/idle/{id}/"), "400"),
            (&format!("/idle/{id}/-1"), "400"),
            (&format!("/idle/{id}/+1"), "400"),
            (&format!("/idle/{id}/1x"), "400"),
            (&format!("/idle/{id}/4294967296"), "400"),
            (&format!("/idle/{id}/00000000001"), "400"),
            (&format!("/idle/{id}/1/"), "400"),
        ] {
            let heard = peer.post(path, "\0");
            assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {heard}");
            assert!(heard.contains("Content-Type: application/x-fcs\r\n"), "{heard}");
        }
        assert_eq!(peer.call(), None);
    }

    #[test]
    fn who_asks_for_something_else_is_told_what_there_is() {
        let mut peer = Peer::new(&[]);
        let id = id().digits();
        for path in ["/", "/open", "/open/x", "/open/1/2", "/send", "/fcs/ident3", &format!("/sand/{id}/0")] {
            for method in ["GET", "POST"] {
                let heard = peer.request(method, path, "", "");
                assert!(
                    heard.starts_with("HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n"),
                    "{heard}"
                );
                assert!(heard.ends_with(ELSEWHERE), "{heard}");
            }
        }
        assert_eq!(peer.call(), None);
    }

    #[test]
    fn only_post_with_the_type_of_tunnels_is_taken() {
        let mut peer = Peer::new(&[]);
        let good = "Content-Type: Application/X-FCS; x=y\r\n";
        let heard = peer.request("GET", "/open/1", good, "");
        assert!(heard.contains(" 405 ") && heard.contains("Allow: POST\r\n"), "{heard}");
        for bad in ["", "Content-Type: text/plain\r\n"] {
            assert!(peer.request("POST", "/open/1", bad, "x").contains(" 415 "), "{bad}");
        }
        assert_eq!(peer.call(), None);
        peer.request("POST", "/open/1", good, "x");
        assert!(peer.call().is_some());
    }

    #[test]
    fn sessions_are_bound_where_the_acceptor_says_so() {
        let mut peer = Peer::new(&[(BIND_ADDRESS.to_owned(), true.into())]);
        peer.post("/open/1", "\0");
        assert_eq!(peer.call().unwrap().1, TunnelCall::Open { bind_address: true });
    }

    #[test]
    fn who_guesses_pays_with_the_connection_and_a_server_that_ends_says_so() {
        let mut peer = Peer::new(&[]);
        peer.post(&format!("/idle/{}/0", id().digits()), "\0");
        let request = peer.call().unwrap().0;
        assert!(peer.answer(request, 404, b"").contains("Connection: keep-alive\r\n"));
        peer.post(&format!("/idle/{}/0", id().digits()), "\0");
        let request = peer.call().unwrap().0;
        assert!(peer.answer(RequestId(request.0 - 1), 200, b"").is_empty(), "an answer to another request");
        let close = Command::Close { code: String::new(), text: String::new() };
        peer.env(|chain, env| chain.on_command(close, env)).unwrap();
        assert!(peer.answer(request, 200, b"").contains("Connection: close\r\n"));
        let mut peer = Peer::new(&[]);
        peer.post(&format!("/idle/{}/0", id().digits()), "\0");
        let request = peer.call().unwrap().0;
        assert!(peer.answer(request, 429, b"").contains("Connection: close\r\n"));
    }
}
