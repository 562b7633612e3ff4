//! Layers that a library brings, on the host's side: each is a [`Layer`] like any other.

use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr;
use std::time::{Duration, Instant};

use crtmp_media::{
    Answer, Command, ConnectInfo, Cx, Error, Event, Frame, HttpHead, KeyKind, KeyRow, Layer, LayerRow,
    LayerSettings, Limits, MediaKind, OutQueue, Port, PublishKind, RequestId, StreamSlot, Value, Via,
};
use serde_json::{Map, Value as Json};

use super::Failure;
use super::filter::Out;
use crate::abi::{self, CxTable, EventTable, HeadTable, LayerTable, OrderTable, Str};
use crate::context::{copy_table, owned};
use crate::{frames, layers, values};

/// The most that one call of a key's range may say; a plugin gives no ranges.
const WHOLE: KeyKind = KeyKind::Whole(0, i64::MAX as u64);

/// The row of a layer, or what is wrong with it.
pub(super) fn row(table: &LayerTable) -> Result<LayerRow, String> {
    let table = *table;
    let port = |number| match number {
        abi::PORT_BYTES => Ok(Port::Bytes),
        abi::PORT_HTTP => Ok(Port::Http),
        abi::PORT_SERVER => Ok(Port::Server),
        other => Err(format!("{other} is no port")),
    };
    let (far, near) = (port(table.far)?, port(table.near)?);
    if far == Port::Server {
        return Err("its far port cannot be the server".to_owned());
    }
    let keys = keys(&owned(table.keys))?;
    let make = move |settings: &LayerSettings, now: Instant| {
        let layer = ForeignLayer::new(table, settings, keys, now).map_err(|failure| failure.to_string())?;
        Ok(Box::new(layer) as Box<dyn Layer>)
    };
    let name = owned(table.name).into();
    Ok(LayerRow { name, far, near, keys, sessions: None, prepare: None, begins: None, make: Box::new(make) })
}

/// Reads the keys of a layer. They live as long as the library: for ever.
fn keys(json: &str) -> Result<&'static [KeyRow], String> {
    if json.is_empty() {
        return Ok(&[]);
    }
    let keys: Map<String, Json> =
        serde_json::from_str(json).map_err(|error| format!("its keys are no object: {error}"))?;
    let key = |(name, kind): (String, Json)| {
        let kind = match kind.as_str() {
            Some("flag") => KeyKind::Flag,
            Some("text") => KeyKind::Text,
            Some("texts") => KeyKind::Texts,
            Some("whole") => WHOLE,
            _ => return Err(format!("its key `{name}` is of the unknown kind {kind}")),
        };
        Ok(KeyRow { name: name.leak(), kind })
    };
    let keys: Vec<KeyRow> = keys.into_iter().map(key).collect::<Result<_, _>>()?;
    Ok(keys.leak())
}

/// A layer of a plugin.
struct ForeignLayer {
    table: LayerTable,
    raw: *mut c_void,
    /// Our clock at the plugin's time 0.
    origin: Instant,
    /// The time of the call before: what the plugin is told never goes back.
    now: Instant,
    wake_at: Option<Instant>,
    limits: std::sync::Arc<Limits>,
    /// Requests of the layer without an answer.
    asked: Vec<(RequestId, Asked)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Connect,
    Publish,
    Message,
}

/// Requests of one layer without an answer; a layer that asks on regardless ends its connection.
const OPEN_REQUESTS: usize = 1024;

impl ForeignLayer {
    fn new(
        table: LayerTable,
        settings: &LayerSettings,
        keys: &[KeyRow],
        now: Instant,
    ) -> Result<Self, Failure> {
        let given = settings.keys.iter().filter(|(key, _)| keys.iter().any(|row| row.name == key));
        let given: Map<String, Json> =
            given.map(|(key, value)| (key.clone(), values::to_json(value))).collect();
        let given = Json::Object(given).to_string();
        let out = Out::new();
        let mut raw = ptr::null_mut();
        let create = table.create.expect("checked when the descriptor was read");
        // SAFETY: the table and the text are good for the call, `raw` is a place for the instance.
        let status = unsafe { create(Str::new(&given), out.table(), &raw mut raw) };
        Failure::of(status, out.reason.take())?;
        if raw.is_null() {
            return Err(Failure::Error("it made no instance".to_owned()));
        }
        let limits = settings.limits.clone();
        Ok(Self { table, raw, origin: now, now, wake_at: None, limits, asked: Vec::new() })
    }

