//! Bodies of fuzz targets: each takes any bytes and panics if an invariant does not hold.
//!
//! The tests run them over `testdata/corpus/<target>/`; a fuzzer calls them with what it makes up.
#![allow(clippy::disallowed_methods, reason = "a run starts its own clock anywhere")]

use std::time::{Duration, Instant};

use crtmp_media::{LayerSettings, Offered, Order, Slice, TunnelCall, TunnelRequest, TunnelVerb};

use crate::server::{Asked, InboundRtmpt};

/// The path of a request: whatever it is, it is refused or says one thing.
pub fn rtmpt_path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let layer = InboundRtmpt::new(&LayerSettings::default(), Instant::now());
    match layer.asked_by_path(path) {
        Asked::Call(TunnelCall::Next { session, number, verb, body }) => {
            assert!(body.is_empty());
            let verb_text = match verb {
                TunnelVerb::Send => "send",
                TunnelVerb::Idle => "idle",
                TunnelVerb::Close => "close",
            };
            let again = layer.asked_by_path(&format!("/{verb_text}/{}/{number}", session.digits()));
            assert_eq!(again, Asked::Call(TunnelCall::Next { session, number, verb, body }));
        }
        Asked::Call(TunnelCall::Open { bind_address }) => assert!(!bind_address),
        Asked::Refused(status) => assert!([400, 404].contains(&status)),
        Asked::Elsewhere => {
            assert!(!["/send/", "/idle/", "/close/"].iter().any(|verb| path.starts_with(verb)))
        }
        Asked::Ident => assert!(path.starts_with("/fcs/ident")),
    }
}

/// Requests of a session that overtake, repeat and skip each other, answers that nobody takes: what goes in comes out
/// once and in order, and so does what the answers bring. Each two bytes are a step and its argument.
pub fn rtmpt(data: &[u8]) {
    let mut session = Session::new();
    for step in data.chunks_exact(2) {
        session.step(step[0], step[1]);
    }
    session.check();
}

/// The newest answer.
struct Answered {
    number: u32,
    content: Vec<u8>,
    /// Those who have been sent it and have not been missed.
    hearers: usize,
}

/// A session, and what is known of it besides.
struct Session {
    order: Order<u32>,
    now: Instant,
    exchanges: u32,
    /// The number that is taken next.
    next: Option<u32>,
    waiting: Vec<u32>,
    present: Option<u32>,
    answered: Option<Answered>,
    /// What nobody has heard of the answer before: the next one begins with it.
    unheard: Vec<u8>,
    /// What was heard.
    heard: Vec<u8>,
    written: u8,
    broken: bool,
}

fn body_of(number: u32) -> Vec<u8> {
    vec![number as u8; number as usize % 5]
}

impl Session {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            order: Order::new(4, 12, now),
            now,
            exchanges: 0,
            next: None,
            waiting: Vec::new(),
            present: None,
            answered: None,
            unheard: Vec::new(),
            heard: Vec::new(),
            written: 0,
            broken: false,
        }
    }

    fn step(&mut self, step: u8, argument: u8) {
        match step % 8 {
            0..3 => self.offer(argument),
            3 => self.take(),
            4 => self.answer(argument),
            5 => self.leave(argument),
            6 => self.miss(),
            _ => self.now += Duration::from_millis(u64::from(argument) * 10),
        }
        if self.broken {
            // A session that is broken ends, and another one begins.
            self.check();
            *self = Self::new();
        }
        assert_eq!(self.order.present().is_some(), self.present.is_some());
        assert!(!self.order.is_awaited() || self.present.is_some());
    }

    fn offer(&mut self, argument: u8) {
        let base = self.next.unwrap_or(0);
        let number = (base + u32::from(argument % 8)).saturating_sub(3);
        self.exchanges += 1;
        let exchange = self.exchanges;
        let verb = if argument >= 128 { TunnelVerb::Idle } else { TunnelVerb::Send };
        let request = TunnelRequest { verb, body: body_of(number), exchange };
        match self.order.offer(number, request, self.now) {
            Offered::Placed => {
                let next = *self.next.get_or_insert(number);
                assert!(number + 1 >= next && number < next + 4);
                if number >= next && !self.waiting.contains(&number) {
                    self.waiting.push(number);
                }
            }
            Offered::Again(to, answer) => {
                let answered = self.answered.as_mut().expect("there is an answer");
                assert_eq!((to, number), (exchange, answered.number));
                assert_eq!(answer[1..], answered.content);
                answered.hearers += 1;
            }
            Offered::Stale(to) => {
                assert_eq!(to, exchange);
                assert!(self.next.is_some());
            }
            Offered::Broken(to) => {
                assert_eq!(to, exchange);
                self.broken = true;
            }
        }
    }

    fn take(&mut self) {
        let Some(turn) = self.order.take(self.now) else {
            let here = self.next.is_some_and(|next| self.waiting.contains(&next));
            return assert!(!here || self.present.is_some(), "what is here is taken");
        };
        let number = self.next.expect("something has come");
        assert!(self.present.is_none() && self.waiting.contains(&number));
        assert_eq!(turn.body, body_of(number));
        self.waiting.retain(|other| *other != number);
        (self.next, self.present) = (Some(number + 1), Some(number));
        let unheard = turn.unheard.map(|content| content.to_vec()).unwrap_or_default();
        if let Some(answered) = self.answered.take() {
            if answered.hearers == 0 {
                assert_eq!(unheard, answered.content, "nobody has heard it");
            } else {
                assert!(unheard.is_empty());
                self.heard.extend(answered.content);
            }
        }
        self.unheard = unheard;
    }

    fn answer(&mut self, argument: u8) {
        let mut content = std::mem::take(&mut self.unheard);
        if self.present.is_some() {
            for _ in 0..argument % 4 {
                content.push(self.written);
                self.written = self.written.wrapping_add(1);
            }
        }
        let interval = self.order.interval(!content.is_empty());
        assert!((1..=33).contains(&interval));
        let answer: Slice = [vec![interval], content.clone()].concat().into();
        let present = self.present.take();
        match self.order.answer(answer) {
            Some((exchanges, number)) => {
                assert_eq!(Some(number), present);
                let hearers = exchanges.len();
                self.answered = Some(Answered { number, content, hearers });
            }
            None => assert!(present.is_none()),
        }
    }

    fn leave(&mut self, argument: u8) {
        let exchange = u32::from(argument) % (self.exchanges + 1);
        if let Some(left) = self.order.leave(|other| *other == exchange) {
            assert!(left == exchange && self.present.is_some());
        }
    }

    /// One of those who were sent the newest answer is missed.
    fn miss(&mut self) {
        if let Some(answered) = self.answered.as_mut().filter(|answered| answered.hearers > 0) {
            answered.hearers -= 1;
            self.order.unheard(answered.number);
        }
    }

    /// What was heard is what was written, in order and without a gap.
    fn check(&self) {
        for (index, byte) in self.heard.iter().enumerate() {
            assert_eq!(*byte, index as u8, "at {index}");
        }
    }
}

