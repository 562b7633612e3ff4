//! A chain: the layers of one connection, from far to near.

use std::{borrow::Cow, collections::VecDeque, time::Instant};

use crate::{
    Command, Cx, Error, Event, HttpHead, Layer, OutQueue, Packet, ahead,
    layer::{ChainState, Nearer},
};

/// A layer, the bytes it sends to the far side, and what it has not taken yet.
pub(crate) struct Link {
    name: Cow<'static, str>,
    layer: Box<dyn Layer>,
    out: OutQueue,
    carry: VecDeque<Carried>,
}

/// A layer with its name.
pub type Named = (Cow<'static, str>, Box<dyn Layer>);

/// Something that a layer is handed.
pub(crate) enum Carried {
    /// That it may speak; it had no leave to what that costs.
    Open,
    Bytes(Vec<u8>),
    Head(Box<HttpHead>),
    End,
}

impl Link {
    fn new((name, layer): Named) -> Self {
        Self { name, layer, out: OutQueue::default(), carry: VecDeque::new() }
    }

    /// Calls the layer.
    pub(crate) fn call<R>(
        &mut self,
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
        nearer: &mut [Self],
        state: &mut ChainState,
        call: impl FnOnce(&mut dyn Layer, &mut Cx<'_>) -> R,
    ) -> R {
        let nearer = Nearer::Links(nearer);
        call(&mut *self.layer, &mut Cx { now, random, out: &mut self.out, nearer, state })
    }

    /// Tells the layer that it may speak, again when there is leave to what that costs.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
        nearer: &mut [Self],
        state: &mut ChainState,
    ) -> Result<(), Error> {
        state.refused = None;
        self.call(now, random, nearer, state, |layer, cx| layer.on_open(cx))?;
        if state.refused == Some(nearer.len()) {
            self.carry.push_front(Carried::Open);
        }
        Ok(())
    }

    pub(crate) fn feed(
        &mut self,
        data: &[u8],
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
        nearer: &mut [Self],
        state: &mut ChainState,
    ) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        if state.paused || state.is_replacing(nearer) || !self.carry.is_empty() {
            match self.carry.back_mut() {
                Some(Carried::Bytes(bytes)) => bytes.extend_from_slice(data),
                _ => self.carry.push_back(Carried::Bytes(data.to_vec())),
            }
            return Ok(());
        }
        let taken = self.call(now, random, nearer, state, |layer, cx| layer.on_data(data, cx))?;
        match data.get(taken..) {
            Some([]) => {}
            Some(rest) => self.carry.push_back(Carried::Bytes(rest.to_vec())),
            None => return Err(took_too_much()),
        }
        Ok(())
    }

    /// Hands on a head or an end, behind all that waits.
    pub(crate) fn mark(
        &mut self,
        mark: Carried,
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
        nearer: &mut [Self],
        state: &mut ChainState,
    ) -> Result<(), Error> {
        self.carry.push_back(mark);
        if self.carry.len() > 1 {
            return Ok(());
        }
        self.drain(now, random, nearer, state)
    }

    /// Hands on what waits, as far as the chain goes on and the layer takes it.
    fn drain(
        &mut self,
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
        nearer: &mut [Self],
        state: &mut ChainState,
    ) -> Result<(), Error> {
        while !state.paused
            && !state.is_replacing(nearer)
            && let Some(first) = self.carry.pop_front()
        {
            if let Carried::Open = first {
                self.open(now, random, nearer, state)?;
                if let Some(Carried::Open) = self.carry.front() {
                    break;
                }
                continue;
            }
            let mut taken = 0;
            self.call(now, random, nearer, state, |layer, cx| match &first {
                Carried::Bytes(bytes) => layer.on_data(bytes, cx).map(|count| taken = count),
                Carried::Head(head) => layer.on_head(head, cx),
                Carried::End => layer.on_end(cx),
                // Seen to above.
                Carried::Open => Ok(()),
            })?;
            let Carried::Bytes(mut bytes) = first else { continue };
            if taken > bytes.len() {
                return Err(took_too_much());
            }
            if taken < bytes.len() {
                bytes.drain(..taken);
                self.carry.push_front(Carried::Bytes(bytes));
                break;
            }
        }
        Ok(())
    }
}

impl ChainState {
    /// Whether the layer that has these nearer neighbours is about to be replaced.
    fn is_replacing(&self, nearer: &[Link]) -> bool {
        self.replacement.is_some() && nearer.is_empty()
    }
}

