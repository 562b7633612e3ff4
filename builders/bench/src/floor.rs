//! The floor: what it costs at least to hand a stream to many players.
//!
//! It writes the chunks of a synthetic stream to every connection when they are due, or passes bytes from one connection
//! to another, and does nothing else: no handshake, no commands, no parsing, no allocation per frame or connection. A
//! server that merges as much cannot cost much less.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::clock::{self, Alarm, nanoseconds};
use crate::source::{Shape, Source};

/// What the floor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One write for each message and connection.
    Message,
    /// Audio leaves with the next picture: one write for each picture and connection.
    Ride,
    /// What became due within this time leaves in one write.
    Merge(Duration),
    /// What comes from the sender of a number goes to the receiver of that number at once.
    Relay,
}

/// Bytes of what a raw client says first.
pub const HELLO: usize = 8;

/// What a raw client says first: whether it sends (`S`) or receives (`R`), and its number.
pub fn hello(role: u8, number: u32) -> [u8; HELLO] {
    let [a, b, c, d] = number.to_be_bytes();
    [role, 0, 0, 0, a, b, c, d]
}

/// Serves for ever; `bound` is told the address before the first connection is accepted.
///
/// # Errors
///
/// What the system says about the listener or the poll; errors of connections only end these.
pub fn serve(
    address: SocketAddr,
    mode: Mode,
    shape: &Shape,
    bound: &mut dyn FnMut(SocketAddr),
) -> io::Result<()> {
    crate::load::raise_file_limit()?;
    let listener = TcpListener::bind(address)?;
    bound(listener.local_addr()?);
    match mode {
        Mode::Relay => relay(listener),
        _ => fan_out(listener, mode, shape),
    }
}

const LISTENER: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);

/// Bytes of the stream that can still be sent; a connection that is further behind is closed.
const RING: usize = 64 << 20;

/// A player: where it is in the stream, in bytes since the beginning.
struct Sink {
    socket: TcpStream,
    at: u64,
    /// It got what comes before all frames, and waits for a key frame until then.
    begun: bool,
}

fn fan_out(mut listener: TcpListener, mode: Mode, shape: &Shape) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut alarm = Alarm::new(poll.registry(), ALARM)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut source = Source::new(*shape, clock::now(), Source::filler(shape));
    let mut headers = Vec::new();
    source.headers(&mut headers, 1);
    let (mut ring, mut end, mut message) = (vec![0; RING], 0_u64, Vec::with_capacity(1 << 20));
    let mut sinks: Vec<Option<Sink>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    // When the oldest frame that has not been flushed became due.
    let mut oldest = None;
    loop {
        let due = match (mode, oldest) {
            (Mode::Merge(wait), Some(oldest)) => source.due().min(oldest + nanoseconds(wait)),
            _ => source.due(),
        };
        alarm.set(due)?;
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                ALARM => {}
                LISTENER => accept(&listener, |mut socket| {
                    let _ = socket.set_nodelay(true);
                    let token = Token(sinks.len());
                    poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
                    sinks.push(Some(Sink { socket, at: 0, begun: false }));
                    Ok(())
                }),
                Token(number) => {
                    let Some(place) = sinks.get_mut(number) else { continue };
                    let gone =
                        place.as_mut().is_some_and(|sink| event.is_readable() && drain(&mut sink.socket));
                    if gone {
                        *place = None;
                    } else if event.is_writable()
                        && let Some(sink) = place
                        && sink.begun
                        && sink.at < end
                        && oldest.is_none()
                        && flush(sink, &ring, end).is_err()
                    {
                        *place = None;
                    }
                }
            }
        }
        let now = clock::now();
        while source.due() <= now {
            message.clear();
            let written = source.write(&mut message, 1);
            let begin = end;
            append(&mut ring, &mut end, &message);
            if written.kind == crate::stamp::FrameKind::Key {
                for sink in sinks.iter_mut().flatten().filter(|sink| !sink.begun) {
                    // They are few bytes on a socket that has sent nothing.
                    sink.begun = matches!(sink.socket.write(&headers), Ok(count) if count == headers.len());
                    sink.at = begin;
                }
            }
            oldest.get_or_insert(written.due);
            if matches!(mode, Mode::Message) || (matches!(mode, Mode::Ride) && written.kind.is_picture()) {
                flush_all(&mut sinks, &ring, end);
                oldest = None;
            }
        }
        if let (Mode::Merge(wait), Some(since)) = (mode, oldest)
            && since + nanoseconds(wait) <= now
        {
            flush_all(&mut sinks, &ring, end);
            oldest = None;
        }
    }
}

