//! What stands around RTMP on a connection: TLS, HTTP or RTMPE, by the layers of the server's own client side.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use crtmp_media::{Chain, Command, Cx, Env, Error, Layer, LayerRow, LayerSettings, Outside, Value};
use crtmp_registry::{CHAINS, layers};

use crate::clock;

/// The layers of an outbound chain but for RTMP itself.
pub(super) struct Veil {
    chain: Chain,
    near: Rc<RefCell<Near>>,
}

/// What stands nearer than the layers.
#[derive(Debug, Default)]
struct Near {
    /// The layers have said that bytes may be sent.
    open: bool,
    came: Vec<u8>,
    goes: Vec<u8>,
}

impl std::fmt::Debug for Veil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Veil").field("near", &self.near).finish_non_exhaustive()
    }
}

/// Makes the layers of many connections.
pub(super) struct Veils {
    /// The layers, far to near.
    rows: Vec<LayerRow>,
    settings: LayerSettings,
}

impl Veils {
    /// What stands around RTMP in this chain of the registry, for connections to `host`.
    ///
    /// # Errors
    ///
    /// If there is no such chain, or a layer cannot prepare.
    pub(super) fn new(chain: &str, host: &str) -> Result<Self, String> {
        let names = CHAINS.iter().find(|(name, _)| *name == chain).map(|(_, layers)| *layers);
        let names = names.ok_or_else(|| format!("there is no chain {chain:?}"))?;
        let outer = names.split_last().map_or(&[][..], |(_, outer)| outer);
        let mut all = layers();
        let mut rows = Vec::new();
        for name in outer {
            let at = all.iter().position(|row| row.name == *name);
            rows.push(all.swap_remove(at.ok_or_else(|| format!("there is no layer {name:?}"))?));
        }
        let mut settings = LayerSettings {
            // Certificates of a benchmark are made for it.
            keys: [("tlsVerify".to_owned(), Value::Boolean(false))].into_iter().collect(),
            host: host.into(),
            ..LayerSettings::default()
        };
        let outside = Outside { read: &|file| Err(format!("{file} is not needed")), roots: &Vec::new };
        let mut prepared = Vec::new();
        for prepare in rows.iter().filter_map(|row| row.prepare.as_ref()) {
            let made = prepare(&settings, &outside);
            prepared.push(made.map_err(|unfit| format!("{unfit:?}"))?);
        }
        settings.prepared = prepared.into();
        Ok(Self { rows, settings })
    }

    /// The layers of one connection.
    ///
    /// # Errors
    ///
    /// If one cannot be made.
    pub(super) fn make(&self) -> Result<Veil, String> {
        let near = Rc::<RefCell<Near>>::default();
        let made = self.rows.iter().map(|row| (row.make)(&self.settings, clock::instant()));
        let mut made = made.collect::<Result<Vec<_>, _>>()?;
        made.push(Box::new(Tap(near.clone())));
        Ok(Veil { chain: Chain::new(made).map_err(|error| error.to_string())?, near })
    }
}

impl Veil {
    /// TCP is connected.
    pub(super) fn opened(&mut self) -> Result<(), String> {
        self.run(|chain, env| chain.on_open(env))
    }

    /// Whether RTMP may begin.
    pub(super) fn is_open(&self) -> bool {
        self.near.borrow().open
    }

    /// Takes bytes of the server, and puts those of RTMP that they hold behind `plain`.
    pub(super) fn input(&mut self, data: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        self.run(|chain, env| chain.on_data(data, env))?;
        plain.append(&mut self.near.borrow_mut().came);
        Ok(())
    }

    /// When it wants to do something by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        self.chain.poll_timeout()
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) -> Result<(), String> {
        self.run(Chain::on_timeout)
    }

    /// Takes the bytes of RTMP in `plain`, and puts what goes out behind `out`.
    pub(super) fn output(&mut self, plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), String> {
        if !plain.is_empty() {
            self.near.borrow_mut().goes.append(plain);
            self.run(|chain, env| chain.on_command(Command::Withdraw { ticket: 0 }, env))?;
        }
        let queue = self.chain.send().map_err(|error| error.to_string())?;
        for slice in queue.slices() {
            out.extend_from_slice(slice);
        }
        queue.advance(queue.len());
        Ok(())
    }

    fn run(
        &mut self,
        call: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>,
    ) -> Result<(), String> {
        let mut env = Env {
            now: clock::instant(),
            // Nothing here is a secret.
            random: &mut |bytes| bytes.iter_mut().zip(1..).for_each(|(byte, number)| *byte = number),
        };
        call(&mut self.chain, &mut env).map_err(|error| error.to_string())?;
        match self.chain.closing() {
            Some(error) => Err(error.to_string()),
            None => Ok(()),
        }
    }
}

/// The near end of the layers: bytes come and go through what it shares with its [`Veil`].
struct Tap(Rc<RefCell<Near>>);

impl Layer for Tap {
    fn on_open(&mut self, _: &mut Cx<'_>) -> Result<(), Error> {
        self.0.borrow_mut().open = true;
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], _: &mut Cx<'_>) -> Result<usize, Error> {
        self.0.borrow_mut().came.extend_from_slice(data);
        Ok(data.len())
    }

    fn on_command(&mut self, _: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        cx.out().write_with(|out| out.append(&mut self.0.borrow_mut().goes));
        Ok(())
    }
}
