//! Tables and plots of a run.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use plotters::prelude::*;

use super::Machine;
use super::figures::{Bound, Figures, Target};
use super::row::Row;
use super::scenario::{Scenario, scenarios};

/// Between these lines of a document stands what a run writes.
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// The measurements and the figures to reach, as Markdown.
pub fn tables(rows: &[Row]) -> String {
    let figures = Figures::new(rows);
    let mut text = String::from("## Figures to reach\n\n");
    text += &targets(&figures.targets());
    let all = scenarios(false);
    for (family, title, note) in FAMILIES {
        let of_family: Vec<&Scenario> =
            all.iter().filter(|scenario| scenario.name.starts_with(family)).collect();
        let table = measurements(&figures, &of_family);
        if !table.is_empty() {
            let _ = write!(text, "\n## {title}\n\n{note}\n\n{table}");
        }
    }
    text
}

/// The families of scenarios, by the beginning of their names.
const FAMILIES: [(&str, &str, &str); 10] = [
    (
        "fan-out",
        "Many players of one stream, 500 kbit/s",
        "One publisher; audio and video leave it separately, 68 messages a second.",
    ),
    ("heavy", "Many players of one stream, 5 Mbit/s", "As above, with larger pictures."),
    (
        "pairs",
        "Pairs",
        "Each publisher has one player; audio leaves with the next picture, 25 writes a second from each publisher.",
    ),
    (
        "tunnel",
        "What stands around RTMP",
        "TLS, RTMPE and HTTP beside plain RTMP, in the same run. Publishers and players use the same scheme. What is \
         inside is made once for all players; what stands around it, for each.",
    ),
    (
        "storm",
        "Connections that come and go",
        "Each connects, plays until NetStream.Play.Start, and closes; beside them a publisher of 500 kbit/s with 10 players is live.",
    ),
    (
        "decisions",
        "Decisions about connects",
        "Each connects and closes when `connect` is answered, 64 at a time, beside a live publisher with 10 players. \
         *Decision* counts from the command `connect` to its answer, both at the client: with 64 at a time most of it is \
         the wait for the others.",
    ),
    (
        "join",
        "Joining in the middle of a group of pictures",
        "Players join at random instants. *First picture* counts from NetStream.Play.Start, *start lag* is how far behind live they begin.",
    ),
    (
        "idle",
        "Idle workers and players",
        "A server of four workers with one publisher and one player, and players of a name that nobody publishes.",
    ),
    (
        "slow",
        "Slow readers",
        "Players that read slowly or not at all, beside others that do not. The figures are those of the first class.",
    ),
    (
        "load",
        "Heavy loads",
        "Looked at once. 7600 players of 6 Mbit/s are more than a core can serve: what matters is that no picture is torn and nobody is cut off.",
    ),
];

fn targets(targets: &[Target]) -> String {
    let mut text = String::from("| Figure | Target | Found | |\n|---|---|---|---|\n");
    for target in targets {
        let unit = if target.unit.is_empty() { String::new() } else { format!(" {}", target.unit) };
        let bound = match target.bound {
            Bound::AtMost(bound) => format!("≤ {bound}{unit}"),
            Bound::AtLeast(bound) => format!("≥ {bound}{unit}"),
        };
        let (found, verdict) = match (target.found, target.pass()) {
            (Some(found), Some(pass)) => {
                (format!("{found:.2}{unit}"), if pass { "pass" } else { "**short**" })
            }
            _ => ("–".into(), "not measured"),
        };
        let _ = writeln!(text, "| {} | {bound} | {found} | {verdict} |", target.name);
    }
    text
}

fn measurements(figures: &Figures<'_>, scenarios: &[&Scenario]) -> String {
    let mut text = String::new();
    for scenario in scenarios {
        for server in &scenario.servers {
            let label = server.label();
            if !figures.rows(&scenario.name, &label).is_empty() {
                if text.is_empty() {
                    text += "| Load | Server | CPU % | Gbit/s | of | core-s/Gbit | KiB per connection | \
                        latency p50 / p99 / max ms, pictures p99 | Play.Start p50 / p99 ms | first picture p50 / p99 ms | \
                        start lag p50 / p99 ms | lost, torn | failed, cut | generator CPU % | |\n\
                        |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
                }
                text += &measurement(figures, scenario, &label);
            }
        }
    }
    text
}

