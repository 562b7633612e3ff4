//! Tests of the border: what plugins in C do that they should not, and what our own kit makes of what it is told.
#![allow(clippy::disallowed_methods, reason = "tests have a clock")]

use std::ffi::c_void;
use std::ptr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crtmp_media::{
    Answer as Yes, Chain, Command, ConnectInfo, Cx, Env, Error, Event, Frame, Layer, LayerSettings, Limits,
    MediaKind, OutQueue, Port, RequestId, StreamSlot,
};
use serde_json::{Map, Value};

use super::*;
use crate::abi::{CxTable, EventTable, HeadTable, HostTable, LayerTable, OrderTable, OutTable, Str};
use crate::calls::RawResult;
use crate::context::{Context, Services};
use crate::layers::{LayerShim, PluginLayer};
use crate::{App, Host, Level, NoSettings, NotTaken, TimerId, frames};

/// A server that has nothing, but a name.
#[derive(Default)]
struct Bare;

impl Services for Bare {
    fn log(&self, _: Level, _: &str) {}

    fn name(&self) -> &str {
        "bare"
    }

    fn respond(&self, _: u64, answer: Option<crate::Answer>) -> Result<(), NotTaken> {
        answer.map(drop).ok_or(NotTaken::Invalid)
    }

    fn tap(&self, _: u64, _: u32, _: bool) -> Result<(), crate::Gone> {
        Ok(())
    }

    fn call(&self, _: u64, name: &str, _: &str, _: u64) -> Result<(), NotTaken> {
        if name.is_empty() { Err(NotTaken::Invalid) } else { Ok(()) }
    }
}

#[test]
fn null_and_wild_lengths_are_refused() {
    let context = Context::new(Bare);
    let host = context.table();
    let wild = Str { len: isize::MAX as usize + 1, ..Str::new("x") };
    // SAFETY: the table is good; what is wrong is what the tests are about.
    unsafe {
        let table = &*host;
        assert_eq!((table.respond)(host, 1, ptr::null()), abi::INVALID);
        assert_eq!((table.source_frame)(host, 1, ptr::null()), abi::INVALID);
        assert_eq!((table.sequence_header)(host, 1, 1, abi::FRAME_VIDEO, ptr::null_mut()), abi::INVALID);
        assert_eq!((table.sequence_header)(host, 1, 1, abi::FRAME_DATA, ptr::null_mut()), abi::INVALID);
        assert_eq!((table.call)(host, 1, wild, Str::new("[]"), 0), abi::INVALID);
        assert_eq!((table.call)(host, 1, Str { ptr: ptr::null(), len: 5 }, Str::EMPTY, 0), abi::INVALID);
        for (on, status) in [(0, abi::OK), (1, abi::OK), (2, abi::INVALID), (u32::MAX, abi::INVALID)] {
            assert_eq!((table.tap)(host, 1, 0, on), status);
        }
        (table.frame_retain)(host, ptr::null());
        (table.frame_release)(host, ptr::null());
    }
}

#[test]
fn a_descriptor_with_null_brings_nothing() {
    let table = |apps, app_count| PluginTable {
        magic: abi::MAGIC,
        size: size_of::<PluginTable>(),
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        name: Str::new("null"),
        version: Str::EMPTY,
        apps,
        app_count,
        layers: ptr::null(),
        layer_count: 7,
        chains: ptr::null(),
        chain_count: 7,
        filters: ptr::null(),
        filter_count: 7,
    };
    // SAFETY: the table is whole.
    let read = |table: PluginTable| unsafe { Descriptor::read(&raw const table) }.unwrap_err();
    assert_eq!(read(table(ptr::null(), 3)), Unfit::Nothing);
    let none: [*const abi::AppTable; 1] = [ptr::null()];
    let incomplete = Unfit::Incomplete("application", String::new());
    assert_eq!(read(table((&raw const none).cast(), 1)), incomplete);
}

unsafe extern "C" fn create(_: Str, _: *const OutTable, instance: *mut *mut c_void) -> i32 {
    // SAFETY: a place for the instance. Nobody looks behind this pointer.
    unsafe { *instance = ptr::dangling_mut::<u8>().cast() };
    abi::OK
}

