//! The log: encoded packets of one stream in one wire format, on one worker.

use std::{
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use crtmp_media::{Codec, Encoder, Frame, Limits, MediaKind, Packet, Retimed, Role, View, ahead};

use crate::{Start, gop::make_room, lag::Rate, lens::Lens};

/// A video stream that has sent no picture for this long is treated as audio for those who join.
const VIDEO_GONE: Duration = Duration::from_secs(5);

/// Bytes of packets that are gathered for a round of sending at most.
const GATHERED_MAX: usize = 256 * 1024;

/// A position in a log: the number of a packet since the log began.
pub(crate) type Position = u64;

/// Headers to be sent before the packets from a position on.
pub(crate) type Headers = Rc<[Packet]>;

/// An append-only sequence of packets; players are cursors into it.
///
/// It keeps what players that join need (from the newest key frame on), what the slowest player within
/// the limits still has to get, and never more than the bounds `gop_messages`, `gop_bytes` and `gop_time`
/// allow, whatever the source sends.
pub(crate) struct Log {
    encoder: Box<dyn Encoder>,
    /// Where its players are not sent everything.
    lens: Option<Box<Lens>>,
    entries: VecDeque<Entry>,
    /// Offset and arrival of the first entry, which lies in memory that nothing else touches.
    first: Option<(u64, Moment)>,
    gathered: Gathered,
    /// The position of the first entry.
    base: Position,
    /// Bytes ever appended: the end of the newest packet on the byte axis.
    total_bytes: u64,
    /// The newest group of pictures, if all of it is still there.
    group: Option<Group>,
    /// Where the packets end that were there before this worker followed the stream.
    snapshot_end: Position,
    rate: Rate,
    /// Video is dropped until the next key frame: the source has just begun, or frames were lost.
    needs_key: bool,
    last_video: Option<Instant>,
    /// When the first packet came; moments are counted from here.
    begun: Option<Instant>,
    /// Increases with each header that says something new.
    epoch: u32,
    /// Increases with each codec configuration that says something new.
    configs: u32,
    headers: Vec<Frame>,
    /// Headers for those who join, with the position, the time in ms and the epoch they were made for.
    join_headers: Option<(Position, i64, u32, Headers)>,
}

/// The newest group of pictures of a log, from its key frame to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The key frame.
    pub(crate) key: Position,
    /// The time of the key frame in ms.
    pub(crate) start: i64,
    /// The newest time of video in ms.
    pub(crate) video: i64,
    /// The newest time of audio or video in ms.
    pub(crate) newest: i64,
    /// Packets of video, not counting disposable ones, and of tracks with the same time only one.
    pub(crate) pictures: u64,
    /// The time and track of the newest picture.
    last: (i64, u8),
    /// There are messages of several tracks in it.
    pub(crate) several: bool,
}

/// Packets of the present round of sending, one behind the other.
#[derive(Debug, Default)]
struct Gathered {
    /// Where they begin, counted in bytes that were ever appended.
    start: u64,
    /// The position behind them.
    end: Position,
    bytes: Vec<u8>,
}

struct Entry {
    packet: Packet,
    /// Bytes appended before this packet.
    offset: u64,
    arrived: Moment,
    /// The header epoch after this packet.
    epoch: u32,
}

/// A time in ms since the log's first packet. It goes round after 49 days; only what is much younger is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(u32);

/// How far a position is behind the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Behind {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) age: Duration,
}

impl Moment {
    fn new(begun: Instant, now: Instant) -> Self {
        Self(now.saturating_duration_since(begun).as_millis() as u32)
    }
}

impl Log {
    pub(crate) fn new(encoder: Box<dyn Encoder>, view: View) -> Self {
        Self {
            encoder,
            lens: Lens::new(view),
            entries: VecDeque::new(),
            first: None,
            gathered: Gathered::default(),
            base: 0,
            total_bytes: 0,
            group: None,
            snapshot_end: 0,
            rate: Rate::default(),
            needs_key: true,
            last_video: None,
            begun: None,
            epoch: 0,
            configs: 0,
            headers: Vec::new(),
            join_headers: None,
        }
    }

    /// What makes its packets.
    pub(crate) fn encoder(&self) -> &dyn Encoder {
        &*self.encoder
    }

