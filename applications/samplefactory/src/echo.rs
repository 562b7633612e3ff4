//! The endpoint `echo`: says `ECHO ` and what it hears, and tells the application each line that asks for a download.

use std::time::Instant;

use crtmp_plugin::layers::{
    Answer, ConnectInfo, Cx, Error, Event, Layer, Order, PluginLayer, Port, RequestId, StreamSlot, Value,
};
use serde_json::Map;

/// Said before each piece of what is heard.
const PREFIX: &[u8] = b"ECHO ";

/// What a line begins with that asks for a download.
const DOWNLOAD: &[u8] = b"GET http://";

/// Bytes of a line that may ask for a download; longer ones ask for nothing.
pub(crate) const LONGEST_LINE: usize = 2048;

/// The command by which the application is asked for a download.
pub(crate) const COMMAND: &str = "download";

/// The request by which the application is asked whether the peer may stay; those of lines follow.
const CONNECT: RequestId = RequestId(0);

/// The endpoint of a connection.
pub struct Echo {
    next: u32,
    line: Vec<u8>,
    /// The line is longer than [`LONGEST_LINE`].
    too_long: bool,
}

impl PluginLayer for Echo {
    const NAME: &'static str = "echo";
    const FAR: Port = Port::Bytes;
    const NEAR: Port = Port::Server;

    fn new(_keys: &Map<String, serde_json::Value>, _now: Instant) -> Result<Self, String> {
        Ok(Self { next: 1, line: Vec::new(), too_long: false })
    }
}

impl Echo {
    /// Takes a byte; gives the line that it ends.
    fn byte(&mut self, byte: u8) -> Option<String> {
        if byte != b'\n' {
            self.too_long |= self.line.len() >= LONGEST_LINE;
            if !self.too_long {
                self.line.push(byte);
            }
            return None;
        }
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.too_long) || !line.starts_with(DOWNLOAD) {
            return None;
        }
        String::from_utf8(line).ok().map(|line| line.trim_end().to_owned())
    }
}

impl Layer for Echo {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        // Messages come to the application that has said yes to this.
        let info = ConnectInfo { agent: "echo".to_owned(), ..ConnectInfo::default() };
        cx.emit(Event::Connect { request: CONNECT, info: Box::new(info) });
        cx.pause();
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        cx.out().write_with(|out| {
            out.extend_from_slice(PREFIX);
            out.extend_from_slice(data);
        });
        for byte in data {
            if let Some(line) = self.byte(*byte) {
                let request = Some(RequestId(self.next));
                self.next = self.next.wrapping_add(1).max(1);
                let (command, args) = (COMMAND.to_owned(), vec![Value::from(line)]);
                cx.emit(Event::Message { request, slot: StreamSlot(0), command, args });
            }
        }
        Ok(data.len())
    }

    fn on_command(&mut self, order: Order, cx: &mut Cx<'_>) -> Result<(), Error> {
        match order {
            Order::AnswerConnect { answer: Answer::Accept, .. } => cx.resume(),
            Order::AnswerConnect { .. } => {
                cx.resume();
                cx.close(Error::peer("echo", "the application has refused the connection"));
            }
            Order::AnswerMessage { result, .. } => {
                let text = match &result {
                    Ok(value) => value.as_str().unwrap_or_default(),
                    Err((_, text)) => text.as_str(),
                };
                if !text.is_empty() {
                    cx.out().write_with(|out| out.extend_from_slice(format!("{text}\n").as_bytes()));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<String> {
        let mut echo = Echo::new(&Map::new(), Instant::now()).unwrap();
        text.iter().filter_map(|byte| echo.byte(*byte)).collect()
    }

    #[test]
    fn lines_ask_for_downloads_up_to_their_length() {
        assert_eq!(lines(b"hello\nGET http://a/b\r\nGET http://c"), ["GET http://a/b"]);
        for (length, count) in [(LONGEST_LINE - 1, 1), (LONGEST_LINE, 1), (LONGEST_LINE + 1, 0)] {
            let mut line = b"GET http://".to_vec();
            line.resize(length, b'x');
            line.extend_from_slice(b"\nGET http://next\n");
            assert_eq!(lines(&line).len(), count + 1, "{length}");
        }
        assert_eq!(lines(b"GET http://\xff\n"), [""; 0]);
    }
}
