//! Every named limit that guards a connection, in one place, with its default.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time that configurations write as a number of seconds, fractions allowed.
///
/// From 0 to 31 536 000 (one year).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// The longest length of time that a configuration may name: one year.
    pub const MAX: f64 = 31_536_000.0;

    /// `seconds` whole seconds.
    pub const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The length as a [`Duration`].
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=Self::MAX).contains(&seconds) {
            return Err(de::Error::invalid_value(
                de::Unexpected::Float(seconds),
                &"a number of seconds from 0 to 31536000",
            ));
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr, $range:expr;)*) => {
        /// The limits of the server: each bounds one resource that a peer could otherwise take without end.
        ///
        /// Sizes are bytes, times are seconds. In a configuration they stand in the table `limits` under the
        /// same names in camelCase; `docs/configuration.md` lists them.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default, rename_all = "camelCase")]
        pub struct Limits {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Limits {
            /// Checks that each limit lies in its range.
            ///
            /// # Errors
            ///
            /// The first field that does not: its name in camelCase, its value and its range, as text.
            pub fn check(&self) -> Result<(), LimitError> {
                $(if !Range::contains(&$range, &self.$field) {
                    return Err(LimitError {
                        field: camel_case(stringify!($field)),
                        found: Range::show(&$range, &self.$field),
                        expected: Range::text(&$range),
                    });
                })*
                self.check_together()
            }
        }
    };
}

