//! Commands of the peer.

use std::collections::VecDeque;

use crtmp_media::{
    CallOutcome, ConnectInfo, Cx, Declared, Error, Event, Join, PlayRequest, PublishKind, Skipped,
    StreamName, Value, split_query,
};

use super::{
    AMF3, CALL_FAILED, INSTANCE, PROTOCOL, Pending, Phase, ServerSession, Slot, SlotState, Step, VIA,
    slot_event, wants_answer,
};
use crate::{
    chunk::Message,
    encoder::RtmpEncoder,
    message::{Command, Status, kind},
};

const CONNECT_FIRST: &str = "connect first";

/// "Live, else recorded", where a play says nothing of where to start.
const START_ANYWHERE: i64 = -2000;

impl ServerSession {
    pub(super) fn on_peer_command(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        // The stream's own end must not wait for a verdict on its beginning.
        let ends = |name: &str| matches!(name, "closeStream" | "deleteStream" | "FCUnpublish");
        let command = self.core.parse_command(&message)?;
        // The verdict that its message stream waits for may depend on what the peer answers. What the server has asked
        // for counts against no limit.
        let command = match command {
            Some(command) if self.core.calls.wait_for(&command) => {
                self.on_answer(command, cx);
                return Ok(());
            }
            Some(command) if self.is_of_test(&command, cx) => return Ok(()),
            command => command,
        };
        if !command.as_ref().is_some_and(|command| ends(&command.name)) && self.core.hold(&message, cx) {
            return Ok(());
        }
        self.core.count_command()?;
        let Some(command) = command else {
            self.core.skipped(Skipped::BadCommand, cx);
            return Ok(());
        };
        self.core.clock.commanded(cx.now());
        match self.core.phase {
            Phase::Connected => {
                self.on_command(command, message.stream, cx);
                Ok(())
            }
            _ if command.name == "connect" => {
                self.on_connect(command, cx);
                Ok(())
            }
            _ => {
                self.on_early_command(&command, message.stream, cx);
                Ok(())
            }
        }
    }

    /// Anything but `connect` on a connection that is not connected.
    fn on_early_command(&mut self, command: &Command, stream: u32, cx: &mut Cx<'_>) {
        match command.name.as_str() {
            // Flash wants no answer to these but a status.
            "publish" => {
                self.core.status(stream, Status::error("NetStream.Publish.BadName", CONNECT_FIRST), cx);
            }
            "play" => self.core.status(stream, Status::error("NetStream.Play.Failed", CONNECT_FIRST), cx),
            _ => self.refuse_call(command, CONNECT_FIRST, cx),
        }
    }

    fn on_connect(&mut self, command: Command, cx: &mut Cx<'_>) {
        let Command { transaction, object, args, .. } = command;
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let app = text("app");
        if let Err(reason) = check_app(&app, &self.core.settings.limits) {
            let status = Status::error("NetConnection.Connect.InvalidApp", format!("connect: {reason}"));
            self.core.send_command(0, &Command::error(transaction, status), cx);
            self.core.phase = Phase::Closed;
            return cx.close(Error::peer(PROTOCOL, format!("connect: {reason}")));
        }
        self.core.kindred = !text(INSTANCE).is_empty() && !self.core.settings.instance.is_empty();
        // Whatever else a peer asks for, it gets AMF0.
        self.core.amf3 = object.get("objectEncoding").and_then(Value::as_f64) == Some(AMF3);
        let agent = text("flashVer");
        self.core.reader.set_flash_like(is_flash(&agent));
        let members = object.members().unwrap_or_default();
        let declared = Declared::read(members, &self.core.settings.limits);
        self.core.can_reconnect = declared.can_reconnect();
        let enhanced = ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"]
            .iter()
            .any(|key| object.get(key).is_some());
        let info = ConnectInfo {
            app,
            tc_url: text("tcUrl"),
            agent,
            swf_url: text("swfUrl"),
            page_url: text("pageUrl"),
            declared,
            members: members.to_vec(),
            args,
        };
        let request = self.core.request(Pending::Connect { transaction, enhanced });
        self.core.phase = Phase::Connecting;
        cx.emit(Event::Connect { request, info: Box::new(info) });
        cx.pause();
    }

