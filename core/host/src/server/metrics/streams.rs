//! Metrics of streams: so many of them are named, and what the others have is summed up.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crtmp_media::{Codec, MediaKind};
use crtmp_reactor::WorkerReport;
use crtmp_relay::{PublishReport, StreamKey, TrackReport};

use super::{
    STREAM_AUDIO, STREAM_BANDWIDTH, STREAM_LAG, STREAM_PLAYERS, STREAM_RECEIVED, STREAM_TRACK, STREAM_VIDEO,
    page::{Labels, Metric, Page},
};
use crate::{secrets::mask_text, server::commands::streams::media_name};

/// What stands for the name of all streams that are not named. Applications have names, so that it is no stream's.
const OTHER: &str = "other";

/// Tracks of a stream that are shown, those with the lowest ids of each kind: a publisher may send 256 of each.
const TRACKS: usize = 16;

/// A count of a stream.
type CountOf = fn(&Stream) -> u64;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Stream {
    players: u64,
    /// Bits in a second.
    bandwidth: u64,
    lag: Duration,
    bytes: u64,
    audio_frames: u64,
    video_frames: u64,
}

/// Adds the streams that are published; `named` of them by name.
pub(super) fn add(page: &mut Page, reports: &[WorkerReport], named: usize) {
    let mut streams: Vec<(&StreamKey, Stream)> = gather(reports).into_iter().collect();
    // By name too, so that equal ones do not change places from page to page.
    let rank = |(key, stream): &(&StreamKey, Stream), (other_key, other): &(&StreamKey, Stream)| {
        let worth = |stream: &Stream| (stream.players, stream.bandwidth);
        worth(other).cmp(&worth(stream)).then_with(|| key.cmp(other_key))
    };
    let named = named.min(streams.len());
    if named > 0 && named < streams.len() {
        streams.select_nth_unstable_by(named - 1, rank);
    }
    let (top, others) = streams.split_at(named);
    let labels = |key: &StreamKey| -> Labels {
        vec![("application", key.application.to_string()), ("stream", mask_text(key.name.as_str()))]
    };
    let named_keys: Vec<&StreamKey> = top.iter().map(|(key, _)| *key).collect();
    let top: Vec<(Labels, Stream)> = top.iter().map(|(key, stream)| (labels(key), *stream)).collect();
    let other = others.iter().fold(Stream::default(), |sum, (_, stream)| sum.and(stream));

    // What `other` has falls when a stream gets a name: only what may fall is told of it.
    let all = || {
        let rest = (vec![("application", String::new()), ("stream", OTHER.to_owned())], other);
        top.iter().cloned().chain([rest])
    };
    page.many(&STREAM_PLAYERS, all().map(|(labels, stream)| (labels, stream.players as f64)));
    page.many(&STREAM_BANDWIDTH, all().map(|(labels, stream)| (labels, stream.bandwidth as f64)));
    page.many(&STREAM_LAG, all().map(|(labels, stream)| (labels, stream.lag.as_secs_f64())));
    let counters: [(&Metric, CountOf); 3] = [
        (&STREAM_RECEIVED, |stream| stream.bytes),
        (&STREAM_AUDIO, |stream| stream.audio_frames),
        (&STREAM_VIDEO, |stream| stream.video_frames),
    ];
    for (metric, of) in counters {
        page.many(metric, top.iter().map(|(labels, stream)| (labels.clone(), of(stream) as f64)));
    }
    let named: HashSet<&StreamKey> = named_keys.into_iter().collect();
    let publishes = reports.iter().flat_map(|report| &report.publishes);
    let publishes = publishes.filter(|publish| named.contains(&publish.key));
    page.many(&STREAM_TRACK, publishes.flat_map(|publish| tracks(publish, labels)));
}

/// The tracks that are shown of a publish, each by labels alone.
fn tracks(publish: &PublishReport, labels: impl Fn(&StreamKey) -> Labels) -> Vec<(Labels, f64)> {
    let of = |kind| publish.tracks.iter().filter(move |track| track.kind == kind).take(TRACKS);
    let all = of(MediaKind::Video).chain(of(MediaKind::Audio));
    let shown = |track: &TrackReport| {
        // What a publisher makes up must not become ever new series.
        let codec =
            if let Codec::Other(_) = track.codec { OTHER.to_owned() } else { track.codec.to_string() };
        let mut labels = labels(&publish.key);
        labels.push(("type", media_name(track.kind).to_owned()));
        labels.push(("track", track.track.to_string()));
        labels.push(("codec", codec));
        (labels, 1.0)
    };
    all.map(shown).collect()
}

/// Each published stream with what its publisher has brought and its players have.
fn gather(reports: &[WorkerReport]) -> HashMap<&StreamKey, Stream> {
    let mut streams: HashMap<&StreamKey, Stream> = HashMap::new();
    for report in reports {
        let of_connections = report
            .connections
            .iter()
            .flat_map(|connection| connection.publishes.iter().map(|stream| (connection.id, stream)));
        let of_sources = report.sources.iter().map(|(source, stream)| (*source, stream));
        let ages: HashMap<_, Duration> = of_connections
            .chain(of_sources)
            .map(|(owner, stream)| ((owner, stream.slot), stream.age))
            .collect();
        for publish in &report.publishes {
            let age = ages.get(&(publish.connection, publish.slot)).copied().unwrap_or_default();
            let counters = &publish.counters;
            let bits = counters.bytes as f64 * 8.0;
            let stream = Stream {
                players: 0,
                bandwidth: (bits / age.as_secs_f64().max(0.001)) as u64,
                lag: Duration::ZERO,
                bytes: counters.bytes,
                audio_frames: counters.audio_frames,
                video_frames: counters.video_frames,
            };
            // A stream that is being taken over has two publishers for a moment.
            let sum = streams.entry(&publish.key).or_default();
            *sum = sum.and(&stream);
        }
    }
    for player in reports.iter().flat_map(|report| &report.players) {
        if let Some(stream) = streams.get_mut(&player.key) {
            stream.players += 1;
            stream.lag = stream.lag.max(player.behind);
        }
    }
    streams
}

impl Stream {
    fn and(self, other: &Self) -> Self {
        Self {
            players: self.players + other.players,
            bandwidth: self.bandwidth.saturating_add(other.bandwidth),
            lag: self.lag.max(other.lag),
            bytes: self.bytes.saturating_add(other.bytes),
            audio_frames: self.audio_frames + other.audio_frames,
            video_frames: self.video_frames + other.video_frames,
        }
    }
}
