//! Where a publisher's clock lies on its stream's timeline.

use crtmp_media::{Frame, Role};

use crate::{Recent, Resume};

/// Maps a publisher's times to the stream's.
///
/// A first publisher's times are the stream's times. One that comes back, or takes over, is shifted so that
/// its first coded frame comes where the stream stands, and nothing of it comes earlier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    resume: Option<Resume>,
    /// Nothing comes earlier.
    floor: i64,
    offset: i64,
    fixed: bool,
}

impl Timeline {
    pub(crate) fn new(resume: Option<Resume>) -> Self {
        let floor = resume.map_or(i64::MIN, Resume::at);
        Self { resume, floor, offset: 0, fixed: resume.is_none() }
    }

    /// The time of `frame`, whose `dts` is the publisher's, on the stream's timeline in ms. A server whose clock has
    /// gone on, as far as is known of its `recent` frames, is not shifted anew.
    pub(crate) fn place(&mut self, frame: &Frame, recent: Option<&Recent>) -> i64 {
        let Some(resume) = self.resume else { return frame.dts };
        // Headers often carry time 0 whatever the media's clock says: they do not fix the offset.
        if !self.fixed && !frame.role.is_header() && frame.role != Role::Side {
            self.offset = resume.at().saturating_sub(frame.dts);
            if let Some(offset) = recent.and_then(|recent| recent.same_clock(frame.dts, resume.gap)) {
                self.offset = offset;
                self.floor = resume.dts.saturating_add(1);
            }
            self.fixed = true;
        }
        if !self.fixed {
            // What follows may be of the same clock.
            return if recent.is_some() { resume.dts.saturating_add(1) } else { self.floor };
        }
        frame.dts.saturating_add(self.offset).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{audio, config, key};

    const RESUME: Resume = Resume { dts: 8900, gap: 100 };

    fn place(timeline: &mut Timeline, frame: &Frame) -> i64 {
        timeline.place(frame, None)
    }

    #[test]
    fn a_server_whose_clock_has_gone_on_is_not_shifted() {
        let recent = Recent::default();
        recent.placed(900, 8900);
        for (first, at) in [(901, 8901), (1200, 9200), (900, 9000), (500_000, 9000)] {
            let mut timeline = Timeline::new(Some(RESUME));
            assert_eq!(timeline.place(&key(first), Some(&recent)), at, "{first}");
            assert_eq!(timeline.place(&audio(first + 40), Some(&recent)), at + 40);
        }
    }

    #[test]
    fn a_first_publisher_keeps_its_times() {
        let mut timeline = Timeline::new(None);
        assert_eq!(place(&mut timeline, &config(0, b"a")), 0);
        assert_eq!(place(&mut timeline, &key(3_600_000)), 3_600_000);
        assert_eq!(place(&mut timeline, &audio(3_599_990)), 3_599_990);
    }

    #[test]
    fn a_returning_publisher_goes_on_whatever_its_clock_says() {
        for first in [0, 500_000, -3] {
            let mut timeline = Timeline::new(Some(RESUME));
            assert_eq!(place(&mut timeline, &config(0, b"a")), 9000);
            assert_eq!(place(&mut timeline, &key(first)), 9000);
            assert_eq!(place(&mut timeline, &audio(first - 20)), 9000, "nothing comes earlier");
            assert_eq!(place(&mut timeline, &audio(first + 40)), 9040);
        }
    }
}
