//! Commands about streams that come from other servers and go to them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use crtmp_media::StreamSlot;
use crtmp_plugin::Rights;
use crtmp_relay::ConnectionId;
use serde_json::{Map, Value, json};

use super::{Builtin, Outcome, Run, Server, kept};
use crate::{
    apps::Health,
    commands::{Access, Kind, Param, Spec},
    config::Application,
    links::{Definition, Direction, TLS_FILES},
    outbound::Origin,
    secrets::mask,
};

const APPLICATION: &str = "application";
const KEPT: &str = "kept";
const PUBLIC_ONLY: &str = "publicOnly";

/// Members of what is kept beside the settings.
const OWNER: &str = "applicationName";
const ORIGIN: &str = "origin";

/// All pulls and pushes, by the numbers that `listConfig` shows.
pub(super) type Known = BTreeMap<u64, Link>;

/// One of them.
#[derive(Debug)]
pub(super) struct Link {
    definition: Arc<Definition>,
    held: Held,
    /// Its application is there.
    started: bool,
}

/// Why kept pulls and pushes cannot be read, by their numbers.
pub(super) type Broken = BTreeMap<u64, String>;

/// What a pull or push is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    /// It stands in the configuration.
    Configured,
    /// It is kept: a command has set it up.
    Kept,
    /// Instances of an application need it, and it ends with the last of them.
    By(Vec<u64>),
}

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    let uri = |description| Param::required("uri", Kind::List, description);
    let application = Param::optional(
        APPLICATION,
        Kind::Text,
        "null",
        "the application of the stream here; without it, the default one, or where that takes no streams, the only one \
         that does",
    );
    let text = |name, description| Param::optional(name, Kind::Text, "null", description);
    let alive =
        Param::optional("keepAlive", Kind::Flag, "true", "whether it begins again after an end or a failure");
    let kept = Param::optional(
        KEPT,
        Kind::Flag,
        "true",
        "whether it stays when the application is replaced that asks for it, and is kept over a restart",
    );
    let public_only = Param::optional(
        PUBLIC_ONLY,
        Kind::Flag,
        "false",
        "true: nowhere that `outboundPolicy` does not let requests go, for an address that somebody else has chosen; \
         what a session asks for never goes anywhere else",
    );
    let common = [
        public_only,
        text("tcUrl", "said when connecting; without it, the address without stream, user and password"),
        text("swfUrl", "said when connecting"),
        text("pageUrl", "said when connecting"),
        text("emulateUserAgent", "what the server calls itself (`flashVer`)"),
        Param::optional("ttl", Kind::Whole, "null", "routers that packets may pass, from 1 to 255"),
        Param::optional("tos", Kind::Whole, "null", "the type of service of packets, from 0 to 255"),
        Param::optional(
            "tlsVerify",
            Kind::Flag,
            "null",
            "of `rtmps://` and `rtmpts://`: whether the certificate of the far end must hold; without it, it must",
        ),
        text("tlsCa", "a file with the authorities that count; without it, those of the system"),
        text(
            "tlsPin",
            "`sha256//` and the SHA-256 of the far end's public key in base64, instead of any authority",
        ),
        text("tlsName", "the name in the certificate; without it, that in `uri`"),
        text("tlsCert", "a file with a certificate of ours, where the far end wants one"),
        text("tlsKey", "the file with its key"),
        text("tlsMinVersion", "the oldest version of TLS: 1.2 or 1.3; without it, 1.2"),
        text("cipherSuite", "the cipher suites, as for acceptors"),
    ];
    const RTSP: &str = "for RTSP, which is not supported yet: nothing but this";
    let pull = [
        uri(
            "where the stream comes from: `rtmp://host/application/stream`; of several, each attempt takes the next",
        ),
        text("localStreamName", "the name of the stream here; without it, that at the far end"),
        text(
            "targetStreamName",
            "the name at the far end, with query: the whole path of `uri` is the application's then",
        ),
        alive.clone(),
        application.clone(),
        kept.clone(),
        Param::optional(
            "rangeStart",
            Kind::Number,
            "-2",
            "where to start, in seconds; -1: live only; -2: live, else recorded",
        ),
        Param::optional("rangeEnd", Kind::Number, "-1", "how many seconds to play; -1: to the end"),
    ];
    let for_rtsp = [
        Param::optional("forceTcp", Kind::Flag, "false", RTSP),
        Param::optional("httpProxy", Kind::Text, "\"\"", RTSP),
        Param::optional("rtcpDetectionInterval", Kind::Whole, "10", RTSP),
        Param::optional("ssmIp", Kind::Text, "\"\"", RTSP),
        Param::optional("isAudio", Kind::Flag, "true", RTSP),
        Param::optional("audioCodecBytes", Kind::Text, "\"\"", RTSP),
        Param::optional("spsBytes", Kind::Text, "\"\"", RTSP),
        Param::optional("ppsBytes", Kind::Text, "\"\"", RTSP),
        Param::optional("sendRenewStream", Kind::Flag, "false", RTSP),
    ];
    let push = [
        uri(
            "where the stream goes: `rtmp://host/application`, the whole path being the application's; of several, each \
             attempt takes the next",
        ),
        Param::required("localStreamName", Kind::Text, "the stream here"),
        text("targetStreamName", "the name at the far end, with query; without it, the name here"),
        Param::optional("targetStreamType", Kind::Text, "\"live\"", "live, record or append"),
        alive,
        application,
        kept,
        Param::optional(
            "rtmpAbsoluteTimestamps",
            Kind::Flag,
            "false",
            "packets carry absolute times in full headers either way",
        ),
        Param::optional(
            "sendChunkSizeRequest",
            Kind::Flag,
            "true",
            "whether the far end is asked to take chunks of the application's `chunkSize`; otherwise they have 128 bytes",
        ),
        Param::optional(
            "useSourcePts",
            Kind::Flag,
            "false",
            "no other times are made than the stream has: nothing but this",
        ),
        Param::optional("httpProxy", Kind::Text, "\"\"", RTSP),
    ];
    let with = |own: &[Param], more: &[Param]| [own, &common, more].concat();
    vec![
        Builtin::new(
            Spec::new(
                "pullStream",
                Access::Change,
                &with(&pull, &for_rtsp),
                "Fetches a stream of another server, which becomes one of an application here. It is tried again and again, \
                 also where the first attempt fails, and kept over a restart where `stateFile` is configured. `listConfig` \
                 says what it is doing, `removeConfig` ends it.",
            ),
            |server, run| outcome(server, run, Direction::Pull),
        ),
        Builtin::new(
            Spec::new(
                "pushStream",
                Access::Change,
                &with(&push, &[]),
                "Publishes a stream of an application at another server, whenever it is there. It is tried again and again, \
                 and kept over a restart where `stateFile` is configured. `listConfig` says what it is doing, `removeConfig` \
                 ends it.",
            ),
            |server, run| outcome(server, run, Direction::Push),
        ),
    ]
}

