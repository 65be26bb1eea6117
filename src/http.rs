//! The monitor: a small HTTP server for those who watch a worker.
//!
//! `/metrics` (Prometheus), `/healthz` (its threads are alive), `/readyz` (and the database
//! answers). GET and HEAD only, one request a connection, a few fixed threads, everything limited.
//! Whoever may connect may read it, so it belongs on an address that the world does not reach.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::config::DatabaseConfig;
use crate::store::StoreError;
use crate::worker::LeasesOut;

mod pages;

use pages::{Page, Pages};

/// Requests answered at a time.
const THREADS: usize = 3;
/// Limit of a request, from the first octet to the last of its answer.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Largest head of a request, and most fields in it.
const HEAD_MAX: usize = 8 << 10;
const FIELDS_MAX: usize = 64;
/// Pause after an `accept` that failed, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why there is no monitor.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The address cannot be listened on.
    #[error("--http {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The database's settings are wrong.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running monitor. Stops when dropped.
pub struct Monitor {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    listener: TcpListener,
    pages: Pages,
    stopped: AtomicBool,
}

impl Monitor {
    /// Listens on `address`, such as `127.0.0.1:9464`, for a worker of this process.
    ///
    /// # Errors
    ///
    /// If there is no such address, it is taken, or no thread is to be had.
    pub fn start(
        address: &str,
        database: &DatabaseConfig,
        leases: LeasesOut,
    ) -> Result<Self, MonitorError> {
        let listen = |source| MonitorError::Listen { address: address.to_owned(), source };
        let pages = Pages::new(database, leases)?;
        let found = address.to_socket_addrs().map_err(listen)?.next();
        let found = found.ok_or_else(|| listen(io::ErrorKind::AddrNotAvailable.into()))?;
        let listener = TcpListener::bind(found).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared { listener, pages, stopped: AtomicBool::new(false) });
        let mut monitor = Self { address, shared, threads: Vec::new() };
        for idx in 0..THREADS {
            let shared = Arc::clone(&monitor.shared);
            let thread = thread::Builder::new().name(format!("http-{idx}"));
            let spawned = thread.spawn(move || shared.serve()).map_err(listen)?;
            monitor.threads.push(spawned);
        }
        Ok(monitor)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for _ in &self.threads {
            // Wakes one of them. If it cannot be reached, it is not blocked in `accept` either.
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the monitor panicked");
            }
        }
    }
}

impl Shared {
    fn serve(&self) {
        while !self.stopped.load(Ordering::SeqCst) {
            match self.listener.accept() {
                // An I/O error ends this connection, and is the peer's doing.
                Ok((stream, _)) => _ = self.answer(&stream),
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    }

    fn answer(&self, stream: &TcpStream) -> io::Result<()> {
        let deadline = Instant::now() + REQUEST_MAX;
        let (page, with_body) = match read_request(stream, deadline)? {
            Asked::Page { path, head_only } => (self.pages.find(&path), !head_only),
            Asked::Wrong(status) => (Page::plain(status, "not understood\n"), true),
        };
        let Page { status, kind, body } = &page;
        let length = body.len();
        let mut answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
             cache-control: no-store\r\nconnection: close\r\n\r\n"
        );
        if with_body {
            answer.push_str(body);
        }
        write_all(stream, answer.as_bytes(), deadline)?;
        stream.shutdown(Shutdown::Write)
    }
}

/// What a request asks for.
enum Asked {
    Page { path: String, head_only: bool },
    Wrong(&'static str),
}

fn read_request(mut stream: &TcpStream, deadline: Instant) -> io::Result<Asked> {
    let mut input = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        input.extend_from_slice(&chunk[..count]);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&input) {
            Ok(httparse::Status::Partial) if input.len() < HEAD_MAX => (),
            Ok(httparse::Status::Partial) => {
                return Ok(Asked::Wrong("431 Request Header Fields Too Large"));
            }
            Err(_) => return Ok(Asked::Wrong("400 Bad Request")),
            Ok(httparse::Status::Complete(_)) => {
                let method = request.method.unwrap_or_default();
                let target = request.path.unwrap_or_default();
                let path = target.split('?').next().unwrap_or_default().to_owned();
                return Ok(match method {
                    "GET" => Asked::Page { path, head_only: false },
                    "HEAD" => Asked::Page { path, head_only: true },
                    _ => Asked::Wrong("405 Method Not Allowed"),
                });
            }
        }
    }
}

fn write_all(mut stream: &TcpStream, mut octets: &[u8], deadline: Instant) -> io::Result<()> {
    while !octets.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        let count = stream.write(octets)?;
        octets = &octets[count..];
    }
    Ok(())
}

/// Time left, never zero.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
