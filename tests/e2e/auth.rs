//! Peers that say who they are, and peers that do not.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use crtmp_tests::cli::{Session, administrator};
use crtmp_tests::shared_object::{SUCCESS, Said, SharedObject};
use crtmp_tests::wire::{Client, Message, amf, connect, play, publish};
use crtmp_tests::{Certificates, Config, Launch, Server, ffmpeg, players, poll, wait_for};
use md5::{Digest, Md5};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::{SOON, entries};

/// Argon2 of "password".
const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

/// A users file, and a folder for it.
struct Users {
    _folder: TempDir,
    path: PathBuf,
}

impl Users {
    fn new(script: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("crtmp-users-").tempdir().expect("a folder");
        let path = folder.path().join("users.lua");
        let users = Self { _folder: folder, path };
        users.write(script);
        users
    }

    fn write(&self, script: &str) {
        fs::write(&self.path, script).expect("a file of ours");
    }

    /// A server whose application `flvplayback` authenticates by them; `more` are further keys.
    fn config(&self, scheme: &str, more: &str) -> Config {
        let rtmp = format!("type = \"{scheme}\", usersFile = {:?}, {more}", self.path);
        Config::new().application("authentication", &format!("{{ rtmp = {{ {rtmp} }} }}"))
    }
}

fn with_user(server: &Server, user: &str, stream: &str) -> String {
    format!("rtmp://{user}@{}/live/{stream}", server.address())
}

fn count(server: &Server, of: &str) -> u64 {
    let counters = server.counters();
    let applications = counters.json()["applications"].as_array().expect("a list").clone();
    applications.iter().filter_map(|one| one["authentication"][of].as_u64()).sum()
}

/// Publishes with GStreamer until it is stopped.
fn gstreamer(server: &Server, stream: &str, user: &str, password: &str) -> Launch {
    Launch::new("gst-launch-1.0")
        .args("-e videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=25/1 ! x264enc key-int-max=25")
        .args("tune=zerolatency ! h264parse ! flvmux streamable=true ! rtmp2sink")
        .arg(format!("location={}", server.url(stream)))
        .arg(format!("username={user}"))
        .arg(format!("password={password}"))
}

/// What the server answers to a connect.
fn answer_to(address: SocketAddr, app: &str) -> Message {
    let mut client = Client::shaken(address);
    client.send(&connect(app, &format!("rtmp://{address}/{app}")));
    let deadline = poll(SOON, || client.message(SOON).filter(|message| message.kind == 20));
    deadline.expect("an answer")
}

fn is_accepted(address: SocketAddr, app: &str) -> bool {
    answer_to(address, app).says("NetConnection.Connect.Success")
}

/// The answer to Adobe's question as this tests' own client gives it.
fn adobe_answer(address: SocketAddr, user: &str, password: &str) -> String {
    let question = answer_to(address, &format!("live?authmod=adobe&user={user}"));
    let text = String::from_utf8_lossy(&question.payload).into_owned();
    let value = |name: &str| {
        let (_, rest) =
            text.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("no {name} in {text:?}"));
        rest.split(|letter: char| letter == '&' || !letter.is_ascii_graphic())
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let hash = |text: String| BASE64_STANDARD.encode(Md5::digest(text));
    let first = hash(format!("{user}{}{password}", value("salt")));
    let response = hash(format!("{first}{}00c0ffee", value("opaque")));
    format!(
        "live?authmod=adobe&user={user}&challenge=00c0ffee&response={response}&opaque={}",
        value("opaque")
    )
}

