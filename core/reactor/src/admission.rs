//! Who may come in: limits on connections, shared by all workers.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crtmp_media::Limits;

/// Counts connections, in all and per address.
pub(crate) struct Admission {
    /// What the configuration and the system's descriptors allow.
    total_limit: usize,
    /// What an operator allows of those that count, which is never more; `usize::MAX`: as many as there may be.
    counted_limit: AtomicUsize,
    per_address: usize,
    pending_per_address: usize,
    total: AtomicUsize,
    /// The most that there have been at once.
    highest: AtomicUsize,
    /// Those that the operator's limit is about.
    counted: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, Counts>>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    all: usize,
    pending: usize,
}

/// A place for one connection; given back when it is dropped.
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    /// None: it counts for no address.
    address: Option<IpAddr>,
    pending: bool,
    /// It counts for the operator's limit.
    counted: bool,
}

/// Why a connection is refused: the limit's name and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str, pub(crate) usize);

impl Admission {
    /// `descriptors` is what the system allows, less what the server needs itself.
    pub(crate) fn new(limits: &Limits, descriptors: usize) -> Self {
        let total_limit = if limits.connections == 0 { descriptors } else { limits.connections };
        Self {
            total_limit,
            counted_limit: AtomicUsize::new(usize::MAX),
            per_address: limits.connections_per_address,
            pending_per_address: limits.pending_per_address,
            total: AtomicUsize::new(0),
            highest: AtomicUsize::new(0),
            counted: AtomicUsize::new(0),
            addresses: Mutex::default(),
        }
    }

    /// Has the operator's limit be `count`; 0: none. Connections that are there stay.
    pub(crate) fn set_counted_limit(&self, count: usize) {
        let limit = if count == 0 { usize::MAX } else { count };
        self.counted_limit.store(limit, Ordering::Relaxed);
    }

    /// Connections that count for the operator's limit.
    pub(crate) fn counted(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }

    /// The most that the operator's limit may be.
    pub(crate) fn most(&self) -> usize {
        self.total_limit
    }

    /// The most connections that there have been at once.
    pub(crate) fn highest(&self) -> usize {
        self.highest.load(Ordering::Relaxed)
    }

    /// Asks for a place. One that is not `counted` is not refused by the operator's limit; one without an address counts
    /// for none, until [`Ticket::belong_to`] says whose it is.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>, counted: bool) -> Result<Ticket, Refused> {
        let there = self.take_place(counted)?;
        // From here on dropping it gives the place back.
        let mut ticket = Ticket { admission: self.clone(), address: None, pending: false, counted };
        if let Some(address) = address {
            ticket.belong_to(address)?;
        }
        self.highest.fetch_max(there, Ordering::Relaxed);
        Ok(ticket)
    }

    /// Asks for a place for a connection that the server makes: it counts among all, for no address.
    pub(crate) fn admit_ours(self: &Arc<Self>) -> Result<Ticket, Refused> {
        self.admit_carried(true)
    }

    /// Asks for a place for a connection that others carry: those count for its address.
    pub(crate) fn admit_carried(self: &Arc<Self>, counted: bool) -> Result<Ticket, Refused> {
        let there = self.take_place(counted)?;
        self.highest.fetch_max(there, Ordering::Relaxed);
        Ok(Ticket { admission: self.clone(), address: None, pending: false, counted })
    }

    /// How many there are then.
    fn take_place(&self, counted: bool) -> Result<usize, Refused> {
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        if before >= self.total_limit {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused("connections", self.total_limit));
        }
        if counted && let Err(refused) = self.take_counted() {
            self.give_place_back(false);
            return Err(refused);
        }
        Ok(before + 1)
    }

    fn take_counted(&self) -> Result<(), Refused> {
        let limit = self.counted_limit.load(Ordering::Relaxed);
        if self.counted.fetch_add(1, Ordering::Relaxed) >= limit {
            self.counted.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused("setConnectionsCountLimit", limit));
        }
        Ok(())
    }

    fn give_place_back(&self, counted: bool) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        if counted {
            self.counted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn count(&self, address: IpAddr) -> Result<(), Refused> {
        if !self.counts_addresses() {
            return Ok(());
        }
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = addresses.get(&address).copied().unwrap_or_default();
        if self.per_address != 0 && counts.all >= self.per_address {
            return Err(Refused("connectionsPerAddress", self.per_address));
        }
        if self.pending_per_address != 0 && counts.pending >= self.pending_per_address {
            return Err(Refused("pendingPerAddress", self.pending_per_address));
        }
        addresses.insert(address, Counts { all: counts.all + 1, pending: counts.pending + 1 });
        Ok(())
    }

    fn change(&self, address: IpAddr, change: impl FnOnce(&mut Counts)) {
        if !self.counts_addresses() {
            return;
        }
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = addresses.get_mut(&address) {
            change(counts);
            if counts.all == 0 {
                addresses.remove(&address);
            }
        }
    }

    fn counts_addresses(&self) -> bool {
        self.per_address != 0 || self.pending_per_address != 0
    }
}

