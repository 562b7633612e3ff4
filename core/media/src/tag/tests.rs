use proptest::prelude::*;

use super::*;

fn v(body: &[u8]) -> Result<TagHeader, TagError> {
    video(body, &Limits::default())
}

fn a(body: &[u8]) -> Result<TagHeader, TagError> {
    audio(body, &Limits::default())
}

#[test]
fn legacy_avc_is_told_apart_by_packet_and_frame_type() {
    assert_eq!(v(&[0x17, 0, 0, 0, 0, 1]).unwrap().role, Role::Config);
    assert_eq!(v(&[0x17, 1, 0, 0, 0, 9]).unwrap().role, Role::Key);
    assert_eq!(v(&[0x27, 1, 0, 0, 0, 9]).unwrap().role, Role::Delta);
    assert_eq!(v(&[0x37, 1, 0, 0, 0, 9]).unwrap().role, Role::Disposable);
    assert_eq!(v(&[0x17, 2, 0, 0, 0]).unwrap().role, Role::Side);
    assert_eq!(v(&[0x57, 0]).unwrap().role, Role::Side);
    assert_eq!(v(&[0x1c, 1, 0, 0, 0, 9]).unwrap().codec, Codec::Hevc);
}

/// MED-08.
#[test]
fn composition_time_is_signed() {
    assert_eq!(v(&[0x27, 1, 0xff, 0xff, 0xfe, 9]).unwrap().cts, -2);
    assert_eq!(v(&[0x27, 1, 0x80, 0, 0, 9]).unwrap().cts, -(1 << 23));
    assert_eq!(v(&[0x27, 1, 0x7f, 0xff, 0xff, 9]).unwrap().cts, (1 << 23) - 1);
}

/// MED-04, MED-05.
#[test]
fn short_bodies_and_empty_configurations_are_refused() {
    assert_eq!(v(&[]), Err(TagError::Short));
    assert_eq!(v(&[0x17]), Err(TagError::Short));
    assert_eq!(v(&[0x17, 1, 0, 0]), Err(TagError::Short));
    assert_eq!(v(&[0x17, 0, 0, 0, 0]), Err(TagError::EmptyConfig));
    assert_eq!(a(&[]), Err(TagError::Short));
    assert_eq!(a(&[0xaf]), Err(TagError::Short));
    assert_eq!(a(&[0xaf, 0]), Err(TagError::EmptyConfig));
}

/// The first bytes that ffmpeg writes: sequence start, coded frames with and without composition time,
/// colour information, Opus head, channel layout.
#[test]
fn enhanced_headers_of_a_real_encoder_are_read() {
    let config = v(b"\x90hvc1\x01").unwrap();
    assert_eq!((config.role, config.codec, config.data_at), (Role::Config, Codec::Hevc, 5));
    let key = v(b"\x91hvc1\x00\x00\x28data").unwrap();
    assert_eq!((key.role, key.cts, key.data_at), (Role::Key, 40, 8));
    assert_eq!(v(b"\xa3hvc1data").unwrap().role, Role::Delta);
    assert_eq!(v(b"\xd4hvc1\x02").unwrap().role, Role::Info);
    let av1 = v(b"\xa1av01data").unwrap();
    assert_eq!((av1.codec, av1.data_at), (Codec::Av1, 5));
    assert_eq!(a(b"\x90OpusOpusHead").unwrap().role, Role::Config);
    assert_eq!(a(b"\x91Opusx").unwrap().role, Role::Key);
    assert_eq!(a(b"\x94Opus\x01\x01").unwrap().role, Role::Info);
}

#[test]
fn video_command_frames_have_no_fourcc() {
    for body in [&[0xd1, 0][..], &[0xd6, 1], &[0xd7, 0, 9, 0x01, 1]] {
        let command = v(body).unwrap();
        assert_eq!((command.role, command.data_at as usize), (Role::Side, body.len()));
    }
    assert_eq!(v(&[0xd1]), Err(TagError::Short));
    let colours = v(b"\xd6\x04hvc1\x02\x02\x00\x09colorInfo").unwrap();
    assert_eq!((colours.role, colours.track, colours.data_at), (Role::Info, 2, 7), "those of a track");
}