/// Whether a kept pull or push may look like this. Its settings are read when it begins.
pub(super) fn check(value: &Value) -> Result<(), &'static str> {
    let origin = value.get(ORIGIN).and_then(Value::as_str).is_some_and(|text| origin_of(text).is_some());
    let owner = value.get(OWNER).is_some_and(Value::is_string);
    let uri = value.get("uri").is_some_and(|uri| uri.is_string() || uri.is_array());
    if origin && owner && uri {
        return Ok(());
    }
    Err(r#"{"uri": "…", "applicationName": "…", "origin": "request" or "configuration", …}"#)
}

fn outcome(server: &mut Server, run: &Run<'_>, direction: Direction) -> Outcome {
    let (kept, unkept) = match direction {
        Direction::Pull => (
            "the pull is set up",
            "the pull is set up; it is not kept over a restart: no stateFile is configured",
        ),
        Direction::Push => (
            "the push is set up",
            "the push is set up; it is not kept over a restart: no stateFile is configured",
        ),
    };
    match create(server, run, direction) {
        Ok(entry) if !run.params.flag(KEPT) => Outcome::Done(kept, entry),
        Ok(entry) => Outcome::Done(server.state.kept.says(kept, unkept), entry),
        Err(text) => Outcome::Fail(text),
    }
}

