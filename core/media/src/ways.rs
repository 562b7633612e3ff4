//! Ports that serve several chains: the first byte says which of them a connection is.

use std::{borrow::Cow, sync::Arc, time::Instant};

use crate::{Cx, Error, Event, Layer, LayerRow, LayerSettings, Named};

/// The name of this layer, and of what is wrong before it is known what follows.
const PROTOCOL: &str = "firstbyte";

/// One of the chains that a port serves.
pub struct Way {
    /// Its name.
    pub chain: Cow<'static, str>,
    /// Its layers, far to near.
    pub layers: Vec<Arc<LayerRow>>,
}

/// All of them.
pub struct Ways {
    served: Vec<Way>,
    absent: Vec<Way>,
}

/// What a connection has turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Became {
    /// The name of the chain that it is.
    pub chain: Cow<'static, str>,
    /// Whether it carries others, as the connections of a tunnel do.
    pub carries: bool,
}

impl Way {
    /// The chain of the connections that those of this one carry, where they carry others.
    pub fn sessions(&self) -> Option<&Cow<'static, str>> {
        self.layers.last().and_then(|layer| layer.sessions.as_ref())
    }

    fn layer(&self, depth: usize) -> Option<&Arc<LayerRow>> {
        self.layers.get(depth)
    }

    fn begins_with(&self, first: u8, depth: usize) -> bool {
        self.layer(depth).and_then(|layer| layer.begins).is_some_and(|begins| begins(first))
    }
}

impl Ways {
    /// Those that a port serves, and those that it would serve if it were told more (a certificate, for instance): who
    /// comes by one of these is told so.
    ///
    /// # Errors
    ///
    /// If there are none, or a byte cannot tell them apart.
    pub fn new(served: Vec<Way>, absent: Vec<Way>) -> Result<Arc<Self>, String> {
        let ways = Self { served, absent };
        let all: Vec<usize> = (0..ways.served.len()).collect();
        ways.check(&all, 0)?;
        Ok(Arc::new(ways))
    }

    /// Whether only the first byte says which one a connection is.
    pub fn are_several(&self) -> bool {
        self.served.len() > 1
    }

    /// The layers of a connection that came at `now`, as far as they are known before anything has come.
    ///
    /// # Errors
    ///
    /// Of a layer that cannot be made.
    pub fn make(self: &Arc<Self>, settings: &LayerSettings, now: Instant) -> Result<Vec<Named>, Error> {
        self.layers((0..self.served.len()).collect(), 0, settings, now)
    }

    /// Whether those of `left` are one, or can be told apart from here on.
    fn check(&self, left: &[usize], depth: usize) -> Result<(), String> {
        let (first, more) = left.split_first().ok_or("there is no chain to be served")?;
        let next = |way: &usize| self.served[*way].layer(depth).map(|layer| &*layer.name);
        let name = next(first);
        if more.is_empty() {
            return Ok(());
        }
        let is_same = |way: &&usize| next(way) == name;
        let (same, other): (Vec<usize>, Vec<usize>) = left.iter().partition(is_same);
        if !other.is_empty() {
            for way in left {
                if self.served[*way].layer(depth).is_none_or(|layer| layer.begins.is_none()) {
                    let chain = &self.served[*way].chain;
                    return Err(format!("no first byte tells the chain {chain:?} from others"));
                }
            }
            self.check(&other, depth)?;
        } else if name.is_none() {
            return Err("two chains have the same layers".to_owned());
        }
        self.check(&same, depth + 1)
    }

    /// The layers from `depth` on of a connection that may be any of `left`.
    fn layers(
        self: &Arc<Self>,
        left: Vec<usize>,
        mut depth: usize,
        settings: &LayerSettings,
        since: Instant,
    ) -> Result<Vec<Named>, Error> {
        let mut layers: Vec<Named> = Vec::new();
        while let Some(row) = left.first().and_then(|way| self.served[*way].layer(depth)) {
            let is_same =
                |way: &usize| self.served[*way].layer(depth).is_some_and(|other| other.name == row.name);
            if !left.iter().all(is_same) {
                let (ways, settings) = (self.clone(), settings.clone());
                let until = since.checked_add(settings.limits.handshake_timeout.get());
                let layer = FirstByte { ways, left, depth, settings, since, until };
                layers.push((PROTOCOL.into(), Box::new(layer)));
                break;
            }
            let layer = (row.make)(settings, since)
                .map_err(|error| Error::ours("chain", format!("layer {:?}: {error}", row.name)))?;
            layers.push((row.name.clone(), layer));
            depth += 1;
        }
        Ok(layers)
    }
}

