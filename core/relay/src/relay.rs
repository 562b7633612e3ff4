//! The relay of one worker: homes, replicas and players, and the traffic between them.

mod messages;
mod reports;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crtmp_media::{Format, Frame, Limits, MakeEncoder, Packet, StreamSlot, Via, View, Wheel, ahead};
use slotmap::{Key, KeyData, SlotMap, new_key_type};

use crate::{
    Began, ConnectionId, Delays, Delivery, Directory, DuplicatePublisher, MergeReport, Refusal, RelayMessage,
    Source, Spent, Start, StreamKey, Subscription, WorkerId,
    cursor::{Cursor, Partial, Slices, Wants},
    home::Home,
    merge::MergeControl,
    recent::Seen,
    replica::{Replica, State},
    rounds::{Next, Round, Rounds},
};

/// Players of a log from which on the packets of a round are gathered in one piece: copying them pays for itself.
const GATHER_FROM: usize = 16;

/// How long a player waits at least for a stream that is live on another worker.
const HOME_WAIT: Duration = Duration::from_secs(5);

new_key_type! {
    /// A publish on this worker.
    pub struct HomeId;
    /// A player on this worker.
    pub struct PlayerId;
    pub(crate) struct ReplicaId;
}

/// What the worker is to do or to tell a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The stream that the player waits for has a publisher now.
    Started {
        /// The player's connection.
        connection: ConnectionId,
        /// Its message stream.
        slot: StreamSlot,
    },
    /// The stream has ended; the player is gone.
    Ended {
        /// The player's connection.
        connection: ConnectionId,
        /// Its message stream.
        slot: StreamSlot,
    },
    /// The stream never came; the player is gone.
    Missing {
        /// The player's connection.
        connection: ConnectionId,
        /// Its message stream.
        slot: StreamSlot,
        /// What it waited for.
        key: StreamKey,
    },
    /// Nothing of the stream may be sent to the player, by what it has declared; the player is gone.
    Unplayable {
        /// The player's connection.
        connection: ConnectionId,
        /// Its message stream.
        slot: StreamSlot,
    },
    /// Another publisher has taken the name; the publish is gone.
    Evicted {
        /// The publisher's connection.
        connection: ConnectionId,
        /// Its message stream.
        slot: StreamSlot,
        /// The name.
        key: StreamKey,
    },
}

/// How a player is to be treated; from its application's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayOptions {
    /// How long the player waits for a publisher that has not come yet.
    pub wait: Duration,
    /// How long it waits for a publisher that has gone.
    pub publisher_return: Duration,
    /// Where it starts; none: as the players of its application do.
    pub start: Option<Start>,
}

/// What a player asks for.
#[derive(Clone, Debug)]
pub struct Play {
    /// The stream.
    pub key: StreamKey,
    /// The player's connection.
    pub connection: ConnectionId,
    /// Its message stream.
    pub slot: StreamSlot,
    /// The format of its packets.
    pub format: Format,
    /// Makes the encoder of that format.
    pub encoder: MakeEncoder,
    /// How it is to be treated.
    pub options: PlayOptions,
}

/// What a flush needs to know about time and limits.
#[derive(Clone, Copy)]
pub struct Flush<'a> {
    /// The time of the flush.
    pub now: Instant,
    /// The limits.
    pub limits: &'a Limits,
    /// Whether it is to be looked at how far behind the players are. Needed where the connection could not send
    /// everything last time, and now and then.
    pub judge: bool,
    /// Bytes that have left the log but not the connection.
    pub unsent: u64,
}

struct Player {
    replica: ReplicaId,
    log: usize,
    /// Where it stands among the log's players.
    index: usize,
    connection: ConnectionId,
    slot: StreamSlot,
    cursor: Cursor,
    wants: Wants,
    options: PlayOptions,
    /// Until when it waits for a publisher that has never come.
    deadline: Option<Instant>,
    /// Whether it is to be told when the publisher comes.
    wants_notice: bool,
}