#[test]
fn ffmpeg_says_who_it_is_and_shows_why_it_is_refused() {
    let users = Users::new("users = { alice = 'wonder:land' }");
    let server = Server::start(&users.config("adobe", "").whole_groups());
    let _publisher = ffmpeg::publish_film(&with_user(&server, "alice:wonder:land", "one")).start();
    server.wait_for_publisher("one");
    crate::assert_film(&server.url("one"), 2);
    for (url, said) in [
        (with_user(&server, "alice:wrong", "two"), "Incorrect username/password"),
        (with_user(&server, "nobody:wrong", "two"), "Incorrect username/password"),
        (server.url("two"), "code=403 need auth"),
    ] {
        let outcome = ffmpeg::publish_film(&url).run();
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    assert_eq!((count(&server, "accepted"), count(&server, "failed")), (1, 2));
    let log = server.stop();
    assert!(log.contains("authenticated") && log.contains("alice"), "{log}");
    assert!(!log.contains("land") && !log.contains("response="), "a secret is in the log");
}

#[test]
fn players_are_asked_where_they_have_to_be() {
    let users = Users::new(
        "users = { alice = 'a', bob = 'b' }\nrealms = { { name = 'encoders', method = 'Digest', users = { 'alice' } } }",
    );
    let more = "authenticatePlay = true, publishRealm = \"encoders\"";
    let server = Server::start(&users.config("adobe", more));
    let _publisher = ffmpeg::publish_film(&with_user(&server, "alice:a", "one")).start();
    server.wait_for_publisher("one");
    assert_eq!(ffmpeg::codecs(&with_user(&server, "bob:b", "one")), ["aac", "h264"]);
    let refused = ffmpeg::decode(&server.url("one"), Duration::from_secs(1)).run();
    assert!(refused.stderr.contains("code=403 need auth"), "{}", refused.stderr);
    let refused = ffmpeg::publish_film(&with_user(&server, "bob:b", "two")).run();
    assert!(refused.stderr.contains("this user may not"), "{}", refused.stderr);
    server.stop();
}

#[test]
fn gstreamer_says_who_it_is() {
    let users = Users::new("users = { carol = 'c' }");
    let server = Server::start(&users.config("adobe", "authenticatePlay = true"));
    let publisher = gstreamer(&server, "one", "carol", "c").start();
    server.wait_for_publisher("one");
    let player = Launch::new("gst-launch-1.0")
        .args("-v rtmp2src")
        .arg(format!("location={}", server.url("one")))
        .args(
            "username=carol password=c ! flvdemux ! h264parse ! fakesink name=video silent=false sync=false",
        )
        .start();
    wait_for("pictures in GStreamer", SOON, || {
        (player.stdout().matches("last-message = chain").count() > 10).then_some(())
    });
    drop((player, publisher));
    let outcome = gstreamer(&server, "two", "carol", "wrong").run();
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("authfailed") || said.to_lowercase().contains("auth"), "{said}");
    server.stop();
}

/// GStreamer calls itself a player; that it is about to publish shows in another way.
#[test]
fn gstreamer_is_asked_where_only_publishers_are() {
    let users = Users::new("users = { carol = 'c' }");
    let server = Server::start(&users.config("adobe", ""));
    let _publisher = gstreamer(&server, "one", "carol", "c").start();
    server.wait_for_publisher("one");
    assert!(ffmpeg::codecs(&server.url("one")).contains(&"h264".to_owned()), "who plays is not asked");
    server.stop();
}

#[test]
fn our_own_pulls_and_pushes_say_who_they_are() {
    let users = Users::new("users = { ['me@home'] = 'hid:den' }");
    let far = Server::start(&users.config("adobe", "authenticatePlay = true"));
    let near = Server::start(
        &Config::new().top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }").block(&administrator()),
    );
    let _publisher = ffmpeg::publish_film(&near.url("one")).start();
    near.wait_for_publisher("one");
    let mut session = Session::operator(&near);
    let user = "me%40home:hid%3Aden";
    let address = far.address();
    session.done(&format!(
        "pushStream uri=rtmp://{user}@{address}/live localStreamName=one targetStreamName=there"
    ));
    far.wait_for_publisher("there");
    session.done(&format!("pullStream uri=rtmp://{user}@{address}/live/there localStreamName=back"));
    near.wait_for_publisher("back");
    session.done(&format!(
        "pullStream uri=rtmp://me%40home:wrong@{address}/live/there localStreamName=never keepAlive=0"
    ));
    let failed = wait_for("the cause", SOON, || {
        let entries = entries(&mut session, "pull");
        let entry = entries.into_iter().find(|entry| entry["localStreamName"] == "never")?;
        entry.to_string().contains("authfailed").then_some(entry)
    });
    assert!(!failed.to_string().contains("wrong@"), "{failed}");
    near.stop();
    far.stop();
}

