//! Calls whose results come later: to peers, to the server's commands, over HTTP; and commands of one's own.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::conn::{ConnId, RequestId};

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// It failed; the text says why.
    Failed(String),
    /// No answer came in time.
    Timeout,
    /// The connection or the server has ended.
    Gone,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) => f.write_str(reason),
            Self::Timeout => f.write_str("no answer came in time"),
            Self::Gone => f.write_str("gone"),
        }
    }
}

impl std::error::Error for CallError {}

/// What a peer answered to [`Host::call`](crate::Host::call).
#[derive(Clone, Debug, PartialEq)]
pub struct CallResult {
    /// Whether it answered `_result`, not `_error`.
    pub ok: bool,
    /// What it sent.
    pub args: Vec<Value>,
}

/// The reply to a command of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandReply {
    /// Whether `status` is `SUCCESS`.
    pub ok: bool,
    /// Text for people.
    pub description: String,
    /// What the command returns.
    pub data: Value,
}

impl CommandReply {
    pub(crate) fn read(json: &str) -> Self {
        let mut reply: Value = serde_json::from_str(json).unwrap_or_default();
        Self {
            ok: reply["status"] == "SUCCESS",
            description: reply["description"].as_str().unwrap_or_default().to_owned(),
            data: reply["data"].take(),
        }
    }
}

/// A request for [`Host::http`](crate::Host::http).
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: String,
    /// An address of `http` or `https`.
    pub url: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long all of it may take; none: the server's usual time.
    pub timeout: Option<Duration>,
    /// Not to private addresses, such as the server's neighbours: for a `url` that somebody else chose.
    pub public_only: bool,
}

impl HttpRequest {
    /// Asks for something.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: "GET".into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            public_only: false,
        }
    }

    /// Sends JSON.
    pub fn post_json(url: impl Into<String>, value: &Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        let body = value.to_string().into_bytes();
        Self { method: "POST".into(), headers, body, ..Self::get(url) }
    }

    pub(crate) fn json(&self) -> String {
        let headers: Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let mut request = json!({ "method": self.method, "url": self.url, "headers": headers,
            "publicOnly": self.public_only });
        if let Some(timeout) = self.timeout {
            request["timeoutMs"] = json!(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
        request.to_string()
    }
}

/// The answer to an HTTP request, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A command that an application adds to the server's.
#[derive(Clone, Debug)]
pub struct Command {
    name: String,
    description: String,
    read_only: bool,
    parameters: Vec<Value>,
}

impl Command {
    /// A command that changes something.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { name: name.into(), description: description.into(), read_only: false, parameters: Vec::new() }
    }

    /// It only looks.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// A parameter that must be given.
    #[must_use]
    pub fn required(mut self, name: &str, kind: ParamKind, description: &str) -> Self {
        let kind = kind.name();
        self.parameters
            .push(json!({ "name": name, "type": kind, "mandatory": true, "description": description }));
        self
    }

    /// A parameter that has a default.
    #[must_use]
    pub fn optional(mut self, name: &str, kind: ParamKind, default: Value, description: &str) -> Self {
        let (kind, mandatory) = (kind.name(), false);
        self.parameters
            .push(json!({ "name": name, "type": kind, "mandatory": mandatory, "defaultValue": default,
                "description": description }));
        self
    }

    pub(crate) fn json(&self) -> String {
        let Self { name, description, read_only, parameters } = self;
        json!({ "name": name, "description": description, "readOnly": read_only, "parameters": parameters })
            .to_string()
    }
}

/// What a parameter of a command may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A text.
    Text,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// True or false; also 1 and 0.
    Flag,
    /// A list of texts.
    List,
    /// Anything that JSON can say.
    Json,
}

impl ParamKind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Whole => "whole",
            Self::Number => "number",
            Self::Flag => "flag",
            Self::List => "list",
            Self::Json => "json",
        }
    }
}

