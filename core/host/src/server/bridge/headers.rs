//! The newest codec configurations of what an application's connections publish, for whoever asks.

use std::{collections::HashMap, sync::Mutex};

use crtmp_media::{Frame, MediaKind};

use super::lock;

/// By connection; nothing here depends on how many there are.
#[derive(Default)]
pub(super) struct Headers(Mutex<HashMap<u64, Vec<Header>>>);

/// One of few: a connection has two for each of its publications.
struct Header {
    stream_id: u32,
    kind: MediaKind,
    frame: Frame,
}

impl Headers {
    /// A publication has this one from now on. The newest publication stays last, whatever others change.
    pub(super) fn put(&self, conn: u64, stream_id: u32, kind: MediaKind, frame: Frame) {
        let mut all = lock(&self.0);
        let theirs = all.entry(conn).or_default();
        match theirs.iter_mut().find(|header| (header.stream_id, header.kind) == (stream_id, kind)) {
            // Of several tracks the default one counts.
            Some(header) if header.frame.track < frame.track => {}
            Some(header) => header.frame = frame,
            None => theirs.push(Header { stream_id, kind, frame }),
        }
    }

    /// That of a message stream; with 0 that of the newest publication that has one.
    pub(super) fn find(&self, conn: u64, stream_id: u32, kind: MediaKind) -> Option<Frame> {
        let all = lock(&self.0);
        let wanted =
            |header: &&Header| header.kind == kind && (stream_id == 0 || header.stream_id == stream_id);
        all.get(&conn)?.iter().rev().find(wanted).map(|header| header.frame.clone())
    }

    /// The publication on a message stream has ended.
    pub(super) fn end(&self, conn: u64, stream_id: u32) {
        let mut all = lock(&self.0);
        let Some(theirs) = all.get_mut(&conn) else { return };
        theirs.retain(|header| header.stream_id != stream_id);
        if theirs.is_empty() {
            all.remove(&conn);
        }
    }

    /// The connection has left.
    pub(super) fn forget(&self, conn: u64) {
        lock(&self.0).remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::Limits;
    use crtmp_plugin::foreign::read_frame;

    use super::*;

    #[test]
    fn each_publication_has_its_own() {
        let headers = Headers::default();
        let video = |dts| {
            read_frame(MediaKind::Video, dts, b"\x17\0\0\0\0\x01", &Limits::default()).expect("a header")
        };
        let found = |conn, stream_id| headers.find(conn, stream_id, MediaKind::Video).map(|frame| frame.dts);
        headers.put(1, 1, MediaKind::Video, video(10));
        headers.put(1, 2, MediaKind::Video, video(20));
        headers.put(2, 1, MediaKind::Video, video(30));
        assert_eq!(
            (found(1, 1), found(1, 2), found(1, 0), found(2, 0)),
            (Some(10), Some(20), Some(20), Some(30))
        );
        headers.put(1, 1, MediaKind::Video, video(11));
        assert_eq!((found(1, 1), found(1, 0)), (Some(11), Some(20)), "2 is the newer publication");
        assert!(headers.find(1, 1, MediaKind::Audio).is_none());
        headers.end(1, 2);
        assert_eq!((found(1, 0), found(1, 2)), (Some(11), None), "the end of one is not that of the other");
        headers.end(1, 1);
        headers.forget(2);
        headers.end(3, 1);
        assert!(lock(&headers.0).is_empty());
    }
}
