//! A proxy in the way of TCP connections that refuses, hangs up, falls silent, and lets through again.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::link::Link;
use crate::{free_address, wait_for};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// How long the target is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of connections that come from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They reach the target. If that does not listen they are closed.
    Through,
    /// Nobody listens: the kernel refuses, and no count goes up.
    Refuse,
    /// They are accepted and closed.
    Close,
    /// They are accepted and reset.
    Reset,
    /// They are accepted, and nothing is read or written.
    Silent,
}

/// A running proxy. It and its connections end when this is dropped.
#[derive(Debug)]
pub struct Flapper {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Flapper {
    /// Starts one that lets connections [through](Mode::Through) to `target`.
    ///
    /// # Panics
    ///
    /// If the system has no port for it.
    pub fn start(target: SocketAddr) -> Self {
        let address = free_address();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a socket option");
        // Bound by its number, the socket keeps its port when it stops to listen.
        socket.bind(&address.into()).expect("a free port");
        socket.listen(BACKLOG).expect("a bound socket listens");
        let state = State {
            mode: Mode::Through,
            target,
            frozen: false,
            stopped: false,
            attempts: Vec::new(),
            links: Vec::new(),
        };
        let shared = Arc::new(Shared { socket, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&shared)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says what becomes of connections that come from now on. Those that are there stay.
    ///
    /// # Panics
    ///
    /// If the socket cannot listen again.
    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.lock();
        if mode == Mode::Refuse {
            let _ = self.shared.socket.shutdown(std::net::Shutdown::Both);
        } else if state.mode == Mode::Refuse {
            self.shared.socket.listen(BACKLOG).expect("a bound socket listens again");
        }
        state.mode = mode;
        self.shared.changed.notify_all();
    }

    /// Sends connections that come from now on to another target.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }

    /// Carries nothing any more (`true`), or what has waited and what comes (`false`); connections stay as they are.
    pub fn freeze(&self, frozen: bool) {
        self.shared.lock().frozen = frozen;
        self.shared.changed.notify_all();
    }

    /// Closes all connections that are there.
    pub fn cut(&self) {
        self.links().iter().for_each(|link| link.close());
    }

    /// Resets all connections that are there.
    pub fn reset(&self) {
        self.links().iter().for_each(|link| link.reset());
    }

    /// When connections were accepted, in order; refused ones are not among them.
    pub fn attempts(&self) -> Vec<Instant> {
        self.shared.lock().attempts.clone()
    }

    /// Waits until so many connections have been accepted since the start, and gives their times.
    ///
    /// # Panics
    ///
    /// If they are not within `limit`.
    pub fn wait_for_attempts(&self, count: usize, limit: Duration) -> Vec<Instant> {
        wait_for(&format!("{count} connections"), limit, || {
            let attempts = self.attempts();
            (attempts.len() >= count).then_some(attempts)
        })
    }

    fn links(&self) -> Vec<Arc<Link>> {
        std::mem::take(&mut self.shared.lock().links)
    }
}

impl Drop for Flapper {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        let _ = self.shared.socket.shutdown(std::net::Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.cut();
    }
}

#[derive(Debug)]
struct Shared {
    socket: Socket,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    target: SocketAddr,
    frozen: bool,
    stopped: bool,
    attempts: Vec<Instant>,
    links: Vec<Arc<Link>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `reason` holds and the proxy runs; the state then.
    fn wait_while(&self, reason: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed
            .wait_while(self.lock(), |state| reason(state) && !state.stopped)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(shared: &Arc<Shared>) {
    loop {
        if shared.wait_while(|state| state.mode == Mode::Refuse).stopped {
            return;
        }
        match shared.socket.accept() {
            Ok((socket, _)) => accepted(shared, socket.into()),
            // The mode has changed, or no descriptor is left.
            Err(_) => thread::yield_now(),
        }
    }
}

fn accepted(shared: &Arc<Shared>, socket: TcpStream) {
    let link = Arc::new(Link::new(socket));
    let (mode, target) = {
        let mut state = shared.lock();
        state.attempts.push(Instant::now());
        state.links.retain(|link| !link.has_ended());
        (state.mode, state.target)
    };
    match mode {
        Mode::Through => {
            let shared = Arc::clone(shared);
            thread::spawn(move || carry(&shared, &link, target));
        }
        Mode::Silent => shared.lock().links.push(link),
        Mode::Reset => link.reset(),
        Mode::Close | Mode::Refuse => link.close(),
    }
}

/// Carries bytes both ways until one side ends.
fn carry(shared: &Arc<Shared>, near: &Arc<Link>, target: SocketAddr) {
    let Ok(socket) = TcpStream::connect_timeout(&target, PATIENCE) else { return near.close() };
    let far = Arc::new(Link::new(socket));
    {
        let mut state = shared.lock();
        if state.stopped {
            return near.close();
        }
        state.links.extend([Arc::clone(near), Arc::clone(&far)]);
    }
    thread::scope(|scope| {
        scope.spawn(|| pump(shared, near, &far));
        pump(shared, &far, near);
    });
    near.close();
    far.close();
}

fn pump(shared: &Shared, from: &Link, to: &Link) {
    let mut buffer = [0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer);
        drop(shared.wait_while(|state| state.frozen));
        match read {
            Ok(0) => return to.finish(),
            Ok(count) => {
                if !to.write(&buffer[..count]) {
                    return from.close();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return to.reset(),
            Err(_) => return to.close(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A target that sends everything back, and a proxy before it.
    fn stage() -> Flapper {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let flapper = Flapper::start(listener.local_addr().expect("an address"));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                thread::spawn(move || io::copy(&mut &socket, &mut &socket));
            }
        });
        flapper
    }

    fn connect(flapper: &Flapper) -> io::Result<TcpStream> {
        let socket = TcpStream::connect_timeout(&flapper.address(), SOON)?;
        socket.set_read_timeout(Some(SOON))?;
        Ok(socket)
    }

    fn echoes(mut socket: &TcpStream) -> bool {
        let mut answer = [0; 4];
        socket.write_all(b"echo").is_ok() && socket.read_exact(&mut answer).is_ok() && &answer == b"echo"
    }

    fn read(mut socket: &TcpStream) -> Result<usize, ErrorKind> {
        socket.read(&mut [0; 16]).map_err(|error| error.kind())
    }

    #[test]
    fn each_mode_does_what_it_says_and_can_be_left() {
        let flapper = stage();
        let first = connect(&flapper).expect("it listens");
        assert!(echoes(&first));
        for round in 0..3 {
            flapper.set(Mode::Refuse);
            assert_eq!(
                connect(&flapper).map_err(|error| error.kind()).err(),
                Some(ErrorKind::ConnectionRefused)
            );
            flapper.set(Mode::Close);
            assert_eq!(read(&connect(&flapper).expect("it listens")), Ok(0));
            flapper.set(Mode::Reset);
            // The reset may be quicker than the question whether the connection stands.
            let end = connect(&flapper).map_err(|error| error.kind()).and_then(|socket| read(&socket));
            assert_eq!(end, Err(ErrorKind::ConnectionReset));
            flapper.set(Mode::Through);
            assert!(echoes(&connect(&flapper).expect("it listens")), "round {round}");
        }
        assert!(echoes(&first), "what is there stays");
        assert_eq!(flapper.wait_for_attempts(10, SOON).len(), 10, "refused ones do not count");
    }

    #[test]
    fn connections_are_cut_and_frozen() {
        let flapper = stage();
        let socket = connect(&flapper).expect("it listens");
        assert!(echoes(&socket));
        flapper.freeze(true);
        (&socket).write_all(b"echo").expect("there is room");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket option");
        assert_eq!(read(&socket), Err(ErrorKind::WouldBlock));
        flapper.freeze(false);
        socket.set_read_timeout(Some(SOON)).expect("a socket option");
        assert_eq!(read(&socket), Ok(4));
        flapper.cut();
        assert_eq!(read(&socket), Ok(0));

        let socket = connect(&flapper).expect("it listens");
        assert!(echoes(&socket));
        flapper.reset();
        assert_eq!(read(&socket), Err(ErrorKind::ConnectionReset));

        flapper.set(Mode::Silent);
        let socket = connect(&flapper).expect("it listens");
        flapper.wait_for_attempts(3, SOON);
        drop(flapper);
        assert_eq!(read(&socket), Ok(0));
    }
}