unsafe extern "C" fn destroy(_: *mut c_void) -> i32 {
    abi::OK
}

unsafe extern "C" fn takes(_: *mut c_void, _: *const CxTable, _: Str, _: *mut usize) -> i32 {
    abi::OK
}

/// A layer in C: what is null here it does not have.
const PLAIN: LayerTable = LayerTable {
    size: size_of::<LayerTable>(),
    name: Str::new("plain"),
    far: abi::PORT_BYTES,
    near: abi::PORT_BYTES,
    keys: Str::EMPTY,
    create: Some(create),
    destroy: Some(destroy),
    on_open: None,
    on_data: Some(takes),
    on_head: None,
    on_end: None,
    on_order: None,
    on_send: None,
    on_timeout: None,
};

fn made(table: &LayerTable, now: Instant) -> Box<dyn Layer> {
    let row = layer::row(table).expect("a row");
    (row.make)(&LayerSettings::default(), now).expect("a layer")
}

/// Sends some bytes through a layer.
fn sent(layer: &mut dyn Layer) -> Result<Vec<u8>, Error> {
    let (mut near, mut far) = (OutQueue::default(), OutQueue::default());
    near.write_with(|out| out.extend_from_slice(b"bytes"));
    layer.on_send(&mut near, &mut far)?;
    Ok(far.slices().flatten().copied().collect())
}

#[test]
fn on_send_has_a_clock_and_random_bytes() {
    static TIMES: Mutex<Vec<u64>> = Mutex::new(Vec::new());

    unsafe extern "C" fn on_send(_: *mut c_void, cx: *const CxTable, _: Str) -> i32 {
        let mut key = [0; 32];
        // SAFETY: the context is good for the call.
        unsafe {
            TIMES.lock().expect("no panic").push((*cx).now_ms);
            ((*cx).random)(cx, key.as_mut_ptr(), key.len());
            ((*cx).random)(cx, key.as_mut_ptr(), usize::MAX);
            ((*cx).random)(cx, ptr::null_mut(), 8);
            ((*cx).wake_in)(cx, 60_000);
            ((*cx).send)(cx, Str::of(&key));
        }
        abi::OK
    }

    let table = LayerTable { on_send: Some(on_send), ..PLAIN };
    let begun = Instant::now() - Duration::from_secs(100);
    let mut layer = made(&table, begun);
    let (one, two) = (sent(&mut *layer).expect("sent"), sent(&mut *layer).expect("sent"));
    assert!(one.len() == 32 && one != two && one != [0; 32]);
    let times = TIMES.lock().expect("no panic").clone();
    assert!(times[0] >= 100_000 && times[1] >= times[0], "{times:?}");
    let wake = layer.poll_timeout().expect("a time");
    assert!(wake > Instant::now() + Duration::from_secs(50), "it is not due at once");
}

#[test]
fn what_on_send_may_not_do_ends_the_connection() {
    unsafe extern "C" fn emits(_: *mut c_void, cx: *const CxTable, _: Str) -> i32 {
        // SAFETY: zeros are an event; the context is good for the call, here and below.
        unsafe {
            let event = EventTable { kind: abi::EVENT_UNPUBLISH, stream_id: 1, ..std::mem::zeroed() };
            let event = EventTable { size: size_of::<EventTable>(), ..event };
            ((*cx).emit)(cx, &raw const event)
        }
    }
    unsafe extern "C" fn pauses(_: *mut c_void, cx: *const CxTable, _: Str) -> i32 {
        // SAFETY: see above.
        unsafe { ((*cx).pause)(cx) };
        abi::OK
    }
    unsafe extern "C" fn closes(_: *mut c_void, cx: *const CxTable, _: Str) -> i32 {
        // SAFETY: see above.
        unsafe { ((*cx).close)(cx, Str::new("enough")) };
        abi::OK
    }
    unsafe extern "C" fn delivers(_: *mut c_void, cx: *const CxTable, data: Str) -> i32 {
        // SAFETY: see above.
        unsafe { ((*cx).deliver)(cx, data) }
    }

    let hooks: [unsafe extern "C" fn(*mut c_void, *const CxTable, Str) -> i32; 4] =
        [emits, pauses, closes, delivers];
    for hook in hooks {
        let mut layer = made(&LayerTable { on_send: Some(hook), ..PLAIN }, Instant::now());
        let error = sent(&mut *layer).expect_err("that is too much").to_string();
        assert!(error.contains("on their way out"), "{error}");
    }
}

