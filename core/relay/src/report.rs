//! Counters as they are shown.

use std::time::{Duration, Instant};

use crtmp_media::{Codec, Format, Frame, MediaKind, Role, StreamSlot};

use crate::{
    Began, ConnectionId, Generation, HomeCounters, Sent, Skips, StreamKey,
    cursor::Cursor,
    home::Home,
    log::Log,
    replica::{Replica, State},
};

/// A publish.
#[derive(Clone, Debug)]
pub struct PublishReport {
    /// The stream.
    pub key: StreamKey,
    /// The number of the publish.
    pub generation: Generation,
    /// The publisher's connection.
    pub connection: ConnectionId,
    /// Its message stream.
    pub slot: StreamSlot,
    /// What it has sent.
    pub counters: HomeCounters,
    /// Workers that have players.
    pub subscribers: Vec<u16>,
    /// Messages kept for newcomers.
    pub gop_messages: usize,
    /// Bytes kept for newcomers.
    pub gop_bytes: usize,
    /// Groups of pictures that were too large to be kept.
    pub gop_dropped: u64,
    /// The newest configuration of its video; of several tracks the default one's.
    pub video_config: Option<Frame>,
    /// Its tracks, video first, by id.
    pub tracks: Vec<TrackReport>,
}

/// A track of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackReport {
    /// Audio or video.
    pub kind: MediaKind,
    /// Its id; 0 where the stream has no ids.
    pub track: u8,
    /// Its codec.
    pub codec: Codec,
}

/// A stream that a worker's players play or wait for.
#[derive(Clone, Debug)]
pub struct ReplicaReport {
    /// The stream.
    pub key: StreamKey,
    /// `waiting`, `live` or `ending`.
    pub state: &'static str,
    /// Its players.
    pub players: usize,
    /// Its logs.
    pub logs: Vec<LogReport>,
}

/// A log.
#[derive(Clone, Copy, Debug)]
pub struct LogReport {
    /// The format of its packets.
    pub format: Format,
    /// Its players.
    pub players: usize,
    /// Packets that it holds.
    pub packets: usize,
    /// Bytes that it holds.
    pub bytes: u64,
}

/// A player.
#[derive(Clone, Debug)]
pub struct PlayerReport {
    /// The stream.
    pub key: StreamKey,
    /// The player's connection.
    pub connection: ConnectionId,
    /// Its message stream.
    pub slot: StreamSlot,
    /// Packets sent, the last one perhaps in part.
    pub packets: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// How it started.
    pub began: Began,
    /// How far behind live its first picture was by its time, in ms.
    pub start_lag: u64,
    /// Pictures that were left out so that it caught up.
    pub left_out_pictures: u64,
    /// Audio packets that were left out so that it caught up.
    pub left_out_audio: u64,
    /// Times that it gave up its place and went on at a newer key frame.
    pub skips: Skips,
    /// Packets that it missed by that.
    pub skipped_packets: u64,
    /// Bytes between it and live.
    pub behind_bytes: u64,
    /// Packets between it and live.
    pub behind_packets: u64,
    /// How long ago the packet came that it gets next.
    pub behind: Duration,
    /// For how long it has been further behind than the limits allow.
    pub too_far_behind: Duration,
    /// The codec of its audio, where that has a configuration.
    pub audio_codec: Option<Codec>,
    /// The codec of its video, where that has a configuration.
    pub video_codec: Option<Codec>,
    /// The newest configuration of its video.
    pub video_config: Option<Frame>,
    /// What it was sent of audio.
    pub audio: Sent,
    /// What it was sent of video.
    pub video: Sent,
}

impl PublishReport {
    pub(crate) fn of(home: &Home) -> Self {
        Self {
            key: home.key.clone(),
            generation: home.generation,
            connection: home.source.connection,
            slot: home.source.slot,
            counters: home.counters,
            subscribers: home.subscribers().map(|subscription| subscription.worker.0).collect(),
            gop_messages: home.gop.messages(),
            gop_bytes: home.gop.bytes(),
            gop_dropped: home.gop.dropped(),
            video_config: home.gop.headers().iter().find(|header| is_video_config(header)).cloned(),
            tracks: tracks(home.gop.headers(), &home.counters),
        }
    }
}

/// The tracks of headers. Some codecs have no configuration: then the newest frame tells.
fn tracks(headers: &[Frame], counters: &HomeCounters) -> Vec<TrackReport> {
    let mut all = Vec::new();
    let frames = [(MediaKind::Video, counters.video_codec), (MediaKind::Audio, counters.audio_codec)];
    for (kind, newest) in frames {
        let configs = headers.iter().filter(|header| (header.kind, header.role) == (kind, Role::Config));
        let before = all.len();
        all.extend(configs.map(|header| TrackReport { kind, track: header.track, codec: header.codec }));
        if all.len() == before {
            all.extend(newest.map(|codec| TrackReport { kind, track: 0, codec }));
        }
    }
    all
}

impl ReplicaReport {
    pub(crate) fn of(replica: &Replica) -> Self {
        let state = match replica.state {
            State::Waiting => "waiting",
            State::Live => "live",
            State::Ending(_) => "ending",
        };
        let logs = replica.logs.iter().map(|entry| LogReport {
            format: entry.format,
            players: entry.players.all().len(),
            packets: entry.log.len(),
            bytes: entry.log.bytes(),
        });
        Self { key: replica.key.clone(), state, players: replica.players(), logs: logs.collect() }
    }
}

impl PlayerReport {
    pub(crate) fn of(
        key: &StreamKey,
        (connection, slot): (ConnectionId, StreamSlot),
        cursor: &Cursor,
        log: &Log,
        now: Instant,
    ) -> Self {
        let behind = cursor.needs().map_or_else(Default::default, |next| log.behind(next, now));
        Self {
            key: key.clone(),
            connection,
            slot,
            packets: cursor.counters.packets,
            bytes: cursor.counters.bytes,
            began: cursor.counters.began,
            start_lag: cursor.counters.start_lag,
            left_out_pictures: cursor.counters.left_out_pictures,
            left_out_audio: cursor.counters.left_out_audio,
            skips: cursor.counters.skips,
            skipped_packets: cursor.counters.skipped_packets,
            behind_bytes: behind.bytes,
            behind_packets: behind.packets,
            behind: behind.age,
            too_far_behind: cursor.too_far_behind(now),
            audio_codec: log.codec(MediaKind::Audio),
            video_codec: log.codec(MediaKind::Video),
            video_config: log.config(MediaKind::Video).cloned(),
            audio: cursor.counters.audio,
            video: cursor.counters.video,
        }
    }
}

fn is_video_config(header: &Frame) -> bool {
    header.kind == MediaKind::Video && header.role == Role::Config
}
