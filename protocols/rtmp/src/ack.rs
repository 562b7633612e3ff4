//! Acknowledgements: when to send them, and what to make of those that come.

/// The window that this server announces, in bytes.
pub const OUR_WINDOW: u32 = 2_500_000;

/// Decides when to acknowledge what was received (Adobe's RTMP specification 1.0, §5.4.3 and §5.4.4).
///
/// An acknowledgement is due after half of the peer's window, so that it arrives before the peer, which may stop
/// at the full window, has to. A peer that names no window gets acknowledgements as if it had named
/// [`OUR_WINDOW`]: some encoders wait for them all the same.
#[derive(Debug)]
pub struct Window {
    window: u32,
    received: u32,
    acknowledged: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

impl Window {
    /// The smallest window in use, whatever the peer says: a window of 1 must not bring an answer per byte.
    pub const MIN: u32 = 4096;
    /// The largest window in use, in bytes.
    pub const MAX: u32 = OUR_WINDOW;

    /// The window of a new connection.
    pub const fn new() -> Self {
        Self::starting_at(0)
    }

    /// A window whose count of received bytes begins at `received`, for tests near its wrap at 2³².
    pub const fn starting_at(received: u32) -> Self {
        Self { window: OUR_WINDOW, received, acknowledged: received }
    }

    /// Takes over the window of bytes that the peer set; 0 is ignored, others are brought into range.
    pub fn set(&mut self, window: u32) {
        if window != 0 {
            self.window = window.clamp(Self::MIN, Self::MAX);
        }
    }

    /// Counts `bytes` that arrived; gives the sequence number to acknowledge, modulo 2³², where one is due.
    ///
    /// By common practice the handshake counts too.
    pub fn receive(&mut self, bytes: usize) -> Option<u32> {
        let due = bytes as u64 + u64::from(self.received.wrapping_sub(self.acknowledged));
        self.received = self.received.wrapping_add(bytes as u32);
        if due < u64::from(self.window / 2) {
            return None;
        }
        self.acknowledged = self.received;
        Some(self.received)
    }
}

/// What a peer acknowledged of the bytes sent to it.
///
/// It is counted and never enforced: players exist that acknowledge nothing, and encoders whose numbers
/// start again at 0xF0000000 or go backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerAcks {
    /// Acknowledgements that came.
    pub count: u64,
    /// The sequence number of the last one.
    pub last: u32,
}

impl PeerAcks {
    /// Counts an acknowledgement of `sequence`.
    pub const fn receive(&mut self, sequence: u32) {
        self.count += 1;
        self.last = sequence;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_due_after_half_the_window() {
        let mut window = Window::new();
        window.set(500_000);
        assert_eq!(window.receive(249_999), None);
        assert_eq!(window.receive(1), Some(250_000));
        assert_eq!(window.receive(249_999), None);
        assert_eq!(window.receive(100), Some(500_099));
    }

    /// ACK-01: an encoder that names no window but waits for acknowledgements is served.
    #[test]
    fn a_peer_without_a_window_is_acknowledged() {
        let mut window = Window::new();
        assert_eq!(window.receive(1_249_999), None);
        assert_eq!(window.receive(1), Some(1_250_000));
    }

    /// ACK-02: an encoder that stops when its window is full never stalls at the wrap.
    #[test]
    fn acknowledgements_go_on_over_the_wrap() {
        let start = u32::MAX - (1 << 20);
        let mut window = Window::starting_at(start);
        window.set(500_000);
        let (mut sent, mut acknowledged) = (start, start);
        for _ in 0..(8 << 20) / 1400 {
            sent = sent.wrapping_add(1400);
            if let Some(sequence) = window.receive(1400) {
                assert_eq!(sequence, sent);
                acknowledged = sequence;
            }
            assert!(sent.wrapping_sub(acknowledged) < 500_000);
        }
    }

    /// CTL-04.
    #[test]
    fn odd_windows_are_brought_into_range() {
        let mut window = Window::new();
        window.set(0);
        assert_eq!(window.window, OUR_WINDOW);
        window.set(1);
        assert_eq!(window.receive(2047), None);
        assert_eq!(window.receive(1), Some(2048));
        window.set(u32::MAX);
        assert_eq!(window.window, Window::MAX);
        assert!(window.receive(usize::MAX).is_some());
    }

    /// ACK-03, ACK-04.
    #[test]
    fn acknowledgements_of_the_peer_are_only_counted() {
        let mut acks = PeerAcks::default();
        for sequence in [10, 5, 0xF000_0000] {
            acks.receive(sequence);
        }
        assert_eq!(acks, PeerAcks { count: 3, last: 0xF000_0000 });
    }
}