/// ERT-03.
#[test]
fn mod_ex_chains_are_bounded() {
    let chain = |links: usize| {
        let mut body = vec![0x97];
        for link in 0..links {
            body.extend([0, 0xaa, if link + 1 == links { 0x01 } else { 0x07 }]);
        }
        body.extend(b"av01data");
        body
    };
    assert_eq!(v(&chain(7)).unwrap().role, Role::Key);
    assert_eq!(v(&chain(8)).unwrap().role, Role::Key);
    assert_eq!(v(&chain(9)), Err(TagError::ModExChain));
    assert_eq!(v(&[0x97, 0xff, 0xff, 0xff, 1]), Err(TagError::Short));
}

/// ERT-03: what is no offset says nothing; of several the last one counts; it changes nothing else.
#[test]
fn an_offset_in_nanoseconds_is_read_exactly() {
    let with = |data: &[u8], kind: u8| {
        let mut body = vec![0x97, (data.len() - 1) as u8];
        body.extend(data);
        body.push(kind << 4 | 1);
        body.extend(b"avc1\x00\x00\x28data");
        v(&body).unwrap()
    };
    let plain = v(b"\x91avc1\x00\x00\x28data").unwrap();
    for (nanos, expected) in [(0, 0), (1, 1), (999_999, 999_999), (1_000_000, 0), (0xff_ffff, 0)] {
        let found = with(&u32::to_be_bytes(nanos)[1..], 0);
        assert_eq!(found.nanos, expected);
        assert_eq!((found.cts, found.role, found.codec), (plain.cts, plain.role, plain.codec));
    }
    assert_eq!(with(&[0, 1, 0, 0xff], 0).nanos, 256, "what follows is not for us");
    assert_eq!(with(&[0, 1], 0).nanos, 0, "too short");
    assert_eq!(with(&[0, 1, 0], 1).nanos, 0, "another kind of ModEx");
    let twice = b"\x97\x02\x00\x00\x05\x07\x02\x00\x00\x06\x01av01data";
    assert_eq!(v(twice).unwrap().nanos, 6);
    let sound = a(b"\x97\x02\x0f\x42\x3f\x01Opusx").unwrap();
    assert_eq!((sound.nanos, sound.role, sound.data_at), (999_999, Role::Key, 10));
    let mut long = vec![0x97, 0xff, 0x01, 0x00];
    long.extend([7; 257]);
    long.extend(b"\x01av01data");
    assert_eq!(v(&long).unwrap().data_at as usize, long.len() - 4);
}

/// ERT-04.
#[test]
fn multitrack_sizes_and_counts_are_checked() {
    let one = v(b"\x96\x01av01\x03data").unwrap();
    assert_eq!((one.track, one.role, one.data_at, one.several), (3, Role::Key, 7, false));
    let many = |count: u8| {
        let mut body = b"\x96\x11av01".to_vec();
        for track in (0..count).rev() {
            body.extend([track, 0, 0, 1, 9]);
        }
        body
    };
    let most = v(&many(64)).unwrap();
    assert_eq!((most.track, most.several, most.data_at as usize), (0, true, many(64).len()));
    for count in [65, 255] {
        assert_eq!(v(&many(count)), Err(TagError::Tracks));
    }
    let wide = Limits { message_tracks: 256, ..Limits::default() };
    assert_eq!(video(&many(255), &wide).unwrap().track, 0);
    assert_eq!(v(b"\x96\x11av01\x00\x00\x00\x09x"), Err(TagError::Tracks));
    assert_eq!(v(b"\x96\x16av01\x00"), Err(TagError::Multitrack));
    assert_eq!(v(b"\x96\x17av01\x00"), Err(TagError::Multitrack));
    assert_eq!(v(b"\x96\x31av01\x00"), Err(TagError::Multitrack));
    assert_eq!(v(b"\x96\x11av01"), Err(TagError::Short), "no track at all");
    assert_eq!(v(b"\x96\x11av01\x00\x00\x00\x00"), Err(TagError::Tracks), "a frame of nothing");
    assert_eq!(v(b"\x96\x12av01\x00\x00\x00\x00").unwrap().role, Role::Side, "an end has no content");
    assert_eq!(a(b"\x95\x10Opus\x01\x00\x00\x00").unwrap().role, Role::Config, "nor has Opus to say any");
    let twice = b"\x96\x11av01\x05\x00\x00\x01x\x05\x00\x00\x01y";
    assert_eq!(v(twice), Err(TagError::SameTrack));
    // The composition time of a track lies within it.
    assert_eq!(v(b"\x96\x11avc1\x00\x00\x00\x02xy\x01\x00\x00\x04abcd"), Err(TagError::Short));
}

