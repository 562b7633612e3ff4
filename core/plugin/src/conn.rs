//! A connection and what it asks for, as a hook sees them.

use std::any::Any;
use std::cell::{RefCell, RefMut};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::abi;
use crate::frames::Frame;
use crate::host::Host;

/// Number of a connection, unique for the life of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a request, unique for the life of the server: a ticket to answer it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a publication of the application's own, from [`Host::publish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

/// Number of a timer, chosen by the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(pub u64);

/// What a connection's place for the application points to.
type Data = RefCell<Box<dyn Any + Send>>;

/// A connection, borrowed for the hook. It describes itself in every hook; state of your own is kept by
/// [`data`](Self::data).
pub struct Conn<'a> {
    table: &'a abi::ConnTable,
    host: &'a Host,
}

impl<'a> Conn<'a> {
    pub(crate) fn new(table: &'a abi::ConnTable, host: &'a Host) -> Self {
        Self { table, host }
    }

    /// Its number.
    pub fn id(&self) -> ConnId {
        ConnId(self.table.id)
    }

    /// Data of the application's own for this connection, made on first use and dropped after `on_close`. Needs
    /// [`Hooks::DATA`](crate::Hooks::DATA). An application that is disabled or left behind hears of no `on_close`: the
    /// data of its open connections is not dropped.
    ///
    /// # Panics
    ///
    /// Where another type was asked for before, or the data is borrowed already.
    pub fn data<T: Any + Default + Send>(&self) -> RefMut<'_, T> {
        if self.table.user.is_null() {
            panic!("this hook has no place for data");
        }
        // SAFETY: the place is good until `on_close` has returned, and hooks of a connection run one at a time.
        let place = unsafe { &mut *self.table.user };
        if place.is_null() {
            let data: Box<Data> = Box::new(RefCell::new(Box::new(T::default())));
            *place = Box::into_raw(data).cast();
        }
        // SAFETY: what is not null was put there above.
        let data = unsafe { &*place.cast::<Data>() };
        RefMut::map(data.borrow_mut(), |data| data.downcast_mut().expect("data of one type per connection"))
    }

    /// Drops the data. After `on_close`.
    pub(crate) fn drop_data(table: &abi::ConnTable) {
        if table.user.is_null() {
            return;
        }
        // SAFETY: as in `data`; nobody looks there any more.
        unsafe {
            let place = &mut *table.user;
            if !place.is_null() {
                drop(Box::from_raw(place.cast::<Data>()));
                *place = std::ptr::null_mut();
            }
        }
    }

    /// The application of the acceptor that took the connection.
    pub fn application(&self) -> &'a str {
        text(&self.table.application)
    }

    /// Name of the chain, such as `inboundRtmp`.
    pub fn chain(&self) -> &'a str {
        text(&self.table.chain)
    }

    /// Whether we have made it ([`Host::connect`]): the chains of such connections are called so.
    pub fn is_outbound(&self) -> bool {
        self.chain().starts_with("outbound")
    }

    /// Address of the far end.
    pub fn peer(&self) -> &'a str {
        text(&self.table.peer)
    }

    /// Our address.
    pub fn local(&self) -> &'a str {
        text(&self.table.local)
    }

    /// The raw `app` of the connect request; see [`AppPath`] for its parts.
    pub fn app(&self) -> &'a str {
        text(&self.table.app)
    }

    /// What `app` says behind the application's name: `room1` of `live/room1`.
    pub fn instance(&self) -> &'a str {
        text(&self.table.instance)
    }

    /// What `app` says behind a question mark.
    pub fn query(&self) -> &'a str {
        text(&self.table.query)
    }

    /// `tcUrl`: the address that the far end was told to use.
    pub fn tc_url(&self) -> &'a str {
        text(&self.table.tc_url)
    }

    /// `swfUrl`.
    pub fn swf_url(&self) -> &'a str {
        text(&self.table.swf_url)
    }

    /// `pageUrl`.
    pub fn page_url(&self) -> &'a str {
        text(&self.table.page_url)
    }

    /// What the far end calls itself: for RTMP `flashVer`.
    pub fn agent(&self) -> &'a str {
        text(&self.table.agent)
    }

    /// All other members of the connect request. Parsed on each call.
    pub fn extra(&self) -> Map<String, Value> {
        serde_json::from_str(text(&self.table.extra)).unwrap_or_default()
    }

    /// Asks the server to close this connection after the hook; code and text tell the far end why.
    pub fn close(&self, code: &str, text: &str) {
        // The connection lives at least as long as its hook, so this is never `Gone` in a way that matters.
        let _ = self.host.close(self.id(), code, text);
    }
}

