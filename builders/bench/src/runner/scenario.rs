//! What is measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::server::{Server, Settings, ours};
use crate::load::{Assignment, Join, Plan, Players, Reading, Scheme, Storm, Until};
use crate::source::{Bundling, Shape};

/// A load, and the servers that it is put on.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name; what stands before the last `-` is its family.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// The load; target and form are the runner's.
    pub plan: Plan,
    /// The servers.
    pub servers: Vec<Server>,
    /// It is looked at once and not repeated.
    pub once: bool,
    /// crtmpserver is asked for its counters when the window closes.
    pub counters: bool,
    /// And when it opens.
    pub counters_at_opening: bool,
}

impl Scenario {
    fn new(name: impl Into<String>, title: impl Into<String>, plan: Plan, servers: &[Server]) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            plan,
            servers: servers.to_vec(),
            once: false,
            counters: false,
            counters_at_opening: false,
        }
    }

    const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    const fn counted(mut self) -> Self {
        self.counters = true;
        self
    }

    /// Connections of publishers and players.
    pub fn connections(&self) -> usize {
        self.plan.publishers.count + self.plan.players.iter().map(|players| players.count).sum::<usize>()
    }
}

const AUTO: Server = Server::Ours(ours("\"auto\""));
const NONE: Server = Server::Ours(ours("0"));
const HUNDRED: Server = Server::Ours(ours("100"));
const FLOOR: Server = Server::Floor("message");
const FLOOR_RIDE: Server = Server::Floor("ride");
const FLOOR_100: Server = Server::Floor("100");
const RELAY: Server = Server::Floor("relay");
const NGINX: Server = Server::Nginx;

/// Settings with which a slow player's fate is decided within a short window.
const IMPATIENT: Settings = Settings {
    application: &[("sendBuffer", "65536"), ("maxLag", "3")],
    limits: &[("playerCut", "6")],
    ..ours("\"auto\"")
};

/// Send buffers that slow players fill within seconds; with the system's own a server would write to them for a minute
/// as to anybody else.
const SHORT: Settings = Settings { application: &[("sendBuffer", "32768")], ..ours("\"auto\"") };

/// Each connection may hold this much in the kernel, so that thousands of late players do not fill the machine.
const SHALLOW: Settings =
    Settings { application: &[("sendBuffer", "131072"), ("maxLag", "3")], ..ours("\"auto\"") };

/// With applications beside that decide about connects.
const DECIDES: Server = Server::Ours(Settings { decisions: true, merge: None, ..ours("") });

/// More workers than a stream with one player can use.
const FOUR_WORKERS: Settings = Settings { workers: 4, ..ours("\"auto\"") };

/// The same with something around RTMP. All connections are from one address.
const fn tunnel(scheme: Scheme) -> Server {
    let limits = &[("handshakesPerAddress", "0"), ("rtmptSessions", "10000")];
    Server::Ours(Settings { scheme, limits, ..ours("\"auto\"") })
}

/// All scenarios, or those of a quick run.
pub fn scenarios(quick: bool) -> Vec<Scenario> {
    let bench = Bench { quick };
    let mut all = bench.fan_out();
    all.extend(bench.pairs());
    all.extend(bench.tunnels());
    all.extend(bench.storms());
    all.extend(bench.decisions());
    all.extend(bench.joins());
    all.extend(bench.reliability());
    all
}

struct Bench {
    quick: bool,
}

