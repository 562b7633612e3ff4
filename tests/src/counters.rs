//! The counters of the server, as it writes them on SIGUSR1. Only this file knows their shape.

use serde_json::Value;

/// A snapshot of the counters.
#[derive(Clone, Debug)]
pub struct Counters(Value);

/// A connection in a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Its id.
    pub id: String,
    /// The worker that owns it.
    pub worker: u64,
    /// The address of its peer.
    pub peer: String,
    /// The streams that it publishes.
    pub publishes: Vec<String>,
    /// The streams that it plays.
    pub plays: Vec<String>,
}

/// What the process of the server takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the heap in use.
    pub allocated: u64,
    /// Bytes in memory.
    pub resident: u64,
    /// Open files and sockets.
    pub files: u64,
    /// Threads.
    pub threads: u64,
}

impl Counters {
    /// Reads a snapshot.
    ///
    /// # Panics
    ///
    /// If it is not JSON.
    pub fn parse(text: &str) -> Self {
        Self(
            serde_json::from_str(text)
                .unwrap_or_else(|error| panic!("the counters are bad: {error}: {text}")),
        )
    }

    /// The whole snapshot.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// All connections.
    pub fn connections(&self) -> Vec<Connection> {
        self.list("connections").iter().map(connection).collect()
    }

    /// The number of connections of each worker, in the order of their ids.
    pub fn connections_per_worker(&self) -> Vec<u64> {
        self.list("workers").iter().map(|worker| worker["connections"].as_u64().unwrap_or(0)).collect()
    }

    /// The connection that publishes `stream`.
    pub fn publisher_of(&self, stream: &str) -> Option<Connection> {
        self.connections()
            .into_iter()
            .find(|connection| connection.publishes.iter().any(|name| name == stream))
    }

    /// The connections that play `stream`.
    pub fn players_of(&self, stream: &str) -> Vec<Connection> {
        let mut players = self.connections();
        players.retain(|connection| connection.plays.iter().any(|name| name == stream));
        players
    }

    /// A sum over the whole life of the server, such as `totals.accepted`, by its path.
    pub fn number(&self, path: &str) -> u64 {
        path.split('.').fold(&self.0, |value, key| &value[key]).as_u64().unwrap_or(0)
    }

    /// What the process of the server takes of the machine.
    ///
    /// # Panics
    ///
    /// If the server does not know all of it: it does with the GNU C library on Linux.
    pub fn usage(&self) -> Usage {
        let number = |key: &str| {
            self.0["process"][key].as_u64().unwrap_or_else(|| panic!("the server does not tell {key}"))
        };
        Usage {
            allocated: number("allocatedBytes"),
            resident: number("residentBytes"),
            files: number("openFiles"),
            threads: number("threads"),
        }
    }

    /// What is counted about the players of `stream`: the entry of each, with the address of its far end.
    pub fn players(&self, stream: &str) -> Vec<(String, &Value)> {
        let connections = self.list("connections");
        let peer = |id: &Value| {
            let connection = connections.iter().find(|connection| connection["id"] == *id)?;
            connection["peer"].as_str().map(Into::into)
        };
        let streams = self.list("streams").iter().filter(|entry| entry["name"] == stream);
        let players = streams.flat_map(|entry| entry["players"].as_array().map_or(&[][..], Vec::as_slice));
        players.filter_map(|player| Some((peer(&player["connection"])?, player))).collect()
    }

    fn list(&self, key: &str) -> &[Value] {
        self.0[key].as_array().map_or(&[], Vec::as_slice)
    }
}

fn connection(value: &Value) -> Connection {
    let names = |key: &str| {
        let list = value[key].as_array().map_or(&[][..], Vec::as_slice);
        // A name stands there as text, or as a table that holds it.
        list.iter()
            .filter_map(|entry| entry.as_str().or_else(|| entry["name"].as_str()))
            .map(Into::into)
            .collect()
    };
    let text = |key: &str| value[key].as_str().map_or_else(|| value[key].to_string(), Into::into);
    Connection {
        id: text("id"),
        worker: value["worker"].as_u64().unwrap_or(u64::MAX),
        peer: text("peer"),
        publishes: names("publishes"),
        plays: names("plays"),
    }
}
