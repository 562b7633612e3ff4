//! Where events go.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crtmp_media::Seconds;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The table `eventLogger`: what happens in the server, told to files and to other servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct EventLogger {
    /// Goes into the payload of every event, for sinks that have none of their own.
    pub custom_data: Option<Value>,
    /// The names of the events that are told, for sinks that have no list of their own; without it, all.
    pub enabled_events: Option<Vec<String>>,
    /// Where they go.
    pub sinks: Vec<EventSink>,
}

/// One entry of `sinks`. Keys of the other kind are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EventSink {
    /// What kind of destination it is.
    #[serde(rename = "type")]
    pub kind: EventSinkKind,
    /// Goes into the payload of every event.
    #[serde(default)]
    pub custom_data: Option<Value>,
    /// The names of the events that are told.
    #[serde(default)]
    pub enabled_events: Option<Vec<String>>,
    /// Events that may wait; without it, the limit `eventQueue`.
    #[serde(default)]
    pub queue: Option<usize>,

    /// The file, for `file` (needed). A relative path starts at the folder in which the server was started.
    #[serde(default)]
    pub filename: Option<PathBuf>,
    /// How events are written; without it, [`EventFormat::Json`].
    #[serde(default)]
    pub format: Option<EventFormat>,
    /// Whether each event has its time; without it, true.
    #[serde(default)]
    pub timestamp: Option<bool>,
    /// Whether the name of each file has the time of its begin; without it, true.
    #[serde(default)]
    pub append_timestamp: Option<bool>,
    /// Whether the name of each file has four digits of the server's process id; without it, false.
    #[serde(default)]
    pub append_instance: Option<bool>,
    /// Seconds after which a new file is begun.
    #[serde(default)]
    pub file_chunk_length: Option<u64>,
    /// The time of the day, `HH:MM:SS` in UTC, at which a new file is begun.
    #[serde(default)]
    pub file_chunk_time: Option<String>,
    /// Bytes that a file does not exceed: an event that would begins a new one.
    #[serde(default)]
    pub file_length: Option<u64>,

    /// Where events are posted to, for `RPC` (needed).
    #[serde(default)]
    pub url: Option<String>,
    /// How events are written; without it, [`EventSerializer::Json`].
    #[serde(default)]
    pub serializer_type: Option<EventSerializer>,
    /// How long a request may take; without it, the limit `webTimeout`.
    #[serde(default)]
    pub timeout: Option<Seconds>,
    /// How often an event is tried again.
    #[serde(default)]
    pub retries: Option<u32>,
    /// How long to wait before the second try; doubled each time.
    #[serde(default)]
    pub retry_delay: Option<Seconds>,
    /// The longest such wait.
    #[serde(default)]
    pub retry_delay_max: Option<Seconds>,
}

impl EventSink {
    /// The range of `queue`, in events.
    pub const QUEUE: RangeInclusive<u64> = 1..=1_000_000;
    /// The range of `fileChunkLength`, in seconds.
    pub const FILE_CHUNK_LENGTH: RangeInclusive<u64> = 1..=31_536_000;
    /// The range of `timeout`, in seconds.
    pub const TIMEOUT: RangeInclusive<f64> = 0.05..=3600.0;
    /// The range of `retries`.
    pub const RETRIES: RangeInclusive<u64> = 0..=1_000_000;
    /// The range of `retryDelay` and `retryDelayMax`, in seconds.
    pub const RETRY_DELAY: RangeInclusive<f64> = 0.01..=3600.0;

    /// How often an event is tried again when `retries` is not given.
    pub const DEFAULT_RETRIES: u32 = 10;
    /// `retryDelay` when it is not given.
    pub const DEFAULT_RETRY_DELAY: Seconds = Seconds(std::time::Duration::from_millis(500));
    /// `retryDelayMax` when it is not given.
    pub const DEFAULT_RETRY_DELAY_MAX: Seconds = Seconds::new(30);

    /// A sink of this kind without any other key.
    pub fn new(kind: EventSinkKind) -> Self {
        Self {
            kind,
            custom_data: None,
            enabled_events: None,
            queue: None,
            filename: None,
            format: None,
            timestamp: None,
            append_timestamp: None,
            append_instance: None,
            file_chunk_length: None,
            file_chunk_time: None,
            file_length: None,
            url: None,
            serializer_type: None,
            timeout: None,
            retries: None,
            retry_delay: None,
            retry_delay_max: None,
        }
    }

    /// `fileChunkTime` in seconds since midnight; none where it is absent or no time.
    pub fn chunk_second(&self) -> Option<u64> {
        crate::events::time::second_of_day(self.file_chunk_time.as_ref()?)
    }

    /// The keys that this kind does not have, of those that are given.
    pub(super) fn strange_keys(&self) -> Vec<&'static str> {
        let file = [
            ("filename", self.filename.is_some()),
            ("format", self.format.is_some()),
            ("timestamp", self.timestamp.is_some()),
            ("appendTimestamp", self.append_timestamp.is_some()),
            ("appendInstance", self.append_instance.is_some()),
            ("fileChunkLength", self.file_chunk_length.is_some()),
            ("fileChunkTime", self.file_chunk_time.is_some()),
            ("fileLength", self.file_length.is_some()),
        ];
        let rpc = [
            ("url", self.url.is_some()),
            ("serializerType", self.serializer_type.is_some()),
            ("timeout", self.timeout.is_some()),
            ("retries", self.retries.is_some()),
            ("retryDelay", self.retry_delay.is_some()),
            ("retryDelayMax", self.retry_delay_max.is_some()),
        ];
        let other: &[_] = match self.kind {
            EventSinkKind::File => &rpc,
            EventSinkKind::Rpc => &file,
        };
        other.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect()
    }
}

/// The kinds of sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventSinkKind {
    /// A file.
    #[serde(rename = "file")]
    File,
    /// A server that is asked by HTTP POST.
    #[serde(rename = "RPC")]
    Rpc,
}

/// How events are written into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    /// Several lines for people.
    Text,
    /// A JSON object a line.
    Json,
    /// An XML element a line.
    Xml,
    /// Columns; stream events only.
    W3c,
}

/// How events are written for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventSerializer {
    /// A JSON object.
    Json,
    /// Typed XML elements, as crtmpserver writes variants.
    Xml,
    /// A call of `event.Log`.
    Xmlrpc,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_day_are_told_from_what_is_none() {
        let second = |text: &str| {
            EventSink { file_chunk_time: Some(text.into()), ..EventSink::new(EventSinkKind::File) }
                .chunk_second()
        };
        assert_eq!(second("00:00:00"), Some(0));
        assert_eq!(second("18:00:01"), Some(18 * 3600 + 1));
        assert_eq!(second("23:59:59"), Some(86_399));
        for text in [
            "",
            "18",
            "18:00",
            "24:00:00",
            "18:60:00",
            "18:00:60",
            "1:00:00",
            "18:00:00:00",
            "+8:00:00",
            "18:00:0x",
        ] {
            assert_eq!(second(text), None, "{text}");
        }
    }
}
