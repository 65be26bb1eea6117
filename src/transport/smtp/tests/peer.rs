//! A relay that plays scripts: one for each connection, in turn.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;

use crate::sink::smtp::stream::Stream;

/// What is expected and what is said to it.
///
/// Expected: the beginning of a line; `""` nothing, to speak at once; `"."` a message up to
/// its final dot. Said: text, each character one octet, and a line end; or an act in angle
/// brackets: `<nothing>`, `<close>`, `<silence>`, `<half-close>`, `<drip>`, `<flood>`,
/// `<tls>`, or `<raw>` before text that has no line end.
pub(super) type Line = (&'static str, &'static str);

/// Limit of a wait for the client.
const LIMIT: Duration = Duration::from_secs(10);

/// A running peer.
pub(super) struct Peer {
    port: u16,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Vec<String>>>>,
}

impl Peer {
    /// Plays one script.
    pub(super) fn play(script: &[Line]) -> Self {
        Self::play_all(vec![script.to_vec()])
    }

    /// Plays one script after the other, each to a new connection.
    pub(super) fn play_all(scripts: Vec<Vec<Line>>) -> Self {
        Self::start(scripts, None)
    }

    /// With TLS where a script has `<tls>`.
    pub(super) fn start(scripts: Vec<Vec<Line>>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = thread::spawn(move || {
            let mut heard = Vec::new();
            for script in scripts {
                let (socket, _) = listener.accept().unwrap();
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                socket.set_nodelay(true).unwrap();
                socket.set_read_timeout(Some(LIMIT)).unwrap();
                socket.set_write_timeout(Some(LIMIT)).unwrap();
                let mut lines = Vec::new();
                // A client that hangs up early shows in what was heard.
                let _ = Conversation::new(socket, &mut lines).play(&script, tls.as_ref());
                heard.push(lines);
            }
            heard
        });
        Self { port, stopping, thread: Some(thread) }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What each connection heard, line by line, after the client has closed it.
    pub(super) fn heard(mut self) -> Vec<Vec<String>> {
        self.finish()
    }

    fn finish(&mut self) -> Vec<Vec<String>> {
        let Some(thread) = self.thread.take() else { return Vec::new() };
        // Scripts that nobody came for are not waited for.
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        match thread.join() {
            Ok(heard) => heard,
            Err(payload) if !thread::panicking() => resume_unwind(payload),
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Conversation<'a> {
    reader: BufReader<Stream>,
    heard: &'a mut Vec<String>,
}

impl<'a> Conversation<'a> {
    fn new(socket: TcpStream, heard: &'a mut Vec<String>) -> Self {
        Self { reader: BufReader::new(Stream::Plain(socket)), heard }
    }

    fn play(mut self, script: &[Line], tls: Option<&Arc<ServerConfig>>) -> io::Result<()> {
        for (expected, said) in script {
            match *expected {
                "" => (),
                "." => while self.hear()? != "." {},
                _ => {
                    let line = self.hear()?;
                    assert!(line.starts_with(expected), "expected {expected}, heard {line}");
                }
            }
            match *said {
                "<tls>" => {
                    self = self.start_tls(tls.expect("a script with TLS has a certificate"))?;
                }
                _ => self.act(said)?,
            }
        }
        // What the client says to the end.
        loop {
            self.hear()?;
        }
    }

    fn hear(&mut self) -> io::Result<String> {
        let mut octets = Vec::new();
        if self.reader.read_until(b'\n', &mut octets)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Octets of a TLS handshake are not heard.
        let line = String::from_utf8(octets).map_err(io::Error::other)?;
        assert!(line.ends_with("\r\n"), "{line:?}");
        self.heard.push(line.trim_end().to_owned());
        Ok(line[..line.len() - 2].to_owned())
    }

    fn act(&mut self, said: &str) -> io::Result<()> {
        let stream = self.reader.get_mut();
        match said {
            "<nothing>" => Ok(()),
            "<close>" => shut(stream, Shutdown::Both),
            "<half-close>" => shut(stream, Shutdown::Write),
            "<silence>" => stream.read_to_end(&mut Vec::new()).map(drop),
            "<drip>" => loop {
                stream.write_all(b"2")?;
                thread::sleep(Duration::from_millis(20));
            },
            "<flood>" => loop {
                stream.write_all(&[b'2'; 4096])?;
            },
            _ => {
                let (text, end) = match said.strip_prefix("<raw>") {
                    Some(text) => (text, ""),
                    None => (said, "\r\n"),
                };
                let octets: Vec<u8> =
                    text.chars().chain(end.chars()).map(|c| u8::try_from(c).unwrap()).collect();
                stream.write_all(&octets)?;
                stream.flush()
            }
        }
    }

    fn start_tls(self, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let Stream::Plain(socket) = self.reader.into_inner() else { panic!("TLS twice") };
        let stream = Stream::secure(socket, config)?;
        Ok(Self { reader: BufReader::new(stream), heard: self.heard })
    }
}

fn shut(stream: &Stream, how: Shutdown) -> io::Result<()> {
    match stream {
        Stream::Plain(socket) => socket.shutdown(how),
        Stream::Tls(tls) => tls.sock.shutdown(how),
    }
}
