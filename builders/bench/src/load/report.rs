//! What a run found.

use serde::{Deserialize, Serialize};

use crate::judge::Tally;
use crate::quantiles::{Quantiles, Times};

/// Something that happens during a run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// A second has passed.
    Progress(Progress),
    /// The measuring window opens now.
    WindowOpen,
    /// The measuring window closes now.
    WindowClose,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Seconds since its start.
    pub seconds: f64,
    /// Publishers that publish.
    pub publishing: usize,
    /// Players that were told Play.Start and have not gone.
    pub playing: usize,
    /// Connections that are open.
    pub open: usize,
    /// Bytes received so far.
    pub bytes: u64,
}

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The length of the measuring window in seconds, as it really was.
    pub window: f64,
    /// Gigabits that players received in the window.
    pub gigabits: f64,
    /// The publishers.
    pub publishers: PublisherReport,
    /// The players, by class, in the order of the plan.
    pub classes: Vec<ClassReport>,
    /// The storm, if there was one.
    pub storm: Option<StormReport>,
    /// CPU time of the generator in the window, in per cent of a core.
    pub generator_cpu: f64,
    /// Seconds from the start to the opening of the window.
    pub opened_after: f64,
}

impl Report {
    /// The class of this name.
    ///
    /// # Panics
    ///
    /// If the plan had none.
    pub fn class(&self, name: &str) -> &ClassReport {
        self.classes.iter().find(|class| class.class == name).expect("a class of the plan")
    }
}

/// What became of the publishers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublisherReport {
    /// How many were wanted.
    pub wanted: usize,
    /// How many published when the window opened.
    pub publishing: usize,
    /// How many were lost before the end.
    pub disconnected: usize,
    /// How much later than due frames of the window were handed to the kernel: the generator's own lateness, and the
    /// server's reluctance to read.
    pub late: Quantiles,
    /// Bytes sent in the window.
    pub bytes: u64,
}

/// What became of one class of players.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassReport {
    /// The name of the class.
    pub class: String,
    /// How many were wanted.
    pub wanted: usize,
    /// How many got an answer to `connect`.
    pub connected: usize,
    /// How many were told NetStream.Play.Start (raw: were connected).
    pub started: usize,
    /// How many had a first picture.
    pub pictured: usize,
    /// How many looked at every frame to the end; frames and losses are theirs.
    pub sampled: usize,
    /// How many failed before they played.
    pub failed: usize,
    /// How many were lost while they played.
    pub disconnected: usize,
    /// Why, in at most eight examples.
    pub reasons: Vec<String>,
    /// Bytes received from start to end.
    pub bytes: u64,
    /// Bytes received in the window.
    pub window_bytes: u64,
    /// From the call of connect to NetStream.Play.Start.
    pub connect_to_start: Quantiles,
    /// From NetStream.Play.Start to the first key frame, fully read.
    pub start_to_picture: Quantiles,
    /// From the call of connect to the first key frame, fully read.
    pub connect_to_picture: Quantiles,
    /// How far behind live players began: see [`Judge::start_lag`](crate::judge::Judge::start_lag).
    pub start_lag: Quantiles,
    /// How old frames were when they were fully read: those that were due in the window and after the player's start.
    pub latency: Quantiles,
    /// The same of pictures alone: audio may wait for the next one.
    pub picture_latency: Quantiles,
    /// From NetStream.Play.Start to the loss of the connection, of those that were lost.
    pub cut_after: Quantiles,
    /// What the sampled players got and missed.
    pub frames: Tally,
}

/// What became of the storm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StormReport {
    /// Connections under way at any time.
    pub in_flight: usize,
    /// They went to the answer to `connect` only.
    #[serde(default)]
    pub connects_only: bool,
    /// Connections in the window that came as far as they should.
    pub completed: u64,
    /// The same, per second.
    pub per_second: f64,
    /// Connections in the window that failed.
    pub failed: u64,
    /// Why, in at most eight examples.
    pub reasons: Vec<String>,
    /// From the call of connect to NetStream.Play.Start.
    pub connect_to_start: Quantiles,
    /// From the command `connect` to its answer, of those that went no further.
    #[serde(default)]
    pub decision: Quantiles,
}

/// What is being counted about a class.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) connected: usize,
    pub(super) started: usize,
    pub(super) pictured: usize,
    pub(super) sampled: usize,
    pub(super) failed: usize,
    pub(super) disconnected: usize,
    pub(super) reasons: Vec<String>,
    pub(super) bytes: u64,
    pub(super) window_bytes: u64,
    pub(super) connect_to_start: Times,
    pub(super) start_to_picture: Times,
    pub(super) connect_to_picture: Times,
    pub(super) start_lag: Times,
    pub(super) latency: Times,
    pub(super) picture_latency: Times,
    pub(super) cut_after: Times,
    pub(super) tally: Tally,
}

impl Counting {
    pub(super) fn reason(&mut self, text: impl FnOnce() -> String) {
        if self.reasons.len() < 8 {
            self.reasons.push(text());
        }
    }

    pub(super) fn report(self, class: &str, wanted: usize) -> ClassReport {
        ClassReport {
            class: class.to_owned(),
            wanted,
            connected: self.connected,
            started: self.started,
            pictured: self.pictured,
            sampled: self.sampled,
            failed: self.failed,
            disconnected: self.disconnected,
            reasons: self.reasons,
            bytes: self.bytes,
            window_bytes: self.window_bytes,
            connect_to_start: self.connect_to_start.quantiles(),
            start_to_picture: self.start_to_picture.quantiles(),
            connect_to_picture: self.connect_to_picture.quantiles(),
            start_lag: self.start_lag.quantiles(),
            latency: self.latency.quantiles(),
            picture_latency: self.picture_latency.quantiles(),
            cut_after: self.cut_after.quantiles(),
            frames: self.tally,
        }
    }
}