#[test]
fn null_from_a_layer_ends_the_connection() {
    unsafe extern "C" fn on_data(_: *mut c_void, cx: *const CxTable, data: Str, _: *mut usize) -> i32 {
        // SAFETY: the context is good for the call, and the bytes are lent for it.
        unsafe {
            match data.bytes() {
                b"emit" => ((*cx).emit)(cx, ptr::null()),
                b"zero" => {
                    let event = EventTable { kind: abi::EVENT_PUBLISH, request: 1, ..std::mem::zeroed() };
                    let event = EventTable { size: size_of::<EventTable>(), ..event };
                    ((*cx).emit)(cx, &raw const event)
                }
                b"begin" => ((*cx).begin)(cx, ptr::null()),
                b"head" => ((*cx).deliver_head)(cx, ptr::null()),
                _ => {
                    let head = HeadTable { header_count: 5, status: 200, ..std::mem::zeroed() };
                    let head = HeadTable { size: size_of::<HeadTable>(), ..head };
                    ((*cx).begin)(cx, &raw const head)
                }
            }
        }
    }

    let table = LayerTable { on_data: Some(on_data), near: abi::PORT_SERVER, ..PLAIN };
    let mut random = |_: &mut [u8]| {};
    let orders = [("emit", "an event"), ("zero", "0 is no"), ("begin", "a message"), ("head", "a message")];
    for (order, fault) in orders {
        let now = Instant::now();
        let mut chain = Chain::new(vec![made(&table, now)]).expect("a chain");
        let error = chain.on_data(order.as_bytes(), &mut Env { now, random: &mut random }).expect_err(order);
        assert!(error.to_string().contains(fault), "{error}");
    }
    let now = Instant::now();
    let mut chain = Chain::new(vec![made(&table, now)]).expect("a chain");
    chain.on_data(b"headers", &mut Env { now, random: &mut random }).expect("a head without headers");
}

/// Emits what its bytes say, and remembers how it was answered.
struct Asking;

static ANSWERS: Mutex<Vec<Yes>> = Mutex::new(Vec::new());

impl PluginLayer for Asking {
    const NAME: &'static str = "asking";
    const FAR: Port = Port::Bytes;
    const NEAR: Port = Port::Server;

    fn new(_: &Map<String, Value>, _: Instant) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Layer for Asking {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let (request, slot) = (RequestId(1), StreamSlot(1));
        cx.emit(match data {
            b"connect" => Event::Connect { request, info: Box::new(ConnectInfo::default()) },
            b"pong" => Event::Pong { rtt_ms: 5 },
            _ => Event::Unplay { slot },
        });
        Ok(data.len())
    }

    fn on_command(&mut self, command: Command, _: &mut Cx<'_>) -> Result<(), Error> {
        if let Command::AnswerConnect { answer, .. } = command {
            ANSWERS.lock().expect("no panic").push(answer);
        }
        Ok(())
    }
}

#[test]
fn a_redirect_is_no_refusal() {
    let (now, mut random) = (Instant::now(), |_: &mut [u8]| {});
    let answers = [
        Yes::Accept,
        Yes::Redirect { url: "rtmp://elsewhere/live".to_owned() },
        Yes::Reject { code: "Code".to_owned(), text: "no".to_owned() },
    ];
    for answer in answers.clone() {
        let mut chain = Chain::new(vec![made(&LayerShim::<Asking>::TABLE, now)]).expect("a chain");
        let mut env = Env { now, random: &mut random };
        chain.on_data(b"connect", &mut env).expect("taken");
        let order = Command::AnswerConnect { request: RequestId(1), answer };
        chain.on_command(order, &mut env).expect("taken");
    }
    assert_eq!(*ANSWERS.lock().expect("no panic"), answers);
}

