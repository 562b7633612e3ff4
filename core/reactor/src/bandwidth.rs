//! Tests of the way to peers: who may have one now, and what came of those before.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crtmp_media::{
    BandwidthKind, BandwidthPlan, BandwidthReport, BandwidthSample, Command, Limits, RequestId, Value,
    network, split_query,
};
use crtmp_relay::ConnectionId;

use crate::{connection::Connection, shared::Shared};

/// What a peer is told that cannot have a test now.
const REFUSED: &str = "NetConnection.Call.Failed";

/// No test takes that long.
const LONGEST: Duration = Duration::from_secs(600);

/// Addresses that have had a test lately, for each result that is kept.
const ADDRESSES: usize = 64;

/// The tests of the server. Touched when one begins or ends.
pub struct BandwidthTests {
    at_once: usize,
    kept: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when each runs.
    running: HashMap<IpAddr, Instant>,
    /// When each address has begun its last one.
    begun: HashMap<IpAddr, Instant>,
    ended: VecDeque<BandwidthTest>,
}

/// A test that has ended.
#[derive(Clone, Debug)]
pub struct BandwidthTest {
    /// The application that has offered it.
    pub application: Arc<str>,
    /// The connection.
    pub connection: ConnectionId,
    /// Its far end.
    pub peer: IpAddr,
    /// When it has ended.
    pub ended: Instant,
    /// What has come of it.
    pub report: BandwidthReport,
}

/// What an application offers of tests.
pub struct OffersBandwidth {
    /// The tests of the server.
    pub tests: Arc<BandwidthTests>,
    /// Whether peers may ask by `checkBandwidth`.
    pub check: bool,
    /// The plan of those.
    pub check_plan: BandwidthPlan,
    /// What the query of a connection must hold as `key` that is for a test alone, as SRS has it.
    pub key: Option<String>,
    /// The plan of those.
    pub key_plan: BandwidthPlan,
    /// Time between two tests of one address.
    pub interval: Duration,
}

impl BandwidthTests {
    /// None yet.
    pub fn new(limits: &Limits) -> Self {
        let (at_once, kept) = (limits.bandwidth_tests, limits.bandwidth_results);
        Self { at_once, kept, state: Mutex::default() }
    }

    /// Takes the place of a test.
    ///
    /// # Errors
    ///
    /// Why there is none now.
    pub fn begin(&self, peer: IpAddr, interval: Duration, now: Instant) -> Result<(), String> {
        let peer = network(peer);
        let mut state = self.state();
        // Who never tells the end of one, such as a protocol that has none, holds no place for ever.
        state.running.retain(|_, since| now.saturating_duration_since(*since) < LONGEST);
        if state.running.contains_key(&peer) {
            return Err("a test of this address is running".to_owned());
        }
        if state.running.len() >= self.at_once {
            return Err(format!("{} tests are running (limits.bandwidthTests)", self.at_once));
        }
        let last = state.begun.get(&peer).map(|begun| now.saturating_duration_since(*begun));
        if last.is_some_and(|last| last < interval) {
            return Err(format!("there was a test of this address in the last {} s", interval.as_secs_f64()));
        }
        if state.begun.len() >= self.kept.max(1) * ADDRESSES && last.is_none() {
            state.begun.retain(|_, begun| now.saturating_duration_since(*begun) < interval);
            if state.begun.len() >= self.kept.max(1) * ADDRESSES {
                return Err("too many addresses have had tests lately".to_owned());
            }
        }
        state.running.insert(peer, now);
        state.begun.insert(peer, now);
        Ok(())
    }

    /// Gives the place back; what has come of the test is kept, where it has come to an end.
    pub fn end(&self, peer: IpAddr, test: Option<BandwidthTest>) {
        let mut state = self.state();
        state.running.remove(&network(peer));
        if let Some(test) = test {
            state.ended.push_back(test);
            while state.ended.len() > self.kept {
                state.ended.pop_front();
            }
        }
    }

