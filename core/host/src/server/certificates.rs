//! What layers of acceptors have prepared, certificates above all: made with the acceptor, made again on reload, and
//! watched as long as the server runs. Whether pulls of the configuration can be prepared is said before they begin.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crtmp_media::Term;
use serde_json::{Value, json};

use super::{Server, bind::path_of_acceptor, libraries::Libraries};
use crate::{
    chains::Preparations,
    config::{ApplicationAcceptor, ConfigError, Configuration},
    events::time::iso,
    links::{Definition, Direction},
    outbound::Origin,
    outside::with_outside,
};

/// How often it is looked at how long certificates hold yet.
const LOOK: Duration = Duration::from_secs(24 * 60 * 60);

/// How long before its end a certificate is warned about, in seconds.
const SOON: i64 = 14 * 24 * 60 * 60;

/// What layers have prepared for an acceptor, where its chain is known.
pub(super) fn prepare(
    libraries: &Libraries,
    wanted: &ApplicationAcceptor,
    path: &str,
    folder: &Path,
) -> Result<Preparations, Vec<ConfigError>> {
    let acceptor = &wanted.acceptor;
    with_outside(folder, |outside| {
        libraries.catalogue.prepare(path, &acceptor.protocol, &acceptor.keys, outside)
    })
}

/// Whether these acceptors could be prepared now, and the pulls that `in_force` does not have.
pub(super) fn check<'a>(
    libraries: &Libraries,
    configuration: &Configuration,
    acceptors: impl IntoIterator<Item = &'a ApplicationAcceptor>,
    in_force: Option<&Configuration>,
    folder: &Path,
) -> Result<(), Vec<ConfigError>> {
    let errors = acceptors.into_iter().filter_map(|wanted| {
        prepare(libraries, wanted, &path_of_acceptor(configuration, wanted), folder).err()
    });
    let mut errors: Vec<ConfigError> = errors.flatten().collect();
    errors.extend(check_pulls(libraries, configuration, in_force, folder));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What the keys for TLS in `externalStreams` name and cannot be used, but for entries that `in_force` has as well: those go on
/// with what they have.
pub(super) fn check_pulls(
    libraries: &Libraries,
    configuration: &Configuration,
    in_force: Option<&Configuration>,
    folder: &Path,
) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for (index, application) in configuration.applications.list.iter().enumerate() {
        let list = in_force.iter().flat_map(|before| &before.applications.list);
        let before: Vec<_> = list
            .filter(|before| before.name == application.name)
            .flat_map(|before| &before.external_streams)
            .collect();
        for (number, given) in application.external_streams.iter().enumerate() {
            if before.contains(&given) {
                continue;
            }
            let (origin, limits) = (Origin::Configuration, &configuration.limits);
            // What else is wrong with it has been said before.
            let Ok(pull) = Definition::read(Direction::Pull, &application.name, origin, given, limits) else {
                continue;
            };
            let path = format!("configuration.applications[{}].externalStreams[{}]", index + 1, number + 1);
            let (chains, keys) = pull.to_prepare();
            for chain in chains.collect::<BTreeSet<_>>() {
                let prepared =
                    with_outside(folder, |outside| libraries.catalogue.prepare(&path, chain, &keys, outside));
                errors.extend(prepared.err().into_iter().flatten());
            }
        }
    }
    errors
}

impl Server {
    /// Reads again what ports were prepared from. What cannot be read, or does not fit, stays as it was.
    pub(super) fn renew_preparations(&self) {
        self.trust.renew();
        let log = &self.environment.log;
        for port in &self.ports {
            for prepared in port.prepared.iter() {
                let renewed = with_outside(&self.environment.folder, |outside| prepared.renew(outside));
                let address = port.address;
                for unfit in renewed.err().into_iter().flatten() {
                    slog::error!(log, "{address} goes on with what it had: {unfit}");
                }
            }
        }
    }

    /// When [`look_at_terms`](Self::look_at_terms) is to be called; none: nothing ends.
    pub(super) fn terms_at(&self) -> Option<Instant> {
        self.terms_at
    }

