//! Which track of several speaks for a stream.

use crtmp_media::{Frame, Role};

/// Media time in ms after which a track that has stopped speaks for nobody.
const GONE: i64 = 5000;

/// The default track of one kind: the one with the lowest id, as Enhanced RTMP recommends ("Track Ordering"), as long as
/// it is there. Players start at its key frames; what the others need goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leader {
    track: Option<u8>,
    /// When it was heard of last, in ms.
    heard: i64,
}

impl Leader {
    /// Takes note of a frame of its kind at `dts` ms; returns whether it belongs to the default track.
    pub(crate) fn see(&mut self, frame: &Frame, dts: i64) -> bool {
        let starts = matches!(frame.role, Role::Config | Role::Key);
        let leads = match self.track {
            Some(track) if frame.track == track => true,
            Some(track) if frame.track < track => starts,
            Some(_) => frame.role == Role::Key && dts.saturating_sub(self.heard) >= GONE,
            None => starts,
        };
        if leads {
            *self = Self { track: Some(frame.track), heard: self.heard.max(dts) };
        }
        leads || self.track.is_none()
    }

    /// The default track, once there is one.
    pub(crate) const fn track(self) -> Option<u8> {
        self.track
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, delta, key};

    fn of(track: u8, frame: Frame) -> (Frame, i64) {
        let dts = frame.dts;
        (Frame { track, ..frame }, dts)
    }

    #[test]
    fn the_lowest_track_leads_as_long_as_it_is_there() {
        let mut leader = Leader::default();
        let mut see = |(frame, dts): (Frame, i64)| leader.see(&frame, dts);
        assert!(see(of(2, delta(0))), "nobody leads yet");
        assert!(see(of(2, key(40))));
        assert!(!see(of(3, key(40))));
        assert!(see(of(1, config(80, b"c"))), "it comes later, and is the lower one");
        assert!(!see(of(2, key(1000))));
        assert!(see(of(1, key(1000))));
        assert!(see(of(1, delta(2000))));
        assert!(!see(of(2, key(6999))));
        assert!(!see(of(2, delta(7000))), "no place to start");
        assert!(see(of(2, key(7040))), "the other has gone");
        assert!(!see(of(1, delta(7040))), "it cannot lead from here");
        assert!(see(of(1, key(8000))));
    }
}
