//! The command line interfaces: takes commands from sessions and has the server run them, as far as a session may.
//!
//! The chains `inboundTxtCli`, `inboundJsonCli`, `inboundAsciiCli` and `inboundHttp(s)JsonCli` read and write;
//! who may do what is decided here:
//!
//! | session | no secret is set | a secret is set, not shown | shown |
//! |---|---|---|---|
//! | from this machine | looks and changes | looks | everything |
//! | from elsewhere | refused | nothing but `auth` | everything |
//!
//! "Everything" includes what always needs the secret: `launchProcess`, `createService`, `shutdownServer` …

#![forbid(unsafe_code)]

mod guard;
mod places;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crtmp_plugin::{
    App, CallError, Command, CommandCall, Conn, ConnId, Hooks, Host, Message, ParamKind, Reply, RequestId,
    Rights, TimerId, Verdict, export_plugin,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::guard::{Guard, Shown};
use crate::places::Places;

/// How long a wrong secret waits for its answer.
const PENALTY: Duration = Duration::from_millis(500);

/// How often it is looked for sessions that have not shown the secret in time, by the timer of this number.
const LOOK: Duration = Duration::from_secs(1);

/// See [`LOOK`]; the numbers of other timers are higher.
const LOOKER: TimerId = TimerId(0);

/// The range of `authSeconds`.
const AUTH_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// What a session hears that has no place any more and is not closed yet.
const LOST: &str = "this session ends: the secret was not shown in time, or before others came";

/// How often wrong secrets are logged.
const LOGGED: Duration = Duration::from_secs(10);

/// The command that shows the secret, and its parameter.
const AUTH: &str = "auth";
const SECRET: &str = "secret";

/// Whether the command line interfaces of a session's chain are ours.
const CHAINS: [&str; 5] =
    ["inboundTxtCli", "inboundJsonCli", "inboundAsciiCli", "inboundHttpJsonCli", "inboundHttpsJsonCli"];

/// The settings of the application.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// What a session must show to do everything. None: sessions from this machine look and change, others are
    /// refused.
    secret: Option<String>,
    /// Sessions at once.
    max_sessions: usize,
    /// Wrong secrets of one address within `lockoutSeconds` before it is refused for as long.
    max_failures: usize,
    /// Seconds for which an address is refused.
    lockout_seconds: u64,
    /// Seconds for which a session that has not shown the secret may do nothing.
    auth_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { secret: None, max_sessions: 16, max_failures: 5, lockout_seconds: 60, auth_seconds: 10 }
    }
}

/// The application.
pub struct Admin {
    host: Host,
    guard: Guard,
    places: Places,
    /// Whether the timer for [`LOOKER`] is set.
    looks: bool,
    /// Answers to wrong secrets, by their timers.
    late: HashMap<u64, RequestId>,
    next_timer: u64,
    /// When a wrong secret was logged, and how many were not since.
    logged: Option<Duration>,
    left_out: usize,
}

/// What is known of a session.
#[derive(Default)]
struct Session {
    authenticated: bool,
}

impl App for Admin {
    const NAME: &'static str = "admin";
    const HOOKS: Hooks =
        Hooks::CONNECT.and(Hooks::MESSAGE).and(Hooks::CLOSE).and(Hooks::DATA).and(Hooks::COMMAND);
    type Settings = Settings;

    fn new(host: Host, settings: Settings) -> Result<Self, String> {
        let lockout = Duration::from_secs(settings.lockout_seconds);
        let guard = Guard::new(settings.secret.as_deref(), settings.max_failures, lockout)?;
        // For `help`: sessions of lines are answered before it comes to the server. Of several blocks with this
        // application the first one has it.
        let _ = host.add_command(
            &Command::new(
                AUTH,
                "Shows the secret, so that this session may do everything; sessions of lines only.",
            )
            .read_only()
            .required(
                SECRET,
                ParamKind::Text,
                "`secret` of the application, as the configuration has it",
            ),
        );
        let time = guard.has_secret().then(|| Duration::from_secs(settings.auth_seconds));
        Ok(Self {
            host,
            guard,
            places: Places::new(settings.max_sessions, time),
            looks: false,
            late: HashMap::new(),
            next_timer: 1,
            logged: None,
            left_out: 0,
        })
    }

