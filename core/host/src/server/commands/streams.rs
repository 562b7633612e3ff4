//! Commands about streams. Each publish is an in-stream and each play an out-stream with a number of its own.

use std::{
    collections::{BTreeSet, HashMap},
    time::{SystemTime, UNIX_EPOCH},
};

use crtmp_media::{Codec, MediaKind};
use crtmp_plugin::Rights;
use crtmp_reactor::{ConnectionReport, StreamReport, ToWorker, WorkerReport};
use crtmp_relay::{ConnectionId, PlayerReport, PublishReport, Sent, TrackReport};
use serde_json::{Map, Value, json};

use super::{
    Builtin, Outcome, Run, Server,
    ends::Ends,
    video::{add_picture, codec_number},
};
use crate::commands::{Access, Kind, Param, Params, Spec};

const INTERNAL: Param = Param::optional(
    "disableInternalStreams",
    Kind::Flag,
    "true",
    "leave out the streams that the server uses for itself; there are none today",
);
const ID: Param = Param::optional("id", Kind::Whole, "null", "the stream's number (`uniqueId`)");
const NAME: Param = Param::optional("localStreamName", Kind::Text, "null", "the stream's name");

const APPLICATION: Param = Param::optional(
    "appName",
    Kind::Text,
    "null",
    "the application that has the stream, by name or alias; needed where several have one of that name",
);

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![
        Builtin::gathering(
            Spec::new("listStreams", Access::Read, &[INTERNAL], "Lists all streams, published and played."),
            |server, run| Outcome::Data(shown(server, run, streams(run.reports))),
        )
        .saying("Available streams"),
        Builtin::gathering(
            Spec::new("listStreamsIds", Access::Read, &[INTERNAL], "Lists the numbers of all streams."),
            |_, run| Outcome::Data(streams(run.reports).map(|stream| stream.report.unique).collect()),
        )
        .saying("Available stream IDs"),
        Builtin::gathering(
            Spec::new("getStreamsCount", Access::Read, &[INTERNAL], "Says how many streams there are."),
            |_, run| Outcome::Data(json!({ "streamCount": streams(run.reports).count() })),
        )
        .saying("Number of streams"),
        Builtin::gathering(
            Spec::new("getStreamInfo", Access::Read, &[ID, NAME, APPLICATION], "Describes one stream."),
            |server, run| find(server, run).map(|stream| stream.shown(server, run)).into(),
        )
        .saying("Stream information"),
        Builtin::gathering(
            Spec::new("listInboundStreams", Access::Read, &[], "Lists the streams that are published."),
            |server, run| Outcome::Data(shown(server, run, inbound(run.reports))),
        )
        .saying("Available inbound streams"),
        Builtin::gathering(
            Spec::new("listInboundStreamNames", Access::Read, &[], "Lists the names of published streams."),
            |_, run| {
                let name =
                    |stream: Stream<'_>| json!({ "name": stream.report.name, "appName": stream.application });
                Outcome::Data(inbound(run.reports).map(name).collect())
            },
        )
        .saying("Available inbound stream names"),
        Builtin::gathering(
            Spec::new(
                "isStreamRunning",
                Access::Read,
                &[ID, NAME, APPLICATION],
                "Says whether a stream is there.",
            ),
            |server, run| {
                let found = search(server, run);
                found.map(|found| json!({ "Running": found.is_some() })).into()
            },
        )
        .saying("Stream status"),
        Builtin::gathering(
            Spec::new(
                "clientsConnected",
                Access::Read,
                &[
                    Param::optional(
                        "localStreamName",
                        Kind::Text,
                        "null",
                        "the stream's name; without it, all",
                    ),
                    APPLICATION,
                ],
                "Says how many players a stream has.",
            ),
            |server, run| clients_connected(server, run).into(),
        )
        .saying("Number of players"),
        Builtin::gathering(
            Spec::new(
                "shutdownStream",
                Access::Change,
                &[
                    ID,
                    NAME,
                    APPLICATION,
                    Param::optional(
                        "permanently",
                        Kind::Flag,
                        "null",
                        "whether the pull or push that has the stream is removed too (`removeConfig`); otherwise it begins \
                         again",
                    ),
                ],
                "Ends a stream: a publish, or a play.",
            ),
            shutdown_stream,
        ),
    ]
}

/// A publish or a play.
pub(in crate::server) struct Stream<'a> {
    /// A publish, not a play.
    pub(in crate::server) inbound: bool,
    /// None: the application publishes it itself.
    pub(in crate::server) connection: Option<&'a ConnectionReport>,
    /// Who has it: a connection or a source. None: nobody asks.
    pub(in crate::server) owner: Option<ConnectionId>,
    pub(in crate::server) application: &'a str,
    pub(in crate::server) report: &'a StreamReport,
    pub(in crate::server) publish: Option<&'a PublishReport>,
    pub(in crate::server) play: Option<&'a PlayerReport>,
}

