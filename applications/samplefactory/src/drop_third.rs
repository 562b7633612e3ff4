//! The filter `dropThird`: leaves out every third picture that no other needs.

use crtmp_plugin::{Filter, Frame, MediaKind, Pass, Role};
use serde_json::{Map, Value};

/// The filter of a publication.
#[derive(Default)]
pub struct DropThird {
    /// Pictures that no other needs, since the last one that was left out.
    seen: u8,
}

impl Filter for DropThird {
    const NAME: &'static str = "dropThird";

    fn new(_settings: &Map<String, Value>) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn on_frame(&mut self, frame: Frame<'_>) -> Result<Pass, String> {
        if frame.kind() != MediaKind::Video || frame.role() != Role::Disposable {
            return Ok(Pass::Keep);
        }
        self.seen += 1;
        if self.seen < 3 {
            return Ok(Pass::Keep);
        }
        self.seen = 0;
        Ok(Pass::Drop)
    }
}
