//! An application's authority, as workers ask it.

use std::sync::mpsc::{Receiver, channel};

use crtmp_media::{ConnectInfo, Seconds};
use crtmp_reactor::Caller;
use crtmp_relay::ConnectionId;
use serde_json::{Value, json};

use super::*;

const WAIT: Duration = Duration::from_secs(20);

/// Argon2 of "password".
const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

struct Stage {
    guard: Guard,
    authority: Arc<Authority>,
    folder: tempfile::TempDir,
    next: std::cell::Cell<u64>,
}

type Outcome = Result<(), Refusal>;

/// Users files are JSON here.
fn read() -> ReadUsers {
    Arc::new(|path| {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|_| "no whole file".to_owned())
    })
}

impl Stage {
    fn new(settings: Value, users: Value) -> Self {
        Self::within(Limits::default(), settings, users)
    }

    fn within(limits: Limits, settings: Value, users: Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut rtmp = json!({ "usersFile": folder.path().join("users") });
        rtmp.as_object_mut().expect("a table").extend(settings.as_object().cloned().expect("a table"));
        std::fs::write(folder.path().join("users"), json!({ "users": users }).to_string()).expect("a file");
        let authentication = serde_json::from_value(json!({ "rtmp": rtmp })).expect("settings");
        let application = Application { name: "live".into(), authentication, ..Application::default() };
        let log = Logger::root(slog::Discard, slog::o!());
        let guard = Guard::new(&Arc::new(limits), read(), &log).expect("a guard");
        let authority = guard.authority("configuration", &application).expect("an authority").expect("one");
        Self { guard, authority, folder, next: std::cell::Cell::new(1) }
    }

    fn caller(&self, address: &str, app: &str, agent: &str) -> Caller {
        let connection = ConnectionId(self.next.replace(self.next.get() + 1));
        let info = ConnectInfo { app: app.to_owned(), agent: agent.to_owned(), ..ConnectInfo::default() };
        let (peer, local) = (format!("{address}:1").parse().unwrap(), "127.0.0.1:1935".parse().unwrap());
        Caller { connection, peer, local, chain: "inboundRtmp".to_owned(), info }
    }

    fn ask(&self, ask: impl FnOnce(&Arc<Authority>, authority::Done)) -> Receiver<Outcome> {
        let (sender, receiver) = channel();
        ask(&self.authority, Box::new(move |outcome| drop(sender.send(outcome))));
        receiver
    }

    /// Connects from an address, as an encoder does.
    fn connect_from(&self, address: &str, app: &str) -> Receiver<Outcome> {
        let caller = self.caller(address, app, "FMLE/3.0 (compatible; test)");
        self.ask(|authority, done| authority.connect(&caller, done))
    }

    fn connect(&self, app: &str) -> Outcome {
        self.connect_from("192.0.2.1", app).recv_timeout(WAIT).expect("an answer")
    }

    fn refusal(&self, app: &str) -> String {
        self.connect(app).expect_err("a refusal").text
    }

    /// What a client answers with who has this password.
    fn answer(&self, user: &str, password: &str) -> String {
        let question = self.refusal(&format!("live?authmod=adobe&user={user}"));
        answer_to(&question, user, password)
    }

    fn count(&self, of: &str) -> u64 {
        self.authority.counters()[of].as_u64().expect("a count")
    }
}

fn answer_to(question: &str, user: &str, password: &str) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use md5::{Digest, Md5};
    let value = |name: &str| {
        let (_, rest) = question.split_once(&format!("{name}=")).expect("a value");
        rest.split(['&', ' ']).next().expect("its end").to_owned()
    };
    let first = adobe::first_hash(user.as_bytes(), value("salt").as_bytes(), password.as_bytes());
    let opaque = value("opaque");
    let all = format!("{}{opaque}1a2b3c4d", BASE64_STANDARD.encode(first));
    let response = BASE64_STANDARD.encode(Md5::digest(all));
    format!("live?authmod=adobe&user={user}&challenge=1a2b3c4d&response={response}&opaque={opaque}")
}

fn adobe_stage() -> Stage {
    Stage::new(json!({ "type": "adobe" }), json!({ "user": "secret", "other": "word" }))
}

