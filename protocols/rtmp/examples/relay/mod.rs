//! The streams of the example `server`: who publishes, who plays, and what newcomers get.
//!
//! The directory is locked while a name is looked up, each stream while one of its frames is handed on; nobody writes to
//! a socket under a lock.

use std::collections::HashMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crtmp_media::{
    Encoder, Format, Frame, MediaKind, Packet, PlayRequest, Role, Slice, StreamName, StreamSlot,
};
use crtmp_rtmp::encoder::RtmpEncoder;

/// Bytes that may wait for one peer; who needs more is dropped.
const QUEUE: usize = 16 * 1024 * 1024;
/// What each entry of the queue counts beside its bytes.
const ENTRY: usize = 64;
/// Bytes and frames that are kept for newcomers; a larger group is not kept, and they wait for the next.
const GROUP_BYTES: usize = QUEUE / 4;
const GROUP_FRAMES: usize = 3000;
/// Kinds of headers that a stream may have.
const HEADERS: usize = 64;
/// The time in which a peer must take some of what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// All streams by their names. A stream is there as long as anybody publishes or plays it.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<String, Arc<Mutex<Stream>>>>);

impl Streams {
    /// Begins a publish; false if there is one.
    pub(crate) fn publish(&self, name: &StreamName, publisher: u64) -> bool {
        let stream = self.stream(name);
        let mut stream = lock(&stream);
        *stream.publisher.get_or_insert(publisher) == publisher
    }

    /// Ends a publish: players are told.
    pub(crate) fn unpublish(&self, name: &StreamName) {
        let ended = std::mem::take(&mut *lock(&self.stream(name)));
        ended.players.into_iter().for_each(Player::end);
        self.tidy(name);
    }

    /// Adds a player, which gets the newest group of pictures at once, or waits for a publisher.
    pub(crate) fn play(&self, name: &StreamName, player: Player) {
        lock(&self.stream(name)).welcome(player);
        self.tidy(name);
    }

    /// Takes a player away.
    pub(crate) fn unplay(&self, name: &StreamName, id: u64, slot: StreamSlot) {
        lock(&self.stream(name)).players.retain(|player| !player.is(id, slot));
        self.tidy(name);
    }

    /// Lets a player pause, or go on with the next key frame.
    pub(crate) fn pause(&self, name: &StreamName, id: u64, slot: StreamSlot, paused: bool) {
        for player in lock(&self.stream(name)).players.iter_mut().filter(|player| player.is(id, slot)) {
            player.paused = paused;
            player.waits_for_key = true;
        }
    }

    /// Hands a frame on to all players of a stream.
    pub(crate) fn frame(&self, name: &StreamName, frame: Frame) {
        lock(&self.stream(name)).frame(frame);
    }

    fn stream(&self, name: &StreamName) -> Arc<Mutex<Stream>> {
        lock(&self.0).entry(name.as_str().to_owned()).or_default().clone()
    }

    /// Forgets a stream that nobody needs any more. Who has just looked it up still holds it, and does this later.
    fn tidy(&self, name: &StreamName) {
        let mut streams = lock(&self.0);
        let stream = streams.get_mut(name.as_str()).and_then(Arc::get_mut);
        let stream = stream.map(|stream| stream.get_mut().unwrap_or_else(PoisonError::into_inner));
        if stream.is_some_and(|stream| stream.publisher.is_none() && stream.players.is_empty()) {
            streams.remove(name.as_str());
        }
    }
}

#[derive(Default)]
struct Stream {
    publisher: Option<u64>,
    players: Vec<Player>,
    /// The newest of each kind of header: metadata, codec configuration.
    headers: Vec<Frame>,
    /// The frames since the newest key frame.
    group: Vec<Frame>,
    group_bytes: usize,
    has_video: bool,
}

impl Stream {
    fn frame(&mut self, frame: Frame) {
        self.has_video |= frame.kind == MediaKind::Video;
        if frame.role.is_header() {
            let alike =
                |old: &Frame| (old.kind, old.role, old.track) == (frame.kind, frame.role, frame.track);
            self.headers.retain(|old| !alike(old));
            if self.headers.len() < HEADERS {
                self.headers.push(frame.clone());
            }
        }
        // Of sound alone each frame is a beginning.
        let begins = frame.is_video_key() || !self.has_video && frame.role == Role::Key;
        if begins {
            self.group.clear();
            self.group_bytes = 0;
        }
        if (begins || !self.group.is_empty()) && !frame.role.is_header() {
            self.group_bytes += frame.body.len();
            self.group.push(frame.clone());
            if self.group_bytes > GROUP_BYTES || self.group.len() > GROUP_FRAMES {
                self.group = Vec::new();
            }
        }
        // Encoded once for all players with the same format: mostly there is only one.
        let mut encoded = Encoded::default();
        self.players.retain_mut(|player| {
            player.waits_for_key &= !begins;
            let wanted = !player.paused && (frame.role.is_header() || !player.waits_for_key);
            !wanted || player.send(encoded.get(player, &frame))
        });
    }

