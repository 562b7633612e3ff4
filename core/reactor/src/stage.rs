//! Connections over a real socket, with an endpoint that says what a test wants.

use std::{
    cell::RefCell,
    collections::hash_map::RandomState,
    io::Write,
    net::TcpStream as Peer,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crtmp_media::{
    Became, Chain, Command, ConnectInfo, Cx, EnhancedRtmp, Error, Event, Format, Layer, Limits, PlayRequest,
    PublishKind, RequestId, SharedItem, SharedNews, SharedRequest, SharedWish, StreamName, StreamSlot, Via,
    View,
};
use crtmp_relay::{ConnectionId, Directory, DuplicatePublisher, Relay, StreamKey, WorkerId};
use mio::net::TcpStream;
use slog::Logger;
use slotmap::SlotMap;

use crate::{
    admission::Admission,
    became::Purpose,
    carrier::Carrier,
    connection::{Connection, State},
    control::{
        Acceptor, Application, Authenticates, Happened, Hooks, Question, Routing, ToApplication,
        ToSharedObjects, Verdict, Why,
    },
    observe::Observer,
    outbound,
    shared::{SCRATCH, Shared},
    traffic::Traffic,
};

/// What a connection's endpoint does, and what it was ordered.
#[derive(Default)]
struct Script {
    orders: Vec<String>,
    /// Bytes that it has taken.
    taken: usize,
    /// The order, as it begins, that it fails at.
    fails_at: &'static str,
}

struct Endpoint(Rc<RefCell<Script>>);

impl Layer for Endpoint {
    /// Each `$` is costly work.
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let taken = data.iter().take_while(|byte| **byte != b'$' || cx.grant()).count();
        self.0.borrow_mut().taken += taken;
        Ok(taken)
    }

    fn on_command(&mut self, command: Command, _: &mut Cx<'_>) -> Result<(), Error> {
        let mut script = self.0.borrow_mut();
        let order = format!("{command:?}");
        let fails = !script.fails_at.is_empty() && order.starts_with(script.fails_at);
        script.orders.push(order);
        if fails { Err(Error::peer("test", "as ordered")) } else { Ok(()) }
    }
}

/// A worker without its thread.
struct Stage {
    shared: Shared,
    peer: Peer,
    connection: Connection,
    script: Rc<RefCell<Script>>,
    told: Arc<Mutex<Vec<String>>>,
    application: Arc<Application>,
}

fn application(
    hooks: Hooks,
    told: &Arc<Mutex<Vec<String>>>,
    change: impl FnOnce(&mut Application),
) -> Arc<Application> {
    let told = told.clone();
    let mut application = Application {
        name: "live".into(),
        hooks,
        authenticates: Authenticates::default(),
        is_default: true,
        selects: false,
        duplicate_publisher: DuplicatePublisher::ReplaceIfIdle,
        publisher_return: Duration::ZERO,
        play_wait: Duration::ZERO,
        enhanced_rtmp: EnhancedRtmp::default(),
        send_buffer: None,
        ping_interval: None,
        command_bytes: None,
        connections: Arc::new(AtomicUsize::new(0)),
        max_connections: None,
        disabled: AtomicBool::new(false),
        make_filters: None,
        aliases: None,
        ingest_points: None,
        shared_objects: None,
        bandwidth: None,
        post: Box::new(move |message| told.lock().unwrap().extend(words(&message))),
    };
    change(&mut application);
    Arc::new(application)
}

/// What a test looks at of what an application is told.
fn words(message: &ToApplication) -> Option<String> {
    match message {
        ToApplication::Question { question: Question::Connect, .. } => Some("connect?".to_owned()),
        ToApplication::Question { question: Question::Publish { name, .. }, .. } => {
            Some(format!("publish {name}?"))
        }
        ToApplication::Question { question: Question::Play { name, .. }, .. } => {
            Some(format!("play {name}?"))
        }
        ToApplication::Question { question: Question::SharedObject { name, shown, .. }, request, .. } => {
            Some(format!("share {name} {shown} {}?", request.0))
        }
        ToApplication::Question { .. } => Some("another question?".to_owned()),
        ToApplication::Notice { event: Happened::Unpublish { name, .. }, .. } => {
            Some(format!("unpublished {name}"))
        }
        ToApplication::Notice { event: Happened::Unplay { name, .. }, .. } => {
            Some(format!("unplayed {name}"))
        }
        ToApplication::Notice { event: Happened::Closed { .. }, .. } => Some("closed".to_owned()),
        ToApplication::Stream { name, live, .. } => Some(format!("{name} {live}")),
        _ => None,
    }
}