/// CMD-17.
#[test]
fn three_steps_lead_in_and_nothing_else_does() {
    let stage = adobe_stage();
    assert_eq!(stage.refusal("live"), adobe::NEEDED);
    assert_eq!(stage.refusal("live?x=1"), adobe::NEEDED);
    let question = stage.refusal("live?authmod=adobe&user=user");
    assert!(question.contains("authmod=adobe ] : ?reason=needauth&user=user&salt="), "{question}");
    let answer = stage.answer("user", "secret");
    assert_eq!(stage.connect(&answer), Ok(()));
    let failed = |app: &str| {
        let text = stage.refusal(app);
        assert!(text.contains("[ authmod=adobe ] : ?reason=authfailed&opaque="), "{app}: {text}");
    };
    failed(&answer);
    failed(&stage.answer("user", "Secret"));
    failed(&stage.answer("nobody", "secret"));
    // The question was for another user.
    let others = stage.answer("other", "word").replace("user=other", "user=user");
    failed_from(&stage, "192.0.2.2", &others);
    let answer = stage.answer("user", "secret");
    let (without, _) = answer.split_once("&opaque").expect("an opaque");
    failed_from(&stage, "192.0.2.2", without);
    assert_eq!(stage.connect_from("192.0.2.2", &answer).recv_timeout(WAIT), Ok(Ok(())), "still good");
    assert_eq!((stage.count("accepted"), stage.count("failed")), (2, 5));
}

fn failed_from(stage: &Stage, address: &str, app: &str) {
    let outcome = stage.connect_from(address, app).recv_timeout(WAIT).expect("an answer");
    assert!(outcome.expect_err("a refusal").text.contains("authfailed"), "{app}");
}

/// Unknown users are asked like known ones, and fail like known ones.
#[test]
fn who_asks_for_users_does_not_learn_who_there_is() {
    let stage = adobe_stage();
    let shape = |user: &str| {
        let text = stage.refusal(&format!("live?authmod=adobe&user={user}"));
        let kinds = text.split('&').map(|part| (part.split('=').next().map(str::to_owned), part.len()));
        kinds.skip(2).collect::<Vec<_>>()
    };
    assert_eq!(shape("user"), shape("nobody"));
    let salt = |user: &str| {
        let text = stage.refusal(&format!("live?authmod=adobe&user={user}"));
        text.split("salt=").nth(1).and_then(|rest| rest.split('&').next()).map(str::to_owned)
    };
    assert_eq!(salt("nobody"), salt("nobody"), "the same each time, as a known one's");
    assert_eq!(salt("user"), salt("user"));
}

#[test]
fn only_encoders_are_asked_where_everybody_may_play() {
    let stage = adobe_stage();
    let caller = stage.caller("192.0.2.1", "live", "LNX 9,0,124,2");
    let connect = stage.ask(|authority, done| authority.connect(&caller, done));
    assert_eq!(connect.recv_timeout(WAIT), Ok(Ok(())));
    let publish = stage.ask(|authority, done| authority.publish(&caller, "", done));
    let refusal = publish.recv_timeout(WAIT).expect("an answer").expect_err("a refusal");
    assert_eq!(refusal.code, "NetStream.Publish.BadName");
    assert!(refusal.text.contains("authentication needed"), "{}", refusal.text);
    let mut publisher = stage.caller("192.0.2.1", "live", "LNX 9,0,124,2");
    publisher.info.members = vec![("type".to_owned(), "nonprivate".into())];
    let connect = stage.ask(|authority, done| authority.connect(&publisher, done));
    assert_eq!(connect.recv_timeout(WAIT).expect("an answer").expect_err("asked").text, adobe::NEEDED);
    assert!(!stage.authority.guards_play() && stage.authority.guards_publish());
}

#[test]
fn agents_are_compared_in_any_case_and_by_their_beginning() {
    let settings = json!({ "type": "adobe", "encoderAgents": ["My Encoder/1", "other*"] });
    let stage = Stage::new(settings, json!({ "user": "secret" }));
    for (agent, asked) in
        [("my encoder/1", true), ("My Encoder/10", false), ("OTHERS", true), ("FMLE/3.0", false), ("", false)]
    {
        let caller = stage.caller("192.0.2.1", "live", agent);
        let outcome = stage.ask(|authority, done| authority.connect(&caller, done)).recv_timeout(WAIT);
        assert_eq!(outcome.expect("an answer").is_err(), asked, "{agent}");
        let publish = stage.ask(|authority, done| authority.publish(&caller, "", done)).recv_timeout(WAIT);
        let text = publish.expect("an answer").expect_err("a refusal").text;
        assert_eq!(text.contains("encoderAgents"), !asked, "{agent}");
    }
}

