//! Where a publisher's clock lies on its stream's timeline.

use crtmp_media::{Frame, Role};

use crate::Resume;

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

    /// Whether it is known where the publisher's clock lies.
    pub(crate) const fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// The publisher's clock is the one that the stream had before: `offset` is to be added to it.
    pub(crate) fn go_on(&mut self, offset: i64) {
        let Some(resume) = self.resume else { return };
        self.offset = offset;
        self.floor = resume.dts.saturating_add(1);
        self.fixed = true;
    }

    /// Nothing is known of the publisher's clock yet, and it may be the one that the stream had before.
    pub(crate) fn may_go_on(&mut self) {
        if let Some(resume) = self.resume {
            self.floor = resume.dts.saturating_add(1);
        }
    }

    /// Whether `dts` of the publisher's clock lies before what the stream has had.
    pub(crate) fn is_past(&self, dts: i64) -> bool {
        self.fixed && self.place_again(dts) < self.floor
    }

    /// The publisher's clock has begun anew: what comes next comes where the stream stands.
    pub(crate) fn begin_anew(&mut self) {
        self.fixed = self.resume.is_none();
    }

    /// The time on the stream's timeline of something that the publisher has sent before, in ms.
    pub(crate) fn place_again(&self, dts: i64) -> i64 {
        dts.saturating_add(self.offset)
    }

    /// The time of `frame`, whose `dts` is the publisher's, on the stream's timeline in ms.
    pub(crate) fn place(&mut self, frame: &Frame) -> i64 {
        let Some(resume) = self.resume else { return frame.dts };
        // Headers often carry time 0 whatever the media's clock says: they do not fix the offset.
        if !self.fixed && !frame.role.is_header() && frame.role != Role::Side {
            self.offset = resume.at().saturating_sub(frame.dts);
            self.floor = resume.at();
            self.fixed = true;
        }
        if !self.fixed {
            return self.floor;
        }
        frame.dts.saturating_add(self.offset).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{audio, config, key};

    const RESUME: Resume = Resume { dts: 8900, gap: 100 };

    #[test]
    fn a_server_whose_clock_has_gone_on_is_not_shifted() {
        let mut timeline = Timeline::new(Some(RESUME));
        timeline.may_go_on();
        assert_eq!(timeline.place(&config(0, b"a")), 8901, "before all that may follow");
        timeline.go_on(8000);
        assert_eq!(timeline.place_again(850), 8850);
        assert_eq!(timeline.place(&key(900)), 8901, "nothing comes earlier");
        assert_eq!(timeline.place(&key(940)), 8940);
        // It was another one.
        let mut timeline = Timeline::new(Some(RESUME));
        timeline.may_go_on();
        assert_eq!(timeline.place(&config(0, b"a")), 8901);
        assert_eq!(timeline.place(&key(500_000)), 9000);
        assert_eq!(timeline.place(&audio(499_980)), 9000);
    }

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
            let mut timeline = Timeline::new(Some(RESUME));
            assert_eq!(timeline.place(&config(0, b"a")), 9000);
            assert_eq!(timeline.place(&key(first)), 9000);
            assert_eq!(timeline.place(&audio(first - 20)), 9000, "nothing comes earlier");
            assert_eq!(timeline.place(&audio(first + 40)), 9040);
        }
    }
}