    /// Calls the plugin with a context.
    fn call(
        &mut self,
        cx: &mut Cx<'_>,
        call: impl FnOnce(*mut c_void, *const CxTable) -> i32,
    ) -> Result<(), Error> {
        self.now = self.now.max(cx.now());
        let now_ms = self.now.saturating_duration_since(self.origin).as_millis();
        let table = CxTable {
            size: size_of::<CxTable>(),
            now_ms: u64::try_from(now_ms).unwrap_or(u64::MAX),
            is_paused,
            send,
            begin,
            end,
            deliver,
            deliver_head,
            deliver_end,
            open,
            emit,
            pause,
            resume,
            wake_in,
            close,
            fail,
            random,
        };
        let raw = self.raw;
        // A context is not `'static`; it is only used while this call lasts.
        let cx = ptr::from_mut(cx).cast::<c_void>();
        let context = Context {
            table,
            inner: RefCell::new(Inner { cx, layer: self, reason: String::new(), error: None }),
        };
        let status = call(raw, ptr::from_ref(&context).cast());
        let Inner { reason, error, .. } = context.inner.into_inner();
        if let Some(error) = error {
            return Err(error);
        }
        Failure::of(status, reason).map_err(|failure| Error::ours("plugin", failure))
    }

    /// Takes what the layer tells the server.
    fn emit(&mut self, event: &EventTable, cx: &mut Cx<'_>) -> Result<(), String> {
        let (request, slot) = (RequestId(event.request), StreamSlot(event.stream_id));
        let name = owned(event.name);
        match event.kind {
            abi::EVENT_CONNECT => {
                let members: Map<String, Json> =
                    serde_json::from_str(&owned(event.value)).unwrap_or_default();
                let text = |key: &str| members.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
                let info = ConnectInfo {
                    app: name,
                    tc_url: text("tcUrl"),
                    agent: text("agent"),
                    swf_url: text("swfUrl"),
                    page_url: text("pageUrl"),
                    members: members
                        .iter()
                        .map(|(key, value)| (key.clone(), values::from_json(value)))
                        .collect(),
                    ..ConnectInfo::default()
                };
                self.ask(request, Asked::Connect)?;
                cx.emit(Event::Connect { request, info: Box::new(info) });
            }
            abi::EVENT_MESSAGE => {
                let args: Vec<Json> = serde_json::from_str(&owned(event.value))
                    .map_err(|error| format!("the arguments of {name:?} are no list: {error}"))?;
                let request = (event.wants_reply != 0).then_some(request);
                if let Some(request) = request {
                    self.ask(request, Asked::Message)?;
                }
                let args: Vec<Value> = args.iter().map(values::from_json).collect();
                cx.emit(Event::Message { request, slot, command: name, args });
            }
            // It would mean all of them.
            abi::EVENT_PUBLISH if slot.0 == 0 => {
                return Err("0 is no message stream to publish on".to_owned());
            }
            abi::EVENT_PUBLISH => {
                self.ask(request, Asked::Publish)?;
                let via = Via::default();
                cx.emit(Event::Publish { request, slot, name, kind: PublishKind::Live, via });
            }
            abi::EVENT_FRAME => {
                if event.frame.is_null() {
                    return Err("a frame event without a frame".to_owned());
                }
                // SAFETY: the plugin lends a frame with its size.
                let (frame, body) = unsafe {
                    let frame = copy_table(event.frame);
                    (frame, frame.body.bytes())
                };
                let kind = frames::kind_of(frame.kind)
                    .ok_or_else(|| format!("{} is no kind of frame", frame.kind))?;
                if let Some(frame) = self.frame(kind, frame.dts_ms, body) {
                    cx.emit(Event::Frame { slot, frame });
                } else {
                    cx.emit(Event::Skipped(crtmp_media::Skipped::BadTag));
                }
            }
            abi::EVENT_UNPUBLISH => cx.emit(Event::Unpublish { slot }),
            other => return Err(format!("{other} is no event of this version")),
        }
        Ok(())
    }

    /// A frame as any peer sends it: its header says what it is.
    fn frame(&self, kind: MediaKind, dts: i64, body: &[u8]) -> Option<Frame> {
        crate::foreign::read_frame(kind, dts, body, &self.limits)
    }

    fn ask(&mut self, request: RequestId, asked: Asked) -> Result<(), String> {
        if self.asked.len() >= OPEN_REQUESTS {
            return Err(format!("more than {OPEN_REQUESTS} requests without an answer"));
        }
        self.asked.push((request, asked));
        Ok(())
    }