/// Stands at the near end of a chain until the first byte has come, and then puts in its place what begins so.
struct FirstByte {
    ways: Arc<Ways>,
    /// Which of the ways the connection may still be.
    left: Vec<usize>,
    /// How many layers of each way stand before this one.
    depth: usize,
    settings: LayerSettings,
    /// When the connection came: those who follow count from then.
    since: Instant,
    until: Option<Instant>,
}

impl FirstByte {
    /// Why nobody wants it.
    fn unknown(&self, first: u8) -> Error {
        if let Some(way) = self.ways.absent.iter().find(|way| way.begins_with(first, self.depth))
            && let Some(layer) = way.layer(self.depth)
        {
            let (name, key) = (&layer.name, layer.keys.first().map_or("", |row| row.name));
            let rule = format!("{name} came, which needs the key `{key}` of the acceptor");
            return Error::peer(PROTOCOL, rule);
        }
        let mut names: Vec<&str> = Vec::new();
        for layer in self.left.iter().filter_map(|way| self.ways.served[*way].layer(self.depth)) {
            if !names.contains(&&*layer.name) {
                names.push(&layer.name);
            }
        }
        let names = names.join(", ");
        Error::peer(PROTOCOL, format!("none of {names}: the first byte is 0x{first:02X}"))
    }
}