    /// Appends `frame` at time `dts` on the stream's timeline; returns whether there is anything new.
    pub(crate) fn push(
        &mut self,
        frame: &Frame,
        dts: i64,
        headers: &[Frame],
        now: Instant,
        limits: &Limits,
    ) -> bool {
        let Some(lens) = &mut self.lens else { return self.append(frame, dts, headers, now, limits) };
        let shown = lens.show(frame, dts, now, &*self.encoder);
        let headers = if frame.role.is_header() { lens.headers(headers) } else { Vec::new() };
        let mut any = false;
        for frame in &shown {
            any |= self.append(frame, dts, &headers, now, limits);
        }
        any
    }

    /// Whether its players are sent nothing of what comes, and have been for a while.
    pub(crate) fn is_dark(&self, now: Instant) -> bool {
        self.lens.as_ref().is_some_and(|lens| lens.is_dark(now))
    }

    fn append(&mut self, frame: &Frame, dts: i64, headers: &[Frame], now: Instant, limits: &Limits) -> bool {
        if frame.kind == MediaKind::Video && matches!(frame.role, Role::Key | Role::Delta | Role::Disposable)
        {
            self.last_video = Some(now);
            if self.needs_key && frame.role != Role::Key {
                return false;
            }
            self.needs_key = false;
        }
        let arrived = Moment::new(*self.begun.get_or_insert(now), now);
        if frame.role.is_header() && self.learn_headers(headers) && frame.role == Role::Config {
            self.group = None;
            // The new configuration is not the old pictures': nothing may be decoded until the next key frame. That is the
            // default track's; what another one's new configuration is for, its publisher sends next.
            let default = self.config(MediaKind::Video).is_none_or(|config| frame.track <= config.track);
            self.needs_key |= frame.kind == MediaKind::Video && default;
        }
        self.grow_group(frame, dts);
        let packet = self.encoder.encode(frame, dts);
        let offset = self.total_bytes;
        self.total_bytes += packet.bytes.len() as u64;
        self.rate.count(packet.bytes.len(), now);
        self.first.get_or_insert((offset, arrived));
        make_room(&mut self.entries);
        self.entries.push_back(Entry { packet, offset, arrived, epoch: self.epoch });
        self.enforce_bounds(now, limits);
        true
    }

    /// Asks for the memory at its end, and for the encoder.
    pub(crate) fn fetch(&self) {
        self.entries.back().into_iter().for_each(ahead::fetch);
        ahead::fetch(&*self.encoder);
    }

    /// Puts the packets from `from` on into one piece of memory, for a round of sending to many players: one slice
    /// costs the system less than several.
    pub(crate) fn gather(&mut self, from: Position) {
        self.gathered.bytes.clear();
        let Some(start) = self.entry(from).map(|entry| entry.offset) else { return };
        let length = usize::try_from(self.total_bytes - start).unwrap_or(usize::MAX);
        let skip = usize::try_from(from - self.base).unwrap_or(usize::MAX);
        if length > GATHERED_MAX || self.entries.len() - skip < 2 {
            return;
        }
        let end = self.end();
        let Gathered { bytes, .. } = &mut self.gathered;
        if bytes.capacity() > length.saturating_mul(8) {
            bytes.shrink_to(length * 2);
        }
        self.entries.range(skip..).for_each(|entry| bytes.extend_from_slice(&entry.packet.bytes));
        (self.gathered.start, self.gathered.end) = (start, end);
    }

    /// The packets from `position` on in one piece, and the position behind them, where they were gathered.
    pub(crate) fn gathered(&self, position: Position) -> Option<(&[u8], Position)> {
        let entry = self.entry(position)?;
        let at = usize::try_from(entry.offset.checked_sub(self.gathered.start)?).ok()?;
        let rest = self.gathered.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        Some((rest, self.gathered.end))
    }

    /// Says that frames were lost, or that another source goes on: nothing is sent until a key frame.
    pub(crate) fn gap(&mut self) {
        self.needs_key = true;
        self.group = None;
        self.rate.interrupt();
    }

    /// Says that all packets so far were there before this worker followed the stream.
    pub(crate) fn end_snapshot(&mut self) {
        self.snapshot_end = self.end();
    }

    /// Drops what neither joining players nor the cursor at `slowest` need.
    pub(crate) fn trim(&mut self, slowest: Option<Position>) {
        let keep = self.newest_key().unwrap_or(self.end()).min(slowest.unwrap_or(self.end()));
        self.drop_first(keep.saturating_sub(self.base));
    }