    fn on_command(&mut self, command: Command, stream: u32, cx: &mut Cx<'_>) {
        let transaction = command.transaction;
        let null = || vec![Value::Null];
        match command.name.as_str() {
            "connect" => {
                let status =
                    Status::error("NetConnection.Connect.Rejected", "The connection is connected already.");
                self.core.send_command(0, &Command::error(transaction, status), cx);
            }
            "createStream" => self.create_stream(&command, cx),
            "deleteStream" => self.delete_stream(&command, cx),
            "closeStream" => self.end_slot(stream, cx),
            "publish" => self.publish(&command, stream, cx),
            "play" => self.play(&command, stream, cx),
            "play2" => {
                let text =
                    "Switching streams with play2 is not supported: close the stream and play another.";
                self.slot_status(stream, Status::error("NetStream.Play.Failed", text), cx);
            }
            "seek" => {
                let text = "A live stream cannot be sought in.";
                self.slot_status(stream, Status::error("NetStream.Seek.Failed", text), cx);
            }
            "pause" | "pauseRaw" => self.pause(&command, stream, cx),
            "receiveAudio" => self.receive(&command, stream, true, cx),
            "receiveVideo" => self.receive(&command, stream, false, cx),
            // Encoders of the Flash Media family say these before and after a publish, for themselves only.
            "releaseStream" => {
                self.core.send_command(0, &Command::result(transaction, Value::Null, null()), cx)
            }
            "FCPublish" => {
                self.answer_fc(&command, "onFCPublish", "NetStream.Publish.Start", cx);
            }
            "FCUnpublish" => {
                self.answer_fc(&command, "onFCUnpublish", "NetStream.Unpublish.Success", cx);
                self.end_publish_named(name_argument(&command), cx);
            }
            "FCSubscribe" => {
                self.answer_fc(&command, "onFCSubscribe", "NetStream.Play.Start", cx);
            }
            "checkBandwidth" if self.check_bandwidth => {
                let pending = Pending::Message { slot: stream, transaction };
                let request = wants_answer(transaction).then(|| self.core.request(pending));
                cx.emit(Event::CheckBandwidth { request });
            }
            // Clients say the first one after each connect, and mean nothing by it.
            "_checkbw" | "checkBandwidth" | "FCUnsubscribe" => {
                self.core.send_command(0, &Command::result(transaction, Value::Null, null()), cx);
            }
            // A live stream has no length.
            "getStreamLength" => {
                self.core.send_command(0, &Command::result(transaction, Value::Null, vec![0.0.into()]), cx);
            }
            name if is_answer(name) => self.core.skipped(Skipped::BadCommand, cx),
            _ => self.core.message(command, stream, cx),
        }
    }

    /// Takes the peer's answer to an open call.
    fn on_answer(&mut self, command: Command, cx: &mut Cx<'_>) {
        let ticket = match self.core.calls.answered(command.transaction) {
            Some(Step::Ticket(ticket)) => ticket,
            Some(Step::Bandwidth) => return self.on_bandwidth_answer(cx),
            _ => return,
        };
        self.core.clock.commanded(cx.now());
        let Command { name, object, mut args, .. } = command;
        let outcome = if name == "_result" { CallOutcome::Result } else { CallOutcome::Error };
        args.insert(0, object);
        cx.emit(Event::CallResult { ticket, outcome, args });
    }

    fn create_stream(&mut self, command: &Command, cx: &mut Cx<'_>) {
        let limit = self.core.settings.limits.message_streams;
        if self.core.slots.len() >= limit {
            let text = format!("a connection may have messageStreams = {limit} message streams");
            return self.refuse_call(command, &text, cx);
        }
        let Some(id) = (1..).find(|id| !self.core.slots.contains_key(*id)) else { return };
        self.core.slots.insert(id, Slot::default());
        self.core.send_command(0, &Command::result(command.transaction, Value::Null, vec![id.into()]), cx);
    }

    fn delete_stream(&mut self, command: &Command, cx: &mut Cx<'_>) {
        match command.args.first().and_then(Value::as_u32) {
            Some(id) if self.core.slots.contains_key(id) => {
                self.end_slot(id, cx);
                self.core.slots.remove(id);
            }
            _ => self.core.skipped(Skipped::BadCommand, cx),
        }
    }

