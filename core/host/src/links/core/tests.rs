use std::collections::VecDeque;

use serde_json::json;

use super::*;
use crate::links::link::Code;

mod moves;
mod sharing;
mod who;

/// The machine with a clock of the test's own.
struct Stage {
    core: Core,
    now: Instant,
    unix: u64,
}

fn stage_with(limits: &Limits) -> Stage {
    let now = Instant::now();
    Stage { core: Core::new(limits, now, 7), now, unix: 0 }
}

fn stage() -> Stage {
    stage_with(&Limits::default())
}

fn definition(direction: Direction, settings: serde_json::Value) -> Arc<Definition> {
    let serde_json::Value::Object(settings) = settings else { panic!("not a table") };
    let origin = Origin::Configuration;
    Arc::new(Definition::read(direction, "live", origin, &settings, &Limits::default()).unwrap())
}

fn pull(uri: &str) -> Arc<Definition> {
    definition(Direction::Pull, json!({ "uri": uri }))
}

fn address() -> SocketAddr {
    "192.0.2.1:1935".parse().unwrap()
}

fn object(members: &[(&str, Value)]) -> Value {
    Value::Object(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn refusal(code: &str) -> Vec<Value> {
    vec![Value::Null, object(&[("code", code.into()), ("level", "error".into())])]
}

impl Stage {
    fn tell(&mut self, input: Input) -> Vec<Action> {
        self.core.on_input(input);
        self.core.actions()
    }

    fn add(&mut self, id: u64, definition: Arc<Definition>) -> Vec<Action> {
        self.tell(Input::Add(id, definition))
    }

    /// Time goes on; in seconds.
    fn wait(&mut self, seconds: f64) -> Vec<Action> {
        self.now += Duration::from_secs_f64(seconds);
        self.unix += seconds as u64;
        self.core.on_time(self.now, self.unix);
        self.core.actions()
    }

    /// Has a peer that is looked for connected; gives what is ordered then.
    fn let_in(&mut self, peer: u64, connection: u64) -> Vec<Action> {
        let connect = self.tell(Input::Found(peer, Ok(vec![address()])));
        assert!(matches!(connect[..], [Action::Connect { .. }]), "{connect:?}");
        let ticket = ticket(&self.tell(Input::Made(peer, Ok(connection))));
        self.result(ticket, vec![Value::Null, object(&[("code", "NetConnection.Connect.Success".into())])])
    }

    fn result(&mut self, ticket: u64, args: Vec<Value>) -> Vec<Action> {
        self.tell(Input::Result { ticket, outcome: CallOutcome::Result, args })
    }

    fn error(&mut self, ticket: u64, args: Vec<Value>) -> Vec<Action> {
        self.tell(Input::Result { ticket, outcome: CallOutcome::Error, args })
    }

    /// Has the order of a link accepted.
    fn accept(&mut self, ticket: u64, stream: u32) -> Vec<Action> {
        self.result(ticket, vec![stream.into(), Value::Null])
    }

    /// A pull that runs on a connection of its own.
    fn running(&mut self, id: u64, connection: u64) {
        let peer = found(&self.add(id, pull("rtmp://h/app/cam")));
        let ticket = ticket(&self.let_in(peer, connection));
        self.accept(ticket, 1);
        assert_eq!(self.code(id), Code::Streaming);
    }

    fn stream(&mut self, name: &str, publish: u64, live: bool) -> Vec<Action> {
        self.tell(Input::Stream { application: "live".into(), name: name.to_owned(), publish, live })
    }

    fn view(&self, id: u64) -> View {
        self.core.links[&id].view()
    }

    fn code(&self, id: u64) -> Code {
        self.view(id).current.code
    }

    fn cause(&self, id: u64) -> String {
        self.view(id).cause.unwrap_or_default()
    }

    /// Nothing is left of anybody.
    fn assert_empty(&self) {
        let core = &self.core;
        assert!(core.links.is_empty() && core.timers.is_empty() && core.named.is_empty());
        assert!(core.peers.is_empty() && core.shared.is_empty() && core.line.is_empty());
        assert!(core.by_connection.is_empty() && core.tickets.is_empty());
    }
}

/// The peer that is looked for.
fn found(actions: &[Action]) -> u64 {
    let find = |action: &Action| match action {
        Action::Find { peer, .. } => Some(*peer),
        _ => None,
    };
    actions.iter().find_map(find).unwrap_or_else(|| panic!("nobody is looked for: {actions:?}"))
}

/// The ticket of the only order.
fn ticket(actions: &[Action]) -> u64 {
    let tickets = tickets(actions);
    assert_eq!(tickets.len(), 1, "{actions:?}");
    tickets[0]
}

fn tickets(actions: &[Action]) -> Vec<u64> {
    let ticket = |action: &Action| match action {
        Action::Order { order, .. } => order.ticket(),
        _ => None,
    };
    actions.iter().filter_map(ticket).collect()
}

fn has_closed(actions: &[Action], connection: u64) -> bool {
    actions.iter().any(|action| matches!(action, Action::Close(closed) if *closed == connection))
}

#[test]
fn a_pull_is_looked_up_connected_to_and_asked_for() {
    let mut stage = stage();
    let actions = stage.add(1, pull("rtmp://u:p@host:99/app/cam?t=1"));
    let [Action::Find { peer, origin, scheme: "rtmp", host_and_port }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((*origin, host_and_port.as_str()), (Origin::Configuration, "host:99"));
    let peer = *peer;
    let second: SocketAddr = "[2001:db8::1]:99".parse().unwrap();
    let actions = stage.tell(Input::Found(peer, Ok(vec![address(), second])));
    assert!(matches!(&actions[..], [Action::Connect { address: to, .. }] if *to == address()), "{actions:?}");
    let actions = stage.tell(Input::Made(peer, Err("refused".to_owned())));
    assert!(matches!(&actions[..], [Action::Connect { address: to, .. }] if *to == second), "{actions:?}");
    let actions = stage.tell(Input::Made(peer, Ok(70)));
    let [Action::Order { connection: 70, order: Command::Call { command, args, .. }, .. }] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(command, "connect");
    let expected = object(&[("app", "app".into()), ("tcUrl", "rtmp://host:99/app".into())]);
    assert_eq!(args[..], [expected]);
    assert_eq!(stage.core.line.taken(), 1);
    let connect = ticket(&actions);
    let actions = stage.result(connect, vec![Value::Null, Value::Null]);
    let [Action::Order { order: Command::Pull(order), .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((&*order.name, &*order.local, order.start_ms), ("cam?t=1", "cam", -2000));
    assert_eq!(stage.core.line.taken(), 0, "it is no attempt any more");
    let ticket = order.ticket;
    stage.accept(ticket, 3);
    let view = stage.view(1);
    assert_eq!((view.current.code, view.attempts, view.failures), (Code::Streaming, 1, 0));
    assert_eq!((view.address, view.connection, view.stream), (Some(second), Some(70), Some(3)));

    // Its end: again after a while.
    assert!(stage.tell(Input::Unpublished { connection: 70, stream: 3 }).is_empty());
    let actions = stage.wait(0.1);
    assert!(has_closed(&actions, 70), "{actions:?}");
    assert_eq!((stage.code(1), &*stage.cause(1)), (Code::Failed, "the stream has ended"));
    assert_eq!(stage.view(1).previous.map(|moment| moment.code), Some(Code::Streaming));
    stage.tell(Input::Closed { connection: 70, reason: "late".to_owned() });
    assert!(stage.wait(0.7).is_empty());
    found(&stage.wait(0.6));
}

#[test]
fn every_stage_may_fail_and_is_tried_again_at_the_next_address() {
    type Fail = fn(&mut Stage, u64);
    let fails: [(&str, Fail); 6] = [
        ("no such name", |stage, peer| {
            stage.tell(Input::Found(peer, Err("no such name".to_owned())));
        }),
        ("refused", |stage, peer| {
            stage.tell(Input::Found(peer, Ok(vec![address()])));
            stage.tell(Input::Made(peer, Err("refused".to_owned())));
        }),
        ("NetConnection.Connect.Rejected", |stage, peer| {
            stage.tell(Input::Found(peer, Ok(vec![address()])));
            let ticket = ticket(&stage.tell(Input::Made(peer, Ok(5))));
            let actions = stage.error(ticket, refusal("NetConnection.Connect.Rejected"));
            assert!(has_closed(&actions, 5));
        }),
        ("handshake", |stage, peer| {
            stage.tell(Input::Found(peer, Ok(vec![address()])));
            stage.tell(Input::Made(peer, Ok(5)));
            stage.tell(Input::Closed { connection: 5, reason: "handshake".to_owned() });
        }),
        ("the connection has ended", |stage, peer| {
            let ticket = ticket(&stage.let_in(peer, 5));
            stage.tell(Input::Missed(ticket));
        }),
        ("NetStream.Play.StreamNotFound", |stage, peer| {
            let ticket = ticket(&stage.let_in(peer, 5));
            let actions = stage.error(ticket, refusal("NetStream.Play.StreamNotFound"));
            assert!(has_closed(&actions, 5), "nobody else is there");
        }),
    ];
    for (cause, fail) in fails {
        let mut stage = stage();
        let uris = json!({ "uri": ["rtmp://a/x/s", "rtmp://b/x/s"] });
        let peer = found(&stage.add(1, definition(Direction::Pull, uris)));
        fail(&mut stage, peer);
        assert!(stage.cause(1).contains(cause), "{cause}: {}", stage.cause(1));
        assert_eq!(
            (stage.code(1), stage.core.line.taken(), stage.core.peers.len()),
            (Code::Failed, 0, 0),
            "{cause}"
        );
        let actions = stage.wait(1.25);
        let next = |action: &Action| matches!(action, Action::Find { host_and_port, .. } if host_and_port == "b:1935");
        assert!(actions.iter().any(next), "{cause}: {actions:?}");
        stage.tell(Input::Remove(1));
        let peer = found(&actions);
        stage.tell(Input::Found(peer, Ok(vec![address()])));
        stage.assert_empty();
    }
}

#[test]
fn so_many_are_made_at_once_and_the_others_wait_in_line() {
    for most in [1, 2, 3] {
        let mut stage = stage_with(&Limits { link_attempts: most, ..Limits::default() });
        let mut line = VecDeque::new();
        for id in 0..10 {
            let actions = stage.add(id, pull(&format!("rtmp://h{id}/app/cam")));
            line.extend(actions.iter().filter_map(|action| match action {
                Action::Find { peer, .. } => Some(*peer),
                _ => None,
            }));
        }
        assert_eq!(line.len(), most);
        let mut tried = 0;
        while let Some(peer) = line.pop_front() {
            tried += 1;
            assert!(stage.core.line.taken() <= most);
            let actions = stage.tell(Input::Found(peer, Err("x".to_owned())));
            line.extend(actions.iter().filter_map(|action| match action {
                Action::Find { peer, .. } => Some(*peer),
                _ => None,
            }));
        }
        assert_eq!(tried, 10, "each has had its turn");
    }
}

#[test]
fn who_has_run_does_not_wait_behind_the_dead() {
    let mut stage = stage_with(&Limits { link_attempts: 1, ..Limits::default() });
    stage.running(0, 5);
    let mut peer = found(&stage.add(1, pull("rtmp://dead1/app/cam")));
    for id in 2..10 {
        stage.add(id, pull(&format!("rtmp://dead{id}/app/cam")));
    }
    // Each of the dead has failed twice and stands in line again.
    for _ in 0..18 {
        let actions = stage.tell(Input::Found(peer, Err("x".to_owned())));
        let next =
            actions.iter().find_map(|a| if let Action::Find { peer, .. } = a { Some(*peer) } else { None });
        peer = next.unwrap_or_else(|| found(&stage.wait(2.6)));
    }
    stage.wait(40.0);
    assert_eq!(stage.core.line.len(), 8);
    stage.tell(Input::Closed { connection: 5, reason: "reset".to_owned() });
    stage.wait(1.3);
    let actions = stage.tell(Input::Found(peer, Err("x".to_owned())));
    let first =
        |action: &Action| matches!(action, Action::Find { host_and_port, .. } if host_and_port == "h:1935");
    assert!(actions.iter().any(first), "{actions:?}");
}

#[test]
fn streams_of_one_application_share_connections_as_far_as_they_have_room() {
    let mut stage = stage_with(&Limits { message_streams: 2, ..Limits::default() });
    let peer = found(&stage.add(1, pull("rtmp://h/app/a")));
    assert!(stage.add(2, pull("rtmp://h/app/b")).is_empty());
    let more = found(&stage.add(3, pull("rtmp://h/app/c")));
    found(&stage.add(4, pull("rtmp://h/other/d")));
    let orders = tickets(&stage.let_in(peer, 5));
    assert_eq!(orders.len(), 2);
    stage.accept(orders[0], 1);
    stage.accept(orders[1], 2);
    // One that ends leaves the others alone.
    let actions = stage.tell(Input::Remove(1));
    assert!(
        matches!(actions[..], [Action::End { connection: 5, stream: 1, publishes: true }]),
        "{actions:?}"
    );
    assert_eq!(stage.code(2), Code::Streaming);
    // The end of the connection is that of all.
    let third = ticket(&stage.let_in(more, 6));
    stage.accept(third, 1);
    stage.tell(Input::Closed { connection: 5, reason: "reset".to_owned() });
    assert_eq!((stage.code(2), &*stage.cause(2), stage.code(3)), (Code::Failed, "reset", Code::Streaming));
    // It finds room where it may be by now.
    assert_eq!(tickets(&stage.wait(1.3)).len(), 1);
    let actions = stage.tell(Input::Remove(3));
    assert!(!has_closed(&actions, 6), "{actions:?}");
}

#[test]
fn a_push_that_breaks_goes_on_where_it_was_unless_its_stream_has_ended() {
    let settings = json!({ "uri": "rtmp://h/app", "localStreamName": "here" });
    let order = |actions: &[Action]| {
        let [Action::Order { order: Command::Push(order), .. }] = actions else { panic!("{actions:?}") };
        (order.ticket, order.again)
    };
    for (seconds, goes_on) in [(119.0, true), (120.0, false)] {
        let mut stage = stage();
        stage.add(1, definition(Direction::Push, settings.clone()));
        let peer = found(&stage.stream("here", 1, true));
        let (ticket, again) = order(&stage.let_in(peer, 5));
        assert!(!again, "the first time");
        stage.accept(ticket, 1);
        // The end of a connection is first that of its streams.
        stage.tell(Input::Unplayed { connection: 5, stream: 1 });
        stage.tell(Input::Closed { connection: 5, reason: "reset".to_owned() });
        let peer = found(&stage.wait(seconds));
        assert_eq!(order(&stage.let_in(peer, 6)).1, goes_on, "{seconds}");
    }
    let mut stage = stage();
    stage.add(1, definition(Direction::Push, settings));
    let peer = found(&stage.stream("here", 1, true));
    let (ticket, _) = order(&stage.let_in(peer, 5));
    stage.accept(ticket, 1);
    stage.stream("here", 1, false);
    stage.tell(Input::Unplayed { connection: 5, stream: 1 });
    let peer = found(&stage.stream("here", 2, true));
    assert!(!order(&stage.let_in(peer, 6)).1, "it has begun anew");
}

#[test]
fn a_pull_whose_name_was_held_comes_as_soon_as_it_is_free() {
    // Where somebody else has the name, it is the end of that which counts, and not how often it was tried.
    for held in [true, false] {
        let mut stage = stage();
        if held {
            stage.stream("cam", 1, true);
        }
        let mut peer = found(&stage.add(1, pull("rtmp://h/app/cam")));
        for _ in 0..6 {
            let order = ticket(&stage.let_in(peer, 5));
            stage.error(order, refusal("NetStream.Publish.BadName"));
            peer = found(&stage.wait(37.5));
        }
        let order = ticket(&stage.let_in(peer, 5));
        stage.error(order, refusal("NetStream.Publish.BadName"));
        assert_eq!(stage.code(1), Code::Failed);
        stage.stream("cam", 2, true);
        assert!(stage.stream("cam", 1, false).is_empty(), "another one has it");
        assert!(stage.stream("other", 3, true).is_empty() && stage.stream("other", 3, false).is_empty());
        let actions = stage.stream("cam", 2, false);
        assert_eq!(actions.len(), usize::from(held), "{actions:?}");
        assert_eq!(stage.core.links[&1].waited().is_zero(), held, "its place in line");
        // Its own end is none of these: it waits as after any.
        let actions = if held { actions } else { stage.wait(37.5) };
        let order = ticket(&stage.let_in(found(&actions), 6));
        stage.stream("cam", 4, true);
        stage.accept(order, 1);
        stage.tell(Input::Unpublished { connection: 6, stream: 1 });
        stage.tell(Input::Closed { connection: 6, reason: "x".to_owned() });
        assert!(stage.stream("cam", 4, false).is_empty());
        stage.tell(Input::Remove(1));
        stage.assert_empty();
    }
}

#[test]
fn a_push_waits_for_its_stream_and_its_end_is_no_failure() {
    let mut stage = stage();
    let push = definition(
        Direction::Push,
        json!({ "uri": "rtmp://h/app", "localStreamName": "here", "targetStreamName": "there" }),
    );
    assert!(stage.add(1, push.clone()).is_empty());
    assert_eq!(stage.code(1), Code::WaitingForStream);
    assert!(stage.stream("other", 1, true).is_empty());
    let peer = found(&stage.stream("here", 2, true));
    let actions = stage.let_in(peer, 5);
    let [Action::Order { order: Command::Push(order), .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((&*order.local, &*order.name), ("here", "there"));
    let ticket = order.ticket;
    stage.accept(ticket, 1);
    // Another publisher takes over: the stream is there all the time.
    assert!(stage.stream("here", 3, true).is_empty());
    assert!(stage.stream("here", 2, false).is_empty());
    assert_eq!(stage.code(1), Code::Streaming);
    // The stream ends, and somewhat later the play of it.
    stage.stream("here", 3, false);
    assert_eq!(stage.code(1), Code::Streaming);
    let actions = stage.tell(Input::Unplayed { connection: 5, stream: 1 });
    assert!(has_closed(&actions, 5), "{actions:?}");
    assert_eq!((stage.code(1), stage.view(1).failures), (Code::WaitingForStream, 0));
    assert!(stage.wait(100.0).is_empty());
    let peer = found(&stage.stream("here", 4, true));
    // What goes wrong while the stream is there is a failure.
    stage.tell(Input::Found(peer, Err("x".to_owned())));
    assert_eq!(stage.code(1), Code::Failed);
    // Its stream may be gone by the time that it is tried again.
    stage.stream("here", 4, false);
    assert!(stage.wait(1.3).is_empty());
    assert_eq!(stage.code(1), Code::WaitingForStream);
    stage.tell(Input::Remove(1));
    stage.assert_empty();
    assert!(stage.stream("here", 5, true).is_empty());
    // A stream that is there when the push comes.
    found(&stage.add(2, push));
}

#[test]
fn the_name_at_the_far_end_of_a_push_is_not_repeated() {
    let mut stage = stage();
    let settings =
        json!({ "uri": "rtmp://h/live2", "localStreamName": "here", "targetStreamName": "hidden?x" });
    stage.stream("here", 1, true);
    let peer = found(&stage.add(1, definition(Direction::Push, settings)));
    let order = ticket(&stage.let_in(peer, 5));
    let text = "the stream \"hidden\" is being published already";
    let actions = stage.error(order, vec![Value::Null, object(&[("description", text.into())])]);
    assert!(stage.cause(1).contains("published already") && !stage.cause(1).contains("hidden"));
    let logs = actions.iter().filter(|action| matches!(action, Action::Log { .. }));
    assert!(logs.clone().count() == 1 && !format!("{:?}", logs.collect::<Vec<_>>()).contains("hidden"));
}

#[test]
fn who_is_sent_elsewhere_goes_there_so_often_and_is_trusted_less() {
    let to = |place: &str| {
        let ex = object(&[("code", 302.0.into()), ("redirect", format!("rtmp://{place}/live").into())]);
        vec![Value::Null, object(&[("code", "NetConnection.Connect.Rejected".into()), ("ex", ex)])]
    };
    for (hops, good) in [(REDIRECTS - 1, true), (REDIRECTS, true), (REDIRECTS + 1, false)] {
        let mut stage = stage();
        let mut peer = found(&stage.add(1, pull("rtmp://h/app/cam")));
        for hop in 0..hops {
            stage.tell(Input::Found(peer, Ok(vec![address()])));
            let ticket = ticket(&stage.tell(Input::Made(peer, Ok(hop.into()))));
            let actions = stage.error(ticket, to(&format!("h{hop}")));
            if hop == REDIRECTS {
                break;
            }
            peer = found(&actions);
            let sent = |action: &Action| {
                matches!(action, Action::Find { origin: Origin::Request, host_and_port, .. }
                    if *host_and_port == format!("h{hop}:1935"))
            };
            assert!(actions.iter().any(sent), "{actions:?}");
        }
        assert_eq!(stage.code(1) == Code::Connecting, good, "{hops}");
        if good {
            let order = ticket(&stage.let_in(peer, 50));
            stage.accept(order, 1);
            stage.tell(Input::Closed { connection: 50, reason: "reset".to_owned() });
        }
        // The next attempt begins where it began.
        let actions = stage.wait(1.3);
        let again = |action: &Action| matches!(action, Action::Find { origin: Origin::Configuration, host_and_port, .. } if host_and_port == "h:1935");
        assert!(actions.iter().any(again), "{actions:?}");
    }
}

#[test]
fn removal_leaves_nothing_at_any_stage() {
    // In line, and looked for.
    let mut stage = stage_with(&Limits { link_attempts: 1, ..Limits::default() });
    let peer = found(&stage.add(1, pull("rtmp://a/app/cam")));
    stage.add(2, pull("rtmp://b/app/cam"));
    stage.tell(Input::Remove(2));
    assert_eq!(stage.core.line.len(), 0);
    stage.tell(Input::Remove(1));
    assert_eq!(stage.core.line.taken(), 1, "it is still looked for");
    assert!(
        !stage
            .tell(Input::Found(peer, Ok(vec![address()])))
            .iter()
            .any(|a| matches!(a, Action::Connect { .. }))
    );
    stage.assert_empty();

    // Being connected.
    let peer = found(&stage.add(1, pull("rtmp://a/app/cam")));
    stage.tell(Input::Found(peer, Ok(vec![address()])));
    stage.tell(Input::Remove(1));
    assert!(has_closed(&stage.tell(Input::Made(peer, Ok(5))), 5));
    stage.assert_empty();

    // Asking to be let in.
    let peer = found(&stage.add(1, pull("rtmp://a/app/cam")));
    stage.tell(Input::Found(peer, Ok(vec![address()])));
    stage.tell(Input::Made(peer, Ok(5)));
    assert!(has_closed(&stage.tell(Input::Remove(1)), 5));
    stage.assert_empty();

    // Asking for the stream: alone, and beside another one.
    let peer = found(&stage.add(1, pull("rtmp://a/app/cam")));
    stage.let_in(peer, 5);
    assert!(has_closed(&stage.tell(Input::Remove(1)), 5));
    stage.assert_empty();
    let peer = found(&stage.add(1, pull("rtmp://a/app/cam")));
    stage.add(2, pull("rtmp://a/app/other"));
    let orders = tickets(&stage.let_in(peer, 6));
    let actions = stage.tell(Input::Remove(1));
    let [Action::Order { connection: 6, order: Command::Withdraw { ticket }, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*ticket, orders[0]);
    // It may have been there before that was heard.
    let actions = stage.accept(orders[0], 4);
    assert!(
        matches!(actions[..], [Action::End { connection: 6, stream: 4, publishes: true }]),
        "{actions:?}"
    );
    assert!(has_closed(&stage.tell(Input::Remove(2)), 6));
    stage.assert_empty();

    // Running, ending, and resting.
    stage.running(1, 9);
    stage.tell(Input::Unpublished { connection: 9, stream: 1 });
    assert!(has_closed(&stage.tell(Input::Remove(1)), 9));
    stage.assert_empty();
    stage.running(1, 7);
    assert!(has_closed(&stage.tell(Input::Remove(1)), 7));
    stage.assert_empty();
    stage.running(1, 8);
    stage.tell(Input::Closed { connection: 8, reason: "x".to_owned() });
    stage.tell(Input::Remove(1));
    stage.assert_empty();
    assert_eq!(stage.core.changed(), [(1, None), (2, None)]);
}

#[test]
fn a_line_for_the_first_failures_and_then_a_number() {
    let mut stage = stage();
    let mut lines = 0;
    let count = |actions: &[Action]| actions.iter().filter(|a| matches!(a, Action::Log { .. })).count();
    for id in 0..1000 {
        let actions = stage.add(id, pull(&format!("rtmp://h{id}/app/cam")));
        lines += count(&actions);
    }
    for _ in 0..60 {
        let mut peers: Vec<u64> = stage
            .core
            .peers
            .iter()
            .filter(|(_, peer)| matches!(peer.stage, super::Stage::Finding))
            .map(|(id, _)| *id)
            .collect();
        while let Some(peer) = peers.pop() {
            let actions = stage.tell(Input::Found(peer, Err("no route".to_owned())));
            lines += count(&actions);
            peers.extend(
                actions
                    .iter()
                    .filter_map(|a| if let Action::Find { peer, .. } = a { Some(*peer) } else { None }),
            );
        }
        lines += count(&stage.wait(1.0));
    }
    assert!(lines <= 7 * (LOG_LINES as usize + 1), "{lines}");
    assert!((0..1000).all(|id| stage.view(id).failures >= 3));
}

#[test]
fn a_stream_that_ends_with_its_connection_says_why() {
    let mut stage = stage();
    stage.running(1, 5);
    stage.tell(Input::Unpublished { connection: 5, stream: 1 });
    stage.tell(Input::Closed { connection: 5, reason: "closed by the peer".to_owned() });
    assert_eq!((stage.code(1), &*stage.cause(1)), (Code::Failed, "closed by the peer"));
    assert!(stage.wait(0.7).is_empty(), "it waits as long as after any failure");
    found(&stage.wait(0.6));
}

#[test]
fn nobody_joins_a_connection_that_another_policy_has_let_through() {
    let mut stage = stage();
    stage.running(1, 5);
    assert_eq!(tickets(&stage.add(2, pull("rtmp://h/app/b"))).len(), 1);
    assert!(stage.tell(Input::Policy).is_empty(), "what is there stays");
    let peer = found(&stage.add(3, pull("rtmp://h/app/c")));
    assert!(stage.add(4, pull("rtmp://h/app/d")).is_empty(), "that one has been asked about");
    stage.tell(Input::Found(peer, Err("not there".to_owned())));
    assert_eq!((stage.code(1), stage.code(3), stage.code(4)), (Code::Streaming, Code::Failed, Code::Failed));
    (1..5).for_each(|id| drop(stage.tell(Input::Remove(id))));
    stage.assert_empty();
}

/// Whatever far ends do, in whatever order: no panic, no attempt too many, nothing left when all is removed.
#[test]
fn any_order_of_news_leaves_the_books_in_order() {
    for seed in 1..200_u32 {
        let limits = Limits { link_attempts: 3, message_streams: 3, ..Limits::default() };
        let mut stage = stage_with(&limits);
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut next = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            u64::from(state) % below
        };
        let (mut open, mut connection) = (Vec::new(), 100);
        for _ in 0..400 {
            let actions = match next(12) {
                9 if next(8) == 0 => stage.tell(Input::Policy),
                0 => {
                    let (id, host) = (next(12), next(3));
                    if stage.core.links.contains_key(&id) {
                        stage.tell(Input::Remove(id))
                    } else if id % 3 == 0 {
                        let settings = json!({ "uri": format!("rtmp://h{host}/app"), "localStreamName": format!("s{id}"), "keepAlive": id > 6 });
                        stage.add(id, definition(Direction::Push, settings))
                    } else {
                        stage.add(id, pull(&format!("rtmp://h{host}/app/s{id}")))
                    }
                }
                1 => stage.stream(&format!("s{}", next(4) * 3), next(3), next(2) == 0),
                2 => stage.wait(next(40) as f64),
                3 => stage
                    .tell(Input::Closed { connection: 100 + next(connection - 99), reason: "x".to_owned() }),
                4 => stage.tell(Input::Unpublished {
                    connection: 100 + next(connection - 99),
                    stream: 1 + next(4) as u32,
                }),
                5 => stage.tell(Input::Unplayed {
                    connection: 100 + next(connection - 99),
                    stream: 1 + next(4) as u32,
                }),
                6 => {
                    let urls = [None, Some("//h2/live"), Some("/other"), Some("http://x/y")];
                    let url = urls[next(4) as usize].map(str::to_owned);
                    stage.tell(Input::Reconnect { connection: 100 + next(connection - 99), url })
                }
                7 => stage.tell(Input::Began {
                    connection: 100 + next(connection - 99),
                    stream: 1 + next(4) as u32,
                }),
                _ if open.is_empty() => Vec::new(),
                _ => match open.swap_remove(next(open.len() as u64) as usize) {
                    Action::Find { peer, .. } if next(4) == 0 => {
                        stage.tell(Input::Found(peer, Err("x".to_owned())))
                    }
                    Action::Find { peer, .. } => {
                        stage.tell(Input::Found(peer, Ok(vec![address(); next(3) as usize])))
                    }
                    Action::Connect { peer, .. } if next(4) == 0 => {
                        stage.tell(Input::Made(peer, Err("x".to_owned())))
                    }
                    Action::Connect { peer, .. } => {
                        connection += 1;
                        stage.tell(Input::Made(peer, Ok(connection)))
                    }
                    Action::Order { order: Command::Withdraw { .. }, .. } => Vec::new(),
                    Action::Order { order, .. } => {
                        let ticket = order.ticket().unwrap();
                        match next(5) {
                            0 => stage.error(ticket, refusal("x")),
                            1 => stage.tell(Input::Missed(ticket)),
                            2 => {
                                let to = object(&[("redirect", "rtmp://h1/live".into())]);
                                stage.error(ticket, vec![to])
                            }
                            _ => stage.accept(ticket, 1 + next(4) as u32),
                        }
                    }
                    _ => Vec::new(),
                },
            };
            open.extend(actions);
            assert!(stage.core.line.taken() <= 3);
            let on = stage.core.peers.values().map(|peer| peer.links.len()).sum::<usize>();
            let links = &stage.core.links;
            // One that is lost stands nowhere, until its successor has come or has failed.
            let stands = |link: &&Link| link.lost.is_none() && matches!(link.state, State::On { .. });
            assert_eq!(on, links.values().filter(stands).count());
            let lost = links.iter().filter(|(_, link)| link.lost.is_some());
            assert!(lost.into_iter().all(|(id, _)| links.contains_key(&successor(*id))));
            assert!(stage.core.peers.values().all(|peer| peer.links.len() <= 3));
            assert!(stage.core.tickets.len() <= 4 * 12 + 3);
        }
        for id in 0..12 {
            open.extend(stage.tell(Input::Remove(id)));
        }
        // What is still on its way comes.
        while let Some(action) = open.pop() {
            open.extend(match action {
                Action::Find { peer, .. } => stage.tell(Input::Found(peer, Ok(vec![address()]))),
                Action::Connect { peer, .. } => stage.tell(Input::Made(peer, Err("x".to_owned()))),
                _ => Vec::new(),
            });
        }
        stage.assert_empty();
    }
}
