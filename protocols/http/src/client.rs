//! The layer `outboundHttp`: the client's side of a connection.

use std::time::Instant;

use crtmp_media::{Cx, Error, HttpHead, HttpStart, Layer, LayerSettings, Limits, OutQueue, Piece};

use crate::{
    body::{BodyReader, Framing},
    lines::HeadLines,
    response::ResponseHead,
    writer::{Carriage, write_request},
};

/// Sends the requests that its nearer neighbour writes between [`OutQueue::begin`] and [`OutQueue::end`], and hands it
/// head, body and end of each response.
///
/// A request waits in the nearer layer's queue until the response to the one before it is complete. A response without
/// a length ends with the connection; a layer is not told of that, so such a body is handed on as it comes and has no
/// end.
pub struct OutboundHttp {
    settings: LayerSettings,
    reading: Reading,
    /// How the body of the request goes out, from its head to its end.
    sending: Option<Carriage>,
    /// Whether a request has begun whose response is not complete: where so, whether its method is `HEAD`.
    asked: Option<bool>,
    /// Whether the connection may be used for another request.
    keep_alive: bool,
    /// When a silent or slow server has had enough time.
    deadline: Option<Instant>,
    /// The time of the last call.
    now: Instant,
    /// Sending has changed something that only a call with a clock can deal with.
    wake: bool,
    /// What the nearer layer did wrong.
    fault: Option<Error>,
}

enum Reading {
    Head(HeadLines),
    /// A body, and whether it ends with the connection.
    Body(BodyReader, bool),
}

impl OutboundHttp {
    /// The layer of a connection that was made at `now`.
    pub fn new(settings: &LayerSettings, now: Instant) -> Self {
        Self {
            settings: settings.clone(),
            reading: Reading::Head(HeadLines::default()),
            sending: None,
            asked: None,
            keep_alive: true,
            deadline: None,
            now,
            wake: false,
            fault: None,
        }
    }

    fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// The server has `httpIdle` from now on.
    fn wait(&mut self, now: Instant) {
        self.deadline = now.checked_add(self.limits().http_idle.get());
    }

    fn step(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let Some(is_head) = self.asked else {
            return Err(Error::peer("http", "the server sent something that was not asked for"));
        };
        let limits = self.settings.limits.clone();
        match &mut self.reading {
            Reading::Head(lines) => {
                let (used, whole) = lines.read(data, &limits)?;
                if let Some(whole) = whole {
                    self.on_response(ResponseHead::parse(&whole, is_head)?, cx)?;
                }
                Ok(used)
            }
            Reading::Body(body, is_endless) => {
                if *is_endless {
                    self.deadline = cx.now().checked_add(limits.http_idle.get());
                }
                let found = body.read(data, &limits)?;
                let done = body.is_done();
                if !found.body.is_empty() {
                    cx.deliver(found.body)?;
                }
                if done {
                    self.on_response_end(cx)?;
                }
                Ok(found.used)
            }
        }
    }

    fn on_response(&mut self, response: ResponseHead, cx: &mut Cx<'_>) -> Result<(), Error> {
        let ResponseHead { head, status, framing, keep_alive } = response;
        if status < 200 {
            if status == 101 {
                return Err(Error::peer("http", "the server changed to a protocol that nobody asked for"));
            }
            self.reading = Reading::Head(HeadLines::default());
            return Ok(());
        }
        self.keep_alive = keep_alive;
        let body = BodyReader::new(framing, self.limits());
        let done = body.is_done();
        self.reading = Reading::Body(body, framing == Framing::UntilClose);
        cx.deliver_head(&head)?;
        if done { self.on_response_end(cx) } else { Ok(()) }
    }

    fn on_response_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.reading = Reading::Head(HeadLines::default());
        self.deadline = None;
        self.asked = None;
        cx.deliver_end()?;
        // A server that has answered before it had the whole request does not read the rest.
        if !self.keep_alive || self.sending.is_some() {
            cx.close(Error::peer("http", "the server ends the connection with its response"));
        }
        Ok(())
    }

    fn send(&mut self, piece: Piece, far: &mut OutQueue) -> Result<(), String> {
        match piece {
            Piece::Begin(head) => {
                if self.sending.is_some() {
                    return Err("a request began within another one".to_owned());
                }
                self.begin(&head, far)
            }
            Piece::End => {
                let carriage = self.sending.take().ok_or("a request ended that had not begun")?;
                carriage.end(far)
            }
            piece => match &mut self.sending {
                Some(carriage) => carriage.write(piece, far),
                None if piece.bytes().is_empty() => Ok(()),
                None => Err("bytes were to go out that belong to no request".to_owned()),
            },
        }
    }

    fn begin(&mut self, head: &HttpHead, far: &mut OutQueue) -> Result<(), String> {
        let carriage = head.length.map_or(Carriage::Chunked, Carriage::Length);
        let mut bytes = Vec::new();
        write_request(&mut bytes, head, carriage)?;
        far.write_with(|out| out.append(&mut bytes));
        self.sending = Some(carriage);
        self.asked = Some(matches!(&head.start, HttpStart::Request { method, .. } if method == "HEAD"));
        self.wake = true;
        Ok(())
    }
}

impl Layer for OutboundHttp {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        self.now = cx.now();
        let mut taken = 0;
        while taken < data.len() && !cx.is_paused() {
            if cx.is_closing() {
                return Ok(data.len());
            }
            taken += self.step(&data[taken..], cx)?;
        }
        Ok(taken)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        // The next request may begin where the last one is answered; the rest of the present one goes out at any time.
        while self.asked.is_none() || self.sending.is_some() {
            let Some(piece) = near.pop() else { break };
            if self.fault.is_some() || !self.keep_alive {
                continue;
            }
            if let Err(rule) = self.send(piece, far) {
                self.fault = Some(Error::ours("http", rule));
                self.wake = true;
            }
        }
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.now = cx.now();
        if std::mem::take(&mut self.wake) {
            if let Some(fault) = self.fault.clone() {
                return Err(fault);
            }
            if self.asked.is_some() {
                self.wait(cx.now());
            }
        }
        if self.deadline.is_none_or(|deadline| deadline > cx.now()) {
            return Ok(());
        }
        if cx.is_unread() {
            self.wait(cx.now());
            return Ok(());
        }
        self.deadline = None;
        let idle = self.limits().http_idle.get().as_secs_f64();
        Err(Error::timeout("http", format_args!("a response took longer than httpIdle = {idle} seconds")))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.wake { Some(self.now) } else { self.deadline }
    }
}
