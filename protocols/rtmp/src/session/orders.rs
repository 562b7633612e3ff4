//! What the server orders: answers to requests, news of streams, the end.

use crtmp_media::{Answer, Command as Order, Cx, Error, Slice, StreamSlot, Value};

use super::{Pending, Phase, ServerSession, Slot, SlotState};
use crate::{
    ack::OUR_WINDOW,
    chunk::Message,
    message::{BandwidthLimit, Command, Control, Data, Status, UserControl, kind},
    time::Unwrapper,
};

/// What the server calls itself to peers: they compare it with version numbers of Flash Media Server.
const FMS_VERSION: &str = "FMS/3,0,1,123";

/// What ends a play for librtmp and its kin.
const PLAY_STOP: &str = "NetStream.Play.Stop";

/// What the server can do, in the bits of Flash Media Server.
const CAPABILITIES: f64 = 31.0;

impl ServerSession {
    /// Takes an order of the server.
    ///
    /// # Errors
    ///
    /// As for [`Self::on_data`]: an answer may set free what the peer sent after its request.
    pub fn on_order(&mut self, order: Order, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.phase == Phase::Closed {
            return Ok(());
        }
        match order {
            Order::AnswerConnect { request, answer } => {
                if let Some(&Pending::Connect { transaction, enhanced }) = self.requests.get(&request) {
                    self.requests.remove(&request);
                    return self.answer_connect(transaction, enhanced, answer, cx);
                }
            }
            Order::AnswerPublish { request, answer } => {
                if let Some(&Pending::Publish { slot }) = self.requests.get(&request) {
                    self.requests.remove(&request);
                    self.answer_publish(slot, answer, cx);
                    return self.release(slot, cx);
                }
            }
            Order::AnswerPlay { request, answer } => {
                if let Some(Pending::Play { slot, name, reset }) = self.requests.get(&request).cloned() {
                    self.requests.remove(&request);
                    self.answer_play(slot, &name, reset, answer, cx);
                    return self.release(slot, cx);
                }
            }
            Order::AnswerMessage { request, result } => {
                if let Some(&Pending::Message { slot, transaction }) = self.requests.get(&request) {
                    self.requests.remove(&request);
                    self.answer_message(slot, transaction, result, cx);
                }
            }
            Order::SourceStarted { slot } => {
                if self.is(slot, &SlotState::Playing) {
                    self.send_control(Control::User(UserControl::StreamBegin(slot.0)), cx);
                    self.status(
                        slot.0,
                        Status::new("NetStream.Play.PublishNotify", "The stream is published."),
                        cx,
                    );
                }
            }
            Order::AnswerValues { request, ok, args } => {
                if let Some(&Pending::Message { slot, transaction }) = self.requests.get(&request) {
                    self.requests.remove(&request);
                    self.answer_values(slot, transaction, ok, args, cx);
                }
            }
            Order::Call { ticket, command, args } => self.call(ticket, &command, args, cx),
            Order::Tune { ping_interval, command_bytes } => {
                self.clock.tune(ping_interval);
                self.command_bytes = command_bytes;
            }
            Order::StopPlay { slot, code, text } => {
                if self.is(slot, &SlotState::Playing) {
                    self.stop_play(slot.0, code, text, cx);
                } else if self.is(slot, &SlotState::AskedPlay) {
                    self.withdraw(slot.0);
                    self.stop_play(slot.0, code, text, cx);
                    return self.release(slot.0, cx);
                }
            }
            Order::SourceEnded { slot } => {
                if self.is(slot, &SlotState::Playing) {
                    let unpublish =
                        Status::new("NetStream.Play.UnpublishNotify", "The stream is unpublished.");
                    self.status(slot.0, unpublish, cx);
                    self.status(slot.0, Status::new(PLAY_STOP, "The stream has ended."), cx);
                    self.send_control(Control::User(UserControl::StreamEof(slot.0)), cx);
                    self.set(slot.0, SlotState::Idle, cx);
                }
            }
            Order::SourceMissing { slot, name } => {
                if self.is(slot, &SlotState::Playing) {
                    let text = format!("Nobody has published the stream {name:?}.");
                    self.status(slot.0, Status::error("NetStream.Play.StreamNotFound", text), cx);
                    self.set(slot.0, SlotState::Idle, cx);
                }
            }
            Order::StopPublish { slot, code, text } => {
                if self.slots.get(slot.0).is_some_and(Slot::is_publishing) {
                    self.status(slot.0, Status::error(code, text), cx);
                    self.set(slot.0, SlotState::Idle, cx);
                }
            }
            Order::Close { code, text } => {
                self.say_goodbye(code, text, cx);
                self.phase = Phase::Closed;
            }
        }
        Ok(())
    }