impl Stage {
    fn new(hooks: Hooks, change: impl FnOnce(&mut Application)) -> Self {
        let (now, limits) = (Instant::now(), Arc::new(Limits::default()));
        let told = Arc::default();
        let application = application(hooks, &told, change);
        let mut routing = Routing::default();
        routing.add(application.clone(), &[]);
        let directory = Arc::new(Directory::new(now));
        let shared = Shared::new(
            Relay::new(WorkerId(0), directory, limits.clone(), now),
            Arc::new(routing),
            limits.clone(),
            Logger::root(slog::Discard, slog::o!()),
            Arc::new(Observer::default()),
            Arc::new(AtomicU64::new(1)),
            Arc::new(Traffic::new(1)),
            RandomState::new(),
            now,
        );
        let listener = crate::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let peer = Peer::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (socket, from) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let acceptor = Acceptor {
            address,
            chain: "test".to_owned(),
            application: "live".to_owned(),
            make_chain: Box::new(|| Err(Error::ours("test", "never asked for"))),
            counted: true,
            counts: Arc::default(),
            proxies: None,
            sessions: None,
            is_mixed: false,
        };
        let script = Rc::<RefCell<Script>>::default();
        let chain = Chain::new(vec![Box::new(Endpoint(script.clone()))]).unwrap();
        let ticket = Arc::new(Admission::new(&limits, 10)).admit(Some(from.ip()), true).unwrap();
        let key = SlotMap::with_key().insert(());
        let carrier = Carrier::Tcp(TcpStream::from_std(socket));
        let connection =
            Connection::new(key, ConnectionId(7), carrier, from, Arc::new(acceptor), chain, ticket, &shared);
        Self { shared, peer, connection, script, told, application }
    }

    fn connect(&mut self, request: u32) {
        let info = ConnectInfo { app: "live".to_owned(), ..ConnectInfo::default() };
        self.connection.on_connect(RequestId(request), info, &mut self.shared);
    }

    fn publish(&mut self, slot: u32, name: &str) {
        self.ask(slot, slot, name);
    }

    fn ask(&mut self, request: u32, slot: u32, name: &str) {
        let (request, slot) = (RequestId(request), StreamSlot(slot));
        self.connection.on_publish(
            request,
            slot,
            name.to_owned(),
            PublishKind::Live,
            Via::default(),
            &mut self.shared,
        );
    }

    fn give_up(&mut self, slot: u32) {
        self.connection.unpublish(StreamSlot(slot), Why::Peer, &mut self.shared);
    }

