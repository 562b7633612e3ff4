//! The runner: the same load against several servers in turn, and what came of it.
//!
//! Each measurement has a server process of its own on one processor; the load generator runs in this process on
//! another. Servers take turns inside each repetition, so that what else the machine does meets all of them.
//!
//! - [`scenario`]: what is measured. [`server`]: against what.
//! - [`row`]: the result of one measurement. [`figures`]: medians, and the figures to reach.
//! - [`document`]: tables and plots.

pub mod document;
pub mod figures;
pub mod row;
pub mod scenario;
pub mod server;

mod machine;

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

pub use machine::Machine;
use row::Row;
use scenario::{Scenario, scenarios};
use server::{Running, Server, Servers};

use crate::load::{self, Event};
use crate::measure::Sample;

/// What the runner shall do.
#[derive(Clone, Debug)]
pub struct Order {
    /// Fewer scenarios, shorter windows, one repetition.
    pub quick: bool,
    /// Only scenarios whose names contain one of these; empty: all.
    pub only: Vec<String>,
    /// How often each measurement is repeated; those that are only looked at are made once.
    pub repeat: usize,
    /// Where the servers are.
    pub servers: Servers,
    /// A folder for raw results.
    pub results: PathBuf,
}

/// Carries out an order; gives the rows, which are also in a file below [`Order::results`].
///
/// # Errors
///
/// If servers cannot be started at all or results cannot be written. A measurement that fails is reported on standard
/// error and left out.
pub fn run(order: &Order) -> Result<Vec<Row>, Box<dyn Error>> {
    fs::create_dir_all(&order.results)?;
    let machine = Machine::here(&order.servers);
    let name = if order.quick { "quick" } else { "full" };
    let path = order.results.join(format!("{name}-{}.jsonl", std::process::id()));
    let mut file = File::create(&path)?;
    writeln!(file, "{}", serde_json::to_string(&machine)?)?;
    let wanted = |scenario: &Scenario| {
        order.only.is_empty() || order.only.iter().any(|part| scenario.name.contains(part))
    };
    let all: Vec<Scenario> = scenarios(order.quick).into_iter().filter(wanted).collect();
    let mut rows = Vec::new();
    for repetition in 0..order.repeat {
        for scenario in all.iter().filter(|scenario| repetition == 0 || !scenario.once) {
            for server in &scenario.servers {
                eprint!("{}/{} {:<18}{:<22}", repetition + 1, order.repeat, scenario.name, server.label());
                match measure(scenario, server, repetition, &order.servers) {
                    Ok(row) => {
                        eprintln!("{}", row.brief());
                        writeln!(file, "{}", serde_json::to_string(&row)?)?;
                        rows.push(row);
                    }
                    Err(error) => eprintln!("failed: {error}"),
                }
            }
        }
    }
    eprintln!("raw results: {}", path.display());
    Ok(rows)
}

/// Reads the rows of a file that [`run`] wrote, and the machine that they are from.
///
/// # Errors
///
/// If the file cannot be read or is something else.
pub fn read(path: &Path) -> Result<(Machine, Vec<Row>), Box<dyn Error>> {
    let mut lines = BufReader::new(File::open(path)?).lines();
    let machine = serde_json::from_str(&lines.next().ok_or("the file is empty")??)?;
    let mut rows = Vec::new();
    for line in lines {
        rows.push(serde_json::from_str(&line?)?);
    }
    Ok((machine, rows))
}

fn measure(
    scenario: &Scenario,
    server: &Server,
    repetition: usize,
    servers: &Servers,
) -> Result<Row, Box<dyn Error>> {
    let running = server.start(servers, &scenario.plan.publishers.shape)?;
    // What the server does at its start is not the load's.
    thread::sleep(Duration::from_millis(300));
    let before = Sample::of(running.processes())?;
    let mut plan = scenario.plan.clone();
    plan.target = running.address();
    plan.seed = 1 + repetition as u64;
    plan.scheme = server.scheme();
    plan.raw = server.is_raw();
    if server.makes_the_stream() {
        plan.publishers.count = 0;
    }
    let (mut open, mut close) = (None, None);
    let mut counters = (Value::Null, Value::Null);
    let processes = running.processes().to_vec();
    let counted = scenario.counters && matches!(server, Server::Ours(_));
    let counted_at_opening = counted && scenario.counters_at_opening;
    let dropped = dropped_packets();
    let report = load::run(&plan, &mut |event| match event {
        Event::WindowOpen => {
            if counted_at_opening {
                running.ask_for_counters();
            }
            open = Sample::of(&processes).ok();
        }
        Event::WindowClose => {
            close = Sample::of(&processes).ok();
            // The file has been there for a long time: nothing waits here, where publishers would be late.
            if counted_at_opening {
                counters.0 = running.counters().unwrap_or(Value::Null);
            }
            if counted {
                running.ask_for_counters();
            }
        }
        Event::Progress(_) => {}
    })?;
    let dropped = dropped_packets() - dropped;
    if counted {
        counters.1 = running.counters().unwrap_or(Value::Null);
    }
    stop(running)?;
    let (Some(open), Some(close)) = (open, close) else { return Err("the server ended".into()) };
    let counters = json!({ "open": row::trimmed(&counters.0), "close": row::trimmed(&counters.1) });
    let counters = if counted { counters } else { Value::Null };
    let row = Row::new(scenario, &server.label(), repetition, &before, &open, &close, report);
    Ok(Row { counters, dropped, ..row })
}

/// Packets that the kernel has thrown away because its queue of received packets was full. On loopback that happens when
/// other programs keep it from its work; the connections that are hit stand still for seconds.
fn dropped_packets() -> u64 {
    let text = fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    let second = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(second).sum()
}

fn stop(mut running: Running) -> Result<(), Box<dyn Error>> {
    running.stop()?;
    Ok(())
}
