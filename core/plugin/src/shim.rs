//! From C calls to an [`App`]: the plugin's side of the border.

use std::any::Any;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::abi::{self, AppTable, HostTable, Str};
use crate::answer::Answer;
use crate::app::{App, Hooks};
use crate::calls::{CommandCall, RawResult};
use crate::conn::{
    Conn, ConnId, Ended, Message, Metadata, Play, PlayStart, Pong, Publish, PublishKind, RequestId,
    SharedObject, SourceId, Stream, TappedFrame, TimerId, text,
};
use crate::frames::Frame;
use crate::host::{Host, NotTaken};
use crate::settings;

/// Makes the table of an application. For `export_plugin!` and the fake host.
#[doc(hidden)]
pub struct Shim<T>(PhantomData<T>);

impl<T: App> Shim<T> {
    /// The table. A hook that the application does not have is null.
    pub const TABLE: AppTable = AppTable {
        size: size_of::<AppTable>(),
        name: Str::new(T::NAME),
        flags: if T::SELECTS { abi::APP_SELECTS } else { 0 },
        validate: Some(validate::<T>),
        create: Some(create::<T>),
        destroy: Some(destroy::<T>),
        on_accept: if has::<T>(Hooks::ACCEPT) { Some(on_accept::<T>) } else { None },
        on_connect: if has::<T>(Hooks::CONNECT) { Some(on_connect::<T>) } else { None },
        on_publish: if has::<T>(Hooks::PUBLISH) { Some(on_publish::<T>) } else { None },
        on_play: if has::<T>(Hooks::PLAY) { Some(on_play::<T>) } else { None },
        on_message: if has::<T>(Hooks::MESSAGE) { Some(on_message::<T>) } else { None },
        on_metadata: if has::<T>(Hooks::METADATA) { Some(on_metadata::<T>) } else { None },
        on_unpublish: if has::<T>(Hooks::UNPUBLISH) { Some(on_unpublish::<T>) } else { None },
        on_unplay: if has::<T>(Hooks::UNPLAY) { Some(on_unplay::<T>) } else { None },
        on_close: if has::<T>(Hooks::CLOSE) || has::<T>(Hooks::DATA) { Some(on_close::<T>) } else { None },
        on_cancel: if has::<T>(Hooks::CANCEL) { Some(on_cancel::<T>) } else { None },
        on_pong: if has::<T>(Hooks::PONG) { Some(on_pong::<T>) } else { None },
        on_frame: Some(on_frame::<T>),
        on_stream: if has::<T>(Hooks::STREAM) { Some(on_stream::<T>) } else { None },
        on_source: Some(on_source::<T>),
        on_timer: Some(on_timer::<T>),
        on_command: Some(on_command::<T>),
        on_result: Some(on_result::<T>),
        on_shared_object: if has::<T>(Hooks::SHARED_OBJECT) { Some(on_shared_object::<T>) } else { None },
    };
}

const fn has<T: App>(hook: Hooks) -> bool {
    T::HOOKS.contains(hook)
}

/// What the host's opaque instance pointer points to.
struct Instance<T> {
    app: T,
    host: Host,
}

unsafe extern "C" fn validate<T: App>(host: *const HostTable, settings: Str) -> i32 {
    // SAFETY: the host's table is valid for this call, and `host` does not leave it.
    let host = unsafe { Host::new(host) };
    guard(&host, || match settings::parse(text(&settings)).and_then(|settings| T::validate(&settings)) {
        Ok(()) => abi::OK,
        Err(reason) => {
            host.fail(&reason);
            abi::FAILED
        }
    })
}

unsafe extern "C" fn create<T: App>(host: *const HostTable, settings: Str, out: *mut *mut c_void) -> i32 {
    // SAFETY: the host's table is valid for ever.
    let host = unsafe { Host::new(host) };
    guard(&host, || {
        let made = settings::parse(text(&settings)).and_then(|settings| T::new(host.clone(), settings));
        match made {
            Ok(app) => {
                let instance = Box::into_raw(Box::new(Instance { app, host: host.clone() }));
                // SAFETY: the host passes a valid place for the instance.
                unsafe { *out = instance.cast() };
                abi::OK
            }
            Err(reason) => {
                host.fail(&reason);
                abi::FAILED
            }
        }
    })
}

unsafe extern "C" fn destroy<T: App>(instance: *mut c_void) -> i32 {
    // SAFETY: the pointer is from `create` and the host gives it back once.
    let Instance { app, host } = *unsafe { Box::from_raw(instance.cast::<Instance<T>>()) };
    let ended = guard(&host, || {
        drop(app);
        abi::OK
    });
    // What was to be done with results that do not come any more is the author's, too, and may keep the host itself.
    let forgotten = guard(&host, || {
        host.end_calls();
        abi::OK
    });
    if ended == abi::OK { forgotten } else { ended }
}