    fn say_goodbye(&mut self, code: String, text: String, cx: &mut Cx<'_>) {
        let connect = self.requests.values().find_map(|pending| match pending {
            Pending::Connect { transaction, .. } => Some(*transaction),
            _ => None,
        });
        if let Some(transaction) = connect {
            self.send_command(0, &Command::error(transaction, Status::error(code, text)), cx);
        } else if self.phase == Phase::Connected {
            self.status(0, Status::new(code, text), cx);
        }
    }

    fn answer_connect(
        &mut self,
        transaction: f64,
        enhanced: bool,
        answer: Answer,
        cx: &mut Cx<'_>,
    ) -> Result<(), Error> {
        let status = match answer {
            Answer::Accept => {
                self.phase = Phase::Connected;
                self.clock.connected(cx.now());
                self.welcome(transaction, enhanced, cx);
                return self.go_on(cx);
            }
            Answer::Reject { code, text } => Status::error(code, text),
            Answer::Redirect { url } => {
                let redirect =
                    vec![("code".to_owned(), 302.0.into()), ("redirect".to_owned(), url.as_str().into())];
                Status::error("NetConnection.Connect.Rejected", format!("Go to {url}."))
                    .with("ex", Value::Object(redirect))
            }
        };
        let reason = format!("the connect was refused: {} {}", status.code, status.description);
        self.send_command(0, &Command::error(transaction, status), cx);
        self.phase = Phase::Closed;
        cx.resume();
        cx.close(Error::peer(super::PROTOCOL, reason));
        Ok(())
    }

    /// The messages that follow a connect, in the order that clients know.
    fn welcome(&mut self, transaction: f64, enhanced: bool, cx: &mut Cx<'_>) {
        self.send_control(Control::WindowAckSize(OUR_WINDOW), cx);
        let limit = BandwidthLimit::Dynamic;
        self.send_control(Control::PeerBandwidth { window: OUR_WINDOW, limit }, cx);
        self.send_control(Control::User(UserControl::StreamBegin(0)), cx);
        let (writer, chunk_size) = (&mut self.writer, self.settings.chunk_size);
        cx.out().write_with(|out| writer.set_chunk_size(out, chunk_size));
        let server = Value::Object(vec![
            ("fmsVer".to_owned(), FMS_VERSION.into()),
            ("capabilities".to_owned(), CAPABILITIES.into()),
        ]);
        // AMF3 is not spoken: a peer that offered it falls back to AMF0.
        let mut status =
            Status::new("NetConnection.Connect.Success", "Connection succeeded.").with("objectEncoding", 0.0);
        if enhanced {
            // Whatever the codec, it is forwarded (Enhanced RTMP, "connect" parameters): 4.
            let forward = || Value::Object(vec![("*".to_owned(), 4.0.into())]);
            status = status
                .with("fourCcList", Value::StrictArray(vec!["*".into()]))
                .with("videoFourCcInfoMap", forward())
                .with("audioFourCcInfoMap", forward());
        }
        self.send_command(0, &Command::result(transaction, server, vec![status.into()]), cx);
        self.send_command(0, &Command::call("onBWDone", 0.0, Value::Null, Vec::new()), cx);
    }