fn took_too_much() -> Error {
    Error::ours("chain", "a layer took more bytes than there were")
}

/// The layers of one connection.
///
/// The chain bounds what it keeps while it is paused, or while a layer does not take what it is handed, by what its
/// carrier hands it in one read: the carrier reads no more until all has been taken.
pub struct Chain {
    links: Vec<Link>,
    state: ChainState,
}

/// The time and the random bytes of a call; the reactor's own, or a test's.
pub struct Env<'a> {
    /// The time.
    pub now: Instant,
    /// Fills a buffer with random bytes, fit for keys.
    pub random: &'a mut dyn FnMut(&mut [u8]),
}

impl Chain {
    /// A chain of `layers`, far to near, whose names nobody asks for.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Result<Self, Error> {
        Self::named(layers.into_iter().map(|layer| (Cow::Borrowed(""), layer)).collect())
    }

    /// A chain of layers with their names, far to near.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn named(layers: Vec<Named>) -> Result<Self, Error> {
        if layers.is_empty() {
            return Err(Error::ours("chain", "a chain needs at least one layer"));
        }
        let links = layers.into_iter().map(Link::new).collect();
        Ok(Self { links, state: ChainState::default() })
    }

    /// The names of the layers that there are now, far to near.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(|link| &*link.name)
    }

    /// The carrier is connected. Once, before anything else.
    ///
    /// # Errors
    ///
    /// As for [`Chain::on_data`].
    pub fn on_open(&mut self, env: &mut Env<'_>) -> Result<(), Error> {
        let Some((far, nearer)) = self.links.split_first_mut() else { return Ok(()) };
        far.open(env.now, env.random, nearer, &mut self.state)?;
        self.drain(env)
    }

    /// Hands bytes of the carrier to the far-most layer.
    ///
    /// # Errors
    ///
    /// Of whichever layer ends the connection.
    pub fn on_data(&mut self, data: &[u8], env: &mut Env<'_>) -> Result<(), Error> {
        let Some((far, nearer)) = self.links.split_first_mut() else { return Ok(()) };
        far.feed(data, env.now, env.random, nearer, &mut self.state)?;
        self.drain(env)
    }

    /// Hands an order to the endpoint.
    ///
    /// # Errors
    ///
    /// As for [`Chain::on_data`].
    pub fn on_command(&mut self, command: Command, env: &mut Env<'_>) -> Result<(), Error> {
        let Some(endpoint) = self.links.last_mut() else { return Ok(()) };
        let order = |layer: &mut dyn Layer, cx: &mut Cx<'_>| layer.on_command(command, cx);
        endpoint.call(env.now, env.random, &mut [], &mut self.state, order)?;
        self.drain(env)
    }

    /// Offers again what layers have not taken.
    ///
    /// # Errors
    ///
    /// As for [`Chain::on_data`].
    pub fn on_turn(&mut self, env: &mut Env<'_>) -> Result<(), Error> {
        self.drain(env)
    }

    /// The server has seen what a layer has paused the chain for: it goes on.
    ///
    /// # Errors
    ///
    /// As for [`Chain::on_data`].
    pub fn resume(&mut self, env: &mut Env<'_>) -> Result<(), Error> {
        self.state.paused = false;
        self.drain(env)
    }

    /// Calls the layers whose time has come.
    ///
    /// # Errors
    ///
    /// As for [`Chain::on_data`].
    pub fn on_timeout(&mut self, env: &mut Env<'_>) -> Result<(), Error> {
        for index in 0..self.links.len() {
            let (links, nearer) = self.links.split_at_mut(index + 1);
            let Some(link) = links.last_mut() else { continue };
            if link.layer.poll_timeout().is_some_and(|at| at <= env.now) {
                let timeout = |layer: &mut dyn Layer, cx: &mut Cx<'_>| layer.on_timeout(cx);
                link.call(env.now, env.random, nearer, &mut self.state, timeout)?;
            }
        }
        self.drain(env)
    }

    /// Asks for the memory that the next data will need; sending needs only that at depth 0.
    pub fn fetch(&self, depth: usize) {
        match depth {
            0 => ahead::fetch(self.links.as_slice()),
            1 => self.links.iter().for_each(|link| ahead::fetch(&*link.layer)),
            2 => self.links.iter().for_each(|link| link.layer.fetch()),
            _ => {}
        }
    }

    /// The earliest time that a layer waits for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.links.iter().filter_map(|link| link.layer.poll_timeout()).min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.state.events.pop_front()
    }

    /// Exchanges the queues where no event waits in either: a worker lends all its chains one queue, and gets it
    /// back when what came has been dealt with.
    pub fn swap_idle_events(&mut self, other: &mut VecDeque<Event>) {
        if self.state.events.is_empty() && other.is_empty() {
            std::mem::swap(&mut self.state.events, other);
        }
    }

    /// All events that wait, for tests that look at them together.
    pub fn take_events(&mut self) -> VecDeque<Event> {
        std::mem::take(&mut self.state.events)
    }

    /// Whether the carrier must not read.
    pub fn is_paused(&self) -> bool {
        self.state.paused || self.links.iter().any(|link| !link.carry.is_empty())
    }

    /// Says whether the carrier does not read for reasons of its own; layers ask with [`Cx::is_unread`].
    pub fn set_unread(&mut self, unread: bool) {
        self.state.unread = unread;
    }

    /// Gives leave to do costly work `count` times (see [`Cx::grant`]), whatever leave there was. A chain that was never
    /// given any has no bound.
    pub fn set_grants(&mut self, count: usize) {
        self.state.grants = count;
        self.state.denied = false;
    }

    /// How many times costly work may be done yet.
    pub fn grants(&self) -> usize {
        self.state.grants
    }

    /// Whether a layer has asked for leave since [`Chain::set_grants`], and there was none: it waits for more, and for
    /// [`Chain::on_turn`].
    pub fn is_denied(&self) -> bool {
        self.state.denied
    }

    /// Why the connection is to be closed once everything has gone out.
    pub fn closing(&self) -> Option<&Error> {
        self.state.closing.as_ref()
    }

    /// Whether a layer has said that the far side will send no more ([`Cx::end`]).
    pub fn has_ended(&self) -> bool {
        self.state.ended
    }

    /// Tells all layers that the connection is to be closed once everything has gone out.
    pub fn on_closing(&mut self) {
        self.links.iter_mut().for_each(|link| link.layer.on_closing());
    }

    /// Whether a layer still owes the far side something, as [`Layer::owes`] says.
    pub fn owes(&self) -> bool {
        self.links.iter().any(|link| link.layer.owes())
    }

    /// Whether the endpoint's bytes are the carrier's, so that packets may go past the queues.
    pub fn is_direct(&self) -> bool {
        self.links.len() == 1
    }

    /// Puts a packet into the endpoint's queue, for chains that are not direct.
    pub fn push_packet(&mut self, packet: Packet) {
        if let Some(endpoint) = self.links.last_mut() {
            endpoint.out.push_packet(packet);
        }
    }

    /// Moves all bytes outward and returns the queue that the carrier writes.
    ///
    /// # Errors
    ///
    /// As for [`Chain::on_data`].
    pub fn send(&mut self) -> Result<&mut OutQueue, Error> {
        for index in (1..self.links.len()).rev() {
            let (farther, nearer) = self.links.split_at_mut(index);
            if let (Some(far), Some(near)) = (farther.last_mut(), nearer.first_mut()) {
                far.layer.on_send(&mut near.out, &mut far.out)?;
            }
        }
        match self.links.first_mut() {
            Some(far) => Ok(&mut far.out),
            None => Err(Error::ours("chain", "a chain needs at least one layer")),
        }
    }

    /// The connection is being closed: moves all bytes outward, with the last words of each layer behind them.
    ///
    /// # Errors
    ///
    /// As for [`Chain::on_data`].
    pub fn close(&mut self) -> Result<(), Error> {
        for index in (0..self.links.len()).rev() {
            let (farther, nearer) = self.links.split_at_mut(index);
            let Some(near) = nearer.first_mut() else { continue };
            near.layer.on_close(&mut near.out);
            if let Some(far) = farther.last_mut() {
                far.layer.on_send(&mut near.out, &mut far.out)?;
            }
        }
        Ok(())
    }

    /// Bytes that wait between the layers and for the carrier.
    pub fn queued(&self) -> usize {
        self.links.iter().map(|link| link.out.len()).sum()
    }

    /// Hands on what was kept, nearest first, and has layers replaced that want it.
    fn drain(&mut self, env: &mut Env<'_>) -> Result<(), Error> {
        loop {
            for index in (0..self.links.len()).rev() {
                if self.state.paused {
                    break;
                }
                let (links, nearer) = self.links.split_at_mut(index + 1);
                if let Some(link) = links.last_mut() {
                    link.drain(env.now, env.random, nearer, &mut self.state)?;
                }
            }
            let Some(layers) = self.state.replacement.take() else { return Ok(()) };
            self.replace(layers, env)?;
        }
    }

    /// Puts layers in the place of the near-most one, whose queues they get.
    fn replace(&mut self, layers: Vec<Named>, env: &mut Env<'_>) -> Result<(), Error> {
        let Some(old) = self.links.pop() else { return Ok(()) };
        let index = self.links.len();
        self.links.extend(layers.into_iter().map(Link::new));
        let Some((first, nearer)) = self.links[index..].split_first_mut() else { return Ok(()) };
        (first.out, first.carry) = (old.out, old.carry);
        first.open(env.now, env.random, nearer, &mut self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Answer, RequestId, StreamSlot};

    /// Adds 1 to each byte on the way in and subtracts it on the way out.
    struct Shift;

    impl Layer for Shift {
        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            let shifted: Vec<u8> = data.iter().map(|byte| byte.wrapping_add(1)).collect();
            cx.deliver(&shifted)?;
            Ok(data.len())
        }

        fn on_send(&mut self, near: &mut OutQueue, far: &mut OutQueue) -> Result<(), Error> {
            for slice in near.slices() {
                far.write_with(|out| out.extend(slice.iter().map(|byte| byte.wrapping_sub(1))));
            }
            near.advance(near.len());
            Ok(())
        }
    }

    /// Says good-bye, and that nothing more comes when it is told so.
    struct Polite(u8);

    impl Layer for Polite {
        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            let end = data.iter().position(|byte| *byte == b'.');
            if end.is_some() {
                cx.end();
            }
            cx.deliver(&data[..end.unwrap_or(data.len())])?;
            Ok(data.len())
        }

        fn on_close(&mut self, far: &mut OutQueue) {
            far.write_with(|out| out.push(self.0));
        }
    }

    #[test]
    fn last_words_follow_all_that_was_said_nearest_first() {
        let layers: Vec<Box<dyn Layer>> =
            vec![Box::new(Polite(b'2')), Box::new(Shift), Box::new(Polite(b'1')), Box::new(Echo)];
        let mut chain = Chain::new(layers).unwrap();
        env(|env| chain.on_data(b"ab", env)).unwrap();
        assert!(!chain.has_ended());
        env(|env| chain.on_data(b"c.d", env)).unwrap();
        assert!(chain.has_ended());
        chain.close().unwrap();
        // The one behind the shift is shifted.
        assert_eq!(sent(&mut chain), "abc02");
    }

    /// Echoes bytes; `?` pauses until a command comes, `!` closes.
    #[derive(Default)]
    struct Echo;

    impl Layer for Echo {
        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            for (index, &byte) in data.iter().enumerate() {
                cx.out().write_with(|out| out.push(byte));
                match byte {
                    b'?' => {
                        cx.emit(Event::Unplay { slot: StreamSlot(1) });
                        cx.pause();
                        return Ok(index + 1);
                    }
                    b'!' => cx.close(Error::peer("echo", "said !")),
                    _ => {}
                }
            }
            Ok(data.len())
        }

        fn on_command(&mut self, _: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
            cx.resume();
            Ok(())
        }
    }

    fn env<T>(run: impl FnOnce(&mut Env<'_>) -> T) -> T {
        run(&mut Env { now: Instant::now(), random: &mut |bytes| bytes.fill(7) })
    }

    fn sent(chain: &mut Chain) -> String {
        let queue = chain.send().unwrap();
        let bytes = queue.slices().collect::<Vec<_>>().concat();
        queue.advance(bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    fn answer() -> Command {
        Command::AnswerPlay { request: RequestId(0), answer: Answer::Accept }
    }

    #[test]
    fn bytes_pass_all_layers_both_ways() {
        let mut chain = Chain::new(vec![Box::new(Shift), Box::new(Shift), Box::new(Echo)]).unwrap();
        env(|env| chain.on_data(b"abc", env)).unwrap();
        assert_eq!(sent(&mut chain), "abc");
        assert!(!chain.is_direct());
    }

    #[test]
    fn a_paused_chain_keeps_the_rest_and_goes_on_in_order() {
        let mut chain = Chain::new(vec![Box::new(Shift), Box::new(Echo)]).unwrap();
        env(|env| chain.on_data(b"a>b>c", env)).unwrap();
        assert!(chain.is_paused());
        assert_eq!(sent(&mut chain), "a>");
        env(|env| chain.on_data(b"d", env)).unwrap();
        env(|env| chain.on_command(answer(), env)).unwrap();
        assert!(chain.is_paused(), "the second ? pauses again");
        assert_eq!(sent(&mut chain), "b>");
        env(|env| chain.on_command(answer(), env)).unwrap();
        assert!(!chain.is_paused());
        assert_eq!(sent(&mut chain), "cd");
        assert_eq!(chain.take_events().len(), 2);
    }

    /// Hands on each byte between a head and an end of its own.
    struct Wrap;

    impl Layer for Wrap {
        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            for byte in data {
                cx.deliver_head(&HttpHead::request("GET", "/"))?;
                cx.deliver(&[*byte])?;
                cx.deliver_end()?;
            }
            Ok(data.len())
        }
    }

    /// Echoes what it is handed, and pauses after each byte until a command comes.
    struct Marks;

    impl Layer for Marks {
        fn on_head(&mut self, _: &HttpHead, cx: &mut Cx<'_>) -> Result<(), Error> {
            cx.out().write_with(|out| out.push(b'('));
            Ok(())
        }

        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            cx.out().write_with(|out| out.extend_from_slice(data));
            cx.pause();
            Ok(data.len())
        }

        fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
            cx.out().write_with(|out| out.push(b')'));
            Ok(())
        }

        fn on_command(&mut self, _: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
            cx.resume();
            Ok(())
        }
    }

    #[test]
    fn heads_and_ends_wait_in_order_while_the_chain_is_paused() {
        let mut chain = Chain::new(vec![Box::new(Wrap), Box::new(Marks)]).unwrap();
        env(|env| chain.on_data(b"ab", env)).unwrap();
        assert_eq!(sent(&mut chain), "(a");
        assert!(chain.is_paused());
        env(|env| chain.on_command(answer(), env)).unwrap();
        assert_eq!(sent(&mut chain), ")(b");
        env(|env| chain.on_command(answer(), env)).unwrap();
        assert_eq!(sent(&mut chain), ")");
        assert!(!chain.is_paused());
    }

    /// Echoes one byte, and the next one when its time has come.
    struct Slow(bool);

    impl Layer for Slow {
        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            let taken = usize::from(!std::mem::replace(&mut self.0, true));
            cx.out().write_with(|out| out.extend(&data[..taken]));
            Ok(taken)
        }

        fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
            self.0 = cx.is_paused();
            Ok(())
        }

        fn poll_timeout(&self) -> Option<Instant> {
            Some(Instant::now())
        }
    }

    #[test]
    fn what_a_layer_does_not_take_waits_for_it() {
        let mut chain = Chain::new(vec![Box::new(Shift), Box::new(Slow(false))]).unwrap();
        env(|env| chain.on_data(b"abc", env)).unwrap();
        assert_eq!(sent(&mut chain), "a");
        for expected in ["b", "c"] {
            assert!(chain.is_paused(), "the carrier waits too");
            env(|env| {
                chain.on_timeout(&mut Env { now: env.now + Duration::from_secs(1), random: env.random })
            })
            .unwrap();
            assert_eq!(sent(&mut chain), expected);
        }
        assert!(!chain.is_paused());
    }

    /// Shifts or echoes what follows, as the first byte says.
    struct First;

    impl Layer for First {
        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            cx.out().write_with(|out| out.push(b'['));
            match data[0] {
                b's' => {
                    cx.replace(vec![("shift".into(), Box::new(Shift)), ("first".into(), Box::new(Self))])?
                }
                b'e' => cx.replace(vec![("opened".into(), Box::new(Opened))])?,
                _ => cx.replace(Vec::new())?,
            }
            Ok(1)
        }
    }

    /// An echo that says when it was told that it may speak.
    struct Opened;

    impl Layer for Opened {
        fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
            cx.out().write_with(|out| out.push(b']'));
            Ok(())
        }

        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            Echo.on_data(data, cx)
        }
    }

    #[test]
    fn a_layer_is_replaced_and_no_byte_is_lost() {
        let whole = b"sddefg";
        for split in 0..=whole.len() {
            let mut chain = Chain::new(vec![Box::new(First)]).unwrap();
            assert!(chain.is_direct());
            env(|env| {
                chain.on_open(env).unwrap();
                chain.on_data(&whole[..split], env).unwrap();
                chain.on_data(&whole[split..], env).unwrap();
            });
            // Behind the shift, d is e: an echo of what follows.
            assert_eq!(sent(&mut chain), "[Z\\defg", "at {split}");
            assert!(!chain.is_direct() && !chain.is_paused());
            assert_eq!(chain.names().collect::<Vec<_>>(), ["shift", "opened"]);
        }
    }

    #[test]
    fn only_the_near_end_can_be_replaced_and_only_by_something() {
        let mut chain = Chain::new(vec![Box::new(First), Box::new(Echo)]).unwrap();
        assert!(env(|env| chain.on_data(b"e", env)).is_err());
        let mut chain = Chain::new(vec![Box::new(First)]).unwrap();
        assert!(env(|env| chain.on_data(b"x", env)).is_err());
    }

    /// Echoes a byte for each grant.
    struct Costly;

    impl Layer for Costly {
        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            let granted = data.iter().take_while(|_| cx.grant()).count();
            cx.out().write_with(|out| out.extend(&data[..granted]));
            Ok(granted)
        }
    }

    #[test]
    fn costly_work_waits_for_leave() {
        let mut chain = Chain::new(vec![Box::new(Shift), Box::new(Costly)]).unwrap();
        chain.set_grants(2);
        env(|env| chain.on_data(b"abc", env)).unwrap();
        assert_eq!(sent(&mut chain), "ab");
        assert!(chain.is_denied() && chain.is_paused());
        env(|env| chain.on_turn(env)).unwrap();
        assert_eq!(sent(&mut chain), "");
        chain.set_grants(3);
        env(|env| chain.on_turn(env)).unwrap();
        assert_eq!(sent(&mut chain), "c");
        assert!(!chain.is_denied() && !chain.is_paused() && chain.grants() == 2);
    }

    /// Says its name once it has leave, then nothing but what it hears.
    struct CostlyName;

    impl Layer for CostlyName {
        fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
            if cx.grant() {
                cx.out().write_with(|out| out.push(b'N'));
            }
            Ok(())
        }

        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            Echo.on_data(data, cx)
        }
    }

    /// Opens what is nearer, and says so.
    struct Opener;

    impl Layer for Opener {
        fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
            cx.out().write_with(|out| out.push(b'O'));
            cx.open()
        }

        fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
            cx.deliver(data)?;
            Ok(data.len())
        }
    }

    #[test]
    fn a_layer_whose_first_words_cost_much_is_opened_again_when_there_is_leave() {
        for far in [false, true] {
            let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(CostlyName)];
            if far {
                layers.insert(0, Box::new(Opener));
            }
            let mut chain = Chain::new(layers).unwrap();
            chain.set_grants(0);
            env(|env| chain.on_open(env)).unwrap();
            assert_eq!(sent(&mut chain), if far { "O" } else { "" });
            assert!(chain.is_denied() && chain.is_paused());
            // What comes meanwhile waits for the first words, too.
            env(|env| chain.on_data(b"ab", env)).unwrap();
            env(|env| chain.on_turn(env)).unwrap();
            assert_eq!((sent(&mut chain).as_str(), chain.is_denied()), ("", true));
            chain.set_grants(1);
            env(|env| chain.on_turn(env)).unwrap();
            assert_eq!(sent(&mut chain), "Nab", "once");
            assert!(!chain.is_denied() && !chain.is_paused() && chain.grants() == 0);
        }
    }

    #[test]
    fn the_first_reason_to_close_counts_and_earlier_bytes_still_leave() {
        let mut chain = Chain::new(vec![Box::new(Echo)]).unwrap();
        env(|env| chain.on_data(b"x!!", env)).unwrap();
        assert_eq!(chain.closing().unwrap().rule, "said !");
        assert_eq!(sent(&mut chain), "x!!");
    }

    #[test]
    fn a_chain_without_layers_is_refused() {
        assert!(Chain::new(Vec::new()).is_err());
    }
}