    fn answer(&mut self, request: u32, verdict: Verdict) {
        self.connection.on_answer(RequestId(request), verdict, &mut self.shared);
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    /// The orders that began so, since they were last looked at.
    fn orders(&self, start: &str) -> Vec<String> {
        let orders = std::mem::take(&mut self.script.borrow_mut().orders);
        orders.into_iter().filter(|order| order.starts_with(start)).collect()
    }
}

#[test]
fn who_sends_much_reads_again_once_in_a_turn() {
    let mut stage = Stage::new(Hooks::default(), |_| {});
    stage.peer.set_nonblocking(true).unwrap();
    let piece = vec![0; SCRATCH];
    let mut full_turns = 0;
    let until = Instant::now() + Duration::from_secs(10);
    // Many turns, in each of which as much is read as may be.
    while full_turns < 4 && Instant::now() < until {
        while stage.peer.write(&piece).is_ok_and(|count| count > 0) {}
        let again = std::mem::take(&mut stage.shared.again);
        assert!(again.len() <= 1, "{again:?}");
        stage.connection.again = false;
        stage.connection.on_readable(&mut stage.shared);
        full_turns += usize::from(!stage.shared.again.is_empty());
    }
    assert_eq!(full_turns, 4, "the peer sends more than one turn reads");
}

#[test]
fn an_application_is_asked_when_it_is_known_that_a_connection_is_its_business() {
    for carries in [false, true] {
        let mut stage = Stage::new(Hooks { accept: true, ..Hooks::default() }, |_| {});
        stage.connection.purpose = Purpose::Unknown;
        stage.connection.on_accepted(&mut stage.shared);
        assert!(stage.told().is_empty() && stage.connection.admitted);
        let became = Became { chain: "other".into(), carries };
        stage.connection.on_became(became, &mut stage.shared);
        assert_eq!((stage.told().len(), stage.connection.admitted), (usize::from(!carries), carries));
        assert_eq!(stage.connection.chain_name(), "other");
    }
}

#[test]
fn costly_work_is_spread_over_turns_and_over_seconds_for_one_address() {
    let mut stage = Stage::new(Hooks::default(), |_| {});
    let limits = Limits { handshakes_per_turn: 2, handshakes_per_address: 5, ..Limits::default() };
    stage.shared.limits = Arc::new(limits);
    stage.peer.write_all(b"a$$$$$$b").unwrap();
    let mut taken = Vec::new();
    for _ in 0..4 {
        stage.shared.costly.begin(&stage.shared.limits);
        stage.connection.again = false;
        stage.connection.on_readable(&mut stage.shared);
        while stage.shared.costly.next_in_line().is_some() {
            stage.connection.offer_again(&mut stage.shared);
        }
        assert!(stage.shared.again.is_empty(), "it is not read meanwhile");
        taken.push(stage.script.borrow().taken);
    }
    assert_eq!(taken, [3, 5, 6, 6], "two in a turn, five in a second");
    assert!(!stage.connection.again, "it waits for the time");
    let at = stage.connection.poll_timeout(&stage.shared).unwrap();
    assert_eq!(at, stage.shared.now + Duration::from_secs(1));
    stage.shared.now = at;
    assert_eq!(stage.connection.poll_timeout(&stage.shared), Some(at), "it is due");
    stage.shared.costly.begin(&stage.shared.limits);
    stage.connection.on_timeout(&mut stage.shared);
    assert_eq!(stage.script.borrow().taken, 8);
    assert!(stage.connection.poll_timeout(&stage.shared).is_none_or(|next| next > at));
}

#[test]
fn a_disabled_application_without_hooks_hears_the_end_of_whom_it_refused() {
    for disabled in [false, true] {
        let mut stage =
            Stage::new(Hooks::default(), |application| *application.disabled.get_mut() = disabled);
        stage.connect(1);
        let asked: &[&str] = if disabled { &["connect?"] } else { &[] };
        assert_eq!(stage.told(), asked);
        if disabled {
            let verdict = Verdict::Reject { code: String::new(), text: "is disabled".to_owned() };
            stage.connection.on_answer(RequestId(1), verdict, &mut stage.shared);
        }
        stage.connection.end(&mut stage.shared, "closed by the peer");
        let heard: &[&str] = if disabled { &["closed"] } else { &[] };
        assert_eq!(stage.told(), heard, "what is remembered of a connection goes with it");
    }
}

#[test]
fn a_stream_that_ends_with_its_answer_has_come_before_it_goes() {
    let mut stage = Stage::new(Hooks { stream: true, ..Hooks::default() }, |_| {});
    stage.connect(1);
    stage.script.borrow_mut().fails_at = "AnswerPublish";
    stage.publish(1, "news");
    assert_ne!(stage.connection.state, State::Open);
    assert_eq!(stage.told(), ["news true", "news false", "closed"]);
}

#[test]
fn who_has_an_application_does_not_get_another() {
    for hooks in [Hooks::default(), Hooks { connect: true, ..Hooks::default() }] {
        let asks = hooks.connect;
        let mut stage = Stage::new(hooks, |application| application.max_connections = Some(2));
        let count = stage.application.connections.clone();
        stage.connect(1);
        stage.connect(2);
        let refused = stage.orders("AnswerConnect").pop().expect("an answer");
        assert!(refused.contains("RequestId(2)") && refused.contains("already"), "{refused}");
        if asks {
            assert_eq!(stage.told(), ["connect?"]);
            stage.connection.on_answer(RequestId(1), Verdict::Accept, &mut stage.shared);
        }
        stage.connect(3);
        assert!(stage.orders("AnswerConnect").last().is_some_and(|answer| answer.contains("Reject")));
        assert_eq!(count.load(Ordering::Relaxed), 1, "it has one place");
        stage.connection.end(&mut stage.shared, "closed by the peer");
        assert_eq!(count.load(Ordering::Relaxed), 0, "and gives it back");
    }
}

#[test]
fn who_a_peer_is_is_asked_about_without_a_hook() {
    let asked = Authenticates { connect: true, publish: true, play: false };
    let mut stage = Stage::new(Hooks::default(), |application| application.authenticates = asked);
    stage.connect(1);
    assert_eq!(stage.told(), ["connect?"]);
    stage.answer(1, Verdict::Accept);
    stage.publish(2, "news");
    assert_eq!(stage.told(), ["publish news?"]);
    stage.answer(2, Verdict::Reject { code: String::new(), text: "nobody knows you".to_owned() });
    assert!(stage.orders("AnswerPublish").last().is_some_and(|answer| answer.contains("nobody knows you")));
    stage.connection.end(&mut stage.shared, "closed by the peer");
    assert_eq!(stage.told(), ["closed"]);
}

/// Who keeps the connection asks, not who hands it on.
#[test]
fn who_a_peer_is_is_not_asked_by_who_hands_it_on() {
    let connect = Authenticates { connect: true, ..Authenticates::default() };
    let mut stage = Stage::new(Hooks::default(), |application| application.authenticates = connect);
    let told = Arc::default();
    let other = application(Hooks::default(), &told, |other| {
        other.name = "other".into();
        other.is_default = false;
    });
    let mut routing = Routing::default();
    routing.add(stage.application.clone(), &[]);
    routing.add(other, &[]);
    stage.shared.routing = Arc::new(routing);
    let info = ConnectInfo { app: "other".to_owned(), ..ConnectInfo::default() };
    stage.connection.on_connect(RequestId(1), info, &mut stage.shared);
    assert_eq!(stage.told(), [""; 0]);
    assert!(stage.orders("AnswerConnect").last().is_some_and(|answer| answer.contains("Accept")));
}

#[test]
fn who_was_refused_may_ask_again() {
    let mut stage = Stage::new(Hooks { connect: true, ..Hooks::default() }, |_| {});
    for request in 1..=3 {
        stage.connect(request);
        assert_eq!(stage.told(), ["connect?"]);
        let reject = Verdict::Reject { code: String::new(), text: "not today".to_owned() };
        stage.connection.on_answer(RequestId(request), reject, &mut stage.shared);
    }
    assert_eq!(stage.application.connections.load(Ordering::Relaxed), 0);
}

#[test]
fn a_connection_that_an_application_made_stays_its_own_and_is_counted() {
    let mut stage = Stage::new(Hooks { connect: true, ..Hooks::default() }, |_| {});
    let made = Arc::new(AtomicBool::new(false));
    let (said, application) = (made.clone(), stage.application.clone());
    let done: outbound::Done = Box::new(move |result| said.store(result.is_ok(), Ordering::Relaxed));
    stage.connection.begin_outbound(application.clone(), done, &stage.shared);
    stage.connection.settle_outbound(&mut stage.shared);
    assert!(made.load(Ordering::Relaxed));
    stage.connect(1);
    assert_eq!(stage.told(), Vec::<String>::new(), "nobody is asked");
    assert!(stage.orders("AnswerConnect").pop().is_some_and(|answer| answer.contains("Accept")));
    assert_eq!(application.connections.load(Ordering::Relaxed), 0);
    stage.connection.end(&mut stage.shared, "closed by the peer");
    let counters = &stage.shared.counters;
    assert_eq!((counters.adopted, counters.connected, counters.closed), (0, 1, 1));

    // One that was never there has not ended either.
    let mut stage = Stage::new(Hooks::default(), |_| {});
    let application = stage.application.clone();
    stage.connection.begin_outbound(application, Box::new(drop), &stage.shared);
    stage.connection.end(&mut stage.shared, "no answer");
    let counters = &stage.shared.counters;
    assert_eq!((counters.connected, counters.closed), (0, 0));
}

#[test]
fn filters_are_made_for_a_name_that_is_granted() {
    let made = Arc::new(AtomicUsize::new(0));
    let (count, fails) = (made.clone(), Arc::new(AtomicBool::new(true)));
    let fail = fails.clone();
    let mut stage = Stage::new(Hooks { stream: true, ..Hooks::default() }, |application| {
        application.make_filters = Some(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            if fail.load(Ordering::Relaxed) { Err("as ordered".to_owned()) } else { Ok(Vec::new()) }
        }));
    });
    stage.connect(1);
    let key = StreamKey {
        application: "live".into(),
        name: StreamName::new("", "news", &stage.shared.limits).unwrap(),
    };
    let (holder, policy) = (ConnectionId(8), DuplicatePublisher::ReplaceIfIdle);
    let home = stage
        .shared
        .relay
        .publish(key.clone(), holder, StreamSlot(1), policy, None, stage.shared.now)
        .unwrap();
    // The holder is as silent as the contender waits.
    stage.publish(1, "news");
    for _ in 0..4 {
        stage.shared.now += Duration::from_millis(250);
        stage.connection.retry_contested(&mut stage.shared);
    }
    assert_eq!(stage.orders("AnswerPublish"), Vec::<String>::new(), "it still waits");
    assert_eq!(made.load(Ordering::Relaxed), 0, "and costs nothing");
    stage.shared.relay.unpublish(home, stage.shared.now);
    stage.shared.now += Duration::from_millis(250);
    stage.connection.retry_contested(&mut stage.shared);
    let refused = stage.orders("AnswerPublish").pop().expect("an answer");
    assert!(refused.contains("cannot be made"), "{refused}");
    assert!(!stage.shared.relay.is_live(&key), "the name is free again");
    fails.store(false, Ordering::Relaxed);
    stage.publish(2, "news");
    assert!(stage.orders("AnswerPublish").pop().is_some_and(|answer| answer.contains("Accept")));
    assert_eq!((made.load(Ordering::Relaxed), stage.told()), (2, vec!["news true".to_owned()]));
}