#[test]
fn credentials_may_stand_behind_the_application_or_the_stream() {
    let settings = json!({ "type": "query", "authenticatePlay": true });
    let stage = Stage::new(settings, json!({ "user": "secret", "bearer": { "token": "ticket" } }));
    let publish = |app: &str, query: &str| {
        let caller = stage.caller("192.0.2.1", app, "any");
        let connect = stage.ask(|authority, done| authority.connect(&caller, done));
        if connect.recv_timeout(WAIT).expect("an answer").is_err() {
            return "not connected".to_owned();
        }
        let [publish, play] = [true, false].map(|publish| {
            let outcome = stage.ask(|authority, done| match publish {
                true => authority.publish(&caller, query, done),
                false => authority.play(&caller, query, done),
            });
            outcome.recv_timeout(WAIT).expect("an answer").map_err(|refusal| refusal.code)
        });
        stage.authority.forget(caller.connection.0);
        format!("{publish:?} {play:?}")
    };
    let good = "Ok(()) Ok(())";
    let bad = "Err(\"NetStream.Publish.BadName\") Err(\"NetStream.Play.Failed\")";
    assert_eq!(publish("live?user=user&pass=secret", ""), good);
    assert_eq!(publish("live", "user=user&pass=secret"), good);
    assert_eq!(publish("live", "token=ticket"), good);
    assert_eq!(publish("live", ""), bad);
    assert_eq!(publish("live", "token=other"), bad);
    assert_eq!(publish("live?user=user&pass=wrong", ""), "not connected");
}

#[test]
fn slow_passwords_are_checked_elsewhere_and_refused_where_too_many_wait() {
    let limits = Limits { auth_threads: 1, auth_queue: 1, auth_failures: 1000, ..Limits::default() };
    let stage = Stage::within(limits, json!({ "type": "query" }), json!({ "user": ARGON2 }));
    let many: Vec<_> = (0..50)
        .map(|number| stage.connect_from("192.0.2.1", &format!("live?user=user&pass={number}")))
        .collect();
    let texts: Vec<String> = many
        .iter()
        .map(|one| one.recv_timeout(WAIT).expect("an answer").expect_err("a refusal").text)
        .collect();
    assert!(texts.iter().any(|text| text.contains("no such user")), "{texts:?}");
    assert_eq!(stage.count("failed") + stage.count("refused"), 50);
    assert_eq!(stage.connect("live?user=user&pass=password"), Ok(()));
    assert_eq!(stage.connect("live?user=user&pass=password"), Ok(()));
}

#[test]
fn who_fails_waits_and_nobody_else_does() {
    let limits = Limits { auth_failures: 2, auth_delay: Seconds::new(0), ..Limits::default() };
    let limits = Limits { auth_delay: Seconds(Duration::from_millis(50)), ..limits };
    let stage = Stage::within(limits, json!({ "type": "query" }), json!({ "user": "secret" }));
    let mut open = Vec::new();
    for _ in 0..1000 {
        open.push(stage.connect_from("192.0.2.1", "live?user=user&pass=wrong"));
    }
    let good = stage.connect_from("192.0.2.2", "live?user=user&pass=secret");
    assert_eq!(good.try_recv(), Ok(Ok(())), "at once");
    for one in open {
        assert!(one.recv_timeout(WAIT).expect("an answer").is_err());
    }
    let counts = ["failed", "delayed", "refused"].map(|of| stage.count(of));
    assert_eq!(counts[0], 2 + counts[1]);
    assert!(counts[1] >= 8 && counts.iter().sum::<u64>() - counts[1] == 1000, "{counts:?}");
    assert_eq!(stage.connect("live?user=user&pass=secret"), Ok(()), "late, and not locked out");
}

#[test]
fn what_is_put_off_comes_to_nobody_who_has_left() {
    let limits =
        Limits { auth_failures: 1, auth_delay: Seconds(Duration::from_millis(50)), ..Limits::default() };
    let stage = Stage::within(limits, json!({ "type": "query" }), json!({ "user": "secret" }));
    stage.refusal("live?user=user&pass=wrong");
    let caller = stage.caller("192.0.2.1", "live?user=user&pass=secret", "");
    let (sender, receiver) = channel();
    let known = stage.authority.clone();
    stage.authority.connect(
        &caller,
        Box::new(move |outcome| {
            let mut called = false;
            known.while_known(1, || called = true);
            drop(sender.send((outcome, called)));
        }),
    );
    stage.authority.forget(caller.connection.0);
    stage.authority.forget(1);
    assert_eq!(receiver.recv_timeout(WAIT), Ok((Ok(()), false)));
}