/// ERT-04: each track with its codec.
#[test]
fn messages_of_several_tracks_are_taken_apart() {
    let body = b"\x96\x21hvc1\x02\x00\x00\x05\x00\x00\x28abav01\x01\x00\x00\x02cd";
    let header = v(body).unwrap();
    assert_eq!((header.track, header.codec, header.cts), (1, Codec::Av1, 0));
    assert!(has_several(MediaKind::Video, body));
    let parts = split(MediaKind::Video, body);
    assert_eq!(parts, [&b"\x96\x01hvc1\x02\x00\x00\x28ab"[..], b"\x96\x01av01\x01cd"]);
    let first = v(&parts[0]).unwrap();
    assert_eq!((first.track, first.codec, first.cts, first.data_at), (2, Codec::Hevc, 40, 10));
    assert_eq!(unwrapped(MediaKind::Video, body, 2).unwrap(), b"\x91hvc1\x00\x00\x28ab");
    assert_eq!(unwrapped(MediaKind::Video, body, 1).unwrap(), b"\x91av01cd");
    assert_eq!(unwrapped(MediaKind::Video, body, 0), None);
    let shared = b"\x95\x11Opus\x00\x00\x00\x01a\x07\x00\x00\x01b";
    assert_eq!(split(MediaKind::Audio, shared), [b"\x95\x01Opus\x00a", b"\x95\x01Opus\x07b"]);
    // What stands before the tracks stays.
    let nano = b"\x97\x02\x00\x00\x09\x06\x01avc1\x04\x00\x00\x00data";
    assert_eq!(
        unwrapped(MediaKind::Video, nano, 4).unwrap(),
        b"\x97\x02\x00\x00\x09\x01avc1\x00\x00\x00data"
    );
    assert_eq!(v(&unwrapped(MediaKind::Video, nano, 4).unwrap()).unwrap().nanos, 9);
    for plain in [&b"\x91av01cd"[..], b"\xd6\x00", b"\x17\x01\x00\x00\x00x", b"", b"\x96", b"\x96\x11av01"] {
        assert!(split(MediaKind::Video, plain).is_empty(), "{plain:?}");
        assert_eq!(unwrapped(MediaKind::Video, plain, 0), None);
        assert!(!has_several(MediaKind::Video, plain) || plain == b"\x96\x11av01");
    }
}

/// ERT-05, and what no specification knows.
#[test]
fn what_cannot_be_served_is_refused() {
    assert_eq!(v(b"\x95av01\x80\x04\x81"), Err(TagError::Mpeg2Ts));
    assert_eq!(v(b"\x90av01\x81").unwrap().role, Role::Config, "the ordinary form is still taken");
    for packet_type in 8..16 {
        assert_eq!(v(&[&[0x90 | packet_type][..], b"av01x"].concat()), Err(TagError::PacketType));
    }
    for packet_type in [3, 6, 8, 15] {
        assert_eq!(a(&[&[0x90 | packet_type][..], b"Opusx"].concat()), Err(TagError::PacketType));
    }
}