/// All streams, in the order in which they began.
fn streams<'a>(reports: &'a [WorkerReport]) -> impl Iterator<Item = Stream<'a>> {
    let mut all: Vec<Stream<'a>> = Vec::new();
    for worker in reports {
        // Tables instead of a search for each: there may be thousands.
        let publishes: HashMap<_, _> =
            worker.publishes.iter().map(|publish| ((publish.connection, publish.slot), publish)).collect();
        let plays: HashMap<_, _> =
            worker.players.iter().map(|player| ((player.connection, player.slot), player)).collect();
        for (source, report) in &worker.sources {
            let publish = publishes.get(&(*source, report.slot)).copied();
            let application = publish.map_or("", |publish| &*publish.key.application);
            let (connection, owner) = (None, Some(*source));
            all.push(Stream { inbound: true, connection, owner, application, report, publish, play: None });
        }
        for connection in &worker.connections {
            let application = connection.application.as_deref().unwrap_or_default();
            let stream = |inbound, report: &'a StreamReport| {
                let key = (connection.id, report.slot);
                let publish = publishes.get(&key).copied().filter(|_| inbound);
                let play = plays.get(&key).copied().filter(|_| !inbound);
                let (connection, owner) = (Some(connection), Some(connection.id));
                Stream { inbound, connection, owner, application, report, publish, play }
            };
            all.extend(connection.publishes.iter().map(|report| stream(true, report)));
            all.extend(connection.plays.iter().map(|report| stream(false, report)));
        }
    }
    all.sort_by_key(|stream| stream.report.unique);
    all.into_iter()
}

/// Streams as the caller may see them.
fn shown<'a>(server: &Server, run: &Run<'a>, streams: impl Iterator<Item = Stream<'a>>) -> Value {
    let (ends, links) = (Ends::of(run.reports), server.links_on());
    let show = |stream: Stream<'_>| {
        let mut json = stream.shown_with(&ends, run.caller.rights);
        server.add_link_settings(&links, stream.owner, stream.report.slot, run.caller.rights, &mut json);
        json
    };
    streams.map(show).collect()
}

fn inbound(reports: &[WorkerReport]) -> impl Iterator<Item = Stream<'_>> {
    streams(reports).filter(|stream| stream.inbound)
}

/// The stream that the parameters name, if it is there; of several of one name the published one.
fn search<'a>(server: &Server, run: &Run<'a>) -> Result<Option<Stream<'a>>, String> {
    let (id, name) = (run.params.whole("id"), run.params.given_text("localStreamName"));
    if id.is_none() && name.is_none() {
        return Err("one of `id` and `localStreamName` must be given".to_owned());
    }
    let application = application(server, run.params)?;
    let matches = |stream: &Stream<'_>| {
        id.is_none_or(|id| stream.report.unique == id)
            && name.is_none_or(|name| stream.report.name == name)
            && application.is_none_or(|application| stream.application == application)
    };
    let mut found: Vec<Stream<'a>> = streams(run.reports).filter(matches).collect();
    if found.iter().any(|stream| stream.inbound) {
        found.retain(|stream| stream.inbound);
    }
    one_application(name, found.iter().map(|stream| stream.application))?;
    Ok(found.pop())
}

fn find<'a>(server: &Server, run: &Run<'a>) -> Result<Stream<'a>, String> {
    search(server, run)?.ok_or_else(|| {
        let of = run.params.given_text("appName").map(|name| format!(" of the application {name:?}"));
        let of = of.unwrap_or_default();
        run.missing(&match (run.params.whole("id"), run.params.given_text("localStreamName")) {
            (Some(id), _) => format!("stream {id}{of}"),
            (_, name) => format!("stream of the name {:?}{of}", name.unwrap_or_default()),
        })
    })
}

/// The name of the application that `appName` names, where it is given.
pub(super) fn application<'a>(server: &'a Server, params: &Params) -> Result<Option<&'a str>, String> {
    let Some(name) = params.given_text("appName") else { return Ok(None) };
    let mut list = server.configuration.applications.list.iter();
    let found = list.find(|entry| entry.name == name || entry.aliases.iter().any(|alias| alias == name));
    found
        .map(|entry| Some(entry.name.as_str()))
        .ok_or_else(|| format!("there is no application {name:?}; `listApplications` lists all"))
}