#[test]
fn what_was_allowed_and_cannot_begin_ends_too() {
    let hooks = Hooks { publish: true, unpublish: true, play: true, unplay: true, ..Hooks::default() };
    for policy in [DuplicatePublisher::Reject, DuplicatePublisher::ReplaceIfIdle] {
        let mut stage = Stage::new(hooks, |application| application.duplicate_publisher = policy);
        stage.connect(1);
        let name = StreamName::new("", "news", &stage.shared.limits).unwrap();
        let key = StreamKey { application: "live".into(), name };
        stage
            .shared
            .relay
            .publish(key, ConnectionId(8), StreamSlot(1), policy, None, stage.shared.now)
            .unwrap();
        stage.publish(1, "news");
        assert_eq!(stage.told(), ["publish news?"]);
        stage.connection.on_answer(RequestId(1), Verdict::Accept, &mut stage.shared);
        if policy == DuplicatePublisher::Reject {
            assert_eq!(stage.told(), ["unpublished news"], "the name is taken");
        } else {
            assert_eq!(stage.told(), Vec::<String>::new(), "it waits for the name");
            stage.connection.end(&mut stage.shared, "closed by the peer");
            assert_eq!(stage.told(), ["unpublished news", "closed"]);
        }
    }
}

#[test]
fn who_publishes_and_gives_up_in_a_loop_asks_once_and_has_no_credit_back_before_the_answer() {
    let reject = || Verdict::Reject { code: String::new(), text: "does not answer".to_owned() };
    let verdicts = [
        (Verdict::Accept, Some("unpublished news 1")),
        (Verdict::AcceptAs("other".to_owned()), Some("unpublished other")),
        (reject(), None),
    ];
    for (verdict, end) in verdicts {
        let mut stage = Stage::new(Hooks { publish: true, unpublish: true, ..Hooks::default() }, |_| {});
        stage.connect(0);
        for request in 1..1000 {
            stage.ask(request, 1, &format!("news {request}"));
            stage.give_up(1);
        }
        assert_eq!(stage.told(), ["publish news 1?"]);
        // Other message streams take the rest of the credit, and giving up returns nothing.
        for slot in 2..=8 {
            assert!(stage.connection.questions.has_credit(), "{slot}");
            stage.ask(1000 + slot, slot, "other");
            stage.give_up(slot);
        }
        assert!(!stage.connection.questions.has_credit());
        assert_eq!(stage.told().len(), 7);

        // What the message stream wants last is asked when the first has its answer, and behind its end.
        stage.ask(2000, 1, "last");
        assert_eq!(stage.told(), Vec::<String>::new());
        stage.answer(1, verdict);
        let told: Vec<String> =
            end.map(str::to_owned).into_iter().chain(["publish last?".to_owned()]).collect();
        assert_eq!(stage.told(), told);
        stage.orders("");
        stage.answer(2000, Verdict::Accept);
        assert!(stage.orders("AnswerPublish").pop().is_some_and(|order| order.contains("RequestId(2000)")));
        for slot in 2..=8 {
            stage.answer(1000 + slot, reject());
        }
        assert_eq!(stage.connection.questions.len(), 0);
        stage.give_up(1);
        assert_eq!(stage.told(), ["unpublished last"]);
    }
}

