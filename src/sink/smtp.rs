//! An SMTP server on loopback that takes mail and hands it to a closure: for the demo, the
//! benchmarks and the tests.
//!
//! # Threads
//!
//! One accepts; each connection has one of its own, at most `connections_max`. Stopping shuts
//! all sockets and joins all threads.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;

mod dialogue;
pub(crate) mod stream;

/// Limit of one read or write.
const IDLE_LIMIT: Duration = Duration::from_mins(5);
/// Limit of connecting to ourselves, which wakes the accepting thread.
const WAKE_LIMIT: Duration = Duration::from_secs(1);
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// One mail as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Address of MAIL FROM.
    pub sender: String,
    /// Addresses of RCPT TO that were accepted.
    pub recipients: Vec<String>,
    /// Headers and body, dots undoubled, lines ended by CRLF.
    pub raw: Vec<u8>,
}

/// What the sink answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkReply {
    /// Reply code, such as 250 or 550.
    pub code: u16,
    /// Text, one line, with the enhanced code.
    pub text: String,
}

impl SinkReply {
    /// Takes it.
    pub fn accept() -> Self {
        Self::new(250, "2.0.0 taken")
    }

    /// Any reply.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// Whether it takes responsibility.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }
}

/// TLS of the sink.
#[derive(Debug, Clone)]
pub struct SinkTls {
    /// Certificate and key.
    pub config: Arc<ServerConfig>,
    /// From the first octet; else by STARTTLS.
    pub implicit: bool,
}

/// Answers to a recipient.
pub type RecipientCheck = Box<dyn Fn(&str) -> SinkReply + Send + Sync>;
/// Answers to a mail, after the final dot.
pub type MailHandler = Box<dyn Fn(&Mail) -> SinkReply + Send + Sync>;

/// How a sink behaves. The default takes everything, without TLS or authentication.
pub struct SmtpSinkOptions {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Most connections at a time; a further one is told 421.
    pub connections_max: usize,
    /// Answers RCPT TO.
    pub recipient: RecipientCheck,
    /// Answers the final dot.
    pub mail: MailHandler,
    /// TLS, where wanted.
    pub tls: Option<SinkTls>,
    /// User name and password without which no mail is taken; PLAIN and LOGIN.
    pub credentials: Option<(String, String)>,
}

impl Default for SmtpSinkOptions {
    fn default() -> Self {
        Self {
            port: 0,
            connections_max: 256,
            recipient: Box::new(|_| SinkReply::accept()),
            mail: Box::new(|_| SinkReply::accept()),
            tls: None,
            credentials: None,
        }
    }
}

impl fmt::Debug for SmtpSinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, connections_max, .. } = self;
        write!(f, "SmtpSinkOptions {{ port: {port}, connections_max: {connections_max}, .. }}")
    }
}

/// A running server. It stops when it is dropped.
pub struct SmtpSink {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads have in common.
struct Shared {
    options: SmtpSinkOptions,
    stopping: AtomicBool,
    arrived: AtomicU64,
    connected: AtomicU64,
    /// Sockets of the open connections, to wake their threads.
    sockets: Mutex<HashMap<u64, TcpStream>>,
}

impl SmtpSink {
    /// Listens on 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If the port is taken or no thread can be started.
    pub fn start(options: SmtpSinkOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            stopping: AtomicBool::new(false),
            arrived: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            sockets: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("smtp-sink".into())
                .spawn(move || accept(&listener, &shared))?
        };
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Mails that were taken: the handler's answer was positive.
    pub fn arrived(&self) -> u64 {
        self.shared.arrived.load(Ordering::Relaxed)
    }

    /// Connections that were made.
    pub fn connected(&self) -> u64 {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Closes all connections and joins all threads.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // If nobody accepts, the thread has ended and needs no waking.
        let _ = TcpStream::connect_timeout(&self.address, WAKE_LIMIT);
        if let Some(acceptor) = self.acceptor.take() {
            // A panic in there has been reported; there is nothing left to undo.
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn sockets(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `socket` known, so that a stop can wake its thread; `None` if there are too many.
    fn admit(&self, socket: &TcpStream) -> io::Result<Option<u64>> {
        let copy = socket.try_clone()?;
        let mut sockets = self.sockets();
        if self.options.connections_max <= sockets.len() {
            return Ok(None);
        }
        let id = self.connected.fetch_add(1, Ordering::Relaxed);
        sockets.insert(id, copy);
        Ok(Some(id))
    }

    fn close_all(&self) {
        for socket in self.sockets().values() {
            // Already closed is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Owns the threads of the connections.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        threads.retain(|thread| !thread.is_finished());
        match accepted.and_then(|(socket, _)| serve(socket, shared)) {
            Ok(thread) => threads.extend(thread),
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
    shared.close_all();
    for thread in threads {
        // A panic in there has been reported; there is nothing left to undo.
        let _ = thread.join();
    }
}

/// Starts the thread of a connection; `None` if it was turned away.
fn serve(socket: TcpStream, shared: &Arc<Shared>) -> io::Result<Option<JoinHandle<()>>> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(IDLE_LIMIT))?;
    socket.set_write_timeout(Some(IDLE_LIMIT))?;
    let Some(id) = shared.admit(&socket)? else {
        io::Write::write_all(&mut &socket, b"421 4.3.2 too many connections\r\n")?;
        return Ok(None);
    };
    let own = Arc::clone(shared);
    let thread = thread::Builder::new().name(format!("smtp-sink-{id}")).spawn(move || {
        // An error is the end of this connection and of nothing else.
        let _ = dialogue::run(socket, &own.options, &own.arrived);
        own.sockets().remove(&id);
    });
    if thread.is_err() {
        shared.sockets().remove(&id);
    }
    thread.map(Some)
}

#[cfg(test)]
mod tests;