    /// Gives a newcomer the headers and the newest group, as fast as it takes them.
    fn welcome(&mut self, mut player: Player) {
        let start = self.group.first().map(|frame| frame.dts);
        let headers = self.headers.iter().map(|frame| (frame, start.unwrap_or(frame.dts)));
        for (frame, dts) in headers.chain(self.group.iter().map(|frame| (frame, frame.dts))) {
            if !player.send(player.encoder.encode(frame, dts)) {
                return;
            }
        }
        player.waits_for_key = start.is_none();
        self.players.push(player);
    }
}

/// A play within its connection.
pub(crate) type Play = (StreamSlot, StreamName);

/// A play of a connection.
pub(crate) struct Player {
    id: u64,
    play: Play,
    format: Format,
    encoder: RtmpEncoder,
    outbox: Handle,
    /// Tells the connection's own thread that the stream is over.
    end: Sender<Play>,
    paused: bool,
    waits_for_key: bool,
}

impl Player {
    pub(crate) fn new(
        id: u64,
        name: &StreamName,
        request: &PlayRequest,
        outbox: Handle,
        end: Sender<Play>,
    ) -> Self {
        let (play, format) = ((request.slot, name.clone()), request.format);
        let encoder = RtmpEncoder::new(format);
        Self { id, play, format, encoder, outbox, end, paused: false, waits_for_key: true }
    }

    fn is(&self, id: u64, slot: StreamSlot) -> bool {
        (self.id, self.play.0) == (id, slot)
    }

    /// Sends a packet; false if the player is too slow and has been dropped.
    fn send(&self, packet: Packet) -> bool {
        let kept_up = self.outbox.push(packet.bytes);
        if !kept_up {
            println!("{}: is too slow and has been dropped", self.id);
        }
        kept_up
    }

    fn end(self) {
        let _ = self.end.send(self.play);
    }
}

/// One frame in each format that a player wants.
#[derive(Default)]
struct Encoded(Vec<(Format, Packet)>);

impl Encoded {
    fn get(&mut self, player: &Player, frame: &Frame) -> Packet {
        if let Some((_, packet)) = self.0.iter().find(|(format, _)| *format == player.format) {
            return packet.clone();
        }
        let packet = player.encoder.encode(frame, frame.dts);
        self.0.push((player.format, packet.clone()));
        packet
    }
}

/// The bytes that wait for one peer, and the thread that writes them.
pub(crate) struct Outbox(Handle);

impl Outbox {
    pub(crate) fn new(socket: TcpStream) -> Self {
        let (sender, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let socket = Arc::new(socket);
        let handle = Handle { sender, waiting: waiting.clone(), socket: socket.clone() };
        thread::spawn(move || write(&socket, &receiver, &waiting));
        Self(handle)
    }

    pub(crate) fn handle(&self) -> Handle {
        self.0.clone()
    }
}

/// A way to an [`Outbox`], for whoever has something for its peer. The thread ends when the last is gone and all is
/// written.
#[derive(Clone)]
pub(crate) struct Handle {
    sender: Sender<Slice>,
    waiting: Arc<AtomicUsize>,
    socket: Arc<TcpStream>,
}

impl Handle {
    /// Queues bytes and never waits; false if the queue is full, and then the connection is over.
    pub(crate) fn push(&self, bytes: Slice) -> bool {
        let size = bytes.len() + ENTRY;
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > QUEUE || self.sender.send(bytes).is_err()
        {
            let _ = self.socket.shutdown(Shutdown::Both);
            return false;
        }
        true
    }
}

fn write(mut socket: &TcpStream, queue: &Receiver<Slice>, waiting: &AtomicUsize) {
    let _ = socket.set_write_timeout(Some(PATIENCE));
    for bytes in queue {
        if socket.write_all(&bytes).is_err() {
            break;
        }
        waiting.fetch_sub(bytes.len() + ENTRY, Ordering::Relaxed);
    }
    let _ = socket.shutdown(Shutdown::Both);
}

/// A thread that has panicked leaves nothing half done here that others could not go on with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use crtmp_media::{Codec, Limits};

    use super::*;

    /// An outbox that nobody writes from, and its queue.
    fn stuck() -> (Handle, Receiver<Slice>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (sender, receiver) = channel();
        let socket = Arc::new(listener.accept().unwrap().0);
        (Handle { sender, waiting: Arc::default(), socket }, receiver, peer)
    }

    fn player(id: u64, outbox: Handle) -> (Player, Receiver<Play>) {
        let (end, ended) = channel();
        let format = RtmpEncoder::format(1, 60_000);
        let play = PlayRequest {
            request: crtmp_media::RequestId(1),
            slot: StreamSlot(1),
            name: String::new(),
            start_ms: -2000,
            duration_ms: -1,
            format,
            encoder: RtmpEncoder::make,
            join: crtmp_media::Join::Policy,
        };
        (Player::new(id, &name(), &play, outbox, end), ended)
    }