#[test]
fn a_play_that_was_given_up_ends_when_it_is_allowed() {
    let mut stage = Stage::new(Hooks { play: true, unplay: true, ..Hooks::default() }, |_| {});
    stage.connect(0);
    let play = |request: u32| PlayRequest {
        request: RequestId(request),
        slot: StreamSlot(1),
        name: "news".to_owned(),
        start_ms: -2000,
        duration_ms: -1,
        format: Format { family: "test", variant: 1, chunk_size: 128, view: View::ALL },
        encoder: |_| panic!("nothing is played"),
        join: crtmp_media::Join::Policy,
    };
    for request in 1..100 {
        stage.connection.on_play(play(request), &mut stage.shared);
        stage.connection.unplay(StreamSlot(1), Why::Peer, &mut stage.shared);
    }
    assert_eq!(stage.told(), ["play news?"]);
    stage.answer(1, Verdict::Accept);
    assert_eq!(stage.told(), ["unplayed news"]);
    assert_eq!(stage.connection.questions.len(), 0);
    assert_eq!(stage.orders("AnswerPlay"), Vec::<String>::new(), "nobody waits for it");
}

fn key(name: &str) -> StreamKey {
    let name = StreamName::new("", name, &Limits::default()).unwrap();
    StreamKey { application: "live".into(), name }
}

