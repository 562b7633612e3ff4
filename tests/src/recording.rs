//! The packets of a file or of a stream, and how those of a player compare with those of its publisher.

use std::path::Path;
use std::time::Duration;

use crate::{Launch, Program, fixture};

/// What a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A picture.
    Video,
    /// Sound.
    Audio,
}

/// A packet, as ffprobe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Picture or sound.
    pub kind: Kind,
    /// When it is shown, in milliseconds.
    pub pts: i64,
    /// When it is decoded, in milliseconds.
    pub dts: i64,
    /// Its size in bytes.
    pub size: usize,
    /// Whether decoding can begin here.
    pub key: bool,
    /// A checksum of its bytes.
    pub hash: String,
}

/// Packets in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Recording(pub Vec<Packet>);

impl Recording {
    /// The packets of a file.
    ///
    /// # Panics
    ///
    /// If ffprobe cannot read it.
    pub fn of_file(file: &Path) -> Self {
        Self::parse(&probe().arg(file).run().success().stdout)
    }

    /// The packets of a file that somebody still writes, or has stopped writing anywhere: all but the last, which may
    /// not be whole.
    pub fn of_growing_file(file: &Path) -> Self {
        let mut recording = Self::parse(&probe().arg(file).run().stdout);
        recording.0.pop();
        recording
    }

    /// Begins to record a stream; [`of_program`](Self::of_program) shows what has come so far.
    pub fn start(url: &str) -> Program {
        probe().within(Duration::from_secs(300)).arg(url).start()
    }

    /// What a recording that was begun holds so far.
    pub fn of_program(program: &Program) -> Self {
        Self::parse(&program.stdout())
    }

    /// The packets of one kind.
    pub fn of(&self, kind: Kind) -> Vec<&Packet> {
        self.0.iter().filter(|packet| packet.kind == kind).collect()
    }

    /// Demands that every packet is one of `source`, whole, none missing between the first and the last, with
    /// the same distances in time, and that pictures begin with a key frame.
    ///
    /// # Panics
    ///
    /// If that is not so.
    pub fn assert_part_of(&self, source: &Self) {
        for kind in [Kind::Video, Kind::Audio] {
            let pairs = self.pairs(source, kind);
            let (first, first_there) = pairs[0];
            for (index, (ours, theirs)) in pairs.into_iter().enumerate() {
                let (elapsed, expected) = (ours.dts - first.dts, theirs.dts - first_there.dts);
                assert_eq!(elapsed, expected, "{kind:?} packet {index} moved in time: {ours:?}, {theirs:?}");
                assert_eq!(ours.pts - ours.dts, theirs.pts - theirs.dts, "composition time of {ours:?}");
            }
        }
    }

    /// As [`assert_part_of`](Self::assert_part_of), whatever the times: some publishers make their own.
    ///
    /// # Panics
    ///
    /// If that is not so.
    pub fn assert_bytes_of(&self, source: &Self) {
        for kind in [Kind::Video, Kind::Audio] {
            self.pairs(source, kind);
        }
    }

    /// Each packet of a kind beside that of `source` which it is.
    fn pairs<'a>(&'a self, source: &'a Self, kind: Kind) -> Vec<(&'a Packet, &'a Packet)> {
        let (got, all) = (self.of(kind), source.of(kind));
        let first = got.first().unwrap_or_else(|| panic!("no {kind:?} at all"));
        assert!(first.key, "{kind:?} does not begin with a key frame");
        let offset = longest_match(&all, &got);
        assert!(offset + got.len() <= all.len(), "more {kind:?} than the publisher has");
        let count = got.len();
        let pairs: Vec<_> = got.into_iter().zip(all.into_iter().skip(offset)).collect();
        for (index, (ours, theirs)) in pairs.iter().enumerate() {
            assert!(
                (ours.size, &ours.hash, ours.key) == (theirs.size, &theirs.hash, theirs.key),
                "{kind:?} packet {index} of {count} is not that of its publisher: {ours:?}, {theirs:?}"
            );
        }
        pairs
    }

    /// Demands that decoding times never go back, in each kind.
    ///
    /// # Panics
    ///
    /// If one does.
    pub fn assert_forward(&self) {
        for kind in [Kind::Video, Kind::Audio] {
            for pair in self.of(kind).windows(2) {
                assert!(
                    pair[0].dts < pair[1].dts,
                    "{kind:?} goes back in time: {:?}, {:?}",
                    pair[0],
                    pair[1]
                );
            }
        }
    }

    /// Demands that picture follows picture without a gap, at the rate of the [fixture].
    ///
    /// # Panics
    ///
    /// If one is missing.
    pub fn assert_no_gap(&self) {
        for pair in self.of(Kind::Video).windows(2) {
            let step = pair[1].dts - pair[0].dts;
            // One millisecond of rounding.
            assert!((step - fixture::FRAME).abs() <= 1, "{step} ms between {:?} and {:?}", pair[0], pair[1]);
        }
    }

    fn parse(text: &str) -> Self {
        // The last line may still be being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Self(whole.lines().filter_map(packet).collect())
    }
}

/// Where in `all` the packets `got` fit best.
fn longest_match(all: &[&Packet], got: &[&Packet]) -> usize {
    let matches = |offset: &usize| {
        let pairs = got.iter().zip(&all[*offset..]);
        pairs.take_while(|(ours, theirs)| ours.hash == theirs.hash && ours.size == theirs.size).count()
    };
    (0..all.len()).max_by_key(matches).unwrap_or(0)
}

/// ffprobe that prints each packet as soon as it has it.
fn probe() -> Launch {
    Launch::new("stdbuf")
        .args("-oL ffprobe -v warning -show_packets -show_data_hash crc32")
        .args("-show_entries packet=codec_type,pts,dts,size,flags,data_hash -of csv=p=0")
}

fn packet(line: &str) -> Option<Packet> {
    let fields: Vec<&str> = line.split(',').collect();
    let [kind, pts, dts, size, flags, ..] = fields[..] else { return None };
    // A codec configuration that comes again stands before it.
    let hash = fields.iter().rev().find(|field| field.starts_with("CRC32:"))?;
    let kind = match kind {
        "video" => Kind::Video,
        "audio" => Kind::Audio,
        _ => return None,
    };
    Some(Packet {
        kind,
        pts: pts.parse().ok()?,
        dts: dts.parse().ok()?,
        size: size.parse().ok()?,
        key: flags.contains('K'),
        hash: (*hash).into(),
    })
}
