//! Frames on their way to an application: bounded, left out by groups of pictures.

use std::collections::HashMap;

use crtmp_media::{Frame, MediaKind, Role};

/// What waits for an application, and who lacks what.
#[derive(Debug)]
pub(super) struct Taps {
    most: usize,
    waiting: usize,
    behind: HashMap<u64, Behind>,
}

/// A connection of which frames were left out.
#[derive(Debug, Default)]
struct Behind {
    left_out: u64,
    /// A picture was left out: those up to the next key frame cannot be decoded.
    needs_key: bool,
}

impl Taps {
    /// At most `most` bytes may wait.
    pub(super) fn new(most: usize) -> Self {
        Self { most, waiting: 0, behind: HashMap::new() }
    }

    /// Takes a frame of a connection: how many were left out before it, or none where it is left out itself.
    pub(super) fn take(&mut self, conn: u64, frame: &Frame) -> Option<u64> {
        let behind = self.behind.get(&conn);
        let size = frame.body.len() + Frame::OVERHEAD;
        // A codec configuration that is lost would spoil everything behind it, so that there is more room for it; but
        // a peer that sends nothing else must not fill the memory.
        let most = if frame.role.is_header() { self.most.saturating_mul(2) } else { self.most };
        let full = self.waiting + size > most && self.waiting > 0;
        let needs_key = behind.is_some_and(|behind| behind.needs_key)
            && frame.kind == MediaKind::Video
            && matches!(frame.role, Role::Delta | Role::Disposable);
        if full || needs_key {
            let behind = self.behind.entry(conn).or_default();
            behind.left_out += 1;
            behind.needs_key |= frame.kind == MediaKind::Video && frame.role != Role::Disposable;
            return None;
        }
        self.waiting += size;
        let left_out = behind.map_or(0, |behind| behind.left_out);
        if let Some(behind) = self.behind.get_mut(&conn) {
            behind.left_out = 0;
            behind.needs_key &= !frame.is_video_key();
        }
        Some(left_out)
    }

    /// A frame has gone to its hook.
    pub(super) fn taken(&mut self, frame: &Frame) {
        self.waiting = self.waiting.saturating_sub(frame.body.len() + Frame::OVERHEAD);
    }

    /// The connection has left.
    pub(super) fn forget(&mut self, conn: u64) {
        self.behind.remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::Codec;

    use super::*;

    fn frame(role: Role, size: usize) -> Frame {
        let body = vec![0; size].into();
        let kind = MediaKind::Video;
        Frame { kind, role, codec: Codec::Avc, track: 0, dts: 0, cts: 0, body, data_at: 0 }
    }

    #[test]
    fn what_does_not_fit_is_left_out_up_to_the_next_key_frame() {
        let mut taps = Taps::new(100 + 2 * Frame::OVERHEAD);
        assert_eq!(taps.take(1, &frame(Role::Key, 60)), Some(0));
        assert_eq!(taps.take(1, &frame(Role::Delta, 40)), Some(0), "just the limit");
        assert_eq!(taps.take(1, &frame(Role::Delta, 1)), None, "one more");
        taps.taken(&frame(Role::Key, 60));
        assert_eq!(taps.take(1, &frame(Role::Delta, 1)), None, "it cannot be decoded");
        assert_eq!(taps.take(2, &frame(Role::Delta, 1)), Some(0), "another stream can");
        assert_eq!(taps.take(1, &frame(Role::Config, 1)), Some(2), "configurations have more room");
        for taken in [frame(Role::Delta, 40), frame(Role::Delta, 1), frame(Role::Config, 1)] {
            taps.taken(&taken);
        }
        assert_eq!(taps.take(1, &frame(Role::Key, 10)), Some(0));
        assert_eq!(taps.take(1, &frame(Role::Delta, 1)), Some(0));
    }

    #[test]
    fn one_frame_always_fits_and_a_disposable_one_costs_nothing_else() {
        let mut taps = Taps::new(100);
        assert_eq!(taps.take(1, &frame(Role::Key, 5000)), Some(0));
        assert_eq!(taps.take(1, &frame(Role::Disposable, 1)), None);
        taps.taken(&frame(Role::Key, 5000));
        assert_eq!(taps.take(1, &frame(Role::Delta, 1)), Some(1));
    }

    #[test]
    fn a_peer_that_sends_nothing_but_configurations_is_bounded_as_well() {
        let mut taps = Taps::new(1000);
        let taken = (0..1000).filter(|_| taps.take(1, &frame(Role::Config, 10)).is_some()).count();
        assert_eq!(taken, 2000 / (10 + Frame::OVERHEAD));
    }
}