/// CMD-18: what stands in queries is in no log, no counter and no answer to a command.
#[test]
fn queries_let_in_and_are_shown_nowhere() {
    let script = format!(
        "users = {{ dave = '{ARGON2}', erin = {{ token = 'hidden-ticket' }}, frank = 'hidden-word' }}"
    );
    let users = Users::new(&script);
    let config = users.config("query", "authenticatePlay = true").block(&administrator());
    let server = Server::start(&config);
    let _publisher = ffmpeg::publish_film(&server.url("one?user=dave&pass=password")).start();
    server.wait_for_publisher("one");
    assert_eq!(ffmpeg::codecs(&server.url("one?token=hidden-ticket")), ["aac", "h264"]);
    assert!(is_accepted(server.address(), "live?user=frank&pass=hidden-word"));
    for (stream, said) in [
        ("one?token=hidden-other", "authentication failed"),
        ("one?user=frank", "authentication failed"),
        ("one", "authentication needed"),
    ] {
        let mut client = Client::connected(server.address(), "live");
        client.create_stream();
        client.send(&play(1, stream));
        assert!(client.expect_refusal().says(said), "{stream}");
        client.send(&publish(1, stream));
        assert!(client.expect_refusal().says(said), "{stream}");
    }
    let refused = ffmpeg::publish_film(&server.url("two?user=frank&pass=hidden-no")).run();
    assert!(refused.stderr.contains("authentication failed"), "{}", refused.stderr);
    let mut session = Session::operator(&server);
    let shown = ["listStreams", "listConnections", "listConfig", "getMetrics"]
        .map(|command| session.run(command).to_string())
        .join("\n");
    let counters = server.counters().json().to_string();
    let log = server.stop();
    for text in [&shown, &counters, &log] {
        assert!(!text.contains("hidden") && !text.contains("pass=password"), "{text}");
    }
}

/// CMD-17: a wrong user, a question that was answered before, one without its number, and one for somebody else.
#[test]
fn an_answer_counts_once_and_for_who_was_asked() {
    let users = Users::new("users = { alice = 'a', bob = 'b' }");
    let config = users.config("adobe", "authenticatePlay = true").workers(2).limit("authFailures", "1000");
    let server = Server::start(&config);
    let address = server.address();
    assert!(
        answer_to(address, "live")
            .says("[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ")
    );
    let good = adobe_answer(address, "alice", "a");
    assert!(is_accepted(address, &good));
    let refused = |app: &str| {
        let answer = answer_to(address, app);
        assert!(answer.says("NetConnection.Connect.Rejected") && answer.says("?reason=authfailed"), "{app}");
    };
    refused(&good);
    refused(&adobe_answer(address, "alice", "b"));
    refused(&adobe_answer(address, "nobody", "a"));
    refused(&adobe_answer(address, "bob", "b").replace("user=bob", "user=alice"));
    let other = adobe_answer(address, "bob", "b");
    let (without, _) = other.split_once("&opaque=").expect("an opaque");
    refused(without);
    refused(&format!("{without}&opaque=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    assert!(is_accepted(address, &other), "it was not used up by what was none");
    assert_eq!(count(&server, "accepted"), 2);
    server.stop();
}

/// A client whose address is another one of this machine.
fn client_at(ip: [u8; 4], server: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((ip, 0)).into()).expect("an address of this machine");
    socket.connect(&server.into()).expect("the server listens");
    let mut client = Client::over(TcpStream::from(socket));
    client.handshake();
    client
}

#[test]
fn a_thousand_wrong_tries_lock_out_nobody() {
    let users = Users::new("users = { alice = 'right' }");
    let config = users.config("query", "").limit("authDelay", "0.2").limit("authForget", "0.5").workers(2);
    let server = Server::start(&config);
    let address = server.address();
    let _publisher = ffmpeg::publish_film(&server.url("one?user=alice&pass=right")).start();
    server.wait_for_publisher("one");
    let left = AtomicUsize::new(1000);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                while take() {
                    let answer = answer_to(address, "live?user=alice&pass=wrong");
                    assert!(answer.says("NetConnection.Connect.Rejected"));
                }
            });
        }
        // In the middle of it, from somewhere else.
        wait_for("wrong tries that are put off", SOON, || (left.load(Ordering::Relaxed) < 900).then_some(()));
        let mut other = client_at([127, 0, 0, 2], address);
        other.send(&connect("live?user=alice&pass=right", &format!("rtmp://{address}/live")));
        other.expect("NetConnection.Connect.Success");
        other.create_stream();
        other.send(&publish(1, "two"));
        other.expect("NetStream.Publish.Start");
    });
    let counted = ["failed", "refused"].map(|of| count(&server, of));
    assert_eq!(counted.iter().sum::<u64>(), 1000);
    assert!(count(&server, "delayed") > 0 && counted[0] < 500, "{counted:?}");
    // From the same address it takes a moment.
    assert!(is_accepted(address, "live?user=alice&pass=right"));
    assert_eq!(ffmpeg::codecs(&server.url("one")), ["aac", "h264"], "who is there stays");
    let log = server.stop();
    let lines = log.matches("authentication failed").count();
    assert!((1..50).contains(&lines), "{lines} lines about a thousand tries");
}