#[test]
fn a_stream_that_would_come_from_itself_or_has_come_too_far_is_refused() {
    let hops = Limits::default().hops;
    let elsewhere = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<String>>();
    let via = |marks: Vec<String>| marks.into_iter().fold(Via::default(), |via, mark| via.and(mark));
    let cases = [
        (vec![], Some("news"), Some("has been here already")),
        (elsewhere(1), Some("news"), Some("has been here already")),
        // Another stream of ours.
        (elsewhere(1), Some("sport"), None),
        (elsewhere(hops - 1), None, None),
        (elsewhere(hops), None, None),
        (elsewhere(hops + 1), None, Some("hops = 8")),
    ];
    for (mut marks, ours, refused) in cases {
        let mut stage = Stage::new(Hooks::default(), |_| {});
        stage.connect(1);
        marks.extend(ours.map(|ours| mine_of(&stage, ours)));
        let (request, slot, name) = (RequestId(1), StreamSlot(1), "news".to_owned());
        let kind = PublishKind::Live;
        stage.connection.on_publish(request, slot, name, kind, via(marks), &mut stage.shared);
        let answer = stage.orders("AnswerPublish").pop().expect("an answer");
        match refused {
            Some(text) => assert!(answer.contains("BadName") && answer.contains(text), "{answer}"),
            None => assert!(answer.contains("Accept"), "{answer}"),
        }
    }
}

fn mine_of(stage: &Stage, name: &str) -> String {
    stage.shared.mark(&key(name))
}

