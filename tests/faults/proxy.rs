//! A TCP proxy that can be slow, cut, or a black hole.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::last;

/// How often a pump looks at the mode, and what [`Mode::Slow`] adds to each transfer.
const GLANCE: Duration = Duration::from_millis(20);
const DELAY: Duration = Duration::from_millis(100);
const STACK: usize = 256 << 10;

/// What it does with octets and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Passes them on.
    Open = 0,
    /// Passes them on late.
    Slow = 1,
    /// Closes all connections, the new ones too.
    Cut = 2,
    /// Takes them, and passes nothing on.
    Hole = 3,
}

/// A running proxy. Stops when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    mode: AtomicU8,
}

/// The mode of a proxy that stops.
const STOPPED: u8 = 255;

impl Proxy {
    /// Listens on a free port of loopback, and connects to `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { target, mode: AtomicU8::new(Mode::Open as u8) });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.mode.store(STOPPED, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the acceptor
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join(); // a panic was printed
        }
    }
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }

    fn is_stopped(&self) -> bool {
        self.mode.load(Ordering::SeqCst) == STOPPED
    }

    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for near in listener.incoming() {
                if self.is_stopped() {
                    return;
                }
                let Ok(near) = near else { continue };
                let spawned = thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || self.link(&near));
                spawned.unwrap();
            }
        });
    }

    /// Serves one connection; to what cannot be reached it is closed.
    fn link(&self, near: &TcpStream) {
        while self.is(Mode::Hole) {
            last(GLANCE);
        }
        if self.is(Mode::Cut) {
            return;
        }
        let Ok(far) = TcpStream::connect(self.target) else { return };
        thread::scope(|scope| {
            let back = thread::Builder::new().stack_size(STACK);
            back.spawn_scoped(scope, || self.pump(&far, near)).unwrap();
            self.pump(near, &far);
        });
    }

    /// Passes octets on until either side ends or the proxy is cut; then ends both.
    fn pump(&self, from: &TcpStream, to: &TcpStream) {
        let _ = self.pass_on(from, to); // an error is the end of one side
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn pass_on(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        from.set_read_timeout(Some(GLANCE))?;
        from.set_nodelay(true)?;
        let mut octets = [0; 16 << 10];
        while !self.is_stopped() && !self.is(Mode::Cut) {
            if self.is(Mode::Hole) {
                last(GLANCE);
                continue;
            }
            let count = match from.read(&mut octets) {
                Ok(0) => break,
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => continue,
                Err(err) => return Err(err),
            };
            if self.is(Mode::Slow) {
                last(DELAY);
            }
            while self.is(Mode::Hole) {
                last(GLANCE);
            }
            to.write_all(&octets[..count])?;
        }
        Ok(())
    }
}
