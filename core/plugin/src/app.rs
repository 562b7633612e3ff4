//! The trait that an application implements.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::{Reply, Verdict};
use crate::calls::CommandCall;
use crate::conn::{
    Conn, ConnId, Message, Metadata, Play, Pong, Publish, RequestId, SharedObject, SourceId, Stream,
    TappedFrame, TimerId,
};
use crate::host::Host;

/// An application.
///
/// One instance lives on one thread; hooks are called there, one at a time. A connection's hooks come in order and
/// [`on_close`](Self::on_close) is its last. Arguments are borrowed for the hook: keep a copy of what you need.
///
/// A hook may block, but not for ever: after `hookTimeout` the server refuses what waits for this application, and
/// goes on doing so until the hook returns. To wait for something, answer `Later` and keep the request's number.
///
/// A panic in a hook refuses the request that it was about; the instance lives on, so leave `self` in order. After
/// several panics within a minute the server disables the application.
pub trait App: Sized + 'static {
    /// The name that configurations use.
    const NAME: &'static str;

    /// The hooks that this application has. The server decides all others by itself, without asking: connect,
    /// publish and play are allowed, unknown commands refused. **A hook that is missing here is never called**, but for
    /// those that answer something that the application asked for: frames, sources, timers, commands.
    const HOOKS: Hooks;

    /// Whether the application takes no connection of its own. As the default application it has the server hand each
    /// connection to the application that its address names; with [`Hooks::CONNECT`] it chooses itself, by
    /// [`Verdict::hand_to`].
    const SELECTS: bool = false;

    /// The application's own block of the configuration; [`NoSettings`] if there is none. A key that is not a field
    /// is an error that names it; take them all with `#[serde(flatten)]` into a map where that is wanted. In
    /// structs within, say `#[serde(deny_unknown_fields)]`.
    type Settings: DeserializeOwned;

    /// Makes an instance. An error stops the server's start, with this text.
    fn new(host: Host, settings: Self::Settings) -> Result<Self, String>;

    /// Looks at settings without starting anything; `--check` calls this.
    fn validate(settings: &Self::Settings) -> Result<(), String> {
        let _ = settings;
        Ok(())
    }

    /// A connection has been accepted, and nothing of it has been read, but where a port serves several chains what says
    /// which of them it is (at `inboundRtmps` that lies within TLS): it has no more than addresses and a chain. Only the application whose acceptor it is is
    /// asked, and it can only accept or reject.
    fn on_accept(&mut self, conn: &Conn<'_>, request: RequestId) -> Verdict {
        let _ = (conn, request);
        Verdict::Accept
    }

    /// The far end asks to connect. `request` is for [`Host::respond`], after `Later`.
    fn on_connect(&mut self, conn: &Conn<'_>, request: RequestId) -> Verdict {
        let _ = (conn, request);
        Verdict::Accept
    }

    /// The far end asks to publish.
    fn on_publish(&mut self, conn: &Conn<'_>, request: Publish<'_>) -> Verdict {
        let _ = (conn, request);
        Verdict::Accept
    }

    /// The far end asks to play.
    fn on_play(&mut self, conn: &Conn<'_>, request: Play<'_>) -> Verdict {
        let _ = (conn, request);
        Verdict::Accept
    }

    /// The far end sent a command that the server does not know.
    fn on_message(&mut self, conn: &Conn<'_>, message: Message<'_>) -> Reply {
        let _ = (conn, message);
        Reply::Ignore
    }

    /// The far end wants something of a remote shared object: to use it, to change it, or to send something to all who use
    /// it. What is refused changes nothing, and the far end is told with the code of the refusal; its text goes to the
    /// server's log only. What it releases it releases in any case. How an application looks at objects and changes
    /// them itself: by [`Host::command`](crate::Host::command) with `getSharedObject` and `changeSharedObject`.
    fn on_shared_object(&mut self, conn: &Conn<'_>, request: SharedObject<'_>) -> Verdict {
        let _ = (conn, request);
        Verdict::Accept
    }

    /// A published stream described itself. If several arrive while the application is busy, the last one counts.
    fn on_metadata(&mut self, conn: &Conn<'_>, metadata: Metadata<'_>) {
        let _ = (conn, metadata);
    }

    /// A publication that was allowed has ended.
    fn on_unpublish(&mut self, conn: &Conn<'_>, stream: Stream<'_>) {
        let _ = (conn, stream);
    }

    /// A playback that was allowed has ended.
    fn on_unplay(&mut self, conn: &Conn<'_>, stream: Stream<'_>) {
        let _ = (conn, stream);
    }

    /// The connection is gone, and with it all that it asked for; `reason` says why, in words.
    fn on_close(&mut self, conn: &Conn<'_>, reason: &str) {
        let _ = (conn, reason);
    }

    /// Nobody waits for this answer any more: the peer has left, or `laterTimeout` is over.
    fn on_cancel(&mut self, conn: &Conn<'_>, request: RequestId) {
        let _ = (conn, request);
    }

    /// The far end has answered a ping. If several answers wait while the application is busy, the last one counts.
    fn on_pong(&mut self, conn: &Conn<'_>, pong: Pong) {
        let _ = (conn, pong);
    }

    /// A frame of a connection that [`Host::tap`] asked for.
    fn on_frame(&mut self, conn: &Conn<'_>, frame: TappedFrame<'_>) {
        let _ = (conn, frame);
    }

    /// A stream of the application has come (`live`), or has gone, whoever publishes it: a connection or a source.
    /// Where another publisher takes a stream over, the new one may come before the old one goes: compare `publisher`.
    fn on_stream(&mut self, publisher: ConnId, name: &str, live: bool) {
        let _ = (publisher, name, live);
    }

    /// A publication of [`Host::publish`] has begun (`Ok`), or was refused or has ended: then the text says why, and
    /// nothing more comes of it.
    fn on_source(&mut self, source: SourceId, state: Result<(), &str>) {
        let _ = (source, state);
    }

    /// A timer of [`Host::set_timer`] is due.
    fn on_timer(&mut self, timer: TimerId) {
        let _ = timer;
    }

    /// A command of [`Host::add_command`] has been called.
    fn on_command(&mut self, call: CommandCall<'_>) -> Reply {
        let _ = call;
        Reply::Ignore
    }
}

