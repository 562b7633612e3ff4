//! What is told to whoever observes the server: connections and streams that come and go, and what streams carry.
//!
//! Everything about one connection and its streams is told by its worker, in the order in which it happens. Nothing is
//! put together that nobody wants, and nothing is looked at for each frame: what streams carry is looked at by the
//! connection's timer.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{Codec, Frame, MediaKind};
use crtmp_relay::{HomeCounters, PlayerReport, PublishReport};

use crate::{
    connection::Connection,
    report::{ConnectionReport, StreamReport},
    shared::Shared,
    streams::{Played, Published},
};

/// How long a publisher that had audio, or video, sends none before that is told.
pub const FEED_SILENCE: Duration = Duration::from_secs(5);

/// How often it is looked at what a stream carries.
const PERIOD: Duration = Duration::from_secs(1);

/// How long new codecs wait to be told: those of audio and video come one after the other.
const SETTLE: Duration = Duration::from_millis(200);

/// How long a publisher's codecs are told of no more than once: it may change them with each message.
const CODECS_GAP: Duration = Duration::from_secs(1);

/// A kind of thing that an observer may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// A connection is there.
    CarrierCreated,
    /// A connection is gone.
    CarrierClosed,
    /// A connection belongs to an application now.
    Registered,
    /// A connection does not belong to its application any more.
    Unregistered,
    /// A publish has begun.
    InStreamCreated,
    /// A publish has ended.
    InStreamClosed,
    /// The codecs of a publish are known, or others.
    InStreamCodecs,
    /// A play has begun.
    OutStreamCreated,
    /// A play has ended.
    OutStreamClosed,
    /// The codecs of a play are known, or others.
    OutStreamCodecs,
    /// A publisher that had audio has sent none for [`FEED_SILENCE`].
    AudioStopped,
    /// A publisher that had video has sent none for [`FEED_SILENCE`].
    VideoStopped,
}

/// What it is about, as it is at that moment.
#[derive(Debug)]
pub enum Seen {
    /// A connection; its lists of streams are empty.
    Connection(Box<ConnectionReport>),
    /// A stream.
    Stream(Box<SeenStream>),
}

/// A publish or a play.
#[derive(Debug)]
pub struct SeenStream {
    /// Whose it is; none: an application publishes it itself. Its lists of streams are empty.
    pub connection: Option<ConnectionReport>,
    /// The application that the stream belongs to.
    pub application: Arc<str>,
    /// Its name and number.
    pub stream: StreamReport,
    /// What a publish has brought, as far as it is still known.
    pub publish: Option<PublishReport>,
    /// What a play has been sent, as far as it is still known.
    pub play: Option<PlayerReport>,
}

/// Asks whether a kind of thing is wanted.
pub type Wants = Box<dyn Fn(Sight) -> bool + Send + Sync>;

/// Takes what was seen, on the worker: must not block.
pub type See = Box<dyn Fn(Sight, Seen) + Send + Sync>;

/// Who is told. It is asked first, so that nothing is put together that it does not want.
pub struct Observer {
    /// Whether it wants to be told such things now; cheap, since it is asked each time.
    pub wants: Wants,
    /// Tells it.
    pub see: See,
}

impl Default for Observer {
    /// Wants nothing.
    fn default() -> Self {
        Self { wants: Box::new(|_| false), see: Box::new(|_, _| {}) }
    }
}

/// What is known of what a publish carries.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The newest configuration of audio and of video, as a number made of it.
    configs: [u64; 2],
    /// The lowest track of each that has come.
    lowest: [u8; 2],
    /// The codecs that were known at the last look.
    codecs: [Option<Codec>; 2],
    /// When the codecs are to be told.
    tell_at: Option<Instant>,
    told: Option<Instant>,
    /// Codec configurations of audio and of video that have come: they are no media.
    headers: [u64; 2],
    feeds: [Feed; 2],
}