/// Fails where streams of one name belong to several applications.
fn one_application<'a>(
    name: Option<&str>,
    applications: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let all: BTreeSet<&str> = applications.collect();
    if all.len() < 2 {
        return Ok(());
    }
    let name = name.unwrap_or_default();
    let all: Vec<&str> = all.into_iter().collect();
    Err(format!(
        "several applications have a stream of the name {name:?}: {}; say by `appName` which is meant",
        all.join(", ")
    ))
}

fn clients_connected(server: &Server, run: &Run<'_>) -> Result<Value, String> {
    let name = run.params.given_text("localStreamName");
    let application = application(server, run.params)?;
    let matches = |stream: &Stream<'_>| {
        name.is_none_or(|name| stream.report.name == name)
            && application.is_none_or(|application| stream.application == application)
    };
    let found: Vec<Stream<'_>> = streams(run.reports).filter(matches).collect();
    if name.is_some() {
        one_application(name, found.iter().map(|stream| stream.application))?;
    }
    Ok(json!({ "outboundCount": found.iter().filter(|stream| !stream.inbound).count() }))
}

fn shutdown_stream(server: &mut Server, run: &Run<'_>) -> Outcome {
    let stream = match find(server, run) {
        Ok(stream) => stream,
        Err(text) => return Outcome::Fail(text),
    };
    if !stream.inbound && run.params.whole("id").is_none() && run.partial().is_some() {
        // A worker that is silent may have the publish that is meant.
        let name = run.params.text("localStreamName");
        let text = run.missing(&format!("published stream of the name {name:?}"));
        return Outcome::Fail(format!("{text}, or give the `id` of a play"));
    }
    let (Some(connection), publishes) = (stream.owner, stream.inbound) else {
        return Outcome::Fail("the stream is nobody's".to_owned());
    };
    let code = if publishes { "NetStream.Unpublish.Success" } else { "NetStream.Play.Stop" };
    let message = ToWorker::End {
        connection,
        slot: Some(stream.report.slot),
        publishes,
        code: code.to_owned(),
        text: "ended by the operator".to_owned(),
    };
    server.workers.post_to(connection, message);
    let worker = |connection: &ConnectionReport| {
        let has = |report: &&WorkerReport| report.connections.iter().any(|other| other.id == connection.id);
        run.reports.iter().find(has)
    };
    let stack = stream.connection.and_then(|connection| Some((connection, worker(connection)?)));
    let stack = stack.map(|(connection, worker)| super::connections::info(server, connection, worker, None));
    let data = json!({ "protocolStackInfo": stack, "streamInfo": stream.shown(server, run) });
    if !run.params.flag("permanently") {
        return Outcome::Done("the stream ends", data);
    }
    let Some(id) = server.links_on().get(&(connection.0, stream.report.slot.0)).copied() else {
        let text = "the stream ends; `permanently` has nothing to forget: it is neither pulled nor pushed";
        return Outcome::Done(text, data);
    };
    match server.forget_link(id, run) {
        Ok(()) => Outcome::Done("the stream ends, and its pull or push is removed", data),
        Err(text) => Outcome::Fail(format!("the stream ends, but would come again: {text}")),
    }
}

