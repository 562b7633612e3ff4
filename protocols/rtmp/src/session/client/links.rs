//! Streams that are pulled from the server or pushed to it, each on a message stream of its own.

use std::time::Instant;

use crtmp_media::{CallOutcome, Cx, Event, Join, PlayRequest, PublishKind, Pull, Push, Skipped, Value, Via};

use super::{ClientSession, result};
use crate::{
    chunk::Message,
    encoder::RtmpEncoder,
    message::{Command, Control, Data, Status, UserControl, kind},
    session::{Pending, Slot, SlotState, VIA, calls::Step, slot_event},
};

/// How much a pull tells the server to buffer, in ms: what players of live streams usually say.
const BUFFER_MS: u32 = 3000;

/// All links of a connection, by numbers of their own: the server may give two of them the same message stream.
#[derive(Debug, Default)]
pub(super) struct Links {
    list: Vec<Link>,
    last: u64,
}

#[derive(Debug)]
struct Link {
    number: u64,
    /// The message stream, once there is one.
    stream: Option<u32>,
    what: What,
    /// Until it has been settled.
    ticket: Option<u64>,
    /// What the server said when it accepted.
    status: Value,
    /// Since when the server owes an answer to a publish or play.
    waits: Option<Instant>,
    /// Where the stream has been, as a server of this family says it.
    via: Via,
}

#[derive(Debug)]
enum What {
    Pull(Box<Pull>),
    Push(Box<Push>),
}

impl Links {
    /// Since when an answer has been awaited that should have come.
    pub(super) fn oldest_wait(&self) -> Option<Instant> {
        self.list.iter().filter_map(|link| link.waits).min()
    }

    /// The server has said something of a message stream. That is an answer to a play, which may wait for its stream;
    /// a publish has one answer only.
    pub(super) fn answered(&mut self, stream: u32) {
        if let Some(link) = self.on(stream).filter(|link| matches!(link.what, What::Pull(_))) {
            link.waits = None;
        }
    }

    /// The message stream of the only pull.
    pub(super) fn only_pull(&self) -> Option<u32> {
        let mut pulls = self.list.iter().filter(|link| matches!(link.what, What::Pull(_)));
        let only = pulls.next()?;
        if pulls.next().is_some() { None } else { only.stream }
    }

    fn by_number(&mut self, number: u64) -> Option<&mut Link> {
        self.list.iter_mut().find(|link| link.number == number)
    }

    fn on(&mut self, stream: u32) -> Option<&mut Link> {
        self.list.iter_mut().find(|link| link.stream == Some(stream))
    }

    fn take(&mut self, stream: u32) -> Option<Link> {
        let at = self.list.iter().position(|link| link.stream == Some(stream))?;
        Some(self.list.remove(at))
    }
}

impl ClientSession {
    pub(super) fn pull(&mut self, pull: Box<Pull>, cx: &mut Cx<'_>) {
        self.link(pull.ticket, What::Pull(pull), cx);
    }

    pub(super) fn push(&mut self, push: Box<Push>, cx: &mut Cx<'_>) {
        // Encoders of the Flash Media family say these, and some servers wait for them.
        for name in ["releaseStream", "FCPublish"] {
            self.core.step(Step::Courtesy, name, Value::Null, vec![push.name.as_str().into()], cx);
        }
        self.link(push.ticket, What::Push(push), cx);
    }