#[cfg(test)]
mod tests {
    use crtmp_corpus::Corpus;
    use proptest::prelude::*;

    use super::*;

    const SEEDS: [(&str, &[u8]); 13] = [
        ("rtmpt/in_order", &[0, 3, 3, 0, 4, 2, 0, 3, 3, 0, 4, 1]),
        ("rtmpt/overtaken", &[0, 3, 3, 0, 0, 5, 0, 4, 0, 3, 4, 1, 3, 0, 4, 2, 3, 0, 4, 3]),
        ("rtmpt/repeated", &[0, 3, 3, 0, 0, 2, 4, 2, 0, 2, 6, 0, 6, 0, 6, 0, 0, 3, 3, 0, 4, 0]),
        ("rtmpt/skipped", &[0, 3, 3, 0, 4, 0, 0, 7, 0, 3]),
        ("rtmpt/left", &[0, 3, 3, 0, 5, 1, 4, 3, 0, 3, 3, 0, 4, 1, 0, 3, 3, 0]),
        ("rtmpt/late", &[128, 3, 3, 0, 7, 255, 4, 0, 0, 5, 7, 250, 0, 4, 3, 0, 4, 1, 3, 0, 5, 0, 6, 0]),
        ("rtmpt_path/send", b"/send/0123456789abcdef0123456789abcdef01/12"),
        ("rtmpt_path/open", b"/open/1"),
        ("rtmpt_path/ident", b"/fcs/ident2"),
        ("rtmpt_path/idle_with_query", b"/idle/0123456789abcdef0123456789abcdef01/0?1/2"),
        ("rtmpt_path/close_last", b"/close/0123456789ABCDEF0123456789abcdeF01/4294967295"),
        ("rtmpt_path/too_large", b"/idle/0123456789abcdef0123456789abcdef01/4294967296"),
        ("rtmpt_path/one_part_more", b"/send/0123456789abcdef0123456789abcdef01/1/"),
    ];

    crtmp_corpus::tests!(corpus);

    fn corpus() -> Corpus {
        Corpus {
            package: env!("CARGO_MANIFEST_DIR"),
            targets: vec![("rtmpt", rtmpt), ("rtmpt_path", rtmpt_path)],
            seeds: SEEDS.map(|(name, seed)| (name.to_owned(), seed.to_vec())).into(),
            inserts: &[b"/", b"0", b"\0", b"\x03\x00", b"\x04\x01"],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_steps_keep_the_order_of_bytes(steps in prop::collection::vec((0..8_u8, any::<u8>()), 0..200)) {
            rtmpt(&steps.into_iter().flat_map(|(step, argument)| [step, argument]).collect::<Vec<_>>());
        }

        #[test]
        fn any_path_is_refused_or_says_one_thing(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "/", "send", "idle", "close", "open", "fcs", "ident2", "0", "1", "-", "%",
                    "0123456789abcdef0123456789abcdef01", "4294967295", "4294967296", "?", "é",
                ]),
                0..10,
            ),
        ) {
            rtmpt_path(parts.concat().as_bytes());
        }
    }
}