impl fmt::Debug for Conn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({}, {}, {:?})", self.id(), self.peer(), self.app())
    }
}

/// A request to publish a stream.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// For [`Host::respond`], after `Verdict::Later`.
    pub request: RequestId,
    /// The connection's message stream.
    pub stream_id: u32,
    /// Stream name without its query.
    pub name: &'a str,
    /// What stood behind the question mark.
    pub query: &'a str,
    /// What to keep.
    pub kind: PublishKind,
}

/// What a publisher wants kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishKind {
    /// Nothing.
    Live,
    /// A new recording.
    Record,
    /// More of the recording.
    Append,
}

/// A request to play a stream.
#[derive(Clone, Copy, Debug)]
pub struct Play<'a> {
    /// For [`Host::respond`], after `Verdict::Later`.
    pub request: RequestId,
    /// The connection's message stream.
    pub stream_id: u32,
    /// Stream name without its query.
    pub name: &'a str,
    /// What stood behind the question mark.
    pub query: &'a str,
    /// Where to start.
    pub start: PlayStart,
    /// How long to play; `None`: to the end.
    pub duration: Option<Duration>,
    /// End what plays on this message stream (else: queue behind it).
    pub reset: bool,
}

/// Where a player wants to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayStart {
    /// The live stream if there is one, else a recording from its beginning.
    Any,
    /// The live stream and nothing else.
    Live,
    /// A recording, from here.
    At(Duration),
}

/// A command that the server does not know.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// For [`Host::respond`], after `Reply::Later`.
    pub request: RequestId,
    /// The connection's message stream.
    pub stream_id: u32,
    /// The command.
    pub name: &'a str,
    /// JSON text of the list of its arguments; see [`args`](Self::args).
    pub args_json: &'a str,
    /// Whether the far end waits for an answer. Answer anyway: the server drops what nobody wants.
    pub wants_reply: bool,
}

impl Message<'_> {
    /// The arguments. Parsed on each call.
    pub fn args(&self) -> Vec<Value> {
        serde_json::from_str(self.args_json).unwrap_or_default()
    }

    /// What the server at the far end of `conn` asks with it, which we have connected to: to connect again. It is an
    /// `onStatus` with the code `NetConnection.Connect.ReconnectRequest` (Enhanced RTMP v2, "Reconnect Request"). None: it
    /// is something else, or comes from a peer that has connected to us.
    pub fn reconnect_request(&self, conn: &Conn<'_>) -> Option<ReconnectRequest> {
        if self.name != "onStatus" || !conn.is_outbound() {
            return None;
        }
        let args = self.args();
        let info = args.get(1).filter(|info| info["code"] == "NetConnection.Connect.ReconnectRequest")?;
        let text = |key: &str| info[key].as_str().map(str::to_owned);
        Some(ReconnectRequest { description: text("description").unwrap_or_default(), url: text("tcUrl") })
    }
}

/// A server asks us to connect again. It serves this connection on until we leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconnectRequest {
    /// Why, in words.
    pub description: String,
    /// Where: an address, or one relative to where we have connected; none: there again.
    pub url: Option<String>,
}

/// What the far end wants of a remote shared object.
#[derive(Clone, Copy, Debug)]
pub struct SharedObject<'a> {
    /// For [`Host::respond`], after `Verdict::Later`.
    pub request: RequestId,
    /// Name of the object, with the instance.
    pub name: &'a str,
    /// Whether it means an object that outlives its clients.
    pub persistent: bool,
    /// JSON text of the list of what it wants; see [`wishes`](Self::wishes).
    pub wishes_json: &'a str,
}