    /// The last ones, the newest first.
    pub fn list(&self) -> Vec<BandwidthTest> {
        self.state().ended.iter().rev().cloned().collect()
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OffersBandwidth {
    /// Whether a connection that has said this is for a test.
    pub(crate) fn is_asked_by(&self, app: &str, tc_url: &str) -> bool {
        let Some(key) = &self.key else { return false };
        let has = |text: &str| {
            let (_, query) = split_query(text);
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .any(|(name, value)| name == "key" && value == key)
        };
        has(app) || has(tc_url)
    }
}

impl Connection {
    /// What the application offers of tests.
    pub(crate) fn offers_bandwidth(&self) -> Option<&OffersBandwidth> {
        self.owner.as_ref().filter(|_| !self.outbound).and_then(|owner| owner.bandwidth.as_ref())
    }

    /// Whether the connection is for a test alone.
    pub(crate) fn is_for_bandwidth(&self) -> bool {
        let Some(info) = self.caller.as_ref().map(|caller| &caller.info) else { return false };
        self.offers_bandwidth().is_some_and(|offers| offers.is_asked_by(&info.app, &info.tc_url))
    }

    /// Begins a test on a connection that is for it alone.
    pub(crate) fn test_bandwidth_by_key(&mut self, shared: &mut Shared) {
        if !self.is_for_bandwidth() {
            return;
        }
        let Some(offers) = self.offers_bandwidth() else { return };
        let begun = offers.tests.begin(self.peer.ip(), offers.interval, shared.now);
        let plan = offers.key_plan.clone();
        match begun {
            Ok(()) => self.begin_test(plan, shared),
            Err(text) => {
                slog::info!(self.log, "bandwidth test refused: {text}");
                self.order(Command::Close { code: REFUSED.to_owned(), text }, shared);
                self.close("a bandwidth test was refused", shared);
            }
        }
    }

    /// The peer asks for a test.
    pub(crate) fn on_check_bandwidth(&mut self, request: Option<RequestId>, shared: &mut Shared) {
        let Some(offers) = self.offers_bandwidth() else { return };
        let begun = offers.tests.begin(self.peer.ip(), offers.interval, shared.now);
        let plan = offers.check_plan.clone();
        let result = begun.clone().map(|()| Value::Null).map_err(|text| (REFUSED.to_owned(), text));
        if begun.is_ok() {
            self.begin_test(plan, shared);
        }
        if let Some(request) = request {
            self.order(Command::AnswerMessage { request, result }, shared);
        }
    }

    fn begin_test(&mut self, plan: BandwidthPlan, shared: &mut Shared) {
        self.is_tested = true;
        slog::debug!(self.log, "a bandwidth test begins");
        self.order(Command::TestBandwidth(Box::new(plan)), shared);
    }

    /// A test has come to an end.
    pub(crate) fn on_bandwidth_tested(&mut self, report: BandwidthReport, shared: &mut Shared) {
        let kbps = |sample: Option<BandwidthSample>| sample.map(|sample| sample.kbps());
        slog::info!(self.log, "bandwidth tested"; "downKbps" => kbps(report.down), "upKbps" => kbps(report.up),
            "trouble" => report.trouble);
        let is_over = report.kind == BandwidthKind::BandCheck;
        self.end_test(Some((report, shared.now)));
        if is_over {
            let text = "the bandwidth test is over".to_owned();
            self.order(Command::Close { code: "NetConnection.Connect.Closed".to_owned(), text }, shared);
            self.close("its bandwidth test is over", shared);
        }
    }

    /// Gives the place of a test back, where it has one.
    pub(crate) fn end_test(&mut self, report: Option<(BandwidthReport, Instant)>) {
        if !std::mem::take(&mut self.is_tested) {
            return;
        }
        let Some(owner) = &self.owner else { return };
        let (application, connection, peer) = (owner.name.clone(), self.id, self.peer.ip().to_canonical());
        let test =
            report.map(|(report, ended)| BandwidthTest { application, connection, peer, ended, report });
        if let Some(offers) = &owner.bandwidth {
            offers.tests.end(peer, test);
        }
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::BandwidthKind;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn ended(last: u8, now: Instant) -> Option<BandwidthTest> {
        let report = BandwidthReport::new(BandwidthKind::Check);
        let connection = ConnectionId(u64::from(last));
        Some(BandwidthTest {
            application: "live".into(),
            connection,
            peer: address(last),
            ended: now,
            report,
        })
    }

    #[test]
    fn one_for_each_address_so_many_at_once_and_not_again_at_once() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let interval = Duration::from_secs(30);
        let limits = Limits { bandwidth_tests: 2, bandwidth_results: 2, ..Limits::default() };
        let tests = BandwidthTests::new(&limits);
        assert_eq!(tests.begin(address(1), interval, now), Ok(()));
        assert!(tests.begin(address(1), Duration::ZERO, at(99)).unwrap_err().contains("is running"));
        assert!(tests.begin("::ffff:192.0.2.1".parse().unwrap(), interval, at(99)).is_err());
        // Of IPv6 one machine has a whole network of addresses.
        let [one, other] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        assert_eq!(tests.begin(one, interval, now), Ok(()));
        assert!(tests.begin(other, interval, now).is_err());
        tests.end(one, None);
        assert_eq!(tests.begin(address(2), interval, now), Ok(()));
        assert!(tests.begin(address(3), interval, now).unwrap_err().contains("limits.bandwidthTests"));
        tests.end(address(1), ended(1, now));
        assert!(tests.begin(address(1), interval, at(29)).unwrap_err().contains("last 30 s"));
        assert_eq!(tests.begin(address(1), interval, at(30)), Ok(()));
        tests.end(address(1), None);
        tests.end(address(2), ended(2, now));
        assert_eq!(tests.begin(address(3), interval, now), Ok(()));
        tests.end(address(3), ended(3, now));
        let list: Vec<_> = tests.list().iter().map(|test| test.connection.0).collect();
        assert_eq!((list, tests.running()), (vec![3, 2], 0));
    }

    #[test]
    fn addresses_that_are_remembered_are_bounded_and_forgotten() {
        let now = Instant::now();
        let limits = Limits { bandwidth_results: 1, ..Limits::default() };
        let (tests, interval) = (BandwidthTests::new(&limits), Duration::from_secs(30));
        for number in 0..ADDRESSES {
            let address = IpAddr::from([10, 0, 0, number as u8]);
            assert_eq!(tests.begin(address, interval, now), Ok(()), "{number}");
            tests.end(address, None);
        }
        assert!(tests.begin(address(1), interval, now).is_err());
        assert_eq!(tests.begin(address(1), interval, now + interval), Ok(()));
    }

    #[test]
    fn the_key_stands_in_a_query() {
        let plan = |kind| BandwidthPlan { kind, time: interval(), bytes: 0, rate: 0, patience: interval() };
        fn interval() -> Duration {
            Duration::ZERO
        }
        let offers = |key: Option<&str>| OffersBandwidth {
            tests: Arc::new(BandwidthTests::new(&Limits::default())),
            check: false,
            check_plan: plan(BandwidthKind::Check),
            key: key.map(str::to_owned),
            key_plan: plan(BandwidthKind::BandCheck),
            interval: interval(),
        };
        let some = offers(Some("k"));
        assert!(
            some.is_asked_by("app?key=k&vhost=x", "") && some.is_asked_by("app", "rtmp://h/app?a=b&key=k")
        );
        for app in ["app", "app?key=", "app?key=kk", "app?kkey=k", "app?key"] {
            assert!(!some.is_asked_by(app, app), "{app}");
        }
        assert!(!offers(None).is_asked_by("app?key=k", ""));
    }
}
