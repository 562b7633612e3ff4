//! The log from end to end: what is logged stands in the file.

use std::fs;
use std::path::Path;

use slog::{crit, debug, error, info, o, trace, warn};

use super::*;

fn file(path: &Path) -> Appender {
    Appender { file_name: Some(path.to_owned()), level: 6, ..Appender::new(AppenderKind::File) }
}

/// The lines of a file without their times.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split_once("Z ").map_or(line, |(_, rest)| rest).to_owned()).collect()
}

fn log_each_level(log: &Logger) {
    crit!(log, "0");
    error!(log, "1");
    warn!(log, "2");
    info!(log, "3");
    debug!(log, "4");
    trace!(log, "5");
    trace!(log, # "finest", "6");
}

#[test]
fn each_appender_takes_its_levels() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let appenders = [
        file(&path("all")),
        Appender { level: 2, ..file(&path("few")) },
        Appender { specific_level: 5, ..file(&path("one")) },
    ];
    let (log, guard) = start(&appenders, true, true).unwrap();
    log_each_level(&log);
    assert!(log.is_enabled(Level::Trace));
    drop(guard);
    assert_eq!(lines(&path("all")).len(), 7);
    assert_eq!(lines(&path("few")), ["FATAL   0", "ERROR   1", "WARNING 2"]);
    let one = lines(&path("one"));
    assert!(one.len() == 1 && one[0].starts_with("FINE    ") && one[0].ends_with(" 5"), "{one:?}");
}

#[test]
fn without_appenders_nothing_is_even_formatted() {
    struct Bomb;
    impl std::fmt::Display for Bomb {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("formatted")
        }
    }
    let (log, _guard) = start(&[Appender::new(AppenderKind::Console)], true, true).unwrap();
    info!(log, "{}", Bomb);
    assert!(!log.is_enabled(Level::Critical));
}

#[test]
fn pairs_come_in_order_and_nothing_forges_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let json = folder.path().join("a.json");
    let appenders = [
        Appender { single_line: true, new_line_characters: Some("\r\n".into()), ..file(&path) },
        Appender { kind: AppenderKind::Json, ..file(&json) },
    ];
    let (log, guard) = start(&appenders, true, false).unwrap();
    let log = log.new(o!("id" => 7, "peer" => "::1"));
    info!(log, "first\nsecond"; "stream" => "a b\nFATAL x", "size" => 1.5, "good" => true);
    drop(guard);
    assert_eq!(
        fs::read_to_string(&path).unwrap().split_once("Z ").unwrap().1,
        "INFO    first\\nsecond stream=\"a b\\nFATAL x\" size=1.5 good=true id=7 peer=::1\r\n"
    );
    let object: serde_json::Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(object["msg"], "first\nsecond");
    assert_eq!(object["stream"], "a b\nFATAL x");
    assert_eq!((&object["id"], &object["good"], &object["level"]), (&7.into(), &true.into(), &"INFO".into()));
}

#[test]
fn further_lines_of_a_message_are_indented() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let (log, guard) = start(&[file(&path)], true, false).unwrap();
    info!(log, "table\nrow\x1b");
    drop(guard);
    assert_eq!(lines(&path), ["INFO    table", "    row\\u{1b}"]);
}

#[test]
fn a_full_queue_drops_lines_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let shared = Arc::new(Shared::default());
    shared.levels.store(0x7f, Ordering::Relaxed);
    let (sender, receiver) = mpsc::sync_channel(3);
    let queue = Queue { sender: AssertUnwindSafe(sender.clone()), shared: Arc::clone(&shared) };
    let log = Logger::root(queue, o!());
    for number in 0..10 {
        info!(log, "{}", number);
    }
    assert_eq!(shared.lost.load(Ordering::Relaxed), 7);
    let writer = Writer::new(vec![Sink::open(&file(&path)).unwrap()], Arc::clone(&shared));
    let thread = thread::spawn(move || writer.run(&receiver));
    sender.send(Message::End).unwrap();
    thread.join().unwrap();
    assert_eq!(
        lines(&path),
        [
            "WARNING 7 log lines lost: more were logged than could be written",
            "INFO    0",
            "INFO    1",
            "INFO    2"
        ]
    );
}

#[test]
fn files_are_reopened_and_replaced_between_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (log, guard) = start(&[file(&path("a"))], true, false).unwrap();
    let wait_for = |file: &str, count: usize| {
        for _ in 0..1000 {
            if path(file).exists() && lines(&path(file)).len() == count {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{file} has not {count} lines: {:?}", lines(&path(file)));
    };
    info!(log, "1");
    wait_for("a", 1);
    fs::rename(path("a"), path("old")).unwrap();
    info!(log, "2");
    wait_for("old", 2);
    guard.reopen();
    wait_for("a", 0);
    info!(log, "3");
    wait_for("a", 1);

    let bad = file(&path("none/b"));
    assert_eq!(guard.replace(&[bad]).unwrap_err().path, "configuration.logAppenders[1].fileName");
    guard.replace(&[Appender { level: 2, ..file(&path("b")) }]).unwrap();
    for _ in 0..1000 {
        if !log.is_enabled(Level::Info) {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    info!(log, "4");
    warn!(log, "5");
    assert_eq!(guard.lost(), 0);
    drop(guard);
    assert_eq!(lines(&path("a")), ["INFO    3"]);
    assert_eq!(lines(&path("b")), ["WARNING 5"]);
}
