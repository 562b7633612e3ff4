//! Stream aliases: the names that players must use instead of the real ones, each for a time or for one play.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Aliases that one [`Aliases::sweep`] takes out: whoever plays meanwhile waits for it.
const SWEEP: usize = 1024;

/// An alias as it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The application that it belongs to.
    pub application: String,
    /// The alias.
    pub name: String,
    /// The name of the stream.
    pub stream: String,
    /// Seconds: negative for one play within this time, positive for any number of plays, 0 for ever.
    pub period: i64,
    /// When it was added, in seconds since 1970.
    pub created: u64,
}

/// The aliases of the server. Touched when somebody plays, never for a frame.
pub struct Aliases {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_name: HashMap<Key, Entry>,
    /// Those that end some time, the next one first.
    by_time: BTreeSet<(Instant, Key)>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    application: String,
    name: String,
}

struct Entry {
    alias: Arc<Alias>,
    until: Option<Instant>,
}

impl Aliases {
    /// The longest time, in seconds: one year.
    pub const LONGEST: u64 = 31_536_000;

    /// None yet; `most` there may be.
    pub fn new(most: usize) -> Self {
        Self { most, table: Mutex::default() }
    }

    /// Adds an alias, in the place of another of this name.
    ///
    /// # Errors
    ///
    /// If there are as many as there may be, or its time is too long.
    pub fn add(&self, alias: Alias, now: Instant) -> Result<(), String> {
        let seconds = alias.period.unsigned_abs();
        if seconds > Self::LONGEST {
            let text = format!("the time of an alias is at most {} seconds; 0 is for ever", Self::LONGEST);
            return Err(text);
        }
        let until = if seconds == 0 { None } else { now.checked_add(Duration::from_secs(seconds)) };
        let key = Key { application: alias.application.clone(), name: alias.name.clone() };
        let mut table = self.table();
        while table.by_name.len() >= self.most && table.drop_first_ended(now) {}
        if table.by_name.len() >= self.most && !table.by_name.contains_key(&key) {
            return Err(format!("there are {} aliases already (limits.streamAliases)", self.most));
        }
        table.remove(&key);
        if let Some(until) = until {
            table.by_time.insert((until, key.clone()));
        }
        table.by_name.insert(key, Entry { alias: Arc::new(alias), until });
        Ok(())
    }

    /// The stream behind an alias. One for a single play is gone with that: of several that ask at once, one gets it.
    pub fn take(&self, application: &str, name: &str, now: Instant) -> Option<String> {
        let key = Key { application: application.to_owned(), name: name.to_owned() };
        let mut table = self.table();
        let entry = table.by_name.get(&key)?;
        let ended = entry.until.is_some_and(|until| until <= now);
        if !ended && entry.alias.period >= 0 {
            return Some(entry.alias.stream.clone());
        }
        let entry = table.remove(&key)?;
        (!ended).then(|| entry.alias.stream.clone())
    }

    /// Removes an alias; says whether there was one.
    pub fn remove(&self, application: &str, name: &str) -> bool {
        let key = Key { application: application.to_owned(), name: name.to_owned() };
        self.table().remove(&key).is_some()
    }

    /// Removes all; says how many those were.
    pub fn flush(&self) -> usize {
        let table = std::mem::take(&mut *self.table());
        table.by_name.len()
    }

    /// Those that can still be used, by application and name.
    pub fn list(&self, now: Instant) -> Vec<Arc<Alias>> {
        // Workers wait for the lock: nothing is copied or sorted under it.
        let table = self.table();
        let entries = table.by_name.values().filter(|entry| entry.until.is_none_or(|until| until > now));
        let mut list: Vec<Arc<Alias>> = entries.map(|entry| entry.alias.clone()).collect();
        drop(table);
        list.sort_by(|one, other| (&one.application, &one.name).cmp(&(&other.application, &other.name)));
        list
    }