#[derive(Clone, Copy, Debug)]
struct Feed {
    frames: u64,
    /// When it was seen first that no more had come.
    still_since: Instant,
    told: bool,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        let feed = Feed { frames: 0, still_since: now, told: false };
        Self {
            configs: [0; 2],
            lowest: [u8::MAX; 2],
            codecs: [None; 2],
            tell_at: None,
            told: None,
            headers: [0; 2],
            feeds: [feed; 2],
        }
    }

    /// Looks at a codec configuration; says whether it is another one.
    pub(crate) fn note(&mut self, frame: &Frame, now: Instant) -> bool {
        let index = match frame.kind {
            MediaKind::Audio => 0,
            MediaKind::Video => 1,
            MediaKind::Data => return false,
        };
        self.headers[index] += 1;
        // Of several tracks the default one speaks for all: that with the lowest id.
        if frame.track > self.lowest[index] {
            return false;
        }
        self.lowest[index] = frame.track;
        let mut hasher = DefaultHasher::new();
        let body: &[u8] = &frame.body;
        (frame.codec, body).hash(&mut hasher);
        let config = hasher.finish();
        if self.configs[index] == config {
            return false;
        }
        self.configs[index] = config;
        self.tell_soon(now);
        true
    }

    /// Whether codecs are to be told. Those without a configuration are seen only here.
    fn codecs_due(&mut self, counters: &HomeCounters, now: Instant) -> bool {
        let codecs = [counters.audio_codec, counters.video_codec];
        if self.codecs != codecs {
            self.codecs = codecs;
            self.tell_soon(now);
        }
        let due = self.tell_at.is_some_and(|at| at <= now);
        if due {
            self.tell_at = None;
            self.told = Some(now);
        }
        due
    }

    /// Which of audio and video has been silent for so long that it is to be told.
    fn feeds_stopped(&mut self, counters: &HomeCounters, now: Instant) -> [bool; 2] {
        let frames = [
            counters.audio_frames.saturating_sub(self.headers[0]),
            counters.video_frames.saturating_sub(self.headers[1]),
        ];
        let mut stopped = [false; 2];
        for ((feed, frames), stopped) in self.feeds.iter_mut().zip(frames).zip(&mut stopped) {
            if feed.frames != frames {
                *feed = Feed { frames, still_since: now, told: false };
            }
            let silent = now.saturating_duration_since(feed.still_since) >= FEED_SILENCE;
            *stopped = silent && frames > 0 && !feed.told;
            feed.told |= *stopped;
        }
        stopped
    }

    fn tell_soon(&mut self, now: Instant) {
        let earliest = self.told.map_or(now, |told| told + CODECS_GAP);
        self.tell_at.get_or_insert(earliest.max(now + SETTLE));
    }

    /// Looks at what a publish carries, and says what is to be told.
    pub(crate) fn look(&mut self, counters: &HomeCounters, now: Instant) -> impl Iterator<Item = Sight> {
        let codecs = self.codecs_due(counters, now).then_some(Sight::InStreamCodecs);
        let [audio, video] = self.feeds_stopped(counters, now);
        let feeds = [audio.then_some(Sight::AudioStopped), video.then_some(Sight::VideoStopped)];
        codecs.into_iter().chain(feeds.into_iter().flatten())
    }
}

impl Shared {
    /// Whether an observer wants to know what streams carry.
    pub(crate) fn watches(&self) -> bool {
        let sights =
            [Sight::InStreamCodecs, Sight::OutStreamCodecs, Sight::AudioStopped, Sight::VideoStopped];
        sights.into_iter().any(|sight| (self.observer.wants)(sight))
    }

    /// When a stream that has just begun is looked at first.
    pub(crate) fn first_look(&self) -> Instant {
        self.now + SETTLE
    }

    /// When streams that go on are looked at next.
    pub(crate) fn next_look(&self) -> Instant {
        self.now + PERIOD
    }

    /// Tells the observer, if it wants to know.
    pub(crate) fn see(&self, sight: Sight, seen: impl FnOnce() -> Seen) {
        if (self.observer.wants)(sight) {
            (self.observer.see)(sight, seen());
        }
    }
}

impl Connection {
    /// Tells of the connection itself.
    pub(crate) fn see_connection(&self, sight: Sight, shared: &Shared) {
        shared.see(sight, || Seen::Connection(Box::new(self.facts(shared.now))));
    }