limits! {
    /// Time from accept to the end of the handshake.
    handshake_timeout: Seconds = Seconds::new(5), 0.05..=3600.0;
    /// Time from the end of the handshake to the `connect` command.
    connect_timeout: Seconds = Seconds::new(5), 0.05..=3600.0;
    /// Time after `connect` in which a connection that neither publishes nor plays may stay silent; each
    /// command starts it again.
    setup_timeout: Seconds = Seconds::new(15), 0.05..=86400.0;
    /// Size of one message while the connection has not been allowed to publish or play.
    message_size_before: usize = 64 * 1024, 1024..=16 * 1024 * 1024;
    /// Size of one message afterwards.
    message_size: usize = 8 * 1024 * 1024, 1024..=16 * 1024 * 1024;
    /// Sum of all unfinished messages of a connection that has not been allowed to publish or play.
    partial_bytes_before: usize = 64 * 1024, 1024..=256 * 1024 * 1024;
    /// Sum of all unfinished messages afterwards.
    partial_bytes: usize = 16 * 1024 * 1024, 1024..=256 * 1024 * 1024;
    /// Chunk streams that a connection may use, whatever their ids.
    chunk_streams: usize = 64, 4..=65_536;
    /// Message streams (`createStream`) that a connection may hold at once.
    message_streams: usize = 16, 1..=4096;
    /// Nesting of AMF values.
    amf_depth: usize = 32, 1..=64;
    /// AMF values in one message.
    amf_nodes: usize = 4096, 16..=1_000_000;
    /// Bytes of one AMF string.
    amf_string: usize = 64 * 1024, 256..=16 * 1024 * 1024;
    /// Bytes that the references of one AMF3 message repeat, beyond what is sent.
    amf_repeats: usize = 1024 * 1024, 64 * 1024..=64 * 1024 * 1024;
    /// Bytes of a publisher's `onMetaData`, which every player gets when it joins; larger ones are skipped.
    metadata_size: usize = 64 * 1024, 1024..=16 * 1024 * 1024;
    /// Commands on a connection before its first publish or play is allowed, and commands held for one
    /// message stream while its verdict is pending.
    commands_before: usize = 32, 4..=100_000;
    /// Bytes held for one message stream while its verdict is pending; then the connection is not read.
    held_bytes: usize = 64 * 1024, 1024..=16 * 1024 * 1024;
    /// Servers of this family that a stream may have come by; one that has been at more is refused.
    hops: usize = 8, 1..=64;
    /// Sub-messages in one aggregate message.
    aggregate_messages: usize = 1024, 1..=100_000;
    /// Messages of unknown type before a connection is closed.
    unknown_messages: usize = 1000, 0..=1_000_000;
    /// ModEx links in one enhanced audio or video message.
    mod_ex_links: usize = 8, 1..=256;
    /// Tracks in one multitrack message.
    message_tracks: usize = 64, 1..=255;
    /// Bytes of the stream key that follows the application in a name.
    stream_key: usize = 512, 16..=65_535;
    /// Bytes of one component (between slashes) of a name.
    name_component: usize = 255, 16..=65_535;
    /// Bytes of a full stream name: instance, slash, key.
    stream_name: usize = 1024, 16..=65_535;
    /// Bytes of control messages that wait for one peer; more close the connection.
    control_queue: usize = 256 * 1024, 16 * 1024..=64 * 1024 * 1024;
    /// Bytes that a player may be behind live before it skips to the next key frame.
    player_queue_bytes: usize = 8 * 1024 * 1024, 64 * 1024..=1024 * 1024 * 1024;
    /// Time for which a player may stay too far behind, or take no byte at all, before it is cut.
    player_cut: Seconds = Seconds::new(30), 0.1..=86400.0;
    /// Messages that a log keeps for players that join.
    gop_messages: usize = 3000, 16..=1_000_000;
    /// Bytes that a log keeps for players that join.
    gop_bytes: usize = 32 * 1024 * 1024, 64 * 1024..=1024 * 1024 * 1024;
    /// Media time that a log keeps for players that join.
    gop_time: Seconds = Seconds::new(30), 0.1..=3600.0;
    /// Bytes of one stream that wait between two workers, 256 more for each frame; then the stream skips to its next
    /// key frame there.
    worker_queue_bytes: usize = 16 * 1024 * 1024, 64 * 1024..=1024 * 1024 * 1024;
    /// Time for which a publisher may be silent before it is taken for dead.
    publisher_idle: Seconds = Seconds::new(10), 0.1..=86400.0;
    /// Silence after which any peer is pinged.
    ping_after: Seconds = Seconds::new(5), 0.05..=86400.0;
    /// Silence (not even a pong) after which a connection that does not publish is taken for dead.
    peer_idle: Seconds = Seconds::new(60), 0.1..=86400.0;
    /// Bytes of the codec configurations, colours and channels of a stream that are kept for newcomers; what is beyond goes
    /// to those who are there alone.
    header_bytes: usize = 1024 * 1024, 64 * 1024..=64 * 1024 * 1024;
    /// Codecs that a peer may declare in each list of its connect (`fourCcList` and the like); more are not looked at.
    four_ccs: usize = 64, 1..=4096;
    /// Forms in which one worker keeps a stream for players that have declared what they can be sent: each declares a list,
    /// and those with equal ones share a form. A play that would need one more is refused.
    stream_views: usize = 16, 1..=1024;
    /// Calls to a peer that may wait for its answer.
    open_calls: usize = 64, 1..=10_000;
    /// Time in which a peer must answer a call.
    call_timeout: Seconds = Seconds::new(30), 0.05..=3600.0;
    /// Bytes of TLS in a row that bring no content: handshakes, key updates, empty records.
    tls_empty_bytes: usize = 128 * 1024, 32 * 1024..=16 * 1024 * 1024;
    /// Bytes of the start line and the header fields of an HTTP message.
    http_head: usize = 16 * 1024, 1024..=1024 * 1024;
    /// Header fields of an HTTP message.
    http_headers: usize = 100, 8..=1000;
    /// Bytes of the body of an HTTP request.
    http_body: usize = 1024 * 1024, 1024..=64 * 1024 * 1024;
    /// Time for which an HTTP connection may be silent between requests, or need for one request.
    http_idle: Seconds = Seconds::new(30), 0.05..=86400.0;
    /// Sessions of RTMPT that may be open from one address (IPv6: from one network of 64 bits).
    rtmpt_sessions: usize = 32, 1..=1_000_000;
    /// Time for which a session of RTMPT may be silent: no request comes, and none waits for its answer.
    rtmpt_idle: Seconds = Seconds::new(30), 0.1..=3600.0;
    /// Bytes of one answer to a request of RTMPT; the newest is kept until the next request.
    rtmpt_answer: usize = 128 * 1024, 4096..=16 * 1024 * 1024;
    /// Requests of a session of RTMPT that may overtake the one whose turn it is; one further ahead ends the session.
    rtmpt_window: usize = 8, 1..=256;
    /// Requests for sessions of RTMPT that do not exist, from one address (IPv6: from one network of 64 bits) within a
    /// minute; then each costs its connection.
    rtmpt_guesses: usize = 32, 1..=1_000_000;
    /// Threads of the server's own HTTP client. Of these and of `webQueue` one server that does not answer holds three
    /// quarters at most.
    web_threads: usize = 16, 1..=256;
    /// Requests of the server's own HTTP client that wait for one of its threads; more are refused.
    web_queue: usize = 256, 1..=100_000;
    /// Bytes of the body of an answer to the server's own HTTP client.
    web_body: usize = 64 * 1024, 1024..=16 * 1024 * 1024;
    /// Time for a whole request of the server's own HTTP client.
    web_timeout: Seconds = Seconds::new(3), 0.05..=3600.0;
    /// Events that wait for one sink; then the oldest is dropped.
    event_queue: usize = 1000, 1..=1_000_000;
    /// Bytes of the events that wait for one sink; then the oldest is dropped.
    event_queue_bytes: usize = 4 * 1024 * 1024, 64 * 1024..=1024 * 1024 * 1024;
    /// Bytes of one line of a command line interface.
    cli_line: usize = 8192, 256..=1024 * 1024;
    /// Time for which a session of a command line interface may be silent.
    cli_idle: Seconds = Seconds::new(300), 0.05..=86400.0;
    /// Bytes of one message of the variant protocols.
    variant_size: usize = 4 * 1024 * 1024, 1024..=64 * 1024 * 1024;
    /// Aliases of streams (`addStreamAlias`); more are refused.
    stream_aliases: usize = 10_000, 0..=100_000;
    /// Ingest points (`createIngestPoint`); more are refused.
    ingest_points: usize = 1000, 0..=100_000;
    /// Streams that are pulled from other servers and pushed to them (`externalStreams`, `pullStream`, `pushStream`); more
    /// are refused.
    links: usize = 10_000, 0..=100_000;
    /// Threads that check hashed passwords.
    auth_threads: usize = 2, 1..=64;
    /// Checks of hashed passwords that wait for one of these threads; more are refused.
    auth_queue: usize = 64, 1..=10_000;
    /// Tries of one address to say who it is that may fail before further ones are put off.
    auth_failures: usize = 5, 1..=1000;
    /// Time from one try to the next of an address of which too many have failed.
    auth_delay: Seconds = Seconds::new(1), 0.05..=60.0;
    /// Time after which one failure of an address is forgotten.
    auth_forget: Seconds = Seconds::new(10), 0.05..=3600.0;
    /// Tries that are put off, in all; more are refused.
    auth_waiting: usize = 1024, 1..=100_000;
    /// Addresses whose failures are remembered; then those that have failed least are forgotten.
    auth_addresses: usize = 10_000, 16..=1_000_000;
    /// Answered questions (`authmod=adobe`) that are remembered, so that none is answered twice.
    auth_challenges: usize = 4096, 16..=1_000_000;
    /// Time in which such a question must be answered.
    auth_challenge_time: Seconds = Seconds::new(30), 0.05..=600.0;
    /// Hashed passwords that are remembered as right, so that they are not checked again and again.
    auth_cache: usize = 1024, 0..=100_000;
    /// Time for which they are.
    auth_cache_time: Seconds = Seconds::new(60), 0.0..=86400.0;
    /// Time between two looks at whether a users file has changed.
    users_file_period: Seconds = Seconds::new(2), 0.05..=3600.0;
    /// Tests of the way to peers (`enableCheckBandwidth`, `bandcheck`) that run at once; more are refused.
    bandwidth_tests: usize = 16, 0..=10_000;
    /// The longest time of such a test for one direction.
    bandwidth_time: Seconds = Seconds::new(3), 0.1..=60.0;
    /// The most bytes of such a test for one direction.
    bandwidth_bytes: usize = 4 * 1024 * 1024, 32 * 1024..=1024 * 1024 * 1024;
    /// Time in which the peer must answer each step of such a test.
    bandwidth_patience: Seconds = Seconds::new(5), 0.1..=60.0;
    /// Ended tests that are kept for `listBandwidthTests`.
    bandwidth_results: usize = 100, 0..=10_000;
    /// Connections for pulls and pushes that are being made at once; others wait for their turn.
    link_attempts: usize = 64, 1..=10_000;
    /// Ports that commands have opened (`createService`); more are refused.
    services: usize = 64, 0..=1000;
    /// Shared objects of one application at once; more are refused.
    shared_object_count: usize = 1000, 0..=1_000_000;
    /// Files of persistent shared objects of one application; no more are made.
    shared_object_files: usize = 10_000, 0..=10_000_000;
    /// Bytes of all that one shared object holds, and of one message about it.
    shared_object_bytes: usize = 128 * 1024, 1024..=16 * 1024 * 1024;
    /// Bytes of one value in a shared object, and of what is sent to all its clients at once.
    shared_object_value: usize = 64 * 1024, 64..=16 * 1024 * 1024;
    /// Slots of one shared object.
    shared_object_slots: usize = 1000, 1..=1_000_000;
    /// Clients of one shared object.
    shared_object_clients: usize = 1000, 1..=1_000_000;
    /// Shared objects that one connection uses at once.
    shared_objects_per_connection: usize = 32, 1..=10_000;
    /// Connections in all; 0: as many as the descriptor limit allows, less a reserve.
    connections: usize = 0, 0..=10_000_000;
    /// Connections of one address; 0: no limit.
    connections_per_address: usize = 0, 0..=10_000_000;
    /// Connections of one address that have not been allowed to publish or play; 0: no limit.
    pending_per_address: usize = 0, 0..=10_000_000;
    /// Key exchanges (TLS, RTMPE) that a worker does in one turn of its loop; others wait for the next one, so that media
    /// never waits for more.
    handshakes_per_turn: usize = 4, 1..=1000;
    /// Key exchanges that a worker does in a second for one address (IPv6: for one network of 64 bits); others wait. 0: no
    /// limit.
    handshakes_per_address: usize = 100, 0..=100_000;
}

