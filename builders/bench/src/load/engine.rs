//! The loop of the load generator.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::Arc;

use crtmp_rtmp::chunk::Message;
use mio::event::Event as Readiness;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::MsgFlags;
use socket2::SockRef;

use super::connection::{Connection, Role, Stage, Wish};
use super::plan::{Assignment, Join, Plan, Reading};
use super::report::{Counting, Event, Progress, PublisherReport, Report, StormReport};
use super::veil::Veils;
use crate::clock::{self, Alarm, MILLISECOND, SECOND, nanoseconds};
use crate::judge::Judge;
use crate::quantiles::{Quantiles, Times};
use crate::source::{Bundling, Shape, Source};
use crate::stamp::FrameKind;

/// What happens at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A publisher of this number connects.
    OpenPublisher(usize),
    /// A player of this class and number connects.
    OpenPlayer(usize, usize),
    /// A connection of the storm begins.
    OpenStorm,
    /// A raw publisher in this slot begins to send.
    Begin(usize),
    /// A frame of the publisher in this slot is due.
    Publish(usize),
    /// A slow player in this slot reads.
    Read(usize),
    /// What stands around RTMP in this slot wants to do something.
    Tick(usize),
    Patience,
    OpenWindow,
    CloseWindow,
    End,
    Progress,
}

pub(super) struct Engine<'a> {
    plan: &'a Plan,
    observe: &'a mut dyn FnMut(Event),
    poll: Poll,
    alarm: Alarm,
    timers: BinaryHeap<Reverse<(u64, Timer)>>,
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Slots that become free after the batch of events in hand, which may still speak of them.
    freed: Vec<usize>,
    classes: Vec<Counting>,
    storm: Storming,
    publishing: usize,
    published: usize,
    publishers_lost: usize,
    /// Why a publisher could not publish.
    refused: Option<String>,
    late: Times,
    playing: usize,
    sent: u64,
    /// The window in nanoseconds of the clock; from the largest number on while it has not been opened.
    window: (u64, u64),
    window_open: bool,
    report: Report,
    cpu: u64,
    start: u64,
    players_begun: bool,
    done: bool,
    filler: Arc<[u8]>,
    /// Makes what stands around RTMP; none: nothing does.
    veils: Option<Veils>,
    buffer: Vec<u8>,
    waste: Vec<u8>,
}

#[derive(Default)]
struct Storming {
    opened: u64,
    completed: u64,
    failed: u64,
    times: Times,
    reasons: Vec<String>,
}

/// The alarm.
const ALARM: Token = Token(usize::MAX);

/// Bytes that a publisher may have waiting; while it has more, its frames are made late.
const WAITING: usize = 4 << 20;

/// With more publishers than this, their writes begin on a grid of one millisecond.
const EXACT: usize = 4;

/// Connections beyond which source addresses are spread.
const PORTS: usize = 20_000;

impl<'a> Engine<'a> {
    pub(super) fn new(plan: &'a Plan, observe: &'a mut dyn FnMut(Event)) -> io::Result<Self> {
        super::raise_file_limit()?;
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let publishers = &plan.publishers;
        let largest =
            publishers.first.iter().chain([&publishers.shape]).map(|shape| shape.picture_size(true));
        let largest = largest.max().unwrap_or(0);
        let filler = Source::filler(&publishers.shape);
        let first = publishers.first.as_ref().map(Source::filler).filter(|filler| filler.len() == largest);
        let veils = plan.scheme.outbound().map(|chain| Veils::new(chain, &plan.target.ip().to_string()));
        Ok(Self {
            plan,
            observe,
            poll,
            alarm,
            timers: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            classes: plan.players.iter().map(|_| Counting::default()).collect(),
            storm: Storming::default(),
            publishing: 0,
            published: 0,
            publishers_lost: 0,
            refused: None,
            late: Times::new(),
            playing: 0,
            sent: 0,
            window: (u64::MAX, u64::MAX),
            window_open: false,
            report: Report::default(),
            cpu: 0,
            start: clock::now(),
            players_begun: false,
            done: false,
            veils: veils.transpose().map_err(io::Error::other)?,
            filler: first.unwrap_or(filler),
            buffer: vec![0; 256 * 1024],
            // The kernel writes nothing into it, so its pages are never touched.
            waste: Vec::with_capacity(4 << 20),
        })
    }

