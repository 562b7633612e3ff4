//! One connection of an upstream: a thread that reads, and does what the script says to what it has read. What takes
//! long, such as serving a stream, is done on a thread of its own.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Command;
use crate::link::Link;
use crate::wire::{Chunks, Message, amf};

use super::script::{control, described, information};
use super::{Acknowledge, Act, End, Moment, Pace, Record, Script, Visit, is_media};

/// The size of handshake blocks.
const BLOCK: usize = 1536;
/// The window of acknowledgements where nobody says anything else.
const WINDOW: u32 = 2_500_000;
/// The size of chunks that a good server uses.
const CHUNK: u32 = 4096;
/// What is sent without end is sent so many bytes at a time, and with such pauses.
const MANY: usize = 64 * 1024;
const BREATH: Duration = Duration::from_millis(1);

/// The sending half of a connection, and its script.
#[derive(Debug)]
pub(super) struct Talk {
    link: Link,
    script: Arc<Script>,
    state: Mutex<State>,
    silent: AtomicBool,
    deaf: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// The size of the chunks that are sent.
    chunk: usize,
    /// The message stream that `createStream` is given next.
    next_stream: u32,
}

/// What something is done about.
#[derive(Clone, Debug)]
enum Cause {
    /// A connection, or C0 and C1 or C2 of it.
    Handshake(Vec<u8>),
    Command(Command),
    /// Media on a message stream.
    Media(u32),
}

