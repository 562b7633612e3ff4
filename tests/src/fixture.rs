//! A film for all tests, made once and kept among the build results.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{Launch, Recording, folder_of_programs};

/// Pictures per second.
pub const RATE: i64 = 25;
/// Time from one picture to the next, in milliseconds.
pub const FRAME: i64 = 1000 / RATE;
/// Length in seconds: longer than any test publishes it.
pub const LENGTH: u32 = 180;
/// Pictures from one key frame to the next.
pub const GOP: usize = 25;

/// An FLV file: a moving test pattern with a counter and a sweeping tone, so that no two packets are alike;
/// H.264 with B-frames and a key frame each second, and AAC.
///
/// # Panics
///
/// If ffmpeg cannot make it.
pub fn film() -> &'static Path {
    static FILM: OnceLock<PathBuf> = OnceLock::new();
    FILM.get_or_init(|| {
        let folder = folder_of_programs().join("fixtures");
        let film = folder.join(format!("film-{LENGTH}s-v1.flv"));
        if film.is_file() {
            return film;
        }
        fs::create_dir_all(&folder).expect("a folder among the build results");
        let unfinished = folder.join(format!("film-{}.part", std::process::id()));
        Launch::new("ffmpeg")
            .args("-nostdin -v error -y -f lavfi -i")
            .arg(format!("testsrc2=size=192x108:rate={RATE}"))
            .args("-f lavfi -i")
            .arg("aevalsrc=0.4*sin(2*PI*(300+7*t)*t):sample_rate=44100")
            .args(&format!("-t {LENGTH} -c:v libx264 -preset veryfast -pix_fmt yuv420p"))
            .args(&format!("-g {GOP} -keyint_min {GOP} -sc_threshold 0 -bf 2 -c:a aac -b:a 64k -f flv"))
            .arg(&unfinished)
            .run()
            .success();
        fs::rename(&unfinished, &film).expect("the film gets its name");
        film
    })
}

/// The packets of the [`film`].
pub fn packets() -> &'static Recording {
    static PACKETS: OnceLock<Recording> = OnceLock::new();
    PACKETS.get_or_init(|| Recording::of_file(film()))
}