#[test]
fn what_a_layer_of_a_plugin_cannot_say_ends_its_connection() {
    let (now, mut random) = (Instant::now(), |_: &mut [u8]| {});
    for (order, event) in [("pong", "Event::Pong"), ("unplay", "Event::Unplay")] {
        let mut chain = Chain::new(vec![made(&LayerShim::<Asking>::TABLE, now)]).expect("a chain");
        let error = chain.on_data(order.as_bytes(), &mut Env { now, random: &mut random }).expect_err(order);
        assert!(error.to_string().contains(event), "{error}");
    }
}

#[test]
fn an_order_that_is_not_known_is_passed_over() {
    let (now, mut random) = (Instant::now(), |_: &mut [u8]| {});
    let table = LayerShim::<Asking>::TABLE;
    let mut chain = Chain::new(vec![made(&table, now)]).expect("a chain");
    chain.on_open(&mut Env { now, random: &mut random }).expect("open");
    // SAFETY: zeros are an order, of no kind; one that is not known asks nothing of its context.
    let status = unsafe {
        let order = OrderTable { size: size_of::<OrderTable>(), kind: 999, ..std::mem::zeroed() };
        (table.on_order.expect("it has one"))(ptr::null_mut(), ptr::null(), &raw const order)
    };
    assert_eq!(status, abi::OK);
}

/// Counts what becomes of sources, and how streams end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    sources: Vec<bool>,
    ends: Vec<crate::Ended>,
}

impl App for Heard {
    const NAME: &'static str = "heard";
    const HOOKS: crate::Hooks = crate::Hooks::UNPUBLISH;
    type Settings = NoSettings;

    fn new(_: Host, _: NoSettings) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn on_unpublish(&mut self, _: &crate::Conn<'_>, stream: crate::Stream<'_>) {
        self.ends.push(stream.why);
        // What it has heard is what it says at last.
        assert_ne!(stream.name, "tell", "{self:?}");
    }

    fn on_source(&mut self, _: crate::SourceId, state: Result<(), &str>) {
        self.sources.push(state.is_ok());
    }
}

#[test]
fn numbers_that_are_not_known_are_taken_for_the_mildest() {
    // SAFETY: zeros are a frame: no body, no owner.
    let table = abi::FrameTable { kind: 999, role: 999, ..unsafe { std::mem::zeroed() } };
    let frame = frames::Frame::new(&table);
    assert_eq!((frame.kind(), frame.role()), (MediaKind::Data, Role::Side));
    for value in ["null", "[1]", "\"text\""] {
        let result = RawResult { status: 999, conn: 0, value, body: &[] };
        assert!(result.call().is_err() && result.command().is_err(), "{value}");
        assert!(result.connection().is_err() && result.http().is_err(), "{value}");
    }

    let context = Context::new(Bare);
    let table = crate::shim::Shim::<Heard>::TABLE;
    let mut instance = ptr::null_mut();
    // SAFETY: zeros are a connection without a text; tables and instance are good for each call.
    unsafe {
        let create = table.create.expect("it has one");
        assert_eq!(create(context.table(), Str::new("{}"), &raw mut instance), abi::OK);
        for state in [abi::SOURCE_LIVE, 999, abi::SOURCE_ENDED] {
            let what =
                abi::SourceNotice { size: size_of::<abi::SourceNotice>(), state, ..std::mem::zeroed() };
            assert_eq!((table.on_source.expect("it has one"))(instance, &raw const what), abi::OK);
        }
        let conn = abi::ConnTable { size: size_of::<abi::ConnTable>(), ..std::mem::zeroed() };
        let unpublish = |why, name| {
            let size = size_of::<abi::StreamNotice>();
            let what = abi::StreamNotice { size, stream_id: 1, why, name: Str::new(name) };
            (table.on_unpublish.expect("it has one"))(instance, &raw const conn, &raw const what)
        };
        assert_eq!(unpublish(999, "stream"), abi::OK);
        assert_eq!(unpublish(abi::ENDED_BY_PEER, "tell"), abi::PANICKED);
        let told = context.check(abi::PANICKED).unwrap_err().to_string();
        let heard =
            Heard { sources: vec![true, false], ends: vec![crate::Ended::ByServer, crate::Ended::ByPeer] };
        assert!(told.contains(&format!("{heard:?}")), "{told}");
        assert_eq!((table.destroy.expect("it has one"))(instance), abi::OK);
    }
}

