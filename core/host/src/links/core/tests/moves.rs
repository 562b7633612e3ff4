//! Far ends that ask to be connected to elsewhere.

use super::*;

impl Stage {
    fn asked(&mut self, connection: u64, url: Option<&str>) -> Vec<Action> {
        self.tell(Input::Reconnect { connection, url: url.map(str::to_owned) })
    }

    /// A push of "cam" that runs on a connection of its own.
    fn pushing(&mut self, id: u64, connection: u64) {
        self.stream("cam", 1, true);
        let settings = json!({ "uri": "rtmp://h/app", "localStreamName": "cam" });
        let peer = found(&self.add(id, definition(Direction::Push, settings)));
        let ticket = ticket(&self.let_in(peer, connection));
        self.accept(ticket, 1);
        assert_eq!(self.code(id), Code::Streaming);
    }
}

fn place(actions: &[Action]) -> (&str, Origin) {
    let place = actions.iter().find_map(|action| match action {
        Action::Find { host_and_port, origin, .. } => Some((host_and_port.as_str(), *origin)),
        _ => None,
    });
    place.unwrap_or_else(|| panic!("nobody is looked for: {actions:?}"))
}

#[test]
fn a_pull_runs_on_until_the_other_one_runs() {
    let mut stage = stage();
    stage.running(1, 10);
    let actions = stage.asked(10, Some("//other:7/live"));
    assert_eq!(place(&actions), ("other:7", Origin::Request), "nobody here has chosen it");
    let orders = stage.let_in(found(&actions), 11);
    let pulls = orders.iter().any(
        |action| matches!(action, Action::Order { order: Command::Pull(pull), .. } if pull.takes_over && pull.name == "cam"),
    );
    assert!(pulls, "{orders:?}");
    assert_eq!((stage.code(1), stage.view(1).connection), (Code::Streaming, Some(10)));
    // Its stream has another publisher now; the news may come first.
    stage.tell(Input::Unpublished { connection: 10, stream: 1 });
    let actions = stage.accept(ticket(&orders), 4);
    assert!(has_closed(&actions, 10), "{actions:?}");
    let view = stage.view(1);
    assert_eq!((view.current.code, view.connection, view.stream), (Code::Streaming, Some(11), Some(4)));
    assert!(stage.wait(1.0).is_empty(), "what has ended there is over");
    // It is as good as any other: what ends here is tried again, where it is configured to go.
    stage.tell(Input::Closed { connection: 11, reason: "gone".to_owned() });
    assert_eq!(stage.code(1), Code::Failed);
    assert_eq!(place(&stage.wait(2.0)).0, "h:1935");
}

#[test]
fn who_is_to_come_again_goes_where_it_is_configured_to_go() {
    let mut stage = stage();
    stage.running(1, 10);
    let actions = stage.asked(10, None);
    assert_eq!(place(&actions), ("h:1935", Origin::Configuration));
}

#[test]
fn a_push_goes_on_at_a_key_frame_before_it_ends_at_the_first_server() {
    let mut stage = stage();
    stage.pushing(1, 10);
    let actions = stage.asked(10, Some("rtmp://other/live"));
    let orders = stage.let_in(found(&actions), 11);
    let next = orders
        .iter()
        .any(|action| matches!(action, Action::Order { order: Command::Push(push), .. } if push.again));
    assert!(next, "{orders:?}");
    assert!(!has_closed(&stage.accept(ticket(&orders), 1), 10), "nothing has gone yet");
    assert!(stage.tell(Input::Began { connection: 10, stream: 1 }).is_empty(), "the old one, long ago");
    let actions = stage.tell(Input::Began { connection: 11, stream: 1 });
    assert!(has_closed(&actions, 10), "{actions:?}");
    assert_eq!(stage.view(1).connection, Some(11));
}

#[test]
fn who_cannot_move_stays() {
    let mut stage = stage();
    stage.running(1, 10);
    for bad in ["http://x/y", "/", "rtmp://h h/"] {
        let actions = stage.asked(10, Some(bad));
        assert!(matches!(actions[..], [Action::Log { bad: true, .. }]), "{actions:?}");
    }
    stage.wait(60.0);
    let actions = stage.asked(10, Some("rtmp://other/live"));
    assert!(stage.asked(10, Some("rtmp://third/live")).is_empty(), "one at a time");
    let actions = stage.tell(Input::Found(found(&actions), Err("no such name".to_owned())));
    assert!(actions.iter().any(|action| matches!(action, Action::Log { bad: true, .. })), "{actions:?}");
    assert_eq!((stage.code(1), stage.view(1).connection), (Code::Streaming, Some(10)));
    stage.tell(Input::Closed { connection: 10, reason: "gone".to_owned() });
    assert_eq!(stage.code(1), Code::Failed);
}

#[test]
fn a_link_moves_so_often_in_a_row_and_later_again() {
    let mut stage = stage();
    stage.running(1, 10);
    for connection in 10..13 {
        let orders = {
            let actions = stage.asked(connection, Some("/live"));
            stage.let_in(found(&actions), connection + 1)
        };
        stage.accept(ticket(&orders), 1);
        assert_eq!(stage.view(1).connection, Some(connection + 1));
    }
    let actions = stage.asked(13, Some("/live"));
    assert!(matches!(actions[..], [Action::Log { bad: true, .. }]), "{actions:?}");
    stage.wait(30.0);
    found(&stage.asked(13, Some("/live")));
}

/// The first server has gone before the other one has come; and neither comes.
#[test]
fn what_ends_meanwhile_has_the_other_one_as_soon_as_it_runs() {
    for comes in [true, false] {
        let mut stage = stage();
        stage.pushing(1, 10);
        let actions = stage.asked(10, Some("rtmp://other/live"));
        let orders = stage.let_in(found(&actions), 11);
        stage.tell(Input::Closed { connection: 10, reason: "gone".to_owned() });
        assert_eq!(stage.code(1), Code::Streaming, "as far as anybody can see");
        if comes {
            stage.accept(ticket(&orders), 1);
            assert_eq!((stage.code(1), stage.view(1).connection), (Code::Streaming, Some(11)));
        } else {
            stage.error(ticket(&orders), refusal("NetStream.Publish.BadName"));
            assert_eq!((stage.code(1), stage.cause(1)), (Code::Failed, "gone".to_owned()));
            stage.wait(2.0);
        }
        stage.tell(Input::Remove(1));
    }
}

#[test]
fn what_is_removed_while_it_moves_leaves_nothing() {
    for steps in 0..3 {
        let mut stage = stage();
        stage.running(1, 10);
        let actions = stage.asked(10, Some("rtmp://other/live"));
        let peer = found(&actions);
        match steps {
            0 => {
                stage.tell(Input::Remove(1));
                stage.tell(Input::Found(peer, Err("too late".to_owned())));
            }
            1 => {
                stage.let_in(peer, 11);
                assert!(has_closed(&stage.tell(Input::Remove(1)), 11));
            }
            _ => {
                let orders = stage.let_in(peer, 11);
                stage.accept(ticket(&orders), 1);
                assert!(has_closed(&stage.tell(Input::Remove(1)), 11));
            }
        }
        stage.assert_empty();
    }
}
