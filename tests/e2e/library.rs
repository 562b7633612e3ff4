//! `protocols/rtmp` without the server: its package, built alone, and its examples with other programs.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crtmp_tests::{
    Config, Kind, Launch, Program, Recording, Server, ffmpeg, fixture, folder_of_programs, players, root,
    wait_for,
};
use tempfile::TempDir;

use crate::{SOON, file, free_port};

/// All packages have the same.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A busy machine builds a few crates within this.
const BUILD: Duration = Duration::from_secs(300);
/// Enough for a film of [`SECONDS`].
const FILM: Duration = Duration::from_secs(40);
/// The length of the film that the examples publish.
const SECONDS: u32 = 5;
/// Where Debian puts nginx-rtmp.
const NGINX: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// What would be published is whole: it builds where nothing else of this tree is.
#[test]
fn the_package_builds_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let cargo =
        |task: &str| Launch::new(&cargo).args(task).env("CARGO_TARGET_DIR", folder.path()).within(BUILD);
    let task = "package -p crtmp-media -p crtmp-rtmp --offline --no-verify --allow-dirty";
    cargo(task).folder(root()).run().success();
    for name in ["crtmp-media", "crtmp-rtmp"] {
        let package = folder.path().join(format!("package/{name}-{VERSION}.crate"));
        Launch::new("tar").args("xzf").arg(package).folder(folder.path()).run().success();
    }
    let package = folder.path().join(format!("crtmp-rtmp-{VERSION}"));
    for task in ["build", "build --no-default-features"] {
        let media = format!("patch.crates-io.crtmp-media.path=\"../crtmp-media-{VERSION}\"");
        cargo(task).args("--offline --config").arg(media).folder(&package).run().success();
    }
}

#[test]
fn the_example_server_relays_to_each_player_every_byte() {
    let server = ExampleServer::start();
    let url = server.url("film");
    let (folder, ours) = file("ours.flv");
    let (theirs, dumped, late) =
        (folder.path().join("theirs.flv"), folder.path().join("dumped.flv"), folder.path().join("late.flv"));
    let player = example("play").arg(&url).arg(&ours).start();
    let other = ffmpeg::record(&url, FILM, &theirs).start();
    says(&server.program, "plays live/film", 2);
    let publisher = Launch::new("ffmpeg")
        .args("-nostdin -v error -re -i")
        .arg(film())
        .args("-c copy -f flv")
        .arg(&url)
        .start();
    says(&server.program, "publishes live/film", 1);
    // In the middle of a group, and of the film.
    wait_for("a part of the film", SOON, || {
        fs::metadata(&ours).is_ok_and(|file| file.len() > 60_000).then_some(())
    });
    let dump = players::rtmpdump(&url, &dumped).start();
    let latecomer = example("play").arg(&url).arg(&late).start();
    publisher.wait(FILM).success();
    player.wait(SOON).success();
    latecomer.wait(SOON).success();
    other.wait(SOON);
    dump.wait(SOON);
    for whole in [&ours, &theirs] {
        assert_whole(whole);
    }
    for part in [&late, &dumped] {
        let recording = Recording::of_file(part);
        recording.assert_part_of(&Recording::of_file(film()));
        recording.assert_no_gap();
    }
}

#[test]
fn the_example_server_has_one_publisher_for_each_name() {
    let server = ExampleServer::start();
    let publish = |name| example("publish").arg(film()).arg(server.url(name)).start();
    let (folder, one) = file("one.flv");
    let two = folder.path().join("two.flv");
    let player = example("play").arg(server.url("one")).arg(&one).start();
    says(&server.program, "plays live/one", 1);
    let first = publish("one");
    says(&server.program, "publishes live/one", 1);
    let refused = publish("one").wait(SOON);
    assert!(refused.stderr.contains("NetStream.Publish.BadName"), "{}", refused.stderr);
    let nobody = example("play").arg(server.url("two")).arg(&two).args("--seconds 0.5").run();
    assert!(nobody.stderr.contains("nothing came"), "{}", nobody.stderr);
    first.wait(FILM).success();
    player.wait(SOON).success();
    assert_whole(&one);
}

#[test]
fn the_examples_publish_to_and_play_from_this_server() {
    let server = Server::start(&Config::new().whole_groups());
    publish_and_play(&server.url("film"));
    let outcome = example("call").arg(server.url("film")).args("getStreamLength \"film\" --seconds 1").run();
    let text = outcome.success().stdout;
    assert!(text.contains("_result 1 on 0") && text.contains("NetConnection.Connect.Success"), "{text}");
    assert!(text.contains("_result 2 on 0") && text.contains("Number(0.0)"), "{text}");
    server.stop();
}