fn create(server: &mut Server, run: &Run<'_>, direction: Direction) -> Result<Value, String> {
    let application = application(server, run.params.given_text(APPLICATION))?;
    let mut given = run.params.map().clone();
    given.remove(APPLICATION);
    given.remove(KEPT);
    given.remove(PUBLIC_ONLY);
    if let Some(uri) = given.get_mut("uri")
        && let [one] = uri.as_array().map(Vec::as_slice).unwrap_or_default()
    {
        *uri = one.clone();
    }
    // What an application of the operator's asks for itself goes where it goes anyway, unless it says otherwise.
    let is_own = run.caller.session.is_none() && !run.params.flag(PUBLIC_ONLY);
    let origin = if is_own { Origin::Configuration } else { Origin::Request };
    let definition = Definition::read(direction, &application, origin, &given, &server.limits)
        .map_err(|wrong| wrong.to_string())?;
    let policy = &server.outbound.policy;
    for scheme in definition.schemes() {
        policy.check_scheme(scheme, origin).map_err(|refused| refused.to_string())?;
    }
    if run.caller.rights != Rights::All
        && TLS_FILES.iter().any(|key| !given.get(*key).is_none_or(Value::is_null))
    {
        return Err("only who may do everything may name files (`tlsCa`, `tlsCert`, `tlsKey`)".to_owned());
    }
    let (chains, keys) = definition.to_prepare();
    for chain in chains {
        server.trust.get(&server.libraries.catalogue, chain, &keys)?;
    }
    for address in definition.literal_addresses() {
        policy.admit(origin, vec![address]).map_err(|refused| refused.to_string())?;
    }
    if let Some(id) = server.share_link(&definition, run) {
        return Ok(server.link_entry(id, Rights::All).unwrap_or_default());
    }
    server.make_room(&definition)?;
    let local = definition.local.clone();
    let place = definition.place();
    let (id, held) = if !run.params.flag(KEPT) {
        let instance = run.caller.instance;
        if !server.instances().any(|other| other == instance) {
            return Err("the application that asks for it has ended".to_owned());
        }
        (server.state.kept.next_id(), Held::By(vec![instance]))
    } else {
        let mut value = definition.settings().clone();
        value.insert(OWNER.to_owned(), application.into());
        value.insert(ORIGIN.to_owned(), origin_name(origin).into());
        (server.state.kept.add(kind(direction), Value::Object(value))?, Held::Kept)
    };
    slog::info!(server.environment.log, "a {} of {:?} is set up by command", direction.name(), local;
        "uri" => place, "configId" => id, "caller" => %run.caller);
    server.insert_link(id, definition, held);
    // Whoever sets it up knows its names.
    Ok(server.link_entry(id, Rights::All).unwrap_or_default())
}

/// The application that is meant.
fn application(server: &Server, wanted: Option<&str>) -> Result<String, String> {
    let list = &server.configuration.applications.list;
    let serves = |application: &Application| {
        let running = server.applications.get(&application.name);
        running.is_some_and(|running| !running.seen.selects)
    };
    if let Some(wanted) = wanted {
        let is_meant =
            |one: &&Application| one.name == wanted || one.aliases.iter().any(|alias| alias == wanted);
        let found = list.iter().find(is_meant);
        let found = found
            .ok_or_else(|| format!("there is no application {wanted:?}; `listApplications` lists all"))?;
        if !serves(found) {
            return Err(format!("the application {wanted:?} takes no streams itself; name another one"));
        }
        return Ok(found.name.clone());
    }
    if let Some(default) = list.iter().find(|application| application.default && serves(application)) {
        return Ok(default.name.clone());
    }
    let by_line = |application: &Application| {
        application.acceptors.iter().any(|acceptor| acceptor.protocol.ends_with("Cli"))
    };
    let mut others = list.iter().filter(|application| serves(application) && !by_line(application));
    match (others.next(), others.next()) {
        (Some(only), None) => Ok(only.name.clone()),
        _ => Err(format!("`{APPLICATION}` must be given: the default application takes no streams itself")),
    }
}