/// ERT-02: nothing is known of such codecs, and nothing is looked for in them.
#[test]
fn unknown_codecs_pass() {
    for fourcc in [b"****", b"\xff\x00\x01\x02", b"xyz1"] {
        let header = v(&[b"\x91", &fourcc[..], b"data"].concat()).unwrap();
        assert_eq!((header.codec, header.role, header.data_at), (Codec::Other(*fourcc), Role::Key, 5));
        let header = a(&[b"\x90", &fourcc[..]].concat()).unwrap();
        assert_eq!((header.codec, header.role), (Codec::Other(*fourcc), Role::Config));
    }
}

/// ERT-01: cut at each byte, a message is refused or has nothing but less content.
#[test]
fn messages_cut_short_are_refused_within_their_header() {
    let codecs = [b"avc1", b"hvc1", b"vvc1", b"av01", b"vp08", b"vp09"];
    let sounds = [b"Opus", b"fLaC", b"ac-3", b"ec-3", b"mp4a", b".mp3"];
    let all = codecs.iter().map(|codec| (MediaKind::Video, codec));
    let all = all.chain(sounds.iter().map(|codec| (MediaKind::Audio, codec)));
    let mut tried = 0;
    for (kind, fourcc) in all {
        for packet_type in 0..8_u8 {
            for tail in [&b"\x00\x00\x28content"[..], b""] {
                let whole = [&[0x90 | packet_type][..], &fourcc[..], tail].concat();
                let read = |body: &[u8]| if kind == MediaKind::Video { v(body) } else { a(body) };
                let Ok(header) = read(&whole) else { continue };
                for cut in 0..header.data_at as usize {
                    assert_eq!(read(&whole[..cut]), Err(TagError::Short), "{whole:?} {cut}");
                }
                for cut in header.data_at as usize..whole.len() {
                    assert_eq!(read(&whole[..cut]), Ok(header));
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried}");
}

proptest! {
    #[test]
    fn no_input_panics_and_the_content_lies_inside(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        for header in [v(&body), a(&body)].into_iter().flatten() {
            prop_assert!(header.data_at as usize <= body.len());
            prop_assert!(header.nanos <= 999_999);
        }
    }

    /// What is taken apart is all that there was, and reads as the tracks that were put in.
    #[test]
    fn tracks_that_are_put_together_come_apart_again(
        tracks in proptest::collection::btree_map(any::<u8>(), proptest::collection::vec(any::<u8>(), 1..20), 1..10),
        nano in proptest::option::of(0..1_000_000_u32),
        own_codecs: bool,
    ) {
        let mut body = match nano {
            Some(nano) => {
                let [_, a, b, c] = nano.to_be_bytes();
                vec![0x97, 2, a, b, c, 0x06]
            }
            None => vec![0x96],
        };
        body.push(if own_codecs { 0x21 } else { 0x11 });
        if !own_codecs {
            body.extend(b"av01");
        }
        for (track, data) in &tracks {
            if own_codecs {
                body.extend(b"vp09");
            }
            body.push(*track);
            body.extend(&(data.len() as u32).to_be_bytes()[1..]);
            body.extend(data);
        }
        let header = v(&body).unwrap();
        prop_assert_eq!((header.several, Some(&header.track)), (true, tracks.keys().next()));
        prop_assert_eq!(header.nanos, nano.unwrap_or(0));
        let parts = split(MediaKind::Video, &body);
        prop_assert_eq!(parts.len(), tracks.len());
        for (part, (track, data)) in parts.iter().zip(&tracks) {
            let one = v(part).unwrap();
            prop_assert_eq!((one.track, one.several, one.nanos), (*track, false, header.nanos));
            prop_assert_eq!(&part[one.data_at as usize..], &data[..]);
            let plain = unwrapped(MediaKind::Video, &body, *track).unwrap();
            let bare = v(&plain).unwrap();
            prop_assert_eq!((bare.track, &plain[bare.data_at as usize..]), (0, &data[..]));
        }
    }
}