    fn validate(settings: &Settings) -> Result<(), String> {
        if settings.secret.as_ref().is_some_and(|secret| secret.len() < guard::SHORTEST) {
            return Err(format!("`secret` needs at least {} bytes", guard::SHORTEST));
        }
        if settings.max_sessions == 0 {
            return Err("`maxSessions` must be at least 1".to_owned());
        }
        if settings.max_failures == 0 {
            return Err("`maxFailures` must be at least 1".to_owned());
        }
        if !AUTH_SECONDS.contains(&settings.auth_seconds) {
            let (least, most) = (AUTH_SECONDS.start(), AUTH_SECONDS.end());
            return Err(format!("`authSeconds` must be from {least} to {most}"));
        }
        Ok(())
    }

    fn on_connect(&mut self, conn: &Conn<'_>, _request: RequestId) -> Verdict {
        if !CHAINS.contains(&conn.chain()) {
            return Verdict::refuse("this application takes command lines, not streams");
        }
        if !is_local(conn) && !self.guard.has_secret() {
            return Verdict::refuse(
                "sessions from other machines need a secret, and none is set: see `secret` of the application",
            );
        }
        let source = address(conn.peer()).map_or(Ipv4Addr::UNSPECIFIED.into(), guard::source);
        match self.places.enter(conn.id().0, source, self.host.now()) {
            Ok(leaves) => leaves.into_iter().for_each(|leaves| self.end(leaves, "others have come")),
            Err(why) => return Verdict::refuse(why),
        }
        if self.places.anybody_waits() && !self.looks {
            self.looks = self.host.set_timer(LOOKER, LOOK, Some(LOOK)).is_ok();
        }
        Verdict::Accept
    }

    fn on_close(&mut self, conn: &Conn<'_>, _reason: &str) {
        self.places.leave(conn.id().0);
    }

    fn on_message(&mut self, conn: &Conn<'_>, message: Message<'_>) -> Reply {
        if !self.places.has(conn.id().0) {
            return auth_required(LOST);
        }
        let args = message.args();
        let object = |at: usize| -> Map<String, Value> {
            args.get(at)
                .and_then(Value::as_str)
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default()
        };
        let (params, http) = (object(0), object(1));
        if !http.is_empty() {
            return self.http(conn, &message, &params, &http);
        }
        // What is no text, or not alone, is a mistake that the table of commands tells.
        if let Some(shown) = shown_secret(message.name, &params) {
            return match self.show(conn, shown) {
                Ok(()) => {
                    conn.data::<Session>().authenticated = true;
                    answer(&json!({ "status": "SUCCESS", "description": "welcome", "data": null }))
                }
                Err(reply) => self.penalised(message.request, reply),
            };
        }
        let authenticated = conn.data::<Session>().authenticated;
        match self.rights(conn, authenticated) {
            Some(rights) => self.run(conn, &message, &params, (rights, self.lack(Lack::Line))),
            None => auth_required("this session must begin with `auth secret=…`"),
        }
    }

    fn on_command(&mut self, _call: CommandCall<'_>) -> Reply {
        Reply::error(
            "",
            "`auth` belongs to a session of lines; by HTTP each request shows the secret in its header",
        )
    }

    fn on_timer(&mut self, timer: TimerId) {
        if timer == LOOKER {
            for session in self.places.overdue(self.host.now()) {
                self.end(session, "the secret was not shown within authSeconds");
            }
            if !self.places.anybody_waits() {
                self.host.cancel_timer(LOOKER);
                self.looks = false;
            }
            return;
        }
        if let Some(request) = self.late.remove(&timer.0) {
            let _ = self.host.respond(request, auth_required("that is not the secret"));
        }
    }
}

