//! Medians over repetitions, and the figures to reach.

use std::collections::BTreeMap;

use super::row::Row;
use crate::quantiles::median;
use crate::source::Shape;

/// The rows of a run, by scenario and server.
#[derive(Debug)]
pub struct Figures<'a> {
    rows: BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Row>>>,
}

/// A figure to reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What it is.
    pub name: String,
    /// The bound.
    pub bound: Bound,
    /// What was found: the median over repetitions; `None` if it was not measured.
    pub found: Option<f64>,
    /// What the figure is counted in; empty for a ratio.
    pub unit: &'static str,
}

/// A bound of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Target {
    /// Whether the figure is reached; `None` if it was not measured.
    pub fn pass(&self) -> Option<bool> {
        let found = self.found?;
        Some(match self.bound {
            Bound::AtMost(bound) => found <= bound,
            Bound::AtLeast(bound) => found >= bound,
        })
    }

    fn new(name: &str, bound: Bound, unit: &'static str, found: Option<f64>) -> Self {
        Self { name: name.into(), bound, found, unit }
    }
}

/// How a server is called in rows.
const AUTO: &str = "crtmpserver auto";
const NONE: &str = "crtmpserver 0";
const HUNDRED: &str = "crtmpserver 100";
const NGINX: &str = "nginx-rtmp";

impl<'a> Figures<'a> {
    /// Sorts rows.
    pub fn new(rows: &'a [Row]) -> Self {
        let mut sorted: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
        for row in rows {
            sorted
                .entry(row.scenario.as_str())
                .or_default()
                .entry(row.server.as_str())
                .or_default()
                .push(row);
        }
        Self { rows: sorted }
    }

    /// The repetitions of a measurement.
    pub fn rows(&self, scenario: &str, server: &str) -> &[&'a Row] {
        self.rows.get(scenario).and_then(|servers| servers.get(server)).map_or(&[], Vec::as_slice)
    }

    /// The median of a figure over the repetitions of a measurement.
    pub fn median(&self, scenario: &str, server: &str, figure: impl Fn(&Row) -> f64) -> Option<f64> {
        let values: Vec<f64> = self.rows(scenario, server).iter().map(|row| figure(row)).collect();
        (!values.is_empty()).then(|| median(&values))
    }

    /// The median of the ratio of two servers, repetition by repetition, so that both have seen the same machine.
    pub fn ratio(
        &self,
        scenario: &str,
        server: &str,
        other: &str,
        figure: impl Fn(&Row) -> f64,
    ) -> Option<f64> {
        let values: Vec<f64> = self
            .rows(scenario, server)
            .iter()
            .filter_map(|row| {
                let others = self.rows(scenario, other);
                let beside = others.iter().find(|other| other.repetition == row.repetition)?;
                Some(figure(row) / figure(beside))
            })
            .collect();
        (!values.is_empty()).then(|| median(&values))
    }

