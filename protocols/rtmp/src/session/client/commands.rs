//! Commands of the server.

use crtmp_media::{CallOutcome, Cx, Error, Event, Skipped, Value};

use super::{ClientSession, result};
use crate::{
    chunk::Message,
    message::{Command, Status},
    session::{ON_VIA, PROTOCOL, Phase, RECONNECT, calls::Step},
};

/// How often a server is heard that asks to connect again.
const RECONNECTS: u32 = 8;

/// Bytes of the address that it names; a longer one is none.
const TC_URL: usize = 4096;

impl ClientSession {
    pub(super) fn on_server_command(&mut self, message: Message, cx: &mut Cx<'_>) -> Result<(), Error> {
        let stream = message.stream;
        let Some(command) = self.core.parse_command(&message)? else {
            self.core.skipped(Skipped::BadCommand, cx);
            return Ok(());
        };
        if matches!(command.name.as_str(), "_result" | "_error") {
            return self.on_reply(command, cx);
        }
        // Who floods us with commands before it has let us in is as suspect as a client that does.
        self.core.count_command()?;
        match command.name.as_str() {
            "onStatus" => self.on_status(stream, command, cx)?,
            ON_VIA => self.on_via(stream, command.args.first(), cx),
            // What servers tell whoever comes, and nobody has to answer.
            "onBWDone" | "onFCPublish" | "onFCUnpublish" | "onFCSubscribe" | "onFCUnsubscribe" => {}
            "_onbwcheck" | "_onbwdone" => {
                let reply = Command::result(command.transaction, Value::Null, vec![Value::Null]);
                self.core.send_command(0, &reply, cx);
            }
            "close" => return Err(Error::peer(PROTOCOL, "the server has closed the connection")),
            _ if self.core.phase == Phase::Connected => self.core.message(command, stream, cx),
            _ => self.core.skipped(Skipped::BadCommand, cx),
        }
        Ok(())
    }

    fn on_reply(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        let Some(step) = self.core.calls.answered(command.transaction) else {
            self.core.count_command()?;
            self.core.skipped(Skipped::BadCommand, cx);
            return Ok(());
        };
        self.core.clock.commanded(cx.now());
        let Command { name, object, mut args, .. } = command;
        let ok = name == "_result";
        args.insert(0, object);
        match step {
            Step::Ticket(ticket) => {
                let outcome = if ok { CallOutcome::Result } else { CallOutcome::Error };
                result(Some(ticket), outcome, args, cx);
            }
            Step::Connect(ticket) if ok => self.on_connected(ticket, args, cx),
            Step::Connect(ticket) => {
                let text = described(args.iter().rev());
                result(ticket, CallOutcome::Error, args, cx);
                return self.refused(&text, cx);
            }
            Step::CreateStream(number) if ok => self.on_stream_created(number, &args, cx),
            Step::CreateStream(number) => {
                let info = args.pop().unwrap_or(Value::Null);
                self.fail_link(number, info, cx);
            }
            Step::Courtesy | Step::Bandwidth => {}
        }
        Ok(())
    }

    /// The server will not have us. What it said is on its way to whoever wanted to connect.
    fn refused(&mut self, text: &str, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.core.phase = Phase::Closed;
        cx.close(Error::peer(PROTOCOL, format!("the server refused the connect: {text}")));
        Ok(())
    }

    fn on_status(&mut self, stream: u32, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        let mut command = command;
        let info = command.args.drain(..).next().unwrap_or(Value::Null);
        let code = info.get("code").and_then(Value::as_str).unwrap_or_default();
        if !code.starts_with("NetConnection.") {
            self.on_link_status(stream, info, cx);
            return Ok(());
        }
        if code == RECONNECT {
            // Whoever cannot stop asking is not heard for ever.
            self.asked_again += 1;
            if self.core.phase == Phase::Connected && self.asked_again <= RECONNECTS {
                let url = info.get("tcUrl").and_then(Value::as_str);
                let url = url.filter(|url| url.len() <= TC_URL).map(str::to_owned);
                cx.emit(Event::Reconnect { url });
                // Who has made the connection for itself decides about it: it hears what was said, and answers nothing.
                let status = Command { transaction: 0.0, args: vec![info], ..command };
                self.core.message(status, stream, cx);
            }
            return Ok(());
        }
        let over = ["Closed", "Rejected", "Failed", "AppShutdown", "InvalidApp", "IdleTimeOut"];
        if code.strip_prefix("NetConnection.Connect.").is_some_and(|code| over.contains(&code)) {
            let rule = format!("the server has ended the connection: {}", described([&info].into_iter()));
            return Err(Error::peer(PROTOCOL, rule));
        }
        Ok(())
    }

    /// What a call waited for will not come.
    pub(super) fn on_step_lost(&mut self, step: Step, cx: &mut Cx<'_>) {
        let patience = self.core.settings.limits.call_timeout.get().as_secs_f64();
        match step {
            Step::Ticket(ticket) => result(Some(ticket), CallOutcome::Timeout, Vec::new(), cx),
            Step::Connect(ticket) => {
                result(ticket, CallOutcome::Timeout, Vec::new(), cx);
                self.core.phase = Phase::Closed;
                let rule = format!("no answer to connect within callTimeout = {patience} s");
                cx.close(Error::timeout(PROTOCOL, rule));
            }
            Step::CreateStream(number) => {
                let text = format!("no answer to createStream within callTimeout = {patience} s");
                self.fail_link(number, Status::error("NetStream.Failed", text).into(), cx);
            }
            // A client tests nothing.
            Step::Courtesy | Step::Bandwidth => {}
        }
    }
}

/// Code and description of the first value that has any, cut short and without control characters: it goes to logs.
pub(super) fn described<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    const LONGEST: usize = 256;
    let text = |value: &Value| {
        let member = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let text = format!("{} {}", member("code"), member("description"));
        let text: String =
            text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
        (!text.is_empty()).then_some(text)
    };
    values.into_iter().find_map(text).unwrap_or_else(|| "it says nothing more".to_owned())
}