#[test]
fn a_users_file_is_read_again_when_it_has_changed() {
    let users = Users::new("users = { alice = 'old' }");
    let server = Server::start(&users.config("query", "").limit("usersFilePeriod", "0.1"));
    let address = server.address();
    let accepts = |password: &str| is_accepted(address, &format!("live?user=alice&pass={password}"));
    assert!(accepts("old") && !accepts("new"));
    let mut held = Client::connected(address, "live?user=alice&pass=old");
    users.write("users = { alice = 'new'");
    server.wait_for_log("the users stay as they are");
    assert!(accepts("old"));
    users.write("users = { alice = 'new' }");
    wait_for("the new password", SOON, || accepts("new").then_some(()));
    assert!(!accepts("old"));
    held.expect_open();
    users.write("users = { alice = 'hangup' }");
    server.signal(Signal::SIGHUP);
    wait_for("the newest password", SOON, || accepts("hangup").then_some(()));
    let log = server.stop();
    assert!(!log.contains("'new'") && !log.contains("'old'"), "a password is in the log");
}

#[test]
fn a_server_does_not_start_with_users_that_cannot_be_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("server.lua");
    for (scheme, text, said) in [
        ("adobe", format!("users = {{ bob = '{ARGON2}' }}"), "users[\"bob\"]: found a hash of another kind"),
        ("query", "users = { bob = 'hidden' x }".to_owned(), "users.lua:1:"),
        ("query", "user = { bob = 'hidden' }".to_owned(), "does not set the global `users`"),
        ("query", "users = { bob = function() end }".to_owned(), "users.bob: found a function"),
    ] {
        let users = Users::new(&text);
        let text = users.config(scheme, "").text(folder.path(), &crtmp_tests::folder_of_programs());
        fs::write(&script, text).expect("a file of ours");
        for arguments in [&["--check"][..], &[]] {
            let mut arguments = arguments.to_vec();
            let path = script.to_string_lossy();
            arguments.push(&path);
            let outcome = Server::run(&arguments);
            let all = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(outcome.code != Some(0) && all.contains(said), "{said}: {all}");
            assert!(!all.contains("hidden") && !all.contains("argon2id$"), "{all}");
        }
    }
}

/// Who asks is the application that keeps the connection, whichever hears of it first; and its own hooks come later.
#[test]
fn hooks_are_called_for_who_has_shown_who_it_is() {
    let users = Users::new("users = { alice = 'a' }");
    let script = users.path.with_file_name("app.lua");
    let text = r#"
        function on_connect(client) print("hook: connect") return true end
        function on_publish(client, id, name)
          print("hook: publish " .. name)
          return false, "not by the script"
        end
        function on_close(client) print("hook: close") end"#;
    fs::write(&script, text).expect("a file of ours");
    let rtmp = format!("{{ type = \"query\", usersFile = {:?} }}", users.path);
    let keys = format!("script = {script:?}, authentication = {{ rtmp = {rtmp} }}");
    let block = format!("{{ name = \"lua\", library = \"vmapp\", {keys} }}");
    let server = Server::start(&Config::new().block(&block));
    let address = server.address();
    assert!(is_accepted(address, "live?user=alice&pass=wrong"), "another one does not ask");
    assert!(!is_accepted(address, "lua?user=alice&pass=wrong"));
    let mut client = Client::connected(address, "lua");
    client.create_stream();
    client.send(&publish(1, "never"));
    assert!(client.expect_refusal().says("authentication needed"));
    client.send(&publish(1, "one?user=alice&pass=a"));
    assert!(client.expect_refusal().says("not by the script"));
    drop(client);
    server.wait_for_log("hook: close");
    let log = server.stop();
    let hooks: Vec<_> = log.lines().filter_map(|line| line.split("hook: ").nth(1)).collect();
    let said = ["connect", "publish one", "close"];
    assert!(
        hooks.len() == 3 && hooks.iter().zip(said).all(|(hook, said)| hook.starts_with(said)),
        "{hooks:?}"
    );
}

