//! How bytes leave: control messages first, then packets straight from the cursors, in one system call.

use std::{
    io::{self, IoSlice},
    time::Duration,
};

use crtmp_media::{Error, OutQueue, ahead};
use crtmp_relay::{Flush, Relay, Slices};

use crate::{
    connection::{Connection, LINGER, State},
    guard::{Caught, guarded},
    shared::Shared,
};

/// Bytes that one connection may send in one turn; then the others have theirs.
const BUDGET: usize = 256 * 1024;

/// Bytes that the system holds unsent from which on it is asked at each turn: a player that reads has fewer.
const NOTABLE: u64 = 64 * 1024;

/// How often it is looked at what the system holds unsent of a player that takes everything.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Bytes that a connection may send in the turn in which it begins to play: the answer and the first picture.
/// Many may begin at once, and the last of them waits for the others.
const FIRST_BUDGET: usize = 16 * 1024;

/// Bytes of media that wait between the layers of a chain, at most, before another packet is taken.
const CHAIN_MEDIA: usize = 64 * 1024;

impl Connection {
    /// Asks for the memory that sending to players will need.
    pub(crate) fn fetch_to_send(&self, depth: usize, relay: &Relay) {
        match depth {
            0 => ahead::fetch(self),
            1 => {
                self.chain.fetch(0);
                ahead::fetch(self.plays.as_slice());
            }
            _ => self.plays.iter().for_each(|played| relay.fetch_player(played.player, depth - 2)),
        }
    }

    /// Sends what there is to send, as far as the socket takes it.
    pub(crate) fn flush(&mut self, shared: &mut Shared) {
        if self.carrier.is_tunnel() {
            return self.flush_tunnel(shared);
        }
        let before = self.bytes_out;
        self.send(shared);
        self.acknowledge(before);
    }

    /// While a connection is being set up, has the system acknowledge without delay what got no answer:
    /// `before` is what had been sent before this turn.
    ///
    /// Clients send the last part of the handshake and their first commands in small writes. Their side holds
    /// each back until the one before is acknowledged, and ours would wait 40 ms with that: for nothing, since
    /// not every one of them gets an answer to travel with.
    fn acknowledge(&mut self, before: u64) {
        let unanswered = std::mem::take(&mut self.unanswered) && self.bytes_out == before;
        #[cfg(target_os = "linux")]
        if unanswered && self.publishes.is_empty() && self.plays.is_empty() {
            self.carrier.acknowledge();
        }
    }

