//! What a peer declares of Enhanced RTMP when it connects, and what follows from it for what it is sent.
//!
//! Source: Enhanced RTMP v2, "Enhancing NetConnection connect Command".

use serde::{Deserialize, Serialize};

use crate::{Codec, Limits, MediaKind, Value, View};

/// Flags of a codec: it can be decoded, or passed on. To be able to encode it is no reason to be sent it.
const RECEIVES: u32 = 1 | 4;
/// Flags of `capsEx`.
const RECONNECT: u32 = 1;
const MULTITRACK: u32 = 2;

/// What our side declares in `capsEx`: reconnect, multitrack, ModEx, offsets in nanoseconds.
pub const CAPS_EX: u32 = RECONNECT | MULTITRACK | 4 | 8;

/// A set of codecs that are named by a FourCC. All that have no name here are one: who takes any takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Codecs(u16);

impl Codecs {
    /// All codecs.
    pub const ALL: Self = Self(u16::MAX);

    /// Whether a codec is one of them.
    pub const fn has(self, codec: Codec) -> bool {
        self.0 & Self::bit(codec) != 0
    }

    /// These and another one.
    #[must_use]
    pub const fn with(self, codec: Codec) -> Self {
        Self(self.0 | Self::bit(codec))
    }

    const fn bit(codec: Codec) -> u16 {
        let number = match codec {
            Codec::Avc => 0,
            Codec::Hevc => 1,
            Codec::Vvc => 2,
            Codec::Av1 => 3,
            Codec::Vp8 => 4,
            Codec::Vp9 => 5,
            Codec::Aac => 6,
            Codec::Mp3 => 7,
            Codec::Opus => 8,
            Codec::Flac => 9,
            Codec::Ac3 => 10,
            Codec::Eac3 => 11,
            Codec::FlvVideo(_) | Codec::FlvAudio(_) | Codec::Other(_) | Codec::None => 12,
        };
        1 << number
    }

    /// These and those that a peer calls by this name: a FourCC, whose letters the specification itself writes large and
    /// small, or `*`.
    fn and(self, name: &str) -> Self {
        const KNOWN: [&[u8; 4]; 12] = [
            b"avc1", b"hvc1", b"vvc1", b"av01", b"vp08", b"vp09", b"mp4a", b".mp3", b"Opus", b"fLaC",
            b"ac-3", b"ec-3",
        ];
        if name == "*" {
            return Self::ALL;
        }
        let Ok(fourcc) = <[u8; 4]>::try_from(name.as_bytes()) else { return self };
        let known = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(&fourcc)).copied();
        self.with(Codec::from_fourcc(known.unwrap_or(fourcc)))
    }
}

/// What a peer has declared. Nothing where it has said nothing, or nothing that could be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// The video codecs that it can be sent.
    pub video: Option<Codecs>,
    /// The audio codecs that it can be sent.
    pub audio: Option<Codecs>,
    /// `capsEx`.
    pub caps: Option<u32>,
}

impl Declared {
    /// Reads the members of a command object. Of each list the first [`Limits::four_ccs`] entries count; what is of
    /// another type than the specification says is as if it were not there.
    ///
    /// `videoFourCcInfoMap` and `audioFourCcInfoMap` say more than `fourCcList`, and count instead of it where both are
    /// there.
    pub fn read(members: &[(String, Value)], limits: &Limits) -> Self {
        let find = |key: &str| members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value);
        let list = find("fourCcList").and_then(|list| list_of(list, limits));
        let map = |key| find(key).and_then(|map| map_of(map, limits));
        Self {
            video: map("videoFourCcInfoMap").or(list),
            audio: map("audioFourCcInfoMap").or(list),
            caps: find("capsEx").and_then(Value::as_u32),
        }
    }

    /// Whether it has declared anything at all.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether it follows requests to connect elsewhere.
    pub fn can_reconnect(&self) -> bool {
        self.caps.is_some_and(|caps| caps & RECONNECT != 0)
    }
}

fn list_of(list: &Value, limits: &Limits) -> Option<Codecs> {
    let Value::StrictArray(entries) = list else { return None };
    let names = entries.iter().take(limits.four_ccs).filter_map(Value::as_str);
    Some(names.fold(Codecs::default(), Codecs::and))
}

fn map_of(map: &Value, limits: &Limits) -> Option<Codecs> {
    let entries = map.members()?.iter().take(limits.four_ccs);
    let mut codecs = Codecs::default();
    for (name, flags) in entries {
        let receives = flags.as_u32().is_some_and(|flags| flags & RECEIVES != 0);
        if name == "*" {
            // Overrides what is said of each.
            return Some(if receives { Codecs::ALL } else { Codecs::default() });
        }
        codecs = if receives { codecs.and(name) } else { codecs };
    }
    Some(codecs)
}

/// What players are sent of what only Enhanced RTMP can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EnhancedRtmp {
    /// What they have declared; all, where they have declared nothing: many understand more than they say.
    #[default]
    AsDeclared,
    /// What they have declared, and nothing where they have declared nothing.
    DeclaredOnly,
    /// All, whatever they have declared.
    All,
}

impl EnhancedRtmp {
    /// What a player is sent that has declared this.
    pub fn view(self, declared: &Declared) -> View {
        let tracks = declared.caps.map(|caps| caps & MULTITRACK != 0);
        let (unsaid, several) = match self {
            Self::All => return View::ALL,
            Self::AsDeclared => (Codecs::ALL, true),
            Self::DeclaredOnly => (Codecs::default(), false),
        };
        View {
            video: declared.video.unwrap_or(unsaid),
            audio: declared.audio.unwrap_or(unsaid),
            tracks: tracks.unwrap_or(several),
        }
    }
}

