//! The layers and chains that acceptors may name: those of the program, of plugins, and of the configuration.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Instant};

use crtmp_media::{
    Chain, ChainRow, Error, KeyKind, KeyRow, LayerRow, LayerSettings, Outside, Port, Prepared, Way, Ways,
};
use serde_json::{Map, Value};

use crate::config::{Acceptor, ConfigError, Configuration, did_you_mean, quoted};
use crate::outbound::Network;

/// What the layers of a chain have prepared for all connections with the same keys.
pub type Preparations = Arc<[Arc<dyn Prepared>]>;

/// All layers and chains by name.
#[derive(Clone, Default)]
pub struct Catalogue {
    layers: HashMap<Cow<'static, str>, Arc<LayerRow>>,
    chains: HashMap<Cow<'static, str>, ChainRow>,
    /// Chains that are known and not served yet, with the feature that they belong to.
    later: Vec<(&'static str, &'static str)>,
}

impl Catalogue {
    /// A catalogue that knows of chains which are not served yet.
    pub fn new(later: &[(&'static str, &'static str)]) -> Self {
        Self { later: later.to_vec(), ..Self::default() }
    }

    /// Adds a layer.
    ///
    /// # Errors
    ///
    /// If there is one of that name.
    pub fn add_layer(&mut self, row: LayerRow) -> Result<(), String> {
        if self.layers.contains_key(&row.name) {
            return Err(format!("there are two layers of the name {:?}", row.name));
        }
        self.layers.insert(row.name.clone(), Arc::new(row));
        Ok(())
    }

    /// Whether there is a chain of this name.
    pub fn has(&self, chain: &str) -> bool {
        self.chains.contains_key(chain)
    }