    /// Ends whatever happens on a message stream.
    fn end_slot(&mut self, stream: u32, cx: &mut Cx<'_>) {
        let Some(slot) = self.core.slots.get_mut(stream) else {
            return self.core.skipped(Skipped::BadCommand, cx);
        };
        let held = std::mem::take(&mut slot.held);
        slot.held_bytes = 0;
        let state = std::mem::take(&mut slot.state);
        self.refuse_held(held, cx);
        self.core.clock.commanded(cx.now());
        self.core.withdraw(stream);
        match state {
            SlotState::Idle | SlotState::Pulling | SlotState::Pushing => {}
            SlotState::Publishing { name } => {
                cx.emit(Event::Unpublish { slot: slot_event(stream) });
                let text = format!("The stream {name:?} is not published any more.");
                self.core.status(stream, Status::new("NetStream.Unpublish.Success", text), cx);
            }
            SlotState::AskedPublish { .. } => cx.emit(Event::Unpublish { slot: slot_event(stream) }),
            SlotState::AskedPlay | SlotState::Playing => cx.emit(Event::Unplay { slot: slot_event(stream) }),
        }
    }

    /// Deals with what waited for a verdict that nobody wants any more.
    fn refuse_held(&mut self, held: VecDeque<Message>, cx: &mut Cx<'_>) {
        for message in held {
            if !matches!(message.kind, kind::COMMAND | kind::COMMAND_AMF3) {
                self.core.skipped(Skipped::StrayMedia, cx);
            } else if let Ok(command) =
                Command::parse(message.kind, &message.body, &self.core.settings.limits)
            {
                self.refuse_call(&command, "the message stream was closed meanwhile", cx);
            }
        }
    }

    fn publish(&mut self, command: &Command, stream: u32, cx: &mut Cx<'_>) {
        let bad = |text: &str| Status::error("NetStream.Publish.BadName", text);
        let Some(slot) = self.core.slots.get(stream) else {
            return self.core.status(stream, bad("There is no such message stream: createStream first."), cx);
        };
        let name = match command.args.first() {
            Some(Value::String(name)) => name.clone(),
            // The way in which Flash ends a publish.
            Some(Value::Boolean(false) | Value::Null) if slot.is_publishing() => {
                return self.end_slot(stream, cx);
            }
            _ => {
                return self.core.status(stream, bad("The name of the stream is missing or is no text."), cx);
            }
        };
        if slot.state != SlotState::Idle {
            return self.core.status(stream, bad("The message stream is in use."), cx);
        }
        let kind = match command.args.get(1).and_then(Value::as_str).unwrap_or("live") {
            kind if kind.eq_ignore_ascii_case("record") => PublishKind::Record,
            kind if kind.eq_ignore_ascii_case("append") => PublishKind::Append,
            _ => PublishKind::Live,
        };
        let via = self.core.via(command.args.get(2).and_then(|said| said.get(VIA)));
        let request = self.core.request(Pending::Publish { slot: stream });
        self.core.set(stream, SlotState::AskedPublish { name: name.clone() }, cx);
        cx.emit(Event::Publish { request, slot: slot_event(stream), name, kind, via });
    }

    fn play(&mut self, command: &Command, stream: u32, cx: &mut Cx<'_>) {
        let bad = |text: &str| Status::error("NetStream.Play.Failed", text);
        let Some(slot) = self.core.slots.get(stream) else {
            return self.core.status(stream, bad("There is no such message stream: createStream first."), cx);
        };
        let name = match command.args.first() {
            Some(Value::String(name)) => name.clone(),
            Some(Value::Boolean(false) | Value::Null) if slot.state == SlotState::Playing => {
                return self.end_slot(stream, cx);
            }
            _ => {
                return self.core.status(stream, bad("The name of the stream is missing or is no text."), cx);
            }
        };
        match slot.state {
            SlotState::Idle | SlotState::Pulling | SlotState::Pushing => {}
            // A second play on the same message stream switches to another stream.
            SlotState::Playing => {
                cx.emit(Event::Unplay { slot: slot_event(stream) });
            }
            _ => return self.core.status(stream, bad("The message stream is in use."), cx),
        }
        let reset = match command.args.get(3) {
            Some(Value::Boolean(reset)) => *reset,
            Some(Value::Number(reset)) => *reset != 0.0,
            _ => true,
        };
        let ms = |index: usize, missing: i64| {
            command.args.get(index).and_then(Value::as_f64).map_or(missing, milliseconds)
        };
        let (start_ms, duration_ms) = (ms(1, START_ANYWHERE), ms(2, -1));
        let request = self.core.request(Pending::Play { slot: stream, name: name.clone(), reset });
        self.core.set(stream, SlotState::AskedPlay, cx);
        cx.emit(Event::Play(PlayRequest {
            request,
            slot: slot_event(stream),
            name,
            start_ms,
            duration_ms,
            format: RtmpEncoder::format(stream, self.core.settings.chunk_size),
            encoder: RtmpEncoder::make,
            // A server passes it on, and knows what it has had.
            join: if self.core.kindred { Join::Newest } else { Join::Policy },
        }));
    }

