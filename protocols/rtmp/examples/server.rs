//! A relay: publishers and any number of players, each on a connection and threads of its own.
//!
//! ```text
//! cargo run --example server -- 127.0.0.1:1935
//! ffmpeg -re -i film.mp4 -c copy -f flv rtmp://localhost/live/film
//! ffplay rtmp://localhost/live/film
//! ```
//!
//! Each connection has a thread that reads ([`Connection::run`], the run loop) and one that writes (`relay/mod.rs`,
//! where the streams are too). Between them is a queue of bounded size: a player that does not keep up is dropped, and
//! nobody waits for it.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program has a clock, only the library has none")]

mod relay;
mod shared;

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use crtmp_media::{Answer, Chain, Command, Env, Event, Limits, StreamName, StreamSlot, split_query};
use crtmp_rtmp::layer::InboundRtmp;
use crtmp_rtmp::session::SessionSettings;
use relay::{Outbox, Play, Streams};
use shared::Failure;

const USAGE: &str = "usage: server ADDRESS:PORT";

/// More connections are closed at once.
const CONNECTIONS: usize = 1000;
/// The size of outgoing chunks, in bytes.
const CHUNK_SIZE: u32 = 60_000;
/// How often a thread that reads nothing looks at its orders and its clock.
const LOOK: Duration = Duration::from_millis(100);

static LIMITS: LazyLock<Arc<Limits>> = LazyLock::new(Arc::default);

fn main() -> ExitCode {
    shared::run("server", |args| match &args[..] {
        [address] => {
            let listener = TcpListener::bind(address);
            serve(&listener.map_err(|error| format!("cannot listen at {address}: {error}"))?)
        }
        _ => Err(USAGE.into()),
    })
}