    /// The names of the layers of a chain, far to near; none of a chain that is not there, or that is but a name for
    /// several others.
    pub fn layers_of<'a>(&'a self, chain: &str) -> impl Iterator<Item = &'a str> {
        let row = self.chains.get(chain);
        row.into_iter().flat_map(|row| row.layers.iter().map(|layer| &**layer))
    }

    /// The chain of the connections that those of `chain` carry, where they carry others.
    pub fn sessions_of(&self, chain: &str) -> Option<Cow<'static, str>> {
        self.chains_of(chain).find_map(|row| self.layers.get(row.layers.last()?)?.sessions.clone())
    }

    /// The chains that a port of this one serves.
    fn chains_of<'a>(&'a self, chain: &str) -> impl Iterator<Item = &'a ChainRow> {
        let row = self.chains.get(chain);
        let own = row.filter(|row| !row.layers.is_empty());
        own.into_iter()
            .chain(row.into_iter().flat_map(|row| row.also.iter().filter_map(|name| self.chains.get(name))))
    }

    /// All layers of connections of a port, and of those that they carry, each once.
    fn layers_at<'a>(&'a self, rows: impl Iterator<Item = &'a ChainRow>) -> Vec<&'a Arc<LayerRow>> {
        let mut found: Vec<&Arc<LayerRow>> = Vec::new();
        for row in rows {
            let own = row.layers.iter().filter_map(|name| self.layers.get(name));
            let carried = own.clone().filter_map(|layer| self.chains.get(layer.sessions.as_ref()?));
            let carried = carried.flat_map(|row| &row.layers).filter_map(|name| self.layers.get(name));
            for layer in own.chain(carried) {
                if !found.iter().any(|known| known.name == layer.name) {
                    found.push(layer);
                }
            }
        }
        found
    }

    /// Whether a port serves one of its chains. Those that need what an acceptor may leave out, such as a certificate,
    /// are there where it says any of that.
    fn serves(&self, port: &str, row: &ChainRow, keys: &Map<String, Value>) -> bool {
        let told = |layer: &Arc<LayerRow>| layer.keys.iter().any(|key| keys.contains_key(key.name));
        let layers = row.layers.iter().filter_map(|name| self.layers.get(name));
        row.name == port || layers.filter(|layer| layer.prepare.is_some()).all(told)
    }

    fn ways_of<'a>(&self, rows: impl IntoIterator<Item = &'a ChainRow>) -> Result<Vec<Way>, String> {
        let way = |row: &ChainRow| {
            let layer =
                |name| self.layers.get(name).cloned().ok_or_else(|| format!("there is no layer {name:?}"));
            let layers = row.layers.iter().map(layer).collect::<Result<_, _>>()?;
            Ok(Way { chain: row.name.clone(), layers })
        };
        rows.into_iter().map(way).collect()
    }

    /// What a port serves whose acceptor has these keys.
    ///
    /// # Errors
    ///
    /// If there is no such chain.
    pub fn ways(&self, port: &str, keys: &Map<String, Value>) -> Result<Arc<Ways>, String> {
        if !self.has(port) {
            return Err(format!("there is no chain {port:?}"));
        }
        let (served, absent): (Vec<&ChainRow>, _) =
            self.chains_of(port).partition(|row| self.serves(port, row, keys));
        Ways::new(self.ways_of(served)?, self.ways_of(absent)?)
    }

    /// The keys of an acceptor, as layers read them: also the flags that are true where it does not say otherwise.
    pub fn keys_of(&self, chain: &str, keys: &Map<String, Value>) -> Arc<[(String, crtmp_media::Value)]> {
        let flags = self.chains.get(chain).into_iter().flat_map(|row| &row.flags);
        let unsaid =
            flags.filter(|flag| !keys.contains_key(**flag)).map(|flag| ((*flag).to_owned(), true.into()));
        layer_keys(keys).iter().cloned().chain(unsaid).collect()
    }

    /// Adds a chain: layers that exist, from bytes to the server, each fitting its neighbour.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn add_chain(&mut self, row: ChainRow) -> Result<(), String> {
        if self.chains.contains_key(&row.name) {
            return Err(format!("there are two chains of the name {:?}", row.name));
        }
        let mut port = Port::Bytes;
        for name in &row.layers {
            let layer = self
                .layers
                .get(name)
                .ok_or_else(|| format!("chain {:?}: there is no layer {name:?}", row.name))?;
            if layer.far != port {
                return Err(format!(
                    "chain {:?}: the layer {name:?} expects {} of its farther neighbour, not {}",
                    row.name,
                    port_name(layer.far),
                    port_name(port)
                ));
            }
            port = layer.near;
        }
        if port != Port::Server && (row.also.is_empty() || !row.layers.is_empty()) {
            return Err(format!("chain {:?}: its last layer is no endpoint", row.name));
        }
        if let Some(name) = row.also.iter().find(|name| !self.has(name)) {
            return Err(format!("chain {:?}: there is no chain {name:?}", row.name));
        }
        let name = row.name.clone();
        self.chains.insert(name.clone(), row);
        let mut carried =
            self.chains_of(&name).filter_map(|row| self.layers.get(row.layers.last()?)?.sessions.as_ref());
        let first = carried.next();
        if carried.any(|other| Some(other) != first) {
            return Err(format!("chain {name:?}: its ports would carry connections of several chains"));
        }
        let ways = self.ways_of(self.chains_of(&name)).and_then(|all| Ways::new(all, Vec::new()));
        ways.map_err(|text| format!("chain {name:?}: {text}"))?;
        Ok(())
    }

    /// Makes the chain of this name for a connection that came at `now`.
    ///
    /// # Errors
    ///
    /// If there is no such chain, or one of its layers cannot be made.
    pub fn build(&self, chain: &str, settings: &LayerSettings, now: Instant) -> Result<Chain, Error> {
        let ways = self.ways(chain, &Map::new()).map_err(|text| Error::ours("chain", text))?;
        Chain::named(ways.make(settings, now)?)
    }

    /// Has the layers of a chain prepare what all connections with these keys share; `path` is where the keys stand. A
    /// chain that is not there prepares nothing.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the keys, and what they name.
    pub fn prepare(
        &self,
        path: &str,
        chain: &str,
        keys: &Map<String, Value>,
        outside: &Outside<'_>,
    ) -> Result<Preparations, Vec<ConfigError>> {
        let settings = LayerSettings { keys: self.keys_of(chain, keys), ..LayerSettings::default() };
        let (mut prepared, mut errors) = (Vec::new(), Vec::new());
        let served = self.chains_of(chain).filter(|row| self.serves(chain, row, keys));
        for prepare in self.layers_at(served).into_iter().filter_map(|layer| layer.prepare.as_ref()) {
            match prepare(&settings, outside) {
                Ok(made) => prepared.push(made),
                Err(wrong) => errors.extend(wrong.into_iter().map(|unfit| {
                    ConfigError::new(format!("{path}.{}", unfit.key), unfit.found, unfit.expected)
                })),
            }
        }
        if errors.is_empty() { Ok(prepared.into()) } else { Err(errors) }
    }

    /// Checks that the chains of all acceptors exist and take the keys that stand there.
    pub fn check(&self, configuration: &Configuration) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (index, application) in configuration.applications.list.iter().enumerate() {
            for (number, acceptor) in application.acceptors.iter().enumerate() {
                let path = format!("configuration.applications[{}].acceptors[{}]", index + 1, number + 1);
                self.check_acceptor(&path, acceptor, &mut errors);
            }
        }
        errors
    }

    /// Checks one acceptor, which stands at `path`.
    pub fn check_acceptor(&self, path: &str, acceptor: &Acceptor, errors: &mut Vec<ConfigError>) {
        let row = self.chains.get(acceptor.protocol.as_str()).filter(|row| !is_outbound(&row.name));
        let Some(row) = row else {
            return errors.push(self.unknown_chain(&format!("{path}.protocol"), &acceptor.protocol));
        };
        let layers = self.layers_at(self.chains_of(&row.name));
        let before = errors.len();
        let others = ["ip", "port", "protocol", PROXY_PROTOCOL];
        check_keys(&row.name, &layers, (path, &acceptor.keys), &others, errors);
        if errors.len() == before {
            errors.extend(refused_keys(&layers, path, &acceptor.keys));
        }
    }

    /// Checks the keys of a connection that the server makes with this chain: for one that is not there, whoever makes it
    /// says so.
    pub(crate) fn check_outbound(&self, chain: &str, keys: &Map<String, Value>) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let layers = self.layers_at(self.chains_of(chain));
        if !layers.is_empty() {
            check_keys(chain, &layers, ("", keys), &[], &mut errors);
        }
        errors
    }

    fn unknown_chain(&self, path: &str, name: &str) -> ConfigError {
        let names = self.chains.keys().map(|name| &**name);
        let mut served: Vec<&str> = names.filter(|name| !is_outbound(name)).collect();
        served.sort_unstable();
        let expected = match served.as_slice() {
            [one] => quoted(one),
            many => format!("one of {}", many.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
        };
        if self.chains.contains_key(name) {
            let found = format!("{}, which is for connections that the server makes", quoted(name));
            return ConfigError::new(path, found, expected);
        }
        if let Some((_, feature)) = self.later.iter().find(|(known, _)| *known == name) {
            let found = format!("{}, which is not supported yet ({feature})", quoted(name));
            return ConfigError::new(path, found, expected);
        }
        let found = format!("the unknown chain {}", quoted(name));
        let error = ConfigError::new(path, found, expected);
        match did_you_mean(name, served.into_iter().chain(self.later.iter().map(|(name, _)| *name))) {
            Some(near) => error.suggest(format!("did you mean {}?", quoted(near))),
            None => error,
        }
    }
}

