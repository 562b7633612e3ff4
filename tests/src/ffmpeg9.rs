//! ffmpeg 9 and FFmpeg's libraries in Python, which `cargo xtask test` installs from PyPI: they read and write Enhanced
//! RTMP. Debian's ffmpeg takes all of its pictures for VP6.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::{Launch, Program, folder_of_programs};

/// What is prepared: longer than any test publishes it.
const LENGTH: u32 = 60;
/// Pictures from one key frame to the next, at 25 in a second.
const GOP: &str = "-g 25";
/// A moving pattern and a sweeping tone, so that no two packets are alike.
const SOURCES: &str = "-f lavfi -i testsrc2=size=192x108:rate=25 \
    -f lavfi -i aevalsrc=0.4*sin(2*PI*(300+7*t)*t):sample_rate=48000";
/// Times are greater than 0 also where pictures are reordered.
const LATER: &str = "-output_ts_offset 1 -f flv";

/// A film whose tracks only Enhanced FLV holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Film {
    /// H.265 with B-frames, and AAC.
    Hevc,
    /// AV1 and Opus.
    Av1,
    /// H.264 and H.265, AAC and Opus: two tracks of each kind.
    Tracks,
}

impl Film {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hevc, Self::Av1, Self::Tracks];

    /// The file, made once and kept among the build results.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn file(self) -> PathBuf {
        static MADE: [OnceLock<PathBuf>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        MADE[self as usize].get_or_init(|| self.make()).clone()
    }

    /// What the codecs of its tracks are called.
    pub const fn codecs(self) -> &'static [&'static str] {
        match self {
            Self::Hevc => &["aac", "hevc"],
            Self::Av1 => &["av1", "opus"],
            Self::Tracks => &["aac", "h264", "hevc", "opus"],
        }
    }

    /// Its packets.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    pub fn tracks(self) -> &'static Tracks {
        static READ: [OnceLock<Tracks>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        READ[self as usize].get_or_init(|| {
            let outcome = framecrc(ffmpeg("error").arg("-i").arg(self.file())).run().success();
            Tracks::parse(&outcome.stdout)
        })
    }

    fn make(self) -> PathBuf {
        let folder = folder_of_programs().join("fixtures");
        let file = folder.join(format!("{self:?}-{LENGTH}s-v1.flv").to_lowercase());
        if file.is_file() {
            return file;
        }
        fs::create_dir_all(&folder).expect("a folder among the build results");
        let unfinished = folder.join(format!("{self:?}-{}.part", std::process::id()));
        let h265 = "keyint=25:min-keyint=25:scenecut=0:log-level=error";
        let codecs = match self {
            Self::Hevc => format!("-c:v libx265 -preset ultrafast -x265-params {h265}:bframes=2 -c:a aac"),
            Self::Av1 => format!("-c:v libsvtav1 -preset 12 {GOP} -svtav1-params lp=1 -c:a libopus"),
            Self::Tracks => format!(
                "-map 0:v -map 0:v -map 1:a -map 1:a -c:v:0 libx264 -preset ultrafast {GOP} -sc_threshold 0 -bf 0 \
                 -c:v:1 libx265 -x265-params {h265}:bframes=0 -c:a:0 aac -c:a:1 libopus"
            ),
        };
        ffmpeg("error")
            .args(&format!("-y {SOURCES} -t {LENGTH} {codecs} -b:a 64k {LATER}"))
            .arg(&unfinished)
            .run()
            .success();
        fs::rename(&unfinished, &file).expect("the film gets its name");
        file
    }
}

/// A packet of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it is decoded, in milliseconds.
    pub dts: i64,
    /// When it is shown, in milliseconds.
    pub pts: i64,
    /// Its size in bytes and a checksum of them.
    pub content: (usize, String),
}

/// The packets of each track, by the name of its codec: no film has two tracks of one codec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks(pub BTreeMap<String, Vec<Packet>>);