    fn pause(&mut self, command: &Command, stream: u32, cx: &mut Cx<'_>) {
        let Some(paused) = command.args.first().and_then(Value::as_bool) else {
            return self.core.skipped(Skipped::BadCommand, cx);
        };
        if !self.plays_on(stream) {
            let status = Status::error("NetStream.Failed", "Nothing is played that could be paused.");
            return self.slot_status(stream, status, cx);
        }
        cx.emit(Event::Pause { slot: slot_event(stream), paused });
        let status = if paused {
            Status::new("NetStream.Pause.Notify", "The stream is paused.")
        } else {
            Status::new("NetStream.Unpause.Notify", "The stream goes on live.")
        };
        self.core.status(stream, status, cx);
    }

    fn receive(&mut self, command: &Command, stream: u32, audio: bool, cx: &mut Cx<'_>) {
        let wanted = command.args.first().and_then(Value::as_bool);
        if wanted.is_none() || !self.plays_on(stream) {
            return self.core.skipped(Skipped::BadCommand, cx);
        }
        let (audio, video) = if audio { (wanted, None) } else { (None, wanted) };
        cx.emit(Event::Receive { slot: slot_event(stream), audio, video });
    }

    fn answer_fc(&mut self, command: &Command, event: &str, code: &'static str, cx: &mut Cx<'_>) {
        self.core.send_command(0, &Command::result(command.transaction, Value::Null, vec![Value::Null]), cx);
        let status = Status::new(code, name_argument(command).unwrap_or_default());
        self.core.send_command(0, &Command::call(event, 0.0, Value::Null, vec![status.into()]), cx);
    }

    fn end_publish_named(&mut self, wanted: Option<&str>, cx: &mut Cx<'_>) {
        let publishes = |slot: &Slot| match &slot.state {
            SlotState::Publishing { name } | SlotState::AskedPublish { name } => {
                Some(name.as_str()) == wanted
            }
            _ => false,
        };
        let published = self.core.slots.iter().find(|(_, slot)| publishes(slot)).map(|(id, _)| id);
        if let Some(id) = published {
            self.end_slot(id, cx);
        }
    }

    /// Answers a call that cannot be served; what wants no answer is only counted.
    fn refuse_call(&mut self, command: &Command, text: &str, cx: &mut Cx<'_>) {
        if is_answer(&command.name) || !wants_answer(command.transaction) {
            return self.core.skipped(Skipped::BadCommand, cx);
        }
        let name: String = command.name.chars().take(64).collect();
        let status = Status::error(CALL_FAILED, format!("{name}: {text}"));
        self.core.send_command(0, &Command::error(command.transaction, status), cx);
    }

    fn slot_status(&mut self, stream: u32, status: Status, cx: &mut Cx<'_>) {
        if self.core.slots.contains_key(stream) {
            self.core.status(stream, status, cx);
        } else {
            self.core.skipped(Skipped::BadCommand, cx);
        }
    }

    fn plays_on(&self, stream: u32) -> bool {
        self.core.slots.get(stream).is_some_and(|slot| slot.state == SlotState::Playing)
    }
}

fn is_answer(name: &str) -> bool {
    matches!(name, "_result" | "_error" | "onStatus")
}

fn name_argument(command: &Command) -> Option<&str> {
    command.args.first().and_then(Value::as_str)
}

/// Whether a peer is a Flash Player or an FMLE; others borrow FMLE's name and say "compatible".
fn is_flash(agent: &str) -> bool {
    let family = ["FMLE/", "WIN ", "MAC ", "LNX "];
    family.iter().any(|prefix| agent.starts_with(prefix)) && !agent.contains("compatible")
}

/// Milliseconds that a peer sent as a number of any size; NaN counts as 0.
fn milliseconds(number: f64) -> i64 {
    // Saturates; what is further away than 2^63 ms is equally absurd.
    number as i64
}

/// Checks the application that a peer names: it becomes part of names.
fn check_app(app: &str, limits: &crtmp_media::Limits) -> Result<(), String> {
    let (path, query) = split_query(app);
    if query.len() > limits.stream_name {
        return Err(format!(
            "the query of the application is longer than streamName = {}",
            limits.stream_name
        ));
    }
    StreamName::new("", path, limits)
        .map(drop)
        .map_err(|error| error.to_string().replace("the stream name", "the application name"))
}
