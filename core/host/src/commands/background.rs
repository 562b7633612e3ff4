//! What may wait and belongs to no worker and no application: name lookups, and requests over HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crtmp_plugin::NotTaken;
use serde_json::{Map, Value, json};

use crate::{
    apps::CallOutcome,
    web::{Client, Policy, Request, Response, WebError},
};

/// Lookups that may run at once, each on a thread: most end within milliseconds, and there are few.
const AT_ONCE: usize = 16;

/// Threads that come and go.
#[derive(Default)]
pub(super) struct Pool {
    running: Arc<AtomicUsize>,
}

impl Pool {
    /// Runs `work` on a thread of its own.
    pub(super) fn run(&self, work: Box<dyn FnOnce() + Send>) -> Result<(), NotTaken> {
        if self.running.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
            self.running.fetch_sub(1, Ordering::Relaxed);
            return Err(NotTaken::Full);
        }
        let place = Place(self.running.clone());
        let run = move || {
            let _place = place;
            work();
        };
        thread::Builder::new().name("lookup".to_owned()).spawn(run).map(drop).map_err(|_| NotTaken::Full)
    }
}

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends a request that an application describes: `url`, `method`, `headers`, `timeoutMs`, `publicOnly`.
pub(super) fn http(
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
    // An application is trusted with the server's neighbours, unless it says that the URL came from somebody else.
    let allow_private = match request.get("publicOnly") {
        None => true,
        Some(only) => !only.as_bool().ok_or(NotTaken::Invalid)?,
    };
    let policy = Policy { allow_private };
    let request = Request { method: method.to_owned(), url: url.to_owned(), headers, body, timeout, policy };
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
