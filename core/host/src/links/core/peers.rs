//! The connections of links: from their place in line to their end.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use crtmp_media::{CallOutcome, Command, Value};
use crtmp_reactor::SocketOptions;

use super::{
    super::{
        adobe::{self, Login},
        company::ASKED,
        definition::Definition,
        said::{connect_object, description, failure, redirect},
        uri::Target,
    },
    Action, Core, Phase, State,
};
use crate::{
    outbound::Origin,
    secrets::{MASK, mask_text},
};

/// A connection, there or on its way.
pub(super) struct Peer {
    pub(super) key: Key,
    pub(super) stage: Stage,
    /// How long the link waited that it was made for: its place in line.
    rank: Duration,
    pub(super) address: Option<SocketAddr>,
    pub(super) links: Vec<u64>,
    /// What is said when connecting of who we are, and how often that was another thing in this attempt.
    query: String,
    again: u8,
}

/// What links must have in common to share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    application: String,
    origin: Origin,
    scheme: &'static str,
    host_and_port: String,
    app: String,
    login: Option<Login>,
    /// What is said when connecting.
    connect: Vec<(&'static str, String)>,
    options: SocketOptions,
    own_chunks: bool,
    host: String,
    tls: String,
    /// A number where it is not shared.
    pub(super) alone: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Stage {
    InLine,
    Finding,
    /// With the addresses that are left.
    Connecting(VecDeque<SocketAddr>),
    /// The far end has been asked to let us in.
    Calling(u64),
    Up(u64),
}

impl Peer {
    /// One that this link waits for in line.
    pub(super) fn new(key: Key, rank: Duration, link: u64) -> Self {
        let (stage, links) = (Stage::InLine, vec![link]);
        Self { key, stage, rank, address: None, links, query: String::new(), again: 0 }
    }

    /// A cause without who we are, which far ends may repeat.
    fn without_query(&self, cause: &str) -> String {
        if self.query.is_empty() { cause.to_owned() } else { cause.replace(&self.query, MASK) }
    }
}

impl Core {
    /// Nobody uses a connection any more.
    pub(super) fn abandon(&mut self, peer: u64) {
        let Some(found) = self.peers.get(&peer) else { return };
        if self.shared.get(&found.key) == Some(&peer) {
            self.shared.remove(&found.key);
        }
        match found.stage {
            // It counts as an attempt until it is known what has become of it.
            Stage::Finding | Stage::Connecting(_) => {}
            Stage::InLine => {
                self.line.leave(found.rank, peer);
                self.drop_peer(peer);
            }
            Stage::Calling(connection) | Stage::Up(connection) => {
                self.actions.push(Action::Close(connection));
                self.drop_peer(peer);
            }
        }
    }

    /// Forgets a connection; who was on it is returned.
    fn drop_peer(&mut self, peer: u64) -> Vec<u64> {
        let Some(gone) = self.peers.remove(&peer) else { return Vec::new() };
        if self.shared.get(&gone.key) == Some(&peer) {
            self.shared.remove(&gone.key);
        }
        match gone.stage {
            Stage::InLine => {}
            Stage::Finding | Stage::Connecting(_) => self.attempt_over(gone.rank),
            Stage::Calling(connection) => {
                self.by_connection.remove(&connection);
                self.attempt_over(gone.rank);
            }
            Stage::Up(connection) => {
                self.by_connection.remove(&connection);
            }
        }
        self.tickets.retain(|_, owed| owed.peer != peer);
        self.actions.push(Action::Forget(peer));
        gone.links
    }

    pub(super) fn next_in_line(&mut self) {
        while let Some(peer) = self.line.next() {
            let Some(found) = self.peers.get_mut(&peer) else { continue };
            found.stage = Stage::Finding;
            let Key { origin, scheme, host_and_port, .. } = found.key.clone();
            self.actions.push(Action::Find { peer, origin, scheme, host_and_port });
        }
    }

    fn attempt_over(&mut self, rank: Duration) {
        self.line.over(rank);
        self.next_in_line();
    }

    pub(super) fn on_found(&mut self, peer: u64, found: Result<Vec<SocketAddr>, String>) {
        match found {
            Ok(addresses) => {
                let Some(known) = self.peers.get_mut(&peer) else { return };
                known.stage = Stage::Connecting(addresses.into());
                self.connect(peer, "there is no address");
            }
            Err(cause) => self.fail_peer(peer, &cause),
        }
    }

    /// Tries the next address of a peer.
    fn connect(&mut self, peer: u64, cause: &str) {
        let Some(found) = self.peers.get_mut(&peer) else { return };
        let next = match &mut found.stage {
            Stage::Connecting(addresses) if !found.links.is_empty() => addresses.pop_front(),
            _ => None,
        };
        let Some(address) = next else { return self.fail_peer(peer, cause) };
        found.address = Some(address);
        let Key { scheme, host, tls, application, options, own_chunks, .. } = found.key.clone();
        let connect = Action::Connect { peer, scheme, host, tls, address, application, options, own_chunks };
        self.actions.push(connect);
    }

    pub(super) fn on_made(&mut self, peer: u64, made: Result<u64, String>) {
        let connection = match made {
            Ok(connection) => connection,
            Err(cause) => return self.connect(peer, &cause),
        };
        let Some(found) = self.peers.get_mut(&peer) else {
            return self.actions.push(Action::Close(connection));
        };
        if found.links.is_empty() {
            self.actions.push(Action::Close(connection));
            self.drop_peer(peer);
            return;
        }
        found.stage = Stage::Calling(connection);
        let args = vec![connect_object(&found.key.app, &found.key.connect, &found.query)];
        let (address, ids) = (found.address, found.links.clone());
        self.by_connection.insert(connection, peer);
        for id in ids {
            if let Some(link) = self.links.get_mut(&id) {
                link.connected(connection, address);
                self.changed.insert(id);
            }
        }
        let ticket = self.owe(peer, None);
        let order = Command::Call { ticket: Some(ticket), command: "connect".to_owned(), args };
        self.actions.push(Action::Order { peer, connection, order });
    }

    pub(super) fn on_connected(&mut self, peer: u64, outcome: CallOutcome, args: &[Value]) {
        let random = self.random();
        let Some(found) = self.peers.get_mut(&peer) else { return };
        let Stage::Calling(connection) = found.stage else { return };
        if outcome == CallOutcome::Result {
            let rank = found.rank;
            found.stage = Stage::Up(connection);
            let ids = found.links.clone();
            self.attempt_over(rank);
            return ids.into_iter().for_each(|id| self.order(id));
        }
        self.actions.push(Action::Close(connection));
        let to = redirect(args);
        let who = if to.is_none() { description(args) } else { "" };
        let cause = match adobe::next(who, found.key.login.as_ref(), found.again, random) {
            Some(Ok(query)) => {
                (found.query, found.again) = (query, found.again + 1);
                found.stage = Stage::Connecting(found.address.into_iter().collect());
                self.by_connection.remove(&connection);
                return self.connect(peer, "there is no address");
            }
            Some(Err(why)) => format!("connect was refused: {why}"),
            None => found.without_query(&failure("connect", outcome, args)),
        };
        for id in self.drop_peer(peer) {
            if let Err(why) = self.follow(id, to.as_deref()) {
                self.fail(id, &format!("{cause}{why}"));
            }
        }
    }

    pub(super) fn on_closed(&mut self, connection: u64, reason: &str) {
        let Some(peer) = self.by_connection.get(&connection).copied() else { return };
        let reason = self.peers.get(&peer).map(|found| mask_text(&found.without_query(reason)));
        let reason = &reason.unwrap_or_default();
        let ids = self.drop_peer(peer);
        // Where it broke when one more stream was asked for, that may be why.
        let asked = |id: &u64| {
            self.links.get(id).is_some_and(|link| {
                let at =
                    link.asked.filter(|_| matches!(link.state, State::On { phase: Phase::Ordered(_), .. }));
                at.is_some_and(|at| self.now.saturating_duration_since(at) < ASKED)
            })
        };
        let is_crowded = ids.len() > 1 && ids.iter().any(asked);
        for id in ids {
            let before = self.links.get(&id).map(|link| link.company.after_break(!link.is_healthy(self.now)));
            self.fail(id, reason);
            if let (Some(link), Some(company)) = (self.links.get_mut(&id), before)
                && is_crowded
            {
                link.company = company;
            }
        }
    }

    fn fail_peer(&mut self, peer: u64, cause: &str) {
        for id in self.drop_peer(peer) {
            self.fail(id, cause);
        }
    }
}

pub(super) fn key_of(definition: &Definition, target: &Target, is_redirect: bool) -> Key {
    let said = &definition.said;
    let mut connect = vec![("tcUrl", said.tc_url.clone().unwrap_or_else(|| target.uri.tc_url(&target.app)))];
    let members = [("swfUrl", &said.swf_url), ("pageUrl", &said.page_url), ("flashVer", &said.agent)];
    connect.extend(members.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    Key {
        application: definition.application.clone(),
        // Where another server sends us, nobody here has chosen.
        origin: if is_redirect { Origin::Request } else { definition.origin },
        scheme: target.uri.scheme,
        host_and_port: target.uri.host_and_port(),
        app: target.app.clone(),
        login: target.uri.login.clone(),
        connect,
        options: definition.options,
        own_chunks: definition.own_chunks,
        host: target.uri.host.clone(),
        tls: definition.tls.clone(),
        alone: None,
    }
}
