//! A byte stream to the relay, in clear or in TLS, on which every read and write ends by one
//! deadline.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::transport::Deadline;

/// A socket with an absolute deadline: a peer that drips gains no time.
pub(super) struct TimedStream {
    socket: TcpStream,
    deadline: Deadline,
}

impl TimedStream {
    pub(super) fn new(socket: TcpStream, deadline: Deadline) -> Self {
        Self { socket, deadline }
    }

    fn left(&self) -> io::Result<std::time::Duration> {
        self.deadline.remaining().ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

impl Read for TimedStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(buf).map_err(as_timeout)
    }
}

impl Write for TimedStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(buf).map_err(as_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket timeout shows as `WouldBlock` on Unix.
fn as_timeout(err: io::Error) -> io::Error {
    if err.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { err }
}

/// The stream of a session.
pub(super) enum Stream {
    Plain(TimedStream),
    Tls(Box<StreamOwned<ClientConnection, TimedStream>>),
}

impl Stream {
    /// Does the handshake.
    pub(super) fn secure(
        mut plain: TimedStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut plain)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, plain))))
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The socket below, for its addresses.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(plain) => &plain.socket,
            Self::Tls(tls) => &tls.sock.socket,
        }
    }

    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        match self {
            Self::Plain(plain) => plain.deadline = deadline,
            Self::Tls(tls) => tls.sock.deadline = deadline,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.read(buf),
            Self::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.write(buf),
            Self::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