    pub(super) fn run(mut self) -> io::Result<Report> {
        for number in 0..self.plan.publishers.count {
            let at = self.start + (number as f64 / self.plan.ramp * SECOND as f64) as u64;
            self.at(at, Timer::OpenPublisher(number));
        }
        self.at(self.start + nanoseconds(self.plan.patience), Timer::Patience);
        self.at(self.start + SECOND, Timer::Progress);
        if self.plan.publishers.count == 0 {
            self.begin_players(self.start);
        }
        let mut events = Events::with_capacity(256);
        loop {
            self.run_timers(clock::now())?;
            if self.done {
                return Ok(self.finish());
            }
            let Some(Reverse((next, _))) = self.timers.peek() else {
                return Err(io::Error::other("nothing is left to happen"));
            };
            let next = *next;
            self.alarm.set(next)?;
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                if event.token() == ALARM {
                    continue;
                }
                let now = self.ready(event.token().0, event);
                if self.timers.peek().is_some_and(|Reverse((due, _))| *due <= now) {
                    self.run_timers(now)?;
                }
            }
            self.free.append(&mut self.freed);
        }
    }

    fn at(&mut self, at: u64, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    fn run_timers(&mut self, now: u64) -> io::Result<()> {
        while let Some(Reverse((due, timer))) = self.timers.peek().copied() {
            if let Some(reason) = &self.refused {
                return Err(io::Error::other(format!("a publisher was refused: {reason}")));
            }
            if due > now || self.done {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::OpenPublisher(number) => self.open(Role::Publisher(number), None),
                Timer::OpenPlayer(class, number) => self.open(Role::Player { class, number }, None),
                Timer::OpenStorm => self.open_storm(),
                Timer::Begin(slot) => self.begin_publisher(slot, due),
                Timer::Publish(slot) => self.publish(slot, now),
                Timer::Read(slot) => self.read_slowly(slot, now),
                Timer::Tick(slot) => self.tick(slot),
                Timer::Patience if self.published < self.plan.publishers.count => {
                    let wanted = self.plan.publishers.count;
                    return Err(io::Error::other(format!(
                        "{} of {wanted} publishers publish",
                        self.published
                    )));
                }
                Timer::Patience => {}
                Timer::OpenWindow => self.open_window(),
                Timer::CloseWindow => self.close_window(),
                Timer::End => self.done = true,
                Timer::Progress => {
                    let progress = self.progress(now);
                    (self.observe)(Event::Progress(progress));
                    self.at(due + SECOND, Timer::Progress);
                }
            }
        }
        Ok(())
    }

    fn progress(&self, now: u64) -> Progress {
        Progress {
            seconds: (now - self.start) as f64 / SECOND as f64,
            publishing: self.publishing,
            playing: self.playing,
            open: self.slots.len() - self.free.len() - self.freed.len(),
            bytes: self.classes.iter().map(|class| class.bytes).sum(),
        }
    }

    fn open_window(&mut self) {
        (self.observe)(Event::WindowOpen);
        let now = clock::now();
        self.window = (now, now + nanoseconds(self.plan.window));
        self.window_open = true;
        self.cpu = clock::thread_cpu();
        self.report.opened_after = (now - self.start) as f64 / SECOND as f64;
        self.report.publishers.publishing = self.publishing;
        self.at(self.window.1, Timer::CloseWindow);
    }

    fn close_window(&mut self) {
        let now = clock::now();
        (self.observe)(Event::WindowClose);
        self.window_open = false;
        self.report.window = (now - self.window.0) as f64 / SECOND as f64;
        self.report.generator_cpu =
            (clock::thread_cpu() - self.cpu) as f64 / (now - self.window.0) as f64 * 100.0;
        self.at(now + nanoseconds(self.plan.drain), Timer::End);
    }

    /// Lets players come, now that all publish.
    fn begin_players(&mut self, now: u64) {
        self.players_begun = true;
        let (plan, mut last) = (self.plan, now);
        let mut random = plan.seed | 1;
        for (class, players) in plan.players.iter().enumerate() {
            for number in 0..players.count {
                let wait = match players.join {
                    Join::Ramp(rate) => (number as f64 / rate * SECOND as f64) as u64,
                    Join::Random(within) => {
                        // xorshift64: enough to spread instants.
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        random % nanoseconds(within).max(1)
                    }
                };
                last = last.max(now + wait);
                self.at(now + wait, Timer::OpenPlayer(class, number));
            }
        }
        if let Some(storm) = plan.storm {
            for _ in 0..storm.in_flight {
                self.at(now, Timer::OpenStorm);
            }
        }
        if plan.raw && plan.publishers.count > 0 {
            // Nothing would hold for a receiver what its sender sends before it comes.
            last += 300 * MILLISECOND;
            for slot in 0..self.slots.len() {
                if let Some(Role::Publisher(number)) =
                    self.slots[slot].as_ref().map(|connection| connection.role)
                {
                    let spread = self.shape(number).gop_time() * number as u64 / plan.publishers.count as u64;
                    self.at(last + spread, Timer::Begin(slot));
                }
            }
            last += plan.publishers.shape.gop_time();
        }
        self.at(last + nanoseconds(plan.settle), Timer::OpenWindow);
    }

    const fn shape(&self, number: usize) -> Shape {
        match self.plan.publishers.first {
            Some(shape) if number == 0 => shape,
            _ => self.plan.publishers.shape,
        }
    }

    fn open(&mut self, role: Role, from: Option<Ipv4Addr>) {
        let opened = self.slots.len() as u64;
        let from = from.or_else(|| (opened as usize > PORTS).then(|| source_address(opened)));
        let receive_buffer = match role {
            Role::Player { class, .. } => self.plan.players[class].receive_buffer,
            _ => None,
        };
        let connection = self.connect(from, receive_buffer, role);
        let slot = self.free.pop().unwrap_or(self.slots.len());
        let connection = connection.and_then(|mut connection| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut connection.socket, Token(slot), interest)?;
            Ok(connection)
        });
        match connection {
            Ok(connection) if slot == self.slots.len() => self.slots.push(Some(connection)),
            Ok(connection) => self.slots[slot] = Some(connection),
            Err(error) => {
                if slot < self.slots.len() {
                    self.free.push(slot);
                }
                self.failed(role, &error.to_string());
            }
        }
    }

    fn connect(
        &self,
        from: Option<Ipv4Addr>,
        receive_buffer: Option<usize>,
        role: Role,
    ) -> io::Result<Connection> {
        let veil = self.veils.as_ref().map(Veils::make).transpose().map_err(io::Error::other)?;
        Connection::open(self.plan.target, from, receive_buffer, role, self.plan.scheme, veil)
    }

    fn open_storm(&mut self) {
        self.storm.opened += 1;
        self.open(Role::Storm, Some(source_address(self.storm.opened)));
    }

    /// Serves a connection that the poll reported; gives the time.
    fn ready(&mut self, slot: usize, event: &Readiness) -> u64 {
        let mut now = clock::now();
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return now };
        if connection.stage == Stage::Opening {
            match connection.is_open() {
                Ok(false) => return now,
                Ok(true) => {
                    let opened = connection.opened(self.plan.raw, now);
                    let result = opened.map_err(|error| error.to_string());
                    self.after(slot, Stage::Opening, result);
                    return now;
                }
                Err(error) => {
                    self.lose(slot, &error.to_string());
                    return now;
                }
            }
        }
        if event.is_writable()
            && connection.waiting() > 0
            && let Err(error) = connection.flush()
        {
            self.lose(slot, &error.to_string());
            return now;
        }
        if connection.slow {
            if event.is_error() || event.is_write_closed() {
                self.lose(slot, "closed");
            }
        } else if event.is_readable() || event.is_read_closed() || event.is_error() {
            now = self.read(slot, event.is_read_closed() || event.is_error());
        }
        now
    }

    /// Reads until nothing is there; gives the time.
    fn read(&mut self, slot: usize, closed: bool) -> u64 {
        loop {
            let now = clock::now();
            let Some(connection) = self.slots[slot].as_mut() else { return now };
            let stage = connection.stage;
            let (result, room) = if connection.reads() {
                (connection.socket.read(&mut self.buffer), self.buffer.len())
            } else {
                let room = self.waste.spare_capacity_mut();
                let length = room.len();
                let socket = SockRef::from(&connection.socket);
                (socket.recv_with_flags(room, MsgFlags::MSG_TRUNC.bits()), length)
            };
            let count = match result {
                Ok(0) => {
                    self.lose(slot, "closed by the server");
                    return now;
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return now,
                Err(error) => {
                    self.lose(slot, &error.to_string());
                    return now;
                }
            };
            self.take(slot, stage, count, now);
            let Some(connection) = self.slots[slot].as_ref() else { return now };
            // What comes later is an event of its own; only the end that came with these bytes is not.
            if connection.slow || (count < room && !closed) {
                return now;
            }
        }
    }

    /// Reads what a slow player may at this time.
    fn read_slowly(&mut self, slot: usize, now: u64) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        let Role::Player { class, .. } = connection.role else { return };
        let Reading::Rate(rate) = self.plan.players[class].reading else { return };
        let (step, mut budget) = slow_step(rate);
        while budget > 0 {
            let Some(connection) = self.slots[slot].as_mut() else { return };
            let room = budget.min(self.buffer.len());
            match connection.socket.read(&mut self.buffer[..room]) {
                Ok(0) => return self.lose(slot, "closed by the server"),
                Ok(count) => {
                    budget -= count;
                    self.take(slot, Stage::Live, count, now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return self.lose(slot, &error.to_string()),
            }
        }
        self.at(now + step, Timer::Read(slot));
    }

    /// Takes `count` bytes that were received, in the buffer unless they were thrown away.
    fn take(&mut self, slot: usize, stage: Stage, count: usize, now: u64) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        let role = connection.role;
        connection.received(count, now);
        if let Role::Player { class, .. } = role {
            let class = &mut self.classes[class];
            class.bytes += count as u64;
            class.window_bytes += if self.window_open { count as u64 } else { 0 };
        }
        if !connection.reads() {
            if connection.waiting() > 0
                && let Err(error) = connection.flush()
            {
                self.lose(slot, &error.to_string());
            }
            return;
        }
        let name = if stage < Stage::Live { name_of(self.plan, role) } else { String::new() };
        let wish = Wish {
            application: &self.plan.application,
            target: self.plan.target,
            name: &name,
            publish: matches!(role, Role::Publisher(_)),
            connect_only: role == Role::Storm && self.plan.connects_only(),
        };
        let (window, plan) = (self.window, self.plan);
        let class = match role {
            Role::Player { class, .. } => Some(&mut self.classes[class]),
            _ => None,
        };
        let mut media = player(plan, class, window, now);
        let result = connection.input(&self.buffer[..count], &wish, now, &mut media);
        drop(media);
        self.after(slot, stage, result);
    }

    /// Lets what stands around RTMP do what is due.
    fn tick(&mut self, slot: usize) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        connection.armed = None;
        let stage = connection.stage;
        let result = connection.tick();
        self.after(slot, stage, result);
    }

    /// Has [`Self::tick`] called when the connection wants it.
    fn arm(&mut self, slot: usize) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        if let Some(due) = connection.due()
            && connection.armed.is_none_or(|armed| due < armed)
        {
            connection.armed = Some(due);
            let wait = due.saturating_duration_since(clock::instant());
            self.at(clock::now() + nanoseconds(wait), Timer::Tick(slot));
        }
    }

    /// Looks what changed for a connection that was at `stage`.
    fn after(&mut self, slot: usize, stage: Stage, result: Result<(), String>) {
        if let Err(error) = result {
            return self.lose(slot, &error);
        }
        self.arm(slot);
        let Some(connection) = self.slots[slot].as_mut() else { return };
        let (role, new, now) = (connection.role, connection.stage, connection.started);
        if stage <= Stage::Connecting
            && new > Stage::Connecting
            && let Role::Player { class, .. } = role
        {
            self.classes[class].connected += 1;
        }
        if stage == Stage::Live || new != Stage::Live {
            return;
        }
        let (took, decided) = (now - connection.begun, now - connection.asked.min(now));
        match role {
            Role::Publisher(_) => {
                self.published += 1;
                self.publishing += 1;
                if !self.plan.raw {
                    self.begin_publisher(slot, now);
                }
                if self.published == self.plan.publishers.count && !self.players_begun {
                    self.begin_players(clock::now());
                }
            }
            Role::Player { class, .. } => {
                self.playing += 1;
                self.classes[class].started += 1;
                self.classes[class].connect_to_start.add(took);
                let reading = self.plan.players[class].reading;
                connection.slow = reading != Reading::Full;
                if let Reading::Rate(rate) = reading {
                    self.at(now + slow_step(rate).0, Timer::Read(slot));
                }
            }
            Role::Storm => {
                if self.window_open {
                    self.storm.completed += 1;
                    self.storm.times.add(if self.plan.connects_only() { decided } else { took });
                }
                self.slots[slot] = None;
                self.freed.push(slot);
                self.open_storm();
            }
        }
    }

    fn begin_publisher(&mut self, slot: usize, at: u64) {
        let role = self.slots[slot].as_ref().map(|connection| connection.role);
        let Some(Role::Publisher(number)) = role else { return };
        let source = Source::new(self.shape(number), at, self.filler.clone());
        let Some(connection) = self.slots[slot].as_mut() else { return };
        let stream = connection.stream;
        source.headers(connection.out(), stream);
        connection.source = Some(Box::new(source));
        self.publish(slot, at);
    }

    fn publish(&mut self, slot: usize, now: u64) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        let Some(mut source) = connection.source.take() else { return };
        let stream = connection.stream;
        let separate = source.shape().bundling == Bundling::Separate;
        let mut result = Ok(());
        while source.due() <= now && connection.waiting() < WAITING && result.is_ok() {
            let before = connection.waiting();
            let written = source.write(connection.out(), stream);
            if self.window_open {
                self.sent += (connection.waiting() - before) as u64;
                self.late.add(clock::now().saturating_sub(written.due));
            }
            if separate || written.kind.is_picture() {
                result = connection.flush();
            }
        }
        let mut due = source.due();
        connection.source = Some(source);
        if due <= now {
            due = now + 5 * MILLISECOND;
        }
        if self.plan.publishers.count > EXACT {
            due = due.next_multiple_of(MILLISECOND);
        }
        match result {
            Ok(()) => self.at(due, Timer::Publish(slot)),
            Err(error) => self.lose(slot, &error.to_string()),
        }
    }

    /// Closes a connection that broke.
    fn lose(&mut self, slot: usize, reason: &str) {
        let Some(connection) = self.slots[slot].take() else { return };
        self.freed.push(slot);
        match connection.role {
            Role::Publisher(_) if connection.stage == Stage::Live => {
                self.publishing -= 1;
                self.publishers_lost += 1;
            }
            Role::Player { class, .. } if connection.stage == Stage::Live => {
                self.playing -= 1;
                let counting = &mut self.classes[class];
                counting.disconnected += 1;
                counting.cut_after.add(clock::now() - connection.started);
                counting.reason(|| reason.to_owned());
                settle(counting, &connection, false);
            }
            role => self.failed(role, reason),
        }
    }

    /// Counts a connection that failed before it published or played.
    fn failed(&mut self, role: Role, reason: &str) {
        match role {
            Role::Publisher(_) => self.refused = Some(reason.to_owned()),
            Role::Player { class, .. } => {
                self.classes[class].failed += 1;
                self.classes[class].reason(|| reason.to_owned());
            }
            Role::Storm => {
                if self.window_open {
                    self.storm.failed += 1;
                    if self.storm.reasons.len() < 8 {
                        self.storm.reasons.push(reason.to_owned());
                    }
                }
                self.at(clock::now() + 5 * MILLISECOND, Timer::OpenStorm);
            }
        }
    }

    fn finish(mut self) -> Report {
        let connects_only = self.plan.connects_only();
        for connection in self.slots.iter().flatten() {
            if let Role::Player { class, .. } = connection.role {
                settle(&mut self.classes[class], connection, true);
            }
        }
        let mut report = self.report;
        report.gigabits = self.classes.iter().map(|class| class.window_bytes).sum::<u64>() as f64 * 8.0 / 1e9;
        report.publishers = PublisherReport {
            wanted: self.plan.publishers.count,
            publishing: report.publishers.publishing,
            disconnected: self.publishers_lost,
            late: self.late.quantiles(),
            bytes: self.sent,
        };
        report.classes = self
            .classes
            .into_iter()
            .zip(&self.plan.players)
            .map(|(counting, players)| counting.report(&players.class, players.count))
            .collect();
        let times = self.storm.times.quantiles();
        let (connect_to_start, decision) =
            if connects_only { (Quantiles::default(), times) } else { (times, Quantiles::default()) };
        report.storm = self.plan.storm.map(|storm| StormReport {
            in_flight: storm.in_flight,
            connects_only,
            completed: self.storm.completed,
            per_second: self.storm.completed as f64 / report.window.max(1e-9),
            failed: self.storm.failed,
            reasons: self.storm.reasons,
            connect_to_start,
            decision,
        });
        report
    }
}