#[test]
fn a_frame_without_an_owner_is_copied() {
    let context = Context::new(Bare);
    // SAFETY: the context outlives the host.
    let host = unsafe { Host::new(context.table()) };
    let lent: Frame =
        read_frame(MediaKind::Audio, 40, b"\xaf\x01\x21\0", &Limits::default()).expect("a frame");
    let table = frames::lend(&lent);
    let kept = frames::Frame::new(&table).keep(&host);
    assert_ne!(kept.get().body().as_ptr(), frames::Frame::new(&table).body().as_ptr());
    drop(lent);
    assert_eq!(
        (kept.get().body(), kept.get().data(), kept.get().dts()),
        (&b"\xaf\x01\x21\0"[..], &b"\x21\0"[..], 40)
    );
}

/// Has a call open whose closure calls again and panics when it is dropped, and holds the host.
struct Closing {
    host: Host,
}

struct Bomb(Host);

static LAST: Mutex<Option<Result<(), NotTaken>>> = Mutex::new(None);

impl Drop for Bomb {
    fn drop(&mut self) {
        let then = |_: &mut Closing, _: Result<crate::CallResult, crate::CallError>| {};
        let taken = self.0.call(crate::ConnId(1), "again", &[], then);
        *LAST.lock().expect("no panic") = Some(taken);
        panic!("as ordered");
    }
}

impl App for Closing {
    const NAME: &'static str = "closing";
    const HOOKS: crate::Hooks = crate::Hooks::NONE;
    type Settings = NoSettings;

    fn new(host: Host, _: NoSettings) -> Result<Self, String> {
        Ok(Self { host })
    }

    fn on_timer(&mut self, _: TimerId) {
        let (bomb, host) = (Bomb(self.host.clone()), self.host.clone());
        let then = move |_: &mut Self, _: Result<crate::CallResult, crate::CallError>| {
            host.debug("never");
            drop(bomb);
        };
        self.host.call(crate::ConnId(1), "never", &[], then).expect("it is taken");
    }
}

#[test]
fn what_calls_hold_is_dropped_within_the_guard() {
    let entry = AppEntry::of::<Closing>();
    let mut instance = entry.create(Bare, "{}").expect("an instance");
    instance.tell(&What::Timer(1)).expect("told");
    assert_eq!(instance.destroy(), Err(Failure::Panic("as ordered".to_owned())));
    assert_eq!(*LAST.lock().expect("no panic"), Some(Err(NotTaken::Gone)), "nothing is kept any more");
}

#[test]
fn a_hook_may_return_what_respond_returned() {
    unsafe extern "C" fn create(_: *const HostTable, _: Str, _: *mut *mut c_void) -> i32 {
        abi::OK
    }
    unsafe extern "C" fn on_timer(_: *mut c_void, what: *const abi::TimerNotice) -> i32 {
        // SAFETY: the table is good for the call.
        unsafe { i32::try_from((*what).timer).map_or(abi::OK, |status| -status) }
    }

    // SAFETY: zeros are a table without hooks.
    let none: abi::AppTable = unsafe { std::mem::zeroed() };
    let name = Str::new("c");
    let size = size_of::<abi::AppTable>();
    let (create, destroy, on_timer) = (Some(create as _), Some(destroy as _), Some(on_timer as _));
    let entry = AppEntry::new(abi::AppTable { size, name, create, destroy, on_timer, ..none });
    let mut instance = entry.create(Bare, "{}").expect("a null instance is one");
    let mut returned = |status: i32| instance.tell(&What::Timer(u64::from(status.unsigned_abs())));
    assert_eq!(returned(abi::GONE), Ok(Outcome::Done));
    assert!(returned(abi::INVALID).is_err() && returned(abi::FULL).is_err());
}