impl Server {
    /// Has those pulls and pushes run that the configuration in force and what is kept ask for, and no others. Those that
    /// have not changed are not touched.
    pub(in crate::server) fn resume_links(&mut self) {
        let mut wanted = self.configured_links();
        let instances: HashSet<u64> = self.instances().collect();
        let mut known = std::mem::take(&mut self.state.links);
        known.retain(|id, link| {
            let stays = match &mut link.held {
                Held::Configured => {
                    let same = wanted.get_mut(&name_of(&link.definition));
                    same.and_then(Vec::pop).is_some()
                }
                Held::Kept => self.state.kept.get(*id).is_some(),
                Held::By(holders) => {
                    holders.retain(|holder| instances.contains(holder));
                    !holders.is_empty()
                }
            };
            if !stays && link.started {
                self.links.remove(*id);
            }
            stays
        });
        for definition in wanted.into_values().flatten() {
            let id = self.state.kept.next_id();
            known.insert(
                id,
                Link { definition: Arc::new(definition), held: Held::Configured, started: false },
            );
        }
        let mut broken = Vec::new();
        for (id, entry) in self.state.kept.entries() {
            // What was broken is: what it was read with changes with a restart only.
            if known.contains_key(&id) || self.state.broken_links.contains_key(&id) {
                continue;
            }
            match read_kept(entry, &self.limits) {
                Ok(None) => {}
                Ok(Some(definition)) => {
                    let definition = Arc::new(definition);
                    known.insert(id, Link { definition, held: Held::Kept, started: false });
                }
                Err(text) => {
                    slog::error!(self.environment.log,
                        "a pull or push of the stateFile is left out: {text}"; "configId" => id);
                    broken.push((id, text));
                }
            }
        }
        self.state.broken_links.extend(broken);
        let running: HashSet<&String> = self.applications.keys().collect();
        for (id, link) in &mut known {
            let runs = running.contains(&link.definition.application);
            if runs && !link.started {
                let (chains, keys) = link.definition.to_prepare();
                for chain in chains {
                    if let Err(text) = self.trust.get(&self.libraries.catalogue, chain, &keys) {
                        slog::error!(self.environment.log, "{text}"; "configId" => id);
                    }
                }
                self.links.add(*id, link.definition.clone());
            } else if !runs && link.started {
                self.links.remove(*id);
            }
            link.started = runs;
        }
        self.state.links = known;
    }

    /// The instances of applications that do anything any more.
    fn instances(&self) -> impl Iterator<Item = u64> {
        let all = self.applications.values().chain(&self.retired);
        all.filter(|running| running.handle.health() != Health::Disabled).map(|running| running.id)
    }

    /// Begins one.
    fn insert_link(&mut self, id: u64, definition: Definition, held: Held) {
        let definition = Arc::new(definition);
        let started = self.applications.contains_key(&definition.application);
        if started {
            self.links.add(id, definition.clone());
        }
        self.state.links.insert(id, Link { definition, held, started });
    }

    /// Ends one, where there is one of this number, but for what is kept of it.
    pub(super) fn drop_link(&mut self, id: u64) {
        self.state.broken_links.remove(&id);
        if self.state.links.remove(&id).is_some_and(|link| link.started) {
            self.links.remove(id);
        }
    }

    /// Has room for one more: what has ended for good makes way.
    ///
    /// # Errors
    ///
    /// If there is no room, or another one does the same.
    fn make_room(&mut self, definition: &Definition) -> Result<(), String> {
        let like = self.state.links.iter().filter(|(_, link)| link.definition.is_like(definition));
        let like: Vec<(u64, Held)> = like.map(|(id, link)| (*id, link.held.clone())).collect();
        if let Some((id, _)) = like.iter().find(|(id, _)| !self.links.has_ended(*id)) {
            let what = definition.direction.name();
            return Err(format!(
                "there is such a {what} already, of the same stream and address: configId {id}"
            ));
        }
        for (id, held) in like {
            match held {
                // It comes again with the next start.
                Held::Configured => continue,
                Held::Kept => drop(self.state.kept.remove(id)?),
                Held::By(_) => {}
            }
            self.drop_link(id);
        }
        let most = self.limits.links;
        if self.state.links.len() >= most {
            let passing = self.state.links.iter().filter(|(_, link)| matches!(link.held, Held::By(_)));
            let over: Vec<u64> = passing.map(|(id, _)| *id).filter(|id| self.links.has_ended(*id)).collect();
            over.into_iter().for_each(|id| self.drop_link(id));
        }
        if self.state.links.len() >= most {
            return Err(format!("there are {most} pulls and pushes already (limits.links)"));
        }
        Ok(())
    }

