//! Filters of a publication: code of plugins that looks at each frame first.

use std::time::{Duration, Instant};

use crtmp_media::{Error, Frame, References};
use slog::Logger;

use crate::control::{Filter, Filtered};

/// How long a filter may take for one frame; workers have others to serve.
const FRAME_TIME: Duration = Duration::from_millis(20);

/// Frames that took longer before a filter is taken out.
const OVERRUNS: u32 = 3;

/// The filters of a publication, first to last.
#[derive(Default)]
pub(crate) struct Filters {
    list: Vec<Placed>,
    /// Filters judge by roles; the home would find pictures that no other needs only behind them.
    references: References,
}

struct Placed {
    filter: Filter,
    overruns: u32,
}

impl Filters {
    pub(crate) fn new(filters: Vec<Filter>) -> Self {
        let list = filters.into_iter().map(|filter| Placed { filter, overruns: 0 }).collect();
        Self { list, references: References::new() }
    }

    /// What is left of a frame; none: it is left out. `overran` is called for each filter that is taken out.
    ///
    /// # Errors
    ///
    /// If a filter fails: the connection is to be ended rather than served without it.
    pub(crate) fn pass(
        &mut self,
        mut frame: Frame,
        log: &Logger,
        mut overran: impl FnMut(),
    ) -> Result<Option<Frame>, Error> {
        let (mut slow, mut dropped) = (false, false);
        if !self.list.is_empty() {
            self.references.see(&mut frame);
        }
        for placed in &mut self.list {
            let start = Instant::now();
            let passed = (placed.filter.pass)(&frame);
            if start.elapsed() > FRAME_TIME {
                placed.overruns += 1;
                slow = true;
            }
            match passed {
                Ok(Filtered::Kept) => {}
                Ok(Filtered::Dropped) => {
                    dropped = true;
                    break;
                }
                Ok(Filtered::Replaced(other)) => {
                    frame = other;
                    self.references.see(&mut frame);
                }
                Err(reason) => {
                    let name = &placed.filter.name;
                    return Err(Error::ours("filter", format!("the filter {name:?} failed: {reason}")));
                }
            }
        }
        if slow {
            self.list.retain(|placed| {
                let stays = placed.overruns < OVERRUNS;
                if !stays {
                    overran();
                    let (name, ms) = (&placed.filter.name, FRAME_TIME.as_millis());
                    slog::error!(
                        log,
                        "the filter {name:?} is taken out: it took more than {ms} ms {OVERRUNS} times"
                    );
                }
                stays
            });
        }
        Ok((!dropped).then_some(frame))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crtmp_media::{Codec, MediaKind, Role, Slice};

    use super::*;

    fn picture(role: Role, data: &[u8]) -> Frame {
        let body = Slice::from([&[0; 5], data].concat());
        Frame { kind: MediaKind::Video, role, codec: Codec::Avc, track: 0, dts: 0, cts: 0, body, data_at: 5 }
    }

    fn filters(pass: impl FnMut(&Frame) -> Result<Filtered, String> + 'static) -> Filters {
        Filters::new(vec![Filter { name: "test".to_owned(), pass: Box::new(pass) }])
    }

    fn log() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    #[test]
    fn filters_see_which_pictures_no_other_needs() {
        let mut filters = filters(|frame| match frame.role {
            Role::Disposable => Ok(Filtered::Dropped),
            _ => Ok(Filtered::Kept),
        });
        let mut passes = |frame| filters.pass(frame, &log(), || {}).unwrap().is_some();
        let (needed, free) = ([0, 0, 0, 2, 0x41, 7], [0, 0, 0, 2, 0x01, 7]);
        assert!(passes(picture(Role::Delta, &free)), "nothing is known yet");
        assert!(passes(picture(Role::Config, &[1, 0, 0, 0, 0xff])));
        assert!(passes(picture(Role::Delta, &needed)));
        assert!(!passes(picture(Role::Delta, &free)));
    }

    #[test]
    fn a_filter_that_is_slow_and_drops_is_taken_out_too() {
        let mut filters = filters(|_| {
            thread::sleep(FRAME_TIME + Duration::from_millis(5));
            Ok(Filtered::Dropped)
        });
        for overruns in 1..=OVERRUNS {
            let mut removed = 0;
            let frame = picture(Role::Key, &[]);
            assert!(filters.pass(frame, &log(), || removed += 1).unwrap().is_none());
            assert_eq!(
                (removed, filters.is_empty()),
                (u32::from(overruns == OVERRUNS), overruns == OVERRUNS)
            );
        }
    }
}
