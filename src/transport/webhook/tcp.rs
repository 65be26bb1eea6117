//! TCP under the HTTP client, with the fewest system calls and packets. ureq's own sends head and body
//! apart, sets its timeouts anew at each read and write, and needs three calls to see whether an idle
//! connection is still open; together that costs more than the request.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use crate::transport::dns::Dns;
use crate::transport::webhook::agent::CONNECT_LIMIT;
use crate::transport::webhook::endpoint;
use crate::transport::{Deadline, dial};

/// Limits of reads and writes are multiples of this, so that most equal the one that is set already.
/// A delivery can outlast its deadline by as much.
const STEP: Duration = Duration::from_millis(100);
/// Output that is kept back at most, for the rest of its request.
const HELD_MAX: usize = 16 << 10;

/// Connects to the first vetted address that answers.
#[derive(Debug)]
pub(super) struct TcpConnector {
    /// Is told which address that was.
    pub(super) dns: Arc<Dns>,
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, Tcp>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(proxied) = chained {
            return Ok(Some(Either::A(proxied)));
        }
        let limit = until(details.timeout)?.map_or(Deadline::after(CONNECT_LIMIT), Deadline::from);
        let stream = dial::connect(&details.addrs, limit).map_err(|err| {
            if is_timeout(&err) { Error::Timeout(details.timeout.reason) } else { err.into() }
        })?;
        stream.set_nodelay(true)?;
        if 1 < details.addrs.len() {
            self.dns.worked(endpoint::host(details.uri), stream.peer_addr()?.ip());
        }
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let held = Vec::new();
        Ok(Some(Either::B(Tcp { stream, buffers, held, read_limit: None, write_limit: None })))
    }
}

/// One connection.
pub(super) struct Tcp {
    stream: TcpStream,
    buffers: LazyBuffers,
    /// Output that goes out with what follows it, at the latest before an answer is awaited.
    held: Vec<u8>,
    /// What the socket has been told.
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.held.extend_from_slice(&self.buffers.output()[..amount]);
        if HELD_MAX <= self.held.len() { self.flush(timeout) } else { Ok(()) }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.flush(timeout)?;
        let until = until(timeout)?;
        loop {
            set_limit(&mut self.read_limit, until, timeout.reason, |limit| {
                self.stream.set_read_timeout(limit)
            })?;
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Ok(read) => {
                    self.buffers.input_appended(read);
                    return Ok(0 < read);
                }
                Err(err) => again_or(err, timeout.reason)?,
            }
        }
    }

    /// An idle connection has nothing to read: neither octets that nobody asked for nor its end.
    fn is_open(&mut self) -> bool {
        let mut octet = [MaybeUninit::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let peeked = SockRef::from(&self.stream).recv_with_flags(&mut octet, flags);
        peeked.is_err_and(|err| err.kind() == ErrorKind::WouldBlock)
    }
}

impl Tcp {
    fn flush(&mut self, timeout: NextTimeout) -> Result<(), Error> {
        let until = until(timeout)?;
        let mut unsent = self.held.as_slice();
        // A write that only fits in part begins its time anew, so each has what is left.
        while !unsent.is_empty() {
            set_limit(&mut self.write_limit, until, timeout.reason, |limit| {
                self.stream.set_write_timeout(limit)
            })?;
            match (&self.stream).write(unsent) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(written) => unsent = &unsent[written..],
                Err(err) => again_or(err, timeout.reason)?,
            }
        }
        self.held.clear();
        Ok(())
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp").field("peer", &self.stream.peer_addr().ok()).finish_non_exhaustive()
    }
}

/// When the time is up; `None` for never.
fn until(timeout: NextTimeout) -> Result<Option<Instant>, Error> {
    if timeout.after.is_zero() {
        return Err(Error::Timeout(timeout.reason));
    }
    Ok(timeout.not_zero().and_then(|left| Instant::now().checked_add(*left)))
}

/// Tells the socket how long to wait, unless it knows.
fn set_limit(
    known: &mut Option<Duration>,
    until: Option<Instant>,
    reason: Timeout,
    set: impl FnOnce(Option<Duration>) -> io::Result<()>,
) -> Result<(), Error> {
    let limit = match until {
        None => None,
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout(reason));
            }
            Some(STEP * u32::try_from(left.as_millis() / STEP.as_millis() + 1).unwrap_or(u32::MAX))
        }
    };
    if *known != limit {
        set(limit)?;
        *known = limit;
    }
    Ok(())
}

/// Nothing if a signal came between; else what the error means.
fn again_or(err: io::Error, reason: Timeout) -> Result<(), Error> {
    match err.kind() {
        ErrorKind::Interrupted => Ok(()),
        _ if is_timeout(&err) => Err(Error::Timeout(reason)),
        _ => Err(err.into()),
    }
}

fn is_timeout(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
