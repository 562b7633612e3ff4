//! Each kind of client reads a stream that ffmpeg publishes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crtmp_tests::{Config, Kind, Program, Recording, Server, ffmpeg, fixture, players, wait_for};

use crate::{SOON, file};

/// A server on which ffmpeg publishes the film as `one`.
fn stage() -> (Server, Program) {
    stage_with(&Config::new())
}

fn stage_with(config: &Config) -> (Server, Program) {
    let server = Server::start(config);
    let publisher = ffmpeg::publish_film(&server.url("one")).start();
    server.wait_for_publisher("one");
    (server, publisher)
}

#[test]
fn ffprobe_sees_h264_and_aac() {
    let (server, _publisher) = stage();
    assert_eq!(ffmpeg::codecs(&server.url("one")), ["aac", "h264"]);
    server.stop();
}

#[test]
fn ffmpeg_records_an_encoder_without_a_gap() {
    let server = Server::start(&Config::new().whole_groups());
    let _publisher = ffmpeg::publish_encoded(&server.url("one")).start();
    server.wait_for_publisher("one");
    let (_folder, out) = file("out.flv");
    let length = Duration::from_secs(10);
    ffmpeg::assert_clean(ffmpeg::record(&server.url("one"), length, &out).run());
    let recording = Recording::of_file(&out);
    recording.assert_forward();
    recording.assert_no_gap();
    let pictures = recording.of(Kind::Video).len();
    // ffmpeg counts the ten seconds from the first packet, which may be sound.
    assert!(pictures >= 240, "{pictures} pictures in ten seconds");
    assert!(recording.of(Kind::Audio).len() >= 400);
    server.stop();
}

#[test]
fn ffmpeg_records_every_byte() {
    let (server, _publisher) = stage_with(&Config::new().whole_groups());
    let (_folder, out) = file("out.flv");
    ffmpeg::assert_clean(ffmpeg::record(&server.url("one"), Duration::from_secs(5), &out).run());
    let recording = Recording::of_file(&out);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
    server.stop();
}

#[test]
fn rtmpdump_records_h264_and_aac() {
    let (server, _publisher) = stage_with(&Config::new().whole_groups());
    let (_folder, out) = file("dump.flv");
    let dump = players::rtmpdump(&server.url("one"), &out).start();
    wait_for("a file of rtmpdump's", SOON, || {
        fs::metadata(&out).is_ok_and(|file| file.len() > 100_000).then_some(())
    });
    dump.interrupt();
    assert_eq!(ffmpeg::codecs(&out.to_string_lossy()), ["aac", "h264"]);
    let recording = Recording::of_file(&out);
    recording.assert_forward();
    recording.assert_no_gap();
    server.stop();
}

#[test]
fn gstreamer_reads_pictures_and_sound() {
    let (server, _publisher) = stage();
    let player = players::gstreamer(&server.url("one")).start();
    wait_for("pictures and sound in GStreamer", SOON, || {
        let output = player.stdout();
        let buffers = |sink: &str| {
            let sink = format!("GstFakeSink:{sink}: last-message = chain");
            output.lines().filter(|line| line.contains(&sink)).count()
        };
        (buffers("video") >= 3 * fixture::GOP && buffers("audio") >= 3 * fixture::GOP).then_some(())
    });
    server.stop();
}

#[test]
fn vlc_shows_a_picture() {
    let (server, _publisher) = stage();
    let (folder, _) = file("home");
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), open).expect("a folder of ours");
    let player = players::vlc(&server.url("one"), Duration::from_secs(8), folder.path()).start();
    wait_for("a picture in VLC", SOON, || player.stderr().contains("Received first picture").then_some(()));
    let log = player.stderr();
    assert!(log.contains("h264") && log.contains("mp4a"), "VLC did not find both tracks");
    server.stop();
}

#[test]
fn a_query_and_an_instance_belong_to_the_name() {
    let server = Server::start(&Config::new());
    let _publisher =
        ffmpeg::publish_film(&format!("rtmp://{}/live/room/one?key=1", server.address())).start();
    server.wait_for_counters("a publisher", SOON, |counters| {
        counters.connections().iter().any(|connection| !connection.publishes.is_empty()).then_some(())
    });
    let url = format!("rtmp://{}/live/room/one?ticket=2", server.address());
    assert_eq!(ffmpeg::codecs(&url), ["aac", "h264"]);
    server.stop();
}
