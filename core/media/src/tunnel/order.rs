//! The requests of one session, in their order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{Slice, TunnelVerb};

/// How often the same request may wait: what a proxy repeats before it has had an answer.
const COPIES: usize = 4;

/// How long requests wait for one that should have come before them.
const GAP: Duration = Duration::from_secs(2);

/// What a client is told of how long it may wait before it asks again, by how often in succession there was nothing
/// for it (in the steps that Flash Media Server has).
const INTERVALS: [u8; 6] = [1, 3, 5, 9, 17, 33];

/// Puts the requests of a session in order, and keeps the newest answer.
///
/// A tunnel's requests have numbers. They may come on several connections, so that one overtakes another; a proxy that
/// has had no answer repeats the last one. What is taken out of here is in order and comes once: the request that was
/// [taken](Self::take) last is the *present* one, and is to be [answered](Self::answer) before the next is taken.
///
/// `E` is where an answer goes: an exchange that somebody holds open.
#[derive(Debug)]
pub struct Order<E> {
    /// How many numbers ahead of its turn a request may be.
    window: u32,
    /// Bytes that those who wait may bring together, where there are several.
    bytes: usize,
    /// The number whose turn it is; none: the first request says.
    next: Option<u32>,
    present: Option<Present<E>>,
    kept: Option<Kept>,
    early: BTreeMap<u32, Early<E>>,
    early_bytes: usize,
    /// Since when requests wait for one that has not come.
    gap_since: Option<Instant>,
    heard_at: Instant,
    /// Answers without content in succession.
    quiet: usize,
}

#[derive(Debug)]
struct Present<E> {
    number: u32,
    verb: TunnelVerb,
    /// None: whoever waited for the answer has left.
    exchanges: Vec<E>,
    since: Instant,
}

#[derive(Debug)]
struct Early<E> {
    verb: TunnelVerb,
    body: Vec<u8>,
    exchanges: Vec<E>,
}

#[derive(Debug)]
struct Kept {
    number: u32,
    answer: Slice,
    /// How many have been sent it and may have heard it.
    hearers: usize,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelRequest<E> {
    /// What it wants.
    pub verb: TunnelVerb,
    /// The bytes that it brings.
    pub body: Vec<u8>,
    /// Where its answer goes.
    pub exchange: E,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Offered<E> {
    /// It has a place, and gets its answer in its turn.
    Placed,
    /// It is the newest one that was answered: the same answer again.
    Again(E, Slice),
    /// It is older than that, or has been repeated too often, and is refused.
    Stale(E),
    /// It is too far ahead: bytes are missing, and the session cannot go on.
    Broken(E),
}

/// A request whose turn has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    /// What it wants.
    pub verb: TunnelVerb,
    /// The bytes that it brings.
    pub body: Vec<u8>,
    /// Content of the answer before, which nobody has heard: it goes first.
    pub unheard: Option<Slice>,
}

impl<E> Order<E> {
    /// The order of a session that begins at `now`. Requests may be less than `window` numbers ahead of their turn, and
    /// several of them bring `bytes` bytes together.
    pub fn new(window: usize, bytes: usize, now: Instant) -> Self {
        Self {
            window: u32::try_from(window).unwrap_or(u32::MAX),
            bytes,
            next: None,
            present: None,
            kept: None,
            early: BTreeMap::new(),
            early_bytes: 0,
            gap_since: None,
            heard_at: now,
            quiet: 0,
        }
    }

    /// A request has come. The first one has the number 0 or 1.
    pub fn offer(&mut self, number: u32, request: TunnelRequest<E>, now: Instant) -> Offered<E> {
        let next = match self.next {
            Some(next) => next,
            None if number <= 1 => *self.next.insert(number),
            None => return Offered::Broken(request.exchange),
        };
        if number < next {
            return self.offer_old(number, next, request.exchange, now);
        }
        if number - next >= self.window || number == u32::MAX {
            return Offered::Broken(request.exchange);
        }
        self.heard_at = now;
        if let Some(same) = self.early.get_mut(&number) {
            return join(&mut same.exchanges, request.exchange);
        }
        let bytes = self.early_bytes.saturating_add(request.body.len());
        if !self.early.is_empty() && bytes > self.bytes {
            return Offered::Broken(request.exchange);
        }
        self.early_bytes = bytes;
        let TunnelRequest { verb, body, exchange } = request;
        self.early.insert(number, Early { verb, body, exchanges: vec![exchange] });
        self.look_for_gap(now);
        Offered::Placed
    }