fn measurement(figures: &Figures<'_>, scenario: &Scenario, server: &str) -> String {
    let median =
        |figure: &dyn Fn(&Row) -> f64| figures.median(&scenario.name, server, figure).unwrap_or_default();
    let raw = server.contains("floor");
    let times = |show: bool, first: &dyn Fn(&Row) -> f64, second: &dyn Fn(&Row) -> f64| {
        if show { format!("{:.1} / {:.1}", median(first), median(second)) } else { "–".into() }
    };
    let rate = median(&|row| row.rate);
    let cost = if rate > 0.001 { format!("{:.3}", median(&Row::cost)) } else { "–".into() };
    let latency = times(rate > 0.001, &|row| row.players().latency.p50, &|row| row.players().latency.p99);
    let worst = median(&|row| row.players().latency.max);
    let pictures = median(&|row| row.players().picture_latency.p99);
    let counts: Vec<String> = figures.rows(&scenario.name, server).iter().map(|row| note(row)).collect();
    let lost = median(&|row| row.players().frames.lost_pictures as f64);
    let torn = median(&|row| row.players().frames.torn as f64);
    let failed = median(&|row| row.players().failed as f64);
    let cut = median(&|row| row.players().disconnected as f64);
    format!(
        "| {} | {server} | {:.1} | {rate:.3} | {:.3} | {cost} | {:.1} | {latency} / {worst:.0}, {pictures:.1} | {} | {} | {} | \
         {lost}, {torn} | {failed}, {cut} | {:.0} | {} |\n",
        scenario.title,
        median(&|row| row.cpu),
        median(&|row| row.wanted),
        median(&Row::memory),
        times(!raw, &|row| row.players().connect_to_start.p50, &|row| row.players().connect_to_start.p99),
        times(!raw, &|row| row.players().start_to_picture.p50, &|row| row.players().start_to_picture.p99),
        times(!raw, &|row| row.players().start_lag.p50, &|row| row.players().start_lag.p99),
        median(&|row| row.report.generator_cpu),
        counts.first().cloned().unwrap_or_default(),
    )
}

/// What else a row has to say.
fn note(row: &Row) -> String {
    let mut notes = Vec::new();
    if let Some(storm) = &row.report.storm {
        if storm.connects_only {
            notes.push(format!("{} connects, {:.0} a second", storm.completed, storm.per_second));
            let (decision, worst) = (storm.decision, storm.decision.max);
            notes.push(format!(
                "decision {:.2} / {:.2} / {worst:.2} ms (p50 / p99 / max)",
                decision.p50, decision.p99
            ));
        } else {
            notes.push(format!("{:.0} connections a second", storm.per_second));
            notes.push(format!(
                "Play.Start {:.0} / {:.0} ms",
                storm.connect_to_start.p50, storm.connect_to_start.p99
            ));
        }
        if storm.failed > 0 {
            notes.push(format!("{} failed", storm.failed));
        }
    }
    for class in row.report.classes.iter().skip(1) {
        let frames = class.frames;
        notes.push(format!(
            "{}: {} playing, {} pictures, {} lost, {} skips, {} torn, {} cut",
            class.class,
            class.started - class.disconnected,
            frames.pictures,
            frames.lost_pictures,
            frames.skips,
            frames.torn,
            class.disconnected,
        ));
    }
    let close = &row.counters["close"];
    let workers = close["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if workers.len() > 1 {
        let open = row.counters["open"]["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let turns = workers.iter().zip(open).map(|(close, open)| {
            let turns = close["turns"].as_f64().unwrap_or(0.0) - open["turns"].as_f64().unwrap_or(0.0);
            format!("{:.1}", turns / row.report.window)
        });
        notes.push(format!("turns per second: {}", turns.collect::<Vec<_>>().join(", ")));
    }
    let cut: u64 = workers.iter().filter_map(|worker| worker["playersCut"].as_u64()).sum();
    if cut > 0 {
        notes.push(format!("{cut} players cut by the server"));
    }
    if let Some(level) = workers.first().and_then(|worker| worker["merge"]["level"].as_str())
        && row.server.ends_with("auto")
    {
        notes.push(format!("merging: {level}"));
    }
    if row.waited > 10.0 {
        notes.push(format!("the server waited {:.0} % of the time for its processor", row.waited));
    }
    if row.dropped > 0 {
        notes.push(format!("{} packets dropped: the machine was busy", row.dropped));
    }
    if row.report.generator_cpu > 90.0 {
        notes.push("the generator is at its limit".into());
    }
    if row.report.publishers.disconnected > 0 {
        notes.push(format!("{} publishers lost", row.report.publishers.disconnected));
    }
    let late = row.report.publishers.late.p99;
    if late > 5.0 {
        notes.push(format!("publishers late by {late:.0} ms (p99)"));
    }
    notes.join("; ")
}

