//! The resolver with a system that answers as a test likes: at once, late, never, wrongly.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
};

use super::*;
use crate::web::testing::PATIENCE;

const SHORT: Duration = Duration::from_millis(30);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What is found, on this thread.
fn found(resolver: &Resolver, name: &str, timeout: Duration) -> Found {
    let (tell, told) = mpsc::channel();
    resolver.resolve(name, timeout, move |found| tell.send(found).unwrap());
    let found = told.recv_timeout(PATIENCE).unwrap();
    assert!(told.recv().is_err(), "once");
    found
}

/// A system that tells what it is asked and answers when it is told to.
fn slow() -> (Resolver, Receiver<String>, Sender<()>) {
    let (tell, asked) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let resolver = Resolver::with(move |host| {
        tell.send(host.to_owned()).unwrap();
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
        Ok(vec![address("192.0.2.1:0")])
    });
    (resolver, asked, go)
}

#[test]
fn what_is_an_address_is_answered_at_once_and_on_the_callers_thread() {
    let resolver = Resolver::with(|host| panic!("asked for {host}"));
    let ours = thread::current().id();
    for (name, expected) in [
        ("192.0.2.1:80", Ok("192.0.2.1:80")),
        ("[2001:db8::1]:1935", Ok("[2001:db8::1]:1935")),
        ("[::ffff:127.0.0.1]:1", Ok("[::ffff:127.0.0.1]:1")),
        ("192.0.2.1:0", Err("port")),
        ("[::1]:0", Err("port")),
        ("192.0.2.1", Err("port")),
        ("a.example", Err("port")),
        ("a.example:", Err("port")),
        ("a.example:0", Err("port")),
        ("a.example:+80", Err("port")),
        ("a.example:65536", Err("port")),
        ("a.example:http", Err("port")),
        (":80", Err("missing")),
        ("::1:80", Err("brackets")),
        ("[a.example]:80", Err("brackets")),
        ("[::1%lo]:80", Err("brackets")),
        ("a b:80", Err("letters")),
        ("a/b:80", Err("letters")),
        ("user@a:80", Err("letters")),
        ("a\0b:80", Err("letters")),
        ("\u{fc}.example:80", Err("letters")),
        ("", Err("port")),
        (":", Err("port")),
    ] {
        let (tell, told) = mpsc::channel();
        resolver.resolve(name, PATIENCE, move |found| tell.send((found, thread::current().id())).unwrap());
        let (found, thread) = told.try_recv().unwrap();
        assert_eq!(thread, ours, "{name}");
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, [address(expected)]),
            (Err(text), Err(part)) => assert!(text.contains(part), "{name:?}: {text}"),
            other => panic!("{name:?}: {other:?}"),
        }
    }
}

#[test]
fn a_name_has_a_longest_length() {
    let resolver = Resolver::with(|_| Ok(vec![address("192.0.2.1:0")]));
    for (length, good) in [(NAME - 1, true), (NAME, true), (NAME + 1, false)] {
        let name = format!("{}:80", "x".repeat(length));
        assert_eq!(found(&resolver, &name, PATIENCE).is_ok(), good, "{length}");
    }
}

#[test]
fn families_take_turns_and_each_address_comes_once() {
    let shown = |addresses: &[&str]| -> Vec<String> {
        let all = addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect();
        take_turns(all).iter().map(|address| address.ip().to_string()).collect()
    };
    assert_eq!(shown(&[]), Vec::<String>::new());
    assert_eq!(shown(&["::1", "::2", "1.0.0.1", "1.0.0.2"]), ["::1", "1.0.0.1", "::2", "1.0.0.2"]);
    assert_eq!(shown(&["1.0.0.1", "::1", "::2", "::3"]), ["1.0.0.1", "::1", "::2", "::3"]);
    assert_eq!(shown(&["1.0.0.2", "1.0.0.1", "1.0.0.2"]), ["1.0.0.2", "1.0.0.1"]);
    let many = |count: usize| -> Vec<SocketAddr> {
        let v4 = (0..count).map(|n| IpAddr::from(Ipv4Addr::from(n as u32)));
        let v6 = (0..count).map(|n| IpAddr::from(Ipv6Addr::from(n as u128)));
        v4.chain(v6).map(|ip| SocketAddr::new(ip, 0)).collect()
    };
    for count in [ADDRESSES / 2 - 1, ADDRESSES / 2, ADDRESSES / 2 + 1, 1000] {
        let turns = take_turns(many(count));
        assert_eq!(turns.len(), ADDRESSES.min(2 * count));
        assert!(turns.iter().any(SocketAddr::is_ipv6));
    }
}