/// Whatever carries RTMP: who is not asked for a user comes in by no other door.
#[test]
fn encrypted_and_tunnelled_peers_are_asked_too() {
    let users = Users::new("users = { alice = 'a' }");
    let config = users.config("adobe", "authenticatePlay = true");
    let config = config.acceptor("protocol = \"inboundRtmpt\"").acceptor("protocol = \"inboundRtmpe\"");
    let config = config.acceptor("protocol = \"inboundRtmpte\"");
    let certificates = Certificates::new();
    let any = format!("protocol = \"inboundRtmpAny\", {}", certificates.keys("server"));
    let config = config.acceptor(&any);
    let server = Server::start(&config.acceptor("protocol = \"inboundRtmp\", rtmpe = true"));
    let _publisher = ffmpeg::publish_film(&with_user(&server, "alice:a", "one")).start();
    server.wait_for_publisher("one");
    let (tunnel, any) = (server.address_of("inboundRtmpt"), server.address_of("inboundRtmpAny"));
    for (scheme, address) in
        [("rtmpt", tunnel), ("rtmp", any), ("rtmpt", any), ("rtmps", any), ("rtmpts", any)]
    {
        let refused = ffmpeg::decode(&format!("{scheme}://{address}/live/one"), Duration::from_secs(1)).run();
        assert!(refused.stderr.contains("code=403 need auth"), "{scheme} {address}: {}", refused.stderr);
        assert_eq!(ffmpeg::codecs(&format!("{scheme}://alice:a@{address}/live/one")), ["aac", "h264"]);
    }
    let both = server.services().iter().rfind(|service| service.chain == "inboundRtmp").expect("two").address;
    let places = [
        format!("rtmpe://{}", server.address_of("inboundRtmpe")),
        format!("rtmpe://{both}"),
        format!("rtmpte://{}", server.address_of("inboundRtmpte")),
        format!("rtmpe://{any}"),
        format!("rtmpte://{any}"),
    ];
    for place in places {
        let before = count(&server, "asked");
        let (_folder, out) = crate::file("refused.flv");
        players::rtmpdump(&format!("{place}/live/one"), &out).run();
        assert!(count(&server, "asked") > before, "{place}");
        assert_eq!(fs::metadata(&out).map_or(0, |file| file.len()), 0, "{place}");
    }
    let near = Server::start(
        &Config::new().top("outboundPolicy", "{ allow = { \"127.0.0.0/8\" } }").block(&administrator()),
    );
    let place = format!("rtmpe://alice:a@{}/live", server.address_of("inboundRtmpe"));
    Session::operator(&near).done(&format!("pullStream uri={place}/one localStreamName=here"));
    near.wait_for_publisher("here");
    near.stop();
    server.stop();
}

/// Who uses nothing but shared objects shows who it is when it connects.
#[test]
fn users_may_use_shared_objects_and_nobody_else_may() {
    let users = Users::new("users = { alice = 'a' }");
    let server = Server::start(&users.config("query", "authenticatePlay = true"));
    let room = SharedObject::transient("room");
    let mut guest = Client::connected(server.address(), "live");
    guest.send(&room.ask());
    assert_eq!(Said::expect(&mut guest).code(), Some("SharedObject.NoReadAccess"));
    let mut alice = Client::connected(server.address(), "live?user=alice&pass=a");
    room.open(&mut alice);
    alice.send(&room.change("a", &amf::null()));
    assert_eq!(Said::expect(&mut alice).kinds(), [SUCCESS]);
    // What was refused does not change anything either.
    guest.send(&room.change("a", &amf::boolean(true)));
    assert_eq!(Said::expect(&mut guest).code(), Some("SharedObject.NoWriteAccess"));
    server.stop();
}