    /// What is known of each pull or push, as `listConfig` shows it.
    pub(super) fn link_entries(&self, group: &str, rights: Rights) -> Vec<Value> {
        let now = Instant::now();
        let of_group = self.state.links.iter().filter(|(_, link)| kind(link.definition.direction) == group);
        let entries = of_group.map(|(id, link)| self.show_link(*id, link, rights, now));
        let broken = self.state.broken_links.keys().filter_map(|id| self.show_broken(*id));
        entries.chain(broken.filter_map(|(of, entry)| (of == group).then_some(entry))).collect()
    }

    /// What there is to say of a kept one that cannot be read, with its group.
    fn show_broken(&self, id: u64) -> Option<(&'static str, Value)> {
        let (text, entry) = (self.state.broken_links.get(&id)?, self.state.kept.get(id)?);
        let mut shown = json!({
            "configId": id,
            OWNER: entry.value.get(OWNER),
            "localStreamName": entry.value.get("localStreamName"),
            "fromConfiguration": false,
            "kept": true,
            "cause": format!("it cannot be read: {text}"),
        });
        mask(&mut shown);
        Some((entry.kind, shown))
    }

    /// What is known of one.
    pub(super) fn link_entry(&self, id: u64, rights: Rights) -> Option<Value> {
        let (group, mut entry) = match self.state.links.get(&id) {
            Some(link) => (kind(link.definition.direction), self.show_link(id, link, rights, Instant::now())),
            None => self.show_broken(id)?,
        };
        entry["groupName"] = group.into();
        Some(entry)
    }

    /// Which pull or push has which message stream of which connection.
    pub(super) fn links_on(&self) -> HashMap<(u64, u32), u64> {
        self.links.on()
    }

    /// Says of a stream which settings it is pulled or pushed by, as EvoStream does.
    pub(super) fn add_link_settings(
        &self,
        on: &HashMap<(u64, u32), u64>,
        connection: Option<ConnectionId>,
        slot: StreamSlot,
        rights: Rights,
        json: &mut Value,
    ) {
        let link = connection.and_then(|connection| on.get(&(connection.0, slot.0)));
        let Some((id, link)) = link.and_then(|id| Some((*id, self.state.links.get(id)?))) else { return };
        let mut settings = link.definition.shown(rights >= Rights::All);
        settings.insert("configId".to_owned(), id.into());
        let key = match link.definition.direction {
            Direction::Pull => "pullSettings",
            Direction::Push => "pushSettings",
        };
        json[key] = Value::Object(settings);
    }

    /// Ends a pull or push for good.
    pub(super) fn forget_link(&mut self, id: u64, run: &Run<'_>) -> Result<(), String> {
        self.may_remove_link(id)?;
        self.state.kept.remove(id)?;
        self.drop_link(id);
        slog::info!(self.environment.log, "a pull or push is removed by command"; "configId" => id,
            "caller" => %run.caller);
        Ok(())
    }

    /// Whether a number may be removed, as far as pulls are concerned.
    pub(super) fn may_remove_link(&self, id: u64) -> Result<(), String> {
        match self.state.links.get(&id) {
            Some(link) if link.held == Held::Configured => Err(format!(
                "the pull {id} stands in `externalStreams` of the application {:?}: take it out there, and reload",
                link.definition.application
            )),
            _ => Ok(()),
        }
    }

    /// What an instance asks for that an earlier or later one of its application needs as well is the same pull or push:
    /// its number, which it has for both from now on.
    fn share_link(&mut self, definition: &Definition, run: &Run<'_>) -> Option<u64> {
        if run.params.flag(KEPT) || run.caller.session.is_some() {
            return None;
        }
        let instances = self.applications.values().chain(&self.retired);
        let siblings: HashSet<u64> = instances
            .filter(|running| running.handle.name() == run.caller.name)
            .map(|running| running.id)
            .filter(|id| *id != run.caller.instance)
            .collect();
        let (id, holders) = self.state.links.iter_mut().find_map(|(id, link)| match &mut link.held {
            Held::By(holders) if *link.definition == *definition => Some((*id, holders)),
            _ => None,
        })?;
        if holders.is_empty() || !holders.iter().all(|holder| siblings.contains(holder)) {
            return None;
        }
        holders.push(run.caller.instance);
        Some(id)
    }