/// One thing that the far end wants of a shared object.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "wish", rename_all = "camelCase")]
#[non_exhaustive]
pub enum SharedWish {
    /// To be told what it holds, and all that changes.
    Use,
    /// To be told nothing more.
    Release,
    /// To give a slot a value.
    Change {
        /// The slot.
        slot: String,
        /// Its value.
        value: Value,
    },
    /// To take a slot away.
    Remove {
        /// The slot.
        slot: String,
    },
    /// To send values to all who use it; by custom the name of a function comes first.
    Send {
        /// The values.
        values: Vec<Value>,
    },
}

impl SharedObject<'_> {
    /// What the far end wants, in order. Parsed on each call. A wish that this kit does not know is left out.
    pub fn wishes(&self) -> Vec<SharedWish> {
        let wishes: Vec<Value> = serde_json::from_str(self.wishes_json).unwrap_or_default();
        wishes.into_iter().filter_map(|wish| serde_json::from_value(wish).ok()).collect()
    }
}

/// A published stream described itself.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    /// The connection's message stream.
    pub stream_id: u32,
    /// Name of the published stream.
    pub name: &'a str,
    /// JSON text of an object.
    pub values_json: &'a str,
}

impl Metadata<'_> {
    /// The values. Parsed on each call.
    pub fn values(&self) -> Map<String, Value> {
        serde_json::from_str(self.values_json).unwrap_or_default()
    }
}

/// A stream of a connection that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// The connection's message stream.
    pub stream_id: u32,
    /// Its name.
    pub name: &'a str,
    /// Who ended it.
    pub why: Ended,
}

/// Who ended a publication or a playback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The far end wanted it, or left.
    ByPeer,
    /// The server: a command, a takeover, an application.
    ByServer,
    /// The stream that was played.
    BySource,
}

/// The answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Round trip time.
    pub rtt: Duration,
    /// Bytes received on the connection so far.
    pub received: u64,
}

/// A frame of a connection, as [`Host::tap`] brings it.
#[derive(Clone, Copy, Debug)]
pub struct TappedFrame<'a> {
    /// The connection's message stream.
    pub stream_id: u32,
    /// Name of the stream.
    pub name: &'a str,
    /// Frames that were left out before this one, because the application was slow.
    pub left_out: u64,
    /// The frame.
    pub frame: Frame<'a>,
}

/// The parts of a connect request's `app`: `live/room1?token=x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppPath<'a> {
    /// `live`: name or alias of an application.
    pub application: &'a str,
    /// `room1`: all other segments.
    pub instance: &'a str,
    /// `token=x`.
    pub query: &'a str,
}

impl<'a> AppPath<'a> {
    /// Splits a raw `app`. Slashes at both ends mean nothing.
    pub fn split(app: &'a str) -> Self {
        let (path, query) = app.split_once('?').unwrap_or((app, ""));
        let path = path.trim_matches('/');
        let (application, instance) = path.split_once('/').unwrap_or((path, ""));
        Self { application, instance: instance.trim_start_matches('/'), query }
    }
}

/// The text that the host lent, for as long as the table that says so is borrowed.
pub(crate) fn text(lent: &abi::Str) -> &str {
    // SAFETY: the host lends text for the call, and only the shim makes references to such tables: they end with
    // the call.
    let bytes = unsafe { lent.bytes() };
    std::str::from_utf8(bytes).expect("the host passes UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_three_parts() {
        let cases = [
            ("live", ("live", "", "")),
            ("live/", ("live", "", "")),
            ("/live", ("live", "", "")),
            ("live?a=b", ("live", "", "a=b")),
            ("live/?a=b/c", ("live", "", "a=b/c")),
            ("live/room1", ("live", "room1", "")),
            ("live/room1/x/?a", ("live", "room1/x", "a")),
            ("live//room1", ("live", "room1", "")),
            ("", ("", "", "")),
            ("/", ("", "", "")),
            ("?a", ("", "", "a")),
        ];
        for (raw, (application, instance, query)) in cases {
            assert_eq!(AppPath::split(raw), AppPath { application, instance, query }, "{raw:?}");
        }
    }
}