impl View {
    /// Whether a codec that is named by a FourCC is sent.
    pub const fn takes(&self, kind: MediaKind, codec: Codec) -> bool {
        match kind {
            MediaKind::Video => self.video.has(codec),
            MediaKind::Audio => self.audio.has(codec),
            MediaKind::Data => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(members: &[(&str, Value)]) -> Declared {
        let members: Vec<_> = members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Declared::read(&members, &Limits::default())
    }

    fn list(names: &[&str]) -> Value {
        Value::StrictArray(names.iter().map(|name| (*name).into()).collect())
    }

    fn map(flags: &[(&str, f64)]) -> Value {
        Value::Object(flags.iter().map(|(name, flags)| ((*name).to_owned(), (*flags).into())).collect())
    }

    #[test]
    fn lists_and_maps_name_codecs() {
        let of_list = read(&[("fourCcList", list(&["av01", "Hvc1", "opus"]))]);
        let expected = Codecs::default().with(Codec::Av1).with(Codec::Hevc).with(Codec::Opus);
        assert_eq!((of_list.video, of_list.audio), (Some(expected), Some(expected)));
        assert_eq!(read(&[("fourCcList", list(&["*"]))]).audio, Some(Codecs::ALL));
        let maps = read(&[
            ("fourCcList", list(&["av01"])),
            ("videoFourCcInfoMap", map(&[("hvc1", 1.0), ("av01", 2.0), ("vp09", 4.0)])),
            ("audioFourCcInfoMap", map(&[("Opus", 1.0), ("*", 4.0)])),
        ]);
        let expected = Codecs::default().with(Codec::Hevc).with(Codec::Vp9);
        assert_eq!(maps.video, Some(expected), "who encodes AV1 need not be able to decode it");
        assert_eq!(maps.audio, Some(Codecs::ALL));
        let none = read(&[("videoFourCcInfoMap", map(&[("hvc1", 7.0), ("*", 2.0)]))]);
        assert_eq!((none.video, none.audio), (Some(Codecs::default()), None), "the wildcard overrides");
        let unknown = read(&[("fourCcList", list(&["wxyz"]))]).video.unwrap();
        assert!(unknown.has(Codec::Other(*b"abcd")) && !unknown.has(Codec::Avc));
        assert!(read(&[("capsEx", 3.0.into())]).can_reconnect());
        assert!(!read(&[("capsEx", 2.0.into())]).can_reconnect());
    }

    /// ERT-07, and `fourCcs` at −1, 0 and +1.
    #[test]
    fn wrong_types_say_nothing_and_long_lists_are_cut() {
        for (key, value) in [
            ("fourCcList", Value::Number(1.0)),
            ("fourCcList", map(&[("av01", 1.0)])),
            ("videoFourCcInfoMap", list(&["av01"])),
            ("audioFourCcInfoMap", "Opus".into()),
            ("capsEx", "3".into()),
            ("capsEx", f64::NAN.into()),
            ("capsEx", (-1.0).into()),
            ("capsEx", 1e300.into()),
        ] {
            assert!(!read(&[(key, value.clone())]).is_any(), "{key} {value:?}");
        }
        let odd = list(&["", "toolong", "é", "av0"]);
        assert_eq!(read(&[("fourCcList", odd)]).video, Some(Codecs::default()));
        let limits = Limits::default();
        for (place, counts) in
            [(limits.four_ccs - 1, true), (limits.four_ccs, true), (limits.four_ccs + 1, false)]
        {
            let names: Vec<Value> =
                (1..=10_000).map(|at| if at == place { "av01".into() } else { 0.0.into() }).collect();
            let declared = read(&[("fourCcList", Value::StrictArray(names))]);
            assert_eq!(declared.video.unwrap().has(Codec::Av1), counts, "{place}");
            let flags = (1..=10_000).map(|at| {
                if at == place { ("*".to_owned(), 1.0.into()) } else { (at.to_string(), 1.0.into()) }
            });
            let declared = read(&[("videoFourCcInfoMap", Value::Object(flags.collect()))]);
            assert_eq!(declared.video.unwrap().has(Codec::Av1), counts, "{place}");
        }
    }

    #[test]
    fn policies_decide_about_those_who_have_said_nothing() {
        let nothing = Declared::default();
        assert_eq!(EnhancedRtmp::AsDeclared.view(&nothing), View::ALL);
        let least = View { video: Codecs::default(), audio: Codecs::default(), tracks: false };
        assert_eq!(EnhancedRtmp::DeclaredOnly.view(&nothing), least);
        let hevc = Codecs::default().with(Codec::Hevc);
        let said = Declared { video: Some(hevc), audio: None, caps: Some(1) };
        assert_eq!(EnhancedRtmp::All.view(&said), View::ALL);
        let view = EnhancedRtmp::AsDeclared.view(&said);
        assert_eq!((view.video, view.audio, view.tracks), (hevc, Codecs::ALL, false));
        assert!(EnhancedRtmp::DeclaredOnly.view(&Declared { caps: Some(2), ..said }).tracks);
        assert!(view.takes(MediaKind::Video, Codec::Hevc) && !view.takes(MediaKind::Video, Codec::Av1));
    }
}
