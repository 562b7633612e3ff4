//! A connected socket that several threads use and any of them may end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// How often who cannot write looks whether it still should.
const LOOK: Duration = Duration::from_millis(50);

/// A socket with an end that everybody learns of.
#[derive(Debug)]
pub(crate) struct Link {
    // A reset is sent when the last who uses the socket has let go of it.
    socket: Mutex<Option<Arc<TcpStream>>>,
    ended: Condvar,
}

impl Link {
    pub(crate) fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket option");
        socket.set_write_timeout(Some(LOOK)).expect("a socket option");
        Self { socket: Mutex::new(Some(Arc::new(socket))), ended: Condvar::new() }
    }

    /// Waits for bytes; nothing when the peer has finished or this has ended.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(socket) = self.socket() else { return Ok(0) };
        loop {
            match (&*socket).read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Writes all of it however long that takes; `false` when this has ended or the peer has gone.
    pub(crate) fn write(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Some(socket) = self.socket() else { return false };
            match (&*socket).write(bytes) {
                Ok(0) => return false,
                Ok(count) => bytes = &bytes[count..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Waits so long or until this has ended; `true` for the former.
    pub(crate) fn pause(&self, length: Duration) -> bool {
        let deadline = Instant::now() + length;
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        while socket.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let woken = self.ended.wait_timeout(socket, left);
            socket = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Waits until this has ended.
    pub(crate) fn wait_for_end(&self) {
        while self.pause(Duration::from_secs(60)) {}
    }

    /// Says that nothing more will be written.
    pub(crate) fn finish(&self) {
        if let Some(socket) = self.socket() {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    /// Ends it in order.
    pub(crate) fn close(&self) {
        if let Some(socket) = self.end() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends it by a reset.
    pub(crate) fn reset(&self) {
        if let Some(socket) = self.end() {
            let _ = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
            // This sends nothing and wakes who reads.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    /// Whether it has ended from here.
    pub(crate) fn has_ended(&self) -> bool {
        self.socket().is_none()
    }

    fn socket(&self) -> Option<Arc<TcpStream>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&self) -> Option<Arc<TcpStream>> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.ended.notify_all();
        socket
    }
}
