//! What a player makes of the frames that reach it.

use serde::{Deserialize, Serialize};

use crate::clock::{MILLISECOND, SECOND};
use crate::source::stamp_of;
use crate::stamp::{FrameKind, Stamp};

/// How long after the first picture the lag of the start is looked for, in nanoseconds.
pub const START: u64 = 3 * SECOND;

/// What went wrong for a player, and what it got. Everything counts from its first key frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Pictures that came.
    pub pictures: u64,
    /// Audio messages that came.
    pub audios: u64,
    /// Pictures left out that others may need.
    pub lost_pictures: u64,
    /// Pictures left out that no other needs.
    pub lost_disposable: u64,
    /// Audio messages left out.
    pub lost_audios: u64,
    /// Pictures that cannot be decoded because one that they need did not come, with no key frame between.
    pub torn: u64,
    /// How often something was left out and pictures went on with a key frame.
    pub skips: u64,
    /// Frames that came again, or after a later one.
    pub repeated: u64,
    /// Timestamps that went back, for audio and video each.
    pub backward: u64,
}

impl Tally {
    /// Adds what another player got.
    pub fn join(&mut self, other: &Self) {
        let Self {
            pictures,
            audios,
            lost_pictures,
            lost_disposable,
            lost_audios,
            torn,
            skips,
            repeated,
            backward,
        } = *other;
        self.pictures += pictures;
        self.audios += audios;
        self.lost_pictures += lost_pictures;
        self.lost_disposable += lost_disposable;
        self.lost_audios += lost_audios;
        self.torn += torn;
        self.skips += skips;
        self.repeated += repeated;
        self.backward += backward;
    }
}

/// Follows one player's frames.
#[derive(Debug, Default)]
pub struct Judge {
    tally: Tally,
    picture: Option<Stamp>,
    audio: Option<u64>,
    /// A picture that others need is missing since the last key frame.
    broken: bool,
    video_time: u32,
    audio_time: u32,
    /// Arrival and timestamp of the first key frame.
    first: Option<(u64, u32)>,
    lag: i64,
}

impl Judge {
    /// A player that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one message that was fully read at the instant `now`, in nanoseconds; gives its stamp if it is a frame.
    pub fn take(&mut self, kind: u8, timestamp: u32, body: &[u8], now: u64) -> Option<Stamp> {
        let stamp = stamp_of(kind, body)?;
        if stamp.kind.is_picture() {
            self.take_picture(&stamp, timestamp, now);
        } else {
            self.take_audio(&stamp, timestamp);
        }
        Some(stamp)
    }

    /// What was found so far.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// The instant at which the first key frame was fully read, in nanoseconds.
    pub fn first_picture(&self) -> Option<u64> {
        self.first.map(|(arrival, _)| arrival)
    }

    /// How much media a player must buffer that begins to show the first picture at once, in nanoseconds: by how much
    /// timestamps ran ahead of arrival in the first [three seconds](START).
    pub fn start_lag(&self) -> u64 {
        self.lag.max(0).unsigned_abs()
    }

    fn take_picture(&mut self, stamp: &Stamp, timestamp: u32, now: u64) {
        let key = stamp.kind == FrameKind::Key;
        match self.picture {
            None if !key => {
                self.tally.torn += 1;
                return;
            }
            None => self.first = Some((now, timestamp)),
            Some(last) if stamp.sequence <= last.sequence => {
                self.tally.repeated += 1;
                return;
            }
            Some(last) => {
                let missing = stamp.sequence - last.sequence - 1;
                let needed = u64::from(last.kind != FrameKind::Disposable);
                let lost = stamp.references.saturating_sub(last.references + needed).min(missing);
                self.tally.lost_pictures += lost;
                self.tally.lost_disposable += missing - lost;
                self.tally.skips += u64::from(key && lost > 0);
                self.broken = !key && (self.broken || lost > 0);
                self.tally.torn += u64::from(self.broken);
                self.tally.backward += u64::from(before(timestamp, self.video_time));
            }
        }
        self.tally.pictures += 1;
        self.video_time = timestamp;
        self.picture = Some(*stamp);
        if let Some((arrival, time)) = self.first
            && now - arrival <= START
        {
            let media = i64::from(timestamp.wrapping_sub(time).cast_signed()) * MILLISECOND as i64;
            self.lag = self.lag.max(media - (now - arrival).cast_signed());
        }
    }