    pub(crate) fn send(&mut self, shared: &mut Shared) {
        if matches!(self.state, State::Draining(_) | State::Gone) {
            return;
        }
        if !self.writable {
            return self.check_queue(shared);
        }
        if !self.prepare_plays(shared) {
            return;
        }
        if self.outbound {
            self.tell_begun(shared);
        }
        let mut budget = if std::mem::take(&mut self.newcomer) { FIRST_BUDGET } else { BUDGET };
        loop {
            match self.write_once(shared, budget) {
                Ok(Written::Nothing) => break,
                Ok(Written::All(count)) => {
                    self.stalled_since = None;
                    budget = budget.saturating_sub(count);
                    if budget == 0 {
                        return self.wants_flush(shared);
                    }
                }
                Ok(Written::Some) => {
                    // The next edge says when there is room again.
                    self.stalled_since = Some(shared.now);
                    return self.rest(shared);
                }
                Ok(Written::None) => {
                    self.stalled_since.get_or_insert(shared.now);
                    self.rest(shared);
                    return self.check_queue(shared);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.end(shared, &format!("the socket failed: {error}")),
            }
        }
        self.go_on(shared);
        self.on_flushed(shared);
    }

    /// The socket is full: the next edge says when there is room again.
    pub(crate) fn rest(&mut self, shared: &mut Shared) {
        self.writable = false;
        self.unsettled = true;
        self.resting = true;
        for played in &self.plays {
            shared.relay.set_ready(played.player, false);
        }
    }

    /// The socket has taken everything.
    fn go_on(&mut self, shared: &mut Shared) {
        if std::mem::take(&mut self.resting) {
            for played in &self.plays {
                shared.relay.set_ready(played.player, true);
            }
        }
    }

    /// Whether a layer has something to say, and waits for the far side with it.
    pub(crate) fn holds_back(&self) -> bool {
        self.is_sound() && !self.chain.is_paused() && (self.chain.queued() > 0 || self.chain.owes())
    }

    /// Everything that was to be said has gone out.
    pub(crate) fn on_flushed(&mut self, shared: &mut Shared) {
        if self.outbound && self.holds_back() {
            return;
        }
        if let State::Flushing(_) = self.state {
            if self.part() {
                return self.wants_flush(shared);
            }
            if self.carrier.finish() {
                self.state = State::Draining(shared.now + LINGER);
                self.on_readable(shared);
            } else {
                self.state = State::Gone;
                self.unsettled = true;
            }
        }
    }

    /// Control messages may not pile up for a peer that does not read.
    fn check_queue(&mut self, shared: &mut Shared) {
        // Where a layer changes bytes, media waits in the same queues, the last packet taken of any size.
        let media = if self.chain.is_direct() { 0 } else { CHAIN_MEDIA + shared.limits.message_size };
        let limit = shared.limits.control_queue + media;
        if self.state == State::Open && self.is_sound() && self.chain.queued() > limit {
            let rule = format!(
                "more than controlQueue = {} bytes wait for a peer that does not read",
                shared.limits.control_queue
            );
            self.fail(&Error::peer("tcp", rule), shared);
            self.state = State::Gone;
        }
    }

    /// Returns whether the connection is still there.
    fn prepare_plays(&mut self, shared: &mut Shared) -> bool {
        if self.plays.is_empty() {
            return true;
        }
        // A socket with room may still hide much: the system's buffer grows with a slow player.
        let judge = self.stalled_since.is_some() || self.look_at <= shared.now || self.unsent > NOTABLE;
        let mut unsent = 0;
        if judge {
            self.look_at = shared.now + LOOK_PERIOD;
            let queued = if self.is_sound() { self.chain.queued() as u64 } else { 0 };
            // A socket that cannot say it is about to fail, and says so when it is written to.
            self.unsent = self.carrier.unsent().unwrap_or_default();
            unsent = queued + self.unsent;
            if self.is_unheard() {
                self.lose(shared);
                return false;
            }
        }
        let flush = Flush { now: shared.now, limits: &shared.limits, judge, unsent };
        if self.plays.iter().all(|played| shared.relay.prepare(played.player, flush)) {
            return true;
        }
        shared.counters.players_cut += 1;
        let rule = "the player has been too far behind live for longer than playerCut";
        self.fail(&Error::peer("tcp", rule), shared);
        self.state = State::Gone;
        self.unsettled = true;
        false
    }

    fn write_once(&mut self, shared: &mut Shared, budget: usize) -> io::Result<Written> {
        if !self.is_sound() {
            return Ok(Written::Nothing);
        }
        let direct = self.chain.is_direct();
        if !direct {
            self.fill_chain(shared);
        }
        let chain = &mut self.chain;
        let queue = match guarded(|| chain.send()) {
            Ok(queue) => queue,
            Err(Caught::Error(error) | Caught::Panic(error)) => return Err(io::Error::other(error)),
        };
        let mut slices = Slices::new();
        slices.extend(self.partial.as_ref().map(|partial| IoSlice::new(partial.rest())));
        let fits = push_queue(queue, &mut slices);
        let control: usize = queue.len();
        if direct && fits {
            let mut left = budget;
            for played in &self.plays {
                let before = slices.len();
                let all = shared.relay.fill(played.player, &mut slices, left);
                let added: usize = slices[before..].iter().map(|slice| slice.len()).sum();
                left = left.saturating_sub(added);
                // What goes out is taken off the players in their order, each as far as it has something.
                if !all {
                    break;
                }
            }
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total == 0 {
            return Ok(Written::Nothing);
        }
        shared.counters.writes += 1;
        let written = self.carrier.write(&slices);
        drop(slices);
        let written = match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::None),
            other => other?,
        };
        self.bytes_out += written as u64;
        shared.written += written as u64;
        // What travels in a tunnel is counted where that goes out.
        if !self.carrier.is_tunnel() {
            shared.counters.bytes_out += written as u64;
        }
        let mut left = written;
        if let Some(partial) = self.partial.take() {
            (left, self.partial) = partial.advance(left);
        }
        let from_queue = left.min(control);
        queue.advance(from_queue);
        left -= from_queue;
        for played in &self.plays {
            if left == 0 {
                break;
            }
            (left, self.partial) = shared.relay.advance(played.player, left);
        }
        Ok(if written == total { Written::All(written) } else { Written::Some })
    }

    /// Moves packets into a chain whose layers change bytes, a bounded number at a time.
    fn fill_chain(&mut self, shared: &mut Shared) {
        for played in &self.plays {
            while self.chain.queued() < CHAIN_MEDIA {
                let Some(packet) = shared.relay.next_packet(played.player) else { break };
                self.chain.push_packet(packet);
            }
        }
    }
}

enum Written {
    /// There was nothing to send.
    Nothing,
    /// The socket took everything that was offered: so many bytes.
    All(usize),
    /// The socket took a part.
    Some,
    /// The socket took nothing.
    None,
}

/// Returns whether the whole queue fits.
fn push_queue<'a>(queue: &'a OutQueue, slices: &mut Slices<'a>) -> bool {
    for slice in queue.slices() {
        if slices.is_full() {
            return false;
        }
        slices.push(IoSlice::new(slice));
    }
    true
}
