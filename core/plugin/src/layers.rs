//! Layers and chains that a plugin brings: the plugin's side.
//!
//! A layer is the same [`Layer`] as the server's own. It stands alone on this side of the border: what it sends,
//! delivers and emits is handed over through the functions of the context that each call brings.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crtmp_media::{Alone, Neighbour};
pub use crtmp_media::{
    Answer, Codec, Command as Order, ConnectInfo, Cx, Error, Event, Frame, HttpHead, HttpStart, KeyKind,
    KeyRow, Layer, MediaKind, OutQueue, Piece, Port, PublishKind, RequestId, Role, Slice, StreamSlot, Value,
    Via,
};
use serde_json::Map;

use crate::abi::{self, ChainTable, CxTable, EventTable, HeadTable, LayerTable, OrderTable, OutTable, Str};
use crate::context::owned;
use crate::shim::guarded;
use crate::{frames, values};

/// A layer that a plugin brings.
///
/// An endpoint that has something to ask says [`Event::Connect`] first, in `on_open` where its protocol has no connect
/// of its own, and pauses the chain until it is answered: the application that accepts owns the connection, and gets
/// its messages and streams. Until then a connection that was accepted is nobody's, and what it asks is refused; one
/// that an application has made is that application's.
pub trait PluginLayer: Layer + Sized + 'static {
    /// Its name; chains list it.
    const NAME: &'static str;
    /// What it expects of its farther neighbour; not the server.
    const FAR: Port;
    /// What it hands to its nearer neighbour; the server for an endpoint.
    const NEAR: Port;
    /// The keys of an acceptor that it takes: JSON text of an object, from names to `"flag"`, `"text"`, `"texts"` or
    /// `"whole"`.
    const KEYS: &'static str = "";
    /// Whether it changes bytes on their way out; without it [`Layer::on_send`] is not called, and they pass.
    const SENDS: bool = false;

    /// Makes the layer of a connection; the text of an error is logged, and the connection closed.
    fn new(keys: &Map<String, serde_json::Value>, now: Instant) -> Result<Self, String>;
}

/// A chain: its name, and the names of its layers behind the carrier, far to near, separated by spaces.
pub const fn chain(name: &'static str, layers: &'static str) -> ChainTable {
    ChainTable { size: size_of::<ChainTable>(), name: Str::new(name), layers: Str::new(layers) }
}

/// Makes the table of a layer. For `export_plugin!`.
#[doc(hidden)]
pub struct LayerShim<T>(PhantomData<T>);

impl<T: PluginLayer> LayerShim<T> {
    /// The table.
    pub const TABLE: LayerTable = LayerTable {
        size: size_of::<LayerTable>(),
        name: Str::new(T::NAME),
        far: port(T::FAR),
        near: port(T::NEAR),
        keys: Str::new(T::KEYS),
        create: Some(create::<T>),
        destroy: Some(destroy::<T>),
        on_open: Some(on_open::<T>),
        on_data: Some(on_data::<T>),
        on_head: Some(on_head::<T>),
        on_end: Some(on_end::<T>),
        on_order: Some(on_order::<T>),
        on_send: if T::SENDS { Some(on_send::<T>) } else { None },
        on_timeout: Some(on_timeout::<T>),
    };
}

const fn port(port: Port) -> u32 {
    match port {
        Port::Bytes => abi::PORT_BYTES,
        Port::Http => abi::PORT_HTTP,
        Port::Server => abi::PORT_SERVER,
    }
}

/// A layer and what it says; what the host's instance pointer points to.
struct Placed<T> {
    layer: T,
    alone: Alone,
    /// Our clock at the host's time 0.
    origin: Instant,
}

unsafe extern "C" fn create<T: PluginLayer>(
    keys: Str,
    out: *const OutTable,
    instance: *mut *mut c_void,
) -> i32 {
    // SAFETY: the table is good for the call, the text is lent for it.
    let fail = |reason: &str| unsafe { ((*out).fail)(out, Str::new(reason)) };
    guarded(fail, || {
        let keys = serde_json::from_str(&owned(keys)).unwrap_or_default();
        #[allow(
            clippy::disallowed_methods,
            reason = "each call brings the host's clock; here its start is set"
        )]
        let origin = Instant::now();
        match T::new(&keys, origin) {
            Ok(layer) => {
                let placed = Box::new(Placed { layer, alone: Alone::default(), origin });
                // SAFETY: the host passes a place for the instance.
                unsafe { *instance = Box::into_raw(placed).cast() };
                abi::OK
            }
            Err(reason) => {
                fail(&reason);
                abi::FAILED
            }
        }
    })
}

