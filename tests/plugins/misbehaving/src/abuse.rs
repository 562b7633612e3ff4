//! Everything that an application can ask of the server, with arguments that make no sense.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crtmp_plugin::{
    Command, ConnId, Host, HttpRequest, MediaKind, ParamKind, Reply, RequestId, Rights, SourceId, TimerId,
    Verdict,
};
use serde_json::{Map, Value, json};

use crate::Misbehaving;

/// Numbers that are nobody's, or somebody else's.
const NUMBERS: [u64; 6] = [0, 1, u32::MAX as u64, 1 << 32, 0x1_00ff_ffff, u64::MAX];

/// Threads that call at once.
const THREADS: usize = 4;

/// Bytes of a name that is far too long.
const LONG: usize = 1 << 20;

/// A connection of the application, and requests that are or may come to be.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) connection: ConnId,
    pub(crate) requests: [u64; 2],
}

/// Calls every function of the server from several threads, `rounds` times; gives them.
pub(crate) fn everything(host: &Host, rounds: usize, known: Known) -> Vec<JoinHandle<()>> {
    let start = |_| {
        let host = host.clone();
        thread::spawn(move || (0..rounds).for_each(|round| once(&host, round, Some(known))))
    };
    (0..THREADS).map(start).collect()
}

/// Calls without rest until `over`.
pub(crate) fn flood(host: &Host, over: &Arc<AtomicBool>) {
    let (host, over) = (host.clone(), over.clone());
    thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            once(&host, 1, None);
            thread::sleep(Duration::from_millis(1));
        }
    });
}

fn once(host: &Host, round: usize, known: Option<Known>) {
    let names = [String::new(), "x".repeat(LONG), "no such thing".to_owned(), "\0\u{202e}\n".to_owned()];
    // The long one is for the first rounds: copying it is slow.
    let name = &names[if round < 4 { round % 4 } else { [0, 2, 3][round % 3] }];
    // Numbers of requests may be those of connections too: what is done to these is for the known one alone.
    for connection in NUMBERS.map(ConnId).into_iter().chain(known.map(|known| known.connection)) {
        connections(host, connection, name);
    }
    for number in NUMBERS.into_iter().chain(known.into_iter().flat_map(|known| known.requests)) {
        let _ = host.respond(RequestId(number), Verdict::accept_as(name));
        let _ = host.respond(RequestId(number), Reply::Result(json!(name)));
        let _ = host.send_frame(SourceId(number), MediaKind::Video, i64::MIN, name.as_bytes());
        let _ = host.send_frame(SourceId(number), MediaKind::Data, i64::MAX, &[]);
        host.end_source(SourceId(number));
        let _ = host.set_timer(TimerId(number), Duration::MAX, Some(Duration::ZERO));
        host.cancel_timer(TimerId(number));
    }
    let _ = host.publish(name);
    let _ = host.publish("canary");
    let _ = host.add_command(&Command::new(name, name).required(name, ParamKind::Json, name));
    let _ = host.add_command(&Command::new("listStreams", "takes a command of the server"));
    let params = Map::from_iter([(name.clone(), Value::Null)]);
    for rights in [Rights::Read, Rights::Change, Rights::All] {
        let _ = host.command_as::<Misbehaving>(name, &params, rights, |_, _| {});
        let _ = host.command_json::<Misbehaving>("listStreams", &params, rights, |_, _| {});
    }
    let _ = host.connect::<Misbehaving>(name, name, &params, |_, _| {});
    let _ = host.connect::<Misbehaving>("127.0.0.1:1", "inboundRtmp", &Map::new(), |_, _| {});
    let _ = host.http::<Misbehaving>(&HttpRequest::get(name), |_, _| {});
    host.debug(name);
}

fn connections(host: &Host, conn: ConnId, name: &str) {
    let _ = host.call::<Misbehaving>(conn, name, &[json!(name)], |app, _| app.results += 1);
    let _ = host.send(conn, name, &[]);
    let _ = host.unpublish(conn, u32::MAX, name, name);
    let _ = host.unplay(conn, u32::MAX, name, name);
    let _ = host.tap(conn, conn.0 as u32, true);
    for kind in [MediaKind::Audio, MediaKind::Video, MediaKind::Data] {
        let _ = host.sequence_header(conn, conn.0 as u32, kind);
    }
    let _ = host.tap(conn, 0, false);
}