    fn offer_old(&mut self, number: u32, next: u32, exchange: E, now: Instant) -> Offered<E> {
        if number + 1 != next {
            return Offered::Stale(exchange);
        }
        self.heard_at = now;
        if let Some(present) = &mut self.present {
            return join(&mut present.exchanges, exchange);
        }
        match &mut self.kept {
            Some(kept) if kept.number == number => {
                kept.hearers = kept.hearers.saturating_add(1);
                Offered::Again(exchange, kept.answer.clone())
            }
            _ => Offered::Stale(exchange),
        }
    }

    fn look_for_gap(&mut self, now: Instant) {
        let first = self.early.keys().next().copied();
        if first.is_none() || first == self.next {
            self.gap_since = None;
        } else {
            self.gap_since.get_or_insert(now);
        }
    }

    /// Whether the next request is here.
    pub fn has_next(&self) -> bool {
        self.next.is_some_and(|next| self.early.contains_key(&next))
    }

    /// Whether somebody waits for the answer to the present request.
    pub fn is_awaited(&self) -> bool {
        self.present.as_ref().is_some_and(|present| !present.exchanges.is_empty())
    }

    /// What the present request wants, and since when it is present.
    pub fn present(&self) -> Option<(TunnelVerb, Instant)> {
        self.present.as_ref().map(|present| (present.verb, present.since))
    }

    /// The next request becomes the present one; nothing where it is not here, or the present one is not answered.
    pub fn take(&mut self, now: Instant) -> Option<Turn> {
        let number = self.next.filter(|_| self.present.is_none())?;
        let Early { verb, body, exchanges } = self.early.remove(&number)?;
        self.early_bytes -= body.len();
        self.next = Some(number + 1);
        self.look_for_gap(now);
        self.present = Some(Present { number, verb, exchanges, since: now });
        let unheard = self.kept.take().filter(|kept| kept.hearers == 0).map(|kept| kept.answer);
        let unheard = unheard.filter(|answer| answer.len() > 1).map(|answer| answer.slice(1..));
        Some(Turn { verb, body, unheard })
    }

    /// The byte that an answer with or without `content` begins with.
    pub fn interval(&self, content: bool) -> u8 {
        if content { INTERVALS[0] } else { INTERVALS[self.quiet.min(INTERVALS.len() - 1)] }
    }

    /// Answers the present request: `answer` is the interval and the content. Returns where it goes, if anywhere, and
    /// the number of the request. Where nobody waits for it, its content is not lost.
    pub fn answer(&mut self, answer: Slice) -> Option<(Vec<E>, u32)> {
        let Present { number, exchanges, .. } = self.present.take()?;
        self.quiet = if answer.len() > 1 { 0 } else { self.quiet.saturating_add(1) };
        self.kept = Some(Kept { number, answer, hearers: exchanges.len() });
        Some((exchanges, number))
    }

    /// One of those who were sent the answer to this request was not there any more. Where none was, the next answer brings
    /// its content, unless somebody repeats the request.
    pub fn unheard(&mut self, number: u32) {
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.number == number) {
            kept.hearers = kept.hearers.saturating_sub(1);
        }
    }

    /// Whoever held this exchange open waits no more; it is returned if it was one of the present request, which keeps its
    /// place: it may be repeated.
    pub fn leave(&mut self, is_it: impl Fn(&E) -> bool) -> Option<E> {
        let present = self.present.as_mut()?;
        let at = present.exchanges.iter().position(is_it)?;
        Some(present.exchanges.swap_remove(at))
    }

    /// All who wait: whoever waits for the present answer is first.
    pub fn all(&mut self) -> Vec<E> {
        let present = self.present.take().map(|present| present.exchanges);
        let early = std::mem::take(&mut self.early);
        self.early_bytes = 0;
        present.into_iter().chain(early.into_values().map(|early| early.exchanges)).flatten().collect()
    }

    /// When requests have waited too long for one that has not come.
    pub fn gap_ends(&self) -> Option<Instant> {
        self.gap_since.map(|since| since + GAP)
    }