#[test]
fn the_examples_publish_to_and_play_from_nginx() {
    if !Path::new(NGINX).exists() {
        eprintln!("nginx-rtmp is not installed: nothing is tested with it");
        return;
    }
    let (folder, configuration) = file("nginx.conf");
    let port = free_port();
    let text = format!(
        "load_module {NGINX}; daemon off; master_process off; pid nginx.pid; error_log stderr warn;
         events {{ worker_connections 64; }}
         rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}"
    );
    fs::write(&configuration, text).expect("a file in a temporary folder");
    let _nginx = Launch::new("nginx").arg("-p").arg(folder.path()).arg("-c").arg(&configuration).start();
    wait_for("nginx", SOON, || TcpStream::connect(("127.0.0.1", port)).ok());
    publish_and_play(&format!("rtmp://127.0.0.1:{port}/live/film"));
    let outcome = example("call").arg(format!("rtmp://127.0.0.1:{port}/live")).args("--seconds 0.2").run();
    let text = outcome.success().stdout;
    assert!(text.contains("_result 1 on 0") && text.contains("NetConnection.Connect.Success"), "{text}");
}

#[test]
fn the_example_dump_shows_what_one_side_has_sent() {
    let (_folder, capture) = file("client.bin");
    let chunks = root().join("protocols/rtmp/testdata/corpus/chunk_reader/publish");
    let handshake = vec![3; 1 + 2 * 1536];
    let bytes = [handshake, fs::read(chunks).expect("a seed")].concat();
    fs::write(&capture, bytes).expect("a file in a temporary folder");
    let text = example("dump").arg(&capture).run().success().stdout;
    for expected in [
        "handshake\n",
        "chunks 3 type 20 stream 0 time 0",
        "command \"connect\" 1",
        "data \"@setDataFrame\"",
        "stream 1 time 160 bytes 705 video H.264 Key",
        "audio AAC Key",
        "chunk size 60000\n",
        "WindowAckSize(2500000)",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn the_examples_say_how_they_are_used_and_what_is_wrong() {
    let port = free_port();
    let nobody = format!("rtmp://127.0.0.1:{port}/live/film");
    for (name, arguments, expected) in [
        ("server", "", "usage: server"),
        ("server", "nowhere", "cannot listen at nowhere"),
        ("publish", "", "usage: publish"),
        ("publish", "there-is-none.flv rtmp://127.0.0.1/live/film", "cannot open there-is-none.flv"),
        ("publish", "Cargo.toml rtmp://127.0.0.1/live/film", "is no FLV file"),
        ("publish", "x.flv rtmp://127.0.0.1/live", "names no stream"),
        ("play", "x", "usage: play"),
        ("play", "http://127.0.0.1/live/film x.flv", "is not of the form rtmp://"),
        ("play", &format!("{nobody} x.flv"), "cannot connect to 127.0.0.1"),
        ("play", "rtmp://127.0.0.1/live/film x.flv --seconds soon", "--seconds wants a number"),
        ("call", "", "usage: call"),
        ("dump", "", "usage: dump"),
        ("dump", "there-is-none", "cannot read there-is-none"),
    ] {
        let outcome = example(name).args(arguments).run();
        assert_eq!(outcome.code, Some(1), "{name} {arguments}");
        assert!(outcome.stderr.contains(expected), "{name} {arguments}: {}", outcome.stderr);
    }
}

/// Plays while it publishes; what arrives is what was sent.
fn publish_and_play(url: &str) {
    let (_folder, played) = file("played.flv");
    let player = example("play").arg(url).arg(&played).args(&format!("--seconds {}", SECONDS + 4)).start();
    // Asked before there is anything to play.
    says(&player, "NetStream.Play.Start", 1);
    example("publish").arg(film()).arg(url).within(FILM).run().success();
    player.wait(FILM).success();
    assert_whole(&played);
}

/// A file holds every packet of the film.
fn assert_whole(file: &Path) {
    let (recording, source) = (Recording::of_file(file), Recording::of_file(film()));
    recording.assert_part_of(&source);
    for kind in [Kind::Video, Kind::Audio] {
        assert_eq!(recording.of(kind).len(), source.of(kind).len(), "{kind:?}");
    }
}

/// The beginning of the prepared film.
fn film() -> &'static Path {
    static FILM: OnceLock<(TempDir, std::path::PathBuf)> = OnceLock::new();
    &FILM
        .get_or_init(|| {
            let (folder, film) = file("film.flv");
            Launch::new("ffmpeg")
                .args("-nostdin -v error -i")
                .arg(fixture::film())
                .args(&format!("-t {SECONDS} -c copy -y"))
                .arg(&film)
                .run()
                .success();
            (folder, film)
        })
        .1
}

/// Waits until a program has said something so many times.
fn says(program: &Program, text: &str, times: usize) {
    wait_for(text, SOON, || (program.stdout().matches(text).count() >= times).then_some(()));
}

fn example(name: &str) -> Launch {
    let program = folder_of_programs().join("examples").join(name);
    assert!(program.is_file(), "{} is missing: run `cargo xtask test`", program.display());
    Launch::new(program)
}

/// The example `server`.
struct ExampleServer {
    program: Program,
    address: String,
}

impl ExampleServer {
    fn start() -> Self {
        let program = example("server").arg("127.0.0.1:0").start();
        let address = wait_for("the example to listen", SOON, || {
            let output = program.stdout();
            Some(output.lines().next()?.strip_prefix("listening at ")?.to_owned())
        });
        Self { program, address }
    }

    fn url(&self, stream: &str) -> String {
        format!("rtmp://{}/live/{stream}", self.address)
    }
}
