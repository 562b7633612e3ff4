//! Enhanced headers: FourCC codecs, ModEx, and messages of several tracks.

use std::ops::Range;

use super::{TagError, TagHeader, si24, video_role};
use crate::{Codec, Limits, MediaKind, Role, Slice};

const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const SEQUENCE_END: u8 = 2;
const CODED_FRAMES_X: u8 = 3;
/// Of video; of audio it is the configuration of channels.
const METADATA: u8 = 4;
const MPEG2TS_SEQUENCE_START: u8 = 5;
const MOD_EX: u8 = 7;

/// The ModEx type of an offset in nanoseconds.
const TIMESTAMP_OFFSET_NANO: u8 = 0;
/// The largest of these offsets.
const NANO_MAX: u32 = 999_999;

const ONE_TRACK: u8 = 0;
const MANY_TRACKS: u8 = 1;
const MANY_TRACKS_MANY_CODECS: u8 = 2;

/// Bytes that are left free before the body of a message that is written anew: a chunk header may go there.
const ROOM: usize = 16;

/// What stands before the tracks of an enhanced message.
struct Opening {
    packet_type: u8,
    /// Where the byte is whose lower half is the packet type, that of multitrack included.
    type_at: usize,
    /// Where what follows it begins.
    at: usize,
    nanos: u32,
    /// How several tracks follow; none: it is a message without track ids.
    multitrack: Option<u8>,
    /// A video command: there are no tracks.
    is_command: bool,
}

/// One track of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    fourcc: [u8; 4],
    track: u8,
    /// Composition time and coded data.
    content: Range<usize>,
    /// How many bytes of that are the composition time.
    cts_len: usize,
    cts: i32,
}

pub(super) fn header(kind: MediaKind, body: &[u8], limits: &Limits) -> Result<TagHeader, TagError> {
    let opening = open(kind, body, limits.mod_ex_links)?;
    let Opening { packet_type, nanos, at, .. } = opening;
    if opening.is_command {
        let (codec, data_at) = (Codec::None, at as u32);
        return Ok(TagHeader {
            codec,
            role: Role::Side,
            track: 0,
            cts: 0,
            data_at,
            nanos: 0,
            several: false,
        });
    }
    let role = role(kind, body[0], packet_type)?;
    let (mut lowest, mut tracks, mut seen) = (None::<Part>, 0, [0_u64; 4]);
    for part in parts(kind, body, &opening) {
        let part = part?;
        tracks += 1;
        if tracks > limits.message_tracks {
            return Err(TagError::Tracks);
        }
        let (word, bit) = (usize::from(part.track / 64), 1 << (part.track % 64));
        if seen[word] & bit != 0 {
            return Err(TagError::SameTrack);
        }
        seen[word] |= bit;
        if lowest.as_ref().is_none_or(|lowest| part.track < lowest.track) {
            lowest = Some(part);
        }
    }
    let Part { fourcc, track, content, cts_len, cts } = lowest.ok_or(TagError::Short)?;
    let several = opening.multitrack.is_some_and(|kind| kind != ONE_TRACK);
    let (cts, data_at) = if several { (0, body.len()) } else { (cts, content.start + cts_len) };
    let (codec, data_at) = (Codec::from_fourcc(fourcc), data_at as u32);
    Ok(TagHeader { codec, role, track, cts, data_at, nanos, several })
}

/// Whether a body has the header of a message of several tracks.
pub(super) fn has_several(kind: MediaKind, body: &[u8]) -> bool {
    is_enhanced(kind, body)
        && open(kind, body, usize::MAX)
            .is_ok_and(|opening| opening.multitrack.is_some_and(|kind| kind != ONE_TRACK))
}

/// A message of its own for each track of a message of several. Nothing where it is none, or broken.
pub(super) fn split(kind: MediaKind, body: &[u8]) -> Vec<Slice> {
    let Some(opening) = opened(kind, body).filter(|opening| opening.multitrack.is_some()) else {
        return Vec::new();
    };
    let (before, packet_type) = (&body[..=opening.type_at], opening.packet_type);
    let one = |part: Part| {
        let head = [ONE_TRACK << 4 | packet_type];
        [before, &head, &part.fourcc, &[part.track], &body[part.content]].concat().into()
    };
    parts(kind, body, &opening).map_while(Result::ok).map(one).collect()
}

/// The message of one track as it would be without track ids; nothing where the track is not in it.
pub(super) fn unwrapped(kind: MediaKind, body: &[u8], track: u8) -> Option<Slice> {
    let opening = opened(kind, body)?;
    opening.multitrack?;
    let part = parts(kind, body, &opening).map_while(Result::ok).find(|part| part.track == track)?;
    let last = body.get(opening.type_at)? & 0xf0 | opening.packet_type;
    let before = body.get(..opening.type_at)?;
    let whole = [before, &[last], &part.fourcc, body.get(part.content)?].concat();
    Some(Slice::behind_room(ROOM, &whole))
}

/// Whether a body is enhanced at all.
pub(super) fn is_enhanced(kind: MediaKind, body: &[u8]) -> bool {
    match (kind, body.first()) {
        (MediaKind::Video, Some(first)) => first & 0x80 != 0,
        (MediaKind::Audio, Some(first)) => first >> 4 == 9,
        _ => false,
    }
}

/// The opening of an enhanced message that has tracks.
fn opened(kind: MediaKind, body: &[u8]) -> Option<Opening> {
    if !is_enhanced(kind, body) {
        return None;
    }
    open(kind, body, usize::MAX).ok().filter(|opening| !opening.is_command)
}