fn serve(listener: &TcpListener) -> Result<(), Failure> {
    println!("listening at {}", listener.local_addr()?);
    let streams = Arc::new(Streams::default());
    let open = Arc::new(AtomicUsize::new(0));
    for id in 1_u64.. {
        // A connection that is gone before it is accepted, or no descriptor free: the next may do better.
        let Ok((socket, peer)) = listener.accept() else {
            thread::sleep(LOOK);
            continue;
        };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (streams, open) = (streams.clone(), open.clone());
        thread::spawn(move || {
            println!("{id}: {peer} has come");
            let ended = Connection::open(id, socket, streams).and_then(Connection::run);
            println!("{id}: {}", ended.map_or_else(|failure| failure.to_string(), |()| "gone".to_owned()));
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

/// What a message stream of a connection does.
enum Role {
    Publishes(StreamName),
    Plays(StreamName),
}

/// A connection, on the thread that reads it.
struct Connection {
    id: u64,
    socket: TcpStream,
    chain: Chain,
    /// Bytes for the peer.
    outbox: Outbox,
    /// Plays whose stream is over: the threads of publishers say so.
    ended: Receiver<Play>,
    end: Sender<Play>,
    streams: Arc<Streams>,
    /// The application and instance that the peer has connected to.
    app: String,
    /// One connection may publish and play several streams at once: media is routed by its message stream.
    roles: HashMap<StreamSlot, Role>,
}

impl Connection {
    fn open(id: u64, socket: TcpStream, streams: Arc<Streams>) -> Result<Self, Failure> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK))?;
        let settings = SessionSettings {
            limits: LIMITS.clone(),
            validate_handshake: true,
            chunk_size: CHUNK_SIZE,
            // Other servers need not recognise this one.
            instance: Arc::from(""),
        };
        let chain = Chain::new(vec![Box::new(InboundRtmp::new(settings, Instant::now()))])?;
        let outbox = Outbox::new(socket.try_clone()?);
        let (end, ended) = channel();
        let roles = HashMap::new();
        Ok(Self { id, socket, chain, outbox, ended, end, streams, app: String::new(), roles })
    }

    /// The run loop: bytes in, orders in, time in; events and bytes out.
    fn run(mut self) -> Result<(), Failure> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
                Err(error) => return Err(error.into()),
            };
            let mut env = Env { now: Instant::now(), random: &mut shared::random };
            // Where it fails, what was said before still goes out.
            let result = self.step(&buffer[..read], &mut env);
            let sent = self.flush();
            result?;
            sent?;
            if let Some(reason) = self.chain.closing() {
                return Err(reason.to_string().into());
            }
        }
    }

    fn step(&mut self, data: &[u8], env: &mut Env<'_>) -> Result<(), Failure> {
        self.chain.on_data(data, env)?;
        if self.chain.poll_timeout().is_some_and(|at| at <= env.now) {
            self.chain.on_timeout(env)?;
        }
        while let Ok((slot, name)) = self.ended.try_recv() {
            // The player may have turned to another stream meanwhile.
            if matches!(self.roles.get(&slot), Some(Role::Plays(played)) if *played == name) {
                self.roles.remove(&slot);
                self.chain.on_command(Command::SourceEnded { slot }, env)?;
            }
        }
        while let Some(event) = self.chain.poll_event() {
            self.on_event(event, env)?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event, env: &mut Env<'_>) -> Result<(), Failure> {
        match event {
            Event::Connect { request, info } => {
                self.app = split_query(&info.app).0.to_owned();
                self.chain.on_command(Command::AnswerConnect { request, answer: Answer::Accept }, env)?;
            }
            Event::Publish { request, slot, name, .. } => {
                let answer = match self.name(&name) {
                    Ok(name) if self.streams.publish(&name, self.id) => {
                        println!("{}: publishes {name}", self.id);
                        self.roles.insert(slot, Role::Publishes(name));
                        Answer::Accept
                    }
                    Ok(name) => bad_name("Publish", format!("{name} has a publisher.")),
                    Err(text) => bad_name("Publish", text),
                };
                self.chain.on_command(Command::AnswerPublish { request, answer }, env)?;
            }
            Event::Play(play) => {
                let (request, slot) = (play.request, play.slot);
                let name = match self.name(&play.name) {
                    Ok(name) => name,
                    Err(text) => {
                        let answer = bad_name("Play", text);
                        self.chain.on_command(Command::AnswerPlay { request, answer }, env)?;
                        return Ok(());
                    }
                };
                // The answer must be on its way before the stream is.
                self.chain.on_command(Command::AnswerPlay { request, answer: Answer::Accept }, env)?;
                self.flush()?;
                println!("{}: plays {name}", self.id);
                let player =
                    relay::Player::new(self.id, &name, &play, self.outbox.handle(), self.end.clone());
                self.streams.play(&name, player);
                self.roles.insert(slot, Role::Plays(name));
            }
            Event::Frame { slot, frame } => {
                if let Some(Role::Publishes(name)) = self.roles.get(&slot) {
                    self.streams.frame(name, frame);
                }
            }
            Event::Pause { slot, paused } => {
                if let Some(Role::Plays(name)) = self.roles.get(&slot) {
                    self.streams.pause(name, self.id, slot, paused);
                }
            }
            Event::Unpublish { slot } | Event::Unplay { slot } => self.end(slot),
            // Nobody is called here that could answer.
            Event::Message { request: Some(request), command, .. } => {
                let result = Err(("NetConnection.Call.Failed".into(), format!("There is no {command}.")));
                self.chain.on_command(Command::AnswerMessage { request, result }, env)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends what a message stream does.
    fn end(&mut self, slot: StreamSlot) {
        match self.roles.remove(&slot) {
            Some(Role::Publishes(name)) => self.streams.unpublish(&name),
            Some(Role::Plays(name)) => self.streams.unplay(&name, self.id, slot),
            None => {}
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let queue = self.chain.send()?;
        let bytes = queue.slices().collect::<Vec<_>>().concat();
        queue.advance(bytes.len());
        if !bytes.is_empty() && !self.outbox.handle().push(bytes.into()) {
            return Err("has been dropped: it takes too little of what it is sent".into());
        }
        Ok(())
    }

    /// Application and stream together, without queries.
    fn name(&self, name: &str) -> Result<StreamName, String> {
        StreamName::new(&self.app, split_query(name).0, &LIMITS).map_err(|error| error.to_string())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for slot in self.roles.keys().copied().collect::<Vec<_>>() {
            self.end(slot);
        }
    }
}

fn bad_name(what: &str, text: String) -> Answer {
    Answer::Reject { code: format!("NetStream.{what}.BadName"), text }
}

#[cfg(test)]
mod tests {
    use crtmp_media::Value;
    use crtmp_rtmp::wire::Received;

    use super::*;
    use crate::shared::client::{Client, Url};

    /// Two publishes on one connection, two plays on another: each picture comes out where it belongs.
    #[test]
    fn several_streams_of_one_connection_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("rtmp://{}/live", listener.local_addr().unwrap())).unwrap();
        thread::spawn(move || serve(&listener).unwrap());
        let (mut publisher, _) = Client::connect(&url).unwrap();
        let (mut player, _) = Client::connect(&url).unwrap();
        let mut streams = Vec::new();
        for name in ["one", "two"] {
            let up = publisher.create_stream().unwrap();
            publisher.wire.call(up, "publish", Value::Null, vec![name.into(), "live".into()]).unwrap();
            publisher.status("NetStream.Publish.Start").unwrap();
            let down = player.create_stream().unwrap();
            streams.push((up, down));
        }
        // The other way round, so that numbers alone lead nowhere.
        for (name, (_, down)) in ["two", "one"].into_iter().zip(&streams) {
            player.wire.call(*down, "play", Value::Null, vec![name.into()]).unwrap();
            player.status("NetStream.Play.Start").unwrap();
        }
        for (at, (up, _)) in streams.iter().enumerate() {
            publisher.wire.send_video(*up, 7, &[0x17, 1, 0, 0, 0, at as u8]).unwrap();
        }
        publisher.flush().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            if let Received::Video(message) = player.next(deadline).unwrap().expect("pictures come") {
                seen.push((message.stream, message.body[5]));
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [(streams[0].1, 1), (streams[1].1, 0)]);
    }
}