impl Tracks {
    /// The names of the codecs, sorted.
    pub fn codecs(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Demands that these are parts of a film, with all of its tracks; see [`assert_are`](Self::assert_are).
    ///
    /// # Panics
    ///
    /// If that is not so.
    pub fn assert_part_of(&self, film: Film, least: usize) {
        self.assert_are(film.codecs(), film, least);
    }

    /// Demands that these are parts of a film: of the tracks with these codecs, and of no other, so many packets at least,
    /// none missing between the first and the last, with the same bytes and the same distances in time.
    ///
    /// # Panics
    ///
    /// If that is not so.
    pub fn assert_are(&self, codecs: &[&str], film: Film, least: usize) {
        assert_eq!(self.codecs(), codecs);
        for (codec, got) in &self.0 {
            assert!(got.len() >= least, "only {} packets of {codec}", got.len());
            let all = &film.tracks().0[codec];
            let first = all.iter().position(|packet| packet.content == got[0].content);
            let first = first.unwrap_or_else(|| panic!("{codec}: nobody has sent {:?}", got[0]));
            for (ours, theirs) in got.iter().zip(&all[first..]) {
                assert_eq!(ours.content, theirs.content, "{codec}: {ours:?}, {theirs:?}");
                let (elapsed, expected) = (ours.dts - got[0].dts, theirs.dts - all[first].dts);
                assert_eq!(elapsed, expected, "{codec}: {ours:?} moved in time");
                assert_eq!(ours.pts - ours.dts, theirs.pts - theirs.dts, "{codec}: {ours:?}");
            }
        }
    }

    /// Reads what ffmpeg's `framecrc` has written, as far as it is whole.
    pub fn parse(text: &str) -> Self {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let (mut names, mut tracks) = (BTreeMap::new(), BTreeMap::<String, Vec<Packet>>::new());
        for line in whole.lines() {
            if let Some((track, name)) =
                line.strip_prefix("#codec_id ").and_then(|rest| rest.split_once(": "))
            {
                names.insert(track.to_owned(), name.to_owned());
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [track, dts, pts, _, size, hash, ..] = fields[..] else { continue };
            let number = |text: &str| text.parse().ok();
            let (Some(dts), Some(pts), Ok(size)) = (number(dts), number(pts), size.parse()) else { continue };
            let codec = names.get(track).cloned().unwrap_or_default();
            tracks.entry(codec).or_default().push(Packet { dts, pts, content: (size, hash.to_owned()) });
        }
        Self(tracks)
    }
}

/// Publishes a film in real time, byte for byte. What it declares when it connects is `declares`, a list of FourCC; empty:
/// nothing.
pub fn publish(film: Film, url: &str, declares: &str) -> Launch {
    let launch = ffmpeg("error").args("-re -i").arg(film.file()).args("-map 0 -c copy -f flv");
    declaring(launch, declares).arg(url)
}

/// Plays so much of a stream and prints its packets, for [`Tracks::parse`]. What it declares is as for [`publish`].
pub fn read(url: &str, length: Duration, declares: &str) -> Launch {
    let player = declaring(ffmpeg("warning").args("-rw_timeout 20000000"), declares).arg("-i").arg(url);
    framecrc(player.args(&format!("-t {}", length.as_secs_f64())))
}

/// Plays a stream with FFmpeg's libraries in Python, and prints its packets in the same form until it has so many.
pub fn read_with_python(url: &str, packets: usize) -> Launch {
    let script = "import av, sys, zlib
with av.open(sys.argv[1], options={'rw_timeout': '20000000'}) as film:
    for stream in film.streams:
        print(f'#codec_id {stream.index}: {stream.codec_context.codec.canonical_name}')
    left = int(sys.argv[2])
    for packet in film.demux():
        if packet.dts is None or left == 0:
            break
        left -= 1
        hash = zlib.adler32(bytes(packet), 0)
        print(f'{packet.stream.index}, {packet.dts}, {packet.pts}, 0, {packet.size}, 0x{hash:08x}')";
    let launch = Launch::new("python3").env("PYTHONPATH", folder()).arg("-c").arg(script);
    launch.arg(url).arg(packets.to_string())
}

/// What a player that runs has printed so far.
pub fn so_far(program: &Program) -> Tracks {
    Tracks::parse(&program.stdout())
}

fn framecrc(launch: Launch) -> Launch {
    launch.args("-map 0 -c copy -f framecrc -")
}

fn declaring(launch: Launch, declares: &str) -> Launch {
    if declares.is_empty() { launch } else { launch.args("-rtmp_enhanced_codecs").arg(declares) }
}

/// The program, which says what is at least as important as `level`.
pub fn ffmpeg(level: &str) -> Launch {
    Launch::new(binary()).args("-nostdin -nostats -v").arg(level)
}

/// The program: the only one that its package brings.
fn binary() -> PathBuf {
    let binaries = folder().join("imageio_ffmpeg/binaries");
    let entries = fs::read_dir(&binaries).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_program =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ffmpeg-"));
    entries
        .filter(|path| is_program(path))
        .max()
        .unwrap_or_else(|| panic!("there is no ffmpeg in {}: run `cargo xtask test`", binaries.display()))
}

fn folder() -> PathBuf {
    folder_of_programs().parent().unwrap_or(Path::new("/")).join("pip")
}
