//! The client's side of RTMP: to connect to a server, to pull streams of it, to push streams to it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::abi;
use crate::app::App;
use crate::calls::{CallError, RawResult};
use crate::conn::{ConnId, PlayStart, PublishKind};
use crate::host::{Host, NotTaken};

/// The schemes of addresses of RTMP servers that the server connects to: with [`Host::connect`], and by the commands
/// `pullStream` and `pushStream`.
pub const SCHEMES: [&str; 6] = ["rtmp", "rtmpe", "rtmps", "rtmpt", "rtmpte", "rtmpts"];

/// Bytes of a name at the far end, with its query string: what AMF0 calls a string.
const LONGEST_NAME: usize = 65_535;

/// A stream of the far end that becomes one of the application's; see [`Host::pull`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The name at the far end, with query string.
    pub name: String,
    /// The name here. [`Pull::new`] takes that of the far end, without its query string.
    pub local_name: String,
    /// Where to start.
    pub start: PlayStart,
    /// How long to play; none: to the end.
    pub duration: Option<Duration>,
}

impl Pull {
    /// The stream `name`, whatever there is of it, under the same name.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let local_name = path_of(&name);
        Self { name, local_name, start: PlayStart::Any, duration: None }
    }

    /// It is published here under another name.
    #[must_use]
    pub fn under(mut self, local_name: impl Into<String>) -> Self {
        self.local_name = local_name.into();
        self
    }

    pub(crate) fn json(&self) -> String {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let start_ms = match self.start {
            PlayStart::Any => abi::PLAY_ANY,
            PlayStart::Live => abi::PLAY_LIVE,
            PlayStart::At(time) => ms(time),
        };
        let wire = PullWire {
            name: self.name.clone(),
            local_name: Some(self.local_name.clone()),
            start_ms,
            duration_ms: self.duration.map_or(-1, ms),
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Reads what crosses the border; none: it is no pull.
    pub fn read(json: &str) -> Option<Self> {
        let PullWire { name, local_name, start_ms, duration_ms } = serde_json::from_str(json).ok()?;
        let start = match start_ms {
            abi::PLAY_ANY => PlayStart::Any,
            abi::PLAY_LIVE => PlayStart::Live,
            ms => PlayStart::At(Duration::from_millis(u64::try_from(ms).ok()?)),
        };
        let duration = u64::try_from(duration_ms).ok().map(Duration::from_millis);
        let (name, local_name) = names(name, local_name)?;
        Some(Self { name, local_name, start, duration })
    }
}

/// A stream of the application that is published at the far end; see [`Host::push`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The name here.
    pub local_name: String,
    /// The name at the far end, with query string.
    pub name: String,
    /// What the far end is to do with it.
    pub kind: PublishKind,
}

impl Push {
    /// The stream `name`, live, under the same name.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { local_name: path_of(&name), name, kind: PublishKind::Live }
    }

    /// It has another name here than at the far end.
    #[must_use]
    pub fn of(mut self, local_name: impl Into<String>) -> Self {
        self.local_name = local_name.into();
        self
    }

    pub(crate) fn json(&self) -> String {
        let kind = match self.kind {
            PublishKind::Live => KindWire::Live,
            PublishKind::Record => KindWire::Record,
            PublishKind::Append => KindWire::Append,
        };
        let wire = PushWire { name: self.name.clone(), local_name: Some(self.local_name.clone()), kind };
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Reads what crosses the border; none: it is no push.
    pub fn read(json: &str) -> Option<Self> {
        let PushWire { name, local_name, kind } = serde_json::from_str(json).ok()?;
        let kind = match kind {
            KindWire::Live => PublishKind::Live,
            KindWire::Record => PublishKind::Record,
            KindWire::Append => PublishKind::Append,
        };
        let (name, local_name) = names(name, local_name)?;
        Some(Self { local_name, name, kind })
    }
}

/// What the far end said when it accepted our connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// What it says of itself: `fmsVer`, `capabilities`.
    pub properties: Value,
    /// The status, with `code` and `description`.
    pub info: Value,
}