impl Limits {
    /// Checks limits that depend on each other.
    fn check_together(&self) -> Result<(), LimitError> {
        // A key frame that no log can keep would never reach a player that waits for one.
        if self.gop_bytes < self.message_size {
            return Err(LimitError {
                field: "gopBytes".to_owned(),
                found: self.gop_bytes.to_string(),
                expected: format!("at least messageSize = {}", self.message_size),
            });
        }
        Ok(())
    }
}

/// A limit that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitError {
    /// The name of the limit, in camelCase.
    pub field: String,
    /// The value that was found.
    pub found: String,
    /// The range that it must lie in.
    pub expected: String,
}

trait Range<T> {
    fn contains(&self, value: &T) -> bool;
    fn show(&self, value: &T) -> String;
    fn text(&self) -> String;
}

impl Range<usize> for std::ops::RangeInclusive<usize> {
    fn contains(&self, value: &usize) -> bool {
        Self::contains(self, value)
    }

    fn show(&self, value: &usize) -> String {
        value.to_string()
    }

    fn text(&self) -> String {
        format!("a whole number from {} to {}", self.start(), self.end())
    }
}

impl Range<Seconds> for std::ops::RangeInclusive<f64> {
    fn contains(&self, value: &Seconds) -> bool {
        Self::contains(self, &value.get().as_secs_f64())
    }

