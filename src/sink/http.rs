//! A small HTTP/1.1 server on loopback that receives webhooks.
//!
//! A thread per connection, so that a peer that does nothing holds up nobody else. The thread
//! that accepts owns the others, and [`WebhookSink`] owns it: to stop is to close all sockets,
//! and to join.
//!
//! It is no server for the world: it reads bodies with a `Content-Length` only, and does not
//! check what a proxy would.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

mod arrivals;
mod connection;
mod reply;

#[cfg(test)]
mod tests;

pub use self::arrivals::Arrivals;
pub use self::connection::Request;
pub use self::reply::{Reply, Response};

/// Connections at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 1024;
/// Stack of a connection's thread; handlers are small.
const STACK: usize = 512 << 10;
/// Pause after an `accept` that failed, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running server. Stops when dropped.
#[derive(Debug)]
pub struct WebhookSink {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads have in common.
struct Shared {
    handler: Box<Handler>,
    arrivals: Arrivals,
    open: Mutex<Open>,
}

/// Connections in use, to be closed from outside.
#[derive(Default)]
struct Open {
    streams: HashMap<u64, Arc<TcpStream>>,
    /// No more from now on.
    stopped: bool,
}

type Handler = dyn Fn(&Request<'_>) -> Reply + Send + Sync;

impl WebhookSink {
    /// Listens on a free port of 127.0.0.1. `handler` is called for each request, from many
    /// threads at once, after the request was counted; it should not block.
    ///
    /// # Errors
    ///
    /// No port or no thread to be had.
    pub fn start(
        handler: impl Fn(&Request<'_>) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            arrivals: Arrivals::default(),
            open: Mutex::default(),
        });
        let acceptor = thread::Builder::new().name("webhook-sink".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        })?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL of a path on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.address, path.trim_start_matches('/'))
    }

    /// What has arrived so far.
    pub fn arrivals(&self) -> &Arrivals {
        &self.shared.arrivals
    }

    /// Connections that are open now.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.shared.open().streams.len()
    }

    /// Closes every connection, answered or not, and joins all threads.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for WebhookSink {
    fn drop(&mut self) {
        self.shared.close();
        // Wakes the acceptor. If it cannot be reached, it is not blocked in `accept` either.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            // A handler that panicked has been reported on standard error.
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    /// Serves connections until it is closed. Returns once they have all ended.
    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for id in 0.. {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(ACCEPT_PAUSE);
                    if self.open().stopped {
                        return; // Whoever stops it may want for descriptors, too, and cannot wake it.
                    }
                    continue;
                };
                match self.admit(id, stream) {
                    Admission::Granted(connection) => {
                        let thread = thread::Builder::new().name(format!("webhook-sink-{id}"));
                        // Without a thread, the connection is closed.
                        let _ = thread
                            .stack_size(STACK)
                            .spawn_scoped(scope, move || connection.serve());
                    }
                    Admission::Full => (),
                    Admission::Stopped => return,
                }
            }
        });
    }

    fn admit(&self, id: u64, stream: TcpStream) -> Admission<'_> {
        let mut open = self.open();
        if open.stopped {
            return Admission::Stopped;
        }
        if CONNECTIONS_MAX <= open.streams.len() {
            return Admission::Full;
        }
        let stream = Arc::new(stream);
        open.streams.insert(id, Arc::clone(&stream));
        Admission::Granted(Connection { shared: self, id, stream })
    }

    /// Ends all connections, and admits none from now on.
    fn close(&self) {
        let mut open = self.open();
        open.stopped = true;
        for stream in open.streams.values() {
            // Fails if the peer closed it first.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Admission<'a> {
    Granted(Connection<'a>),
    Full,
    Stopped,
}

/// A connection that is known to [`Shared::close`] for as long as this lives.
struct Connection<'a> {
    shared: &'a Shared,
    id: u64,
    stream: Arc<TcpStream>,
}

impl Connection<'_> {
    fn serve(&self) {
        // An I/O error ends this connection, and is the peer's doing.
        let _ = connection::serve(&self.stream, &*self.shared.handler, &self.shared.arrivals);
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.shared.open().streams.remove(&self.id);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("arrivals", &self.arrivals.total()).finish_non_exhaustive()
    }
}