unsafe extern "C" fn destroy<T: PluginLayer>(instance: *mut c_void) -> i32 {
    guarded(
        |_| {},
        || {
            // SAFETY: the pointer is from `create` and the host gives it back once.
            drop(unsafe { Box::from_raw(instance.cast::<Placed<T>>()) });
            abi::OK
        },
    )
}

unsafe extern "C" fn on_open<T: PluginLayer>(instance: *mut c_void, cx: *const CxTable) -> i32 {
    // SAFETY: the host keeps the contract of `LayerTable`, here and below.
    unsafe { call::<T>(instance, cx, |layer, cx| layer.on_open(cx)) }
}

unsafe extern "C" fn on_data<T: PluginLayer>(
    instance: *mut c_void,
    cx: *const CxTable,
    data: Str,
    taken: *mut usize,
) -> i32 {
    // SAFETY: see above.
    unsafe {
        let data = data.bytes();
        call::<T>(instance, cx, |layer, cx| {
            let count = layer.on_data(data, cx)?;
            *taken = count;
            Ok(())
        })
    }
}

unsafe extern "C" fn on_head<T: PluginLayer>(
    instance: *mut c_void,
    cx: *const CxTable,
    head: *const HeadTable,
) -> i32 {
    // SAFETY: see above.
    unsafe {
        let head = read_head(head);
        call::<T>(instance, cx, |layer, cx| layer.on_head(&head, cx))
    }
}

unsafe extern "C" fn on_end<T: PluginLayer>(instance: *mut c_void, cx: *const CxTable) -> i32 {
    // SAFETY: see above.
    unsafe { call::<T>(instance, cx, |layer, cx| layer.on_end(cx)) }
}

unsafe extern "C" fn on_order<T: PluginLayer>(
    instance: *mut c_void,
    cx: *const CxTable,
    order: *const OrderTable,
) -> i32 {
    // SAFETY: see above.
    unsafe {
        let Some(order) = read_order(&*order) else { return abi::OK };
        call::<T>(instance, cx, |layer, cx| layer.on_command(order, cx))
    }
}

unsafe extern "C" fn on_send<T: PluginLayer>(instance: *mut c_void, cx: *const CxTable, data: Str) -> i32 {
    // SAFETY: see above.
    unsafe {
        let data = data.bytes();
        call::<T>(instance, cx, |layer, cx| {
            let mut near = OutQueue::default();
            near.write_with(|out| out.extend_from_slice(data));
            layer.on_send(&mut near, cx.out())
        })
    }
}

unsafe extern "C" fn on_timeout<T: PluginLayer>(instance: *mut c_void, cx: *const CxTable) -> i32 {
    // SAFETY: see above.
    unsafe { call::<T>(instance, cx, |layer, cx| layer.on_timeout(cx)) }
}

/// What all calls of a layer have in common: a context on this side, and what the layer says on its way to the other.
///
/// # Safety
/// `instance` is from `create::<T>` and lent to this call alone; `table` is a valid context for the call.
unsafe fn call<T: PluginLayer>(
    instance: *mut c_void,
    table: *const CxTable,
    body: impl FnOnce(&mut T, &mut Cx<'_>) -> Result<(), Error>,
) -> i32 {
    // SAFETY: see above.
    let (placed, far) = unsafe { (&mut *instance.cast::<Placed<T>>(), &*table) };
    let far = Far { table: far };
    guarded(
        |reason| far.fail(reason),
        || {
            let now = placed.origin + Duration::from_millis(far.table.now_ms);
            let paused = far.is_paused();
            let (mut near, mut random) = (far, |bytes: &mut [u8]| far.random(bytes));
            let result = {
                let mut cx = placed.alone.cx(now, &mut random, &mut near, paused);
                body(&mut placed.layer, &mut cx)
            };
            let passed = far.pass_on(&mut placed.alone);
            if let Some(at) = placed.layer.poll_timeout() {
                // Rounded up: who is woken too early has to be woken again.
                let ms = at.saturating_duration_since(now).as_nanos().div_ceil(1_000_000);
                far.wake_in(i64::try_from(ms).unwrap_or(i64::MAX));
            } else {
                far.wake_in(-1);
            }
            match result.and(passed) {
                Ok(()) => abi::OK,
                Err(error) => {
                    far.fail(&error.rule);
                    abi::FAILED
                }
            }
        },
    )
}

/// The host's side of a call.
#[derive(Clone, Copy)]
struct Far<'a> {
    table: &'a CxTable,
}

