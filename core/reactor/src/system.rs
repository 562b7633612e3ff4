//! What the system knows and the standard library does not ask it.

use std::{io, os::fd::AsRawFd, time::Duration};

use mio::net::TcpStream;
use nix::{libc, time::ClockId};

nix::ioctl_read_bad!(
    /// Bytes of a socket's send buffer that have not been acknowledged (tcp(7), SIOCOUTQ).
    outq,
    libc::TIOCOUTQ,
    libc::c_int
);

/// The processor time that this thread has taken.
pub(crate) fn thread_time() -> Duration {
    // A system without such a clock gets no merging by itself; there is none that this crate builds for.
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Into::into).unwrap_or_default()
}

/// Bytes that the system holds of what has been written: not sent, or not acknowledged.
pub(crate) fn unsent(socket: &TcpStream) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one `int`, which `bytes` is, and the descriptor is open as long as `socket` lives.
    #[expect(unsafe_code, reason = "no library asks for this number")]
    unsafe { outq(socket.as_raw_fd(), &raw mut bytes) }?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream as Std},
    };

    use super::*;

    #[test]
    fn what_a_peer_does_not_read_is_unsent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = Std::connect(listener.local_addr().unwrap()).unwrap();
        let (_peer, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = socket.write(&[0; 65536]) {
            written += count as u64;
        }
        let held = unsent(&TcpStream::from_std(socket)).unwrap();
        assert!(held > 0 && held <= written, "{held} of {written}");
    }

    #[test]
    fn a_thread_that_works_takes_time() {
        let before = thread_time();
        let mut sum = 0_u64;
        while thread_time() < before + Duration::from_millis(1) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }
}