/// Numbers of players, and the servers that they are put on.
type Sizes<'a> = &'a [(usize, &'a [Server])];

impl Bench {
    fn plan(&self, bitrate: u64) -> Plan {
        let mut plan = Plan::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        plan.publishers.shape = Shape { bitrate, ..Shape::default() };
        // Servers that start players at the next key frame should have started them all.
        plan.settle = Duration::from_millis(2200);
        plan.window = Duration::from_secs(if self.quick { 4 } else { 8 });
        plan
    }

    fn fan_out(&self) -> Vec<Scenario> {
        let small: [(usize, &[Server]); 6] = [
            (300, &[FLOOR, NGINX, NONE, AUTO]),
            (900, &[NGINX, AUTO]),
            (1800, &[FLOOR, FLOOR_RIDE, FLOOR_100, NGINX, NONE, AUTO, HUNDRED]),
            (3000, &[FLOOR_100, NGINX, NONE, AUTO, HUNDRED]),
            (6000, &[AUTO, HUNDRED]),
            (10_000, &[FLOOR_100, AUTO, HUNDRED]),
        ];
        let large: [(usize, &[Server]); 3] = [
            (100, &[NGINX, AUTO]),
            (300, &[FLOOR, FLOOR_100, NGINX, NONE, AUTO, HUNDRED]),
            (600, &[NGINX, AUTO]),
        ];
        let quick: [(usize, &[Server]); 3] = [
            (300, &[NGINX, AUTO]),
            (1800, &[FLOOR, FLOOR_RIDE, FLOOR_100, NGINX, NONE, AUTO, HUNDRED]),
            (10_000, &[AUTO]),
        ];
        let quick_large: [(usize, &[Server]); 1] = [(300, &[NGINX, NONE, AUTO])];
        let tables: [(u64, Sizes<'_>); 2] = if self.quick {
            [(500_000, &quick), (5_000_000, &quick_large)]
        } else {
            [(500_000, &small), (5_000_000, &large)]
        };
        let mut all = Vec::new();
        for (bitrate, table) in tables {
            for (count, servers) in table {
                let join = Join::Ramp(if *count > 3000 { 2000.0 } else { 1000.0 });
                let players =
                    Players { sample: (count / 150).max(1), join, ..Players::new("players", *count) };
                let (name, rate) =
                    if bitrate < 1_000_000 { ("fan-out", "500 kbit/s") } else { ("heavy", "5 Mbit/s") };
                let title = format!("one publisher of {rate}, {count} players");
                let scenario = Scenario::new(
                    format!("{name}-{count}"),
                    title,
                    self.plan(bitrate).with(players),
                    servers,
                );
                // The counters of thousands of connections would take part of the drain.
                all.push(if *count <= 3000 { scenario.counted() } else { scenario });
            }
        }
        all
    }

    fn pairs(&self) -> Vec<Scenario> {
        let full: [(usize, &[Server]); 4] = [
            (300, &[RELAY, NGINX, NONE, AUTO]),
            (1000, &[RELAY, NGINX, NONE, AUTO]),
            (2000, &[RELAY, NGINX, AUTO, HUNDRED]),
            (3000, &[NGINX, AUTO, HUNDRED]),
        ];
        let quick: [(usize, &[Server]); 2] = [(1000, &[RELAY, NGINX, NONE]), (2000, &[NGINX, AUTO, HUNDRED])];
        let table: Sizes<'_> = if self.quick { &quick } else { &full };
        let scenario = |(count, servers): &(usize, &[Server])| {
            let mut plan = self.plan(800_000);
            plan.publishers.count = *count;
            plan.publishers.shape.bundling = Bundling::WithVideo;
            plan.ramp = 1000.0;
            let players = Players {
                stream: Assignment::Spread(0),
                sample: (count / 150).max(1),
                join: Join::Ramp(1000.0),
                ..Players::new("players", *count)
            };
            let title = format!("{count} publishers of 800 kbit/s, one player each");
            Scenario::new(format!("pairs-{count}"), title, plan.with(players), servers).counted()
        };
        table.iter().map(scenario).collect()
    }

    /// What TLS, HTTP and RTMPE cost beside nothing.
    fn tunnels(&self) -> Vec<Scenario> {
        if self.quick {
            return Vec::new();
        }
        let schemes =
            [Scheme::Rtmp, Scheme::Rtmps, Scheme::Rtmpe, Scheme::Rtmpt, Scheme::Rtmpts, Scheme::Rtmpte];
        let servers = schemes.map(tunnel);
        let join = Join::Ramp(200.0);
        let (players, pairs) = (900, 300);
        let many = Players { sample: 10, join, ..Players::new("players", players) };
        let mut each = self.plan(800_000);
        each.publishers.count = pairs;
        each.publishers.shape.bundling = Bundling::WithVideo;
        each.ramp = 100.0;
        let one =
            Players { stream: Assignment::Spread(0), sample: 5, join, ..Players::new("players", pairs) };
        vec![
            Scenario::new(
                format!("tunnel-{players}"),
                format!("one publisher of 500 kbit/s, {players} players, all by the same scheme"),
                self.plan(500_000).with(many),
                &servers,
            ),
            Scenario::new(
                format!("tunnel-pairs-{pairs}"),
                format!("{pairs} publishers of 800 kbit/s, one player each, all by the same scheme"),
                each.with(one),
                &servers,
            ),
        ]
    }

    fn storms(&self) -> Vec<Scenario> {
        let sizes: &[usize] = if self.quick { &[1000] } else { &[64, 1000] };
        let scenario = |in_flight: &usize| {
            let mut plan = self.plan(500_000);
            plan.storm = Some(Storm { in_flight: *in_flight, until: Until::Playing });
            let title = format!(
                "connect, play, close; {in_flight} at a time, beside a live publisher and 10 players"
            );
            let plan = plan.with(Players::new("players", 10));
            Scenario::new(format!("storm-{in_flight}"), title, plan, &[NGINX, AUTO])
        };
        sizes.iter().map(scenario).collect()
    }

    /// The same connects, decided by the worker and by applications.
    fn decisions(&self) -> Vec<Scenario> {
        let scenario = |name: &str, title: &str, application: &str| {
            let mut plan = self.plan(500_000);
            plan.application = application.into();
            plan.storm = Some(Storm { in_flight: 64, until: Until::Connected });
            Scenario::new(name, title, plan.with(Players::new("players", 10)), &[DECIDES]).once()
        };
        vec![
            scenario("decisions-none", "connects without a hook", "live"),
            scenario("decisions-rust", "connects that `on_connect` in Rust accepts", "decides"),
            scenario("decisions-lua", "connects that `on_connect` in Lua accepts", "lua"),
        ]
    }

    fn joins(&self) -> Vec<Scenario> {
        let scenario = |seconds: u64| {
            let mut plan = self.plan(1_000_000);
            plan.publishers.shape.gop = seconds * plan.publishers.shape.frame_rate;
            plan.settle = Duration::from_secs(4);
            plan.window = Duration::from_secs(2);
            let within = Duration::from_secs(2 * seconds);
            let players =
                Players { join: Join::Random(within), ..Players::new("players", 40 * seconds as usize) };
            let title = format!("players join at random instants, key frames {seconds} s apart, 1 Mbit/s");
            let servers: &[Server] = if self.quick { &[AUTO] } else { &[NGINX, AUTO] };
            Scenario::new(format!("join-{seconds}"), title, plan.with(players), servers)
        };
        vec![scenario(2), scenario(8)]
    }

    /// Loads of the reliability catalogue, sized for a machine of two cores.
    fn reliability(&self) -> Vec<Scenario> {
        let class = |name: &str, count, join| Players { join, ..Players::new(name, count) };
        let ramp = Join::Ramp(400.0);
        let crawling = |count| Players {
            reading: Reading::Rate(1),
            receive_buffer: Some(8192),
            ..class("one byte a second", count, Join::Ramp(1000.0))
        };
        let normal = || {
            let mut plan = self.plan(500_000);
            plan.settle = Duration::from_secs(5);
            plan.with(Players { sample: 4, ..class("players", 300, ramp) })
        };
        let short = [Server::Ours(SHORT)];
        let title = "300 players, and 1000 that read one byte a second (SLOW-03)";
        let mut all = vec![
            Scenario::new("slow-without", "300 players", normal(), &short),
            Scenario::new("slow-with", title, normal().with(crawling(1000)), &short).counted(),
        ];
        let mut workers = Scenario::new(
            "idle-workers",
            "one publisher and one player on a server of four workers: two have nothing to do",
            self.plan(500_000).with(Players::new("players", 1)),
            &[Server::Ours(FOUR_WORKERS)],
        )
        .counted();
        workers.counters_at_opening = true;
        workers.once = true;
        all.push(workers);
        let idle = if self.quick { 1000 } else { 3000 };
        let nobody = Players { stream: Assignment::Nobody, ..class("idle", idle, Join::Ramp(1000.0)) };
        let servers: &[Server] = if self.quick { &[AUTO] } else { &[NGINX, AUTO] };
        let title = format!("{idle} players of a name that nobody publishes (LOAD-02)");
        all.push(Scenario::new("idle-players", title, self.plan(500_000).with(nobody), servers).once());
        all.extend(self.slow_readers());
        if !self.quick {
            all.extend(self.heavy_loads());
        }
        all
    }

    fn slow_readers(&self) -> Vec<Scenario> {
        let impatient = [Server::Ours(IMPATIENT)];
        let half = |slow: Reading| {
            let mut plan = self.plan(6_000_000);
            plan.window = Duration::from_secs(if self.quick { 12 } else { 20 });
            plan.with(Players::new("players", 100)).with(Players {
                reading: slow,
                receive_buffer: Some(16_384),
                ..Players::new("slow", 100)
            })
        };
        let title = "100 players, and 100 that read a tenth of 6 Mbit/s (SLOW-01)";
        let mut all = vec![
            Scenario::new("slow-tenth", title, half(Reading::Rate(75_000)), &impatient).once().counted(),
        ];
        if !self.quick {
            let title = "100 players, and 100 that stop to read (SLOW-02)";
            all.push(Scenario::new("slow-never", title, half(Reading::Never), &impatient).once().counted());
        }
        all
    }

    fn heavy_loads(&self) -> Vec<Scenario> {
        let mut all = Vec::new();
        let fast = Join::Ramp(1000.0);
        let players = |count: usize, stream| Players {
            stream,
            sample: (count / 100).max(1),
            join: fast,
            ..Players::new("players", count)
        };

        let overload = players(7600, Assignment::Shared(0));
        let title = "7600 players of 6 Mbit/s, more than a core can serve (LOAD-01)";
        let plan = self.plan(6_000_000).with(overload);
        all.push(Scenario::new("load-overload", title, plan, &[Server::Ours(SHALLOW)]));

        let mass = Players {
            sample: 10,
            join: Join::Random(Duration::from_secs(1)),
            ..Players::new("players", 1000)
        };
        let title = "1000 players join within one second (LOAD-05)";
        all.push(Scenario::new("load-mass", title, self.plan(500_000).with(mass), &[AUTO]));

        for (publishers, count) in [(500, 500), (1, 500), (50, 500)] {
            let mut plan = self.plan(500_000).with(players(count, Assignment::Spread(0)));
            plan.publishers.count = publishers;
            let title = format!("{publishers} publishers of 500 kbit/s, {count} players in all (LOAD-06)");
            all.push(Scenario::new(
                format!("load-{publishers}x{}", count / publishers),
                title,
                plan,
                &[AUTO],
            ));
        }

        let mut plan = self.plan(500_000).with(players(100, Assignment::Shared(1)));
        plan.publishers.count = 2;
        // With the usual weight a key frame would be larger than the server lets any message be.
        plan.publishers.first = Some(Shape { bitrate: 400_000_000, key_weight: 2, ..Shape::default() });
        let title = "100 players, beside a publisher of 400 Mbit/s (LOAD-07)";
        all.push(Scenario::new("load-publisher", title, plan, &[AUTO]));
        all.into_iter().map(Scenario::once).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_a_quick_run_is_part_of_a_full_one() {
        let names = |quick| scenarios(quick).into_iter().map(|scenario| scenario.name).collect::<Vec<_>>();
        let full: BTreeSet<String> = names(false).into_iter().collect();
        assert_eq!(full.len(), names(false).len());
        for name in names(true) {
            assert!(full.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_quick_run_is_quick() {
        let seconds = |scenario: &Scenario| {
            let plan = &scenario.plan;
            let join = |players: &Players| match players.join {
                Join::Ramp(rate) => players.count as f64 / rate,
                Join::Random(within) => within.as_secs_f64(),
            };
            let joins = plan.players.iter().map(join).fold(0.0, f64::max);
            let publishers = plan.publishers.count as f64 / plan.ramp;
            let once = publishers + joins + (plan.settle + plan.window + plan.drain).as_secs_f64() + 1.5;
            once * scenario.servers.len() as f64
        };
        let quick: f64 = scenarios(true).iter().map(seconds).sum();
        assert!(quick < 330.0, "{quick}");
        let all = scenarios(false);
        let full: f64 =
            all.iter().map(|scenario| seconds(scenario) * if scenario.once { 1.0 } else { 3.0 }).sum();
        assert!(full < 3400.0, "{full}");
    }
}