#[test]
fn names_are_looked_up_and_the_port_is_the_callers() {
    let resolver = Resolver::with(|host| match host {
        "a.example" => Ok(vec![address("192.0.2.1:7"), address("[2001:db8::1]:7")]),
        "none.example" => Ok(Vec::new()),
        "panic.example" => panic!("the system"),
        _ => Err(io::Error::other("no such name")),
    });
    let two = Ok(vec![address("192.0.2.1:80"), address("[2001:db8::1]:80")]);
    assert_eq!(found(&resolver, "A.Example:80", PATIENCE), two);
    assert_eq!(found(&resolver, "b.example:80", PATIENCE), Err("no such name".to_owned()));
    assert!(found(&resolver, "none.example:80", PATIENCE).unwrap_err().contains("no address"));
    assert!(found(&resolver, "panic.example:80", PATIENCE).unwrap_err().contains("fault of this server"));
    assert_eq!(found(&resolver, "a.example:80", PATIENCE), two);
}

#[test]
fn the_system_takes_odd_spellings_for_addresses() {
    let resolver = Resolver::new();
    for name in ["localhost", "2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "017700000001"] {
        let found = found(&resolver, &format!("{name}:80"), PATIENCE).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{name}: {found:?}");
    }
    assert!(found(&resolver, "host.invalid:80", PATIENCE).is_err());
}

#[test]
fn whoever_has_waited_long_enough_is_told_and_the_look_up_is_not_repeated() {
    let (resolver, asked, go) = slow();
    for _ in 0..3 {
        assert!(found(&resolver, "dead.example:80", SHORT).unwrap_err().contains("too long"));
    }
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "dead.example");
    assert!(asked.try_recv().is_err(), "one thread for one name");
    // Who asks for it again while it hangs has the answer of the first look-up.
    let (tell, told) = mpsc::channel();
    resolver.resolve("dead.example:81", PATIENCE, move |found| tell.send(found).unwrap());
    go.send(()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Ok(vec![address("192.0.2.1:81")]));
    assert!(asked.try_recv().is_err());
}

#[test]
fn who_waits_in_line_has_its_time_when_its_name_is_looked_up() {
    let (resolver, asked, go) = slow();
    for number in 0..LOOK_UPS {
        resolver.resolve(&format!("h.z{number}:80"), PATIENCE, |_| {});
    }
    (0..LOOK_UPS).for_each(|_| drop(asked.recv_timeout(PATIENCE).unwrap()));
    let (tell, told) = mpsc::channel();
    for (name, patience) in [
        ("impatient", SHORT.into()),
        ("patient", Patience { look_up: SHORT, in_line: PATIENCE }),
        ("lucky", Patience { look_up: PATIENCE, in_line: SHORT }),
    ] {
        let tell = tell.clone();
        resolver
            .resolve(&format!("{name}:80"), patience, move |found| tell.send((name, found.is_ok())).unwrap());
    }
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), ("impatient", false));
    // Its turn comes, and it is not answered in its time.
    go.send(()).unwrap();
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "patient");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), ("patient", false));
    // Who joins has the time of a look-up, and nothing of the line.
    resolver.resolve("patient:81", Patience { look_up: SHORT, in_line: PATIENCE }, {
        let tell = tell.clone();
        move |found| tell.send(("joined", found.is_ok())).unwrap()
    });
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), ("joined", false));
    go.send(()).unwrap();
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "lucky");
    drop(go);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), ("lucky", true));
}

#[test]
fn a_shorter_wait_ends_before_a_longer_one() {
    let (resolver, _asked, _go) = slow();
    let (tell, told) = mpsc::channel();
    for (number, timeout) in [(1, Duration::from_secs(3600)), (2, SHORT), (3, Duration::MAX)] {
        let tell = tell.clone();
        resolver.resolve("a.example:80", timeout, move |found| tell.send((number, found.is_err())).unwrap());
    }
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (2, true));
    assert!(told.try_recv().is_err());
}

#[test]
fn threads_are_few_and_a_zone_leaves_some_for_others() {
    let (resolver, asked, go) = slow();
    let (tell, told) = mpsc::channel();
    let ask = |name: String| {
        let tell = tell.clone();
        resolver.resolve(&name, PATIENCE, move |found| tell.send(found).unwrap());
    };
    for number in 0..100 {
        ask(format!("{number}.dead.example:80"));
    }
    let hear = |count: usize| -> HashSet<String> {
        (0..count).map(|_| asked.recv_timeout(PATIENCE).unwrap()).collect()
    };
    assert_eq!(hear(LOOK_UPS_OF_ZONE).len(), LOOK_UPS_OF_ZONE);
    assert!(asked.try_recv().is_err(), "the zone has its share");
    let others = LOOK_UPS - LOOK_UPS_OF_ZONE;
    for number in 0..=others {
        ask(format!("{number}.test:80"));
    }
    let heard = hear(others);
    assert!(heard.iter().all(|name| name.ends_with(".test")), "{heard:?}");
    assert!(asked.try_recv().is_err(), "all threads are taken");
    assert_eq!(resolver.0.lock().running, LOOK_UPS);
    for _ in 0..100 + others + 1 {
        go.send(()).unwrap();
    }
    for _ in 0..100 + others + 1 {
        assert!(told.recv_timeout(PATIENCE).unwrap().is_ok());
    }
    wait_until(|| resolver.0.lock().running == 0);
    let state = resolver.0.lock();
    assert!(state.names.is_empty() && state.shares.is_empty() && state.line.is_empty());
}