#[test]
fn a_file_that_changes_counts_and_one_that_is_half_written_does_not() {
    let limits = Limits { users_file_period: Seconds::new(3600), ..Limits::default() };
    let stage = Stage::within(limits, json!({ "type": "query" }), json!({ "user": "secret" }));
    let path = stage.folder.path().join("users");
    let write = |text: &str| {
        std::fs::write(&path, text).expect("a file");
        stage.authority.look_at_file(false);
    };
    write("{ \"users\": { \"user\": \"new");
    assert_eq!(stage.connect("live?user=user&pass=secret"), Ok(()));
    write(&json!({ "users": { "user": "" } }).to_string());
    assert_eq!(stage.connect("live?user=user&pass=secret"), Ok(()));
    write(&json!({ "users": { "user": "newer" } }).to_string());
    assert!(stage.connect("live?user=user&pass=secret").is_err());
    assert_eq!(stage.connect("live?user=user&pass=newer"), Ok(()));
    // Another file in its place, as editors do it.
    let other = stage.folder.path().join("other");
    std::fs::write(&other, json!({ "users": { "user": "newest" } }).to_string()).expect("a file");
    std::fs::rename(&other, &path).expect("renamed");
    stage.authority.look_at_file(false);
    assert_eq!(stage.connect("live?user=user&pass=newest"), Ok(()));
    std::fs::remove_file(&path).expect("removed");
    stage.guard.read_again();
    stage.authority.look_at_file(false);
    assert_eq!(stage.connect("live?user=user&pass=newest"), Ok(()));
}

#[test]
fn a_file_that_does_not_serve_is_refused_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("users");
    let authentication = serde_json::from_value(json!({ "rtmp": { "type": "adobe", "usersFile": path } }));
    let authentication = authentication.expect("settings");
    let application = Application { name: "live".into(), authentication, ..Application::default() };
    let found =
        || check("configuration.applications[1]", &application, &read()).expect("a mistake").to_string();
    assert!(found().contains("No such file"), "{}", found());
    std::fs::write(&path, json!({ "users": { "bob": ARGON2 } }).to_string()).expect("a file");
    let text = found();
    let place = "configuration.applications[1].authentication.rtmp.usersFile: found";
    assert!(
        text.starts_with(place) && text.contains("users[\"bob\"]: found a hash of another kind"),
        "{text}"
    );
    assert!(text.contains(&*path.to_string_lossy()) && !text.contains("argon2id$"), "{text}");
}

/// Whoever is a user may use shared objects; who has not said so may not, and is told how.
#[test]
fn users_may_use_shared_objects() {
    let settings = json!({ "type": "query", "authenticatePlay": true });
    let stage = Stage::new(settings, json!({ "user": "secret" }));
    for (app, known) in [("live", false), ("live?user=user&pass=secret", true)] {
        let caller = stage.caller("192.0.2.1", app, "test");
        let connected = stage.ask(|authority, done| authority.connect(&caller, done));
        assert_eq!(connected.recv_timeout(WAIT), Ok(Ok(())));
        let shared = stage.ask(|authority, done| authority.share(&caller, done));
        let outcome = shared.recv_timeout(WAIT).expect("an answer");
        let refused = outcome.as_ref().err().map(|refusal| refusal.code);
        assert_eq!(refused, (!known).then_some("SharedObject.NoReadAccess"));
    }
}

/// Who has been taken out of the users file begins nothing any more, also on the connection that it has.
#[test]
fn what_a_user_may_do_follows_the_users_file() {
    let stage = Stage::new(json!({ "type": "query" }), json!({ "user": "secret", "other": "word" }));
    let caller = stage.caller("192.0.2.1", "live?user=user&pass=secret", "test");
    let connected = stage.ask(|authority, done| authority.connect(&caller, done));
    assert_eq!(connected.recv_timeout(WAIT), Ok(Ok(())));
    let publish = || {
        let asked = stage.ask(|authority, done| authority.publish(&caller, "", done));
        asked.recv_timeout(WAIT).expect("an answer").map_err(|refusal| refusal.code)
    };
    assert_eq!(publish(), Ok(()));
    for (users, outcome) in [
        (json!({ "other": "word" }), Err("NetStream.Publish.BadName")),
        (json!({ "other": "word", "user": "another" }), Ok(())),
    ] {
        std::fs::write(stage.folder.path().join("users"), json!({ "users": users }).to_string())
            .expect("a file");
        stage.authority.look_at_file(true);
        assert_eq!(publish(), outcome);
    }
}