    fn frame(kind: MediaKind, role: Role, dts: i64, size: usize) -> Frame {
        let body = Slice::from(vec![dts as u8; size]);
        Frame { kind, role, codec: Codec::Avc, track: 0, dts, cts: 0, body, data_at: 0 }
    }

    fn name() -> StreamName {
        StreamName::new("live", "film", &Limits::default()).unwrap()
    }

    /// The last byte of each packet: the time of its frame.
    fn times(queue: &Receiver<Slice>) -> Vec<u8> {
        queue.try_iter().map(|packet| packet[packet.len() - 1]).collect()
    }

    #[test]
    fn a_queue_is_full_at_its_limit() {
        for (more, good) in [(-1, true), (0, true), (1, false)] {
            let (outbox, _queue, _peer) = stuck();
            assert!(outbox.push(vec![0; QUEUE / 2 - ENTRY].into()));
            let rest = (QUEUE / 2 - ENTRY).saturating_add_signed(more);
            assert_eq!(outbox.push(vec![0; rest].into()), good);
        }
    }

    #[test]
    fn newcomers_get_headers_and_the_newest_group_and_slow_players_go_alone() {
        let streams = Streams::default();
        assert!(streams.publish(&name(), 1) && !streams.publish(&name(), 2));
        let (outbox, early, _peer) = stuck();
        streams.play(&name(), player(3, outbox).0);
        streams.frame(&name(), frame(MediaKind::Video, Role::Config, 0, 5));
        streams.frame(&name(), frame(MediaKind::Audio, Role::Key, 1, 5));
        streams.frame(&name(), frame(MediaKind::Video, Role::Key, 2, 5));
        streams.frame(&name(), frame(MediaKind::Video, Role::Delta, 3, 5));
        streams.frame(&name(), frame(MediaKind::Video, Role::Key, 4, 5));
        streams.frame(&name(), frame(MediaKind::Audio, Role::Key, 5, 5));
        assert_eq!(times(&early), [0, 2, 3, 4, 5], "from a key frame on");
        let (outbox, late, _other_peer) = stuck();
        let (newcomer, ended) = player(4, outbox);
        streams.play(&name(), newcomer);
        assert_eq!(times(&late), [0, 4, 5]);
        // Nobody writes what player 3 is sent; player 4 takes it all.
        for _ in 0..QUEUE / (1024 * 1024) + 1 {
            streams.frame(&name(), frame(MediaKind::Video, Role::Delta, 6, 1024 * 1024));
            assert_eq!(times(&late).len(), 1);
            lock(&streams.stream(&name())).players.iter().filter(|player| player.id == 4).for_each(
                |player| {
                    player.outbox.waiting.store(0, Ordering::Relaxed);
                },
            );
        }
        assert_eq!(lock(&streams.stream(&name())).players.len(), 1);
        streams.unpublish(&name());
        assert_eq!(ended.try_recv(), Ok((StreamSlot(1), name())));
        assert!(lock(&streams.0).is_empty(), "nothing is left of it");
    }

    #[test]
    fn a_group_that_is_too_large_is_not_kept() {
        for (frames, kept) in [(GROUP_FRAMES - 1, true), (GROUP_FRAMES, true), (GROUP_FRAMES + 1, false)] {
            let mut stream = Stream::default();
            stream.frame(frame(MediaKind::Video, Role::Key, 0, 1));
            (1..frames).for_each(|_| stream.frame(frame(MediaKind::Video, Role::Delta, 1, 1)));
            assert_eq!(stream.group.len(), if kept { frames } else { 0 });
        }
        for (bytes, kept) in [(GROUP_BYTES - 1, true), (GROUP_BYTES, true), (GROUP_BYTES + 1, false)] {
            let mut stream = Stream::default();
            stream.frame(frame(MediaKind::Video, Role::Key, 0, bytes));
            assert_eq!(!stream.group.is_empty(), kept);
        }
    }

    #[test]
    fn a_paused_player_goes_on_with_a_key_frame() {
        let streams = Streams::default();
        streams.publish(&name(), 1);
        let (outbox, queue, _peer) = stuck();
        streams.play(&name(), player(2, outbox).0);
        for (paused, role, dts) in [
            (false, Role::Key, 1),
            (true, Role::Key, 2),
            (false, Role::Delta, 3),
            (false, Role::Key, 4),
            (false, Role::Delta, 5),
        ] {
            if matches!(dts, 2 | 3) {
                streams.pause(&name(), 2, StreamSlot(1), paused);
            }
            streams.frame(&name(), frame(MediaKind::Video, role, dts, 5));
        }
        assert_eq!(times(&queue), [1, 4, 5]);
    }
}
