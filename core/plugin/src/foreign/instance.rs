//! An application at work: its hooks, called from the host's side.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::{fmt, ptr};

use crtmp_media as media;

use super::{ConnInfo, Failure, Services};
use crate::abi::{self, AppTable, ConnTable, Str};
use crate::app::{App, Hooks};
use crate::calls::CommandCall;
use crate::conn::{
    Ended, Message, Metadata, Play, PlayStart, Pong, Publish, PublishKind, RequestId, SharedObject, Stream,
};
use crate::context::{Context, owned};
use crate::frames;
use crate::shim::Shim;

/// An application that a library brings: makes instances.
#[derive(Clone)]
pub struct AppEntry {
    name: String,
    table: AppTable,
}

impl AppEntry {
    pub(super) fn new(table: AppTable) -> Self {
        Self { name: owned(table.name), table }
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.name.is_empty() && self.table.create.is_some() && self.table.destroy.is_some()
    }

    /// The entry of an application that is linked in.
    pub fn of<T: App>() -> Self {
        Self::new(Shim::<T>::TABLE)
    }

    /// The name that configurations use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hooks that it has.
    pub fn hooks(&self) -> Hooks {
        let table = &self.table;
        [
            (table.on_connect.is_some(), Hooks::CONNECT),
            (table.on_publish.is_some(), Hooks::PUBLISH),
            (table.on_play.is_some(), Hooks::PLAY),
            (table.on_message.is_some(), Hooks::MESSAGE),
            (table.on_metadata.is_some(), Hooks::METADATA),
            (table.on_unpublish.is_some(), Hooks::UNPUBLISH),
            (table.on_unplay.is_some(), Hooks::UNPLAY),
            (table.on_close.is_some(), Hooks::CLOSE),
            (table.on_cancel.is_some(), Hooks::CANCEL),
            (table.on_accept.is_some(), Hooks::ACCEPT),
            (table.on_pong.is_some(), Hooks::PONG),
            (table.on_frame.is_some(), Hooks::FRAME),
            (table.on_stream.is_some(), Hooks::STREAM),
            (table.on_source.is_some(), Hooks::SOURCE),
            (table.on_timer.is_some(), Hooks::TIMER),
            (table.on_command.is_some(), Hooks::COMMAND),
            (table.on_result.is_some(), Hooks::RESULT),
            (table.on_shared_object.is_some(), Hooks::SHARED_OBJECT),
        ]
        .into_iter()
        .filter(|(present, _)| *present)
        .fold(Hooks::NONE, |hooks, (_, hook)| hooks.and(hook))
    }

    /// Whether it takes no connection of its own.
    pub fn selects(&self) -> bool {
        self.table.flags & abi::APP_SELECTS != 0
    }

    /// Asks the application to look at settings, without an instance.
    pub fn validate(&self, services: impl Services, settings: &str) -> Result<(), Failure> {
        let Some(validate) = self.table.validate else { return Ok(()) };
        let context = Context::new(services);
        // SAFETY: `validate` uses the table during the call only.
        let status = unsafe { validate(context.table(), Str::new(settings)) };
        context.check(status)
    }

    /// Makes an instance, on the thread that will call it.
    pub fn create(&self, services: impl Services, settings: &str) -> Result<Instance, Failure> {
        // Leaked: threads of the application may use it after the instance has ended, even after `create` failed.
        let context: &'static Context = Box::leak(Box::new(Context::new(services)));
        let mut raw = ptr::null_mut();
        let create = self.table.create.expect("checked when the descriptor was read");
        // SAFETY: the context is never freed; `raw` is a place for the instance.
        let status = unsafe { create(context.table(), Str::new(settings), &raw mut raw) };
        context.check(status)?;
        Ok(Instance { table: self.table, raw, context, thread: PhantomData })
    }
}

impl fmt::Debug for AppEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppEntry").field("name", &self.name).field("hooks", &self.hooks()).finish()
    }
}

/// How a hook ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; an answer, if it owed one, has gone to [`Services::respond`].
    Done,
    /// The answer comes later.
    Later,
}

