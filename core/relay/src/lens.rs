//! What those players see of a stream that are not sent everything.

use std::time::{Duration, Instant};

use crtmp_media::{Encoder, Frame, Limits, MediaKind, Role, View, tag};

use crate::leader::Leader;

/// How long a player that may be sent nothing of what comes is kept.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes of the frames of a stream those of a view: once for each log, never for each player.
#[derive(Debug)]
pub(crate) struct Lens {
    view: View,
    limits: Limits,
    /// The default tracks of video and audio, among those that the view shows.
    leaders: [Leader; 2],
    /// Since when everything that has come was hidden.
    hidden: Option<Instant>,
}

impl Lens {
    /// The lens of a view; none: it shows everything.
    pub(crate) fn new(view: View) -> Option<Box<Self>> {
        // Headers have been read before, whatever the limits were.
        let limits = Limits { mod_ex_links: usize::MAX, message_tracks: 256, ..Limits::default() };
        let lens = || Box::new(Self { view, limits, leaders: [Leader::default(); 2], hidden: None });
        (view != View::ALL).then(lens)
    }

    /// What is seen of a frame at `dts` ms, made ready for `encoder`.
    pub(crate) fn show(
        &mut self,
        frame: &Frame,
        dts: i64,
        now: Instant,
        encoder: &dyn Encoder,
    ) -> Vec<Frame> {
        let is_media =
            frame.kind != MediaKind::Data && matches!(frame.role, Role::Key | Role::Delta | Role::Disposable);
        let shown = self.seen(frame, dts);
        if is_media {
            self.hidden = if shown.is_empty() { self.hidden.or(Some(now)) } else { None };
        }
        let ready = |mut frame: Frame| {
            frame.dts = dts;
            encoder.encode_in_place(&mut frame);
            frame
        };
        shown.into_iter().map(ready).collect()
    }

    fn seen(&mut self, frame: &Frame, dts: i64) -> Vec<Frame> {
        // What has no FourCC has always been sent to everybody.
        if !tag::is_enhanced(frame.kind, &frame.body) || frame.codec == crtmp_media::Codec::None {
            let leads = self.leads(frame, dts);
            return if leads || self.view.tracks { vec![frame.clone()] } else { Vec::new() };
        }
        let parts = frame.split();
        let several = !parts.is_empty();
        let parts = if several { parts } else { vec![frame.clone()] };
        let all = parts.len();
        let mut taken: Vec<Frame> =
            parts.into_iter().filter(|part| self.view.takes(part.kind, part.codec)).collect();
        taken.iter_mut().for_each(|part| self.rank(part, dts));
        if self.view.tracks {
            // The very message, where all of it is shown.
            return if several && taken.len() == all { vec![frame.clone()] } else { taken };
        }
        let default = taken.into_iter().filter(|part| self.leads(part, dts)).last();
        default.and_then(|part| self.alone(&part)).into_iter().collect()
    }

    /// Whether a frame belongs to the default track of what is shown. Asked again, it says the same.
    fn leads(&mut self, frame: &Frame, dts: i64) -> bool {
        match frame.kind {
            MediaKind::Video => self.leaders[0].see(frame, dts),
            MediaKind::Audio => self.leaders[1].see(frame, dts),
            MediaKind::Data => true,
        }
    }

    /// Where the default track of the stream is hidden, the key frames of another one are places to start.
    fn rank(&mut self, frame: &mut Frame, dts: i64) {
        if frame.kind != MediaKind::Video || !matches!(frame.role, Role::Key | Role::Delta) {
            self.leads(frame, dts);
            return;
        }
        let Ok(header) = tag::video(&frame.body, &self.limits) else { return };
        if header.role == Role::Key {
            frame.role = Role::Key;
            frame.role = if self.leads(frame, dts) { Role::Key } else { Role::Delta };
        }
    }

    /// A frame as it would be without track ids.
    fn alone(&self, frame: &Frame) -> Option<Frame> {
        let Some(body) = tag::unwrapped(frame.kind, &frame.body, frame.track) else {
            return Some(frame.clone());
        };
        let header = match frame.kind {
            MediaKind::Audio => tag::audio(&body, &self.limits),
            _ => tag::video(&body, &self.limits),
        };
        Some(Frame { track: 0, data_at: header.ok()?.data_at, body, ..*frame })
    }

    /// What is seen of headers, of which there is one for each track.
    pub(crate) fn headers(&self, headers: &[Frame]) -> Vec<Frame> {
        let shown = |header: &&Frame| {
            !tag::is_enhanced(header.kind, &header.body) || self.view.takes(header.kind, header.codec)
        };
        let shown = headers.iter().filter(shown);
        if self.view.tracks {
            return shown.cloned().collect();
        }
        let shown: Vec<&Frame> = shown.collect();
        let lowest =
            |kind| shown.iter().filter(|header| header.kind == kind).map(|header| header.track).min();
        let default = |header: &&&Frame| {
            let leader = match header.kind {
                MediaKind::Video => self.leaders[0].track(),
                MediaKind::Audio => self.leaders[1].track(),
                MediaKind::Data => None,
            };
            leader.or_else(|| lowest(header.kind)) == Some(header.track)
        };
        shown.iter().filter(default).filter_map(|header| self.alone(header)).collect()
    }

    /// Whether nothing of what comes has been shown for long.
    pub(crate) fn is_dark(&self, now: Instant) -> bool {
        self.hidden.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE)
    }
}