    /// The connection is there.
    pub(crate) fn see_created(&mut self, shared: &Shared) {
        self.carried = true;
        self.see_connection(Sight::CarrierCreated, shared);
    }

    /// The connection is gone.
    pub(crate) fn see_closed(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.carried) {
            self.see_connection(Sight::CarrierClosed, shared);
        }
    }

    /// Tells of a publish.
    pub(crate) fn see_published(&self, sight: Sight, published: &Published, shared: &Shared) {
        shared.see(sight, || {
            Seen::Stream(Box::new(SeenStream {
                connection: Some(self.facts(shared.now)),
                application: self.owner.as_ref().map(|owner| owner.name.clone()).unwrap_or_default(),
                stream: published.report(shared.now),
                publish: shared.relay.publish_report(published.home),
                play: None,
            }))
        });
    }

    /// Tells of a play.
    pub(crate) fn see_played(&self, sight: Sight, played: &Played, shared: &Shared) {
        shared.see(sight, || {
            Seen::Stream(Box::new(SeenStream {
                connection: Some(self.facts(shared.now)),
                application: self.owner.as_ref().map(|owner| owner.name.clone()).unwrap_or_default(),
                stream: played.report(shared.now),
                publish: None,
                play: shared.relay.player_report(played.player, shared.now),
            }))
        });
    }

    /// Has what the connection's streams carry looked at, if anybody wants to know.
    pub(crate) fn watch(&mut self, shared: &mut Shared) {
        if !(self.publishes.is_empty() && self.plays.is_empty()) && shared.watches() {
            let at = shared.first_look();
            self.look_at_streams = Some(self.look_at_streams.map_or(at, |other| other.min(at)));
            self.wants_flush(shared);
        }
    }

    /// Looks at what the connection's streams carry.
    pub(crate) fn look_at_streams(&mut self, shared: &Shared) {
        let now = shared.now;
        if !shared.watches() {
            self.look_at_streams = None;
            return;
        }
        let mut next = shared.next_look();
        for at in 0..self.publishes.len() {
            let published = &mut self.publishes[at];
            let Some(counters) = shared.relay.counters_of(published.home) else { continue };
            let sights: Vec<Sight> = published.watch.look(&counters, now).collect();
            next = published.watch.tell_at.map_or(next, |tell_at| next.min(tell_at));
            for sight in sights {
                self.see_published(sight, &self.publishes[at], shared);
            }
        }
        for at in 0..self.plays.len() {
            let played = &mut self.plays[at];
            let configs = shared.relay.configs_of(played.player);
            if played.configs != configs {
                played.configs = configs;
                self.see_played(Sight::OutStreamCodecs, &self.plays[at], shared);
            }
        }
        let idle = self.publishes.is_empty() && self.plays.is_empty();
        self.look_at_streams = (!idle).then_some(next);
    }
}

impl Published {
    fn report(&self, now: Instant) -> StreamReport {
        let age = now.saturating_duration_since(self.since);
        let (name, alias) = (self.name.clone(), None);
        StreamReport { slot: self.slot, name, alias, unique: self.unique, age }
    }
}

impl Played {
    fn report(&self, now: Instant) -> StreamReport {
        let age = now.saturating_duration_since(self.since);
        let (name, alias) = (self.name.clone(), self.alias.clone());
        StreamReport { slot: self.slot, name, alias, unique: self.unique, age }
    }
}

impl Connection {
    /// The report of this connection.
    pub(crate) fn report(&self, now: Instant) -> ConnectionReport {
        ConnectionReport {
            publishes: self.publishes.iter().map(|published| published.report(now)).collect(),
            plays: self.plays.iter().map(|played| played.report(now)).collect(),
            ..self.facts(now)
        }
    }