impl Admin {
    /// A command by HTTP: each request shows the secret for itself, in its header and nowhere else.
    fn http(
        &mut self,
        conn: &Conn<'_>,
        message: &Message<'_>,
        params: &Map<String, Value>,
        http: &Map<String, Value>,
    ) -> Reply {
        let authorization = http.get("authorization").and_then(Value::as_str);
        let mut authenticated = false;
        if let Some(header) = authorization {
            let Some(shown) = bearer(header) else {
                return auth_required("the header must be `Authorization: Bearer <secret>`");
            };
            match self.show(conn, shown) {
                Ok(()) => authenticated = true,
                Err(reply) => return self.penalised(message.request, reply),
            }
        }
        let Some(rights) = self.rights(conn, authenticated) else {
            return auth_required("show the secret: `Authorization: Bearer <secret>`");
        };
        let is = |key: &str| http.get(key) == Some(&Value::Bool(true));
        // The proxy is on this machine; whoever it asks for need not be.
        let (rights, lack) = if !authenticated && is("proxied") && rights > Rights::Read {
            (Rights::Read, Lack::Proxied)
        } else {
            (rights, self.lack(Lack::Header))
        };
        if is("readOnly") && rights > Rights::Read {
            return self.run(conn, message, params, (Rights::Read, Lack::Post));
        }
        self.run(conn, message, params, (rights, lack))
    }

    /// What a session or request lacks that has not shown the secret in its way.
    fn lack(&self, secret: Lack) -> Lack {
        if self.guard.has_secret() { secret } else { Lack::Unset }
    }

    /// Ends a session that has lost its place.
    fn end(&self, session: u64, why: &str) {
        // Gone: it has left by itself.
        let _ = self.host.close(ConnId(session), "", why);
    }

    /// What a session may do; none: nothing.
    fn rights(&self, conn: &Conn<'_>, authenticated: bool) -> Option<Rights> {
        match (authenticated, is_local(conn), self.guard.has_secret()) {
            (true, ..) => Some(Rights::All),
            (false, true, false) => Some(Rights::Change),
            (false, true, true) => Some(Rights::Read),
            (false, false, _) => None,
        }
    }

    fn show(&mut self, conn: &Conn<'_>, shown: &str) -> Result<(), Option<Reply>> {
        match self.guard.show(address(conn.peer()), shown, self.host.now()) {
            Shown::Right if self.places.recognise(conn.id().0) => Ok(()),
            Shown::Right => Err(Some(auth_required(LOST))),
            Shown::Wrong => {
                self.log_wrong_secret(conn.peer());
                Err(None)
            }
            Shown::LockedOut => {
                Err(Some(Reply::error("Auth.Throttled", "too many wrong secrets; try again later")))
            }
            Shown::NoSecret => Err(Some(auth_required("no secret is set, so none can be shown"))),
        }
    }