    /// When a client that says nothing has been silent for `idle`; none while somebody waits for an answer.
    pub fn idle_ends(&self, idle: Duration) -> Option<Instant> {
        let waits = self.is_awaited() || !self.early.is_empty();
        if waits { None } else { self.heard_at.checked_add(idle) }
    }

    /// The silence up to now was not the client's.
    pub fn forgive(&mut self, now: Instant) {
        self.heard_at = now;
        if let Some(since) = &mut self.gap_since {
            *since = now;
        }
    }
}

fn join<E>(exchanges: &mut Vec<E>, exchange: E) -> Offered<E> {
    if exchanges.len() >= COPIES {
        return Offered::Stale(exchange);
    }
    exchanges.push(exchange);
    Offered::Placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(exchange: u32, body: &str) -> TunnelRequest<u32> {
        TunnelRequest { verb: TunnelVerb::Send, body: body.as_bytes().to_vec(), exchange }
    }

    fn order(now: Instant) -> Order<u32> {
        Order::new(4, 6, now)
    }

    fn taken(order: &mut Order<u32>, now: Instant) -> Option<String> {
        order.take(now).map(|turn| String::from_utf8(turn.body).unwrap())
    }

    #[test]
    fn requests_that_overtake_each_other_are_taken_in_order() {
        let now = Instant::now();
        let mut order = order(now);
        assert_eq!(order.offer(0, send(10, "a"), now), Offered::Placed);
        assert_eq!(order.offer(2, send(12, "c"), now), Offered::Placed);
        assert_eq!(taken(&mut order, now).as_deref(), Some("a"));
        assert_eq!(taken(&mut order, now), None, "the present one has no answer yet");
        assert_eq!(order.answer(b"\x01x".to_vec().into()), Some((vec![10], 0)));
        assert!(!order.has_next() && order.gap_ends().is_some());
        assert_eq!(order.offer(1, send(11, "b"), now), Offered::Placed);
        assert!(order.has_next() && order.gap_ends().is_none());
        for (body, exchange, number) in [("b", 11, 1), ("c", 12, 2)] {
            assert_eq!(taken(&mut order, now).as_deref(), Some(body));
            assert_eq!(order.answer([1].into()), Some((vec![exchange], number)));
        }
    }

    #[test]
    fn the_first_number_is_0_or_1() {
        let now = Instant::now();
        for (first, good) in [(0, true), (1, true), (2, false), (1 << 31, false), (u32::MAX, false)] {
            let mut order = order(now);
            assert_eq!(matches!(order.offer(first, send(1, "a"), now), Offered::Placed), good, "{first}");
        }
    }

    #[test]
    fn a_repeat_gets_the_same_answer_and_brings_nothing_twice() {
        let now = Instant::now();
        let mut order = order(now);
        order.offer(1, send(1, "a"), now);
        order.take(now);
        // Before there is an answer, all who ask for it wait: nobody knows which of them is still there.
        assert_eq!(order.offer(1, send(2, "a"), now), Offered::Placed);
        let answer = Slice::from(b"\x01content".to_vec());
        assert_eq!(order.answer(answer.clone()), Some((vec![1, 2], 1)));
        for exchange in 3..5 {
            assert_eq!(order.offer(1, send(exchange, "z"), now), Offered::Again(exchange, answer.clone()));
        }
        assert_eq!(order.take(now), None);
        order.offer(2, send(6, "b"), now);
        order.take(now);
        assert_eq!(order.offer(1, send(7, "a"), now), Offered::Stale(7));
        assert_eq!(order.offer(0, send(8, "a"), now), Offered::Stale(8));
    }

    #[test]
    fn one_that_waits_may_be_repeated_too() {
        let now = Instant::now();
        let mut order = order(now);
        order.offer(0, send(1, "a"), now);
        for exchange in 2..=COPIES as u32 {
            assert_eq!(order.offer(0, send(exchange, "a"), now), Offered::Placed);
        }
        assert_eq!(order.offer(0, send(9, "a"), now), Offered::Stale(9));
        order.take(now);
        assert_eq!(order.answer([1].into()), Some((vec![1, 2, 3, 4], 0)));
    }

    #[test]
    fn who_is_too_far_ahead_or_brings_too_much_breaks_the_session() {
        let now = Instant::now();
        let mut order = order(now);
        order.offer(0, send(0, "123456789"), now);
        order.take(now);
        assert_eq!(order.offer(4, send(4, "1234567"), now), Offered::Placed, "one may bring any size");
        assert_eq!(order.offer(5, send(5, ""), now), Offered::Broken(5));
        assert_eq!(order.offer(3, send(3, "8"), now), Offered::Broken(3));
        let mut last = self::order(now);
        last.next = Some(u32::MAX - 1);
        assert_eq!(last.offer(u32::MAX, send(1, ""), now), Offered::Broken(1), "there is no number after it");
    }

    #[test]
    fn an_answer_that_nobody_heard_comes_with_the_next_one_unless_it_is_repeated() {
        let now = Instant::now();
        let mut order = order(now);
        let answer = Slice::from(b"\x01content".to_vec());
        for (number, copies, repeated) in [(0, 1, false), (2, 2, false), (4, 1, true)] {
            for exchange in 0..copies {
                order.offer(number, send(exchange, "a"), now);
            }
            order.take(now);
            order.answer(answer.clone());
            (0..copies).for_each(|_| order.unheard(number));
            if repeated {
                assert_eq!(order.offer(number, send(2, "a"), now), Offered::Again(2, answer.clone()));
            }
            order.offer(number + 1, send(3, "b"), now);
            let unheard = order.take(now).unwrap().unheard;
            assert_eq!(unheard.as_deref(), (!repeated).then_some(&b"content"[..]));
            order.answer([1].into());
        }
        // One of two has had it.
        order.offer(6, send(1, "a"), now);
        order.offer(6, send(2, "a"), now);
        order.take(now);
        order.answer(answer);
        order.unheard(6);
        order.offer(7, send(3, "b"), now);
        assert_eq!(order.take(now).unwrap().unheard, None);
    }

    #[test]
    fn who_leaves_loses_nothing() {
        let now = Instant::now();
        let mut order = order(now);
        order.offer(0, send(1, "a"), now);
        order.take(now);
        assert_eq!(order.leave(|exchange| *exchange == 2), None);
        assert_eq!(order.leave(|exchange| *exchange == 1), Some(1));
        assert!(order.present().is_some() && !order.is_awaited());
        assert_eq!(order.offer(0, send(3, "a"), now), Offered::Placed, "it comes again");
        assert!(order.is_awaited());
        order.leave(|_| true);
        assert_eq!(order.answer(b"\x01c".to_vec().into()), Some((Vec::new(), 0)));
        order.offer(1, send(4, "b"), now);
        assert_eq!(order.take(now).unwrap().unheard.as_deref(), Some(&b"c"[..]));
    }

    #[test]
    fn the_interval_grows_while_there_is_nothing() {
        let now = Instant::now();
        let mut order = order(now);
        let mut intervals = Vec::new();
        for number in 0..8 {
            order.offer(number, send(1, ""), now);
            order.take(now);
            intervals.push(order.interval(false));
            order.answer([order.interval(false)].into());
        }
        assert_eq!(intervals, [1, 3, 5, 9, 17, 33, 33, 33]);
        assert_eq!(order.interval(true), 1);
        order.offer(8, send(1, ""), now);
        order.take(now);
        order.answer([1, 2].into());
        assert_eq!(order.interval(false), 1);
    }

    #[test]
    fn silence_counts_from_the_last_request_and_not_while_somebody_waits() {
        let (now, idle) = (Instant::now(), Duration::from_secs(30));
        let later = now + Duration::from_secs(5);
        let mut order = order(now);
        assert_eq!(order.idle_ends(idle), Some(now + idle));
        order.offer(0, send(1, ""), later);
        assert_eq!(order.idle_ends(idle), None);
        order.take(later);
        assert_eq!(order.idle_ends(idle), None);
        order.answer([1].into());
        assert_eq!(order.idle_ends(idle), Some(later + idle));
        order.offer(2, send(2, ""), later);
        assert_eq!((order.idle_ends(idle), order.gap_ends()), (None, Some(later + GAP)));
        assert_eq!(order.all(), [2]);
        order.forgive(later + GAP);
        assert_eq!(order.idle_ends(idle), Some(later + GAP + idle));
    }
}