/// Homes, replicas and players of one worker. It knows no socket, clock or thread.
pub struct Relay {
    worker: WorkerId,
    directory: Arc<Directory>,
    limits: Arc<Limits>,
    deliveries: HashMap<Arc<str>, Delivery>,
    homes: SlotMap<HomeId, Home>,
    home_of: HashMap<StreamKey, HomeId>,
    replicas: SlotMap<ReplicaId, Replica>,
    replica_of: HashMap<StreamKey, ReplicaId>,
    players: SlotMap<PlayerId, Player>,
    /// Homes that have frames for other workers.
    unsent: Vec<HomeId>,
    /// Replicas that have packets for their players.
    dirty: Vec<ReplicaId>,
    post: Vec<(WorkerId, RelayMessage)>,
    notices: Vec<Notice>,
    /// Replicas and players that wait for a time.
    waiting: BTreeSet<(Instant, Wait)>,
    merge: MergeControl,
    /// Logs whose messages wait for others.
    held: Wheel<(ReplicaId, Format)>,
    rounds: Rounds,
    delays: Delays,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Ending(ReplicaId),
    Player(PlayerId),
}

impl Relay {
    /// The relay of `worker`, which begins at `now`.
    pub fn new(worker: WorkerId, directory: Arc<Directory>, limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            worker,
            directory,
            limits,
            deliveries: HashMap::new(),
            homes: SlotMap::with_key(),
            home_of: HashMap::new(),
            replicas: SlotMap::with_key(),
            replica_of: HashMap::new(),
            players: SlotMap::with_key(),
            unsent: Vec::new(),
            dirty: Vec::new(),
            post: Vec::new(),
            notices: Vec::new(),
            waiting: BTreeSet::new(),
            merge: MergeControl::new(now),
            held: Wheel::new(now),
            rounds: Rounds::default(),
            delays: Delays::default(),
        }
    }

    /// Begins a publish of a stream that has been at `via`; none: it comes from its encoder.
    ///
    /// # Errors
    ///
    /// By `policy`, where the name is being published.
    pub fn publish(
        &mut self,
        key: StreamKey,
        connection: ConnectionId,
        slot: StreamSlot,
        policy: DuplicatePublisher,
        via: Option<Via>,
        now: Instant,
    ) -> Result<HomeId, Refusal> {
        let source = Source { worker: self.worker, connection, slot };
        let grant = self.directory.publish(&key, source, policy, via, now)?;
        if let Some((source, generation)) = grant.evicted {
            self.send(source.worker, RelayMessage::Evict { key: key.clone(), generation, source }, now);
        }
        let delivery = self.deliveries.get(&key.application).copied().unwrap_or_default();
        let keeps_group = delivery.start != Start::Next;
        let home = self.homes.insert(Home::new(key.clone(), source, &grant, keeps_group, now));
        self.home_of.insert(key, home);
        for subscription in grant.subscribers {
            self.subscribe_at(home, subscription, now);
        }
        Ok(home)
    }

    /// Takes a frame of a publisher.
    pub fn frame(&mut self, id: HomeId, mut frame: Frame, now: Instant) {
        let Some(mut home) = self.homes.get_mut(id) else { return };
        if self.unsent.last() != Some(&id) {
            self.unsent.push(id);
        }
        let mut local = home.local().map(|local| replica_id(local.replica));
        let replica = local.and_then(|local| self.replicas.get(local));
        let encoder = replica.and_then(|replica| replica.logs.first()).map(|entry| entry.log.encoder());
        let seen = home.place(&mut frame, encoder, now);
        if seen != Seen::New {
            return home.hold(frame, seen, &self.limits);
        }
        if home.may_repeat() {
            self.end_repeats(id, now);
            let Some(again) = self.homes.get_mut(id) else { return };
            home = again;
            local = home.local().map(|local| replica_id(local.replica));
        }
        if let Some((id, replica)) = local.and_then(|id| Some((id, self.replicas.get_mut(id)?))) {
            replica.frame(&frame, now, &self.limits);
            if self.dirty.last() != Some(&id) {
                self.dirty.push(id);
            }
            let is_dark = !replica.dark.is_empty();
            home.keep(frame, &self.limits);
            if is_dark {
                self.end_dark(id, now);
            }
            return;
        }
        home.keep(frame, &self.limits);
    }

    /// Ends the plays that can be sent nothing of what comes.
    fn end_dark(&mut self, id: ReplicaId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(id) else { return };
        let dark = std::mem::take(&mut replica.dark);
        let logs = replica.logs.iter().filter(|log| dark.contains(&log.format));
        let players: Vec<PlayerId> = logs.flat_map(|log| log.players.all()).copied().collect();
        for player in players {
            if let Some(Player { connection, slot, .. }) = self.players.get(player) {
                self.notices.push(Notice::Unplayable { connection: *connection, slot: *slot });
            }
            self.unplay(player, now);
        }
    }

    /// Whether one more player of this format may come: see `streamViews`.
    pub fn has_room(&self, key: &StreamKey, format: Format) -> bool {
        let replica = self.replica_of.get(key).and_then(|id| self.replicas.get(*id));
        format.view == View::ALL
            || replica.is_none_or(|replica| replica.has_log(format) || replica.has_room(&self.limits))
    }

    /// Asks for the memory that a frame of this publisher will need.
    pub fn fetch_home(&self, id: HomeId, depth: usize) {
        let Some(home) = self.homes.get(id) else { return };
        home.fetch(depth);
        if let Some(replica) = home.local().and_then(|local| self.replicas.get(replica_id(local.replica)))
            && let Some(depth) = depth.checked_sub(1)
        {
            replica.fetch(depth);
        }
    }

    /// Asks for the memory that sending to this player will need.
    pub fn fetch_player(&self, id: PlayerId, depth: usize) {
        let Some(player) = self.players.get(id) else { return };
        match depth {
            0 => ahead::fetch(player),
            _ => self.replicas[player.replica].fetch(depth - 1),
        }
    }

    /// Whose turn it is next, as far as can be said.
    pub fn next_owners(&self) -> impl Iterator<Item = ConnectionId> {
        self.rounds.next_owners()
    }

    /// Where a stream was before it came here; none: it is not being published.
    pub fn via(&self, key: &StreamKey) -> Option<Via> {
        self.directory.via(key)
    }

    /// Notes a life sign of a publisher.
    pub fn heard(&self, id: HomeId, now: Instant) {
        if let Some(home) = self.homes.get(id) {
            home.pulse.heard(now);
        }
    }

    /// Ends a publish.
    pub fn unpublish(&mut self, id: HomeId, now: Instant) {
        // What the publisher sent in this turn still belongs to the stream.
        self.flush_homes();
        self.end_repeats(id, now);
        let Some(home) = self.remove_home(id) else { return };
        for Subscription { worker, replica } in self.directory.unpublish(&home.key, home.generation) {
            self.send(worker, RelayMessage::Stopped { replica, generation: home.generation }, now);
        }
    }

    /// Begins a play; says whether the stream has a publisher.
    pub fn play(&mut self, play: Play, now: Instant) -> (PlayerId, bool) {
        let Play { key, connection, slot, format, encoder, options } = play;
        let live = self.directory.is_live(&key);
        let replica = self.replica_for(key, now);
        let found = &mut self.replicas[replica];
        let started = found.generation.is_some();
        let home = self.home_of.get(&found.key).and_then(|home| self.homes.get(*home));
        let home = home.filter(|home| found.generation == Some(home.generation));
        let group = || home.map_or(found.gop.snapshot(), |home| home.gop.snapshot());
        let group = if found.has_log(format) { Vec::new() } else { group() };
        let log = found.log_of(format, || encoder(format), &group, now, &self.limits);
        let entry = &mut found.logs[log];
        let player = self.players.insert(Player {
            replica,
            log,
            index: 0,
            connection,
            slot,
            cursor: Cursor::new(entry.log.first_place(options.start.unwrap_or(found.delivery.start))),
            wants: Wants { audio: true, video: true, paused: false },
            options,
            deadline: None,
            wants_notice: !live,
        });
        entry.players.add(player, |id, index| self.players[id].index = index);
        if !started {
            // The worker of a stream that lives elsewhere has to be heard first.
            let wait = if live { options.wait.max(HOME_WAIT) } else { options.wait };
            let deadline = now.checked_add(wait);
            self.players[player].deadline = deadline;
            self.waiting.extend(deadline.map(|at| (at, Wait::Player(player))));
        }
        (player, live)
    }

    /// Says how the streams of an application are handed to players, from now on; those that run included.
    pub fn set_delivery(&mut self, application: &Arc<str>, delivery: Delivery) {
        self.deliveries.insert(application.clone(), delivery);
        for replica in self.replicas.values_mut().filter(|replica| replica.key.application == *application) {
            replica.delivery = delivery;
        }
        for home in self.homes.values_mut().filter(|home| home.key.application == *application) {
            home.keeps_group = delivery.start != Start::Next;
        }
    }

    /// Whether a player has been given a place to start.
    pub fn has_begun(&self, id: PlayerId) -> bool {
        self.players.get(id).is_some_and(|player| player.cursor.counters.began != Began::Waiting)
    }

    /// Whether somebody publishes `key`, on any worker.
    pub fn is_live(&self, key: &StreamKey) -> bool {
        self.directory.is_live(key)
    }

    /// Ends a play.
    pub fn unplay(&mut self, id: PlayerId, now: Instant) {
        let Some(player) = self.players.remove(id) else { return };
        if let Some(at) = player.deadline {
            self.waiting.remove(&(at, Wait::Player(id)));
        }
        let Some(replica) = self.replicas.get_mut(player.replica) else { return };
        let players = &mut replica.logs[player.log].players;
        let moved = |moved, index| {
            if let Some(moved) = self.players.get_mut(moved) {
                moved.index = index;
            }
        };
        players.remove(player.index, moved);
        if !players.all().is_empty() {
            return;
        }
        // Nobody reads this log any more: encoding for it would be for nothing.
        replica.logs.swap_remove(player.log);
        if let Some(moved) = replica.logs.get(player.log) {
            for id in moved.players.all() {
                self.players[*id].log = player.log;
            }
        }
        if replica.logs.is_empty() {
            self.drop_replica(player.replica, now);
        }
    }

    /// Says whether the connection of a player takes anything. One that does not is left out when there is something
    /// to send, until it does.
    pub fn set_ready(&mut self, id: PlayerId, ready: bool) {
        let Some(player) = self.players.get(id) else { return };
        let (replica, log, index) = (player.replica, player.log, player.index);
        let members = &mut self.replicas[replica].logs[log].players;
        members.set_ready(index, ready, |id, index| self.players[id].index = index);
    }

    /// Pauses a player, or lets it go on live.
    pub fn set_paused(&mut self, id: PlayerId, paused: bool) {
        let Some(player) = self.players.get_mut(id) else { return };
        if paused && !player.wants.paused {
            // It gives up its place at once, so that the log need not keep it.
            let log = &self.replicas[player.replica].logs[player.log].log;
            player.cursor.rejoin(log);
        }
        player.wants.paused = paused;
    }

    /// Switches audio or video of a player on or off.
    pub fn set_receive(&mut self, id: PlayerId, audio: Option<bool>, video: Option<bool>) {
        let Some(player) = self.players.get_mut(id) else { return };
        let had_video = player.wants.video;
        player.wants.audio = audio.unwrap_or(player.wants.audio);
        player.wants.video = video.unwrap_or(player.wants.video);
        if player.wants.video && !had_video {
            // The pictures before the next key frame belong to one that was not sent.
            let log = &self.replicas[player.replica].logs[player.log].log;
            player.cursor.rejoin(log);
        }
    }

    /// When [`Self::on_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.waiting.first().map(|(at, _)| *at);
        waiting.into_iter().chain(self.held.next()).min()
    }

    /// Ends what has waited long enough.
    pub fn on_timeout(&mut self, now: Instant) {
        while let Some((at, (id, format))) = self.held.pop_due(now) {
            let Some(entry) = self.replicas.get_mut(id).and_then(|replica| replica.log_mut(format)) else {
                continue;
            };
            if entry.armed == Some(at) {
                entry.armed = None;
                self.mark(id);
            }
        }
        while let Some((_, wait)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.pop_first();
            match wait {
                Wait::Ending(id) => {
                    let over = |state| matches!(state, State::Ending(at) if at <= now);
                    if self.replicas.get(id).is_some_and(|replica| over(replica.state)) {
                        self.end_replica(id, now);
                    }
                }
                Wait::Player(id) => {
                    let Some(player) = self.players.get(id) else { continue };
                    if player.deadline.is_some_and(|at| at <= now) {
                        let key = self.replicas[player.replica].key.clone();
                        self.notices.push(Notice::Missing {
                            connection: player.connection,
                            slot: player.slot,
                            key,
                        });
                        self.unplay(id, now);
                    }
                }
            }
        }
    }

    /// Ends a turn: begins the rounds that are due, and returns what goes to other workers.
    pub fn end_turn(&mut self, now: Instant) -> std::vec::Drain<'_, (WorkerId, RelayMessage)> {
        self.flush_homes();
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(replica) = self.replicas.get_mut(id) else { continue };
            let level = self.merge.level(replica.delivery.merge);
            for entry in &mut replica.logs {
                let keeps_group = replica.delivery.start != Start::Next;
                if entry.wants_trim(keeps_group) {
                    let needs =
                        entry.players.all().iter().filter_map(|player| self.players[*player].cursor.needs());
                    let slowest = needs.min();
                    if keeps_group {
                        entry.log.trim(slowest);
                    } else {
                        // Those who wait for a key frame have not been shown what came since the last round.
                        entry.log.trim_to(entry.served_to.min(slowest.unwrap_or(entry.served_to)));
                    }
                }
                let Some(at) = entry.due(level, now).filter(|_| !entry.in_round) else { continue };
                if at > now {
                    if entry.armed.is_none_or(|armed| at < armed) {
                        entry.armed = Some(at);
                        self.held.insert(at, (id, entry.format));
                    }
                    continue;
                }
                if entry.window != self.merge.window() {
                    entry.window = self.merge.window();
                    self.merge.serves(entry.players.ready().len());
                }
                if entry.players.ready().len() >= GATHER_FROM {
                    entry.log.gather(entry.served_to);
                }
                entry.served_to = entry.log.end();
                let mut owners = std::mem::take(&mut entry.spare);
                owners.extend(entry.players.ready().iter().map(|player| self.players[*player].connection));
                let since = entry.pending.take().map_or(now, |pending| pending.since);
                entry.in_round = true;
                self.rounds.begin(Round::new(id, entry.format, owners, since));
            }
        }
        self.dirty = dirty;
        self.post.drain(..)
    }

    /// The next connection whose players are to be sent what there is. `clock` tells the time, which is asked
    /// for once per round.
    pub fn next_owner(&mut self, clock: impl Fn() -> Instant) -> Option<ConnectionId> {
        loop {
            match self.rounds.next() {
                Next::Serve(owner) => return Some(owner),
                Next::Over(round) => {
                    self.delays.add(clock().saturating_duration_since(round.since));
                    self.end_round(round);
                }
                Next::Nothing => return None,
            }
        }
    }

    /// Whether a round of sending is under way.
    pub fn is_sending(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// Whether there is something to do without anything happening.
    pub fn is_busy(&self) -> bool {
        !self.rounds.is_empty() || !self.dirty.is_empty()
    }

    /// Notes what a turn has taken of the processor.
    pub fn spent(&mut self, spent: Spent, now: Instant) {
        self.merge.spent(spent, now);
    }

    /// Pretends that so many players were served, for tests of the rule.
    #[cfg(test)]
    pub(crate) fn serves(&mut self, players: usize) {
        self.merge.serves(players);
    }

    /// How messages wait for each other, and why.
    pub fn merge(&self) -> MergeReport {
        self.merge.report()
    }

    /// How long messages were on this worker before their last player had been served.
    pub fn delays(&self) -> Delays {
        self.delays
    }

    /// What connections are to be told.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Prepares a player for sending. Returns false where it is to be cut because it has been too slow for
    /// too long.
    pub fn prepare(&mut self, id: PlayerId, flush: Flush<'_>) -> bool {
        let Some(player) = self.players.get_mut(id) else { return true };
        let replica = &mut self.replicas[player.replica];
        let mut delivery = replica.delivery;
        delivery.start = player.options.start.unwrap_or(delivery.start);
        player.cursor.prepare(&mut replica.logs[player.log].log, player.wants, flush, &delivery)
    }

    /// Adds what a player is to be sent next, up to about `budget` bytes. Returns whether that is all that there is
    /// for it: where it is not, nothing of another player may be sent in the same call.
    pub fn fill<'a>(&'a self, id: PlayerId, slices: &mut Slices<'a>, budget: usize) -> bool {
        let Some(player) = self.players.get(id) else { return true };
        let log = &self.replicas[player.replica].logs[player.log].log;
        player.cursor.fill(log, player.wants, slices, budget)
    }

    /// Notes that up to `written` bytes have gone out. Returns what is left of them, and the packet that has
    /// gone out in part.
    pub fn advance(&mut self, id: PlayerId, written: usize) -> (usize, Option<Partial>) {
        let Some(player) = self.players.get_mut(id) else { return (written, None) };
        let log = &self.replicas[player.replica].logs[player.log].log;
        player.cursor.advance(log, player.wants, written)
    }

    /// Takes a player's next packet, for chains in which a layer changes bytes.
    pub fn next_packet(&mut self, id: PlayerId) -> Option<Packet> {
        let player = self.players.get_mut(id)?;
        let log = &self.replicas[player.replica].logs[player.log].log;
        player.cursor.step(log, player.wants)
    }

    /// Whether a player has been sent everything that there is.
    #[cfg(test)]
    pub(crate) fn is_drained(&self, id: PlayerId) -> bool {
        let Some(player) = self.players.get(id) else { return true };
        let log = &self.replicas[player.replica].logs[player.log].log;
        player.cursor.is_drained(log, player.wants)
    }

    /// Ends all plays at once: their connections are told that their streams ended.
    pub fn end_all(&mut self, now: Instant) {
        let all: Vec<_> = self.replicas.keys().collect();
        for id in all {
            self.end_replica(id, now);
        }
    }

    fn current_home(&self, key: &StreamKey, generation: crate::Generation) -> Option<HomeId> {
        self.home_of.get(key).copied().filter(|id| self.homes[*id].generation == generation)
    }

    fn remove_home(&mut self, id: HomeId) -> Option<Home> {
        let home = self.homes.remove(id)?;
        if self.home_of.get(&home.key) == Some(&id) {
            self.home_of.remove(&home.key);
        }
        Some(home)
    }

    /// Tells those who wait that a publisher has come which repeats nothing any more, or has nothing more to say.
    fn end_repeats(&mut self, id: HomeId, now: Instant) {
        let told = self.homes.get_mut(id).map(Home::end_repeats).unwrap_or_default();
        for (to, started) in told {
            self.send(to.worker, started, now);
        }
    }

    fn subscribe_at(&mut self, home: HomeId, subscription: Subscription, now: Instant) {
        // What is pending for others is already in the snapshot; the newcomer must not get it twice.
        self.flush_homes();
        if let Some(started) = self.homes.get_mut(home).and_then(|home| home.subscribe(subscription)) {
            self.send(subscription.worker, started, now);
        }
    }

    fn replica_for(&mut self, key: StreamKey, now: Instant) -> ReplicaId {
        if let Some(id) = self.replica_of.get(&key) {
            return *id;
        }
        let delivery = self.deliveries.get(&key.application).copied().unwrap_or_default();
        let id = self.replicas.insert(Replica::new(key.clone(), delivery));
        self.replica_of.insert(key.clone(), id);
        let subscription = self.subscription(id);
        if let Some(home) = self.directory.subscribe(&key, subscription) {
            let generation = home.generation;
            self.send(home.worker, RelayMessage::Subscribe { key, generation, subscription }, now);
        }
        id
    }

    fn drop_replica(&mut self, id: ReplicaId, now: Instant) {
        let Some(replica) = self.replicas.remove(id) else { return };
        if let State::Ending(at) = replica.state {
            self.waiting.remove(&(at, Wait::Ending(id)));
        }
        self.replica_of.remove(&replica.key);
        let subscription = self.subscription(id);
        if let Some(home) = self.directory.unsubscribe(&replica.key, subscription) {
            let message =
                RelayMessage::Unsubscribe { key: replica.key, generation: home.generation, subscription };
            self.send(home.worker, message, now);
        }
    }

    fn end_replica(&mut self, id: ReplicaId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(id) else { return };
        for player in replica.logs.iter_mut().flat_map(|log| log.players.drain()) {
            if let Some(Player { connection, slot, deadline, .. }) = self.players.remove(player) {
                if let Some(at) = deadline {
                    self.waiting.remove(&(at, Wait::Player(player)));
                }
                self.notices.push(Notice::Ended { connection, slot });
            }
        }
        self.drop_replica(id, now);
    }

    fn tell_started(&mut self, id: ReplicaId) {
        for entry in &self.replicas[id].logs {
            for id in entry.players.all() {
                let player = &mut self.players[*id];
                if let Some(at) = player.deadline.take() {
                    self.waiting.remove(&(at, Wait::Player(*id)));
                }
                if std::mem::take(&mut player.wants_notice) {
                    let Player { connection, slot, .. } = *player;
                    self.notices.push(Notice::Started { connection, slot });
                }
            }
        }
    }

    fn subscription(&self, id: ReplicaId) -> Subscription {
        Subscription { worker: self.worker, replica: id.data().as_ffi() }
    }

    /// Sends to another worker, or to this one at once.
    fn send(&mut self, worker: WorkerId, message: RelayMessage, now: Instant) {
        if worker == self.worker {
            self.on_message(message, now);
        } else {
            self.post.push((worker, message));
        }
    }

    fn flush_homes(&mut self) {
        for id in std::mem::take(&mut self.unsent) {
            if let Some(home) = self.homes.get_mut(id) {
                home.flush(&mut self.post);
            }
        }
    }

    fn end_round(&mut self, Round { replica: id, format, mut owners, .. }: Round) {
        let Some(entry) = self.replicas.get_mut(id).and_then(|replica| replica.log_mut(format)) else {
            return;
        };
        entry.in_round = false;
        owners.clear();
        entry.spare = owners;
        // What came while the round was under way has reached those only who came after it.
        if entry.pending.is_some() {
            self.mark(id);
        }
    }

    fn mark(&mut self, id: ReplicaId) {
        if self.dirty.last() != Some(&id) {
            self.dirty.push(id);
        }
    }
}

fn replica_id(number: u64) -> ReplicaId {
    KeyData::from_ffi(number).into()
}
