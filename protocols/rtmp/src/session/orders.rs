//! What the server orders: answers to requests, news of streams, the end.

use crtmp_media::{Answer, CAPS_EX, CallOutcome, Command as Order, Cx, Error, Event, StreamSlot, Value};

use super::{AMF0, AMF3, INSTANCE, ON_VIA, Pending, Phase, RECONNECT, ServerSession, Side, Slot, SlotState};
use crate::{
    ack::OUR_WINDOW,
    message::{BandwidthLimit, Command, Control, Data, Status, UserControl},
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
        if self.core.phase == Phase::Closed {
            return Ok(());
        }
        match order {
            Order::AnswerConnect { request, answer } => {
                if let Some(&Pending::Connect { transaction, enhanced }) = self.core.requests.get(&request) {
                    self.core.requests.remove(&request);
                    return self.answer_connect(transaction, enhanced, answer, cx);
                }
            }
            Order::AnswerPublish { request, answer } => {
                if let Some(&Pending::Publish { slot }) = self.core.requests.get(&request) {
                    self.core.requests.remove(&request);
                    self.answer_publish(slot, answer, cx);
                    return self.release(slot, cx);
                }
            }
            Order::AnswerPlay { request, answer } => {
                if let Some(Pending::Play { slot, name, reset }) = self.core.requests.get(&request).cloned() {
                    self.core.requests.remove(&request);
                    self.answer_play(slot, &name, reset, answer, cx);
                    return self.release(slot, cx);
                }
            }
            Order::AnswerMessage { request, result } => {
                if let Some(&Pending::Message { slot, transaction }) = self.core.requests.get(&request) {
                    self.core.requests.remove(&request);
                    self.core.answer_message(slot, transaction, result, cx);
                }
            }
            Order::SourceStarted { slot } => {
                if self.core.is(slot, &SlotState::Playing) {
                    self.core.send_control(Control::User(UserControl::StreamBegin(slot.0)), cx);
                    self.core.status(
                        slot.0,
                        Status::new("NetStream.Play.PublishNotify", "The stream is published."),
                        cx,
                    );
                }
            }
            Order::AnswerValues { request, ok, args } => {
                if let Some(&Pending::Message { slot, transaction }) = self.core.requests.get(&request) {
                    self.core.requests.remove(&request);
                    self.core.answer_values(slot, transaction, ok, args, cx);
                }
            }
            Order::Call { ticket, command, args } => self.core.call(ticket, &command, args, cx),
            // It is for the peer to say what it publishes and plays.
            Order::Pull(_) | Order::Push(_) => {
                if let Some(ticket) = order.ticket() {
                    let outcome = CallOutcome::Refused;
                    cx.emit(Event::CallResult { ticket, outcome, args: Vec::new() });
                }
            }
            Order::Withdraw { .. } | Order::AnswerTunnel { .. } => {}
            Order::Reconnect { url, text } => {
                if self.core.phase == Phase::Connected && self.core.can_reconnect {
                    let request = Status::new(RECONNECT, text);
                    let request = match url {
                        Some(url) => request.with("tcUrl", url.as_str()),
                        None => request,
                    };
                    self.core.status(0, request, cx);
                }
            }
            Order::Via { slot, via } => {
                if self.core.kindred && self.core.is(slot, &SlotState::Playing) {
                    let via = Command::call(ON_VIA, 0.0, Value::Null, vec![via.to_value()]);
                    self.core.send_command(slot.0, &via, cx);
                }
            }
            Order::Shared(news) => self.core.tell_shared(&news, cx),
            Order::Tune { ping_interval, command_bytes, check_bandwidth, server_ip } => {
                self.core.clock.tune(ping_interval);
                self.core.command_bytes = command_bytes;
                (self.check_bandwidth, self.server_ip) = (check_bandwidth, server_ip);
            }
            Order::TestBandwidth(plan) => {
                if self.core.phase == Phase::Connected {
                    self.test_bandwidth(*plan, cx);
                }
            }
            Order::StopPlay { slot, code, text } => {
                if self.core.is(slot, &SlotState::Playing) {
                    self.stop_play(slot.0, code, text, cx);
                } else if self.core.is(slot, &SlotState::AskedPlay) {
                    self.core.withdraw(slot.0);
                    self.stop_play(slot.0, code, text, cx);
                    return self.release(slot.0, cx);
                }
            }
            Order::SourceEnded { slot } => {
                if self.core.is(slot, &SlotState::Playing) {
                    let unpublish =
                        Status::new("NetStream.Play.UnpublishNotify", "The stream is unpublished.");
                    self.core.status(slot.0, unpublish, cx);
                    self.core.status(slot.0, Status::new(PLAY_STOP, "The stream has ended."), cx);
                    self.core.send_control(Control::User(UserControl::StreamEof(slot.0)), cx);
                    self.core.set(slot.0, SlotState::Idle, cx);
                }
            }
            Order::SourceMissing { slot, name } => {
                if self.core.is(slot, &SlotState::Playing) {
                    let text = format!("Nobody has published the stream {name:?}.");
                    self.core.status(slot.0, Status::error("NetStream.Play.StreamNotFound", text), cx);
                    self.core.set(slot.0, SlotState::Idle, cx);
                }
            }
            Order::StopPublish { slot, code, text } => {
                if self.core.slots.get(slot.0).is_some_and(Slot::is_publishing) {
                    self.core.status(slot.0, Status::error(code, text), cx);
                    self.core.set(slot.0, SlotState::Idle, cx);
                }
            }
            Order::Close { code, text } => {
                self.say_goodbye(code, text, cx);
                self.core.phase = Phase::Closed;
                // Nobody waits for what would come of it.
                self.test = None;
            }
        }
        Ok(())
    }

    fn say_goodbye(&mut self, code: String, text: String, cx: &mut Cx<'_>) {
        let connect = self.core.requests.values().find_map(|pending| match pending {
            Pending::Connect { transaction, .. } => Some(*transaction),
            _ => None,
        });
        if let Some(transaction) = connect {
            self.core.send_command(0, &Command::error(transaction, Status::error(code, text)), cx);
        } else if self.core.phase == Phase::Connected {
            self.core.status(0, Status::new(code, text), cx);
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
                self.core.phase = Phase::Connected;
                self.core.clock.connected(cx.now());
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
        self.core.send_command(0, &Command::error(transaction, status), cx);
        self.core.phase = Phase::Closed;
        cx.resume();
        cx.close(Error::peer(super::PROTOCOL, reason));
        Ok(())
    }

    /// The messages that follow a connect, in the order that clients know.
    fn welcome(&mut self, transaction: f64, enhanced: bool, cx: &mut Cx<'_>) {
        self.core.send_control(Control::WindowAckSize(OUR_WINDOW), cx);
        let limit = BandwidthLimit::Dynamic;
        self.core.send_control(Control::PeerBandwidth { window: OUR_WINDOW, limit }, cx);
        self.core.send_control(Control::User(UserControl::StreamBegin(0)), cx);
        // FFmpeg tells a server that it publishes to the same size, and by RTMPE enciphers it where it then reads it: it
        // takes noise for the size. Only players need to know ours.
        if !self.core.is_inner {
            self.core.send_chunk_size(cx);
        }
        let mut server =
            vec![("fmsVer".to_owned(), FMS_VERSION.into()), ("capabilities".to_owned(), CAPABILITIES.into())];
        if self.core.kindred {
            server.push((INSTANCE.to_owned(), (&*self.core.settings.instance).into()));
        }
        let server = Value::Object(server);
        let encoding = if self.core.amf3 { AMF3 } else { AMF0 };
        let mut status = Status::new("NetConnection.Connect.Success", "Connection succeeded.")
            .with("objectEncoding", encoding);
        if enhanced {
            // Whatever the codec, it is forwarded (Enhanced RTMP, "connect" parameters): 4. The server "should" say so; who
            // has asked nothing of the kind may be older than these members, and is told nothing.
            let forward = || Value::Object(vec![("*".to_owned(), 4.0.into())]);
            status = status
                .with("fourCcList", Value::StrictArray(vec!["*".into()]))
                .with("videoFourCcInfoMap", forward())
                .with("audioFourCcInfoMap", forward())
                .with("capsEx", f64::from(CAPS_EX));
        }
        if let Some(ip) = self.server_ip {
            // Where SRS has it: its clients read it as soon as they are connected, and expect an ECMA array.
            let data = vec![("srs_server_ip".to_owned(), ip.to_string().into())];
            status = status.with("data", Value::EcmaArray(data));
        }
        self.core.send_command(0, &Command::result(transaction, server, vec![status.into()]), cx);
        self.core.send_command(0, &Command::call("onBWDone", 0.0, Value::Null, Vec::new()), cx);
    }

    fn answer_publish(&mut self, slot: u32, answer: Answer, cx: &mut Cx<'_>) {
        let Some(SlotState::AskedPublish { name }) = self.core.slots.get(slot).map(|slot| slot.state.clone())
        else {
            return;
        };
        match refusal(answer, "NetStream.Publish.BadName") {
            None => {
                self.core.send_control(Control::User(UserControl::StreamBegin(slot)), cx);
                let text = format!("The stream {name:?} is published.");
                self.core.status(
                    slot,
                    Status::new("NetStream.Publish.Start", text).with("details", name.as_str()),
                    cx,
                );
                self.core.begin_publishing(slot, name, cx);
            }
            Some(status) => {
                self.core.status(slot, status, cx);
                self.core.set(slot, SlotState::Idle, cx);
            }
        }
    }

    fn answer_play(&mut self, slot: u32, name: &str, reset: bool, answer: Answer, cx: &mut Cx<'_>) {
        if !self.core.is(StreamSlot(slot), &SlotState::AskedPlay) {
            return;
        }
        if let Some(status) = refusal(answer, "NetStream.Play.Failed") {
            self.core.status(slot, status, cx);
            return self.core.set(slot, SlotState::Idle, cx);
        }
        self.core.authorised = true;
        if self.core.writer.chunk_size() != self.core.settings.chunk_size {
            self.core.send_chunk_size(cx);
        }
        self.core.send_control(Control::User(UserControl::StreamBegin(slot)), cx);
        if reset {
            let text = format!("The stream {name:?} is reset.");
            self.core.status(slot, Status::new("NetStream.Play.Reset", text).with("details", name), cx);
        }
        let text = format!("The stream {name:?} is played.");
        self.core.status(slot, Status::new("NetStream.Play.Start", text).with("details", name), cx);
        let access = Data { name: "|RtmpSampleAccess".to_owned(), args: vec![true.into(), true.into()] };
        self.core.send_data(slot, &access, cx);
        self.core.set(slot, SlotState::Playing, cx);
    }

    /// Tells the peer that its play is over, so that it leaves: some players end at an error, whatever its code, some
    /// at [`PLAY_STOP`] alone, some at the end of the message stream.
    fn stop_play(&mut self, slot: u32, code: String, text: String, cx: &mut Cx<'_>) {
        if code == PLAY_STOP {
            self.core.status(slot, Status::new(code, text), cx);
        } else {
            self.core.status(slot, Status::error(code, text), cx);
            self.core.status(slot, Status::new(PLAY_STOP, "The server has ended the play."), cx);
        }
        self.core.send_control(Control::User(UserControl::StreamEof(slot)), cx);
        self.core.set(slot, SlotState::Idle, cx);
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
