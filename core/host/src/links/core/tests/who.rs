//! Servers that ask who we are.

use super::*;

#[test]
fn who_is_asked_who_it_is_says_so_on_new_connections() {
    let refused = |words: &str| {
        let words = format!("[ AccessManager.Reject ] : [ {words}");
        vec![Value::Null, object(&[("code", "X".into()), ("description", words.into())])]
    };
    let need = "code=403 need auth; authmod=adobe ] : ";
    let question = "authmod=adobe ] : ?reason=needauth&user=me&salt=a&challenge=b&opaque=c";
    let wrong = "authmod=adobe ] : ?reason=authfailed&opaque=c";
    // Has the peer connected, and gives the ticket and what is said as the application.
    let calls = |stage: &mut Stage, peer: u64, connection: u64| {
        let actions = stage.tell(Input::Made(peer, Ok(connection)));
        let [Action::Order { order: Command::Call { args, .. }, .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        let text = |key: &str| args[0].get(key).and_then(Value::as_str).unwrap().to_owned();
        let (app, url) = (text("app"), text("tcUrl"));
        assert_eq!(url, format!("rtmp://h/{app}"));
        (ticket(&actions), app)
    };
    let again = |actions: &[Action], closed: u64| {
        assert!(has_closed(actions, closed), "{actions:?}");
        let connects =
            |action: &Action| matches!(action, Action::Connect { address: to, .. } if *to == address());
        actions.iter().any(connects)
    };
    for last in ["accepts", wrong, question] {
        let mut stage = stage();
        let peer = found(&stage.add(1, pull("rtmp://me:hidden@h/app/cam")));
        // Others are somebody else there.
        let other = found(&stage.add(2, pull("rtmp://you:hidden@h/app/b")));
        stage.tell(Input::Found(other, Err("x".to_owned())));
        stage.tell(Input::Found(peer, Ok(vec![address()])));
        let (ticket, app) = calls(&mut stage, peer, 5);
        assert_eq!(app, "app");
        assert!(again(&stage.error(ticket, refused(need)), 5));
        let (ticket, app) = calls(&mut stage, peer, 6);
        assert_eq!(app, "app?authmod=adobe&user=me");
        stage.tell(Input::Closed { connection: 5, reason: "late".to_owned() });
        assert!(again(&stage.error(ticket, refused(question)), 6));
        let (ticket, app) = calls(&mut stage, peer, 7);
        assert!(
            app.starts_with("app?authmod=adobe&user=me&challenge=") && app.ends_with("==&opaque=c"),
            "{app}"
        );
        assert_eq!(stage.core.line.taken(), 1, "all of that is one attempt");
        if last == "accepts" {
            let order = self::ticket(&stage.result(ticket, vec![Value::Null, Value::Null]));
            stage.accept(order, 1);
            assert_eq!((stage.code(1), stage.view(1).failures), (Code::Streaming, 0));
            // What the far end repeats is not repeated.
            let reason = format!("no more of {app}");
            stage.tell(Input::Closed { connection: 7, reason });
            assert_eq!(stage.cause(1), "no more of app?***");
        } else {
            assert!(!again(&stage.error(ticket, refused(last)), 7));
            assert_eq!((stage.code(1), stage.view(1).failures), (Code::Failed, 1));
            let cause = stage.cause(1);
            assert!(
                !cause.contains("me&") && cause.contains(if last == wrong { "authfailed" } else { "again" })
            );
        }
        assert_eq!(stage.core.line.taken(), 0);
        // The next attempt begins with nothing said.
        stage.tell(Input::Remove(2));
        let peer = found(&stage.wait(1.3));
        stage.tell(Input::Found(peer, Ok(vec![address()])));
        assert_eq!(calls(&mut stage, peer, 8).1, "app");
        stage.tell(Input::Remove(1));
        stage.assert_empty();
    }
}