/// An application at work. Its hooks are called from one thread; dropping it ends it.
pub struct Instance {
    table: AppTable,
    raw: *mut c_void,
    context: &'static Context,
    /// Not `Send`: made, called and ended on one thread.
    thread: PhantomData<*mut ()>,
}

/// Something for a hook that is about no connection.
#[derive(Clone, Debug)]
pub enum What<'a> {
    /// A stream has come (`live`) or gone.
    Stream {
        /// Who publishes it.
        publisher: u64,
        /// Its name.
        name: &'a str,
        /// Whether it has come.
        live: bool,
    },
    /// What has become of a source.
    Source {
        /// Which.
        source: u64,
        /// What.
        state: SourceState<'a>,
    },
    /// A timer is due.
    Timer(u64),
    /// A command of the application has been called.
    Command(CommandCall<'a>),
    /// What has become of a call.
    Result {
        /// The application's ticket.
        ticket: u64,
        /// One of the `RESULT_…` constants.
        status: u32,
        /// The connection that was made.
        conn: u64,
        /// JSON text.
        value: &'a str,
        /// The body of an HTTP answer.
        body: &'a [u8],
    },
}

/// What has become of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState<'a> {
    /// It is published.
    Live,
    /// It is not, or not any more; the text says why.
    Ended(&'a str),
}

impl Instance {
    /// Calls `on_accept`.
    pub fn accept(&mut self, conn: &ConnInfo, request: RequestId) -> Result<Outcome, Failure> {
        let what = abi::ConnectRequest { size: size_of::<abi::ConnectRequest>(), request: request.0 };
        self.conn_hook(self.table.on_accept, conn, &what)
    }

    /// Calls `on_connect`.
    pub fn connect(&mut self, conn: &ConnInfo, request: RequestId) -> Result<Outcome, Failure> {
        let what = abi::ConnectRequest { size: size_of::<abi::ConnectRequest>(), request: request.0 };
        self.conn_hook(self.table.on_connect, conn, &what)
    }

    /// Calls `on_publish`.
    pub fn publish(&mut self, conn: &ConnInfo, publish: &Publish<'_>) -> Result<Outcome, Failure> {
        let what = abi::PublishRequest {
            size: size_of::<abi::PublishRequest>(),
            request: publish.request.0,
            stream_id: publish.stream_id,
            kind: match publish.kind {
                PublishKind::Live => abi::PUBLISH_LIVE,
                PublishKind::Record => abi::PUBLISH_RECORD,
                PublishKind::Append => abi::PUBLISH_APPEND,
            },
            name: Str::new(publish.name),
            query: Str::new(publish.query),
        };
        self.conn_hook(self.table.on_publish, conn, &what)
    }

    /// Calls `on_play`.
    pub fn play(&mut self, conn: &ConnInfo, play: &Play<'_>) -> Result<Outcome, Failure> {
        let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let what = abi::PlayRequest {
            size: size_of::<abi::PlayRequest>(),
            request: play.request.0,
            stream_id: play.stream_id,
            reset: play.reset.into(),
            name: Str::new(play.name),
            query: Str::new(play.query),
            start_ms: match play.start {
                PlayStart::Any => abi::PLAY_ANY,
                PlayStart::Live => abi::PLAY_LIVE,
                PlayStart::At(time) => millis(time),
            },
            duration_ms: play.duration.map_or(-1, millis),
        };
        self.conn_hook(self.table.on_play, conn, &what)
    }

    /// Calls `on_message`.
    pub fn message(&mut self, conn: &ConnInfo, message: &Message<'_>) -> Result<Outcome, Failure> {
        let what = abi::MessageRequest {
            size: size_of::<abi::MessageRequest>(),
            request: message.request.0,
            stream_id: message.stream_id,
            wants_reply: message.wants_reply.into(),
            name: Str::new(message.name),
            args: Str::new(message.args_json),
        };
        self.conn_hook(self.table.on_message, conn, &what)
    }