fn open(kind: MediaKind, body: &[u8], most_links: usize) -> Result<Opening, TagError> {
    let mut rest = Reader { body, at: 1, end: body.len() };
    let first = *body.first().ok_or(TagError::Short)?;
    let (mut packet_type, mut type_at, mut nanos, mut links) = (first & 0x0f, 0, 0, 0);
    while packet_type == MOD_EX {
        links += 1;
        if links > most_links {
            return Err(TagError::ModExChain);
        }
        let mut size = usize::from(rest.u8()?) + 1;
        if size == 256 {
            size = usize::from(rest.u16()?) + 1;
        }
        let data = rest.take(size)?;
        type_at = rest.at;
        let next = rest.u8()?;
        packet_type = next & 0x0f;
        // What is too short or too large says nothing (ERT-03).
        if next >> 4 == TIMESTAMP_OFFSET_NANO
            && let Some(&[a, b, c]) = body.get(data).and_then(|data| data.first_chunk())
        {
            let offset = u32::from_be_bytes([0, a, b, c]);
            nanos = if offset <= NANO_MAX { offset } else { nanos };
        }
    }
    let multitrack_type = if kind == MediaKind::Video { 6 } else { 5 };
    // Encoders mark the metadata of a track as a command, too, where the specification has that for those of the only
    // track. No command has this number.
    let of_track = packet_type == multitrack_type
        && matches!(body.get(rest.at..), Some(&[next, _, ..]) if next & 0x0f == METADATA);
    let command_frame = kind == MediaKind::Video && (first >> 4) & 0x07 == 5;
    let is_command = command_frame && packet_type != METADATA && !of_track;
    if is_command {
        rest.u8()?;
        return Ok(Opening { packet_type, type_at, at: rest.at, nanos, multitrack: None, is_command });
    }
    let mut multitrack = None;
    if packet_type == multitrack_type {
        let byte = rest.u8()?;
        packet_type = byte & 0x0f;
        if packet_type == multitrack_type || packet_type == MOD_EX || byte >> 4 > MANY_TRACKS_MANY_CODECS {
            return Err(TagError::Multitrack);
        }
        multitrack = Some(byte >> 4);
    }
    Ok(Opening { packet_type, type_at, at: rest.at, nanos, multitrack, is_command })
}

/// What a packet of this type means.
fn role(kind: MediaKind, first: u8, packet_type: u8) -> Result<Role, TagError> {
    Ok(match (kind, packet_type) {
        (_, SEQUENCE_START) => Role::Config,
        (_, METADATA) => Role::Info,
        (_, SEQUENCE_END) => Role::Side,
        (MediaKind::Video, CODED_FRAMES | CODED_FRAMES_X) => video_role((first >> 4) & 0x07),
        (MediaKind::Video, MPEG2TS_SEQUENCE_START) => return Err(TagError::Mpeg2Ts),
        (_, CODED_FRAMES) => Role::Key,
        _ => return Err(TagError::PacketType),
    })
}

/// The tracks of a message, to its end.
fn parts<'a>(
    kind: MediaKind,
    body: &'a [u8],
    opening: &'a Opening,
) -> impl Iterator<Item = Result<Part, TagError>> + 'a {
    let mut rest = Reader { body, at: opening.at, end: body.len() };
    let mut shared = None;
    let mut failed = false;
    let mut begun = false;
    std::iter::from_fn(move || {
        if failed || begun && rest.at == body.len() {
            return None;
        }
        let part = next_part(kind, opening, &mut rest, &mut shared, begun);
        begun = true;
        failed = part.is_err();
        Some(part)
    })
}

fn next_part(
    kind: MediaKind,
    opening: &Opening,
    rest: &mut Reader<'_>,
    shared: &mut Option<[u8; 4]>,
    begun: bool,
) -> Result<Part, TagError> {
    let packet_type = opening.packet_type;
    if !begun && opening.multitrack != Some(MANY_TRACKS_MANY_CODECS) {
        *shared = Some(rest.array()?);
    }
    let fourcc = match *shared {
        Some(fourcc) => fourcc,
        None => rest.array()?,
    };
    let track = if opening.multitrack.is_some() { rest.u8()? } else { 0 };
    let size = match opening.multitrack {
        Some(MANY_TRACKS | MANY_TRACKS_MANY_CODECS) => {
            let [a, b, c] = rest.array()?;
            u32::from_be_bytes([0, a, b, c]) as usize
        }
        _ => rest.end - rest.at,
    };
    let several = opening.multitrack.is_some_and(|kind| kind != ONE_TRACK);
    let coded = matches!(packet_type, CODED_FRAMES | CODED_FRAMES_X);
    if size > rest.end - rest.at || several && coded && size == 0 {
        return Err(TagError::Tracks);
    }
    let content = rest.take(size)?;
    let codec = Codec::from_fourcc(fourcc);
    let has_cts = kind == MediaKind::Video
        && packet_type == CODED_FRAMES
        && matches!(codec, Codec::Avc | Codec::Hevc | Codec::Vvc);
    let (cts_len, cts) = if has_cts {
        let mut part = Reader { body: rest.body, at: content.start, end: content.end };
        (3, si24(part.array()?))
    } else {
        (0, 0)
    };
    Ok(Part { fourcc, track, content, cts_len, cts })
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    end: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], TagError> {
        let rest = self.body.get(self.at..self.end).and_then(|rest| rest.first_chunk::<N>());
        let bytes = rest.ok_or(TagError::Short)?;
        self.at += N;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, TagError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, TagError> {
        self.array().map(u16::from_be_bytes)
    }

    fn take(&mut self, count: usize) -> Result<Range<usize>, TagError> {
        let from = self.at;
        if count > self.end - from {
            return Err(TagError::Short);
        }
        self.at += count;
        Ok(from..self.at)
    }
}
