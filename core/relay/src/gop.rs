//! The frames that a newcomer needs: headers, and all since the newest key frame.

use std::collections::VecDeque;

use crtmp_media::{Frame, Limits, MediaKind, Role, ahead};

/// Headers and the current group of pictures of a stream, as frames.
///
/// Bounded by messages, bytes and media time whatever the source sends: a group that passes a bound is
/// dropped whole, and newcomers wait for the next key frame. A stream without video keeps headers only.
#[derive(Debug, Default)]
pub(crate) struct Gop {
    headers: Vec<Frame>,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The time of the group's key frame in ms.
    start: i64,
    dropped: u64,
}

impl Gop {
    /// Takes note of `frame` where it is a header, and keeps no group: nobody needs it, or it is kept elsewhere.
    pub(crate) fn push_header(&mut self, frame: &Frame, limits: &Limits) {
        self.clear_frames();
        if frame.role.is_header() {
            self.set_header(frame, limits);
        }
    }

    pub(crate) fn push(&mut self, frame: Frame, limits: &Limits) {
        if frame.role.is_header() {
            let changed = self.set_header(&frame, limits);
            if changed && frame.role == Role::Config {
                self.clear_frames();
                return;
            }
        } else if frame.is_video_key() {
            self.clear_frames();
            self.start = frame.dts;
        } else if self.frames.is_empty() {
            return;
        }
        // Only a key frame starts a group; a repeated header within one is kept in its place.
        if self.frames.is_empty() && !frame.is_video_key() {
            return;
        }
        self.bytes += frame.body.len();
        let age = frame.dts.saturating_sub(self.start);
        make_room(&mut self.frames);
        self.frames.push_back(frame);
        if self.frames.len() > limits.gop_messages
            || self.bytes > limits.gop_bytes
            || u128::try_from(age).is_ok_and(|ms| ms > limits.gop_time.get().as_millis())
        {
            self.clear_frames();
            self.dropped += 1;
        }
    }

    /// The newest header of each track: metadata, then video, then audio, each by track.
    pub(crate) fn headers(&self) -> &[Frame] {
        &self.headers
    }

    /// Asks for the memory at its end, where the next frame goes.
    pub(crate) fn fetch(&self) {
        self.frames.back().into_iter().for_each(ahead::fetch);
    }

    /// Headers, then the group from its key frame on.
    pub(crate) fn snapshot(&self) -> Vec<Frame> {
        self.headers.iter().chain(&self.frames).cloned().collect()
    }

    /// Bytes of the group, headers not counted.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages of the group, headers not counted.
    pub(crate) fn messages(&self) -> usize {
        self.frames.len()
    }

    /// Groups that were dropped because they passed a bound.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn clear(&mut self) {
        self.headers.clear();
        self.clear_frames();
    }

    pub(crate) fn clear_frames(&mut self) {
        // Who shares a frame is counted beside its body, and all these counts are far away.
        self.frames.iter().for_each(|frame| ahead::fetch(&frame.body[..frame.body.len().min(1)]));
        self.frames.clear();
        self.bytes = 0;
    }

    /// Returns whether the header says something new. One of several tracks is taken apart: each of them may change alone.
    fn set_header(&mut self, frame: &Frame, limits: &Limits) -> bool {
        let parts = frame.split();
        if parts.is_empty() {
            return self.set_header_of_track(frame, limits);
        }
        let mut changed = false;
        for part in &parts {
            changed |= self.set_header_of_track(part, limits);
        }
        changed
    }

    fn set_header_of_track(&mut self, frame: &Frame, limits: &Limits) -> bool {
        let slot = slot(frame);
        let at = self.headers.partition_point(|header| self::slot(header) < slot);
        let old = self
            .headers
            .get(at)
            .filter(|header| self::slot(header) == slot)
            .map(|header| header.body.clone());
        // Metadata have a limit of their own.
        let counted = |header: &&Frame| header.kind != MediaKind::Data;
        let others: usize = self.headers.iter().filter(counted).map(|header| header.body.len()).sum();
        let others = others - old.as_ref().filter(|_| counted(&frame)).map_or(0, |old| old.len());
        if counted(&frame) && others + frame.body.len() > limits.header_bytes {
            // An old one would be wrong.
            if old.is_some() {
                self.headers.remove(at);
            }
            return old.is_some();
        }
        let changed = old.as_ref().is_none_or(|old| *old != frame.body);
        match old {
            Some(_) => self.headers[at] = frame.clone(),
            None => self.headers.insert(at, frame.clone()),
        }
        changed
    }
}

/// Makes room for one more. A queue that doubles its room would have twice what it needs, and there are two for each
/// stream.
pub(crate) fn make_room<T>(queue: &mut VecDeque<T>) {
    const STEP: usize = 32;
    if queue.len() == queue.capacity() {
        queue.reserve_exact(STEP.max(queue.len() / 8));
    }
}