    fn take(&mut self, request: RequestId, asked: Asked) -> bool {
        let at = self.asked.iter().position(|open| *open == (request, asked));
        at.map(|at| self.asked.swap_remove(at)).is_some()
    }

    /// An order in the plugin's words; what it has none for is not passed on.
    fn order(
        &mut self,
        command: Command,
        take: impl FnOnce(&mut Self, &OrderTable) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (kind, request, slot, accepted, code, text) = match command.in_one_value() {
            Command::AnswerConnect { request, answer } if self.take(request, Asked::Connect) => {
                let (accepted, code, text) = answer_parts(answer);
                (abi::ORDER_ANSWER_CONNECT, request, None, accepted, code, text)
            }
            Command::AnswerPublish { request, answer } if self.take(request, Asked::Publish) => {
                let (accepted, code, text) = answer_parts(answer);
                (abi::ORDER_ANSWER_PUBLISH, request, None, accepted, code, text)
            }
            Command::AnswerMessage { request, result } if self.take(request, Asked::Message) => {
                match result {
                    Ok(value) => {
                        let text = values::to_json(&value).to_string();
                        (abi::ORDER_ANSWER_MESSAGE, request, None, abi::ACCEPTED_YES, String::new(), text)
                    }
                    Err((code, text)) => {
                        (abi::ORDER_ANSWER_MESSAGE, request, None, abi::ACCEPTED_NO, code, text)
                    }
                }
            }
            Command::StopPublish { slot, code, text } => {
                (abi::ORDER_STOP_PUBLISH, RequestId(0), Some(slot), abi::ACCEPTED_NO, code, text)
            }
            Command::Close { code, text } => {
                (abi::ORDER_CLOSE, RequestId(0), None, abi::ACCEPTED_NO, code, text)
            }
            _ => return Ok(()),
        };
        let order = OrderTable {
            size: size_of::<OrderTable>(),
            kind,
            request: request.0,
            stream_id: slot.map_or(0, |slot| slot.0),
            accepted,
            code: Str::new(&code),
            text: Str::new(&text),
        };
        take(self, &order)
    }
}

fn answer_parts(answer: Answer) -> (u32, String, String) {
    match answer {
        Answer::Accept => (abi::ACCEPTED_YES, String::new(), String::new()),
        Answer::Reject { code, text } => (abi::ACCEPTED_NO, code, text),
        Answer::Redirect { url } => (abi::ACCEPTED_ELSEWHERE, url, "the server is elsewhere".to_owned()),
    }
}

impl Layer for ForeignLayer {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        match self.table.on_open {
            // SAFETY: instance and context are good for the call, here and below.
            Some(hook) => self.call(cx, |raw, cx| unsafe { hook(raw, cx) }),
            None => cx.open(),
        }
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let hook = self.table.on_data.expect("checked when the descriptor was read");
        let mut taken = data.len();
        // SAFETY: see above; the bytes are lent for the call, `taken` is a place for a number.
        self.call(cx, |raw, cx| unsafe { hook(raw, cx, Str::of(data), &raw mut taken) })?;
        Ok(taken)
    }

    fn on_head(&mut self, head: &HttpHead, cx: &mut Cx<'_>) -> Result<(), Error> {
        let Some(hook) = self.table.on_head else { return Ok(()) };
        // SAFETY: see above; the head is lent for the call.
        self.call(cx, |raw, cx| layers::lend_head(head, |head| unsafe { hook(raw, cx, head) }))
    }

    fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let Some(hook) = self.table.on_end else { return Ok(()) };
        // SAFETY: see above.
        self.call(cx, |raw, cx| unsafe { hook(raw, cx) })
    }

    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        if let Some(ticket) = command.ticket() {
            let outcome = crtmp_media::CallOutcome::Refused;
            cx.emit(Event::CallResult { ticket, outcome, args: Vec::new() });
            return Ok(());
        }
        let Some(hook) = self.table.on_order else { return Ok(()) };
        self.order(command, |this, order| {
            // SAFETY: see above; the order is lent for the call.
            this.call(cx, |raw, cx| unsafe { hook(raw, cx, order) })
        })
    }

    /// Whoever has asked something and closed its side still gets the answer.
    fn owes(&self) -> bool {
        self.asked.iter().any(|(_, asked)| *asked != Asked::Publish)
    }

    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        let Some(hook) = self.table.on_send else {
            far.append(near);
            return Ok(());
        };
        // Whoever sends tells layers no time: this is that of the workers.
        #[allow(clippy::disallowed_methods, reason = "the host's side of layers has the host's clock")]
        let now = Instant::now();
        let mut alone = crtmp_media::Alone::default();
        while let Some(piece) = near.pop() {
            if piece.bytes().is_empty() {
                far.push(piece);
                continue;
            }
            let (mut nobody, mut random) = (Nobody, fill_random);
            {
                let mut cx = alone.cx(now.max(self.now), &mut random, &mut nobody, false);
                // SAFETY: see above; the bytes are lent for the call.
                self.call(&mut cx, |raw, cx| unsafe { hook(raw, cx, Str::of(piece.bytes())) })?;
            }
            if alone.poll_event().is_some() || alone.is_paused() || alone.take_closing().is_some() {
                return Err(Error::ours(
                    "plugin",
                    "a layer told the server, paused or closed while bytes were on their way out",
                ));
            }
            far.append(alone.out());
        }
        Ok(())
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.wake_at = None;
        let Some(hook) = self.table.on_timeout else { return Ok(()) };
        // SAFETY: see above.
        self.call(cx, |raw, cx| unsafe { hook(raw, cx) })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }
}

