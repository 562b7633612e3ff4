//! The layer `http`: the server's side of a connection.

use std::time::Instant;

use crtmp_media::{Cx, Error, HttpHead, HttpStart, Layer, LayerSettings, Limits, OutQueue, Piece};

use crate::{
    Refusal,
    body::BodyReader,
    lines::HeadLines,
    request::{RequestHead, all},
    writer::{Carriage, Connection, write_refusal, write_response},
};

/// Whether a request may begin with this byte: all methods that there are begin with a capital letter.
pub const fn begins(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

/// Takes requests from the far side and hands head, body and end to its nearer neighbour, which writes a response
/// between [`OutQueue::begin`] and [`OutQueue::end`].
///
/// A request is not looked at before the response to the one before it has gone out: what comes meanwhile is not
/// taken, and waits in the chain. So responses keep the order of their requests, and no peer fills a queue.
pub struct InboundHttp {
    settings: LayerSettings,
    reading: Reading,
    /// What is known of the present request, from its head to the end of its response.
    request: Option<Request>,
    /// How the body of the response goes out, from its head to its end.
    response: Option<Carriage>,
    /// When a silent or slow client has had enough time.
    deadline: Option<Instant>,
    /// The time of the last call.
    now: Instant,
    /// Sending has changed something that only a call with a clock can deal with.
    wake: bool,
    /// What the nearer layer did wrong.
    fault: Option<Error>,
}

/// What is read.
enum Reading {
    /// A head; whether anything of it has come.
    Head(HeadLines, bool),
    Body(BodyReader),
    /// Nothing: the request is complete and its response is not.
    Nothing,
    /// Nothing more: what still comes is thrown away.
    Over,
}

#[derive(Clone, Copy)]
struct Request {
    is_head: bool,
    is_1_1: bool,
    keep_alive: bool,
    /// Whether its response is complete.
    answered: bool,
}

impl InboundHttp {
    /// The layer of a connection that came at `now`.
    pub fn new(settings: &LayerSettings, now: Instant) -> Self {
        let mut http = Self {
            settings: settings.clone(),
            reading: Reading::Head(HeadLines::default(), false),
            request: None,
            response: None,
            deadline: None,
            now,
            wake: false,
            fault: None,
        };
        http.wait(now);
        http
    }

    fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// The client has `httpIdle` from now on.
    fn wait(&mut self, now: Instant) {
        self.deadline = now.checked_add(self.limits().http_idle.get());
    }

    /// Takes a part of the input and returns how much.
    fn step(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Stop> {
        let limits = self.settings.limits.clone();
        match &mut self.reading {
            Reading::Head(lines, started) => {
                if !std::mem::replace(started, true) {
                    self.deadline = cx.now().checked_add(limits.http_idle.get());
                }
                let (used, whole) = lines.read(data, &limits)?;
                if let Some(whole) = whole {
                    self.on_request(RequestHead::parse(&whole, &limits)?, cx)?;
                }
                Ok(used)
            }
            Reading::Body(body) => {
                let found = body.read(data, &limits)?;
                let done = body.is_done();
                if !found.body.is_empty() {
                    cx.deliver(found.body)?;
                }
                if done {
                    self.on_request_end(cx)?;
                }
                Ok(found.used)
            }
            Reading::Nothing => Ok(0),
            Reading::Over => Ok(data.len()),
        }
    }

    fn on_request(&mut self, request: RequestHead, cx: &mut Cx<'_>) -> Result<(), Error> {
        let RequestHead { head, framing, is_1_1, keep_alive, expects } = request;
        let is_head = matches!(&head.start, HttpStart::Request { method, .. } if method == "HEAD");
        self.request = Some(Request { is_head, is_1_1, keep_alive, answered: false });
        if expects {
            cx.out().write_with(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        let body = BodyReader::new(framing, self.limits());
        let done = body.is_done();
        self.reading = Reading::Body(body);
        cx.deliver_head(&head)?;
        if done { self.on_request_end(cx) } else { Ok(()) }
    }

    fn on_request_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.reading = Reading::Nothing;
        self.deadline = None;
        cx.deliver_end()?;
        if self.request.is_some_and(|request| request.answered) {
            self.next_request();
            self.wake = false;
            self.wait(cx.now());
        }
        Ok(())
    }

    fn next_request(&mut self) {
        self.request = None;
        self.reading = Reading::Head(HeadLines::default(), false);
    }

    /// Says why a request is refused, where nothing has been said to it yet, and ends the connection.
    fn refuse(&mut self, refusal: Refusal, cx: &mut Cx<'_>) -> Error {
        self.stop(refusal.status, cx.out());
        refusal.into()
    }

    /// Ends the reading, with a response where none has begun to what was read last.
    fn stop(&mut self, status: u16, far: &mut OutQueue) {
        let is_answered = self.request.is_some_and(|request| request.answered);
        if self.response.is_none() && !is_answered && !matches!(self.reading, Reading::Over) {
            far.write_with(|out| write_refusal(out, status));
        }
        self.response = None;
        self.close();
    }

    /// Nothing more is read.
    fn close(&mut self) {
        self.reading = Reading::Over;
        self.deadline = None;
    }

    /// Sends one piece of what the nearer layer says.
    fn send(&mut self, piece: Piece, far: &mut OutQueue) -> Result<(), String> {
        match piece {
            Piece::Begin(head) => self.begin(&head, far),
            Piece::End => {
                let carriage = self.response.ok_or("a response ended that had not begun")?;
                carriage.end(far)?;
                self.response = None;
                self.wake = true;
                let Some(request) = &mut self.request else { return Ok(()) };
                request.answered = true;
                if !request.keep_alive {
                    self.close();
                } else if matches!(self.reading, Reading::Nothing) {
                    self.next_request();
                }
                Ok(())
            }
            piece => match &mut self.response {
                Some(carriage) => carriage.write(piece, far),
                None if piece.bytes().is_empty() => Ok(()),
                None => Err("bytes were to go out that belong to no response".to_owned()),
            },
        }
    }

    fn begin(&mut self, head: &HttpHead, far: &mut OutQueue) -> Result<(), String> {
        let open = self.request.as_mut().filter(|request| !request.answered && self.response.is_none());
        let request = open.ok_or("a response began to which there is no request")?;
        let HttpStart::Response { status } = head.start else {
            return Err("a request was to go out as a response".to_owned());
        };
        let carriage = Carriage::of_response(status, head.length, request.is_1_1, request.is_head);
        let says =
            |word: &str| all(&head.headers, "connection").any(|value| value.eq_ignore_ascii_case(word));
        let close = says("close");
        request.keep_alive &= !close && carriage != Carriage::UntilClose;
        let connection = match (request.keep_alive, request.is_1_1) {
            (false, _) => Connection::Close,
            (true, true) if !says("keep-alive") => Connection::Unsaid,
            (true, _) => Connection::KeepAlive,
        };
        let mut bytes = Vec::new();
        write_response(&mut bytes, head, carriage, connection)?;
        far.write_with(|out| out.append(&mut bytes));
        self.response = Some(carriage);
        Ok(())
    }
}

impl Layer for InboundHttp {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.now = cx.now();
        let mut taken = 0;
        while taken < data.len() && !cx.is_paused() {
            match self.step(&data[taken..], cx) {
                Ok(0) => break,
                Ok(used) => taken += used,
                Err(Stop::Refused(refusal)) => return Err(self.refuse(refusal, cx)),
                Err(Stop::Nearer(error)) => return Err(error),
            }
        }
        Ok(taken)
    }

    fn owes(&self) -> bool {
        matches!(self.reading, Reading::Nothing)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        while let Some(piece) = near.pop() {
            // After the last response there is nobody to hear more, and after a fault nobody who would understand it.
            let over = matches!(self.reading, Reading::Over) && self.response.is_none();
            if over || self.fault.is_some() {
                continue;
            }
            if let Err(rule) = self.send(piece, far) {
                // Where nothing was asked, the client would take it for the response to what it asks next.
                if self.request.is_none() {
                    self.close();
                }
                self.stop(500, far);
                self.fault = Some(Error::ours("http", rule));
                self.wake = true;
            }
        }
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.now = cx.now();
        if std::mem::take(&mut self.wake) {
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            match self.reading {
                Reading::Head(_, false) => self.wait(cx.now()),
                Reading::Over => cx.close(Error::peer("http", "the last response has been sent")),
                _ => {}
            }
        }
        if self.deadline.is_none_or(|deadline| deadline > cx.now()) {
            return Ok(());
        }
        if cx.is_unread() {
            self.wait(cx.now());
            return Ok(());
        }
        let idle = self.limits().http_idle.get().as_secs_f64();
        if let Reading::Head(_, false) = self.reading {
            self.close();
            cx.close(Error::timeout("http", format_args!("no request within httpIdle = {idle} seconds")));
            return Ok(());
        }
        self.stop(408, cx.out());
        Err(Error::timeout("http", format_args!("a request took longer than httpIdle = {idle} seconds")))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.wake { Some(self.now) } else { self.deadline }
    }
}

/// Why input is not taken.
enum Stop {
    /// The peer broke a rule.
    Refused(Refusal),
    /// A nearer layer ends the connection.
    Nearer(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Nearer(error)
    }
}
