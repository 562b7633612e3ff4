//! An event as it waits and as it is written.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::{Event, kind::Kind, time};
use crate::secrets::{mask, mask_text};

/// What a value takes in memory, at least.
const VALUE: usize = 32;

/// The keys under which a payload has the id of what it is about; the first that is there counts.
const IDS: [&str; 2] = ["uniqueId", "id"];

/// An event, without secrets, that may wait for several sinks at once.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    /// What it is about: the id in its payload, else the name of its stream. What opens and what closes the same
    /// thing have the same.
    pub(super) key: Option<String>,
    /// Its number in this server.
    pub(super) number: u64,
    pub(super) time: SystemTime,
    /// A table.
    pub(super) payload: Map<String, Value>,
    /// What it takes in memory, about.
    pub(super) bytes: usize,
}

impl Record {
    pub(super) fn new(event: Event, number: u64, time: SystemTime) -> Self {
        let Event { kind, stream, mut payload } = event;
        mask(&mut payload);
        let mut payload = match payload {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            other => Map::from_iter([("data".to_owned(), other)]),
        };
        let id = IDS.iter().find_map(|key| payload.get(*key)).and_then(|id| match id {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let key = id.or_else(|| stream.clone());
        if let Some(stream) = stream {
            payload.entry("name").or_insert_with(|| mask_text(&stream).into());
        }
        let bytes = members(&payload);
        Self { kind, key, number, time, payload, bytes }
    }

    /// The event as a table: `id`, `type`, `processId`, `timestamp` (as it is given) and `payload`, with
    /// `customData` in it.
    pub(super) fn table(&self, timestamp: Option<Value>, custom_data: Option<&Value>) -> Value {
        let mut payload = self.payload.clone();
        if let Some(custom_data) = custom_data {
            payload.insert("customData".to_owned(), custom_data.clone());
        }
        let mut table = json!({
            "id": self.number,
            "type": self.kind.name(),
            "processId": std::process::id(),
            "payload": payload,
        });
        if let Some(timestamp) = timestamp {
            table["timestamp"] = timestamp;
        }
        table
    }

    /// Its time for programs: whole seconds since 1970.
    pub(super) fn unix(&self) -> Value {
        time::unix(self.time).into()
    }

    /// Its time for people.
    pub(super) fn iso(&self) -> String {
        time::iso(self.time)
    }
}

/// What a table takes in memory. Its depth is bounded by `mask`.
fn members(members: &Map<String, Value>) -> usize {
    members.iter().map(|(key, value)| VALUE + key.len() + size(value)).sum::<usize>() + VALUE
}

fn size(value: &Value) -> usize {
    VALUE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(size).sum(),
            Value::Object(table) => members(table),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stream: Option<&str>, payload: Value) -> Record {
        let event = Event { kind: Kind::InStreamCreated, stream: stream.map(Into::into), payload };
        Record::new(event, 7, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn things_are_known_by_id_or_by_name() {
        assert_eq!(record(Some("a"), json!({ "uniqueId": 3, "id": 4 })).key.as_deref(), Some("3"));
        assert_eq!(record(Some("a"), json!({ "id": "x" })).key.as_deref(), Some("x"));
        assert_eq!(record(Some("a"), json!({})).key.as_deref(), Some("a"));
        assert_eq!(record(None, json!(null)).key, None);
    }

    #[test]
    fn an_event_has_the_shape_of_evostream_and_no_secrets() {
        let record = record(
            Some("cam?token=abc"),
            json!({ "uniqueId": 1, "tcUrl": "rtmp://u:p@h/a", "Password": "x" }),
        );
        let mut table = record.table(Some(record.unix()), Some(&json!({ "some": "string" })));
        table["processId"] = 1.into();
        assert_eq!(
            table,
            json!({
                "id": 7,
                "type": "inStreamCreated",
                "processId": 1,
                "timestamp": 0,
                "payload": {
                    "uniqueId": 1,
                    "name": "cam?token=***",
                    "tcUrl": "rtmp://u:***@h/a",
                    "Password": "***",
                    "customData": { "some": "string" },
                },
            })
        );
        assert!(record.table(None, None).get("timestamp").is_none());
        assert_eq!(self::record(None, json!([1])).payload["data"], json!([1]));
    }
}