    /// Drops everything before `keep`, the present group too: for streams whose players start at the next key frame.
    pub(crate) fn trim_to(&mut self, keep: Position) {
        self.drop_first(keep.saturating_sub(self.base));
        self.forget_lost_group();
    }

    /// The position behind the newest packet.
    pub(crate) fn end(&self) -> Position {
        self.base + self.entries.len() as u64
    }

    /// The position of the oldest packet.
    pub(crate) fn base(&self) -> Position {
        self.base
    }

    /// Where a player may start at `now`: at the newest key frame; at the end where there is no video.
    pub(crate) fn join(&self, now: Instant) -> Option<Position> {
        let alone = || !self.has_video(now) && !self.entries.is_empty();
        self.newest_key().or_else(|| alone().then_some(self.end()))
    }

    /// From where on a player that comes now may be started.
    pub(crate) fn first_place(&self, start: Start) -> Position {
        if start == Start::Next { self.end() } else { self.base }
    }

    /// The first position after what was there before this worker followed the stream.
    pub(crate) fn snapshot_end(&self) -> Position {
        self.snapshot_end
    }

    /// Whether pictures are to be expected at `now`, also where none has come yet.
    pub(crate) fn expects_video(&self, now: Instant) -> bool {
        let header = |frame: &Frame| frame.kind == MediaKind::Video && frame.role == Role::Config;
        let young = self.begun.is_some_and(|at| now.saturating_duration_since(at) < VIDEO_GONE);
        self.has_video(now) || young && self.headers.iter().any(header)
    }

    /// Whether pictures come at `now`.
    pub(crate) fn has_video(&self, now: Instant) -> bool {
        self.last_video.is_some_and(|at| now.saturating_duration_since(at) < VIDEO_GONE)
    }

    /// The newest group of pictures, if all of it is still there.
    pub(crate) fn group(&self) -> Option<Group> {
        self.group
    }

    /// The newest key frame, if it is still there.
    pub(crate) fn newest_key(&self) -> Option<Position> {
        self.group.map(|group| group.key)
    }

    /// `packet` of this log with other times, in ms.
    pub(crate) fn retime(&self, packet: &Packet, dts: i64, cts: i32) -> Retimed {
        self.encoder.retime(packet, dts, cts)
    }

    /// How long the stream takes for so many bytes.
    pub(crate) fn time_of(&self, bytes: u64) -> Duration {
        self.rate.time_of(bytes)
    }

    /// The packet at `position`.
    pub(crate) fn packet(&self, position: Position) -> Option<&Packet> {
        self.entry(position).map(|entry| &entry.packet)
    }

    /// The packets from `position` on.
    pub(crate) fn packets(&self, position: Position) -> impl Iterator<Item = &Packet> {
        let skip =
            usize::try_from(position.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.range(skip..).map(|entry| &entry.packet)
    }

    /// The number of the newest codec configurations; 0: there are none yet.
    pub(crate) fn configs(&self) -> u32 {
        self.configs
    }

    /// The codec of this kind by its newest configuration.
    pub(crate) fn codec(&self, kind: MediaKind) -> Option<Codec> {
        self.config(kind).map(|header| header.codec)
    }

    /// The newest configuration of this kind.
    pub(crate) fn config(&self, kind: MediaKind) -> Option<&Frame> {
        self.headers.iter().find(|header| header.kind == kind && header.role == Role::Config)
    }

    /// The number of the newest headers; a player that has an older number lacks some.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The header number that a player has which has been sent all packets before `position`.
    pub(crate) fn epoch_before(&self, position: Position) -> u32 {
        position.checked_sub(1).and_then(|at| self.entry(at)).map_or(self.epoch, |entry| entry.epoch)
    }

    /// The newest headers for a player that is to go on at `position`: with the time `dts` in ms, or else that
    /// of the packet there. Metadata has time 0.
    pub(crate) fn headers_at(&mut self, position: Position, dts: Option<i64>) -> Headers {
        let dts = dts.unwrap_or_else(|| {
            let packet = self.packet(position).or_else(|| self.entries.back().map(|entry| &entry.packet));
            packet.map_or(0, |packet| packet.dts)
        });
        if let Some((at, time, epoch, headers)) = &self.join_headers
            && (*at, *time, *epoch) == (position, dts, self.epoch)
        {
            return headers.clone();
        }
        let encode = |frame: &Frame| {
            // FFmpeg takes metadata for a track of subtitles unless its time is 0.
            let dts = if frame.kind == MediaKind::Data { 0 } else { dts };
            self.encoder.encode(frame, dts)
        };
        let headers: Headers = self.headers.iter().map(encode).collect();
        self.join_headers = Some((position, dts, self.epoch, headers.clone()));
        headers
    }

    /// How far `position` is behind the end.
    pub(crate) fn behind(&self, position: Position, now: Instant) -> Behind {
        let Some(entry) = self.entry(position.max(self.base)) else { return Behind::default() };
        Behind {
            packets: self.end().saturating_sub(position),
            bytes: self.total_bytes - entry.offset,
            age: self.age(entry.arrived, now),
        }
    }

    /// Bytes that the log holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.first.map_or(0, |(offset, _)| self.total_bytes - offset)
    }