unsafe extern "C" fn on_accept<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::ConnectRequest,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            let request = RequestId(what.request);
            (request, app.on_accept(conn, request))
        })
    }
}

unsafe extern "C" fn on_connect<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::ConnectRequest,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            let request = RequestId(what.request);
            (request, app.on_connect(conn, request))
        })
    }
}

unsafe extern "C" fn on_publish<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::PublishRequest,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            let request = RequestId(what.request);
            let publish = Publish {
                request,
                stream_id: what.stream_id,
                name: text(&what.name),
                query: text(&what.query),
                kind: match what.kind {
                    abi::PUBLISH_RECORD => PublishKind::Record,
                    abi::PUBLISH_APPEND => PublishKind::Append,
                    _ => PublishKind::Live,
                },
            };
            (request, app.on_publish(conn, publish))
        })
    }
}

unsafe extern "C" fn on_play<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::PlayRequest,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            let request = RequestId(what.request);
            let play = Play {
                request,
                stream_id: what.stream_id,
                name: text(&what.name),
                query: text(&what.query),
                start: match what.start_ms {
                    abi::PLAY_LIVE => PlayStart::Live,
                    ms => u64::try_from(ms)
                        .map_or(PlayStart::Any, |ms| PlayStart::At(Duration::from_millis(ms))),
                },
                duration: u64::try_from(what.duration_ms).ok().map(Duration::from_millis),
                reset: what.reset != 0,
            };
            (request, app.on_play(conn, play))
        })
    }
}

unsafe extern "C" fn on_message<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::MessageRequest,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            let request = RequestId(what.request);
            let message = Message {
                request,
                stream_id: what.stream_id,
                name: text(&what.name),
                args_json: text(&what.args),
                wants_reply: what.wants_reply != 0,
            };
            (request, app.on_message(conn, message))
        })
    }
}

unsafe extern "C" fn on_shared_object<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::SharedObjectRequest,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            let request = RequestId(what.request);
            let object = SharedObject {
                request,
                name: text(&what.name),
                persistent: what.persistent != 0,
                wishes_json: text(&what.wishes),
            };
            (request, app.on_shared_object(conn, object))
        })
    }
}

unsafe extern "C" fn on_metadata<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::MetadataNotice,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            let values_json = text(&what.values);
            app.on_metadata(
                conn,
                Metadata { stream_id: what.stream_id, name: text(&what.name), values_json },
            );
        })
    }
}

unsafe extern "C" fn on_unpublish<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::StreamNotice,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            app.on_unpublish(conn, stream(what));
        })
    }
}

unsafe extern "C" fn on_unplay<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::StreamNotice,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            app.on_unplay(conn, stream(what));
        })
    }
}

unsafe extern "C" fn on_close<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::CloseNotice,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        let status = hook(instance, conn, what, |app: &mut T, conn, what| {
            if has::<T>(Hooks::CLOSE) {
                app.on_close(conn, text(&what.reason));
            }
        });
        let host = &(*instance.cast::<Instance<T>>()).host;
        let dropped = guard(host, || {
            Conn::drop_data(&*conn);
            abi::OK
        });
        if status == abi::OK { dropped } else { status }
    }
}

unsafe extern "C" fn on_cancel<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::CancelNotice,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| app.on_cancel(conn, RequestId(what.request)))
    }
}

unsafe extern "C" fn on_pong<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::PongNotice,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            app.on_pong(conn, Pong { rtt: Duration::from_millis(what.rtt_ms), received: what.received });
        })
    }
}

unsafe extern "C" fn on_frame<T: App>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const abi::FrameNotice,
) -> i32 {
    // SAFETY: the host keeps the contract of its hooks; the frame is lent for the call as well.
    unsafe {
        hook(instance, conn, what, |app: &mut T, conn, what| {
            let (stream_id, name, left_out) = (what.stream_id, text(&what.name), what.left_out);
            app.on_frame(conn, TappedFrame { stream_id, name, left_out, frame: Frame::new(&*what.frame) });
        })
    }
}

unsafe extern "C" fn on_stream<T: App>(instance: *mut c_void, what: *const abi::StreamStateNotice) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        app_hook(instance, what, |app: &mut T, _, what| {
            app.on_stream(ConnId(what.conn), text(&what.name), what.live != 0);
        })
    }
}