impl Drop for ForeignLayer {
    fn drop(&mut self) {
        let destroy = self.table.destroy.expect("checked when the descriptor was read");
        // SAFETY: the instance is alive, and nothing comes after `drop`. A panic in it was caught on the other side.
        let _ = unsafe { destroy(self.raw) };
    }
}

/// As the workers do it: where the system has none, which happens only before it has fully booted, bytes stay zero.
fn fill_random(bytes: &mut [u8]) {
    let _ = getrandom::fill(bytes);
}

/// Bytes that leave meet nobody nearer.
struct Nobody;

impl crtmp_media::Neighbour for Nobody {
    fn open(&mut self) -> Result<(), Error> {
        self.deliver(&[])
    }

    fn deliver(&mut self, _: &[u8]) -> Result<(), Error> {
        Err(Error::ours(
            "plugin",
            "a layer told its nearer neighbour something while bytes were on their way out",
        ))
    }

    fn deliver_head(&mut self, _: &HttpHead) -> Result<(), Error> {
        self.deliver(&[])
    }

    fn deliver_end(&mut self) -> Result<(), Error> {
        self.deliver(&[])
    }

    fn is_paused(&self) -> bool {
        false
    }
}

/// The table that a call is given, with what is behind it.
#[repr(C)]
struct Context<'a> {
    table: CxTable,
    inner: RefCell<Inner<'a>>,
}

struct Inner<'a> {
    /// The `Cx` of the call.
    cx: *mut c_void,
    layer: &'a mut ForeignLayer,
    reason: String,
    /// The error of a nearer layer, kept here while the plugin passes on its status.
    error: Option<Error>,
}