    fn take_audio(&mut self, stamp: &Stamp, timestamp: u32) {
        if self.picture.is_none() {
            return;
        }
        if let Some(last) = self.audio {
            if stamp.sequence <= last {
                self.tally.repeated += 1;
                return;
            }
            self.tally.lost_audios += stamp.sequence - last - 1;
            self.tally.backward += u64::from(before(timestamp, self.audio_time));
        }
        self.tally.audios += 1;
        self.audio_time = timestamp;
        self.audio = Some(stamp.sequence);
    }
}

/// Whether `time` lies before `other`, in milliseconds modulo 2³².
const fn before(time: u32, other: u32) -> bool {
    time.wrapping_sub(other).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use crtmp_rtmp::message::kind;

    use super::*;

    /// Pictures as letters: K key, P inter, D disposable; lower case: not delivered.
    fn watch(pictures: &str) -> Tally {
        let (mut judge, mut references) = (Judge::new(), 0);
        for (number, letter) in pictures.chars().enumerate() {
            let frame = match letter.to_ascii_uppercase() {
                'K' => FrameKind::Key,
                'P' => FrameKind::Inter,
                _ => FrameKind::Disposable,
            };
            let number = number as u64;
            let stamp = Stamp { kind: frame, sequence: number, gop: 0, references, due: 0 };
            references += u64::from(frame != FrameKind::Disposable);
            if letter.is_uppercase() {
                judge.take(kind::VIDEO, number as u32 * 40, &body(&stamp), number * 40 * MILLISECOND);
            }
        }
        judge.tally()
    }

    fn body(stamp: &Stamp) -> Vec<u8> {
        let mut body = vec![0x17, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend(stamp.encode());
        body
    }

    #[test]
    fn a_picture_is_torn_when_one_that_it_needs_is_missing() {
        assert_eq!(watch("KPPPKPP"), Tally { pictures: 7, ..Tally::default() });
        let tally = watch("KPpPPKP");
        assert_eq!((tally.lost_pictures, tally.torn, tally.skips), (1, 2, 0));
        assert_eq!(watch("ppPPKP").torn, 2);
    }

    #[test]
    fn whole_groups_left_out_tear_nothing() {
        let tally = watch("KPpppkppKPP");
        assert_eq!((tally.lost_pictures, tally.torn, tally.skips), (6, 0, 1));
    }

    #[test]
    fn disposable_pictures_left_out_tear_nothing() {
        let tally = watch("KDPdPDPdPdK");
        assert_eq!((tally.lost_pictures, tally.lost_disposable, tally.torn, tally.skips), (0, 3, 0, 0));
        let tally = watch("KDPdpDPK");
        assert_eq!((tally.lost_pictures, tally.lost_disposable, tally.torn), (1, 1, 2));
    }

    #[test]
    fn the_lag_of_a_start_is_what_comes_at_once() {
        let mut judge = Judge::new();
        for number in 0..100_u64 {
            let frame = if number == 0 { FrameKind::Key } else { FrameKind::Inter };
            let stamp = Stamp { kind: frame, sequence: number, gop: 0, references: number, due: 0 };
            // 26 pictures come at once, the others when they are due.
            let arrival = number.saturating_sub(25) * 40 * MILLISECOND;
            judge.take(kind::VIDEO, number as u32 * 40, &body(&stamp), arrival);
        }
        assert_eq!(judge.start_lag(), SECOND);
        assert_eq!(judge.tally().torn, 0);
    }

    #[test]
    fn what_comes_again_or_goes_back_is_counted() {
        let mut judge = Judge::new();
        for (number, time) in [(0, 100), (1, 60), (1, 61)] {
            let frame = if number == 0 { FrameKind::Key } else { FrameKind::Inter };
            let stamp = Stamp { kind: frame, sequence: number, gop: 0, references: number, due: 0 };
            judge.take(kind::VIDEO, time, &body(&stamp), 0);
        }
        assert_eq!((judge.tally().backward, judge.tally().repeated), (1, 1));
    }
}