    /// Packets that the log holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops so many of the oldest packets, or all.
    fn drop_first(&mut self, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.entries.len());
        if count > 0 {
            self.entries.drain(..count);
            self.base += count as u64;
            self.first = self.entries.front().map(|entry| (entry.offset, entry.arrived));
        }
    }

    fn entry(&self, position: Position) -> Option<&Entry> {
        self.entries.get(usize::try_from(position.checked_sub(self.base)?).ok()?)
    }

    fn age(&self, moment: Moment, now: Instant) -> Duration {
        let now = self.begun.map_or(moment, |begun| Moment::new(begun, now));
        let ms = now.0.wrapping_sub(moment.0);
        // What seems to be older than 24 days came after `now`.
        Duration::from_millis(if ms > u32::MAX / 2 { 0 } else { ms.into() })
    }

    /// Takes a frame that is about to be appended into account.
    fn grow_group(&mut self, frame: &Frame, dts: i64) {
        if frame.is_video_key() {
            let (key, last) = (self.end(), (i64::MIN, 0));
            let several = false;
            self.group = Some(Group { key, start: dts, video: dts, newest: dts, pictures: 0, last, several });
        }
        let Some(group) = &mut self.group else { return };
        match frame.kind {
            MediaKind::Video => {
                group.video = group.video.max(dts);
                group.newest = group.newest.max(dts);
                if frame.role != Role::Disposable {
                    group.pictures += u64::from(!is_beside(group.last, (dts, frame.track)));
                    group.last = (dts, frame.track);
                }
                group.several |= !frame.role.is_header() && frame.has_several();
            }
            MediaKind::Audio => group.newest = group.newest.max(dts),
            MediaKind::Data => {}
        }
    }

    /// Returns whether the headers say something new.
    fn learn_headers(&mut self, headers: &[Frame]) -> bool {
        let changed = self.headers.len() != headers.len()
            || self.headers.iter().zip(headers).any(|(old, new)| old.body != new.body);
        if changed {
            if !configs(&self.headers).eq(configs(headers)) {
                self.configs = self.configs.wrapping_add(1);
            }
            self.headers = headers.to_vec();
            self.epoch = self.epoch.wrapping_add(1);
        }
        changed
    }

    fn enforce_bounds(&mut self, now: Instant, limits: &Limits) {
        while self.entries.len() > limits.gop_messages
            || self.bytes() > limits.gop_bytes as u64
            || self.first.is_some_and(|(_, arrived)| self.age(arrived, now) > limits.gop_time.get())
        {
            self.drop_first(1);
        }
        self.forget_lost_group();
    }

    fn forget_lost_group(&mut self) {
        if self.newest_key().is_some_and(|key| key < self.base) {
            self.group = None;
        }
    }
}

/// Whether a picture belongs to another track at the time of the one before it; both as time and track.
pub(crate) const fn is_beside(before: (i64, u8), picture: (i64, u8)) -> bool {
    before.0 == picture.0 && before.1 != picture.1
}

