//! The face behind HTTP: `POST /<command>` with parameters as JSON, and the GET requests of EvoStream.
//!
//! | Request | What it is |
//! |---|---|
//! | `POST /<command>` | the command; `content-type: application/json`, the body empty or an object of parameters |
//! | `GET /<command>?params=<base64 of "key=value …">` | the same, read-only unless `allowGetCommands` |
//! | `GET /metrics` | the command `metrics`, whose data is one text in the form of OpenMetrics |
//!
//! Nothing else runs a command. There are no headers that allow other origins anything, and [`Hosts::check`]
//! comes before everything else.

use std::{sync::Arc, time::Instant};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use crtmp_media::{
    Command, Cx, Error, HttpHead, HttpStart, KeyKind, KeyRow, Layer, LayerSettings, Limits, Value,
};
use serde_json::json;

use crate::{
    command,
    json::{Bounds, Json},
    origin::{Hosts, all},
    reply::{self, AUTH_REQUIRED, AUTH_THROTTLED, POST_NEEDED, Reply},
    session::{Phase, connect, refusal, refuse_call, run},
};

#[cfg(test)]
mod tests;

const NAME: &str = "httpjsoncli";
const AGENT: &str = "httpJsonCli";

/// The keys that an acceptor may have for it.
pub const KEYS: &[KeyRow] =
    &[KeyRow { name: ALLOW_GET, kind: KeyKind::Flag }, KeyRow { name: HOSTS, kind: KeyKind::Texts }];

const ALLOW_GET: &str = "allowGetCommands";
const HOSTS: &str = "hosts";

/// Lists and objects within each other, in the parameters of a request.
pub const BODY_DEPTH: usize = 32;
/// Values in the parameters of a request.
pub const BODY_VALUES: usize = 4096;

/// The methods that a command may be run by.
const METHODS: &str = "GET, POST";
/// The one by which any command may be run.
const POST: &str = "POST";

/// Headers by which proxies tell whom they ask for.
const PROXIES: [&str; 3] = ["forwarded", "x-forwarded-for", "via"];

const METRICS: &str = "metrics";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Both alphabets are read as this one; padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The layer of a connection. HTTP looks after its times.
///
/// # Errors
///
/// If `hosts` holds what is no name of a host.
pub fn layer(settings: &LayerSettings, _now: Instant) -> Result<Box<dyn Layer>, String> {
    Ok(Box::new(HttpJsonCli::new(settings)?))
}

/// The endpoint of a connection that speaks HTTP.
pub struct HttpJsonCli {
    limits: Arc<Limits>,
    allow_get: bool,
    hosts: Hosts,
    phase: Phase,
    last_request: u32,
    /// Why the peer may not connect; it is told when it asks for something.
    refused: Option<String>,
    /// The request that comes in, or the one that waits for its answer.
    request: Option<Result<Request, Refusal>>,
}

/// A request that runs a command.
#[derive(Debug)]
struct Request {
    command: String,
    method: &'static str,
    /// Whether a proxy says that it passes the request on for somebody else.
    proxied: bool,
    authorization: Option<String>,
    /// The JSON text of the parameters: complete for GET, what has come of it for POST.
    parameters: Vec<u8>,
}

/// A request that runs nothing.
#[derive(Debug)]
struct Refusal {
    status: u16,
    why: String,
}

impl HttpJsonCli {
    /// The endpoint of a new connection.
    ///
    /// # Errors
    ///
    /// If `hosts` holds what is no name of a host.
    pub fn new(settings: &LayerSettings) -> Result<Self, String> {
        let names: &[Value] = match settings.key(HOSTS) {
            Some(Value::StrictArray(names)) => names,
            _ => &[],
        };
        let hosts = Hosts::new(names.iter().filter_map(Value::as_str))
            .map_err(|error| format!("`{HOSTS}`: {error}"))?;
        Ok(Self {
            limits: settings.limits.clone(),
            allow_get: settings.flag(ALLOW_GET),
            hosts,
            phase: Phase::Connecting(None),
            last_request: 0,
            refused: None,
            request: None,
        })
    }