impl Far<'_> {
    fn is_paused(&self) -> bool {
        // SAFETY: the table is good for the call, here and below; texts are lent for it.
        unsafe { (self.table.is_paused)(self.table) != 0 }
    }

    fn fail(&self, reason: &str) {
        // SAFETY: see above.
        unsafe { (self.table.fail)(self.table, Str::new(reason)) }
    }

    fn random(&self, bytes: &mut [u8]) {
        // SAFETY: see above.
        unsafe { (self.table.random)(self.table, bytes.as_mut_ptr(), bytes.len()) }
    }

    fn wake_in(&self, ms: i64) {
        // SAFETY: see above.
        unsafe { (self.table.wake_in)(self.table, ms) }
    }

    /// Hands over what the layer has said.
    fn pass_on(&self, alone: &mut Alone) -> Result<(), Error> {
        // SAFETY: see above.
        unsafe {
            while let Some(piece) = alone.out().pop() {
                match &piece {
                    Piece::Begin(head) => {
                        lend_head(head, |head| (self.table.begin)(self.table, head));
                    }
                    Piece::End => (self.table.end)(self.table),
                    bytes => (self.table.send)(self.table, Str::of(bytes.bytes())),
                }
            }
            while let Some(event) = alone.poll_event() {
                // If it is not taken, the connection has ended with it, and what follows means nothing any more.
                passed(lend_event(event, |event| (self.table.emit)(self.table, event))?)?;
            }
            if alone.is_paused() != self.is_paused() {
                let change = if alone.is_paused() { self.table.pause } else { self.table.resume };
                change(self.table);
            }
            if let Some(reason) = alone.take_closing() {
                (self.table.close)(self.table, Str::new(&reason.rule));
            }
        }
        Ok(())
    }
}

/// The nearer neighbour, on the other side.
impl Neighbour for Far<'_> {
    fn open(&mut self) -> Result<(), Error> {
        // SAFETY: the table is good for the call.
        passed(unsafe { (self.table.open)(self.table) })
    }

    fn deliver(&mut self, data: &[u8]) -> Result<(), Error> {
        // SAFETY: the table is good for the call, the bytes are lent for it.
        passed(unsafe { (self.table.deliver)(self.table, Str::of(data)) })
    }

    fn deliver_head(&mut self, head: &HttpHead) -> Result<(), Error> {
        // SAFETY: the table is good for the call, the head is lent for it.
        passed(unsafe { lend_head(head, |head| (self.table.deliver_head)(self.table, head)) })
    }

    fn deliver_end(&mut self) -> Result<(), Error> {
        // SAFETY: the table is good for the call.
        passed(unsafe { (self.table.deliver_end)(self.table) })
    }

    fn is_paused(&self) -> bool {
        Far::is_paused(self)
    }
}

/// The error itself is kept by the host.
fn passed(status: i32) -> Result<(), Error> {
    if status == abi::OK {
        Ok(())
    } else {
        Err(Error::ours("plugin", "a nearer layer has ended the connection"))
    }
}

/// Lends the head of an HTTP message.
pub(crate) fn lend_head<R>(head: &HttpHead, take: impl FnOnce(&HeadTable) -> R) -> R {
    let headers: Vec<Str> =
        head.headers.iter().flat_map(|(name, value)| [Str::new(name), Str::new(value)]).collect();
    let (status, method, target) = match &head.start {
        HttpStart::Response { status } => ((*status).into(), "", ""),
        HttpStart::Request { method, target } => (0, method.as_str(), target.as_str()),
    };
    take(&HeadTable {
        size: size_of::<HeadTable>(),
        status,
        no_length: head.length.is_none().into(),
        length: head.length.unwrap_or_default(),
        method: Str::new(method),
        target: Str::new(target),
        headers: headers.as_ptr(),
        header_count: head.headers.len(),
    })
}

/// Copies the head of an HTTP message.
///
/// # Safety
/// `head` and what it points to are readable and begin with their size; null is nothing.
pub(crate) unsafe fn read_head(head: *const HeadTable) -> HttpHead {
    // SAFETY: see above.
    let head = unsafe { crate::context::copy_table(head) };
    let count = if head.headers.is_null() { 0 } else { head.header_count };
    let header = |index: usize| {
        // SAFETY: there are twice as many texts as headers.
        unsafe { (owned(*head.headers.add(2 * index)), owned(*head.headers.add(2 * index + 1))) }
    };
    let start = match u16::try_from(head.status) {
        Ok(0) | Err(_) => HttpStart::Request { method: owned(head.method), target: owned(head.target) },
        Ok(status) => HttpStart::Response { status },
    };
    let length = (head.no_length == 0).then_some(head.length);
    HttpHead { start, headers: (0..count).map(header).collect(), length }
}