    fn show(&self, value: &Seconds) -> String {
        value.get().as_secs_f64().to_string()
    }

    fn text(&self) -> String {
        format!("a number of seconds from {} to {}", self.start(), self.end())
    }
}

fn camel_case(snake: &str) -> String {
    let mut out = String::with_capacity(snake.len());
    let mut upper = false;
    for letter in snake.chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                out.extend(letter.to_uppercase());
                upper = false;
            }
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_limit_out_of_range_is_named() {
        let limits = Limits { gop_messages: 1, ..Limits::default() };
        let error = limits.check().unwrap_err();
        assert_eq!(error.field, "gopMessages");
        assert_eq!(error.found, "1");
        assert_eq!(error.expected, "a whole number from 16 to 1000000");
    }

    #[test]
    fn a_log_must_hold_the_largest_message() {
        let at = |gop_bytes| Limits { gop_bytes, message_size: 1 << 20, ..Limits::default() }.check();
        assert_eq!(at((1 << 20) - 1).unwrap_err().expected, "at least messageSize = 1048576");
        assert_eq!(at(1 << 20), Ok(()));
        assert_eq!(at((1 << 20) + 1), Ok(()));
    }

    #[test]
    fn unknown_names_and_negative_times_are_refused() {
        assert!(serde_json::from_str::<Limits>(r#"{"gopMesages": 100}"#).is_err());
        assert!(serde_json::from_str::<Limits>(r#"{"playerCut": -1}"#).is_err());
        let limits: Limits = serde_json::from_str(r#"{"playerCut": 0.5}"#).unwrap();
        assert_eq!(limits.player_cut, Seconds(Duration::from_millis(500)));
    }
}
