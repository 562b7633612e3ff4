//! Publishes a file in real time, on a thread of its own.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crtmp_plugin::{Host, NotTaken, SourceId};
use serde::Deserialize;

use crate::flv::Tags;

/// From the last frame of a file to the first one of its repetition, in ms.
const SEAM: i64 = 40;

/// Nothing that is published is farther from what came before it, in ms: a file with a hole goes on after it.
const LONGEST_WAIT: i64 = 10_000;

/// What to publish.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishFile {
    /// The name of the stream.
    pub(crate) name: String,
    /// An FLV file.
    pub(crate) file: PathBuf,
    /// Begin again at its end.
    #[serde(default, rename = "loop")]
    pub(crate) again: bool,
}

/// A file that is being published; it ends with this.
pub(crate) struct Publisher {
    /// Nothing is ever sent: the thread waits for its end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PublishFile {
    /// Whether the file can be published.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("`publishFile.name` must name a stream".to_owned());
        }
        self.open().map(drop).map_err(|error| format!("`publishFile.file` {}: {error}", self.file.display()))
    }

    fn open(&self) -> io::Result<Tags<BufReader<File>>> {
        Tags::open(BufReader::new(File::open(&self.file)?))
    }
}

impl Publisher {
    /// Begins to send the frames of a source that has begun.
    pub(crate) fn start(host: Host, source: SourceId, what: PublishFile) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let body = move || {
            let wait = |time| stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            match publish(&host, source, &what, wait) {
                Ok(left_out) => host.info(format_args!(
                    "{} has been published; {left_out} frames were left out",
                    what.file.display()
                )),
                Err(error) => host.error(format_args!("{}: {error}", what.file.display())),
            }
            host.end_source(source);
        };
        let thread = thread::Builder::new().name("publishFile".to_owned()).spawn(body)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and catches nothing either.
            let _ = thread.join();
        }
    }
}

/// Sends the frames of a file, each at its time; gives the number of those that the server did not take. `wait` says
/// whether to go on.
fn publish(
    host: &Host,
    source: SourceId,
    what: &PublishFile,
    wait: impl Fn(Duration) -> bool,
) -> io::Result<u64> {
    let started = host.now();
    let (mut shift, mut newest, mut left_out) = (0, None::<i64>, 0);
    loop {
        let mut tags = what.open()?;
        let mut first = true;
        while let Some(tag) = tags.next()? {
            let mut dts = tag.dts.saturating_add(shift);
            if first || newest.is_some_and(|newest| dts > newest + LONGEST_WAIT) {
                // The first file begins now, its repetitions where it has ended.
                let begin = newest.map_or(0, |newest| newest + SEAM);
                shift += begin - dts;
                dts = begin;
            }
            first = false;
            newest = newest.max(Some(dts));
            let due = started + Duration::from_millis(dts.try_into().unwrap_or(0));
            if !wait(due.saturating_sub(host.now())) {
                return Ok(left_out);
            }
            match host.send_frame(source, tag.kind, dts, &tag.body) {
                Ok(()) => {}
                Err(NotTaken::Gone) => return Ok(left_out),
                // It is behind, or does not know what this is.
                Err(_) => left_out += 1,
            }
        }
        // A file without a frame would be begun for ever.
        if !what.again || first {
            return Ok(left_out);
        }
    }
}