/// What layers find wrong with keys whose values are of the right kinds: they would say so for each connection. They
/// get all keys, since one may need another.
fn refused_keys(layers: &[&Arc<LayerRow>], path: &str, keys: &Map<String, Value>) -> Vec<ConfigError> {
    let make = |layer: &LayerRow, keys: &Map<String, Value>| {
        let settings = LayerSettings { keys: layer_keys(keys), ..LayerSettings::default() };
        (layer.make)(&settings, Instant::now()).err()
    };
    let mut errors = Vec::new();
    // Those that prepare say it then.
    for layer in layers.iter().filter(|layer| layer.prepare.is_none()) {
        let mut given = keys.iter().filter(|(key, _)| layer.keys.iter().any(|row| row.name == key.as_str()));
        if given.clone().next().is_none() {
            continue;
        }
        let Some(error) = make(layer, keys) else { continue };
        // The key that brings the same error alone is the one to name.
        let alone = |key: &String, value: &Value| {
            make(layer, &Map::from_iter([(key.clone(), value.clone())])).as_ref() == Some(&error)
        };
        let path = match given.find(|(key, value)| alone(key, value)) {
            Some((key, _)) => format!("{path}.{key}"),
            None => path.to_owned(),
        };
        let parts = error.split_once("found ").and_then(|(_, found)| found.split_once(", expected "));
        let (found, expected) = parts.unwrap_or((&error, "other values"));
        errors.push(ConfigError::new(path, found, expected));
    }
    errors
}