impl Layer for FirstByte {
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let Some(first) = data.first().copied() else { return Ok(0) };
        let fits = |way: &usize| self.ways.served[*way].begins_with(first, self.depth);
        let one = self.left.iter().copied().find(fits).ok_or_else(|| self.unknown(first))?;
        let way = &self.ways.served[one];
        let name = way.layer(self.depth).map(|layer| &layer.name);
        let is_same = |way: &usize| self.ways.served[*way].layer(self.depth).map(|layer| &layer.name) == name;
        let left: Vec<usize> = self.left.iter().copied().filter(is_same).collect();
        if left.len() == 1 {
            let (chain, carries) = (way.chain.clone(), way.sessions().is_some());
            cx.emit(Event::Became(Box::new(Became { chain, carries })));
            cx.pause();
        }
        cx.replace(self.ways.layers(left, self.depth, &self.settings, self.since)?)?;
        Ok(0)
    }

    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let time = self.settings.limits.handshake_timeout.get();
        // While nothing is read, silence says nothing about the peer.
        if cx.is_unread() {
            self.until = cx.now().checked_add(time);
            return Ok(());
        }
        let seconds = time.as_secs_f64();
        Err(Error::timeout(PROTOCOL, format!("not a byte within handshakeTimeout = {seconds} seconds")))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Chain, Env, Port};

    /// Says its name and what it hears; a shift of zero is an endpoint, others hand on what they have shifted.
    struct Loud(&'static str, u8);

    impl Layer for Loud {
        fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
            let name = self.0;
            cx.out().write_with(|out| out.extend(name.bytes()));
            cx.open()
        }

        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            if self.1 == 0 {
                cx.out().write_with(|out| out.extend(data));
            } else {
                let shifted: Vec<u8> = data.iter().map(|byte| byte - self.1).collect();
                cx.deliver(&shifted)?;
            }
            Ok(data.len())
        }
    }

    fn row(name: &'static str, begins: Option<fn(u8) -> bool>, shift: u8) -> Arc<LayerRow> {
        Arc::new(LayerRow {
            name: name.into(),
            far: Port::Bytes,
            near: if shift == 0 { Port::Server } else { Port::Bytes },
            keys: &[crate::KeyRow { name: "needed", kind: crate::KeyKind::Text }],
            sessions: (name == "U").then(|| "carried".into()),
            prepare: None,
            begins,
            make: Box::new(move |_, _| Ok(Box::new(Loud(name, shift)))),
        })
    }

    fn way(chain: &'static str, layers: &[&Arc<LayerRow>]) -> Way {
        Way { chain: chain.into(), layers: layers.iter().map(|row| (*row).clone()).collect() }
    }

    /// Lower letters, upper ones, and both behind a shift.
    fn ways() -> Arc<Ways> {
        let lower = row("L", Some(|byte| byte.is_ascii_lowercase()), 0);
        let upper = row("U", Some(|byte| byte.is_ascii_uppercase()), 0);
        let shift = row("S", Some(|byte| byte > 0x80), 0x40);
        let absent = row("A", Some(|byte| byte == b'!'), 0);
        let served = vec![
            way("lower", &[&lower]),
            way("upper", &[&upper]),
            way("shifted lower", &[&shift, &lower]),
            way("shifted upper", &[&shift, &upper]),
        ];
        Ways::new(served, vec![way("absent", &[&absent])]).unwrap()
    }

    fn env<T>(now: Instant, run: impl FnOnce(&mut Env<'_>) -> T) -> T {
        run(&mut Env { now, random: &mut |bytes| bytes.fill(7) })
    }

    fn sent(chain: &mut Chain) -> String {
        let queue = chain.send().unwrap();
        let bytes = queue.slices().collect::<Vec<_>>().concat();
        queue.advance(bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn each_way_is_found_at_every_split_and_waits_until_that_was_seen() {
        let (ways, now) = (ways(), Instant::now());
        assert!(ways.are_several());
        for (input, chain, carries, layers, heard) in [
            (&b"abc"[..], "lower", false, &["L"][..], "Labc"),
            (b"ABC", "upper", true, &["U"], "UABC"),
            (b"\xa1\xa2", "shifted lower", false, &["S", "L"], "SLab"),
            (b"\x81\x82", "shifted upper", true, &["S", "U"], "SUAB"),
        ] {
            for split in 0..=input.len() {
                let mut it = Chain::named(ways.make(&LayerSettings::default(), now).unwrap()).unwrap();
                assert_eq!(it.names().collect::<Vec<_>>(), [PROTOCOL]);
                env(now, |env| {
                    it.on_open(env).unwrap();
                    it.on_data(&input[..split], env).unwrap();
                    it.on_data(&input[split..], env).unwrap();
                });
                let became = Became { chain: chain.into(), carries };
                let Some(Event::Became(found)) = it.poll_event() else { panic!("{chain} at {split}") };
                assert_eq!((*found, it.poll_event().is_none()), (became, true));
                let before = sent(&mut it);
                assert!(it.is_paused() && before == layers.concat(), "they have said their names");
                env(now, |env| it.resume(env)).unwrap();
                assert!(!it.is_paused() && it.is_direct() == (layers.len() == 1));
                assert_eq!(before + &sent(&mut it), heard);
                assert_eq!(it.names().collect::<Vec<_>>(), layers);
            }
        }
    }

    #[test]
    fn what_is_shared_stands_while_the_rest_is_not_known() {
        let now = Instant::now();
        let mut it = Chain::named(ways().make(&LayerSettings::default(), now).unwrap()).unwrap();
        let error = env(now, |env| it.on_data(b"\xf4", env)).unwrap_err();
        assert_eq!(error.to_string(), "firstbyte: none of L, U: the first byte is 0xB4");
        assert_eq!(it.names().collect::<Vec<_>>(), ["S", PROTOCOL]);
    }

    #[test]
    fn who_comes_by_no_way_is_told_why() {
        let now = Instant::now();
        for (first, text) in [
            (b'?', "firstbyte: none of L, U, S: the first byte is 0x3F"),
            (b'!', "firstbyte: A came, which needs the key `needed` of the acceptor"),
        ] {
            let mut it = Chain::named(ways().make(&LayerSettings::default(), now).unwrap()).unwrap();
            let error = env(now, |env| it.on_data(&[first], env)).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn silence_has_its_time() {
        let (now, settings) = (Instant::now(), LayerSettings::default());
        let time = settings.limits.handshake_timeout.get();
        let mut it = Chain::named(ways().make(&settings, now).unwrap()).unwrap();
        assert_eq!(it.poll_timeout(), Some(now + time));
        let late = now + time;
        env(late - Duration::from_millis(1), |env| it.on_timeout(env)).unwrap();
        it.set_unread(true);
        env(late, |env| it.on_timeout(env)).unwrap();
        it.set_unread(false);
        assert_eq!(it.poll_timeout(), Some(late + time));
        let error = env(late + time, |env| it.on_timeout(env)).unwrap_err();
        assert_eq!(error.to_string(), "firstbyte: not a byte within handshakeTimeout = 5 seconds");
    }

    #[test]
    fn ways_that_no_byte_tells_apart_are_refused() {
        let (mute, lower) = (row("M", None, 0), row("L", Some(|byte| byte.is_ascii_lowercase()), 0));
        assert!(Ways::new(Vec::new(), Vec::new()).is_err());
        assert!(Ways::new(vec![way("one", &[&mute])], Vec::new()).is_ok_and(|ways| !ways.are_several()));
        for two in [[way("a", &[&mute]), way("b", &[&lower])], [way("a", &[&lower]), way("b", &[&lower])]] {
            assert!(Ways::new(two.into(), Vec::new()).is_err());
        }
    }
}