impl Ticket {
    /// The connection is one of `address`, which may have no more of them.
    pub(crate) fn belong_to(&mut self, address: IpAddr) -> Result<(), Refused> {
        self.admission.count(address)?;
        (self.address, self.pending) = (Some(address), true);
        Ok(())
    }

    /// From now on the connection counts for the operator's limit.
    pub(crate) fn count(&mut self) -> Result<(), Refused> {
        if !self.counted {
            self.admission.take_counted()?;
            self.counted = true;
        }
        Ok(())
    }

    /// The connection has been allowed to publish or play.
    pub(crate) fn authorise(&mut self) {
        if std::mem::take(&mut self.pending)
            && let Some(address) = self.address
        {
            self.admission.change(address, |counts| counts.pending -= 1);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.give_place_back(self.counted);
        let pending = usize::from(self.pending);
        if let Some(address) = self.address {
            self.admission.change(address, |counts| {
                counts.all -= 1;
                counts.pending -= pending;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, number).into()
    }

    #[test]
    fn each_limit_holds_at_minus_one_zero_and_plus_one_and_places_come_back() {
        let limits = Limits {
            connections: 4,
            connections_per_address: 3,
            pending_per_address: 2,
            ..Limits::default()
        };
        let admission = Arc::new(Admission::new(&limits, 1000));
        let mut first = admission.admit(Some(address(1)), true).ok().unwrap();
        let _second = admission.admit(Some(address(1)), true).ok().unwrap();
        assert_eq!(admission.admit(Some(address(1)), true).err(), Some(Refused("pendingPerAddress", 2)));
        first.authorise();
        first.authorise();
        let third = admission.admit(Some(address(1)), true).ok().unwrap();
        assert_eq!(admission.admit(Some(address(1)), true).err(), Some(Refused("connectionsPerAddress", 3)));
        let _fourth = admission.admit(Some(address(2)), true).ok().unwrap();
        assert_eq!(admission.admit(Some(address(3)), true).err(), Some(Refused("connections", 4)));
        drop(third);
        drop(first);
        assert!(admission.admit(Some(address(3)), true).is_ok());
        assert!(admission.admit(Some(address(1)), true).is_ok());
        drop((_second, _fourth));
        assert!(admission.addresses.lock().unwrap().is_empty());
        assert_eq!((admission.total.load(Ordering::Relaxed), admission.highest()), (0, 4));
    }

    #[test]
    fn the_limit_of_the_operator_holds_changes_and_spares_sessions_of_commands() {
        let limits = Limits { connections: 5, ..Limits::default() };
        let admission = Arc::new(Admission::new(&limits, 1000));
        let admit = |counted| admission.admit(Some(address(1)), counted);
        assert_eq!(admission.most(), 5);
        admission.set_counted_limit(2);
        let first = admit(true).ok().unwrap();
        let _second = admit(true).ok().unwrap();
        assert_eq!(admit(true).err(), Some(Refused("setConnectionsCountLimit", 2)));
        assert_eq!(admission.admit_ours().err(), Some(Refused("setConnectionsCountLimit", 2)));
        assert_eq!((admission.counted(), admission.total.load(Ordering::Relaxed)), (2, 2));
        let session = admit(false).ok().unwrap();
        assert_eq!(admission.counted(), 2);
        // Those that are there stay under a lower limit; a place must become free below it.
        admission.set_counted_limit(1);
        drop(first);
        assert_eq!(admit(true).err(), Some(Refused("setConnectionsCountLimit", 1)));
        admission.set_counted_limit(0);
        let _more: Vec<_> = (0..3).map(|_| admit(true).ok().unwrap()).collect();
        // Beyond what the system allows nobody gets in.
        assert_eq!(admit(false).err(), Some(Refused("connections", 5)));
        drop(session);
        assert!(admit(false).is_ok());
    }

    #[test]
    fn who_counts_only_once_it_is_known_is_refused_then() {
        let admission = Arc::new(Admission::new(&Limits::default(), 1000));
        admission.set_counted_limit(1);
        let mut tickets: Vec<_> = (0..3).map(|_| admission.admit(None, false).ok().unwrap()).collect();
        assert_eq!(admission.counted(), 0);
        assert_eq!((tickets[0].count(), tickets[0].count(), admission.counted()), (Ok(()), Ok(()), 1));
        assert_eq!(tickets[1].count(), Err(Refused("setConnectionsCountLimit", 1)));
        tickets.remove(0);
        assert_eq!((tickets[0].count(), admission.counted()), (Ok(()), 1));
        tickets.clear();
        assert_eq!((admission.counted(), admission.total.load(Ordering::Relaxed)), (0, 0));
    }
}
