//! The contract of a protocol within a chain.

use std::{any::Any, collections::VecDeque, fmt, sync::Arc, time::Instant};

use crate::{
    Command, Error, Event, HttpHead, Limits, OutQueue, Prepared, Value,
    chain::{Carried, Link, Named},
};

/// One protocol in a chain: a state machine without sockets, clocks, threads or logs.
///
/// Three inputs: bytes from the far side, commands from the server, time. Three outputs, all through
/// [`Cx`]: bytes to the far side, bytes to the near side, events.
pub trait Layer {
    /// The carrier is connected; called once, before any data. A layer that needs no handshake of its own passes it
    /// on at once, as here; another does when its nearer neighbour may speak.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        cx.open()
    }

    /// Takes bytes from the far side and returns how many: all of them, unless the chain was paused during
    /// this call, or the layer waits for something else. It is offered the rest again after each call of the chain;
    /// meanwhile the carrier does not read. A layer keeps only what is unfinished.
    ///
    /// # Errors
    ///
    /// An error ends the connection; what was sent before it still goes out.
    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error>;

    /// Takes the head of an HTTP message; its body follows by [`Layer::on_data`], then [`Layer::on_end`]. Only layers
    /// that stand behind HTTP get any.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_head(&mut self, head: &HttpHead, cx: &mut Cx<'_>) -> Result<(), Error> {
        let _ = (head, cx);
        Ok(())
    }

    /// The body of the HTTP message is complete.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let _ = cx;
        Ok(())
    }

    /// Takes an order from the server. Endpoints only; media is pulled, never commanded.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_command(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        let _ = (command, cx);
        Ok(())
    }

    /// Takes bytes of the near side on their way out.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
        far.append(near);
        Ok(())
    }

    /// The connection is being closed, and all that nearer layers have said lies in `far`: the last words.
    fn on_close(&mut self, far: &mut OutQueue) {
        let _ = far;
    }

    /// Called at or after the time that [`Layer::poll_timeout`] named.
    ///
    /// # Errors
    ///
    /// As for [`Layer::on_data`].
    fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        let _ = cx;
        Ok(())
    }

    /// The server wants the connection closed: what the nearer layers have said by now is the last. What this layer has to
    /// say at the end, it says when it is next asked for what goes out; while it [`owes`](Self::owes) that, it has time.
    fn on_closing(&mut self) {}

    /// Whether something is still to be sent to a far side that has ended its own sending: the answer to a command or
    /// a request that came before. Where nothing is, the connection ends with the far side.
    fn owes(&self) -> bool {
        false
    }

    /// Asks for the memory behind the layer's own that the next data will need, as [`ahead`](crate::ahead) says.
    fn fetch(&self) {}

    /// When [`Layer::on_timeout`] wants to be called; none: never.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// What a layer is made from: the settings of its acceptor's application.
#[derive(Clone, Debug)]
pub struct LayerSettings {
    /// The limits of the server.
    pub limits: Arc<Limits>,
    /// Whether a peer is refused that answers the digest handshake wrongly.
    pub validate_handshake: bool,
    /// The size of outgoing RTMP chunks in bytes.
    pub chunk_size: u32,
    /// The name of this run of the server, by which servers recognise each other; empty: it is not told.
    pub instance: Arc<str>,
    /// The keys of the acceptor (or connector) that are for the layers of its chain, checked against
    /// [`LayerRow::keys`](crate::LayerRow::keys).
    pub keys: Arc<[(String, Value)]>,
    /// What layers of the chain have prepared ([`LayerRow::prepare`](crate::LayerRow::prepare)).
    pub prepared: Arc<[Arc<dyn Prepared>]>,
    /// The name or address by which the server looks for the far end of a connection that it makes; empty: the far end
    /// has come by itself.
    pub host: Arc<str>,
}

impl LayerSettings {
    /// The value of a key, where it was given.
    pub fn key(&self, name: &str) -> Option<&Value> {
        self.keys.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// What a layer has prepared, if it is of this type.
    pub fn prepared<T: Prepared>(&self) -> Option<Arc<T>> {
        let typed = |prepared: &Arc<dyn Prepared>| {
            let any: Arc<dyn Any + Send + Sync> = prepared.clone();
            any.downcast().ok()
        };
        self.prepared.iter().find_map(typed)
    }

    /// Whether the key was given and is true.
    pub fn flag(&self, name: &str) -> bool {
        self.key(name).and_then(Value::as_bool) == Some(true)
    }
}

impl Default for LayerSettings {
    fn default() -> Self {
        Self {
            limits: Arc::default(),
            validate_handshake: true,
            chunk_size: 60_000,
            instance: Arc::from(""),
            keys: Arc::default(),
            prepared: Arc::from([]),
            host: Arc::from(""),
        }
    }
}

/// What a layer may do while it is called.
pub struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) random: &'a mut dyn FnMut(&mut [u8]),
    pub(crate) out: &'a mut OutQueue,
    pub(crate) nearer: Nearer<'a>,
    pub(crate) state: &'a mut ChainState,
}

