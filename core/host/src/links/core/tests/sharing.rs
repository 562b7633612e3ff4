//! Who shares a connection, and who gets one of its own.

use super::*;

impl Stage {
    /// Two pulls that are asked for by one connection, and their orders.
    fn two(&mut self, connection: u64) -> Vec<u64> {
        let peer = found(&self.add(1, pull("rtmp://h/app/a")));
        assert!(self.add(2, pull("rtmp://h/app/b")).is_empty());
        self.let_in(peer, connection)
            .iter()
            .filter_map(|action| match action {
                Action::Order { order, .. } => order.ticket(),
                _ => None,
            })
            .collect()
    }

    fn close(&mut self, connection: u64) -> Vec<Action> {
        self.tell(Input::Closed { connection, reason: "reset".to_owned() })
    }
}

/// The peers that are looked for.
fn finds(actions: &[Action]) -> Vec<u64> {
    let find = |action: &Action| match action {
        Action::Find { peer, .. } => Some(*peer),
        _ => None,
    };
    actions.iter().filter_map(find).collect()
}

#[test]
fn who_is_refused_beside_others_gets_a_connection_of_its_own_at_once() {
    let mut stage = stage();
    let peer = found(&stage.add(1, pull("rtmp://h/app/a")));
    stage.add(2, pull("rtmp://h/app/b"));
    let orders = tickets(&stage.let_in(peer, 5));
    stage.accept(orders[0], 1);
    let alone = found(&stage.error(orders[1], refusal("NetStream.Failed")));
    assert_eq!(
        (stage.code(1), stage.code(2), stage.view(2).failures),
        (Code::Streaming, Code::Connecting, 0)
    );
    // What works there stays there.
    let order = ticket(&stage.let_in(alone, 6));
    stage.accept(order, 1);
    stage.tell(Input::Closed { connection: 6, reason: "reset".to_owned() });
    let alone = found(&stage.wait(1.3));
    // What fails there too does not need it.
    stage.tell(Input::Found(alone, Err("x".to_owned())));
    assert_eq!((stage.code(2), stage.view(2).failures), (Code::Failed, 2));
    let order = ticket(&stage.wait(2.6));
    // A stream that is not there is not there on a connection of its own either.
    stage.error(order, refusal("NetStream.Play.StreamNotFound"));
    assert_eq!((stage.code(2), stage.view(2).failures), (Code::Failed, 3));
}

/// A far end that bears one stream for each connection and says so by ending everything.
#[test]
fn who_breaks_a_connection_twice_gets_one_of_its_own_until_that_breaks() {
    let mut stage = stage();
    let orders = stage.two(5);
    stage.accept(orders[0], 1);
    stage.close(5);
    // Once may be chance.
    let [peer] = finds(&stage.wait(1.3))[..] else { panic!("they share") };
    let orders = tickets(&stage.let_in(peer, 6));
    stage.accept(orders[0], 1);
    stage.close(6);
    // Not twice in a row.
    let [one, other] = finds(&stage.wait(2.6))[..] else { panic!("each has its own") };
    for (peer, connection) in [(one, 7), (other, 8)] {
        let order = ticket(&stage.let_in(peer, connection));
        stage.accept(order, 1);
    }
    assert_eq!((stage.code(1), stage.code(2)), (Code::Streaming, Code::Streaming));
    // Both breaks may have been chance all the same: with the next one all begins anew.
    stage.close(7);
    stage.close(8);
    assert_eq!(finds(&stage.wait(5.2)).len(), 1, "they share");
}

#[test]
fn what_the_far_end_has_not_said_is_forgotten_with_the_next_failure() {
    for (outcome, is_said) in
        [(CallOutcome::Error, true), (CallOutcome::Timeout, false), (CallOutcome::Refused, false)]
    {
        let mut stage = stage();
        let orders = stage.two(5);
        stage.accept(orders[0], 1);
        let args = if is_said { refusal("NetStream.Failed") } else { Vec::new() };
        let alone = found(&stage.tell(Input::Result { ticket: orders[1], outcome, args }));
        let order = ticket(&stage.let_in(alone, 6));
        stage.accept(order, 1);
        stage.close(6);
        let again = stage.wait(1.3);
        assert_eq!(finds(&again).len(), usize::from(is_said), "{outcome:?}: {again:?}");
    }
}

#[test]
fn a_break_counts_once_if_all_went_well_since_the_last_one() {
    for (seconds, is_chance) in [(29.9, false), (30.0, true)] {
        let mut stage = stage();
        let orders = stage.two(5);
        stage.accept(orders[0], 1);
        stage.close(5);
        let [peer] = finds(&stage.wait(1.3))[..] else { panic!("they share") };
        let orders = tickets(&stage.let_in(peer, 6));
        stage.accept(orders[0], 1);
        stage.accept(orders[1], 2);
        stage.wait(seconds);
        stage.add(3, pull("rtmp://h/app/c"));
        stage.close(6);
        let finds = finds(&stage.wait(5.2)).len();
        assert_eq!(finds, if is_chance { 1 } else { 3 }, "after {seconds} seconds");
    }
}

/// Far ends that bear one stream for each connection: whatever they do about a second one, all pulls come to run and then
/// stay as they are.
#[test]
fn whoever_bears_one_stream_for_each_connection_soon_has_one_on_each() {
    const LINKS: u64 = 6;
    for says_so in [true, false] {
        let mut stage = stage();
        let mut waiting: VecDeque<Action> = VecDeque::new();
        for id in 0..LINKS {
            waiting.extend(stage.add(id, pull(&format!("rtmp://h/app/{id}"))));
        }
        let (mut connections, mut streams) = (0, HashMap::<u64, u32>::new());
        let mut finds = Vec::new();
        for second in 0..600 {
            while let Some(action) = waiting.pop_front() {
                let inputs = match action {
                    Action::Find { peer, .. } => {
                        finds.push(second);
                        vec![Input::Found(peer, Ok(vec![address()]))]
                    }
                    Action::Connect { peer, .. } => {
                        connections += 1;
                        vec![Input::Made(peer, Ok(connections))]
                    }
                    Action::Order { connection, order: Command::Pull(pull), .. } => {
                        let (ticket, stream) = (pull.ticket, streams.entry(connection).or_default());
                        *stream += 1;
                        let args = |outcome, args| vec![Input::Result { ticket, outcome, args }];
                        match *stream {
                            1 => args(CallOutcome::Result, vec![1_u32.into(), Value::Null]),
                            _ if says_so => args(CallOutcome::Error, refusal("NetStream.Failed")),
                            _ => vec![Input::Closed { connection, reason: "reset".to_owned() }],
                        }
                    }
                    Action::Order { order: Command::Call { ticket: Some(ticket), .. }, .. } => {
                        vec![Input::Result { ticket, outcome: CallOutcome::Result, args: Vec::new() }]
                    }
                    _ => Vec::new(),
                };
                waiting.extend(inputs.into_iter().flat_map(|input| stage.tell(input)).collect::<Vec<_>>());
            }
            waiting.extend(stage.wait(1.0));
        }
        assert!((0..LINKS).all(|id| stage.code(id) == Code::Streaming), "{says_so}");
        assert!(finds.len() <= 5 * LINKS as usize, "{says_so}: {finds:?}");
        assert!(finds.last().is_some_and(|second| *second < 120), "{says_so}: {finds:?}");
    }
}
