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

/// How long ago the far end acknowledged anything last, be it only that it has no room (tcp(7), TCP_INFO).
#[cfg(target_os = "linux")]
pub(crate) fn unheard(socket: &TcpStream) -> io::Result<Duration> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the call writes at most `size` bytes, which `info` has, all zero before; any bytes make a `tcp_info`. The
    // descriptor is open as long as `socket` lives.
    #[expect(unsafe_code, reason = "no library asks for this number")]
    let (result, info) = unsafe {
        let place = info.as_mut_ptr().cast();
        let result =
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut size);
        (result, info.assume_init())
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::from_millis(info.tcpi_last_ack_recv.into()))
}

/// Other systems do not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unheard(_: &TcpStream) -> io::Result<Duration> {
    Ok(Duration::ZERO)
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

    #[cfg(target_os = "linux")]
    #[test]
    fn who_has_acknowledged_is_heard_of() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = Std::connect(listener.local_addr().unwrap()).unwrap();
        let (_peer, _) = listener.accept().unwrap();
        socket.write_all(b"x").unwrap();
        let socket = TcpStream::from_std(socket);
        // As soon as what was sent is acknowledged.
        while unsent(&socket).unwrap() > 0 {}
        assert!(unheard(&socket).unwrap() < Duration::from_secs(5));
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