/// The nearer neighbours of a layer.
pub(crate) enum Nearer<'a> {
    /// In a chain of ours.
    Links(&'a mut [Link]),
    /// Behind a border.
    Beyond(&'a mut dyn Neighbour),
}

/// The nearer neighbour of a layer that does not stand in a [`Chain`](crate::Chain) of its own process part: in a
/// plugin, whose chain is on the other side of the border.
pub trait Neighbour {
    /// As [`Cx::open`].
    ///
    /// # Errors
    ///
    /// The neighbour's, here and below.
    fn open(&mut self) -> Result<(), Error>;
    /// As [`Cx::deliver`].
    fn deliver(&mut self, data: &[u8]) -> Result<(), Error>;
    /// As [`Cx::deliver_head`].
    fn deliver_head(&mut self, head: &HttpHead) -> Result<(), Error>;
    /// As [`Cx::deliver_end`].
    fn deliver_end(&mut self) -> Result<(), Error>;
    /// Whether the chain is paused now.
    fn is_paused(&self) -> bool;
}

/// What a layer that stands alone says and asks for: the rest of a chain for [`Neighbour`]'s other side.
#[derive(Debug, Default)]
pub struct Alone {
    out: OutQueue,
    state: ChainState,
}

impl Alone {
    /// A context for one call of the layer. `paused` says whether the chain is, before the call.
    pub fn cx<'a>(
        &'a mut self,
        now: Instant,
        random: &'a mut dyn FnMut(&mut [u8]),
        near: &'a mut dyn Neighbour,
        paused: bool,
    ) -> Cx<'a> {
        self.state.paused = paused;
        Cx { now, random, out: &mut self.out, nearer: Nearer::Beyond(near), state: &mut self.state }
    }

    /// What the layer sends to the far side; to be emptied after each call.
    pub fn out(&mut self) -> &mut OutQueue {
        &mut self.out
    }

    /// What the layer tells the server.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.state.events.pop_front()
    }

    /// Whether the layer leaves the chain paused.
    pub fn is_paused(&self) -> bool {
        self.state.paused
    }

    /// Why the layer wants the connection closed; said once.
    pub fn take_closing(&mut self) -> Option<Error> {
        self.state.closing.take()
    }
}

/// What all layers of a chain share.
pub(crate) struct ChainState {
    pub(crate) events: VecDeque<Event>,
    pub(crate) paused: bool,
    pub(crate) unread: bool,
    pub(crate) closing: Option<Error>,
    pub(crate) ended: bool,
    /// What the near-most layer wants in its place.
    pub(crate) replacement: Option<Vec<Named>>,
    /// How many times costly work may be done yet.
    pub(crate) grants: usize,
    /// A layer has asked for a grant, and there was none.
    pub(crate) denied: bool,
    /// Which it was, by the number of nearer ones, if that was since a layer was opened last.
    pub(crate) refused: Option<usize>,
}

impl Default for ChainState {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            paused: false,
            unread: false,
            closing: None,
            ended: false,
            replacement: None,
            grants: usize::MAX,
            denied: false,
            refused: None,
        }
    }
}