/// Whether a chain is one of those whose layers speak first: their names tell, as in crtmpserver.
fn is_outbound(chain: &str) -> bool {
    chain.starts_with("outbound")
}

/// The keys of an acceptor, as layers read them.
pub fn layer_keys(keys: &Map<String, Value>) -> Arc<[(String, crtmp_media::Value)]> {
    keys.iter().map(|(key, value)| (key.clone(), crtmp_plugin::values::from_json(value))).collect()
}

/// The key of an acceptor that names the proxies before it, whatever its chain.
pub(crate) const PROXY_PROTOCOL: &str = "proxyProtocol";

/// The most proxies or networks of them that an acceptor names.
const PROXIES: usize = 256;

fn check_networks(path: &str, value: &Value) -> Option<ConfigError> {
    let expected = || format!("a list of 1 to {PROXIES} networks or addresses of proxies");
    let Some(list) = value.as_array().filter(|list| (1..=PROXIES).contains(&list.len())) else {
        let found =
            value.as_array().map_or_else(|| value.to_string(), |list| format!("{} entries", list.len()));
        return Some(ConfigError::new(path, found, expected()));
    };
    list.iter().enumerate().find_map(|(index, entry)| {
        let path = format!("{path}[{}]", index + 1);
        let Some(text) = entry.as_str() else {
            return Some(ConfigError::new(path, entry.to_string(), "a string"));
        };
        let error = text.parse::<Network>().err()?;
        Some(ConfigError::new(path, quoted(text), error.to_string()))
    })
}