/// A call of a command that the application has added.
#[derive(Clone, Copy, Debug)]
pub struct CommandCall<'a> {
    /// For [`Host::respond`](crate::Host::respond), after `Reply::Later`.
    pub request: RequestId,
    /// The command's name.
    pub name: &'a str,
    /// JSON text of an object: the parameters, checked and with all defaults.
    pub params_json: &'a str,
}

impl CommandCall<'_> {
    /// The parameters. Parsed on each call.
    pub fn params(&self) -> Map<String, Value> {
        serde_json::from_str(self.params_json).unwrap_or_default()
    }
}

/// What became of something, as it crosses the border.
pub(crate) struct RawResult<'a> {
    pub(crate) status: u32,
    pub(crate) conn: u64,
    pub(crate) value: &'a str,
    pub(crate) body: &'a [u8],
}

impl RawResult<'_> {
    /// The value, or why there is none. `fails` says whether an error of the far end is one of the call.
    pub(crate) fn settle(&self) -> Result<(), CallError> {
        match self.status {
            crate::abi::RESULT_OK => Ok(()),
            crate::abi::RESULT_TIMEOUT => Err(CallError::Timeout),
            crate::abi::RESULT_GONE => Err(CallError::Gone),
            _ => {
                let reason: Value = serde_json::from_str(self.value).unwrap_or_default();
                let reason = reason.as_str().map_or_else(|| self.value.to_owned(), str::to_owned);
                Err(CallError::Failed(reason))
            }
        }
    }

    pub(crate) fn call(&self) -> Result<CallResult, CallError> {
        let args: Option<Vec<Value>> = serde_json::from_str(self.value).ok();
        match (self.status, args) {
            (crate::abi::RESULT_OK, args) => Ok(CallResult { ok: true, args: args.unwrap_or_default() }),
            (crate::abi::RESULT_ERROR, Some(args)) => Ok(CallResult { ok: false, args }),
            _ => Err(self.settle().err().unwrap_or(CallError::Gone)),
        }
    }

    pub(crate) fn command(&self) -> Result<CommandReply, CallError> {
        self.settle().map(|()| CommandReply::read(self.value))
    }

    pub(crate) fn connection(&self) -> Result<ConnId, CallError> {
        self.settle().map(|()| ConnId(self.conn))
    }

    pub(crate) fn http(&self) -> Result<HttpAnswer, CallError> {
        self.settle()?;
        let head: Value = serde_json::from_str(self.value).unwrap_or_default();
        let headers = head["headers"].as_object().into_iter().flatten();
        let headers =
            headers.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        Ok(HttpAnswer {
            status: head["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default(),
            headers: headers.collect(),
            body: self.body.to_vec(),
        })
    }
}

/// What is done with a result: called once, on the thread of the application.
pub(crate) type Then = Box<dyn FnOnce(&mut dyn Any, &RawResult<'_>) + Send>;

/// Calls without a result yet.
pub(crate) struct Pending {
    next: AtomicU64,
    /// None: the instance has ended, and no result comes any more.
    calls: Mutex<Option<HashMap<u64, Then>>>,
}

impl Default for Pending {
    fn default() -> Self {
        Self { next: AtomicU64::new(0), calls: Mutex::new(Some(HashMap::new())) }
    }
}

impl Pending {
    /// Keeps what is to be done and gives its ticket. None: the instance has ended.
    pub(crate) fn open(&self, then: Then) -> Option<u64> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        // Where it is not kept, `then` outlives the lock: what it holds may call again.
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.as_mut()?.insert(ticket, then);
        Some(ticket)
    }

    /// Forgets all that is to be done, and keeps nothing from now on.
    pub(crate) fn close(&self) {
        // Dropped outside of the lock: what they hold may call again.
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(calls);
    }

    /// Takes what is to be done.
    pub(crate) fn take(&self, ticket: u64) -> Option<Then> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.remove(&ticket)
    }
}