impl fmt::Debug for ChainState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainState")
            .field("events", &self.events)
            .field("paused", &self.paused)
            .field("unread", &self.unread)
            .field("closing", &self.closing)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Cx<'_> {
    /// The time of this call.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Fills `bytes` with random ones, fit for keys.
    pub fn random(&mut self, bytes: &mut [u8]) {
        (self.random)(bytes);
    }

    /// The queue of bytes that this layer sends to the far side.
    pub fn out(&mut self) -> &mut OutQueue {
        self.out
    }

    /// Tells the server.
    pub fn emit(&mut self, event: Event) {
        self.state.events.push_back(event);
    }

    /// Hands bytes to the next nearer layer. What it does not take because the chain is paused is kept and
    /// handed to it when the chain goes on.
    ///
    /// # Errors
    ///
    /// The nearer layer's, to be passed on.
    pub fn deliver(&mut self, data: &[u8]) -> Result<(), Error> {
        let near = match &mut self.nearer {
            Nearer::Links(links) => links,
            Nearer::Beyond(near) => {
                near.deliver(data)?;
                self.state.paused = near.is_paused();
                return Ok(());
            }
        };
        let Some((next, nearer)) = near.split_first_mut() else {
            return Err(Error::ours("chain", "a layer without a nearer neighbour delivered bytes"));
        };
        next.feed(data, self.now, self.random, nearer, self.state)
    }

    /// Tells the next nearer layer, if there is one, that it may speak.
    ///
    /// # Errors
    ///
    /// The nearer layer's, to be passed on.
    pub fn open(&mut self) -> Result<(), Error> {
        if let Nearer::Links(links) = &mut self.nearer {
            let Some((next, nearer)) = links.split_first_mut() else { return Ok(()) };
            return next.open(self.now, self.random, nearer, self.state);
        }
        self.tell(|near| near.open(), |_, _| Ok(())).unwrap_or(Ok(()))
    }

    /// Hands the head of an HTTP message to the next nearer layer; while the chain is paused it is kept like bytes, in
    /// its place among them.
    ///
    /// # Errors
    ///
    /// The nearer layer's, to be passed on.
    pub fn deliver_head(&mut self, head: &HttpHead) -> Result<(), Error> {
        self.deliver_mark(Carried::Head(Box::new(head.clone())))
    }

    /// Tells the next nearer layer that the body of the HTTP message is complete; kept in its place as well.
    ///
    /// # Errors
    ///
    /// The nearer layer's, to be passed on.
    pub fn deliver_end(&mut self) -> Result<(), Error> {
        self.deliver_mark(Carried::End)
    }

    fn deliver_mark(&mut self, mark: Carried) -> Result<(), Error> {
        let links = match &mut self.nearer {
            Nearer::Links(links) => links,
            Nearer::Beyond(near) => {
                match &mark {
                    Carried::Head(head) => near.deliver_head(head)?,
                    _ => near.deliver_end()?,
                }
                self.state.paused = near.is_paused();
                return Ok(());
            }
        };
        let Some((next, nearer)) = links.split_first_mut() else {
            return Err(Error::ours(
                "chain",
                "a layer without a nearer neighbour delivered a head or an end",
            ));
        };
        next.mark(mark, self.now, self.random, nearer, self.state)
    }

    fn tell(
        &mut self,
        beyond: impl FnOnce(&mut dyn Neighbour) -> Result<(), Error>,
        here: impl FnOnce(&mut dyn Layer, &mut Cx<'_>) -> Result<(), Error>,
    ) -> Option<Result<(), Error>> {
        match &mut self.nearer {
            Nearer::Links(links) => {
                let (next, nearer) = links.split_first_mut()?;
                Some(next.call(self.now, self.random, nearer, self.state, here))
            }
            Nearer::Beyond(near) => {
                let told = beyond(*near);
                self.state.paused = near.is_paused();
                Some(told)
            }
        }
    }

    /// Pauses the chain: no layer is handed data until [`resume`](Self::resume).
    pub fn pause(&mut self) {
        self.state.paused = true;
    }

    /// Lets the chain go on; what was kept is handed on after this call.
    pub fn resume(&mut self) {
        self.state.paused = false;
    }

    /// Whether the chain is paused.
    pub fn is_paused(&self) -> bool {
        self.state.paused
    }

    /// Whether the carrier does not read at the moment, for this chain's sake or the server's: what the peer says
    /// cannot be heard, and its silence means nothing.
    pub fn is_unread(&self) -> bool {
        self.state.paused || self.state.unread
    }

    /// Puts `layers` with their names, far to near, in the place of this layer, which must be the near-most one: it has seen by the first
    /// bytes what follows. After this call the layer is gone; the first of its successors is told that the carrier is
    /// connected and is handed what this layer has not taken.
    ///
    /// # Errors
    ///
    /// If the layer has a nearer neighbour, or stands in a plugin, or there are no successors.
    pub fn replace(&mut self, layers: Vec<Named>) -> Result<(), Error> {
        match &self.nearer {
            Nearer::Links([]) if !layers.is_empty() => {
                self.state.replacement = Some(layers);
                Ok(())
            }
            _ => Err(Error::ours(
                "chain",
                "only a layer at the near end of a chain can be replaced, by others",
            )),
        }
    }

    /// Asks for leave to do once what costs the processor much, such as the arithmetic of a key exchange. Without it the
    /// layer takes no bytes and does nothing; it is offered them again when there is leave, in a later turn of the worker. A
    /// layer that is being opened ([`Layer::on_open`]) is opened again.
    #[must_use]
    pub fn grant(&mut self) -> bool {
        match self.state.grants.checked_sub(1) {
            Some(left) => {
                self.state.grants = left;
                true
            }
            None => {
                self.state.denied = true;
                if let Nearer::Links(links) = &self.nearer {
                    self.state.refused = Some(links.len());
                }
                false
            }
        }
    }

    /// Ends the connection once everything sent so far has gone out; the first reason counts.
    pub fn close(&mut self, reason: Error) {
        self.state.closing.get_or_insert(reason);
    }

    /// Says that the far side will send no more, as far as this layer is concerned: the carrier takes it like the end of
    /// its own input.
    pub fn end(&mut self) {
        self.state.ended = true;
    }

    /// Whether the connection is to be closed.
    pub fn is_closing(&self) -> bool {
        self.state.closing.is_some()
    }
}
