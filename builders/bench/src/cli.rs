//! The command line.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use crtmp_bench::floor::{self, Mode};
use crtmp_bench::load::{self, Assignment, Join, Plan, Players, Reading, Scheme, Storm, Until};
use crtmp_bench::runner::server::Servers;
use crtmp_bench::runner::{self, Order, document};
use crtmp_bench::source::{Bundling, Shape};

/// Load generator and benchmark of RTMP servers.
#[derive(Debug, Parser)]
#[command(name = "crtmp-bench", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Publishes and plays, and prints what players saw as JSON lines.
    Load(Box<Load>),
    /// Writes prepared bytes to raw players: what a server costs at least.
    Floor(Floor),
    /// Sets servers side by side and prints tables.
    Run(Run),
    /// Prints the tables of an earlier run.
    Report(Report),
}

#[derive(Debug, Args)]
struct Stream {
    /// Bits per second of a stream.
    #[arg(long, default_value_t = 500_000)]
    bitrate: u64,
    /// Pictures from one key frame to the next.
    #[arg(long, default_value_t = 50)]
    gop: u64,
    /// Marks every other picture between key frames as one that no other needs.
    #[arg(long)]
    disposable: bool,
    /// Audio leaves the publisher with the next picture.
    #[arg(long)]
    bundle: bool,
}

impl Stream {
    fn shape(&self) -> Shape {
        Shape {
            bitrate: self.bitrate,
            gop: self.gop.max(1),
            disposable: self.disposable,
            bundling: if self.bundle { Bundling::WithVideo } else { Bundling::Separate },
            ..Shape::default()
        }
    }
}

#[derive(Debug, Args)]
struct Load {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:1935")]
    target: SocketAddr,
    /// What stands around RTMP.
    #[arg(long, value_enum, default_value_t)]
    scheme: Scheme,
    /// The application.
    #[arg(long, default_value = "live")]
    application: String,
    /// The stream names begin with this.
    #[arg(long, default_value = "bench")]
    name: String,
    /// Chunks only, for `floor`; publishers only with `floor --mode relay`.
    #[arg(long)]
    raw: bool,
    /// Publishers, each with a stream of its own.
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    #[command(flatten)]
    stream: Stream,
    /// Players.
    #[arg(long, default_value_t = 0)]
    players: usize,
    /// Player n plays stream n, instead of all the first.
    #[arg(long)]
    pairs: bool,
    /// Players of a name that nobody publishes.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Players that read slowly.
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// Bytes per second that a slow player reads; 0: nothing.
    #[arg(long, default_value_t = 1)]
    slow_rate: u64,
    /// SO_RCVBUF of slow players in bytes.
    #[arg(long, default_value_t = 16384)]
    receive_buffer: usize,
    /// Every so-many-th player looks at every frame [default: all of 500, then 1 in 20].
    #[arg(long)]
    sample: Option<usize>,
    /// Connections of a storm that are under way at any time.
    #[arg(long)]
    storm: Option<usize>,
    /// Connections of the storm close when `connect` is answered.
    #[arg(long)]
    connect_only: bool,
    /// Connections per second.
    #[arg(long, default_value_t = 400.0)]
    ramp: f64,
    /// Players join at random instants within so many seconds, instead of one after the other.
    #[arg(long)]
    join_within: Option<f64>,
    /// Seconds from the last player's start to the measuring window.
    #[arg(long, default_value_t = 2.0)]
    settle: f64,
    /// Seconds of the measuring window.
    #[arg(long, default_value_t = 8.0)]
    window: f64,
}