    /// What to do with a request, by its head.
    fn judge(&self, head: &HttpHead) -> Result<Request, Refusal> {
        self.hosts.check(head).map_err(|why| Refusal::new(403, why))?;
        if let Some(why) = &self.refused {
            return Err(Refusal::new(403, why.as_str()));
        }
        let HttpStart::Request { method, target } = &head.start else {
            return Err(Refusal::new(400, "this is no request"));
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Some(command) = path.strip_prefix('/').filter(|name| command::is_command(name)) else {
            return Err(Refusal::new(404, "the path is no name of a command: write /<command>"));
        };
        let mut authorizations = all(head, "authorization").map(str::to_owned);
        let authorization = authorizations.next();
        if authorizations.next().is_some() {
            return Err(Refusal::new(400, "Authorization stands twice"));
        }
        let (method, parameters) = match method.as_str() {
            "GET" => ("GET", self.query(query)?.into_bytes()),
            POST => {
                check_type(head)?;
                (POST, Vec::new())
            }
            _ => return Err(Refusal::new(405, "a command is run by POST or GET")),
        };
        let proxied = PROXIES.iter().any(|name| all(head, name).next().is_some());
        Ok(Request { command: command.to_owned(), method, proxied, authorization, parameters })
    }

    /// The JSON text of the parameters in a query. Whatever else stands there, secrets included, is ignored.
    fn query(&self, query: &str) -> Result<String, Refusal> {
        let mut given = query.split('&').filter_map(|pair| pair.strip_prefix("params="));
        let Some(encoded) = given.next() else { return Ok("{}".to_owned()) };
        if given.next().is_some() {
            return Err(Refusal::new(400, "params stands twice"));
        }
        let bytes = percent_decoded(encoded)
            .and_then(|base64| BASE64.decode(base64).ok())
            .ok_or_else(|| Refusal::new(400, "params is no base64"))?;
        if bytes.len() > self.limits.cli_line {
            let why = format!("params is longer than cliLine = {} bytes", self.limits.cli_line);
            return Err(Refusal::new(400, why));
        }
        let parameters =
            command::parameters(&bytes).map_err(|mistake| Refusal::new(400, format!("params, {mistake}")))?;
        Ok(command::to_json(&parameters))
    }

    /// Runs the command of a request that has come as a whole.
    fn run(&mut self, request: Request, cx: &mut Cx<'_>) -> Result<(), Refusal> {
        let parameters = match request.method {
            POST => checked(&request.parameters)?,
            _ => String::from_utf8(request.parameters.clone()).unwrap_or_default(),
        };
        let mut about = json!({
            "method": request.method,
            "readOnly": request.method == "GET" && !self.allow_get,
        });
        if request.proxied {
            about["proxied"] = true.into();
        }
        if let Some(authorization) = &request.authorization {
            about["authorization"] = authorization.as_str().into();
        }
        let args = vec![parameters.into(), about.to_string().into()];
        self.phase = Phase::Running(run(&mut self.last_request, request.command.clone(), args, cx));
        self.request = Some(Ok(request));
        Ok(())
    }

    fn on_answer(&mut self, result: Result<Value, (String, String)>, cx: &mut Cx<'_>) {
        let metrics = matches!(
            self.request.take(),
            Some(Ok(Request { method: "GET", ref command, .. })) if command == METRICS
        );
        let status = match &result {
            Err((code, _)) if code == AUTH_REQUIRED => 401,
            Err((code, _)) if code == AUTH_THROTTLED => 429,
            Err((code, _)) if code == POST_NEEDED => 405,
            _ => 200,
        };
        let answer = reply::answer(result);
        let text = if metrics { metrics_text(&answer) } else { None };
        match text {
            Some(text) => respond(status, OPEN_METRICS, text, POST, cx),
            None => respond(status, JSON, answer, POST, cx),
        }
        self.phase = Phase::Ready;
        cx.resume();
    }

    fn refuse(&mut self, refusal: &Refusal, cx: &mut Cx<'_>) {
        respond(refusal.status, JSON, reply::fail(&refusal.why), METHODS, cx);
        if let Some(why) = &self.refused {
            self.phase = Phase::Closed;
            cx.close(Error::peer(NAME, format!("the connect was refused: {why}")));
        } else if refusal.status == 403 {
            // A stranger's page keeps no place for sessions.
            self.phase = Phase::Closed;
            cx.close(Error::peer(NAME, refusal.why.as_str()));
        }
    }
}

impl Layer for HttpJsonCli {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.phase = Phase::Connecting(Some(connect(&mut self.last_request, AGENT, cx)));
        Ok(())
    }

