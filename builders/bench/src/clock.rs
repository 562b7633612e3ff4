//! One clock for all processes of a measurement, and an alarm on it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of a millisecond.
pub const MILLISECOND: u64 = 1_000_000;

/// The time of CLOCK_MONOTONIC in nanoseconds: the same for all processes of a machine, so a stamp of one can be read
/// by another.
pub fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64
}

/// The same as layers know it.
#[expect(clippy::disallowed_methods, reason = "this is where the generator has its time from")]
pub fn instant() -> Instant {
    Instant::now()
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    let time = time.expect("Linux has this clock");
    time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64
}

/// A duration in nanoseconds.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// An alarm that wakes a poll. The timeout of a poll is counted in milliseconds, and a frame should leave when it is due.
#[derive(Debug)]
pub struct Alarm {
    timer: TimerFd,
    set: u64,
}

impl Alarm {
    /// An alarm that is reported to `registry` as `token`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set: 0 })
    }

    /// Sets the alarm to the instant `at`, in nanoseconds of [`now`]; one that has passed wakes at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set(&mut self, at: u64) -> io::Result<()> {
        if at == self.set {
            return Ok(());
        }
        self.set = at;
        // Zero would switch the timer off.
        let at = TimeSpec::from_duration(Duration::from_nanos(at.max(1)));
        self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        Ok(())
    }
}