unsafe extern "C" fn on_source<T: App>(instance: *mut c_void, what: *const abi::SourceNotice) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        app_hook(instance, what, |app: &mut T, _, what| {
            match what.state {
                abi::SOURCE_LIVE => app.on_source(SourceId(what.source), Ok(())),
                abi::SOURCE_ENDED => app.on_source(SourceId(what.source), Err(text(&what.text))),
                // A later server may say more.
                _ => {}
            }
        })
    }
}

unsafe extern "C" fn on_timer<T: App>(instance: *mut c_void, what: *const abi::TimerNotice) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe { app_hook(instance, what, |app: &mut T, _, what| app.on_timer(TimerId(what.timer))) }
}

unsafe extern "C" fn on_command<T: App>(instance: *mut c_void, what: *const abi::CommandRequest) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        app_hook(instance, what, |app: &mut T, _, what| {
            let request = RequestId(what.request);
            let call = CommandCall { request, name: text(&what.name), params_json: text(&what.params) };
            (request, app.on_command(call))
        })
    }
}

unsafe extern "C" fn on_result<T: App>(instance: *mut c_void, what: *const abi::ResultNotice) -> i32 {
    // SAFETY: the host keeps the contract of its hooks.
    unsafe {
        app_hook(instance, what, |app: &mut T, host, what| {
            let Some(then) = host.take(what.ticket) else { return };
            let (value, body) = (text(&what.value), what.body.bytes());
            then(app, &RawResult { status: what.status, conn: what.conn, value, body });
        })
    }
}

fn stream(what: &abi::StreamNotice) -> Stream<'_> {
    let why = match what.why {
        abi::ENDED_BY_SOURCE => Ended::BySource,
        abi::ENDED_BY_PEER => Ended::ByPeer,
        _ => Ended::ByServer,
    };
    Stream { stream_id: what.stream_id, name: text(&what.name), why }
}

/// What the hooks have in common that are about no connection.
///
/// # Safety
/// As for [`hook`].
unsafe fn app_hook<T: App, W, A: Outcome>(
    instance: *mut c_void,
    what: *const W,
    body: impl FnOnce(&mut T, &Host, &W) -> A,
) -> i32 {
    // SAFETY: see above.
    let (instance, what) = unsafe { (&mut *instance.cast::<Instance<T>>(), &*what) };
    let Instance { app, host } = instance;
    guard(host, || body(app, host, what).deliver(host))
}

/// What all hooks of a connection have in common: references instead of pointers, the guard, and the answer on its way back.
///
/// # Safety
/// `instance` is from `create::<T>` and lent to this call alone; `conn` and `what` are valid tables of our minor
/// version or newer, whose texts stay unchanged for the call.
unsafe fn hook<T: App, W, A: Outcome>(
    instance: *mut c_void,
    conn: *const abi::ConnTable,
    what: *const W,
    body: impl FnOnce(&mut T, &Conn<'_>, &W) -> A,
) -> i32 {
    // SAFETY: see above.
    let (instance, conn, what) = unsafe { (&mut *instance.cast::<Instance<T>>(), &*conn, &*what) };
    let Instance { app, host } = instance;
    guard(host, || body(app, &Conn::new(conn, host), what).deliver(host))
}

/// What a hook's body leaves for the host.
trait Outcome {
    fn deliver(self, host: &Host) -> i32;
}

impl Outcome for () {
    fn deliver(self, _host: &Host) -> i32 {
        abi::OK
    }
}

impl<A: Into<Answer>> Outcome for (RequestId, A) {
    fn deliver(self, host: &Host) -> i32 {
        let (request, answer) = self;
        let answer = answer.into();
        if answer.lend(|_| ()).is_none() {
            return abi::LATER;
        }
        match host.respond(request, answer) {
            // Gone: a thread of the application was faster, or the host gave up waiting. Both are settled.
            Ok(()) | Err(NotTaken::Gone) => abi::OK,
            Err(_) => {
                host.fail("its answer does not fit the request");
                abi::FAILED
            }
        }
    }
}

/// Runs code of the application. A panic ends here, as a status.
fn guard(host: &Host, body: impl FnOnce() -> i32) -> i32 {
    guarded(|reason| host.fail(reason), body)
}

/// Runs code of the plugin. A panic ends here, as a status; `fail` is told its text.
pub(crate) fn guarded(fail: impl FnOnce(&str), body: impl FnOnce() -> i32) -> i32 {
    // The instance lives on after a panic; `App` tells authors what that asks of them.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        fail(panic_text(panic.as_ref()));
        if !panic.is::<&str>() && !panic.is::<String>() {
            // Any other type has a destructor that may panic as well. Forgetting it costs a few bytes.
            std::mem::forget(panic);
        }
        abi::PANICKED
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}
