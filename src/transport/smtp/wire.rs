//! Commands out, replies in: one connection to the relay.

use std::io::{BufReader, Write};
use std::net::IpAddr;

use super::classify::{Cause, Phase, SessionError};
use super::reply::{self, Reply};
use super::stream::{Stream, TimedStream};
use crate::transport::{Deadline, Trace};

/// A connection that speaks SMTP.
pub(super) struct Wire {
    reader: BufReader<Stream>,
    /// Whether both sides still agree on where they are.
    in_step: bool,
    trace: Trace,
}

impl Wire {
    pub(super) fn new(stream: Stream, trace: Trace) -> Self {
        Self { reader: BufReader::new(stream), in_step: true, trace }
    }

    /// By when everything from here on must have happened.
    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        self.reader.get_mut().set_deadline(deadline);
    }

    pub(super) fn stream(&self) -> &Stream {
        self.reader.get_ref()
    }

    /// Whether a credential may be sent.
    pub(super) fn keeps_secrets(&self) -> bool {
        let peer = self.stream().socket().peer_addr().ok();
        is_private(self.stream().is_tls(), peer.map(|peer| peer.ip()))
    }

    /// Whether the connection may be used for another message: no error, no good-bye, and
    /// nothing said that was not asked for.
    pub(super) fn is_reusable(&self) -> bool {
        self.in_step && self.reader.buffer().is_empty()
    }

    /// Whether another reply can be expected.
    pub(super) fn is_in_step(&self) -> bool {
        self.in_step
    }

    /// Gives up the connection for another use.
    pub(super) fn abandon(&mut self) {
        self.in_step = false;
    }

    /// The plain stream below, for a handshake. What the relay sent ahead in clear is an
    /// attack or a fault: it must not be taken for something said inside TLS (RFC 3207, 6).
    pub(super) fn into_plain(self) -> Result<TimedStream, Cause> {
        if !self.reader.buffer().is_empty() {
            let why = "the relay sent more in clear after its reply; connection dropped";
            return Err(Cause::Malformed(why.into()));
        }
        match self.reader.into_inner() {
            Stream::Plain(plain) => Ok(plain),
            Stream::Tls(_) => Err(Cause::Malformed("TLS within TLS".into())),
        }
    }

    /// Sends octets as they are.
    pub(super) fn write(&mut self, phase: Phase, octets: &[u8]) -> Result<(), SessionError> {
        self.trace.note("we say", || match phase {
            Phase::Auth => "AUTH <secret>".into(),
            Phase::Body => format!("the message, {} octets", octets.len()),
            _ => String::from_utf8_lossy(octets).replace("\r\n", "; "),
        });
        let stream = self.reader.get_mut();
        let result = stream.write_all(octets).and_then(|()| stream.flush());
        result.map_err(|err| {
            self.in_step = false;
            Cause::from(err).at(phase)
        })
    }

    /// Reads one reply, whatever it says.
    pub(super) fn reply(&mut self, phase: Phase) -> Result<Reply, SessionError> {
        let result = reply::read(&mut self.reader);
        if let Ok(reply) = &result {
            // A relay may repeat what it was sent to authenticate.
            let text = if phase == Phase::Auth { String::new() } else { reply.lines.join(" / ") };
            self.trace.note("relay says", || format!("{} {text}", reply.code));
        }
        // 421 says that the connection ends, and so does a 221 that nobody asked for.
        self.in_step &= result.as_ref().is_ok_and(|reply| !matches!(reply.code, 421 | 221));
        result.map_err(|cause| cause.at(phase))
    }

    /// Reads one reply, which must be of class `class`.
    pub(super) fn expect(&mut self, phase: Phase, class: u16) -> Result<Reply, SessionError> {
        let reply = self.reply(phase)?;
        if reply.class() == class && reply.code != 221 {
            return Ok(reply);
        }
        // A yes to another question than ours.
        self.in_step &= 4 <= reply.class();
        Err(Cause::Reply(reply).at(phase))
    }

    /// Sends one command and reads its reply.
    pub(super) fn ask(&mut self, phase: Phase, command: &str) -> Result<Reply, SessionError> {
        self.write(phase, format!("{command}\r\n").as_bytes())?;
        self.reply(phase)
    }
}

/// Whether nobody on the way can read what is sent: TLS, or no way at all.
fn is_private(tls: bool, peer: Option<IpAddr>) -> bool {
    tls || peer.is_some_and(|peer| peer.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_loopback_keep_a_secret() {
        let peer = |text: &str| Some(text.parse().unwrap());
        for inside in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_private(false, peer(inside)), "{inside}");
        }
        for outside in ["10.0.0.1", "192.0.2.1", "2001:db8::1", "0.0.0.0"] {
            assert!(!is_private(false, peer(outside)), "{outside}");
            assert!(is_private(true, peer(outside)), "{outside}");
        }
        assert!(!is_private(false, None));
    }
}