/// What a player does with a media message that was fully read at the instant `now`.
fn player<'a>(
    plan: &'a Plan,
    mut class: Option<&'a mut Counting>,
    window: (u64, u64),
    now: u64,
) -> impl FnMut(&mut Connection, &Message) + 'a {
    move |connection, message| {
        let (Some(class), Role::Player { class: index, number }) = (class.as_deref_mut(), connection.role)
        else {
            return;
        };
        let judge = connection.judge.get_or_insert_with(|| Box::new(Judge::new()));
        let before = judge.first_picture().is_some();
        let stamp = judge.take(message.kind, message.timestamp, &message.body, now);
        if let Some(stamp) = stamp
            && stamp.due > connection.started
            && (window.0..window.1).contains(&stamp.due)
        {
            let latency = now.saturating_sub(stamp.due);
            class.latency.add(latency);
            if stamp.kind != FrameKind::Audio {
                class.picture_latency.add(latency);
            }
        }
        if !before && judge.first_picture().is_some() {
            class.pictured += 1;
            class.start_to_picture.add(now - connection.started);
            class.connect_to_picture.add(now - connection.begun);
            let players = &plan.players[index];
            let sampled = players.sample > 0 && number % players.sample == 0;
            if !sampled && players.reading == Reading::Full {
                connection.reader = None;
                connection.judge = None;
            }
        }
    }
}