impl Load {
    fn plan(&self) -> Plan {
        let mut plan = Plan::new(self.target);
        plan.application.clone_from(&self.application);
        plan.scheme = self.scheme;
        plan.raw = self.raw;
        plan.publishers.count = self.publishers;
        plan.publishers.shape = self.stream.shape();
        plan.publishers.name.clone_from(&self.name);
        plan.ramp = self.ramp;
        plan.settle = Duration::from_secs_f64(self.settle);
        plan.window = Duration::from_secs_f64(self.window);
        plan.storm = self.storm.map(|in_flight| {
            let until = if self.connect_only { Until::Connected } else { Until::Playing };
            Storm { in_flight, until }
        });
        let join = match self.join_within {
            Some(seconds) => Join::Random(Duration::from_secs_f64(seconds)),
            None => Join::Ramp(self.ramp),
        };
        let shared = if self.pairs { Assignment::Spread(0) } else { Assignment::Shared(0) };
        let class = |class: &str, count| Players { join, stream: shared, ..Players::new(class, count) };
        let sample = self.sample.unwrap_or(if self.players > 500 { 20 } else { 1 });
        if self.players > 0 {
            plan.players.push(Players { sample, ..class("players", self.players) });
        }
        if self.slow > 0 {
            let reading = if self.slow_rate == 0 { Reading::Never } else { Reading::Rate(self.slow_rate) };
            let receive_buffer = Some(self.receive_buffer);
            plan.players.push(Players { reading, receive_buffer, ..class("slow", self.slow) });
        }
        if self.idle > 0 {
            plan.players.push(Players { stream: Assignment::Nobody, ..class("idle", self.idle) });
        }
        plan
    }
}

#[derive(Debug, Args)]
struct Floor {
    /// The address to listen on; the first line of output says which port it became.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// `message`, `ride`, `relay`, or the milliseconds within which messages are merged.
    #[arg(long, default_value = "message", value_parser = mode)]
    mode: Mode,
    #[command(flatten)]
    stream: Stream,
}

#[derive(Debug, Args)]
struct Run {
    /// Fewer scenarios, shorter windows, one repetition.
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose names contain one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each measurement is repeated [default: 3, quick: 1].
    #[arg(long)]
    repeat: Option<usize>,
    /// The server [default: the one beside this program].
    #[arg(long)]
    server: Option<PathBuf>,
    /// A folder for raw results.
    #[arg(long, default_value = "target/bench")]
    results: PathBuf,
    /// The document that a full run is written into.
    #[arg(long, default_value = "docs/performance.md")]
    document: PathBuf,
}

#[derive(Debug, Args)]
struct Report {
    /// A file of raw results.
    file: PathBuf,
    /// Writes the tables and plots into this document as well.
    #[arg(long)]
    document: Option<PathBuf>,
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "message" => Ok(Mode::Message),
        "ride" => Ok(Mode::Ride),
        "relay" => Ok(Mode::Relay),
        _ => {
            let number =
                text.parse().map_err(|_| format!("`{text}` is no mode and no number of milliseconds"))?;
            Ok(Mode::Merge(Duration::from_millis(number)))
        }
    }
}

/// Does what the command line says.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    match Cli::parse().task {
        Task::Load(arguments) => {
            let report = load::run(&arguments.plan(), &mut |event| line(&event))?;
            line(&serde_json::json!({ "event": "result", "report": report }));
            Ok(())
        }
        Task::Floor(arguments) => {
            floor::serve(arguments.listen, arguments.mode, &arguments.stream.shape(), &mut |address| {
                line(&serde_json::json!({ "event": "listening", "address": address }));
            })?;
            Ok(())
        }
        Task::Run(arguments) => measure(arguments),
        Task::Report(arguments) => {
            let (machine, rows) = runner::read(&arguments.file)?;
            println!("{}", document::tables(&rows));
            match arguments.document {
                Some(path) => document::write(&path, &machine, &rows),
                None => Ok(()),
            }
        }
    }
}

fn measure(arguments: Run) -> Result<(), Box<dyn Error>> {
    let mut servers = Servers::default();
    if let Some(server) = arguments.server {
        servers.crtmpserver = server;
    }
    let partial = arguments.quick || !arguments.only.is_empty();
    let order = Order {
        quick: arguments.quick,
        only: arguments.only,
        repeat: arguments.repeat.unwrap_or(if arguments.quick { 1 } else { 3 }),
        servers,
        results: arguments.results,
    };
    let rows = runner::run(&order)?;
    println!("{}", document::tables(&rows));
    if !partial {
        document::write(&arguments.document, &runner::Machine::here(&order.servers), &rows)?;
    }
    Ok(())
}

/// Prints one line of JSON, at once also where the output is a pipe.
fn line(value: &impl serde::Serialize) {
    let text = serde_json::to_string(value).expect("plain data");
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe does not want to know.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