    /// Warns about certificates that do not hold, or not for long.
    pub(super) fn look_at_terms(&mut self) {
        let (now, terms) = (unix(), self.terms());
        for term in &terms {
            if let Some(warning) = warning(term, now) {
                slog::warn!(self.environment.log, "{warning}");
            }
        }
        self.terms_at = Some(Instant::now() + next_look(&terms, now));
    }

    /// What holds for a time only, each file once: what ports show, and what connections show that the server makes.
    pub(super) fn terms(&self) -> Vec<Term> {
        let mut terms: Vec<Term> = Vec::new();
        let shown = self.ports.iter().flat_map(|port| port.prepared.iter());
        for term in shown.flat_map(|prepared| prepared.terms()).chain(self.trust.terms()) {
            if !terms.contains(&term) {
                terms.push(term);
            }
        }
        terms
    }

    /// The certificates for `getCounters`.
    pub(super) fn certificates(&self) -> Value {
        let now = unix();
        let certificate = |term: &Term| {
            json!({
                "file": term.name,
                "names": term.of,
                "notBefore": date(term.from),
                "notAfter": date(term.until),
                "expiresInSeconds": term.until.saturating_sub(now),
            })
        };
        self.terms().iter().map(certificate).collect()
    }

    /// The file of each certificate, and the seconds for which it holds yet.
    pub(super) fn expiries(&self) -> Vec<(String, f64)> {
        let now = unix();
        let left = |term: Term| (term.name, term.until.saturating_sub(now) as f64);
        self.terms().into_iter().map(left).collect()
    }
}

fn warning(term: &Term, now: i64) -> Option<String> {
    let Term { name, of, .. } = term;
    if term.until <= now {
        return Some(format!("the certificate {name:?} ({of}) has expired: {}", date(term.until)));
    }
    if term.from > now {
        return Some(format!("the certificate {name:?} ({of}) is not valid before {}", date(term.from)));
    }
    let left = term.until - now;
    (left < SOON).then(|| {
        let days = left / (24 * 60 * 60);
        format!("the certificate {name:?} ({of}) expires in {days} days: {}", date(term.until))
    })
}

/// How long to wait: a day, since there may be more of them by then, or until one of them begins or ceases to hold.
fn next_look(terms: &[Term], now: i64) -> Duration {
    let ahead = terms.iter().flat_map(|term| [term.from, term.until]).filter(|at| *at > now);
    let next = ahead.min().and_then(|at| u64::try_from(at - now).ok()).map(Duration::from_secs);
    next.map_or(LOOK, |next| next.min(LOOK))
}

fn date(unix: i64) -> String {
    let since =
        u64::try_from(unix).ok().and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    since.map_or_else(|| "before 1970".to_owned(), iso)
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the time of day")]
fn unix() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    fn term(from: i64, until: i64) -> Term {
        Term { name: "a.pem".to_owned(), of: "a.example".to_owned(), from, until }
    }

    /// TLS-07.
    #[test]
    fn what_does_not_hold_or_not_for_long_is_warned_about() {
        let now = 1_000 * DAY;
        for (from, until, expected) in [
            (0, now + SOON, None),
            (0, now + SOON - 1, Some("expires in 13 days")),
            (0, now + 1, Some("expires in 0 days")),
            (0, now, Some("has expired: 1972-09-27T00:00:00")),
            (-5, -1, Some("has expired: before 1970")),
            (now, now + 100 * DAY, None),
            (now + 1, now + 100 * DAY, Some("is not valid before 1972-09-27T00:00:01")),
        ] {
            let said = warning(&term(from, until), now);
            match expected {
                None => assert_eq!(said, None),
                Some(expected) => {
                    assert!(said.as_ref().is_some_and(|said| said.contains(expected)), "{said:?}")
                }
            }
        }
    }

    /// TLS-07.
    #[test]
    fn the_next_look_is_when_something_changes_or_in_a_day() {
        let now = 1_000 * DAY;
        let wait = |terms: &[Term]| next_look(terms, now).as_secs();
        assert_eq!(wait(&[]), 86_400);
        assert_eq!(wait(&[term(0, now)]), 86_400);
        assert_eq!(wait(&[term(0, now + 5), term(now + 3, now + 900)]), 3);
        assert_eq!(wait(&[term(0, now + 100 * DAY)]), 86_400);
    }
}
