//! Which client can do what by which scheme: each cell of the matrix is tried, and the document that shows it is made
//! from the same table.

use std::env;
use std::fs;
use std::path::Path;

use crtmp_tests::{Config, Kind, Recording, Server, ffmpeg, fixture, root, wait_for};

use crate::{SOON, file};

mod client;
mod table;

use client::Client;
use table::{CLIENTS, SCHEMES, Scheme, Way, verdict};

/// Pictures that a cell must bring: two groups.
const ENOUGH: usize = 2 * fixture::GOP;

const DOCUMENT: &str = "docs/protocol-matrix.md";

#[test]
fn ffmpeg_of_debian() {
    all_cells_of(Client::Ffmpeg);
}

#[test]
fn ffmpeg_9() {
    all_cells_of(Client::Ffmpeg9);
}

#[test]
fn rtmpdump() {
    all_cells_of(Client::Rtmpdump);
}

#[test]
fn gstreamer_rtmp2() {
    all_cells_of(Client::Rtmp2);
}

#[test]
fn gstreamer_librtmp() {
    all_cells_of(Client::Librtmp);
}

/// Tries whatever the client can do, one after the other, on one server.
fn all_cells_of(client: Client) {
    let server = Server::start(&stage());
    let _source = ffmpeg::publish_film(&server.url("source")).start();
    server.wait_for_publisher("source");
    for scheme in SCHEMES {
        for way in [Way::Publish, Way::Play] {
            if verdict(client, scheme, way).is_ok() {
                eprintln!("{} {} {}", client.name(), way.name(), scheme.name());
                match way {
                    Way::Publish => publishes(client, scheme, &server),
                    Way::Play => plays(client, scheme, &server),
                }
            }
        }
    }
    server.stop();
}

/// A port for each scheme.
fn stage() -> Config {
    SCHEMES
        .iter()
        .filter(|scheme| **scheme != Scheme::Rtmp)
        .fold(Config::new().workers(4).whole_groups(), |config, scheme| config.acceptor(&scheme.acceptor()))
}

/// What the client publishes is the film, whole.
fn publishes(client: Client, scheme: Scheme, server: &Server) {
    let name = format!("from-{}", scheme.name());
    let mut publisher = client.publish(&url(scheme, server, &name)).start();
    server.wait_for_publisher(&name);
    let player = Recording::start(&server.url(&name));
    let recording = wait_for(&format!("pictures by {}", scheme.name()), SOON, || {
        assert!(publisher.runs(), "the publisher was ended: {}", publisher.stderr());
        enough(Recording::of_program(&player))
    });
    if client.keeps_times() {
        recording.assert_part_of(fixture::packets());
        recording.assert_no_gap();
    } else {
        recording.assert_bytes_of(fixture::packets());
    }
}

/// What the client plays is the film, whole.
fn plays(client: Client, scheme: Scheme, server: &Server) {
    let (_folder, out) = file("played.flv");
    let mut player = client.play(&url(scheme, server, "source"), &out).start();
    wait_for(&format!("pictures by {}", scheme.name()), SOON, || {
        assert!(player.runs(), "the player was ended: {}", player.stderr());
        // ffprobe refuses a file without a whole tag.
        let begun = fs::metadata(&out).is_ok_and(|file| file.len() > 64 * 1024);
        begun.then(|| Recording::of_growing_file(&out)).and_then(enough)
    });
    player.interrupt();
    let recording = Recording::of_growing_file(&out);
    recording.assert_part_of(fixture::packets());
    recording.assert_no_gap();
}

fn enough(recording: Recording) -> Option<Recording> {
    (recording.of(Kind::Video).len() >= ENOUGH).then_some(recording)
}

fn url(scheme: Scheme, server: &Server, stream: &str) -> String {
    format!("{}://{}/live/{stream}", scheme.name(), server.address_of(scheme.chain()))
}

#[test]
fn the_document_shows_the_table() {
    let file = root().join(DOCUMENT);
    let made = document();
    if env::var_os("UPDATE_DOCS").is_some() {
        return fs::write(&file, made).expect("the document can be written");
    }
    assert_eq!(read(&file), made, "UPDATE_DOCS=1 writes it anew");
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn document() -> String {
    let mut text = String::from(table::BEFORE);
    text.push_str("\n| Client | |");
    for scheme in SCHEMES {
        text.push_str(&format!(" `{}` |", scheme.name()));
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(SCHEMES.len()));
    let mut notes: Vec<&str> = Vec::new();
    for client in CLIENTS {
        for way in [Way::Publish, Way::Play] {
            text.push_str(&format!("\n| {} | {} |", client.name(), way.name()));
            for scheme in SCHEMES {
                match verdict(client, scheme, way) {
                    Ok(()) => text.push_str(" yes |"),
                    Err(why) => {
                        let known = notes.iter().position(|note| *note == why);
                        let number = known.unwrap_or_else(|| {
                            notes.push(why);
                            notes.len() - 1
                        });
                        text.push_str(&format!(" no ({}) |", number + 1));
                    }
                }
            }
        }
    }
    text.push_str("\n\nWhy not:\n\n");
    for (index, note) in notes.iter().enumerate() {
        text.push_str(&format!("{}. {note}\n", index + 1));
    }
    text
}
