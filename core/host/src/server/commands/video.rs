//! What a stream carries, as commands tell it: numbers of codecs, and the size of a picture.

use crtmp_media::{Codec, Frame};
use h264_reader::{
    avcc::AvcDecoderConfigurationRecord,
    nal::{Nal as _, RefNal, sps::SeqParameterSet},
};
use serde_json::{Map, Value, json};

use super::streams::numeric;

/// Bytes of a parameter set that is looked into; real ones have some dozens.
const PARAMETER_SET: usize = 4096;

/// Macroblocks in one direction of a picture; standards end far below.
const MACROBLOCKS: u32 = 4096;

/// The number by which crtmpserver and EvoStream know a codec; null for those that they do not know.
pub(super) fn codec_number(codec: Option<Codec>) -> Value {
    let tag = match codec {
        Some(Codec::Avc) => "VH264",
        Some(Codec::FlvVideo(2)) => "VS263",
        Some(Codec::FlvVideo(4 | 5)) => "VVP6",
        Some(Codec::Aac) => "AAAC",
        Some(Codec::Mp3) => "AMP3",
        Some(Codec::FlvAudio(4..=6)) => "ANMO",
        _ => return Value::Null,
    };
    numeric(tag).into()
}

/// Adds what the newest configuration says of the pictures: null where it does not say it in a way that is known.
pub(super) fn add_picture(video: &mut Map<String, Value>, config: Option<&Frame>) {
    let record = config.filter(|config| config.codec == Codec::Avc).map(Frame::data);
    let [profile, level] = [1, 3].map(|at| record.and_then(|record| record.get(at)).copied());
    let size = record.and_then(picture_size);
    for (key, value) in [
        ("width", json!(size.map(|(width, _)| width))),
        ("height", json!(size.map(|(_, height)| height))),
        ("profile", json!(profile)),
        ("level", json!(level)),
    ] {
        video.insert(key.to_owned(), value);
    }
}

/// Width and height by the first parameter set of an AVC decoder configuration record (ISO/IEC 14496-15 §5.3.3.1).
fn picture_size(record: &[u8]) -> Option<(u32, u32)> {
    let record = AvcDecoderConfigurationRecord::try_from(record).ok()?;
    let set = record.sequence_parameter_sets().next()?.ok()?;
    // The library looks at the bytes behind the first without asking for them.
    if !(4..=PARAMETER_SET).contains(&set.len()) {
        return None;
    }
    let set = SeqParameterSet::from_bits(RefNal::new(set, &[], true).rbsp_bits()).ok()?;
    if set.pic_width_in_mbs_minus1 >= MACROBLOCKS || set.pic_height_in_map_units_minus1 >= MACROBLOCKS {
        return None;
    }
    set.pixel_dimensions().ok()
}

#[cfg(test)]
mod tests {
    use crtmp_media::{MediaKind, Role, Slice};
    use proptest::prelude::*;

    use super::*;

    /// What x264 writes for 1280×720, High, level 3.1.
    const SET: [u8; 26] = [
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10,
        0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x19, 0x60,
    ];

    fn record(set: &[u8]) -> Vec<u8> {
        let length = u16::try_from(set.len()).unwrap().to_be_bytes();
        [&[1, 0x64, 0, 0x1f, 0xff, 0xe1][..], &length, set, &[0]].concat()
    }

    fn told(codec: Codec, record: Vec<u8>) -> Value {
        let (kind, role) = (MediaKind::Video, Role::Config);
        let config =
            Frame { kind, role, codec, track: 0, dts: 0, cts: 0, body: Slice::from(record), data_at: 0 };
        let mut video = Map::new();
        add_picture(&mut video, Some(&config));
        Value::Object(video)
    }

    #[test]
    fn the_configuration_says_how_large_pictures_are() {
        let known = json!({ "width": 1280, "height": 720, "profile": 100, "level": 31 });
        assert_eq!(told(Codec::Avc, record(&SET)), known);
        let nothing = json!({ "width": null, "height": null, "profile": null, "level": null });
        assert_eq!(told(Codec::Hevc, record(&SET)), nothing);
        assert_eq!(told(Codec::Avc, Vec::new()), nothing);
        let no_size = json!({ "width": null, "height": null, "profile": 100, "level": 31 });
        assert_eq!(told(Codec::Avc, record(&[])), no_size);
        assert_eq!(told(Codec::Avc, record(&[0x67; PARAMETER_SET + 1])), no_size);
    }

    #[test]
    fn codecs_have_the_numbers_of_the_original() {
        assert_eq!(codec_number(Some(Codec::Avc)), 6_217_274_493_967_007_744_u64);
        assert_eq!(codec_number(Some(Codec::Aac)), 4_702_111_241_970_122_752_u64);
        assert_eq!(codec_number(Some(Codec::Opus)), Value::Null);
        assert_eq!(codec_number(None), Value::Null);
    }

    proptest! {
        #[test]
        fn no_configuration_panics(
            changes in proptest::collection::vec((0..SET.len(), any::<u8>()), 0..6),
            length in 0..SET.len(),
        ) {
            let mut set = SET.to_vec();
            changes.into_iter().for_each(|(at, byte)| set[at] = byte);
            let whole = record(&set[..length]);
            told(Codec::Avc, whole.clone());
            told(Codec::Avc, whole[..length.min(whole.len())].to_vec());
        }

        #[test]
        fn no_bytes_panic(set in proptest::collection::vec(any::<u8>(), 0..200)) {
            told(Codec::Avc, record(&set));
            told(Codec::Avc, set);
        }
    }
}
