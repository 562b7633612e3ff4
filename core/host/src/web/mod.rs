//! A client for HTTP: hooks, events and applications ask servers with it, and none of them can hold up a worker.
//!
//! [`Client::request`] hands a request to a small pool of threads and returns at once; [`Client::call`] asks on
//! the thread of the caller, for those who have one of their own. Where to start: [`Client`], then `send` (what
//! a request may be, how its answer is read) and `resolve` (names, and the
//! addresses that are refused).
//!
//! Every request has a connection of its own: nothing is kept open, so nothing can be found closed, and what was
//! connected for one policy is never used for another.

mod queue;
mod resolve;
mod send;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crtmp_media::Limits;
use ureq::tls::Certificate;

use self::{
    queue::{Queue, server_of},
    send::Agents,
};
use crate::outbound::{Origin, Outbound, Refused};

/// The longest time of a request, whatever it asks for.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, `GET` or `POST`, say.
    pub method: String,
    /// Where to: `http://` or `https://`. A user and a password in it become an `Authorization` field.
    pub url: String,
    /// Further header fields. Those that frame a message (`Host`, `Content-Length` …) are refused: the client
    /// writes them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long all of it may take, the time in the queue included; without it, the limit `webTimeout`;
    /// at most [`LONGEST`].
    pub timeout: Option<Duration>,
    /// Who has chosen where it goes; see [`Outbound`].
    pub origin: Origin,
}

impl Request {
    /// A `POST` of this body to where somebody else wants it.
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".to_owned(), body: body.into(), ..Self::get(url) }
    }

    /// A `GET` of what somebody else wants.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            origin: Origin::Request,
        }
    }
}

/// What came back. A redirect is an answer like any other: none is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields; bytes that are no text are replaced.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Whether the status says that it was done: 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// The URL is none, or none for this client.
    #[error("not a URL for this client: {0}")]
    Url(&'static str),
    /// Method or header fields that cannot be sent.
    #[error("the request cannot be sent: {0}")]
    Request(String),
    /// The name has no address.
    #[error("the host name cannot be resolved: {0}")]
    Resolve(String),
    /// The policy does not let the request go there.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It took too long.
    #[error("no complete answer in time")]
    Timeout,
    /// There is no connection, or it broke.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The server's certificate or TLS.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// What came back is not HTTP.
    #[error("the answer is not HTTP as it should be: {0}")]
    Answer(String),
    /// The body of the answer is too long.
    #[error("the body of the answer has more than webBody = {0} bytes")]
    TooLarge(usize),
    /// The client has ended.
    #[error("the server is stopping")]
    Stopped,
    /// A fault of ours.
    #[error("the client failed, which is a fault of this server")]
    Ours,
}

/// The queue is full (limit `webQueue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many HTTP requests are waiting: see limits.webQueue")]
pub struct Full;

/// What a request ends with.
pub type Outcome = Result<Response, WebError>;

/// The client; clones are handles to the same one. When the last is dropped, requests that wait are answered with
/// [`WebError::Stopped`] and the threads end.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Starts the threads; requests go where `outbound` lets them.
    ///
    /// # Errors
    ///
    /// What the system says when it has no threads.
    pub fn start(limits: &Limits, outbound: Outbound) -> std::io::Result<Self> {
        Self::with_roots(limits, outbound, None)
    }

    /// Like [`start`](Self::start), trusting these certificates instead of the system's.
    fn with_roots(
        limits: &Limits,
        outbound: Outbound,
        roots: Option<Vec<Certificate<'static>>>,
    ) -> std::io::Result<Self> {
        let jobs = Arc::new(Queue::new(limits.web_threads, limits.web_queue));
        let context = Arc::new(Context {
            agents: OnceLock::new(),
            outbound,
            roots,
            head: limits.http_head,
            body: limits.web_body,
            timeout: limits.web_timeout.get(),
            over: AtomicBool::new(false),
        });
        // If a thread cannot be had, those that are there end.
        let shared = Arc::new(Shared { context, jobs });
        for number in 1..=limits.web_threads {
            let (context, queue) = (shared.context.clone(), shared.jobs.clone());
            thread::Builder::new().name(format!("web {number}")).spawn(move || context.run(&queue))?;
        }
        Ok(Self { shared })
    }

    /// Asks on one of the client's threads, which calls `reply` exactly once; a `reply` that takes long holds that
    /// thread up.
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing will be sent, `reply` is dropped.
    pub fn request(&self, request: Request, reply: Box<dyn FnOnce(Outcome) + Send>) -> Result<(), Full> {
        let until = self.shared.context.until(&request);
        let server = server_of(&request.url);
        if self.shared.jobs.put(&server, Job { request, until, reply }) { Ok(()) } else { Err(Full) }
    }

    /// Asks on this thread, and waits.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub fn call(&self, request: &Request) -> Outcome {
        let context = &self.shared.context;
        context.send(request, context.until(request))
    }
}

/// Where a URL leads that this client takes: its scheme, and its host and port.
///
/// # Errors
///
/// [`WebError::Url`], with the reason.
pub fn destination(url: &str) -> Result<(String, String), WebError> {
    let (uri, _) = send::parse_url(url)?;
    Ok((uri.scheme_str().unwrap_or_default().to_owned(), resolve::host_and_port(&uri)))
}

struct Shared {
    context: Arc<Context>,
    jobs: Arc<Queue<Job>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.context.over.store(true, Ordering::Relaxed);
        self.jobs.close();
    }
}

struct Job {
    request: Request,
    until: Instant,
    reply: Box<dyn FnOnce(Outcome) + Send>,
}

/// What the threads share.
struct Context {
    /// Made with the first request: reading the system's certificates takes a moment.
    agents: OnceLock<Agents>,
    outbound: Outbound,
    roots: Option<Vec<Certificate<'static>>>,
    /// The longest head of an answer.
    head: usize,
    /// The longest body of an answer.
    body: usize,
    /// For requests that name none.
    timeout: Duration,
    over: AtomicBool,
}

impl Context {
    fn run(&self, queue: &Queue<Job>) {
        while let Some((Job { request, until, reply }, _place)) = queue.take() {
            let outcome = if self.over.load(Ordering::Relaxed) {
                Err(WebError::Stopped)
            } else {
                catch_unwind(AssertUnwindSafe(|| self.send(&request, until))).unwrap_or(Err(WebError::Ours))
            };
            // Whatever the reply does, the thread goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| reply(outcome)));
        }
    }

    /// When the time of a request that begins now is over.
    fn until(&self, request: &Request) -> Instant {
        Instant::now() + request.timeout.unwrap_or(self.timeout).min(LONGEST)
    }

    fn send(&self, request: &Request, until: Instant) -> Outcome {
        let agents =
            self.agents.get_or_init(|| Agents::new(&self.outbound, self.roots.as_deref(), self.head));
        agents.send(request, until, self.body)
    }
}