    fn on_head(&mut self, head: &HttpHead, _cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.phase == Phase::Ready {
            self.request = Some(self.judge(head));
        }
        Ok(())
    }

    fn owes(&self) -> bool {
        matches!(self.phase, Phase::Connecting(Some(_)) | Phase::Running(_))
    }

    fn on_data(&mut self, data: &[u8], _cx: &mut Cx<'_>) -> Result<usize, Error> {
        let Some(Ok(request)) = self.request.as_mut().filter(|_| self.phase == Phase::Ready) else {
            return Ok(data.len());
        };
        let limit = self.limits.http_body;
        if request.method != POST {
            self.request = Some(Err(Refusal::new(400, "a GET has no body")));
        } else if request.parameters.len().saturating_add(data.len()) > limit {
            let why = format!("the body is longer than httpBody = {limit} bytes");
            self.request = Some(Err(Refusal::new(413, why)));
        } else {
            request.parameters.extend_from_slice(data);
        }
        Ok(data.len())
    }

    fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.phase != Phase::Ready {
            return Ok(());
        }
        let refused = match self.request.take() {
            Some(Ok(request)) => self.run(request, cx).err(),
            Some(Err(refusal)) => Some(refusal),
            None => None,
        };
        if let Some(refusal) = refused {
            self.refuse(&refusal, cx);
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        if let Some(ticket) = command.ticket() {
            refuse_call(ticket, cx);
        }
        match (command.in_one_value(), self.phase) {
            (_, Phase::Closed) => {}
            (Command::AnswerConnect { request, answer }, Phase::Connecting(Some(asked)))
                if request == asked =>
            {
                self.refused = refusal(answer);
                self.phase = Phase::Ready;
                cx.resume();
            }
            (Command::AnswerMessage { request, result }, Phase::Running(asked)) if request == asked => {
                self.on_answer(result, cx);
            }
            (Command::Close { text, .. }, _) => {
                self.phase = Phase::Closed;
                cx.resume();
                cx.close(Error::peer(NAME, text));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Refusal {
    fn new(status: u16, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }
}

/// A page can have a browser send forms and plain text to anybody without asking first, but not JSON.
fn check_type(head: &HttpHead) -> Result<(), Refusal> {
    let mut types = all(head, "content-type");
    let kind = types.next().and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(JSON) || types.next().is_some() {
        return Err(Refusal::new(415, "a POST needs `content-type: application/json`"));
    }
    if all(head, "content-encoding").any(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Refusal::new(415, "a body with a content-encoding is not read"));
    }
    Ok(())
}

/// The JSON text of the parameters in a body.
fn checked(body: &[u8]) -> Result<String, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok("{}".to_owned());
    }
    let bounds = Bounds { depth: BODY_DEPTH, values: BODY_VALUES };
    let bad = |why: String| Refusal::new(400, format!("the body is no object of parameters: {why}"));
    let Json::Object(members) = Json::parse(body, bounds).map_err(bad)? else {
        return Err(bad("it is another JSON value".to_owned()));
    };
    if command::twice(members.iter().map(|(key, _)| key.as_str())).is_some() {
        return Err(bad("a key stands twice, with another case".to_owned()));
    }
    String::from_utf8(body.to_vec()).map_err(|_| bad("it is no UTF-8".to_owned()))
}

/// The text of a successful answer to `metrics`.
fn metrics_text(answer: &str) -> Option<String> {
    match Reply::parse(answer) {
        Reply { success: true, data: Json::Text(text), .. } => Some(text),
        _ => None,
    }
}

/// Sends a response; with the status 405 it says which methods are `allowed`.
fn respond(status: u16, content_type: &str, body: String, allowed: &str, cx: &mut Cx<'_>) {
    let mut head = HttpHead::response(status, content_type, body.len() as u64)
        .with("x-content-type-options", "nosniff")
        .with("cache-control", "no-store");
    match status {
        401 => head = head.with("www-authenticate", "Bearer"),
        405 => head = head.with("allow", allowed),
        _ => {}
    }
    let out = cx.out();
    out.begin(head);
    out.write_with(|out| out.append(&mut body.into_bytes()));
    out.end();
}

/// Base64 out of a query: `%XX` decoded, and the alphabet for addresses made the usual one.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            _ => byte,
        };
        out.push(match byte {
            b'-' => b'+',
            b'_' => b'/',
            _ => byte,
        });
    }
    Some(out)
}