impl Stream<'_> {
    /// The keys that EvoStream and crtmpserver have, and ours beside them. Times are milliseconds. Without `ends` the
    /// other ends of the stream are left out.
    pub(in crate::server) fn json(&self, ends: Option<&Ends<'_>>) -> Value {
        let now = unix_ms();
        let age = u64::try_from(self.report.age.as_millis()).unwrap_or(u64::MAX);
        let kind = match (self.inbound, self.connection.is_some()) {
            (true, true) => "INR",
            (true, false) => "IAPP",
            (false, _) => "ONR",
        };
        let mut json = json!({
            "uniqueId": self.report.unique,
            "type": kind,
            "typeNumeric": numeric(kind),
            "name": self.report.name,
            "appName": self.application,
            "creationTimestamp": now.saturating_sub(age),
            "queryTimestamp": now,
            "upTime": age,
            "connectionType": if self.connection.is_some_and(|connection| connection.outbound) { 2 } else { 1 },
            "canDropFrames": true,
            "processId": std::process::id(),
            "processType": "origin",
        });
        let Some(map) = json.as_object_mut() else { return json };
        if let Some(connection) = self.connection {
            add_connection(map, connection);
        }
        if !self.inbound {
            map.insert("aliasName".into(), json!(self.report.alias));
        }
        if let Some(publish) = self.publish {
            self.add_publish(map, publish, ends);
        }
        if let Some(play) = self.play {
            self.add_play(map, play, ends);
        }
        json
    }

    /// As the caller may see it.
    fn shown(&self, server: &Server, run: &Run<'_>) -> Value {
        let mut json = self.shown_with(&Ends::of(run.reports), run.caller.rights);
        let rights = run.caller.rights;
        server.add_link_settings(&server.links_on(), self.owner, self.report.slot, rights, &mut json);
        json
    }

    /// As a caller with these rights may see it: whoever knows an alias may play.
    fn shown_with(&self, ends: &Ends<'_>, rights: Rights) -> Value {
        let mut json = self.json(Some(ends));
        if rights < Rights::All && self.report.alias.is_some() {
            json["aliasName"] = crate::secrets::MASK.into();
        }
        json
    }

    fn add_publish(&self, map: &mut Map<String, Value>, publish: &PublishReport, ends: Option<&Ends<'_>>) {
        let counters = &publish.counters;
        let got = |packets, bytes| Sent { packets, bytes, ..Sent::default() };
        let audio = media(counters.audio_codec, got(counters.audio_frames, counters.audio_bytes));
        let mut video = media(counters.video_codec, got(counters.video_frames, counters.video_bytes));
        add_picture(&mut video, publish.video_config.as_ref());
        map.insert("audio".into(), audio.into());
        map.insert("video".into(), video.into());
        map.insert("tracks".into(), publish.tracks.iter().map(track).collect());
        let seconds = self.report.age.as_secs_f64().max(0.001);
        // Bits in a second, over the stream's life.
        map.insert("bandwidth".into(), json!((counters.bytes as f64 * 8.0 / seconds).round() as u64));
        if let Some(ends) = ends {
            map.insert("outStreamsUniqueIds".into(), ends.plays(&publish.key).into());
        }
    }

    fn add_play(&self, map: &mut Map<String, Value>, play: &PlayerReport, ends: Option<&Ends<'_>>) {
        if let Some(ends) = ends {
            map.insert("inStreamUniqueId".into(), json!(ends.publish(&play.key)));
        }
        let mut video = media(play.video_codec, play.video);
        add_picture(&mut video, play.video_config.as_ref());
        map.insert("audio".into(), media(play.audio_codec, play.audio).into());
        map.insert("video".into(), video.into());
        let seconds = self.report.age.as_secs_f64().max(0.001);
        map.insert("bandwidth".into(), json!((play.bytes as f64 * 8.0 / seconds).round() as u64));
        map.insert("packetsCount".into(), play.packets.into());
        map.insert("bytesCount".into(), play.bytes.into());
        map.insert("droppedPacketsCount".into(), play.skipped_packets.into());
        map.insert(
            "droppedBytesCount".into(),
            play.audio.skipped_bytes.saturating_add(play.video.skipped_bytes).into(),
        );
        map.insert("lagMs".into(), json!(u64::try_from(play.behind.as_millis()).unwrap_or(u64::MAX)));
        map.insert("lagBytes".into(), play.behind_bytes.into());
    }
}

/// A track of a publish.
fn track(track: &TrackReport) -> Value {
    json!({ "type": media_name(track.kind), "trackId": track.track, "codec": track.codec.to_string() })
}

/// What the tracks of a kind are called where they are shown.
pub(in crate::server) const fn media_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
        MediaKind::Data => "data",
    }
}

/// The table of audio, or of video.
fn media(codec: Option<Codec>, sent: Sent) -> Map<String, Value> {
    let table = json!({
        "codec": codec.map(|codec| codec.to_string()),
        "codecNumeric": codec_number(codec),
        "packetsCount": sent.packets,
        "bytesCount": sent.bytes,
        "droppedPacketsCount": sent.skipped_packets,
        "droppedBytesCount": sent.skipped_bytes,
    });
    match table {
        Value::Object(table) => table,
        _ => Map::new(),
    }
}

/// What of a connection belongs to each of its streams.
pub(super) fn add_connection(map: &mut Map<String, Value>, connection: &ConnectionReport) {
    map.insert("connectionId".into(), connection.id.0.into());
    map.insert("ip".into(), connection.peer.ip().to_string().into());
    map.insert("port".into(), connection.peer.port().into());
    map.insert("farIp".into(), connection.peer.ip().to_string().into());
    map.insert("farPort".into(), connection.peer.port().into());
    map.insert("nearIp".into(), connection.local.ip().to_string().into());
    map.insert("nearPort".into(), connection.local.port().into());
    map.insert("userAgent".into(), connection.agent.as_str().into());
    for (key, value) in
        [("tcUrl", &connection.tc_url), ("swfUrl", &connection.swf_url), ("pageUrl", &connection.page_url)]
    {
        map.insert(key.into(), crate::secrets::mask_text(value).into());
    }
}

/// A type as crtmpserver numbers it: its letters in the highest bytes.
pub(super) fn numeric(kind: &str) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(kind.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(bytes)
}

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