#[test]
fn where_a_stream_has_been_goes_with_it_without_a_name() {
    for is_there in [true, false] {
        let mut stage = Stage::new(Hooks::default(), |_| {});
        stage.connect(1);
        let (name, kind) = ("news".to_owned(), PublishKind::Live);
        if is_there {
            let via = Via::default().and("there".to_owned());
            stage.connection.on_publish(RequestId(1), StreamSlot(1), name, kind, via, &mut stage.shared);
        }
        let push = crtmp_media::Push {
            ticket: 1,
            local: "news".to_owned(),
            name: "up".to_owned(),
            kind,
            via: Via::default(),
            again: false,
        };
        stage.connection.on_order(Command::Push(Box::new(push)), &mut stage.shared);
        let order = stage.orders("Push").pop().expect("the order");
        let here = order.find(&mine_of(&stage, "news")).expect("where it will have been");
        assert_eq!(order.find("\"there\"").is_some_and(|there| there < here), is_there, "{order}");
        assert!(!mine_of(&stage, "news").contains("news"));
    }
}

#[test]
fn nobody_is_asked_about_what_the_server_fetches_and_brings() {
    let hooks = Hooks { publish: true, play: true, unpublish: true, ..Hooks::default() };
    let mut stage = Stage::new(hooks, |_| {});
    let application = stage.application.clone();
    stage.connection.begin_outbound(application, Box::new(drop), &stage.shared);
    stage.connection.settle_outbound(&mut stage.shared);
    stage.publish(1, "news");
    assert!(stage.orders("AnswerPublish").pop().is_some_and(|answer| answer.contains("Accept")));
    assert_eq!(stage.told(), [""; 0]);
    // But whoever ordered it hears of its end.
    stage.give_up(1);
    assert_eq!(stage.told(), ["unpublished news"]);
}

#[test]
fn who_could_not_be_served_while_the_worker_stood_still_is_not_cut() {
    let cut = Limits::default().player_cut.get();
    for (stood_still, stalled, stays) in
        [(true, cut, true), (false, cut, false), (false, cut - Duration::from_millis(1), true)]
    {
        let mut stage = Stage::new(Hooks::default(), |_| {});
        stage.connect(1);
        stage.connection.stalled_since = Some(stage.shared.now);
        stage.shared.now += stalled;
        stage.shared.stood_still = stood_still;
        stage.connection.on_timeout(&mut stage.shared);
        assert_eq!(stage.connection.state == State::Open, stays, "{stood_still} {stalled:?}");
    }
}

#[test]
fn what_is_wanted_of_shared_objects_has_credit_until_it_is_answered_and_its_end_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let post = told.clone();
    let mut stage = Stage::new(Hooks::default(), |application| {
        application.shared_objects = Some(Box::new(move |message| {
            post.lock().unwrap().push(match message {
                ToSharedObjects::Request { client, name, .. } => {
                    client.in_flight.fetch_add(10, Ordering::Relaxed);
                    name.to_string()
                }
                ToSharedObjects::Gone { .. } => "gone".to_owned(),
            });
        }));
    });
    stage.connect(0);
    let want = |stage: &mut Stage, name: &str| {
        let request =
            SharedRequest { name: name.to_owned(), persistent: false, wishes: vec![SharedWish::Use] };
        stage.connection.on_event(Event::Shared(Box::new(request)), &mut stage.shared);
    };
    want(&mut stage, "a/../b");
    assert!(stage.orders("Shared").concat().contains("UriMismatch"), "nobody is asked");
    for _ in 0..8 {
        assert!(stage.connection.has_credit());
        want(&mut stage, "room");
    }
    assert!(!stage.connection.has_credit());
    let items: Arc<[SharedItem]> = [SharedItem::Used].into();
    let news = || SharedNews { name: "room".into(), version: 1, persistent: false, items: items.clone() };
    stage.connection.on_shared_news(Some(news()), 10, false, &mut stage.shared);
    assert!(!stage.connection.has_credit(), "news alone are no answer");
    stage.connection.on_shared_news(None, 0, true, &mut stage.shared);
    assert!(stage.connection.has_credit());
    assert_eq!(stage.orders("Shared").len(), 1);
    stage.connection.end(&mut stage.shared, "closed by the peer");
    stage.connection.on_shared_news(Some(news()), 10, true, &mut stage.shared);
    assert_eq!(stage.orders("Shared").len(), 0, "there is nobody to tell");
    let told = told.lock().unwrap().clone();
    assert_eq!(told, [["room"; 8].as_slice(), &["gone"]].concat());
}

/// What somebody has shared objects of hears, as lines of text.
type Heard = Arc<Mutex<Vec<String>>>;