    /// Calls `on_shared_object`.
    pub fn shared_object(&mut self, conn: &ConnInfo, object: &SharedObject<'_>) -> Result<Outcome, Failure> {
        let what = abi::SharedObjectRequest {
            size: size_of::<abi::SharedObjectRequest>(),
            request: object.request.0,
            persistent: object.persistent.into(),
            reserved: 0,
            name: Str::new(object.name),
            wishes: Str::new(object.wishes_json),
        };
        self.conn_hook(self.table.on_shared_object, conn, &what)
    }

    /// Calls `on_metadata`.
    pub fn metadata(&mut self, conn: &ConnInfo, metadata: &Metadata<'_>) -> Result<Outcome, Failure> {
        let what = abi::MetadataNotice {
            size: size_of::<abi::MetadataNotice>(),
            stream_id: metadata.stream_id,
            reserved: 0,
            name: Str::new(metadata.name),
            values: Str::new(metadata.values_json),
        };
        self.conn_hook(self.table.on_metadata, conn, &what)
    }

    /// Calls `on_unpublish`.
    pub fn unpublish(&mut self, conn: &ConnInfo, stream: &Stream<'_>) -> Result<Outcome, Failure> {
        self.conn_hook(self.table.on_unpublish, conn, &stream_notice(stream))
    }

    /// Calls `on_unplay`.
    pub fn unplay(&mut self, conn: &ConnInfo, stream: &Stream<'_>) -> Result<Outcome, Failure> {
        self.conn_hook(self.table.on_unplay, conn, &stream_notice(stream))
    }

    /// Calls `on_close`.
    pub fn close(&mut self, conn: &ConnInfo, reason: &str) -> Result<Outcome, Failure> {
        let size = size_of::<abi::CloseNotice>();
        self.conn_hook(self.table.on_close, conn, &abi::CloseNotice { size, reason: Str::new(reason) })
    }

    /// Calls `on_pong`.
    pub fn pong(&mut self, conn: &ConnInfo, pong: Pong) -> Result<Outcome, Failure> {
        let what = abi::PongNotice {
            size: size_of::<abi::PongNotice>(),
            rtt_ms: u64::try_from(pong.rtt.as_millis()).unwrap_or(u64::MAX),
            received: pong.received,
        };
        self.conn_hook(self.table.on_pong, conn, &what)
    }

    /// Calls `on_frame`.
    pub fn frame(
        &mut self,
        conn: &ConnInfo,
        stream_id: u32,
        name: &str,
        left_out: u64,
        frame: &Arc<media::Frame>,
    ) -> Result<Outcome, Failure> {
        let frame = frames::table(frame);
        let what = abi::FrameNotice {
            size: size_of::<abi::FrameNotice>(),
            stream_id,
            reserved: 0,
            left_out,
            name: Str::new(name),
            frame: &raw const frame,
        };
        self.conn_hook(self.table.on_frame, conn, &what)
    }

    /// Calls a hook that is about no connection.
    pub fn tell(&mut self, what: &What<'_>) -> Result<Outcome, Failure> {
        match *what {
            What::Stream { publisher, name, live } => {
                let size = size_of::<abi::StreamStateNotice>();
                let (live, name) = (live.into(), Str::new(name));
                let what = abi::StreamStateNotice { size, conn: publisher, live, reserved: 0, name };
                self.app_hook(self.table.on_stream, &what)
            }
            What::Source { source, state } => {
                let (state, text) = match state {
                    SourceState::Live => (abi::SOURCE_LIVE, ""),
                    SourceState::Ended(text) => (abi::SOURCE_ENDED, text),
                };
                let size = size_of::<abi::SourceNotice>();
                let what = abi::SourceNotice { size, source, state, reserved: 0, text: Str::new(text) };
                self.app_hook(self.table.on_source, &what)
            }
            What::Timer(timer) => {
                let what = abi::TimerNotice { size: size_of::<abi::TimerNotice>(), timer };
                self.app_hook(self.table.on_timer, &what)
            }
            What::Command(CommandCall { request, name, params_json }) => {
                let size = size_of::<abi::CommandRequest>();
                let (name, params) = (Str::new(name), Str::new(params_json));
                let what = abi::CommandRequest { size, request: request.0, name, params };
                self.app_hook(self.table.on_command, &what)
            }
            What::Result { ticket, status, conn, value, body } => {
                let size = size_of::<abi::ResultNotice>();
                let (value, body) = (Str::new(value), Str::of(body));
                let what = abi::ResultNotice { size, ticket, status, reserved: 0, conn, value, body };
                self.app_hook(self.table.on_result, &what)
            }
        }
    }