/// Writes a run into the document at `path`, and its plots into the folder of the same name beside it.
///
/// # Errors
///
/// If a file cannot be written, or the document lacks the lines between which a run stands.
pub fn write(path: &Path, machine: &Machine, rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let folder = path.with_extension("");
    fs::create_dir_all(&folder)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let repetitions = rows.iter().map(|row| row.repetition + 1).max().unwrap_or(0);
    let mut text = format!(
        "Measured on {} at commit {}: {} ({} cores, {} GiB), Linux {}, congestion control {}; {}; {}. \
         Medians of {repetitions} repetitions.\n\n",
        machine.date,
        machine.commit,
        machine.processor,
        machine.cores,
        machine.memory,
        machine.kernel,
        machine.congestion,
        machine.server,
        machine.nginx,
    );
    for plot in &PLOTS {
        let file = format!("{}.svg", plot.file);
        if draw(&folder.join(&file), plot, rows)? {
            let _ = writeln!(text, "![{}]({name}/{file})\n", plot.title);
        }
    }
    text += &tables(rows);
    let document = fs::read_to_string(path)?;
    fs::write(path, replaced(&document, &text).ok_or("the document has no place for a run")?)?;
    Ok(())
}

/// The document with `text` between its marks.
fn replaced(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

/// A plot over the number of connections of the scenarios of one family.
struct Plot {
    file: &'static str,
    title: &'static str,
    family: &'static str,
    axis: &'static str,
    figure: fn(&Row) -> f64,
    most: f64,
}

static PLOTS: [Plot; 4] = [
    Plot {
        file: "fan-out-cpu",
        title: "CPU over players of one stream, 500 kbit/s",
        family: "fan-out-",
        axis: "CPU, % of a core",
        figure: |row| row.cpu,
        most: 100.0,
    },
    Plot {
        file: "fan-out-cost",
        title: "CPU per gigabit over players of one stream, 500 kbit/s",
        family: "fan-out-",
        axis: "core-s per Gbit",
        figure: Row::cost,
        most: f64::INFINITY,
    },
    Plot {
        file: "fan-out-latency",
        title: "Latency p99 over players of one stream, 500 kbit/s",
        family: "fan-out-",
        axis: "ms",
        figure: |row| row.players().latency.p99,
        most: 300.0,
    },
    Plot {
        file: "pairs-cpu",
        title: "CPU over pairs, 800 kbit/s",
        family: "pairs-",
        axis: "CPU, % of a core",
        figure: |row| row.cpu,
        most: 100.0,
    },
];

/// Draws a plot, if there is anything to draw.
fn draw(path: &Path, plot: &Plot, rows: &[Row]) -> Result<bool, Box<dyn Error>> {
    let figures = Figures::new(rows);
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for scenario in scenarios(false).iter().filter(|scenario| scenario.name.starts_with(plot.family)) {
        let players: usize = scenario.plan.players.iter().map(|players| players.count).sum();
        for server in &scenario.servers {
            let label = server.label();
            let Some(value) = figures.median(&scenario.name, &label, plot.figure) else { continue };
            let point = (players as f64, value);
            match lines.iter_mut().find(|(name, _)| *name == label) {
                Some((_, points)) => points.push(point),
                None => lines.push((label, vec![point])),
            }
        }
    }
    let points = || lines.iter().flat_map(|(_, points)| points);
    let right = points().map(|(x, _)| *x).fold(0.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(0.0, f64::max).min(plot.most);
    if right == 0.0 || top == 0.0 {
        return Ok(false);
    }
    let area = SVGBackend::new(path, (860, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..right * 1.02, 0.0..top * 1.08)?;
    chart.configure_mesh().x_desc("players").y_desc(plot.axis).light_line_style(WHITE).draw()?;
    for (index, (label, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let shown: Vec<(f64, f64)> = points.iter().map(|(x, y)| (*x, y.min(top * 1.08))).collect();
        chart
            .draw_series(LineSeries::new(shown.clone(), colour.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        chart.draw_series(shown.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_replaces_the_one_before() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let once = replaced(&document, "new\n").expect("there are marks");
        assert_eq!(once, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replaced(&once, "new"), Some(once.clone()));
        assert_eq!(replaced("a", "new"), None);
    }

    #[test]
    fn every_scenario_has_a_family() {
        for scenario in scenarios(false) {
            let families = FAMILIES.iter().filter(|(name, ..)| scenario.name.starts_with(name)).count();
            assert_eq!(families, 1, "{}", scenario.name);
        }
    }

    #[test]
    fn plots_need_no_fonts() {
        let folder = tempfile::tempdir().expect("a folder");
        let row = |scenario: &str, cpu| Row {
            scenario: scenario.into(),
            server: "nginx-rtmp".into(),
            cpu,
            rate: 1.0,
            ..Row::default()
        };
        let path = folder.path().join("plot.svg");
        assert!(!draw(&path, &PLOTS[0], &[]).expect("nothing is drawn"));
        let rows = [row("fan-out-300", 10.0), row("fan-out-1800", 60.0)];
        assert!(draw(&path, &PLOTS[0], &rows).expect("it is drawn"));
        let svg = fs::read_to_string(path).expect("a file");
        assert!(svg.contains("nginx-rtmp") && svg.contains("polyline"));
    }
}
