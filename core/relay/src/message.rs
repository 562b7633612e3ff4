//! What workers say to each other about streams.

use std::sync::{Arc, atomic::AtomicUsize};

use crtmp_media::Frame;

use crate::{Generation, Source, StreamKey, Subscription};

/// A message to another worker. Messages between two workers arrive in order; a message that comes too late
/// names a generation or a replica that is no more, and is ignored.
#[derive(Debug)]
pub enum RelayMessage {
    /// To a home: this worker has players now, send them headers, group and everything that follows.
    Subscribe {
        /// The stream.
        key: StreamKey,
        /// The publish that the directory named.
        generation: Generation,
        /// Who subscribes.
        subscription: Subscription,
    },
    /// To a home: this worker has no players any more.
    Unsubscribe {
        /// The stream.
        key: StreamKey,
        /// The publish that the directory named.
        generation: Generation,
        /// Who leaves.
        subscription: Subscription,
    },
    /// To a replica: a publish begins here.
    Started {
        /// The replica's key on its worker.
        replica: u64,
        /// The number of the publish.
        generation: Generation,
        /// Headers and the frames from the newest key frame on.
        snapshot: Vec<Frame>,
        /// Whether players of an earlier publish have had these frames.
        repeated: bool,
        /// What came before the first new picture and is for them, too.
        fresh: Vec<Frame>,
        /// Whether what follows continues, picture by picture, what players of the earlier publish have had.
        continues: bool,
    },
    /// To a replica: frames in order.
    Frames {
        /// The replica's key on its worker.
        replica: u64,
        /// The number of the publish.
        generation: Generation,
        /// The frames.
        frames: Vec<Frame>,
        /// The sum of their bytes.
        bytes: usize,
        /// Bytes on the way; to be lessened by `bytes`.
        in_flight: Arc<AtomicUsize>,
        /// Frames were lost before these.
        gap: bool,
    },
    /// To a replica: the publish has ended.
    Stopped {
        /// The replica's key on its worker.
        replica: u64,
        /// The number of the publish.
        generation: Generation,
    },
    /// To a home: another publisher has taken the name.
    Evict {
        /// The stream.
        key: StreamKey,
        /// The publish that has ended.
        generation: Generation,
        /// Who published.
        source: Source,
    },
}