    /// The report without its streams.
    fn facts(&self, now: Instant) -> ConnectionReport {
        let said = |of: fn(&crtmp_media::ConnectInfo) -> &String| {
            self.caller.as_ref().map(|caller| of(&caller.info).clone()).unwrap_or_default()
        };
        ConnectionReport {
            id: self.id,
            peer: self.peer,
            chain: self.chain_name().to_owned(),
            layers: self.chain.names().map(str::to_owned).collect(),
            application: self.owner.as_ref().map(|owner| owner.name.to_string()),
            agent: said(|info| &info.agent),
            age: now.saturating_duration_since(self.opened),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            queued: if self.is_sound() { self.chain.queued() } else { 0 },
            unsent: self.unsent,
            rtt_ms: self.rtt_ms,
            publishes: Vec::new(),
            plays: Vec::new(),
            local: self.local(),
            tc_url: said(|info| &info.tc_url),
            swf_url: said(|info| &info.swf_url),
            page_url: said(|info| &info.page_url),
            outbound: self.outbound,
            can_reconnect: self.can_reconnect(),
            questions: self.questions.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::{Role, Slice};

    use super::*;

    fn config(kind: MediaKind, content: &[u8]) -> Frame {
        let (role, codec) = (Role::Config, Codec::Avc);
        Frame { kind, role, codec, track: 0, dts: 0, cts: 0, body: Slice::from(content.to_vec()), data_at: 0 }
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    #[test]
    fn codecs_are_told_together_and_not_with_each_message() {
        let now = Instant::now();
        let mut watch = Watch::new(now);
        let counters = HomeCounters::default();
        assert!(watch.note(&config(MediaKind::Video, b"a"), now));
        assert!(watch.note(&config(MediaKind::Audio, b"a"), after(now, 50)));
        assert!(!watch.note(&config(MediaKind::Audio, b"a"), after(now, 60)), "the same again");
        assert!(!watch.codecs_due(&counters, after(now, 199)));
        assert!(watch.codecs_due(&counters, after(now, 200)));
        assert!(!watch.codecs_due(&counters, after(now, 2000)));
        // From here on it changes with each message.
        let mut told = 0;
        for step in 0_u16..300 {
            let now = after(now, 3000 + u64::from(step) * 10);
            assert!(watch.note(&config(MediaKind::Video, &step.to_be_bytes()), now));
            told += u32::from(watch.codecs_due(&counters, now));
        }
        assert!((2..=4).contains(&told), "{told}");
    }

    #[test]
    fn codecs_without_a_configuration_are_told_too() {
        let now = Instant::now();
        let mut watch = Watch::new(now);
        let counters = HomeCounters { audio_codec: Some(Codec::Mp3), ..HomeCounters::default() };
        assert!(!watch.codecs_due(&counters, now));
        assert!(watch.codecs_due(&counters, after(now, 200)));
        assert!(!watch.codecs_due(&counters, after(now, 5000)));
    }

    #[test]
    fn a_feed_that_stops_is_told_once_each_time() {
        let now = Instant::now();
        let mut watch = Watch::new(now);
        let mut counters = HomeCounters { audio_frames: 1, ..HomeCounters::default() };
        let silence = FEED_SILENCE.as_millis() as u64;
        assert_eq!(watch.feeds_stopped(&counters, now), [false, false]);
        assert_eq!(watch.feeds_stopped(&counters, after(now, silence - 1)), [false, false]);
        assert_eq!(watch.feeds_stopped(&counters, after(now, silence)), [true, false]);
        assert_eq!(watch.feeds_stopped(&counters, after(now, silence + 1000)), [false, false]);
        counters.audio_frames += 1;
        assert_eq!(watch.feeds_stopped(&counters, after(now, silence + 2000)), [false, false]);
        assert_eq!(watch.feeds_stopped(&counters, after(now, 2 * silence + 2000)), [true, false]);
    }

    #[test]
    fn a_feed_of_nothing_but_a_configuration_does_not_stop() {
        let now = Instant::now();
        let mut watch = Watch::new(now);
        watch.note(&config(MediaKind::Audio, b"a"), now);
        let counters = HomeCounters { audio_frames: 1, ..HomeCounters::default() };
        assert_eq!(watch.feeds_stopped(&counters, after(now, 60_000)), [false, false]);
    }
}