    /// Calls `on_cancel`.
    pub fn cancel(&mut self, conn: &ConnInfo, request: RequestId) -> Result<Outcome, Failure> {
        let what = abi::CancelNotice { size: size_of::<abi::CancelNotice>(), request: request.0 };
        self.conn_hook(self.table.on_cancel, conn, &what)
    }

    /// Ends the instance; a panic on the way is reported, and the instance is gone all the same.
    pub fn destroy(self) -> Result<(), Failure> {
        let instance = ManuallyDrop::new(self);
        // SAFETY: `self` is consumed: no hook follows, and `drop` does not run.
        unsafe { instance.end() }
    }

    /// Calls a hook of a connection; nothing happens where there is none.
    fn conn_hook<T>(
        &mut self,
        hook: Option<unsafe extern "C" fn(*mut c_void, *const ConnTable, *const T) -> i32>,
        conn: &ConnInfo,
        what: &T,
    ) -> Result<Outcome, Failure> {
        let Some(hook) = hook else { return Ok(Outcome::Done) };
        let extra =
            if conn.extra.is_empty() { "{}".to_owned() } else { serde_json::json!(conn.extra).to_string() };
        let conn = ConnTable {
            size: size_of::<ConnTable>(),
            id: conn.id,
            user: conn.user.as_ptr(),
            application: Str::new(&conn.application),
            chain: Str::new(&conn.chain),
            peer: Str::new(&conn.peer),
            local: Str::new(&conn.local),
            app: Str::new(&conn.app),
            instance: Str::new(&conn.instance),
            query: Str::new(&conn.query),
            tc_url: Str::new(&conn.tc_url),
            swf_url: Str::new(&conn.swf_url),
            page_url: Str::new(&conn.page_url),
            agent: Str::new(&conn.agent),
            extra: Str::new(&extra),
        };
        // SAFETY: `raw` is alive and `&mut self` lends it to this call alone; both tables live in this frame.
        self.outcome(unsafe { hook(self.raw, &raw const conn, what) })
    }

    /// Calls a hook that is about no connection.
    fn app_hook<T>(
        &mut self,
        hook: Option<unsafe extern "C" fn(*mut c_void, *const T) -> i32>,
        what: &T,
    ) -> Result<Outcome, Failure> {
        let Some(hook) = hook else { return Ok(Outcome::Done) };
        // SAFETY: `raw` is alive and `&mut self` lends it to this call alone; the table lives in this frame.
        self.outcome(unsafe { hook(self.raw, what) })
    }

    fn outcome(&self, status: i32) -> Result<Outcome, Failure> {
        match status {
            abi::LATER => Ok(Outcome::Later),
            // What `respond` said, passed on: somebody was faster, or nobody waits any more. That is no fault.
            abi::GONE => self.context.check(abi::OK).map(|()| Outcome::Done),
            status => self.context.check(status).map(|()| Outcome::Done),
        }
    }

    /// # Safety
    /// Once, and nothing after it.
    unsafe fn end(&self) -> Result<(), Failure> {
        let destroy = self.table.destroy.expect("checked when the descriptor was read");
        // SAFETY: the caller's promise.
        let status = unsafe { destroy(self.raw) };
        self.context.check(status)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: nothing comes after `drop`; `destroy` has not run, for it forgets the instance.
        let _ = unsafe { self.end() };
    }
}

fn stream_notice(stream: &Stream<'_>) -> abi::StreamNotice {
    let why = match stream.why {
        Ended::ByPeer => abi::ENDED_BY_PEER,
        Ended::ByServer => abi::ENDED_BY_SERVER,
        Ended::BySource => abi::ENDED_BY_SOURCE,
    };
    let size = size_of::<abi::StreamNotice>();
    abi::StreamNotice { size, stream_id: stream.stream_id, why, name: Str::new(stream.name) }
}
