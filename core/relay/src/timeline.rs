//! Where a publisher's clock lies on its stream's timeline.

use crtmp_media::{Frame, Role};

/// Maps a publisher's times to the stream's.
///
/// A first publisher's times are the stream's times. One that comes back, or takes over, is shifted so that
/// its first coded frame comes where the stream stands, and nothing of it comes earlier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    resume: Option<i64>,
    offset: i64,
    fixed: bool,
}

impl Timeline {
    pub(crate) fn new(resume: Option<i64>) -> Self {
        Self { resume, offset: 0, fixed: resume.is_none() }
    }

    /// The time of `frame`, whose `dts` is the publisher's, on the stream's timeline in ms.
    pub(crate) fn place(&mut self, frame: &Frame) -> i64 {
        let Some(resume) = self.resume else { return frame.dts };
        // Headers often carry time 0 whatever the media's clock says: they do not fix the offset.
        if !self.fixed && !frame.role.is_header() && frame.role != Role::Side {
            self.offset = resume.saturating_sub(frame.dts);
            self.fixed = true;
        }
        if !self.fixed {
            return resume;
        }
        frame.dts.saturating_add(self.offset).max(resume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{audio, config, key};

    #[test]
    fn a_first_publisher_keeps_its_times() {
        let mut timeline = Timeline::new(None);
        assert_eq!(timeline.place(&config(0, b"a")), 0);
        assert_eq!(timeline.place(&key(3_600_000)), 3_600_000);
        assert_eq!(timeline.place(&audio(3_599_990)), 3_599_990);
    }

    #[test]
    fn a_returning_publisher_goes_on_whatever_its_clock_says() {
        for first in [0, 500_000, -3] {
            let mut timeline = Timeline::new(Some(9000));
            assert_eq!(timeline.place(&config(0, b"a")), 9000);
            assert_eq!(timeline.place(&key(first)), 9000);
            assert_eq!(timeline.place(&audio(first - 20)), 9000, "nothing comes earlier");
            assert_eq!(timeline.place(&audio(first + 40)), 9040);
        }
    }
}
