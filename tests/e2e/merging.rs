//! Messages that wait for each other, as the configuration says.

use std::time::Duration;

use crtmp_tests::numbered::Shape;
use crtmp_tests::{Config, Counters, Server};
use nix::sys::signal::Signal;

use crate::SOON;
use crate::crowd::{Crowd, Pace};

const SHAPE: Shape = Shape { picture: 2000, gop: 25, interval: 40 };

/// Rounds of sending by how long their messages had been there: at most 200 ms, and longer.
fn rounds(counters: &Counters) -> (u64, u64) {
    let histogram =
        counters.json()["workers"][0]["deliveryMs"].as_object().expect("the counters tell of delays");
    histogram.iter().fold((0, 0), |(short, long), (bound, count)| {
        let count = count.as_u64().expect("a number");
        if bound.parse::<u64>().is_ok_and(|bound| bound <= 200) {
            (short + count, long)
        } else {
            (short, long + count)
        }
    })
}

#[test]
fn a_reload_changes_how_long_messages_wait_while_the_stream_runs() {
    let config = |ms: u32| Config::new().workers(1).application("mergeWrite", &ms.to_string());
    let server = Server::start(&config(0));
    let mut crowd = Crowd::new(&server, "one", SHAPE);
    crowd.join(5, Pace::Fast);
    crowd.go_on_for(25);

    let reload = |ms| {
        let before = server.log().len();
        server.rewrite(&config(ms));
        server.signal(Signal::SIGHUP);
        move |log: String| log.get(before..).is_some_and(|new| new.contains("reload: done"))
    };
    let is_done = reload(400);
    crowd.go_on("the reload", SOON, |_| is_done(server.log()).then_some(()));
    let (_, before) = rounds(&server.counters());
    crowd.go_on("rounds that have waited", SOON, |_| {
        (rounds(&server.counters()).1 >= before + 3).then_some(())
    });

    let is_done = reload(0);
    crowd.go_on("the reload", SOON, |_| is_done(server.log()).then_some(()));
    let (before, _) = rounds(&server.counters());
    crowd.go_on("rounds at once", SOON, |_| (rounds(&server.counters()).0 >= before + 10).then_some(()));

    let last = crowd.source.next() - 1;
    crowd.go_on("everything at everybody's", Duration::from_secs(5), |crowd| {
        crowd.players.iter().all(|player| player.seen.sound >= Some(last)).then_some(())
    });
    for player in &crowd.players {
        assert!(player.seen.is_whole(), "{:?}", player.seen);
    }
    server.stop();
}