/// A stream that is pulled or pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Linked {
    /// The connection's message stream: for [`Host::unpublish`] (of a pull), [`Host::unplay`] (of a push) and hooks.
    pub stream_id: u32,
    /// What the far end said when it accepted; `null` where it said nothing.
    pub status: Value,
}

/// Why a connect, pull or push came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The far end refused, or our own side did: a name that is taken here, a stream that nobody publishes.
    Refused {
        /// The status code, for example `NetStream.Play.StreamNotFound`.
        code: String,
        /// Why, in words.
        text: String,
    },
    /// It was not to be had of the far end.
    Call(CallError),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, text } if text.is_empty() => f.write_str(code),
            Self::Refused { code, text } if code.is_empty() => f.write_str(text),
            Self::Refused { code, text } => write!(f, "{code}: {text}"),
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}

impl LinkError {
    /// What a status says.
    fn refused(status: &Value) -> Self {
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        let (code, text) = (text("code"), text("description"));
        if code.is_empty() && text.is_empty() {
            return Self::Refused { code, text: "the far end refused it and said nothing more".to_owned() };
        }
        Self::Refused { code, text }
    }
}

/// Connections whose client's side is ours have the chain `outboundRtmp`; [`Host::connect`] makes them. An edge: it
/// plays what it has, and fetches what it has not.
///
/// ```
/// use crtmp_plugin::{
///     App, CallError, Conn, ConnId, Hooks, Host, LinkError, Linked, NoSettings, NotTaken, Play, Pull, RequestId,
///     Verdict,
/// };
/// use serde_json::{Map, json};
///
/// struct Edge {
///     host: Host,
/// }
///
/// impl App for Edge {
///     const NAME: &'static str = "edge";
///     const HOOKS: Hooks = Hooks::PLAY;
///     type Settings = NoSettings;
///
///     fn new(host: Host, _: NoSettings) -> Result<Self, String> {
///         Ok(Self { host })
///     }
///
///     fn on_play(&mut self, _: &Conn<'_>, request: Play<'_>) -> Verdict {
///         let (player, name) = (request.request, request.name.to_owned());
///         let fetch = move |edge: &mut Self, made: Result<ConnId, CallError>| match made {
///             Ok(origin) => edge.fetch(origin, name, player),
///             Err(error) => edge.refuse(player, &error.to_string()),
///         };
///         match self.host.connect("origin.example:1935", "outboundRtmp", &Map::new(), fetch) {
///             Ok(()) => Verdict::Later,
///             Err(error) => Verdict::refuse(error.to_string()),
///         }
///     }
/// }
///
/// impl Edge {
///     fn fetch(&mut self, origin: ConnId, name: String, player: RequestId) {
///         let object = Map::from_iter([("app".to_owned(), json!("live"))]);
///         let _ = self.host.rtmp_connect(origin, &object, move |edge: &mut Self, connected| match connected {
///             Ok(_) => {
///                 let _ = edge.host.pull(origin, &Pull::new(name), move |edge: &mut Self, pulled| {
///                     edge.on_pulled(player, pulled)
///                 });
///             }
///             Err(error) => edge.refuse(player, &error.to_string()),
///         });
///     }
///
///     fn on_pulled(&mut self, player: RequestId, pulled: Result<Linked, LinkError>) {
///         match pulled {
///             // Nobody waits any more where the player has left meanwhile.
///             Ok(_) => drop(self.host.respond(player, Verdict::Accept)),
///             Err(error) => self.refuse(player, &error.to_string()),
///         }
///     }
///
///     fn refuse(&mut self, player: RequestId, text: &str) {
///         let _ = self.host.respond(player, Verdict::refuse(text));
///     }
/// }
///
/// # use crtmp_plugin::testing::{Called, FakeHost, conn};
/// let mut server = FakeHost::new::<Edge>("{}").unwrap();
/// assert_eq!(server.play(&conn(1, "live"), "news"), Verdict::Later);
/// server.answer_call(1, Ok(json!({ "connection": 7 })));
/// server.answer_call(2, Ok(json!([{}, { "code": "NetConnection.Connect.Success" }])));
/// server.answer_call(3, Err(json!({ "streamId": 1, "status": { "code": "NetStream.Play.StreamNotFound" } })));
/// let answer = server.answer_to(server.last_request()).unwrap();
/// assert_eq!(answer, Verdict::refuse("NetStream.Play.StreamNotFound").into());
/// ```
impl Host {
    /// Asks the server at the far end of a connection by RTMP, of whatever scheme, to be connected; first of all, and once.
    /// `object` is the command object: `app`, `tcUrl`, and what else that server wants to know. What servers expect
    /// and it does not have is added.
    pub fn rtmp_connect<A: App>(
        &self,
        conn: ConnId,
        object: &serde_json::Map<String, Value>,
        then: impl FnOnce(&mut A, Result<Connected, LinkError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let ticket = self.open(then, |result| result.connected())?;
        let object = Value::from(object.clone());
        self.sent(ticket, self.send_call(conn, "connect", &[object], ticket))
    }

    /// Pulls a stream of the far end. `then` hears when players have it here, which is when its first media have come,
    /// or why they will not; [`App::on_unpublish`] when it has ended. Our own application is not asked whether it may
    /// be published: it has just said so.
    pub fn pull<A: App>(
        &self,
        conn: ConnId,
        pull: &Pull,
        then: impl FnOnce(&mut A, Result<Linked, LinkError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let ticket = self.open(then, |result| result.linked())?;
        let json = pull.json();
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        let status = self
            .call_table(|table| unsafe { (table.pull)(self.table, conn.0, abi::Str::new(&json), ticket) });
        self.sent(ticket, status)
    }

    /// Pushes a stream to the far end. `then` hears when that has accepted it, or why it will not;
    /// [`App::on_unplay`] when it has ended.
    pub fn push<A: App>(
        &self,
        conn: ConnId,
        push: &Push,
        then: impl FnOnce(&mut A, Result<Linked, LinkError>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let ticket = self.open(then, |result| result.linked())?;
        let json = push.json();
        // SAFETY: the table is valid (`new`), the text is lent for the call.
        let status = self
            .call_table(|table| unsafe { (table.push)(self.table, conn.0, abi::Str::new(&json), ticket) });
        self.sent(ticket, status)
    }
}

impl RawResult<'_> {
    fn connected(&self) -> Result<Connected, LinkError> {
        let answer = self.call().map_err(LinkError::Call)?;
        let mut args = answer.args.into_iter();
        let (properties, info) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
        if answer.ok {
            return Ok(Connected { properties, info });
        }
        // Some servers say why in the place of the command object.
        Err(LinkError::refused(if info.is_object() { &info } else { &properties }))
    }

    fn linked(&self) -> Result<Linked, LinkError> {
        let mut value: Value = serde_json::from_str(self.value).unwrap_or_default();
        match self.status {
            abi::RESULT_OK => {
                let stream_id = value["streamId"].as_u64().and_then(|id| u32::try_from(id).ok());
                Ok(Linked { stream_id: stream_id.unwrap_or_default(), status: value["status"].take() })
            }
            abi::RESULT_ERROR if value.is_object() => Err(LinkError::refused(&value["status"])),
            _ => Err(LinkError::Call(self.settle().err().unwrap_or(CallError::Gone))),
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PullWire {
    name: String,
    local_name: Option<String>,
    #[serde(default = "any")]
    start_ms: i64,
    #[serde(default = "to_the_end")]
    duration_ms: i64,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PushWire {
    name: String,
    local_name: Option<String>,
    #[serde(rename = "type", default)]
    kind: KindWire,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum KindWire {
    #[default]
    Live,
    Record,
    Append,
}

const fn any() -> i64 {
    abi::PLAY_ANY
}

const fn to_the_end() -> i64 {
    -1
}

/// A name without its query string.
fn path_of(name: &str) -> String {
    name.split_once('?').map_or(name, |(path, _)| path).to_owned()
}

/// The name at the far end and the one here, if they can be such.
fn names(name: String, local: Option<String>) -> Option<(String, String)> {
    let local = local.unwrap_or_else(|| path_of(&name));
    let fits = |name: &str| !name.is_empty() && name.len() <= LONGEST_NAME;
    (fits(&name) && fits(&local)).then_some((name, local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_crosses_the_border() {
        let pull = Pull::new("news?key=1");
        assert_eq!(pull.local_name, "news");
        assert_eq!(Pull::read(&pull.json()), Some(pull));
        let start = PlayStart::At(Duration::from_millis(1500));
        let pull = Pull { start, duration: Some(Duration::from_secs(2)), ..Pull::new("a").under("b") };
        assert_eq!(Pull::read(&pull.json()), Some(pull));
        for kind in [PublishKind::Live, PublishKind::Record, PublishKind::Append] {
            let push = Push { kind, ..Push::new("there?key=1").of("here") };
            assert_eq!(Push::read(&push.json()), Some(push));
        }
    }

    #[test]
    fn what_is_left_out_is_usual() {
        assert_eq!(Pull::read(r#"{"name":"a?b"}"#), Some(Pull::new("a?b")));
        assert_eq!(Push::read(r#"{"name":"a?b"}"#), Some(Push::new("a?b")));
        let live = Pull { start: PlayStart::Live, ..Pull::new("a") };
        assert_eq!(Pull::read(r#"{"name":"a","startMs":-1}"#), Some(live));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let long = |length: usize| format!(r#"{{"name":"{}"}}"#, "x".repeat(length));
        for (length, fits) in [(0, false), (1, true), (LONGEST_NAME, true), (LONGEST_NAME + 1, false)] {
            assert_eq!(Pull::read(&long(length)).is_some(), fits, "{length}");
            assert_eq!(Push::read(&long(length)).is_some(), fits, "{length}");
        }
        for json in [
            "",
            "[]",
            "{}",
            r#"{"name":5}"#,
            r#"{"name":"?only=query"}"#,
            r#"{"name":"a","localName":""}"#,
            r#"{"name":"a","startMs":-3}"#,
            r#"{"name":"a","other":1}"#,
            r#"{"name":"a","type":"endless"}"#,
        ] {
            assert!(Pull::read(json).is_none() && Push::read(json).is_none(), "{json}");
        }
    }

    #[test]
    fn results_have_types() {
        let raw = |status, value| RawResult { status, conn: 0, value, body: b"" };
        let good = raw(abi::RESULT_OK, r#"{"streamId":7,"status":null}"#).linked();
        assert_eq!(good, Ok(Linked { stream_id: 7, status: Value::Null }));
        let refused = |code: &str, text: &str| LinkError::Refused { code: code.into(), text: text.into() };
        let value = r#"{"streamId":7,"status":{"code":"NetStream.Failed","description":"no"}}"#;
        assert_eq!(raw(abi::RESULT_ERROR, value).linked(), Err(refused("NetStream.Failed", "no")));
        let silent = raw(abi::RESULT_ERROR, r#"{"streamId":null,"status":null}"#).linked().unwrap_err();
        assert_eq!(silent.to_string(), "the far end refused it and said nothing more");
        let failed = CallError::Failed("too many".into());
        assert_eq!(raw(abi::RESULT_ERROR, r#""too many""#).linked(), Err(LinkError::Call(failed)));
        assert_eq!(raw(abi::RESULT_GONE, "null").linked(), Err(LinkError::Call(CallError::Gone)));
        assert_eq!(raw(abi::RESULT_TIMEOUT, "null").connected(), Err(LinkError::Call(CallError::Timeout)));
        let rejected = raw(abi::RESULT_ERROR, r#"[null,{"code":"NetConnection.Connect.Rejected"}]"#);
        let error = rejected.connected().unwrap_err();
        assert_eq!(error.to_string(), "NetConnection.Connect.Rejected");
        let accepted = raw(abi::RESULT_OK, r#"[{"fmsVer":"x"},{"code":"y"}]"#).connected().unwrap();
        assert_eq!((&accepted.properties["fmsVer"], &accepted.info["code"]), (&"x".into(), &"y".into()));
    }
}
