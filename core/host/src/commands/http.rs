//! Requests over HTTP that applications ask for.

use std::time::Duration;

use crtmp_plugin::NotTaken;
use serde_json::{Map, Value, json};

use crate::{
    apps::CallOutcome,
    outbound::Origin,
    web::{Client, Request, Response, WebError},
};

/// Sends a request that an application describes: `url`, `method`, `headers`, `timeoutMs`, `publicOnly`.
pub(super) fn send(
    client: &Client,
    request: &Map<String, Value>,
    body: Vec<u8>,
    done: Box<dyn FnOnce(CallOutcome) + Send>,
) -> Result<(), NotTaken> {
    let known = ["url", "method", "headers", "timeoutMs", "publicOnly"];
    let url = request.get("url").and_then(Value::as_str).ok_or(NotTaken::Invalid)?;
    if request.keys().any(|key| !known.contains(&key.as_str())) {
        return Err(NotTaken::Invalid);
    }
    let headers = match request.get("headers") {
        None => Vec::new(),
        Some(Value::Object(headers)) => headers
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or(NotTaken::Invalid)?,
        Some(_) => return Err(NotTaken::Invalid),
    };
    let method = match request.get("method") {
        None => "GET",
        Some(method) => method.as_str().ok_or(NotTaken::Invalid)?,
    };
    let timeout = match request.get("timeoutMs") {
        None => None,
        Some(timeout) => Some(Duration::from_millis(timeout.as_u64().ok_or(NotTaken::Invalid)?)),
    };
    // An application goes where the operator wants it to, unless it says that the URL came from somebody else.
    let origin = match request.get("publicOnly").map(Value::as_bool) {
        None | Some(Some(false)) => Origin::Configuration,
        Some(Some(true)) => Origin::Request,
        Some(None) => return Err(NotTaken::Invalid),
    };
    let request = Request { method: method.to_owned(), url: url.to_owned(), headers, body, timeout, origin };
    let reply = move |answer: Result<Response, WebError>| {
        done(match answer {
            Ok(Response { status, headers, body }) => {
                let headers: Map<String, Value> =
                    headers.into_iter().map(|(name, value)| (name, value.into())).collect();
                let head = json!({ "status": status, "headers": headers }).to_string();
                CallOutcome { body, ..CallOutcome::done(head) }
            }
            Err(WebError::Timeout) => CallOutcome::timeout(),
            Err(error) => CallOutcome::failed(&error.to_string()),
        });
    };
    client.request(request, Box::new(reply)).map_err(|_| NotTaken::Full)
}