    /// Whether a pull or push goes on that an instance does not need any more, because another one does.
    pub(super) fn leave_link(&mut self, id: u64, run: &Run<'_>) -> bool {
        let Some(Link { held: Held::By(holders), .. }) = self.state.links.get_mut(&id) else { return false };
        let is_one = holders.contains(&run.caller.instance) && run.caller.session.is_none();
        if !is_one || holders.len() < 2 {
            return false;
        }
        holders.retain(|holder| *holder != run.caller.instance);
        true
    }

    /// Ends those that an instance of an application has asked for, by number or of a group; gives their numbers.
    pub(super) fn remove_passing_links(&mut self, wanted: impl Fn(u64, &str) -> bool) -> Vec<u64> {
        let passing = |(id, link): &(&u64, &Link)| {
            matches!(link.held, Held::By(_)) && wanted(**id, kind(link.definition.direction))
        };
        let gone: Vec<u64> = self.state.links.iter().filter(passing).map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| self.drop_link(*id));
        gone
    }

    fn show_link(&self, id: u64, link: &Link, rights: Rights, now: Instant) -> Value {
        let mut entry = self.links.entry(id, &link.definition, rights >= Rights::All, now);
        entry["fromConfiguration"] = (link.held == Held::Configured).into();
        entry["kept"] = (link.held == Held::Kept).into();
        if !link.started {
            let cause = format!("the application {:?} is not there", link.definition.application);
            entry["cause"] = cause.into();
        }
        entry
    }

    /// The pulls that the configuration in force asks for. Equal ones are paired one by one.
    fn configured_links(&self) -> HashMap<String, Vec<Definition>> {
        let mut wanted: HashMap<String, Vec<Definition>> = HashMap::new();
        for application in &self.configuration.applications.list {
            for given in &application.external_streams {
                let origin = Origin::Configuration;
                match Definition::read(Direction::Pull, &application.name, origin, given, &self.limits) {
                    Ok(definition) => wanted.entry(name_of(&definition)).or_default().push(definition),
                    // The limits in force may be others than those that it was checked with.
                    Err(wrong) => slog::error!(self.environment.log,
                        "a pull of the configuration is left out: {wrong}"; "application" => &application.name),
                }
            }
        }
        wanted
    }
}

/// What tells pulls of the configuration apart.
fn name_of(definition: &Definition) -> String {
    format!("{} {}", definition.application, Value::Object(definition.settings().clone()))
}

/// A kept pull or push; none: the entry is something else.
fn read_kept(entry: &kept::Entry, limits: &crtmp_media::Limits) -> Result<Option<Definition>, String> {
    let direction = match entry.kind {
        kept::PULL => Direction::Pull,
        kept::PUSH => Direction::Push,
        _ => return Ok(None),
    };
    let mut settings: Map<String, Value> = entry.value.as_object().cloned().unwrap_or_default();
    let mut take = |key: &str| settings.remove(key).and_then(|value| value.as_str().map(str::to_owned));
    let (owner, origin) = (take(OWNER).unwrap_or_default(), take(ORIGIN).unwrap_or_default());
    // Who has written it is not known any more: it is trusted less.
    let origin = origin_of(&origin).unwrap_or(Origin::Request);
    Definition::read(direction, &owner, origin, &settings, limits)
        .map(Some)
        .map_err(|wrong| wrong.to_string())
}

fn kind(direction: Direction) -> &'static str {
    match direction {
        Direction::Pull => kept::PULL,
        Direction::Push => kept::PUSH,
    }
}

fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Configuration => "configuration",
        Origin::Request => "request",
    }
}

fn origin_of(text: &str) -> Option<Origin> {
    [Origin::Configuration, Origin::Request].into_iter().find(|origin| origin_name(*origin) == text)
}
