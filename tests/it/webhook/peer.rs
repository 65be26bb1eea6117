//! A peer that follows a script, octet by octet, and records what it was sent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Log;

/// What a script can do with a connection.
pub(super) struct Line<'a> {
    stream: &'a TcpStream,
    heard: &'a Mutex<Vec<String>>,
}

impl Line<'_> {
    /// Reads one request with a `Content-Length`; false once the peer is gone.
    pub(super) fn request(&mut self) -> bool {
        let mut octets = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some(text) = whole_request(&octets) {
                self.heard.lock().unwrap().push(text);
                return true;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return false,
                Ok(read) => octets.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Sends; false once the peer is gone.
    pub(super) fn send(&mut self, octets: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(octets.as_ref()).is_ok()
    }

    /// Sends octet by octet, with a pause after each.
    pub(super) fn drip(&mut self, octets: impl AsRef<[u8]>, pause: Duration) -> bool {
        octets.as_ref().iter().all(|octet| self.send([*octet]) && !self.ends_within(pause))
    }

    /// Holds the connection until the other side closes it.
    pub(super) fn hold(&mut self) {
        while !self.ends_within(Duration::from_secs(30)) {}
    }

    /// Whether the other side closes the connection within `limit`. What it sends is dropped.
    pub(super) fn ends_within(&mut self, limit: Duration) -> bool {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        match self.stream.read(&mut [0; 4096]) {
            Ok(read) => read == 0,
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
            }
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.stream
    }
}

fn whole_request(octets: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(octets);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    (length.map_or(0, |digits| digits.parse().unwrap()) <= body.len()).then(|| text.to_string())
}

/// A listener on loopback that runs a script for each connection, one after the other. Ends
/// with its owner.
pub(super) struct Peer {
    address: SocketAddr,
    heard: Log<String>,
    open: Arc<Mutex<State>>,
    thread: Option<JoinHandle<usize>>,
}

#[derive(Default)]
struct State {
    stream: Option<TcpStream>,
    stopped: bool,
}

impl Peer {
    pub(super) fn start(script: impl FnMut(&mut Line<'_>) + Send + 'static) -> Self {
        Self::listen("127.0.0.1:0", script)
    }

    pub(super) fn listen(
        address: &str,
        script: impl FnMut(&mut Line<'_>) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, open) = (Log::default(), Arc::new(Mutex::new(State::default())));
        let thread = thread::spawn({
            let (heard, open) = (Arc::clone(&heard), Arc::clone(&open));
            move || run(&listener, &heard, &open, script)
        });
        Self { address, heard, open, thread: Some(thread) }
    }

    /// A peer that answers each request with the same octets, and closes.
    pub(super) fn answering(octets: impl Into<Vec<u8>>) -> Self {
        let octets = octets.into();
        Self::start(move |line| {
            if line.request() {
                line.send(&octets);
            }
        })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests so far.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Ends it, and tells how many connections it saw.
    pub(super) fn connections(mut self) -> usize {
        self.end()
    }

    fn end(&mut self) -> usize {
        let Some(thread) = self.thread.take() else { return 0 };
        {
            let mut open = self.open.lock().unwrap();
            open.stopped = true;
            if let Some(stream) = &open.stream {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        thread.join().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(
    listener: &TcpListener,
    heard: &Mutex<Vec<String>>,
    open: &Mutex<State>,
    mut script: impl FnMut(&mut Line<'_>),
) -> usize {
    for connections in 0.. {
        let (stream, _) = listener.accept().unwrap();
        {
            let mut open = open.lock().unwrap();
            if open.stopped {
                return connections;
            }
            open.stream = Some(stream.try_clone().unwrap());
        }
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        script(&mut Line { stream: &stream, heard });
        open.lock().unwrap().stream = None;
    }
    unreachable!("the loop has no end of its own")
}
