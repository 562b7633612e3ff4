//! The whole server with real clients, as its users meet it.
//!
//! * [`clients`]: each kind of client reads a stream that ffmpeg publishes.
//! * [`workers`]: publisher and players on different workers; many of both.
//! * [`takeover`]: publishers that die, return, or contend for a name; players that wait.
//! * [`slow`]: players that read slowly, stop reading, or pause.
//! * [`merging`]: how long messages wait for each other.
//! * [`matrix`]: every client by every scheme in both directions, also by squid, haproxy and stunnel; the page that says
//!   which can do what.
//! * [`churn`]: all of them come and go, and leave nothing behind.
//! * [`limits`]: what an operator allows: connections, bandwidth, aliases, ingest points.
//! * [`links`], [`uplinks`]: pulls and pushes between servers; what they say, and what commands make of them.
//! * [`cluster`], [`upstreams`]: chains of servers; far ends with ways of their own.
//! * [`faults`], [`dead`]: far ends of pulls and pushes that flap, reset, lead in circles or to where they may not;
//!   networks and name servers that do not answer.
//! * [`reconnect`]: servers that ask their clients to connect elsewhere, and clients that do.
//! * [`enhanced`]: Enhanced RTMP between programs that know it.
//! * [`bandwidth`]: tests of the way to peers.
//! * [`auth`]: who must say who it is before it publishes or plays.
//! * [`rtmpt`]: RTMP in requests of HTTP: real clients, proxies, and requests of every kind.
//! * [`any`]: ports that serve several chains.
//! * [`events`]: what is told to files and other servers, and metrics.
//! * [`proxypublish`], [`edge`], [`stresstest`]: the applications that pull and push.
//! * [`commands`]: what operators ask for.
//! * [`faces`]: the same data through every face.
//! * [`services`]: ports that commands open and close.
//! * [`shared_objects`]: what clients share, and what outlives them.
//! * [`operators`]: command lines under attack and under load.
//! * [`tls`]: certificates, their exchange and their end; what comes to the wrong port; floods of handshakes.
//! * [`browser`]: a page in Chromium that tries to run commands.
//! * [`process`]: signals, reload, daemon mode, the command line.
//! * [`processes`]: programs that commands launch, and timers.
//! * [`mistakes`]: what a wrong configuration is told.
//! * [`plugins`]: applications that misbehave.
//! * [`new_app`]: applications from the templates, made outside of the tree.
//! * [`valgrind`]: the border to plugins, looked at by valgrind.
//! * [`factories`]: what plugins bring: layers, chains, filters, sources.
//! * [`containment`]: an application that does everything wrong at once, beside players that must not notice.
//! * [`versions`]: a new version of an application; applications that are disabled and enabled.
//! * [`library`]: `protocols/rtmp` without the server.
//! * [`lua`], [`bls`]: applications in Lua; the words of BLS.
//! * [`edge_lua`]: clusters by script, as BLS has them.
//! * [`scripts`]: scripts that fail, and scripts that ask web services which do.
//! * [`start`]: where players start that come in the middle of a group of pictures.
//! * [`peers`]: the servers that ours is tried against, tried by themselves.
//! * [`hostile`]: peers that break the rules, beside a stream that must not notice.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "tests wait for real programs by the real clock")]

mod any;
mod auth;
mod bandwidth;
mod bls;
mod browser;
mod churn;
mod clients;
mod cluster;
mod commands;
mod containment;
mod crowd;
mod dead;
mod dials;
mod edge;
mod edge_lua;
mod enhanced;
mod events;
mod faces;
mod factories;
mod faults;
mod hostile;
mod library;
mod limits;
mod links;
mod lua;
mod matrix;
mod merging;
mod mistakes;
mod new_app;
mod operators;
mod peers;
mod plugins;
mod process;
mod processes;
mod proxied;
mod proxypublish;
mod reconnect;
mod rtmpe;
mod rtmpt;
mod scripts;
mod services;
mod shared_objects;
mod slow;
mod start;
mod stresstest;
mod takeover;
mod tls;
mod uplinks;
mod upstreams;
mod valgrind;
mod versions;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crtmp_tests::cli::Session;
use crtmp_tests::{Kind, Program, Recording, Server, ffmpeg, fixture, free_address, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// Enough time for anything that should happen soon, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A folder that goes away with the test, and a file in it.
fn file(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("crtmp-e2e-").tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    (folder, path)
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    free_address().port()
}

/// CPU time that the server has taken.
fn cpu(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("it runs");
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
    // A tick is a hundredth of a second on every Linux.
    Duration::from_millis(ticks * 10)
}

/// Waits until a player has `count` pictures more than it has now.
fn wait_for_more(player: &mut Program, count: usize) {
    let pictures = |player: &Program| Recording::of_program(player).of(Kind::Video).len();
    let before = pictures(player);
    wait_for("more pictures", SOON, || {
        assert!(player.runs(), "the player was ended: {}", player.stderr());
        (pictures(player) >= before + count).then_some(())
    });
}

/// Records from a server for some seconds and demands that it is the film.
fn assert_film(url: &str, seconds: u64) {
    let (_folder, out) = file("out.flv");
    ffmpeg::assert_clean(ffmpeg::record(url, Duration::from_secs(seconds), &out).run());
    let recording = Recording::of_file(&out);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
}

/// Demands that what a program writes into `out` is the film, once that has so many pictures.
fn assert_writes_film(mut program: Program, out: &Path, pictures: usize) {
    wait_for("pictures that are written", SOON, || {
        assert!(program.runs(), "the program was ended: {}", program.stderr());
        // ffprobe refuses a file without a whole tag.
        let begun = fs::metadata(out).is_ok_and(|file| file.len() > 64 * 1024);
        let recording = begun.then(|| Recording::of_growing_file(out))?;
        (recording.of(Kind::Video).len() >= pictures).then_some(())
    });
    program.interrupt();
    let recording = Recording::of_growing_file(out);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
}

/// The entries of a group of `listConfig`.
fn entries(session: &mut Session, group: &str) -> Vec<Value> {
    session.done("listConfig")[group].as_array().expect("a group").clone()
}

/// What `listConfig` shows of a pull or push of this stream.
fn entry(session: &mut Session, group: &str, stream: &str) -> Value {
    let entries = entries(session, group);
    let found = entries.iter().find(|entry| entry["localStreamName"] == stream).cloned();
    found.unwrap_or_else(|| panic!("no {group} of {stream}: {entries:?}"))
}