    fn answer_publish(&mut self, slot: u32, answer: Answer, cx: &mut Cx<'_>) {
        let Some(SlotState::AskedPublish { name }) = self.slots.get(slot).map(|slot| slot.state.clone())
        else {
            return;
        };
        match refusal(answer, "NetStream.Publish.BadName") {
            None => {
                self.authorised = true;
                self.send_control(Control::User(UserControl::StreamBegin(slot)), cx);
                let text = format!("The stream {name:?} is published.");
                self.status(
                    slot,
                    Status::new("NetStream.Publish.Start", text).with("details", name.as_str()),
                    cx,
                );
                self.set(slot, SlotState::Publishing { name }, cx);
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.time = Unwrapper::new();
                }
            }
            Some(status) => {
                self.status(slot, status, cx);
                self.set(slot, SlotState::Idle, cx);
            }
        }
    }

    fn answer_play(&mut self, slot: u32, name: &str, reset: bool, answer: Answer, cx: &mut Cx<'_>) {
        if !self.is(StreamSlot(slot), &SlotState::AskedPlay) {
            return;
        }
        if let Some(status) = refusal(answer, "NetStream.Play.Failed") {
            self.status(slot, status, cx);
            return self.set(slot, SlotState::Idle, cx);
        }
        self.authorised = true;
        self.send_control(Control::User(UserControl::StreamBegin(slot)), cx);
        if reset {
            let text = format!("The stream {name:?} is reset.");
            self.status(slot, Status::new("NetStream.Play.Reset", text).with("details", name), cx);
        }
        let text = format!("The stream {name:?} is played.");
        self.status(slot, Status::new("NetStream.Play.Start", text).with("details", name), cx);
        let access = Data { name: "|RtmpSampleAccess".to_owned(), args: vec![true.into(), true.into()] };
        self.send_data(slot, &access, cx);
        self.set(slot, SlotState::Playing, cx);
    }

    /// Tells the peer that its play is over, so that it leaves: some players end at an error, whatever its code, some
    /// at [`PLAY_STOP`] alone, some at the end of the message stream.
    fn stop_play(&mut self, slot: u32, code: String, text: String, cx: &mut Cx<'_>) {
        if code == PLAY_STOP {
            self.status(slot, Status::new(code, text), cx);
        } else {
            self.status(slot, Status::error(code, text), cx);
            self.status(slot, Status::new(PLAY_STOP, "The server has ended the play."), cx);
        }
        self.send_control(Control::User(UserControl::StreamEof(slot)), cx);
        self.set(slot, SlotState::Idle, cx);
    }

    fn answer_message(
        &mut self,
        slot: u32,
        transaction: f64,
        result: Result<Value, (String, String)>,
        cx: &mut Cx<'_>,
    ) {
        self.clock.commanded(cx.now());
        // The message stream that the call came on may be gone meanwhile.
        let stream = if self.slots.contains_key(slot) { slot } else { 0 };
        let command = match result {
            Ok(value) => {
                self.commands = self.commands.saturating_sub(1);
                Command::result(transaction, Value::Null, vec![value])
            }
            Err((code, text)) => Command::error(transaction, Status::error(code, text)),
        };
        self.send_command(stream, &command, cx);
    }

    fn answer_values(
        &mut self,
        slot: u32,
        transaction: f64,
        ok: bool,
        mut args: Vec<Value>,
        cx: &mut Cx<'_>,
    ) {
        self.clock.commanded(cx.now());
        let stream = if self.slots.contains_key(slot) { slot } else { 0 };
        if ok {
            self.commands = self.commands.saturating_sub(1);
        }
        let object = if args.is_empty() { Value::Null } else { args.remove(0) };
        let name = if ok { "_result" } else { "_error" };
        self.send_command(stream, &Command::call(name, transaction, object, args), cx);
    }

    pub(super) fn status(&mut self, stream: u32, status: Status, cx: &mut Cx<'_>) {
        self.send_command(stream, &Command::on_status(status), cx);
    }

    fn send_data(&mut self, stream: u32, data: &Data, cx: &mut Cx<'_>) {
        let mut body = Vec::new();
        data.encode(&mut body);
        let body = Slice::from(body);
        self.send(Message { csid: super::STATUS_CSID, kind: kind::DATA, stream, timestamp: 0, body }, cx);
    }

    fn is(&self, slot: StreamSlot, state: &SlotState) -> bool {
        self.slots.get(slot.0).is_some_and(|slot| slot.state == *state)
    }

    /// Changes the state of a message stream; what counts as idle begins now.
    pub(super) fn set(&mut self, slot: u32, state: SlotState, cx: &mut Cx<'_>) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.state = state;
            self.clock.commanded(cx.now());
        }
    }
}

fn refusal(answer: Answer, usual: &'static str) -> Option<Status> {
    match answer {
        Answer::Accept => None,
        Answer::Reject { code, text } => Some(Status::error(code, text)),
        Answer::Redirect { url } => {
            let text = format!("Go to {url}.");
            Some(Status::error(usual, text).with("redirect", url.as_str()))
        }
    }
}