#[test]
fn names_that_took_too_long_leave_threads_for_others_the_next_time() {
    let (resolver, asked, go) = slow();
    let (tell, told) = mpsc::channel();
    let ask = |name: &str, timeout: Duration| {
        let tell = tell.clone();
        resolver.resolve(name, timeout, move |found| tell.send(found.is_ok()).unwrap());
    };
    // Of as many zones.
    let dead: Vec<String> = (0..LOOK_UPS).map(|number| format!("dead{number}:80")).collect();
    dead.iter().for_each(|name| ask(name, SHORT));
    for _ in 0..LOOK_UPS {
        assert!(!told.recv_timeout(PATIENCE).unwrap());
        asked.recv_timeout(PATIENCE).unwrap();
    }
    (0..LOOK_UPS).for_each(|_| go.send(()).unwrap());
    wait_until(|| resolver.0.lock().running == 0);
    dead.iter().for_each(|name| ask(name, PATIENCE));
    (0..LOOK_UPS_OF_ZONE).for_each(|_| drop(asked.recv_timeout(PATIENCE).unwrap()));
    assert!(asked.try_recv().is_err());
    ask("alive:80", PATIENCE);
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "alive");
    (0..=LOOK_UPS).for_each(|_| go.send(()).unwrap());
    (0..=LOOK_UPS).for_each(|_| assert!(told.recv_timeout(PATIENCE).unwrap()));
    // Whoever was in time is not slow any more.
    wait_until(|| resolver.0.lock().running == 0);
    let state = resolver.0.lock();
    assert!(state.slow.is_empty() && state.shares.is_empty() && state.started.is_empty());
}

#[test]
fn so_many_may_wait_and_no_more() {
    let (resolver, _asked, go) = slow();
    let told = Arc::new(AtomicUsize::new(0));
    let ask = |number: usize| {
        let told = told.clone();
        let count = move |_: Found| _ = told.fetch_add(1, Ordering::SeqCst);
        resolver.resolve(&format!("{number}.example:80"), PATIENCE, count);
        resolver.0.lock().waiting.len()
    };
    for number in 1..=WAITING {
        assert_eq!(ask(number), number);
    }
    assert_eq!(told.load(Ordering::SeqCst), 0);
    assert_eq!(ask(WAITING + 1), WAITING);
    assert_eq!(told.load(Ordering::SeqCst), 1, "told at once");
    drop(go);
    wait_until(|| told.load(Ordering::SeqCst) == WAITING + 1);
}

#[test]
fn names_that_nobody_waits_for_any_more_are_not_looked_up() {
    let (resolver, asked, _go) = slow();
    let told = Arc::new(AtomicUsize::new(0));
    for number in 0..2 * LOOK_UPS {
        let told = told.clone();
        let count = move |_: Found| _ = told.fetch_add(1, Ordering::SeqCst);
        resolver.resolve(&format!("{number}.dead.test:80"), SHORT, count);
    }
    wait_until(|| told.load(Ordering::SeqCst) == 2 * LOOK_UPS);
    let state = resolver.0.lock();
    assert!(state.waiting.is_empty() && state.line.is_empty());
    assert_eq!(state.names.len(), LOOK_UPS_OF_ZONE, "those that hang");
    assert_eq!(asked.iter().take(LOOK_UPS_OF_ZONE).count(), LOOK_UPS_OF_ZONE);
    assert!(asked.try_recv().is_err());
}

#[test]
fn whoever_panics_costs_nobody_anything() {
    let (resolver, _asked, go) = slow();
    let (tell, told) = mpsc::channel();
    resolver.resolve("a.example:80", PATIENCE, |_| panic!("a caller that fails"));
    resolver.resolve("a.example:80", PATIENCE, move |found| tell.send(found).unwrap());
    go.send(()).unwrap();
    assert!(told.recv_timeout(PATIENCE).unwrap().is_ok());
    resolver.resolve("b.example:80", SHORT, |_| panic!("a caller that fails"));
    assert!(found(&resolver, "b.example:80", SHORT).is_err());
    wait_until(|| !resolver.0.lock().clock);
}

#[test]
fn zones_are_the_last_two_parts() {
    for (host, zone) in [
        ("a.b.example.org", "example.org"),
        ("example.org.", "example.org"),
        ("example.org", "example.org"),
        ("localhost", "localhost"),
        ("..", "."),
        (".", ""),
        ("", ""),
    ] {
        assert_eq!(zone_of(host), zone, "{host}");
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "in time");
        thread::sleep(Duration::from_millis(5));
    }
}