fn append(ring: &mut [u8], end: &mut u64, bytes: &[u8]) {
    let at = (*end % RING as u64) as usize;
    let first = bytes.len().min(RING - at);
    ring[at..at + first].copy_from_slice(&bytes[..first]);
    ring[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    *end += bytes.len() as u64;
}

fn flush_all(sinks: &mut [Option<Sink>], ring: &[u8], end: u64) {
    for place in sinks {
        if let Some(sink) = place
            && sink.begun
            && flush(sink, ring, end).is_err()
        {
            *place = None;
        }
    }
}

/// One write of all that the sink has not had.
fn flush(sink: &mut Sink, ring: &[u8], end: u64) -> io::Result<()> {
    let waiting = (end - sink.at) as usize;
    if waiting > RING {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let at = (sink.at % RING as u64) as usize;
    let first = waiting.min(RING - at);
    let result = if first == waiting {
        sink.socket.write(&ring[at..at + first])
    } else {
        let parts = [IoSlice::new(&ring[at..]), IoSlice::new(&ring[..waiting - first])];
        sink.socket.write_vectored(&parts)
    };
    match result {
        Ok(count) => sink.at += count as u64,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// One side of a pair, or a connection that has not said which.
struct Side {
    socket: TcpStream,
    pair: Option<(bool, usize)>,
}

/// The two sides of a pair, as numbers of connections, and what waits for the receiver.
#[derive(Default)]
struct Pair {
    receiver: Option<usize>,
    rest: Vec<u8>,
}

fn relay(mut listener: TcpListener) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut sides: Vec<Option<Side>> = Vec::new();
    let mut pairs: Vec<Pair> = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            let Token(number) = event.token();
            if event.token() == LISTENER {
                accept(&listener, |mut socket| {
                    let _ = socket.set_nodelay(true);
                    let token = Token(sides.len());
                    poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
                    sides.push(Some(Side { socket, pair: None }));
                    Ok(())
                });
                continue;
            }
            let Some(side) = sides.get_mut(number).and_then(Option::as_mut) else { continue };
            if side.pair.is_none() && event.is_readable() {
                let Some((sends, pair)) = greeting(&mut side.socket) else { continue };
                side.pair = Some((sends, pair));
                if pairs.len() <= pair {
                    pairs.resize_with(pair + 1, Pair::default);
                }
                if !sends {
                    pairs[pair].receiver = Some(number);
                }
            }
            let result = match side.pair {
                Some((true, pair)) if event.is_readable() => {
                    pass(&mut sides, number, &mut pairs[pair], &mut buffer)
                }
                Some((false, pair)) => rest(&mut side.socket, &mut pairs[pair].rest),
                _ => Ok(()),
            };
            if result.is_err() {
                sides[number] = None;
            }
        }
    }
}

/// Receives what the sender has, and sends it on the spot.
fn pass(sides: &mut [Option<Side>], sender: usize, pair: &mut Pair, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        let Some(side) = &mut sides[sender] else { return Ok(()) };
        let count = match side.socket.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut sent = 0;
        let receiver = pair.receiver.and_then(|number| sides[number].as_mut());
        if let Some(receiver) = receiver
            && pair.rest.is_empty()
        {
            sent = receiver.socket.write(&buffer[..count]).unwrap_or(0);
        }
        pair.rest.extend_from_slice(&buffer[sent..count]);
        if count < buffer.len() {
            return Ok(());
        }
    }
}

/// Sends what a receiver could not take before.
fn rest(socket: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<()> {
    if rest.is_empty() {
        return Ok(());
    }
    match socket.write(rest) {
        Ok(count) => {
            rest.drain(..count);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads what a raw client says first. It comes in one piece: it is short, and the first that is sent.
fn greeting(socket: &mut TcpStream) -> Option<(bool, usize)> {
    let mut hello = [0; HELLO];
    match socket.read(&mut hello) {
        Ok(HELLO) => {
            let [role, _, _, _, a, b, c, d] = hello;
            Some((role == b'S', u32::from_be_bytes([a, b, c, d]) as usize))
        }
        _ => None,
    }
}

/// Throws away what came; says whether the other side has gone.
fn drain(socket: &mut TcpStream) -> bool {
    let mut waste = [0; 512];
    loop {
        match socket.read(&mut waste) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// Accepts all that wait.
fn accept(listener: &TcpListener, mut each: impl FnMut(TcpStream) -> io::Result<()>) {
    while let Ok((socket, _)) = listener.accept() {
        // A connection that cannot be registered is closed by being dropped.
        let _ = each(socket);
    }
}