/// Which header this is, in the order in which players want them.
fn slot(frame: &Frame) -> (u8, u8, bool) {
    let kind = match frame.kind {
        MediaKind::Data => 0,
        MediaKind::Video => 1,
        MediaKind::Audio => 2,
    };
    (kind, frame.track, frame.role == Role::Info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crtmp_media::{Slice, tag};

    use crate::testing::{audio, audio_config, config, delta, key, metadata};

    fn fill(frames: Vec<Frame>, limits: &Limits) -> Gop {
        let mut gop = Gop::default();
        for frame in frames {
            gop.push(frame, limits);
        }
        gop
    }

    fn times(gop: &Gop) -> Vec<i64> {
        gop.snapshot().iter().map(|frame| frame.dts).collect()
    }

    #[test]
    fn a_newcomer_gets_headers_and_all_since_the_key_frame() {
        let frames = vec![
            audio_config(2, b"aac"),
            metadata(0),
            config(1, b"avc"),
            key(10),
            delta(20),
            audio(25),
            key(50),
            audio(55),
            delta(60),
        ];
        let gop = fill(frames, &Limits::default());
        assert_eq!(times(&gop), [0, 1, 2, 50, 55, 60]);
        assert_eq!(gop.messages(), 3);
    }

    /// MED-01, MED-02.
    #[test]
    fn a_changed_configuration_ends_the_group_and_a_repeated_one_does_not() {
        let start = vec![config(0, b"avc"), key(10), delta(20)];
        let repeated =
            fill([start.clone(), vec![config(30, b"avc"), delta(40)]].concat(), &Limits::default());
        assert_eq!(times(&repeated), [30, 10, 20, 30, 40]);
        let changed = fill([start, vec![config(30, b"avc2"), delta(40)]].concat(), &Limits::default());
        assert_eq!(times(&changed), [30]);
    }

    /// MED-17, and the bounds at −1, 0 and +1.
    #[test]
    fn every_bound_drops_the_group_whole() {
        let limits = Limits { gop_messages: 16, ..Limits::default() };
        let group = |count: i64| std::iter::once(key(0)).chain((1..count).map(delta)).collect::<Vec<_>>();
        for (messages, kept) in [(15, 15), (16, 16), (17, 0)] {
            assert_eq!(fill(group(messages), &limits).messages(), kept);
        }
        let frame_bytes = delta(0).body.len();
        for (slack, kept) in [(1, 4), (0, 4), (-1, 0)] {
            let gop_bytes = (frame_bytes * 4).checked_add_signed(slack).unwrap();
            assert_eq!(fill(group(4), &Limits { gop_bytes, ..Limits::default() }).messages(), kept);
        }
        for (end, kept) in [(29_999, 2), (30_000, 2), (30_001, 0)] {
            let gop = fill(vec![key(0), delta(end)], &Limits::default());
            assert_eq!((gop.messages(), gop.dropped()), (kept, u64::from(kept == 0)));
        }
    }

    #[test]
    fn a_stream_without_key_frames_keeps_no_frames() {
        let gop = fill((0..1000).flat_map(|ms| [audio(ms), delta(ms)]).collect(), &Limits::default());
        assert_eq!((gop.messages(), gop.bytes()), (0, 0));
    }

    /// What a publisher sends.
    fn video(body: &[u8]) -> Frame {
        let tag::TagHeader { codec, role, track, cts, data_at, .. } =
            tag::video(body, &Limits::default()).unwrap();
        let (kind, body) = (MediaKind::Video, Slice::copy_from_slice(body));
        Frame { kind, role, codec, track, dts: 0, cts, body, data_at }
    }

    /// A configuration for each track, also where several came in one message; the newest of each counts.
    #[test]
    fn each_track_has_its_newest_configuration() {
        let limits = Limits::default();
        let both = b"\x96\x20hvc1\x00\x00\x00\x02h0av01\x01\x00\x00\x02a1";
        let mut gop = fill(vec![video(both)], &limits);
        let bodies = |gop: &Gop| gop.headers().iter().map(|header| header.body.to_vec()).collect::<Vec<_>>();
        assert_eq!(bodies(&gop), [&b"\x96\x00hvc1\x00h0"[..], b"\x96\x00av01\x01a1"]);
        gop.push(video(b"\x96\x00av01\x01a2"), &limits);
        gop.push(video(b"\xd6\x04av01\x01colours"), &limits);
        gop.push(video(b"\x90hvc1h1"), &limits);
        let expected: [&[u8]; 3] = [b"\x90hvc1h1", b"\x96\x00av01\x01a2", b"\xd6\x04av01\x01colours"];
        assert_eq!(bodies(&gop), expected);
        gop.push(key(10), &limits);
        gop.push(video(both), &limits);
        assert_eq!(
            (bodies(&gop).len(), gop.messages()),
            (3, 0),
            "what was there is not that of the new ones"
        );
        gop.push(key(20), &limits);
        gop.push(video(both), &limits);
        assert_eq!(gop.messages(), 2, "the same again");
    }

    /// `headerBytes` at −1, 0 and +1.
    #[test]
    fn headers_are_bounded_in_bytes() {
        for (more, kept) in [(-1, 2), (0, 2), (1, 1)] {
            let header_bytes = 100_usize.checked_add_signed(-more).unwrap();
            let limits = Limits { header_bytes, ..Limits::default() };
            let second = Frame { track: 1, ..config(0, &[7; 60]) };
            let mut gop = fill(vec![metadata(0), config(0, &[7; 40]), second], &limits);
            assert_eq!(gop.headers().len(), 1 + kept, "{more}");
            gop.push(config(0, &[7; 41 + 60]), &limits);
            assert!(gop.headers().iter().all(|header| header.body.len() != 40), "an old one would be wrong");
        }
    }
}