/// Adds up what a player saw, at its end.
fn settle(class: &mut Counting, connection: &Connection, to_the_end: bool) {
    let Some(judge) = &connection.judge else { return };
    class.sampled += usize::from(to_the_end);
    class.tally.join(&judge.tally());
    if judge.first_picture().is_some() {
        class.start_lag.add(judge.start_lag());
    }
}

/// The name of the stream that a connection publishes or plays.
fn name_of(plan: &Plan, role: Role) -> String {
    let streams = plan.publishers.count.max(1);
    let number = match role {
        Role::Publisher(number) => number,
        Role::Storm => 0,
        Role::Player { class, number } => match plan.players[class].stream {
            Assignment::Shared(stream) => stream,
            Assignment::Spread(first) => first + number % (streams - first.min(streams - 1)),
            Assignment::Nobody => return format!("{}-nobody", plan.publishers.name),
        },
    };
    format!("{}{number}", plan.publishers.name)
}

/// A source address for the connection of this number, so that ports do not run out.
fn source_address(number: u64) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + (number % 64) as u8)
}

/// How often a slow player reads, in nanoseconds, and how many bytes at a time.
fn slow_step(rate: u64) -> (u64, usize) {
    let step = (50 * MILLISECOND).max(SECOND / rate.max(1));
    (step, (rate * step / SECOND).max(1) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_players_read_at_their_rate() {
        for rate in [1, 7, 1000, 75_000] {
            let (step, bytes) = slow_step(rate);
            let got = bytes as f64 * SECOND as f64 / step as f64;
            assert!((got / rate as f64 - 1.0).abs() < 0.03, "{rate}: {got}");
        }
    }
}