/// Whether the layers of a chain know these keys, which stand at a path, and their values are of the right kinds; `others`
/// are known to others.
fn check_keys(
    chain: &str,
    layers: &[&Arc<LayerRow>],
    (path, keys): (&str, &Map<String, Value>),
    others: &[&'static str],
    errors: &mut Vec<ConfigError>,
) {
    let known: Vec<KeyRow> = layers.iter().flat_map(|layer| layer.keys.iter().copied()).collect();
    for (key, value) in keys {
        let path = format!("{path}.{key}");
        if key == PROXY_PROTOCOL && others.contains(&PROXY_PROTOCOL) {
            errors.extend(check_networks(&path, value));
            continue;
        }
        match known.iter().find(|row| row.name == key) {
            Some(known) => errors.extend(check_key(&path, known.kind, value)),
            None => {
                let names: Vec<_> = others.iter().copied().chain(known.iter().map(|row| row.name)).collect();
                let expected = match names.as_slice() {
                    [] => format!("none: the chain {} has no keys", quoted(chain)),
                    names => format!("one of `{}`", names.join("`, `")),
                };
                let error = ConfigError::new(path, "an unknown key", expected);
                errors.push(match did_you_mean(key, names) {
                    Some(near) => error.suggest(format!("did you mean `{near}`?")),
                    None => error,
                });
            }
        }
    }
}

fn check_key(path: &str, kind: KeyKind, value: &Value) -> Option<ConfigError> {
    let (fits, expected) = match kind {
        KeyKind::Flag => (value.is_boolean(), "true or false".to_owned()),
        KeyKind::Text => (value.is_string(), "a string".to_owned()),
        KeyKind::Texts => {
            let texts = value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
            (texts, "a list of strings".to_owned())
        }
        KeyKind::Tables(keys) => {
            let fits = |entry: &Value| {
                let table = entry.as_object().filter(|table| table.len() == keys.len());
                table
                    .is_some_and(|table| keys.iter().all(|key| table.get(*key).is_some_and(Value::is_string)))
            };
            let tables = value.as_array().is_some_and(|list| list.iter().all(fits));
            (tables, format!("a list of tables, each with strings as `{}`", keys.join("` and `")))
        }
        KeyKind::Whole(from, to) => (
            value.as_u64().is_some_and(|number| (from..=to).contains(&number)),
            format!("a whole number from {from} to {to}"),
        ),
    };
    (!fits).then(|| ConfigError::new(path, value.to_string(), expected))
}

fn port_name(port: Port) -> &'static str {
    match port {
        Port::Bytes => "bytes",
        Port::Http => "HTTP messages",
        Port::Server => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::{Cx, Layer, Term, Unfit};
    use serde_json::json;

    use super::*;
    use crate::config::Application;

    struct Quiet;

    impl Layer for Quiet {
        fn on_data(&mut self, data: &[u8], _: &mut Cx<'_>) -> Result<usize, Error> {
            Ok(data.len())
        }
    }

    const KEYS: &[KeyRow] = &[
        KeyRow { name: "loud", kind: KeyKind::Flag },
        KeyRow { name: "hosts", kind: KeyKind::Texts },
        KeyRow { name: "size", kind: KeyKind::Whole(1, 9) },
        KeyRow { name: "pairs", kind: KeyKind::Tables(&["cert", "key"]) },
    ];

    fn layer(name: &'static str, far: Port, near: Port) -> LayerRow {
        let make = |settings: &LayerSettings, _| match settings.key("size") {
            Some(size) if *size == 7.0.into() => Err("`size`: found 7, expected another number".to_owned()),
            Some(size) if *size == 8.0.into() && settings.key("loud").is_none() => {
                Err("8 is not found in silence".to_owned())
            }
            _ => Ok(Box::new(Quiet) as Box<dyn Layer>),
        };
        let make = Box::new(make);
        LayerRow {
            name: name.into(),
            far,
            near,
            keys: KEYS,
            sessions: None,
            prepare: None,
            begins: None,
            make,
        }
    }

    fn chain(name: &'static str, layers: &[&'static str]) -> ChainRow {
        ChainRow::new(name, layers.iter().copied())
    }

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::new(&[("inboundRtmps", "TLS"), ("inboundRtsp", "RTSP")]);
        catalogue.add_layer(layer("rtmp", Port::Bytes, Port::Server)).unwrap();
        catalogue.add_layer(layer("http", Port::Bytes, Port::Http)).unwrap();
        catalogue.add_chain(chain("inboundRtmp", &["rtmp"])).unwrap();
        catalogue
    }

    #[test]
    fn chains_must_fit_from_end_to_end() {
        let mut catalogue = catalogue();
        let error = |catalogue: &mut Catalogue, layers| catalogue.add_chain(chain("x", layers)).unwrap_err();
        assert!(error(&mut catalogue, &["nothing"]).contains("there is no layer \"nothing\""));
        assert!(error(&mut catalogue, &["http", "rtmp"]).contains("expects bytes of its farther neighbour"));
        assert!(error(&mut catalogue, &["http"]).contains("no endpoint"));
        assert!(error(&mut catalogue, &[]).contains("no endpoint"));
        assert!(catalogue.add_chain(chain("inboundRtmp", &["rtmp"])).unwrap_err().contains("two chains"));
        assert!(
            catalogue.add_layer(layer("rtmp", Port::Bytes, Port::Http)).unwrap_err().contains("two layers")
        );
        assert!(catalogue.build("inboundRtmp", &LayerSettings::default(), Instant::now()).is_ok());
        assert!(catalogue.build("x", &LayerSettings::default(), Instant::now()).is_err());
    }

    fn mistakes(protocol: &str, keys: Value) -> Vec<String> {
        let Value::Object(keys) = keys else { panic!() };
        let acceptor = Acceptor { ip: [0, 0, 0, 0].into(), port: 1, protocol: protocol.to_owned(), keys };
        let mut configuration = Configuration::default();
        configuration.applications.list =
            vec![Application { acceptors: vec![acceptor], ..Application::default() }];
        catalogue().check(&configuration).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn chains_are_unknown_or_not_supported_yet() {
        assert_eq!(mistakes("inboundRtmp", json!({})), [""; 0]);
        let rtmps = mistakes("inboundRtmps", json!({}));
        assert!(rtmps[0].contains("acceptors[1].protocol") && rtmps[0].contains("not supported yet (TLS)"));
        let near = mistakes("inboundRtsq", json!({}));
        assert!(near[0].contains("did you mean \"inboundRtsp\"?"), "{near:?}");
    }

    /// What it was made of; it says its name as what it holds.
    #[derive(Debug)]
    struct Made(String);

    impl Prepared for Made {
        fn renew(&self, _: &Outside<'_>) -> Result<(), Vec<Unfit>> {
            Ok(())
        }

        fn terms(&self) -> Vec<Term> {
            Vec::new()
        }
    }

    #[test]
    fn layers_prepare_once_what_they_are_made_with() {
        let mut catalogue = catalogue();
        let row = LayerRow {
            prepare: Some(Box::new(|settings, outside| {
                let file = settings.key("file").and_then(crtmp_media::Value::as_str).unwrap_or_default();
                let wrong = |found| vec![Unfit::new("file", found, "a file")];
                let text = (outside.read)(file).map_err(wrong)?;
                Ok(Arc::new(Made(String::from_utf8_lossy(&text).into_owned())))
            })),
            make: Box::new(|settings, _| match settings.prepared::<Made>() {
                Some(made) if made.0 == "text" => Ok(Box::new(Quiet) as Box<dyn Layer>),
                other => Err(format!("{other:?}")),
            }),
            ..layer("ready", Port::Bytes, Port::Bytes)
        };
        catalogue.add_layer(row).unwrap();
        catalogue.add_chain(chain("inboundReady", &["ready", "rtmp"])).unwrap();
        let read = |name: &str| if name == "a" { Ok(b"text".to_vec()) } else { Err("nothing".to_owned()) };
        let outside = Outside { read: &read, roots: &Vec::new };
        let prepare = |chain: &str, file: &str| {
            let keys = Map::from_iter([("file".to_owned(), json!(file))]);
            catalogue.prepare("here", chain, &keys, &outside)
        };
        let prepared = prepare("inboundReady", "a").unwrap();
        let settings = LayerSettings { prepared, ..LayerSettings::default() };
        assert!(catalogue.build("inboundReady", &settings, Instant::now()).is_ok());
        assert!(catalogue.build("inboundReady", &LayerSettings::default(), Instant::now()).is_err());
        let wrong = prepare("inboundReady", "b").unwrap_err();
        assert_eq!(wrong[0].to_string(), "here.file: found nothing, expected a file");
        assert!(prepare("inboundRtmp", "b").unwrap().is_empty() && prepare("none", "b").unwrap().is_empty());
    }

    #[test]
    fn a_port_may_serve_several_chains_some_only_where_it_is_told_more() {
        const FILE: &[KeyRow] = &[KeyRow { name: "file", kind: KeyKind::Text }];
        let mut catalogue = catalogue();
        let begins: Option<fn(u8) -> bool> = Some(|byte| byte == 1);
        catalogue.add_layer(LayerRow { begins, ..layer("one", Port::Bytes, Port::Server) }).unwrap();
        let begins: Option<fn(u8) -> bool> = Some(|byte| byte == 2);
        let prepare =
            |_: &LayerSettings, _: &Outside<'_>| Ok(Arc::new(Made(String::new())) as Arc<dyn Prepared>);
        let two = LayerRow {
            begins,
            keys: FILE,
            prepare: Some(Box::new(prepare)),
            sessions: Some("inboundOne".into()),
            ..layer("two", Port::Bytes, Port::Server)
        };
        catalogue.add_layer(two).unwrap();
        catalogue.add_chain(chain("inboundOne", &["one"])).unwrap();
        catalogue.add_chain(chain("inboundTwo", &["two"])).unwrap();
        let mixed = |name: &'static str, also: &[&'static str]| ChainRow {
            also: also.iter().map(|name| (*name).into()).collect(),
            flags: vec!["loud"],
            ..chain(name, &[])
        };
        let wrong = catalogue.add_chain(mixed("x", &["inboundOne", "nobody"])).unwrap_err();
        assert!(wrong.contains("there is no chain \"nobody\""), "{wrong}");
        let wrong = catalogue.add_chain(mixed("y", &["inboundOne", "inboundRtmp"])).unwrap_err();
        assert!(wrong.contains("no first byte tells"), "{wrong}");
        catalogue.add_chain(mixed("inboundBoth", &["inboundOne", "inboundTwo"])).unwrap();
        assert!(catalogue.has("inboundBoth") && catalogue.layers_of("inboundBoth").next().is_none());
        assert_eq!(catalogue.sessions_of("inboundBoth").as_deref(), Some("inboundOne"));
        let told = Map::from_iter([("file".to_owned(), json!("a"))]);
        let quiet = Map::from_iter([("loud".to_owned(), json!(false))]);
        for (keys, several) in [(&told, true), (&quiet, false)] {
            assert_eq!(catalogue.ways("inboundBoth", keys).unwrap().are_several(), several);
            let outside = Outside { read: &|_| Ok(Vec::new()), roots: &Vec::new };
            let prepared = catalogue.prepare("here", "inboundBoth", keys, &outside).unwrap();
            assert_eq!(prepared.len(), usize::from(several));
            let loud = catalogue.keys_of("inboundBoth", keys).iter().find(|(key, _)| key == "loud").cloned();
            assert_eq!(loud.unwrap().1, crtmp_media::Value::from(several));
        }
        // Its own chain is served whatever it is told.
        assert!(catalogue.ways("inboundTwo", &Map::new()).is_ok());
    }

    #[test]
    fn proxies_of_any_chain_are_networks() {
        let many = vec!["10.0.0.1"; PROXIES];
        for good in [json!(["10.0.0.0/8", "127.0.0.1", "fd00::/8"]), json!(many)] {
            assert_eq!(mistakes("inboundRtmp", json!({ "proxyProtocol": good })), [""; 0]);
        }
        for (bad, expected) in [
            (json!(true), "acceptors[1].proxyProtocol: found true, expected a list of 1 to 256 networks"),
            (json!([]), "found 0 entries"),
            (json!(vec!["10.0.0.1"; PROXIES + 1]), "found 257 entries"),
            (json!(["10.0.0.0/8", 1]), "acceptors[1].proxyProtocol[2]: found 1, expected a string"),
            (json!(["proxy"]), "acceptors[1].proxyProtocol[1]: found \"proxy\", expected an IP address"),
            (json!(["10.0.0.1/8"]), "expected a network by its first address, here \"10.0.0.0/8\""),
        ] {
            let found = mistakes("inboundRtmp", json!({ "proxyProtocol": bad }));
            assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        }
        assert!(
            mistakes("inboundRtmp", json!({ "proxyProtokoll": [] }))[0]
                .contains("did you mean `proxyProtocol`?")
        );
    }

    #[test]
    fn keys_must_be_known_and_of_their_kind() {
        assert_eq!(mistakes("inboundRtmp", json!({ "loud": true, "hosts": ["a"], "size": 9 })), [""; 0]);
        assert_eq!(mistakes("inboundRtmp", json!({ "pairs": [{ "cert": "a", "key": "b" }] })), [""; 0]);
        assert_eq!(
            mistakes("inboundRtmp", json!({ "loud": true, "size": 8 })),
            [""; 0],
            "one needs the other"
        );
        for (keys, expected) in [
            (json!({ "size": 8 }), "acceptors[1].size: found 8 is not found in silence"),
            (json!({ "laud": true }), "did you mean `loud`?"),
            (json!({ "loud": 1 }), "true or false"),
            (json!({ "hosts": [1] }), "a list of strings"),
            (json!({ "size": 0 }), "a whole number from 1 to 9"),
            (json!({ "pairs": ["a"] }), "a list of tables, each with strings as `cert` and `key`"),
            (json!({ "pairs": [{ "cert": "a" }] }), "a list of tables"),
            (json!({ "pairs": [{ "cert": "a", "key": 1 }] }), "a list of tables"),
            (json!({ "pairs": [{ "cert": "a", "key": "b", "more": "c" }] }), "a list of tables"),
            (json!({ "size": 10 }), "a whole number from 1 to 9"),
            (json!({ "loud": true, "size": 7 }), "acceptors[1].size: found 7, expected another number"),
        ] {
            let found = mistakes("inboundRtmp", keys);
            assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        }
    }
}