/// Runs what a plugin asks for in a call.
///
/// # Safety
/// `table` is the one that the call was given, and the call lasts.
unsafe fn with<R>(
    table: *const CxTable,
    busy: R,
    body: impl FnOnce(&mut ForeignLayer, &mut Cx<'_>, &mut Option<Error>) -> R,
) -> R {
    // SAFETY: the table is the first field of a context on the stack of the call.
    let context = unsafe { &*table.cast::<Context<'_>>() };
    // Delivering may not lead back here: nearer layers have contexts of their own.
    let Ok(mut inner) = context.inner.try_borrow_mut() else { return busy };
    let Inner { cx, layer, error, .. } = &mut *inner;
    // SAFETY: `call` made it from a `Cx` that lasts as long as the call, and nobody else uses it meanwhile.
    let cx = unsafe { &mut *cx.cast::<Cx<'_>>() };
    // A panic of a nearer layer must not unwind through the plugin.
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(layer, cx, error)));
    ran.unwrap_or_else(|_| {
        *error = Some(Error::ours("chain", "a nearer layer panicked"));
        busy
    })
}

/// Runs what may end the connection.
///
/// # Safety
/// As for [`with`].
unsafe fn attempt(
    table: *const CxTable,
    body: impl FnOnce(&mut ForeignLayer, &mut Cx<'_>) -> Result<(), Error>,
) -> i32 {
    // SAFETY: see above.
    unsafe {
        with(table, abi::FAILED, |layer, cx, error| match body(layer, cx) {
            Ok(()) => abi::OK,
            Err(fault) => {
                error.get_or_insert(fault);
                abi::FAILED
            }
        })
    }
}

unsafe extern "C" fn is_paused(cx: *const CxTable) -> u32 {
    // SAFETY: the plugin passes the table that it was given, while the call lasts; here and below.
    unsafe { with(cx, 0, |_, cx, _| cx.is_paused().into()) }
}

unsafe extern "C" fn send(cx: *const CxTable, data: Str) {
    // SAFETY: see above; the bytes are lent for the call.
    unsafe { with(cx, (), |_, cx, _| cx.out().write_with(|out| out.extend_from_slice(data.bytes()))) }
}

unsafe extern "C" fn begin(cx: *const CxTable, head: *const HeadTable) -> i32 {
    // SAFETY: see above; the head is lent for the call.
    unsafe {
        attempt(cx, |_, cx| {
            cx.out().begin(given(head)?);
            Ok(())
        })
    }
}

/// The head of an HTTP message that a plugin gives.
///
/// # Safety
/// `head` is null, or a head with its size that is lent for the call.
unsafe fn given(head: *const HeadTable) -> Result<HttpHead, Error> {
    if head.is_null() {
        return Err(Error::ours("plugin", "a layer gave no head of a message, but null"));
    }
    // SAFETY: see above.
    Ok(unsafe { layers::read_head(head) })
}

unsafe extern "C" fn end(cx: *const CxTable) {
    // SAFETY: see above.
    unsafe { with(cx, (), |_, cx, _| cx.out().end()) }
}

unsafe extern "C" fn deliver(cx: *const CxTable, data: Str) -> i32 {
    // SAFETY: see above; the bytes are lent for the call.
    unsafe { attempt(cx, |_, cx| cx.deliver(data.bytes())) }
}

unsafe extern "C" fn deliver_head(cx: *const CxTable, head: *const HeadTable) -> i32 {
    // SAFETY: see above; the head is lent for the call.
    unsafe { attempt(cx, |_, cx| cx.deliver_head(&given(head)?)) }
}

unsafe extern "C" fn deliver_end(cx: *const CxTable) -> i32 {
    // SAFETY: see above.
    unsafe { attempt(cx, |_, cx| cx.deliver_end()) }
}

unsafe extern "C" fn open(cx: *const CxTable) -> i32 {
    // SAFETY: see above.
    unsafe { attempt(cx, |_, cx| cx.open()) }
}

unsafe extern "C" fn emit(cx: *const CxTable, event: *const EventTable) -> i32 {
    // SAFETY: see above; the event is lent for the call.
    unsafe {
        attempt(cx, |layer, cx| {
            if event.is_null() {
                return Err(Error::ours("plugin", "a layer told the server null instead of an event"));
            }
            let event = copy_table(event);
            layer.emit(&event, cx).map_err(|text| Error::ours("plugin", text))
        })
    }
}

unsafe extern "C" fn pause(cx: *const CxTable) {
    // SAFETY: see above.
    unsafe { with(cx, (), |_, cx, _| cx.pause()) }
}

unsafe extern "C" fn resume(cx: *const CxTable) {
    // SAFETY: see above.
    unsafe { with(cx, (), |_, cx, _| cx.resume()) }
}

unsafe extern "C" fn wake_in(cx: *const CxTable, delay_ms: i64) {
    // SAFETY: see above.
    unsafe {
        with(cx, (), |layer, cx, _| {
            let delay = u64::try_from(delay_ms).ok().map(Duration::from_millis);
            layer.wake_at = delay.and_then(|delay| cx.now().max(layer.now).checked_add(delay));
        });
    }
}

unsafe extern "C" fn close(cx: *const CxTable, reason: Str) {
    // SAFETY: see above.
    unsafe { with(cx, (), |_, cx, _| cx.close(Error::peer("plugin", owned(reason)))) }
}

unsafe extern "C" fn fail(cx: *const CxTable, reason: Str) {
    // SAFETY: the table is the first field of a context on the stack of the call.
    let context = unsafe { &*cx.cast::<Context<'_>>() };
    if let Ok(mut inner) = context.inner.try_borrow_mut() {
        inner.reason = owned(reason);
    }
}

unsafe extern "C" fn random(cx: *const CxTable, into: *mut u8, len: usize) {
    if into.is_null() || isize::try_from(len).is_err() {
        return;
    }
    // SAFETY: see above; the plugin gives a place for so many bytes.
    unsafe {
        let bytes = std::slice::from_raw_parts_mut(into, len);
        with(cx, (), |_, cx, _| cx.random(bytes));
    }
}