    /// All figures to reach.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets = self.costs();
        targets.extend(self.pairs());
        targets.extend(self.memory());
        targets.extend(self.starts());
        targets
    }

    fn costs(&self) -> Vec<Target> {
        use Bound::AtMost;
        let latency = |row: &Row| row.players().latency.p99;
        let pictures = |row: &Row| row.players().picture_latency.p99;
        vec![
            Target::new(
                "CPU per Gbit against the floor, 1800 × 500 kbit/s, nothing merged",
                AtMost(1.25),
                "",
                self.ratio("fan-out-1800", NONE, "floor message", Row::cost),
            ),
            Target::new(
                "CPU per Gbit against the floor, 1800 × 500 kbit/s, 100 ms merged",
                AtMost(1.25),
                "",
                self.ratio("fan-out-1800", HUNDRED, "floor 100", Row::cost),
            ),
            Target::new(
                "CPU per Gbit against nginx-rtmp, 1800 × 500 kbit/s, auto",
                AtMost(0.55),
                "",
                self.ratio("fan-out-1800", AUTO, NGINX, Row::cost),
            ),
            Target::new(
                "latency p99 of pictures against nginx-rtmp, the same",
                AtMost(1.0),
                "",
                self.ratio("fan-out-1800", AUTO, NGINX, pictures),
            ),
            Target::new(
                "latency p99 of all frames in the same: audio waits for the next picture, 40 ms",
                AtMost(100.0),
                "ms",
                self.median("fan-out-1800", AUTO, latency),
            ),
            Target::new(
                "CPU per Gbit against nginx-rtmp, 1800 × 500 kbit/s, mergeWrite 100",
                AtMost(0.25),
                "",
                self.ratio("fan-out-1800", HUNDRED, NGINX, Row::cost),
            ),
            Target::new(
                "CPU per Gbit against nginx-rtmp, 300 × 5 Mbit/s, auto",
                AtMost(0.8),
                "",
                self.ratio("heavy-300", AUTO, NGINX, Row::cost),
            ),
            Target::new(
                "latency p99 of 10000 players at 500 kbit/s, auto",
                AtMost(150.0),
                "ms",
                self.median("fan-out-10000", AUTO, latency),
            ),
            Target::new(
                "part of the stream that 10000 players get, auto",
                Bound::AtLeast(0.99),
                "",
                self.median("fan-out-10000", AUTO, |row| row.rate / row.wanted),
            ),
        ]
    }

    fn pairs(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for size in [2000, 3000] {
            for (label, server) in [("auto", AUTO), ("mergeWrite 100", HUNDRED)] {
                targets.push(Target::new(
                    &format!("CPU per Gbit against nginx-rtmp, {size} pairs, {label}"),
                    Bound::AtMost(0.85),
                    "",
                    self.ratio(&format!("pairs-{size}"), server, NGINX, Row::cost),
                ));
            }
        }
        targets.push(Target::new(
            "CPU per Gbit against the relay floor, 1000 pairs, nothing merged",
            Bound::AtMost(1.4),
            "",
            self.ratio("pairs-1000", NONE, "relay floor", Row::cost),
        ));
        targets
    }

    fn memory(&self) -> Vec<Target> {
        let added = || {
            let few = self.median("fan-out-300", AUTO, |row| row.resident as f64)?;
            let many = self.median("fan-out-1800", AUTO, |row| row.resident as f64)?;
            Some((many - few) / 1500.0)
        };
        let without_media = |row: &Row| {
            let media = row.log_bytes_per_stream().unwrap_or(0.0) / 1024.0;
            row.memory() - media * row.report.publishers.publishing as f64 / row.connections as f64
        };
        let shape = Shape { bitrate: 800_000, ..Shape::default() };
        let group = shape.bitrate as f64 / 8.0 * shape.gop as f64 / shape.frame_rate as f64;
        vec![
            Target::new("resident memory per added player", Bound::AtMost(4.0), "KiB", added()),
            // Publishers begin 1000 a second: here their key frames are spread over a group, so that the media of all
            // together is always about the same.
            Target::new(
                "resident memory per connection, 2000 pairs, without the media in logs",
                Bound::AtMost(16.0),
                "KiB",
                self.median("pairs-2000", AUTO, without_media),
            ),
            // And here they come within a second, so that it is taken as much as the fullest instant needs.
            Target::new(
                "the same with 1000 pairs, whose key frames come at about the same time",
                Bound::AtMost(16.0),
                "KiB",
                self.median("pairs-1000", NONE, without_media),
            ),
            Target::new(
                "media in a log against the bytes of one group of pictures, mean over 1000 streams",
                Bound::AtMost(1.25),
                "",
                self.median("pairs-1000", NONE, |row| row.log_bytes_per_stream().unwrap_or(f64::NAN) / group)
                    .filter(|ratio| ratio.is_finite()),
            ),
        ]
    }

    fn starts(&self) -> Vec<Target> {
        use Bound::AtMost;
        let storm = |row: &Row| row.report.storm.as_ref().map_or(f64::NAN, |storm| storm.per_second);
        let picture = |row: &Row| row.players().start_to_picture.p99;
        vec![
            Target::new(
                "connect to Play.Start, p50",
                AtMost(2.0),
                "ms",
                self.median("join-2", AUTO, |row| row.players().connect_to_start.p50),
            ),
            Target::new(
                "connections per second against nginx-rtmp, 1000 in flight",
                Bound::AtLeast(1.5),
                "",
                self.ratio("storm-1000", AUTO, NGINX, storm),
            ),
            Target::new(
                "Play.Start to first picture, p99, key frames 2 s apart",
                AtMost(50.0),
                "ms",
                self.median("join-2", AUTO, picture),
            ),
            Target::new(
                "Play.Start to first picture, p99, key frames 8 s apart",
                AtMost(50.0),
                "ms",
                self.median("join-8", AUTO, picture),
            ),
            Target::new(
                "lag after the start, p99, key frames 8 s apart",
                AtMost(1000.0),
                "ms",
                self.median("join-8", AUTO, |row| row.players().start_lag.p99),
            ),
            Target::new(
                "turns per second of the busier of two workers that a stream of 68 messages a second does not use",
                AtMost(10.0),
                "",
                self.median("idle-workers", AUTO, idle_turns).filter(|turns| turns.is_finite()),
            ),
            Target::new(
                "CPU with 1000 readers of one byte a second, against without them",
                AtMost(1.2),
                "",
                self.slow_readers(),
            ),
        ]
    }

    fn slow_readers(&self) -> Option<f64> {
        let with = self.median("slow-with", AUTO, |row| row.cpu)?;
        Some(with / self.median("slow-without", AUTO, |row| row.cpu)?)
    }
}

/// Turns per second of the busier of the two idlest workers.
fn idle_turns(row: &Row) -> f64 {
    let turns = |at: &str| -> Vec<f64> {
        let workers = row.counters[at]["workers"].as_array();
        workers.into_iter().flatten().filter_map(|worker| worker["turns"].as_f64()).collect()
    };
    let (open, close) = (turns("open"), turns("close"));
    let mut rates: Vec<f64> =
        close.iter().zip(&open).map(|(close, open)| (close - open) / row.report.window).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(server: &str, repetition: usize, cpu: f64) -> Row {
        Row { scenario: "s".into(), server: server.into(), repetition, cpu, rate: 1.0, ..Row::default() }
    }

    #[test]
    fn ratios_are_of_the_same_repetition() {
        let rows =
            [row("a", 0, 10.0), row("b", 0, 20.0), row("a", 1, 30.0), row("b", 1, 30.0), row("a", 2, 9.0)];
        let figures = Figures::new(&rows);
        assert_eq!(figures.ratio("s", "a", "b", Row::cost), Some(0.75));
        assert_eq!(figures.median("s", "a", |row| row.cpu), Some(10.0));
        assert_eq!(figures.median("s", "c", |row| row.cpu), None);
    }

    #[test]
    fn bounds_have_a_side() {
        let target = |bound, found| Target::new("", bound, "", found).pass();
        assert_eq!(target(Bound::AtMost(1.0), Some(1.0)), Some(true));
        assert_eq!(target(Bound::AtMost(1.0), Some(1.1)), Some(false));
        assert_eq!(target(Bound::AtLeast(1.0), Some(1.1)), Some(true));
        assert_eq!(target(Bound::AtLeast(1.0), None), None);
    }
}