/// The bodies of the codec configurations among headers.
fn configs(headers: &[Frame]) -> impl Iterator<Item = &[u8]> {
    headers.iter().filter(|header| header.role == Role::Config).map(|header| &*header.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Plain, audio, config, delta, key};

    fn log(frames: &[Frame], limits: &Limits) -> (Log, Instant) {
        let start = Instant::now();
        let mut log = Log::new(Box::new(Plain), View::ALL);
        let mut headers = Vec::new();
        for frame in frames {
            if frame.role.is_header() {
                headers = vec![frame.clone()];
            }
            let now = start + Duration::from_millis(u64::try_from(frame.dts).unwrap());
            log.push(frame, frame.dts, &headers, now, limits);
        }
        (log, start)
    }

    #[test]
    fn a_player_joins_at_the_newest_key_frame() {
        let (log, start) =
            log(&[config(0, b"c"), key(0), delta(40), key(80), delta(120)], &Limits::default());
        assert_eq!(log.join(start), Some(3));
        assert_eq!(log.behind(3, start + Duration::from_millis(120)).age, Duration::from_millis(40));
    }

    #[test]
    fn video_before_the_first_key_frame_is_nobodys() {
        let (log, _) = log(&[delta(0), audio(10), delta(40), key(80)], &Limits::default());
        assert_eq!((log.len(), log.newest_key()), (2, Some(1)));
    }

    #[test]
    fn audio_alone_is_joined_at_its_end_and_video_that_stopped_counts_no_more() {
        let (only_audio, start) = log(&[audio(0), audio(20)], &Limits::default());
        assert_eq!(only_audio.join(start), Some(2));
        let (mut stopped, start) = log(&[config(0, b"c"), key(0), audio(20)], &Limits::default());
        stopped.gap();
        assert_eq!(stopped.join(start + Duration::from_secs(4)), None);
        assert_eq!(stopped.join(start + Duration::from_secs(5)), Some(3));
    }

    #[test]
    fn trimming_keeps_the_group_and_the_slowest_player() {
        let (mut log, _) = log(&[key(0), delta(40), key(80), delta(120)], &Limits::default());
        log.trim(Some(1));
        assert_eq!(log.base(), 1);
        log.trim(None);
        assert_eq!((log.base(), log.len()), (2, 2));
    }

    /// The bounds hold even where no key frame ever comes, and at −1, 0 and +1.
    #[test]
    fn retention_is_bounded_by_messages_bytes_and_age() {
        let endless: Vec<_> = (0..200).map(audio).collect();
        for (gop_messages, kept) in [(199, 199), (200, 200), (201, 200)] {
            assert_eq!(log(&endless, &Limits { gop_messages, ..Limits::default() }).0.len(), kept);
        }
        let (all, _) = log(&endless, &Limits::default());
        let gop_bytes = usize::try_from(all.bytes()).unwrap();
        assert_eq!(log(&endless, &Limits { gop_bytes, ..Limits::default() }).0.len(), 200);
        assert_eq!(log(&endless, &Limits { gop_bytes: gop_bytes - 1, ..Limits::default() }).0.len(), 199);
        for (age, kept) in [(29_999, 2), (30_000, 2), (30_001, 1)] {
            assert_eq!(log(&[audio(0), audio(age)], &Limits::default()).0.len(), kept);
        }
    }

    #[test]
    fn a_group_cut_by_a_bound_is_joined_no_more() {
        let frames: Vec<_> = std::iter::once(key(0)).chain((1..20).map(delta)).collect();
        let (log, start) = log(&frames, &Limits { gop_messages: 16, ..Limits::default() });
        assert_eq!((log.newest_key(), log.join(start)), (None, None));
    }

    /// TIME-04: headers that are years old would make players wait for years.
    #[test]
    fn headers_for_a_newcomer_carry_the_time_of_its_first_frame() {
        let (mut log, _) = log(&[config(0, b"c"), key(16_800_000)], &Limits::default());
        let headers = log.headers_at(1, None);
        assert_eq!((headers.len(), headers[0].dts), (1, 16_800_000));
        assert!(Rc::ptr_eq(&headers, &log.headers_at(1, None)), "made once for all who join here");
    }

    /// MED-01, MED-03.
    #[test]
    fn a_new_configuration_lets_nothing_pass_until_a_key_frame() {
        let (log, start) = log(
            &[config(0, b"c"), key(0), config(40, b"d"), delta(40), audio(50), key(80)],
            &Limits::default(),
        );
        let times: Vec<_> = log.packets(0).map(|packet| packet.dts).collect();
        assert_eq!(times, [0, 0, 40, 50, 80]);
        assert_eq!((log.epoch(), log.join(start)), (2, Some(4)));
    }
}