/// Settings of an application that has none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct NoSettings {}

/// A set of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks(u64);

impl Hooks {
    /// No hook at all: everything is allowed.
    pub const NONE: Self = Self(0);
    /// [`App::on_connect`].
    pub const CONNECT: Self = Self(1 << 0);
    /// [`App::on_publish`].
    pub const PUBLISH: Self = Self(1 << 1);
    /// [`App::on_play`].
    pub const PLAY: Self = Self(1 << 2);
    /// [`App::on_message`].
    pub const MESSAGE: Self = Self(1 << 3);
    /// [`App::on_metadata`].
    pub const METADATA: Self = Self(1 << 4);
    /// [`App::on_unpublish`].
    pub const UNPUBLISH: Self = Self(1 << 5);
    /// [`App::on_unplay`].
    pub const UNPLAY: Self = Self(1 << 6);
    /// [`App::on_close`].
    pub const CLOSE: Self = Self(1 << 7);
    /// [`App::on_cancel`].
    pub const CANCEL: Self = Self(1 << 8);
    /// [`App::on_accept`].
    pub const ACCEPT: Self = Self(1 << 9);
    /// [`App::on_pong`].
    pub const PONG: Self = Self(1 << 10);
    /// [`App::on_stream`].
    pub const STREAM: Self = Self(1 << 11);
    /// No hook of its own: the application uses [`Conn::data`], which the kit drops when a connection closes.
    pub const DATA: Self = Self(1 << 12);
    /// [`App::on_frame`]. Like those below it is called only after the application has asked for it, and need not be
    /// listed.
    pub const FRAME: Self = Self(1 << 13);
    /// [`App::on_source`].
    pub const SOURCE: Self = Self(1 << 14);
    /// [`App::on_timer`].
    pub const TIMER: Self = Self(1 << 15);
    /// [`App::on_command`].
    pub const COMMAND: Self = Self(1 << 16);
    /// What has become of a call.
    pub const RESULT: Self = Self(1 << 17);
    /// [`App::on_shared_object`].
    pub const SHARED_OBJECT: Self = Self(1 << 18);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