/// Lends what an endpoint tells the server, and gives the server's status.
///
/// # Errors
///
/// What version 1.0 has no words for: a layer of a plugin publishes, it does not play.
fn lend_event(event: Event, take: impl FnOnce(&EventTable) -> i32) -> Result<i32, Error> {
    let nothing = EventTable {
        size: size_of::<EventTable>(),
        kind: 0,
        request: 0,
        stream_id: 0,
        wants_reply: 0,
        name: Str::EMPTY,
        value: Str::EMPTY,
        frame: std::ptr::null(),
    };
    Ok(match event {
        Event::Connect { request, info } => {
            let mut members = values::to_map(&info.members);
            for (key, value) in [
                ("tcUrl", &info.tc_url),
                ("agent", &info.agent),
                ("swfUrl", &info.swf_url),
                ("pageUrl", &info.page_url),
            ] {
                if !value.is_empty() {
                    members.insert(key.to_owned(), value.as_str().into());
                }
            }
            let value = serde_json::to_string(&members).unwrap_or_default();
            let (name, value) = (Str::new(&info.app), Str::new(&value));
            take(&EventTable { kind: abi::EVENT_CONNECT, request: request.0, name, value, ..nothing })
        }
        Event::Message { request, slot, command, args } => {
            let args: serde_json::Value = args.iter().map(values::to_json).collect();
            let args = args.to_string();
            take(&EventTable {
                kind: abi::EVENT_MESSAGE,
                request: request.map_or(0, |request| request.0),
                wants_reply: request.is_some().into(),
                stream_id: slot.0,
                name: Str::new(&command),
                value: Str::new(&args),
                ..nothing
            })
        }
        Event::Publish { request, slot, name, .. } => {
            let (request, stream_id) = (request.0, slot.0);
            take(&EventTable {
                kind: abi::EVENT_PUBLISH,
                request,
                stream_id,
                name: Str::new(&name),
                ..nothing
            })
        }
        Event::Frame { slot, frame } => {
            let frame = frames::lend(&frame);
            let frame = &raw const frame;
            take(&EventTable { kind: abi::EVENT_FRAME, stream_id: slot.0, frame, ..nothing })
        }
        Event::Unpublish { slot } => {
            take(&EventTable { kind: abi::EVENT_UNPUBLISH, stream_id: slot.0, ..nothing })
        }
        // It is counted where a layer of the server says it; nothing depends on it.
        Event::Reconnect { .. } | Event::Skipped(_) => abi::OK,
        Event::Play(_) => return Err(no_word_for("Play")),
        Event::Unplay { .. } => return Err(no_word_for("Unplay")),
        Event::Pause { .. } => return Err(no_word_for("Pause")),
        Event::Receive { .. } => return Err(no_word_for("Receive")),
        Event::Metadata { .. } => return Err(no_word_for("Metadata")),
        Event::Pong { .. } => return Err(no_word_for("Pong")),
        Event::CheckBandwidth { .. } => return Err(no_word_for("CheckBandwidth")),
        Event::BandwidthTested(_) => return Err(no_word_for("BandwidthTested")),
        Event::CallResult { .. } => return Err(no_word_for("CallResult")),
        Event::Became(_) => return Err(no_word_for("Became")),
        Event::Tunnel { .. } => return Err(no_word_for("Tunnel")),
        Event::Shared(_) => return Err(no_word_for("Shared")),
    })
}

fn no_word_for(event: &str) -> Error {
    Error::ours("plugin", format!("Event::{event} cannot be told by the layer of a plugin in ABI 1.0"))
}

/// Reads an order; what this version does not know is none.
fn read_order(order: &OrderTable) -> Option<Order> {
    let (request, slot) = (RequestId(order.request), StreamSlot(order.stream_id));
    let (code, text) = (owned(order.code), owned(order.text));
    let answer = |(code, text): (String, String)| match order.accepted {
        abi::ACCEPTED_YES => Answer::Accept,
        abi::ACCEPTED_ELSEWHERE => Answer::Redirect { url: code },
        _ => Answer::Reject { code, text },
    };
    Some(match order.kind {
        abi::ORDER_ANSWER_CONNECT => Order::AnswerConnect { request, answer: answer((code, text)) },
        abi::ORDER_ANSWER_PUBLISH => Order::AnswerPublish { request, answer: answer((code, text)) },
        abi::ORDER_ANSWER_MESSAGE if order.accepted == abi::ACCEPTED_YES => {
            let value = serde_json::from_str(&text).unwrap_or_default();
            Order::AnswerMessage { request, result: Ok(values::from_json(&value)) }
        }
        abi::ORDER_ANSWER_MESSAGE => Order::AnswerMessage { request, result: Err((code, text)) },
        abi::ORDER_STOP_PUBLISH => Order::StopPublish { slot, code, text },
        abi::ORDER_CLOSE => Order::Close { code, text },
        _ => return None,
    })
}
