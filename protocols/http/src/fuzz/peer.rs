//! A peer, the chain that serves it, and a nearest layer that writes down what it gets.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use crtmp_media::{Chain, Command, Cx, Env, Error, HttpHead, HttpStart, Layer, Piece};

/// What the nearest layer got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// The head of a message.
    Head(HttpHead),
    /// Bytes, all that came together.
    Body(Vec<u8>),
    /// The end of a message.
    End,
}

/// What a nearest layer has got, and what it is to say next.
#[derive(Clone, Default)]
pub struct Script {
    /// What it got.
    pub got: Rc<RefCell<Vec<Got>>>,
    /// What it says at the next command, or when the connection opens.
    pub says: Rc<RefCell<VecDeque<Piece>>>,
    /// Whether it has paused the chain.
    pub paused: Rc<Cell<bool>>,
}

/// A nearest layer that writes down what it gets.
///
/// A request that has a target is answered when it ends, unless that begins with `/later`: in chunks where it begins
/// with `/chunks`. Where it begins with `/pause`, each part of the body pauses the chain.
pub struct Recorder {
    script: Script,
    target: String,
}

impl Recorder {
    /// The recorder of this script.
    pub fn new(script: &Script) -> Self {
        Self { script: script.clone(), target: String::new() }
    }

    fn say(&self, cx: &mut Cx<'_>) {
        for piece in self.script.says.borrow_mut().drain(..) {
            cx.out().push(piece);
        }
    }
}

impl Layer for Recorder {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.say(cx);
        Ok(())
    }

    fn on_data(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Result<usize, Error> {
        let mut got = self.script.got.borrow_mut();
        match got.last_mut() {
            Some(Got::Body(body)) => body.extend_from_slice(data),
            _ => got.push(Got::Body(data.to_vec())),
        }
        if self.target.starts_with("/pause") {
            self.script.paused.set(true);
            cx.pause();
        }
        Ok(data.len())
    }

    fn on_head(&mut self, head: &HttpHead, _: &mut Cx<'_>) -> Result<(), Error> {
        self.script.got.borrow_mut().push(Got::Head(head.clone()));
        if let HttpStart::Request { target, .. } = &head.start {
            self.target.clone_from(target);
        }
        Ok(())
    }

    fn on_end(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.script.got.borrow_mut().push(Got::End);
        if self.target.is_empty() || self.target.starts_with("/later") {
            return Ok(());
        }
        let mut head = HttpHead::response(200, "text/plain", self.target.len() as u64);
        if self.target.starts_with("/chunks") {
            head.length = None;
        }
        cx.out().begin(head);
        cx.out().write_with(|out| out.extend_from_slice(self.target.as_bytes()));
        cx.out().end();
        Ok(())
    }

    fn on_command(&mut self, _: Command, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.script.paused.set(false);
        cx.resume();
        self.say(cx);
        Ok(())
    }
}

/// A peer and the chain that serves it.
pub struct Peer {
    /// What the nearest layer got and says.
    pub script: Script,
    /// All that has been sent to the peer.
    pub heard: Vec<u8>,
    /// Why the connection has ended.
    pub ended: Option<Error>,
    /// The chain.
    pub chain: Chain,
    now: Instant,
}

impl Peer {
    /// A connection through the layers that `make` makes.
    ///
    /// # Panics
    ///
    /// Where it makes none.
    pub fn new(make: impl FnOnce(&Script, Instant) -> Vec<Box<dyn Layer>>) -> Self {
        let (script, now) = (Script::default(), Instant::now());
        let chain = Chain::new(make(&script, now)).expect("there are layers");
        Self { script, heard: Vec::new(), ended: None, chain, now }
    }

    /// The peer says something, unless the connection has ended.
    pub fn say(&mut self, bytes: &[u8]) {
        self.run(|chain, env| chain.on_data(bytes, env));
    }

    /// The nearest layer says something.
    pub fn order(&mut self, says: impl IntoIterator<Item = Piece>) {
        self.script.says.borrow_mut().extend(says);
        let close = Command::Close { code: String::new(), text: String::new() };
        self.run(|chain, env| chain.on_command(close, env));
    }

    /// The connection opens.
    pub fn open(&mut self) {
        self.run(Chain::on_open);
    }

    /// Time passes in steps of 10 ms; nothing else happens.
    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = until.min(self.now + Duration::from_millis(10));
            self.settle();
        }
    }

    fn run(&mut self, run: impl FnOnce(&mut Chain, &mut Env<'_>) -> Result<(), Error>) {
        if self.ended.is_some() {
            return;
        }
        let result = run(&mut self.chain, &mut Env { now: self.now, random: &mut |_| {} });
        self.flush();
        self.ended = result.err().or_else(|| self.chain.closing().cloned());
        self.settle();
    }

    /// What a worker does until nothing more is to be done.
    fn settle(&mut self) {
        let due = self.chain.poll_timeout().is_some_and(|at| at <= self.now);
        if self.ended.is_some() {
        } else if due {
            self.run(Chain::on_timeout);
        } else if self.script.paused.get() {
            self.order([]);
        }
    }

    fn flush(&mut self) {
        let queue = self.chain.send().expect("sending does not fail");
        self.heard.extend(queue.slices().flatten());
        queue.advance(queue.len());
    }
}