    fn log_wrong_secret(&mut self, peer: &str) {
        let now = self.host.now();
        if self.logged.is_some_and(|logged| now.saturating_sub(logged) < LOGGED) {
            self.left_out += 1;
            return;
        }
        let others = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            count => format!(", after {count} that were not logged"),
        };
        self.logged = Some(now);
        self.host.warn(format_args!("a wrong secret from {peer}{others}"));
    }

    /// Lets a wrong secret wait for its answer.
    fn penalised(&mut self, request: RequestId, reply: Option<Reply>) -> Reply {
        if let Some(reply) = reply {
            return reply;
        }
        let timer = self.next_timer;
        self.next_timer += 1;
        match self.host.set_timer(TimerId(timer), PENALTY, None) {
            Ok(()) => {
                self.late.insert(timer, request);
                Reply::Later
            }
            Err(_) => Reply::error("Auth.Throttled", "too many wrong secrets; try again later"),
        }
    }

    /// Runs a command with these rights; where they do not do, the answer says what is lacking.
    fn run(
        &mut self,
        conn: &Conn<'_>,
        message: &Message<'_>,
        params: &Map<String, Value>,
        (rights, lack): (Rights, Lack),
    ) -> Reply {
        let (request, conn) = (message.request, conn.id());
        let quits = message.name.eq_ignore_ascii_case("quit");
        let done = move |admin: &mut Self, reply: Result<String, CallError>| {
            let quits = quits && reply.as_ref().is_ok_and(|text| is_success(text));
            let reply = match reply {
                Ok(text) if needs_more(&text, rights) => lack.reply(&description(&text)),
                Ok(text) => {
                    admin.places.heard(conn.0, admin.host.now());
                    Reply::Result(text.into())
                }
                Err(error) => Reply::error("Call.Failed", &error.to_string()),
            };
            // Gone: the session has left.
            let _ = admin.host.respond(request, reply);
            if quits {
                let _ = admin.host.close(conn, "", "");
            }
        };
        match self.host.command_json(message.name, params, rights, done) {
            Ok(()) => Reply::Later,
            Err(error) => Reply::error("Call.Failed", &error.to_string()),
        }
    }
}

/// The secret that a session of lines shows, if that is what it does.
fn shown_secret<'a>(command: &str, params: &'a Map<String, Value>) -> Option<&'a str> {
    let mut given = params.iter();
    let (key, value) = given.next().filter(|_| given.len() == 0)?;
    let is_auth = command.eq_ignore_ascii_case(AUTH) && key.eq_ignore_ascii_case(SECRET);
    value.as_str().filter(|_| is_auth)
}

/// What a caller would need to do more.
#[derive(Clone, Copy)]
enum Lack {
    /// To show the secret by a line.
    Line,
    /// To show the secret in a header.
    Header,
    /// A secret in the configuration.
    Unset,
    /// To show the secret, since a proxy asks, whatever address it has.
    Proxied,
    /// To ask by POST.
    Post,
}

impl Lack {
    fn reply(self, why: &str) -> Reply {
        let how = match self {
            Self::Line => "show the secret by `auth secret=…`",
            Self::Header => "show the secret: `Authorization: Bearer <secret>`",
            Self::Unset => "no secret is set: see `secret` of the application",
            Self::Proxied => "what a proxy passes on only looks, unless it shows the secret; set one",
            Self::Post => return Reply::error("Post.Needed", &format!("{why} by GET; use POST")),
        };
        auth_required(&format!("{why}: {how}"))
    }
}

/// Whether the session comes from this machine.
fn is_local(conn: &Conn<'_>) -> bool {
    address(conn.peer()).is_some_and(|peer| peer.is_loopback())
        && address(conn.local()).is_some_and(|local| local.is_loopback())
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<SocketAddr>().ok().map(|address| address.ip().to_canonical())
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, secret) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

/// Whether a reply says that the caller may not, and showing the secret would help.
fn needs_more(reply: &str, rights: Rights) -> bool {
    rights < Rights::All
        && serde_json::from_str::<Value>(reply).is_ok_and(|reply| reply["data"]["needsSecret"] == true)
}

fn is_success(reply: &str) -> bool {
    serde_json::from_str::<Value>(reply).is_ok_and(|reply| reply["status"] == "SUCCESS")
}

fn description(reply: &str) -> String {
    let reply: Value = serde_json::from_str(reply).unwrap_or_default();
    reply["description"].as_str().unwrap_or_default().to_owned()
}

fn answer(reply: &Value) -> Reply {
    Reply::Result(reply.to_string().into())
}

fn auth_required(text: &str) -> Reply {
    Reply::error("Auth.Required", text)
}

export_plugin!(name: "admin", apps: [Admin]);

#[cfg(test)]
mod tests;
