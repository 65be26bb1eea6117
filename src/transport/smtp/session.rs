//! A session with the relay, from the connection to the end of a message.

use std::fmt::Write as _;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::auth;
use super::classify::{Cause, Phase, SessionError};
use super::mail::Mail;
use super::offers::Offers;
use super::relay::Relay;
use super::reply::Reply;
use super::stream::{Stream, TimedStream};
use super::wire::Wire;
use crate::config::SmtpTls;
use crate::transport::Deadline;

/// A relay that does not greet by then is not there.
const GREETING_LIMIT: Duration = Duration::from_secs(30);
/// The first reply on a connection that was idle: a relay that has gone away silently must
/// not use up the time for a new connection. Too short costs no more than that connection.
const RSET_LIMIT: Duration = Duration::from_secs(2);
/// Replies that no longer matter.
const SKIP_LIMIT: Duration = Duration::from_secs(5);
/// A reply that came ahead of a broken connection, if there was one.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(1);
/// Writing QUIT; its reply is not waited for.
const QUIT_LIMIT: Duration = Duration::from_millis(100);

/// A connection on which messages can be sent, one after the other.
pub(super) struct Session {
    wire: Wire,
    offers: Offers,
    /// Whether there was a transaction before.
    used: bool,
}

/// One command of a transaction.
struct Step {
    phase: Phase,
    command: String,
    /// Class of the reply that lets us go on.
    class: u16,
}

impl Session {
    /// Connects, greets, and does what the settings ask for: TLS, authentication.
    pub(super) fn open(relay: &Relay, deadline: Deadline) -> Result<Self, SessionError> {
        relay.trace.note("resolve", || format!("{}, port {}", relay.host, relay.port));
        let socket = relay.resolver.connect(deadline).map_err(|err| {
            Cause::from(err).at(Phase::Connect).with_note(format!("{}:{}", relay.host, relay.port))
        })?;
        relay.trace.note("connect", || {
            socket.peer_addr().map_or_else(|err| err.to_string(), |peer| format!("to {peer}"))
        });
        let plain = TimedStream::new(socket, deadline);
        let mut wire = match relay.tls {
            SmtpTls::Implicit => secure(plain, relay)?,
            _ => Wire::new(Stream::Plain(plain), relay.trace.clone()),
        };
        greeting(&mut wire, deadline)?;
        let mut offers = hello(&mut wire, relay)?;
        if wants_starttls(relay, &offers)? {
            wire = start_tls(wire, relay)?;
            // What was offered in clear may have been forged (RFC 3207, 4.2).
            offers = hello(&mut wire, relay)?;
        }
        if let Some(credentials) = &relay.credentials {
            auth::authenticate(&mut wire, &offers.auth, credentials)?;
        }
        Ok(Self { wire, offers, used: false })
    }

    /// Sends one message, and gives the relay's last reply to it.
    ///
    /// The reply after the final dot may take `final_reply` even past the deadline, so that a
    /// slow relay does not cause a copy (RFC 5321, 4.5.3.2.6).
    pub(super) fn send(
        &mut self,
        mail: &Mail,
        deadline: Deadline,
        final_reply: Duration,
    ) -> Result<Reply, SessionError> {
        let steps = self.steps(mail)?;
        self.envelope(&steps, deadline)?;
        self.wire.set_deadline(deadline);
        // Body and dot in one write: a small second one would wait for the relay's delayed ACK.
        if let Err(err) = self.wire.write(Phase::Body, &mail.data) {
            self.wire.set_deadline(deadline.at_most(LAST_WORD_LIMIT));
            return Err(match self.wire.reply(Phase::Body) {
                Ok(reply) if 4 <= reply.class() => Cause::Reply(reply).at(Phase::Body),
                _ => err,
            });
        }
        self.wire.set_deadline(deadline.at_least(final_reply));
        self.wire.expect(Phase::Dot, 2)
    }

    pub(super) fn is_reusable(&self) -> bool {
        self.wire.is_reusable()
    }

    /// Says good-bye without waiting for an answer.
    pub(super) fn quit(mut self) {
        if self.is_reusable() {
            self.wire.set_deadline(Deadline::after(QUIT_LIMIT));
            // A connection that is gone needs no good-bye.
            let _ = self.wire.write(Phase::Rset, b"QUIT\r\n");
        }
    }

    fn steps(&mut self, mail: &Mail) -> Result<Vec<Step>, SessionError> {
        let step = |phase, command, class| Step { phase, command, class };
        let sender = format!("MAIL FROM:<{}>{}\r\n", mail.sender, self.parameters(mail)?);
        let recipient = format!("RCPT TO:<{}>\r\n", mail.recipient);
        let mut steps = Vec::with_capacity(4);
        if mem::replace(&mut self.used, true) {
            steps.push(step(Phase::Rset, "RSET\r\n".into(), 2));
        }
        steps.push(step(Phase::Mail, sender, 2));
        steps.push(step(Phase::Rcpt, recipient, 2));
        steps.push(step(Phase::Data, "DATA\r\n".into(), 3));
        Ok(steps)
    }