impl Talk {
    pub(super) fn new(link: Link, script: Arc<Script>) -> Self {
        let state = State { chunk: 128, next_stream: script.first_stream };
        let (silent, deaf) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { link, script, state: Mutex::new(state), silent, deaf }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn silence(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Sends a message; `false` if the connection has ended.
    pub(super) fn say(&self, message: &Message) -> bool {
        let state = self.lock();
        let bytes = message.chunks(state.chunk);
        self.put(&state, &bytes)
    }

    /// Sends bytes; `false` if the connection has ended.
    pub(super) fn write(&self, bytes: &[u8]) -> bool {
        self.put(&self.lock(), bytes)
    }

    /// The state is held meanwhile, so that messages come out whole.
    fn put(&self, _: &State, bytes: &[u8]) -> bool {
        if self.is_silent() { !self.link.has_ended() } else { self.link.write(bytes) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self, act: &Act, cause: &Cause) -> bool {
        match act {
            Act::Answer => self.answer(cause),
            Act::Send(message) => self.say(message),
            Act::Raw(bytes) => self.write(bytes),
            Act::Endless(bytes) => {
                let many = bytes.repeat(MANY / bytes.len().max(1) + 1);
                // The pause lets others speak meanwhile, and the machine live.
                while !self.is_silent() && self.write(&many) && self.link.pause(BREATH) {}
                false
            }
            Act::ChunkSize(size) => {
                let mut state = self.lock();
                let bytes = control(1, &size.to_be_bytes()).chunks(state.chunk);
                let sent = self.put(&state, &bytes);
                state.chunk = (*size as usize).max(1);
                sent
            }
            Act::Error(code) => self.reply("_error", cause, information("error", code, &[])),
            Act::Refuse(code, description) => {
                self.reply("_error", cause, described("error", code, description, &[]))
            }
            Act::Redirect(url) => {
                let target = [("code", amf::number(302.0)), ("redirect", amf::string(url))];
                let code = "NetConnection.Connect.Rejected";
                let more = [("ex", amf::object(&target))];
                self.reply("_error", cause, information("error", code, &more))
            }
            Act::Result(value) => self.reply("_result", cause, value.clone()),
            Act::ResultTo(transaction) => {
                self.say(&Message::command(0, "_result", *transaction, &[amf::null(), amf::null()]))
            }
            Act::Status(level, code) => self.status(cause, level, code),
            Act::Event(event) => self.event(cause, *event),
            Act::Serve(messages, pace) => self.play(cause, messages, *pace),
            Act::Finish => {
                self.link.finish();
                true
            }
            Act::Close => {
                self.link.close();
                false
            }
            Act::Reset => {
                self.link.reset();
                false
            }
            Act::Silence => {
                self.silence();
                true
            }
            Act::Deafness => {
                self.deaf.store(true, Ordering::Relaxed);
                true
            }
        }
    }

    /// What a good server says.
    fn answer(&self, cause: &Cause) -> bool {
        let command = match cause {
            Cause::Handshake(hello) if hello.len() == 1 + BLOCK => return self.write(&shake(hello)),
            Cause::Handshake(_) | Cause::Media(_) => return true,
            Cause::Command(command) => command,
        };
        match command.name.as_str() {
            "connect" => {
                let properties =
                    [("fmsVer", amf::string("FMS/3,0,1,123")), ("capabilities", amf::number(31.0))];
                let success = information("status", "NetConnection.Connect.Success", &[]);
                let values = [amf::object(&properties), success];
                self.say(&control(5, &WINDOW.to_be_bytes()))
                    && self.say(&control(6, &[&WINDOW.to_be_bytes()[..], &[2]].concat()))
                    && self.act(&Act::ChunkSize(CHUNK), cause)
                    && self.say(&Message::command(0, "_result", command.transaction, &values))
            }
            "createStream" => {
                let stream = {
                    let mut state = self.lock();
                    state.next_stream += 1;
                    state.next_stream - 1
                };
                self.reply("_result", cause, amf::number(f64::from(stream)))
            }
            "publish" => self.event(cause, 0) && self.status(cause, "status", "NetStream.Publish.Start"),
            "play" => {
                self.event(cause, 0)
                    && self.status(cause, "status", "NetStream.Play.Reset")
                    && self.status(cause, "status", "NetStream.Play.Start")
            }
            // Commands that want no answer have no transaction. That some clients give these one means nothing.
            "deleteStream" | "closeStream" | "FCUnpublish" => true,
            _ if command.transaction == 0.0 => true,
            _ => self.reply("_result", cause, vec![6]),
        }
    }

    /// An answer to a command, with one value behind a null.
    fn reply(&self, name: &str, cause: &Cause, value: Vec<u8>) -> bool {
        let Cause::Command(command) = cause else { return true };
        self.say(&Message::command(0, name, command.transaction, &[amf::null(), value]))
    }

    fn status(&self, cause: &Cause, level: &str, code: &str) -> bool {
        let values = [amf::null(), information(level, code, &[])];
        self.say(&Message::command(self.stream(cause), "onStatus", 0.0, &values))
    }

    fn event(&self, cause: &Cause, event: u16) -> bool {
        let payload = [&event.to_be_bytes()[..], &self.stream(cause).to_be_bytes()].concat();
        self.say(&control(4, &payload))
    }

    /// The message stream that something is about: without one, the one that was made last.
    fn stream(&self, cause: &Cause) -> u32 {
        match cause {
            Cause::Command(Command { stream, .. }) | Cause::Media(stream) if *stream != 0 => *stream,
            _ => self.lock().next_stream.saturating_sub(1).max(self.script.first_stream),
        }
    }

    fn play(&self, cause: &Cause, messages: &[Message], pace: Pace) -> bool {
        let stream = self.stream(cause);
        let start = Instant::now();
        let first = messages.first().map_or(0, |message| message.time);
        messages.iter().all(|message| {
            let due = Duration::from_millis(u64::from(message.time.saturating_sub(first)));
            let early = due.saturating_sub(start.elapsed());
            (pace == Pace::AtOnce || early.is_zero() || self.link.pause(early))
                && self.say(&Message { stream, ..message.clone() })
        })
    }
}

/// Reads a connection to its end.
pub(super) fn serve(visit: &Visit) {
    let mut reader = Reader { visit, incoming: Chunks::default(), shaken: 0, count: Count::default() };
    reader.act(Moment::Accepted, None, Cause::Handshake(Vec::new()));
    let mut buffer = vec![0; 64 * 1024];
    let talk = &visit.inner.talk;
    let end = loop {
        if talk.deaf.load(Ordering::Relaxed) {
            talk.link.wait_for_end();
        }
        match talk.link.read(&mut buffer) {
            Ok(0) if talk.link.has_ended() => break End::Here,
            Ok(0) => break End::Client,
            Ok(count) => reader.take(&buffer[..count]),
            Err(_) if talk.link.has_ended() => break End::Here,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break End::Reset,
            Err(_) => break End::Client,
        }
    };
    talk.link.close();
    visit.inner.note(|record| record.end = Some(end));
}

/// The reading half of a connection.
struct Reader<'a> {
    visit: &'a Visit,
    incoming: Chunks,
    /// How many parts of the handshake have come.
    shaken: usize,
    count: Count,
}

/// What is counted of what has come.
#[derive(Debug, Default)]
struct Count {
    media: u32,
    /// Bytes behind the handshake, those of them that have been acknowledged, and how often that was done.
    bytes: u32,
    acknowledged: u32,
    times: u32,
    window: Option<u32>,
}

impl Reader<'_> {
    fn take(&mut self, bytes: &[u8]) {
        self.visit.inner.note(|record: &mut Record| record.received += bytes.len() as u64);
        self.incoming.feed(bytes);
        let mut behind = bytes.len();
        while let Some((moment, size)) =
            [(Moment::Hello, 1 + BLOCK), (Moment::Shaken, BLOCK)].get(self.shaken)
        {
            let Some(part) = self.incoming.take(*size) else { return };
            self.shaken += 1;
            behind = self.incoming.waiting();
            self.act(*moment, None, Cause::Handshake(part));
        }
        self.count.bytes = self.count.bytes.wrapping_add(behind as u32);
        while let Some(message) = self.incoming.message() {
            self.message(message);
        }
        self.acknowledge();
    }

    fn message(&mut self, message: Message) {
        let talk = &self.visit.inner.talk;
        let command = Command::of(&message);
        let stream = message.stream;
        let media = is_media(&message);
        match (message.kind, message.payload.first_chunk::<4>()) {
            (5, Some(window)) => self.count.window = Some(u32::from_be_bytes(*window)),
            (4, Some([0, 6, ..])) if talk.script.pongs => {
                talk.say(&control(4, &[&[0, 7], &message.payload[2..]].concat()));
            }
            _ => {}
        }
        self.visit.inner.note(|record| record.messages.push(message));
        if let Some(command) = command {
            let name = command.name.clone();
            let acts = talk.script.acts_for(&name, command.text(1)).unwrap_or(&[Act::Answer]).to_vec();
            self.perform(acts, Cause::Command(command));
        } else if media {
            self.count.media += 1;
            self.act(Moment::Media(self.count.media), Some(&[]), Cause::Media(stream));
        }
    }

    /// Does what the script says at a moment, or else what is given, or else what a good server does.
    fn act(&self, moment: Moment, otherwise: Option<&[Act]>, cause: Cause) {
        let script = &self.visit.inner.talk.script;
        let acts = script.acts_at(moment).or(otherwise).unwrap_or(&[Act::Answer]).to_vec();
        self.perform(acts, cause);
    }

    fn perform(&self, acts: Vec<Act>, cause: Cause) {
        let visit = self.visit.clone();
        let long = acts.iter().any(|act| matches!(act, Act::Serve(..) | Act::Endless(_)));
        let perform = move || {
            let _ = acts.iter().all(|act| visit.inner.talk.act(act, &cause));
        };
        if long {
            thread::spawn(perform);
        } else {
            perform();
        }
    }

    fn acknowledge(&mut self) {
        let talk = &self.visit.inner.talk;
        let Count { bytes, acknowledged, times, window, .. } = self.count;
        let since = bytes.wrapping_sub(acknowledged);
        if since < talk.script.every.or(window).unwrap_or(WINDOW) {
            return;
        }
        let sum = match talk.script.acknowledge {
            Acknowledge::Never => return,
            Acknowledge::Totals => bytes,
            Acknowledge::Increments => since,
            Acknowledge::Backwards if times % 2 == 0 => bytes,
            Acknowledge::Backwards => bytes / 2,
            Acknowledge::Beyond => bytes.wrapping_add(0x7000_0000),
        };
        self.count.acknowledged = bytes;
        self.count.times += 1;
        talk.say(&control(3, &sum.to_be_bytes()));
    }
}

/// S0, S1 and S2.
fn shake(hello: &[u8]) -> Vec<u8> {
    let mut out = vec![3];
    out.extend([0; 8]);
    out.extend((8..BLOCK).map(|index| (index % 249) as u8));
    out.extend(&hello[1..]);
    out
}