    /// Forgets those whose time is over, a bounded number of them.
    pub fn sweep(&self, now: Instant) {
        let mut table = self.table();
        for _ in 0..SWEEP {
            if !table.drop_first_ended(now) {
                return;
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.by_name.remove(key)?;
        if let Some(until) = entry.until {
            self.by_time.remove(&(until, key.clone()));
        }
        Some(entry)
    }

    fn drop_first_ended(&mut self, now: Instant) -> bool {
        if self.by_time.first().is_none_or(|(until, _)| *until > now) {
            return false;
        }
        if let Some((_, key)) = self.by_time.pop_first() {
            self.by_name.remove(&key);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn alias(name: &str, period: i64) -> Alias {
        let (application, stream) = ("live".to_owned(), "film".to_owned());
        Alias { application, name: name.to_owned(), stream, period, created: 0 }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn each_kind_of_alias_lives_as_long_as_it_shall() {
        let start = Instant::now();
        let aliases = Aliases::new(10);
        for (name, period) in [("once", -10), ("often", 10), ("ever", 0), ("late", -10)] {
            aliases.add(alias(name, period), start).unwrap();
        }
        let take = |name: &str, seconds| aliases.take("live", name, after(start, seconds)).is_some();
        assert!(take("once", 9) && !take("once", 9));
        assert!(take("often", 0) && take("often", 9) && !take("often", 10));
        assert!(!take("late", 10));
        assert!(take("ever", 100_000_000));
        assert!(!take("film", 0), "the real name is no alias");
        assert_eq!(aliases.take("other", "ever", start), None);
    }

    #[test]
    fn one_for_a_single_play_is_given_to_one_of_many_threads() {
        let now = Instant::now();
        let aliases = Aliases::new(1000);
        for number in 0..500 {
            aliases.add(alias(&number.to_string(), -600), now).unwrap();
        }
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for number in 0..500 {
                        let got = aliases.take("live", &number.to_string(), now);
                        taken.fetch_add(usize::from(got.is_some()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 500);
    }

    #[test]
    fn their_number_is_bounded_and_those_that_have_ended_make_room() {
        let start = Instant::now();
        let aliases = Aliases::new(3);
        for name in ["a", "b"] {
            aliases.add(alias(name, 10), start).unwrap();
        }
        aliases.add(alias("c", 0), start).unwrap();
        assert!(aliases.add(alias("d", 0), after(start, 9)).unwrap_err().contains("limits.streamAliases"));
        // In the place of itself it needs no room.
        aliases.add(alias("b", 100), after(start, 9)).unwrap();
        aliases.add(alias("d", 0), after(start, 10)).unwrap();
        let names = |seconds| {
            let list = aliases.list(after(start, seconds));
            list.iter().map(|alias| alias.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(10), ["b", "c", "d"]);
        assert_eq!(names(109), ["c", "d"]);
        aliases.sweep(after(start, 109));
        let table = aliases.table();
        assert_eq!((table.by_name.len(), table.by_time.len()), (2, 0));
    }

    #[test]
    fn they_are_removed_by_name_and_application_and_all_at_once() {
        let now = Instant::now();
        let aliases = Aliases::new(10);
        for application in ["one", "two"] {
            aliases.add(Alias { application: application.to_owned(), ..alias("a", -5) }, now).unwrap();
        }
        assert!(!aliases.remove("three", "a"));
        assert!(aliases.remove("one", "a") && !aliases.remove("one", "a"));
        assert!(aliases.remove("two", "a"));
        aliases.add(alias("b", 5), now).unwrap();
        assert_eq!(aliases.flush(), 1);
        assert!(aliases.list(now).is_empty());
        assert!(aliases.table().by_time.is_empty());
    }

    #[test]
    fn the_longest_time_is_a_year() {
        let (now, year) = (Instant::now(), Aliases::LONGEST.cast_signed());
        let aliases = Aliases::new(10);
        for (period, fits) in
            [(year - 1, true), (year, true), (year + 1, false), (-year, true), (-year - 1, false)]
        {
            assert_eq!(aliases.add(alias("a", period), now).is_ok(), fits, "{period}");
        }
        assert!(aliases.add(alias("a", i64::MIN), now).is_err());
    }
}