fn sharing(hooks: Hooks, change: impl FnOnce(&mut Application)) -> (Stage, Heard) {
    let heard = Heard::default();
    let post = heard.clone();
    let mut stage = Stage::new(hooks, |application| {
        application.shared_objects = Some(Box::new(move |message| {
            post.lock().unwrap().push(match message {
                ToSharedObjects::Request { name, request, denied, .. } => {
                    format!("{name} {} {}", request.wishes.len(), denied.unwrap_or_default())
                }
                ToSharedObjects::Gone { .. } => "gone".to_owned(),
            });
        }));
        change(application);
    });
    stage.connect(0);
    (stage, heard)
}

fn want(stage: &mut Stage, name: &str, wishes: Vec<SharedWish>) {
    let request = SharedRequest { name: name.to_owned(), persistent: false, wishes };
    stage.connection.on_event(Event::Shared(Box::new(request)), &mut stage.shared);
}

/// The number of a question, the last word of its line.
fn number(line: &str) -> u32 {
    line.rsplit([' ', '?']).nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn the_application_decides_about_shared_objects_and_all_stays_in_order() {
    let hooks = Hooks { shared_object: true, ..Hooks::default() };
    let (mut stage, heard) = sharing(hooks, |_| {});
    let told = |heard: &Heard| std::mem::take(&mut *heard.lock().unwrap());
    want(&mut stage, "one", vec![SharedWish::Use]);
    want(&mut stage, "two", vec![SharedWish::Use]);
    want(&mut stage, "one", vec![SharedWish::Remove { slot: "a".to_owned() }; 2]);
    want(&mut stage, "one", vec![SharedWish::Release; 3]);
    let asked: Vec<_> = stage.told().iter().map(|line| number(line)).collect();
    assert_eq!((asked.len(), told(&heard)), (4, vec![]));
    let reject = |code: &str| Verdict::Reject { code: code.to_owned(), text: "no".to_owned() };
    stage.answer(asked[2], reject(""));
    stage.answer(asked[1], reject("App.No"));
    assert_eq!(told(&heard), [""; 0], "the first has no answer yet");
    stage.answer(asked[0], Verdict::Accept);
    assert_eq!(told(&heard), ["one 1 ", "two 1 App.No", "one 2 SharedObject.NoWriteAccess"]);
    stage.answer(asked[3], Verdict::AcceptAs("other".to_owned()));
    assert_eq!(told(&heard), ["one 3 SharedObject.NoWriteAccess"]);
    // An answer that comes when the connection has left is for nobody.
    want(&mut stage, "one", vec![SharedWish::Use]);
    let last = number(&stage.told()[0]);
    stage.connection.end(&mut stage.shared, "closed by the peer");
    stage.answer(last, Verdict::Accept);
    assert_eq!(told(&heard), ["gone"]);
}

/// Where players must show who they are, so must who uses shared objects; who has done so already is not asked again.
#[test]
fn who_uses_shared_objects_is_asked_about_where_players_are() {
    let play = Authenticates { play: true, ..Authenticates::default() };
    for (authenticates, publishes, asks) in [
        (play, false, true),
        // Publishing proves nothing where nobody asks publishers.
        (play, true, true),
        (Authenticates { publish: true, ..play }, true, false),
        (Authenticates { publish: true, ..Authenticates::default() }, false, false),
    ] {
        let (mut stage, heard) =
            sharing(Hooks::default(), |application| application.authenticates = authenticates);
        if publishes {
            stage.publish(2, "news");
            stage.answer(2, Verdict::Accept);
        }
        stage.told();
        want(&mut stage, "room", vec![SharedWish::Use]);
        want(&mut stage, "room", vec![SharedWish::Release]);
        let told = stage.told();
        assert_eq!(told.len(), usize::from(asks), "{told:?}");
        if asks {
            assert_eq!(heard.lock().unwrap().len(), 0);
            let reject = Verdict::Reject { code: String::new(), text: "who are you".to_owned() };
            stage.answer(number(&told[0]), reject);
            assert_eq!(heard.lock().unwrap()[0], "room 1 SharedObject.NoReadAccess");
        }
        assert_eq!(heard.lock().unwrap().len(), 2, "what came behind it follows");
    }
}