    /// Whether one more may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.links.list.len() < self.core.settings.limits.message_streams
    }

    fn link(&mut self, ticket: u64, what: What, cx: &mut Cx<'_>) {
        self.links.last += 1;
        let (number, ticket) = (self.links.last, Some(ticket));
        let link = Link {
            number,
            stream: None,
            what,
            ticket,
            status: Value::Null,
            waits: None,
            via: Via::default(),
        };
        self.links.list.push(link);
        self.core.step(Step::CreateStream(number), "createStream", Value::Null, Vec::new(), cx);
    }

    /// The server has answered createStream.
    pub(super) fn on_stream_created(&mut self, number: u64, args: &[Value], cx: &mut Cx<'_>) {
        let stream = args.iter().skip(1).find_map(Value::as_u32).filter(|stream| *stream != 0);
        let taken = stream.is_some_and(|stream| self.core.slots.contains_key(stream));
        let Some(link) = self.links.by_number(number) else {
            // It was given up meanwhile.
            return stream.filter(|_| !taken).into_iter().for_each(|stream| self.delete_stream(stream, cx));
        };
        let Some(stream) = stream.filter(|_| !taken) else {
            let text = if taken {
                "createStream was answered with a message stream that is in use"
            } else {
                "createStream was not answered with a message stream"
            };
            return self.fail_link(number, Status::error("NetStream.Failed", text).into(), cx);
        };
        link.stream = Some(stream);
        link.waits = Some(cx.now());
        self.core.slots.insert(stream, Slot::default());
        match &link.what {
            What::Pull(pull) => {
                let Pull { name, start_ms, duration_ms, .. } = &**pull;
                let mut args: Vec<Value> =
                    vec![name.as_str().into(), (*start_ms as f64).into(), (*duration_ms as f64).into()];
                if *start_ms == LIVE_ELSE_RECORDED && *duration_ms < 0 {
                    // As players say it; some servers know nothing else.
                    args.truncate(1);
                }
                let play = Command::call("play", 0.0, Value::Null, args);
                self.core.set(stream, SlotState::Pulling, cx);
                self.core.authorised = true;
                self.core.send_command(stream, &play, cx);
                let buffer = UserControl::SetBufferLength { stream, ms: BUFFER_MS };
                self.core.send_control(Control::User(buffer), cx);
            }
            What::Push(push) => {
                let kind = match push.kind {
                    PublishKind::Live => "live",
                    PublishKind::Record => "record",
                    PublishKind::Append => "append",
                };
                let mut args: Vec<Value> = vec![push.name.as_str().into(), kind.into()];
                if self.core.kindred {
                    args.push(Value::Object(vec![(VIA.to_owned(), push.via.to_value())]));
                }
                let publish = Command::call("publish", 0.0, Value::Null, args);
                self.core.set(stream, SlotState::Pushing, cx);
                self.core.send_command(stream, &publish, cx);
            }
        }
    }

    /// Media of the server, or a description of them.
    pub(super) fn on_pulled(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), crtmp_media::Error> {
        if matches!(message.kind, kind::DATA | kind::DATA_AMF3) && !self.is_worth_it(&message) {
            return Ok(());
        }
        let stream = message.stream;
        match self.core.slots.get(stream).map(|slot| &slot.state) {
            Some(SlotState::Pulling) => {}
            // Of one that has ended: on its way when we said so.
            None if stream != 0 => return Ok(()),
            _ => return self.core.on_media(message, cx),
        }
        let Some(Link { what: What::Pull(pull), waits, via, .. }) = self.links.on(stream) else {
            return Ok(());
        };
        *waits = None;
        let (name, via) = (pull.local.clone(), via.clone());
        let request = self.core.request(Pending::Publish { slot: stream });
        self.core.set(stream, SlotState::AskedPublish { name: name.clone() }, cx);
        let (slot, kind) = (slot_event(stream), PublishKind::Live);
        cx.emit(Event::Publish { request, slot, name, kind, via });
        self.core.hold(&message, cx);
        Ok(())
    }

    /// Whether a data message is one of the stream; others are for players alone.
    fn is_worth_it(&self, message: &Message) -> bool {
        let data = Data::parse(message.kind, &message.body, &self.core.settings.limits);
        // What cannot be read is counted as usual.
        data.map_or(true, |data| !data.name.starts_with('|') && data.name != "onStatus")
    }

    /// Our side has decided on a stream that was pulled.
    pub(super) fn accept_pull(&mut self, stream: u32, cx: &mut Cx<'_>) {
        let Some(SlotState::AskedPublish { name }) =
            self.core.slots.get(stream).map(|slot| slot.state.clone())
        else {
            return;
        };
        self.core.begin_publishing(stream, name, cx);
        self.settle_link(stream, cx);
    }

    /// Our side has nothing to push, or does not want what was pulled.
    pub(super) fn refuse_link(&mut self, stream: u32, status: Status, cx: &mut Cx<'_>) {
        self.end_link(stream, status.into(), cx);
    }

    /// Our side has a player of the stream that is pushed.
    pub(super) fn accept_push(&mut self, stream: u32, cx: &mut Cx<'_>) {
        self.core.set(stream, SlotState::Playing, cx);
        self.settle_link(stream, cx);
    }

    fn settle_link(&mut self, stream: u32, cx: &mut Cx<'_>) {
        if let Some(link) = self.links.on(stream) {
            let args = vec![stream.into(), link.status.clone()];
            result(link.ticket.take(), CallOutcome::Result, args, cx);
        }
    }

    /// The server has said something about a message stream.
    pub(super) fn on_link_status(&mut self, stream: u32, info: Value, cx: &mut Cx<'_>) {
        // Some servers say it of the connection.
        let stream = if stream == 0 { self.waiting() } else { Some(stream) };
        let Some(stream) = stream.filter(|stream| self.core.slots.contains_key(*stream)) else {
            return self.core.skipped(Skipped::BadCommand, cx);
        };
        let Some(link) = self.links.on(stream) else { return };
        let text = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or_default();
        let code = text("code");
        let failed = text("level") == "error" || is_end(code);
        let (number, pushes) = (link.number, matches!(link.what, What::Push(_)));
        if !pushes || code == "NetStream.Publish.Start" {
            link.waits = None;
        }
        if failed {
            return self.fail_link(number, info, cx);
        }
        if pushes
            && code == "NetStream.Publish.Start"
            && self.core.is(slot_event(stream), &SlotState::Pushing)
        {
            link.status = info;
            self.begin_push(stream, cx);
        } else if code == "NetStream.Play.Start" {
            link.status = info;
        }
    }

    /// The message stream of the link that has waited longest for the server's word.
    fn waiting(&self) -> Option<u32> {
        self.links.list.iter().find(|link| link.waits.is_some() && link.stream.is_some())?.stream
    }

    fn begin_push(&mut self, stream: u32, cx: &mut Cx<'_>) {
        let Some(Link { what: What::Push(push), .. }) = self.links.on(stream) else { return };
        // A server of this family knows what it has had.
        let join = if push.again && !self.core.kindred { Join::Next } else { Join::Newest };
        let name = push.local.clone();
        let pending = Pending::Play { slot: stream, name: name.clone(), reset: false };
        let request = self.core.request(pending);
        self.core.authorised = true;
        self.core.set(stream, SlotState::AskedPlay, cx);
        cx.emit(Event::Play(PlayRequest {
            request,
            slot: slot_event(stream),
            name,
            start_ms: LIVE_ONLY,
            duration_ms: -1,
            format: RtmpEncoder::publishing(stream, self.core.writer.chunk_size()),
            encoder: RtmpEncoder::make,
            join,
        }));
    }

    /// A server of this family says where the stream has been that we play.
    pub(super) fn on_via(&mut self, stream: u32, said: Option<&Value>, cx: &mut Cx<'_>) {
        let via = self.core.via(said);
        let publishes =
            self.core.slots.get(stream).is_some_and(|slot| slot.is_asked() || slot.is_publishing());
        let Some(link) = self.links.on(stream) else { return };
        if publishes && link.via != via {
            // It may be a circle now: whoever wants it still asks anew, and it is looked at again.
            let text = "The stream comes another way now.";
            return self.end_link(stream, Status::new("NetStream.Play.Stop", text).into(), cx);
        }
        link.via = via;
    }

    /// The server says that a message stream has come to its end.
    pub(super) fn on_stream_end(&mut self, stream: u32, cx: &mut Cx<'_>) {
        let ended = Status::new("NetStream.Play.Stop", "The far end has ended the stream.");
        if self.links.on(stream).is_some_and(|link| matches!(link.what, What::Pull(_))) {
            self.end_link(stream, ended.into(), cx);
        }
    }

    /// Gives up what has not been settled; gives its message stream.
    pub(super) fn withdraw(&mut self, ticket: u64, cx: &mut Cx<'_>) -> Option<u32> {
        let link = self.links.list.iter().find(|link| link.ticket == Some(ticket))?;
        let (number, stream) = (link.number, link.stream);
        self.fail_link(number, Status::new("NetStream.Failed", "It is not wanted any more.").into(), cx);
        stream
    }

    /// The message streams that are in use.
    pub(super) fn links_with_streams(&self) -> Vec<u32> {
        self.links.list.iter().filter_map(|link| link.stream).collect()
    }

    /// Ends what happens on a message stream, whoever wants it; `info` says why.
    pub(super) fn end_link(&mut self, stream: u32, info: Value, cx: &mut Cx<'_>) {
        let Some(link) = self.links.take(stream) else { return };
        self.core.withdraw(stream);
        let state = self.core.slots.get(stream).map(|slot| slot.state.clone()).unwrap_or_default();
        let slot = slot_event(stream);
        match state {
            SlotState::AskedPublish { .. } | SlotState::Publishing { .. } => {
                cx.emit(Event::Unpublish { slot })
            }
            SlotState::AskedPlay | SlotState::Playing => cx.emit(Event::Unplay { slot }),
            SlotState::Idle | SlotState::Pulling | SlotState::Pushing => {}
        }
        if let What::Push(push) = &link.what {
            self.core.step(Step::Courtesy, "FCUnpublish", Value::Null, vec![push.name.as_str().into()], cx);
        }
        self.core.slots.remove(stream);
        self.delete_stream(stream, cx);
        result(link.ticket, CallOutcome::Error, vec![stream.into(), info], cx);
    }

    /// Gives up a link of the server's fault.
    pub(super) fn fail_link(&mut self, number: u64, info: Value, cx: &mut Cx<'_>) {
        let Some(at) = self.links.list.iter().position(|link| link.number == number) else { return };
        match self.links.list.get(at).and_then(|link| link.stream) {
            Some(stream) => self.end_link(stream, info, cx),
            None => {
                let link = self.links.list.remove(at);
                result(link.ticket, CallOutcome::Error, vec![Value::Null, info], cx);
            }
        }
    }

    /// Gives up the links whose answer has not come in time.
    pub(super) fn give_up_links(&mut self, cx: &mut Cx<'_>) {
        let (now, patience) = (cx.now(), self.core.settings.limits.call_timeout.get());
        let late =
            |link: &&Link| link.waits.is_some_and(|since| now.saturating_duration_since(since) >= patience);
        let late: Vec<u64> = self.links.list.iter().filter(late).map(|link| link.number).collect();
        for number in late {
            let text = format!("no answer within callTimeout = {} s", patience.as_secs_f64());
            self.fail_link(number, Status::error("NetStream.Failed", text).into(), cx);
        }
    }

    fn delete_stream(&mut self, stream: u32, cx: &mut Cx<'_>) {
        let delete = Command::call("deleteStream", 0.0, Value::Null, vec![stream.into()]);
        self.core.send_command(0, &delete, cx);
    }
}

/// As in [`PlayRequest::start_ms`].
const LIVE_ELSE_RECORDED: i64 = -2000;
const LIVE_ONLY: i64 = -1000;

/// Whether a status says that a stream is over, whatever its level.
fn is_end(code: &str) -> bool {
    matches!(
        code,
        "NetStream.Play.Stop"
            | "NetStream.Play.Complete"
            | "NetStream.Play.UnpublishNotify"
            | "NetStream.Play.StreamNotFound"
            | "NetStream.Play.Failed"
            | "NetStream.Publish.BadName"
            | "NetStream.Publish.Denied"
            | "NetStream.Unpublish.Success"
            | "NetStream.Failed"
    )
}