    /// Parameters of MAIL FROM, as far as the relay knows them.
    fn parameters(&self, mail: &Mail) -> Result<String, SessionError> {
        let mut out = String::new();
        if let Some(limit) = self.offers.size {
            if 0 < limit && limit < mail.size as u64 {
                return Err(Cause::TooLarge { size: mail.size, limit }.at(Phase::Mail));
            }
            write!(out, " SIZE={}", mail.size).expect("a String takes all");
        }
        if mail.eight_bit && self.offers.has("8BITMIME") {
            out += " BODY=8BITMIME";
        }
        if mail.needs_utf8() {
            if !self.offers.has("SMTPUTF8") {
                return Err(Cause::NoSmtpUtf8.at(Phase::Mail));
            }
            out += " SMTPUTF8";
        }
        Ok(out)
    }

    /// Everything before the message: in one go where the relay can take it (RFC 2920), else
    /// step by step.
    fn envelope(&mut self, steps: &[Step], deadline: Deadline) -> Result<(), SessionError> {
        self.wire.set_deadline(deadline);
        let pipelining = self.offers.has("PIPELINING");
        if pipelining {
            let all: String = steps.iter().map(|step| step.command.as_str()).collect();
            self.wire.write(steps[0].phase, all.as_bytes())?;
        }
        for (idx, step) in steps.iter().enumerate() {
            if !pipelining {
                self.wire.write(step.phase, step.command.as_bytes())?;
            }
            let is_rset = step.phase == Phase::Rset;
            self.wire.set_deadline(if is_rset { deadline.at_most(RSET_LIMIT) } else { deadline });
            if let Err(err) = self.wire.expect(step.phase, step.class) {
                if is_rset {
                    self.wire.abandon();
                } else if pipelining {
                    self.skip(&steps[idx + 1..], deadline);
                }
                return Err(err);
            }
        }
        Ok(())
    }

    /// Reads the replies to the steps behind one that failed.
    fn skip(&mut self, steps: &[Step], deadline: Deadline) {
        self.wire.set_deadline(deadline.at_most(SKIP_LIMIT));
        for step in steps {
            if !self.wire.is_in_step() {
                return;
            }
            // The relay wants a message though it refused the envelope. It must get none.
            if self.wire.reply(step.phase).is_ok_and(|reply| reply.class() == 3) {
                self.wire.abandon();
            }
        }
    }
}

fn secure(plain: TimedStream, relay: &Relay) -> Result<Wire, SessionError> {
    let config = Arc::clone(&relay.tls_client);
    let secured = Stream::secure(plain, config, relay.server_name.clone());
    let wire = secured.map(|stream| {
        if let Stream::Tls(tls) = &stream {
            relay.trace.note_tls(&tls.conn);
        }
        Wire::new(stream, relay.trace.clone())
    });
    wire.map_err(|err| {
        let cause = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let note = match cause {
            Some(rustls::Error::InvalidCertificate(_)) => {
                Some("see smtp.ca_file and smtp.server_name")
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                Some("the relay does not speak TLS here; smtp.tls = \"required\" means STARTTLS")
            }
            _ => None,
        };
        let error = Cause::from(err).at(Phase::TlsHandshake);
        note.into_iter().fold(error, SessionError::with_note)
    })
}

fn greeting(wire: &mut Wire, deadline: Deadline) -> Result<(), SessionError> {
    wire.set_deadline(deadline.at_most(GREETING_LIMIT));
    let is_tls = wire.stream().is_tls();
    wire.expect(Phase::Greeting, 2).map_err(|err| {
        if matches!(&err.cause, Cause::Io(_)) && !is_tls {
            err.with_note("if the relay expects TLS from the start, set smtp.tls = \"implicit\"")
        } else {
            err
        }
    })?;
    wire.set_deadline(deadline);
    Ok(())
}

/// EHLO; HELO for a relay that does not know it, unless TLS is still to come: then a made-up
/// "unknown command" would be a way to be rid of it.
fn hello(wire: &mut Wire, relay: &Relay) -> Result<Offers, SessionError> {
    let name = relay.hello_name(wire.stream().socket());
    let reply = wire.ask(Phase::Ehlo, &format!("EHLO {name}"))?;
    if reply.class() == 2 {
        return Ok(Offers::parse(&reply));
    }
    let may_fall_back = wire.stream().is_tls() || relay.tls != SmtpTls::Required;
    if !matches!(reply.code, 500 | 502) || !may_fall_back {
        return Err(Cause::Reply(reply).at(Phase::Ehlo));
    }
    wire.write(Phase::Ehlo, format!("HELO {name}\r\n").as_bytes())?;
    wire.expect(Phase::Ehlo, 2)?;
    Ok(Offers::default())
}

fn wants_starttls(relay: &Relay, offers: &Offers) -> Result<bool, SessionError> {
    match relay.tls {
        SmtpTls::Implicit | SmtpTls::None => Ok(false),
        SmtpTls::Opportunistic => Ok(offers.has("STARTTLS")),
        SmtpTls::Required if offers.has("STARTTLS") => Ok(true),
        SmtpTls::Required => {
            let why = "the relay does not offer STARTTLS, and smtp.tls is \"required\"";
            Err(Cause::Declined(why.into()).at(Phase::StartTls))
        }
    }
}

fn start_tls(mut wire: Wire, relay: &Relay) -> Result<Wire, SessionError> {
    wire.write(Phase::StartTls, b"STARTTLS\r\n")?;
    wire.expect(Phase::StartTls, 2)?;
    let plain = wire.into_plain().map_err(|cause| cause.at(Phase::StartTls))?;
    secure(plain, relay)
}
