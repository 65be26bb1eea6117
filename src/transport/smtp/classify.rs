//! What a failed step of a session means for the message: by phase first, then by enhanced
//! code, then by code (RFC 5321, 3463, 4954, 5248).
//!
//! Until MAIL FROM nothing was said about this message, so whatever fails is trouble of the
//! relay or of our settings, and costs no attempt.

use std::fmt;
use std::io;
use std::time::Duration;

use super::reply::Reply;
use crate::outcome::{Failure, Health, Verdict};

/// Pause after the relay could not be reached.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(30);
/// Pause after trouble that an operator has to mend.
const SETTINGS_PAUSE: Duration = Duration::from_mins(5);
/// Pause after refused credentials: longer, since many failures lock accounts.
const AUTH_PAUSE: Duration = Duration::from_mins(15);
/// Shortest and longest wait that is taken from the text of a reply.
const HINT_RANGE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// Code of a failure after which the relay may have the message.
pub(super) const UNCERTAIN: &str = "uncertain";

/// Code of a failure that a right user name and password would mend.
pub(super) const RELAY_AUTH: &str = "relay_auth";

/// Code of a failure that another sender in the settings would mend.
const RELAY_POLICY: &str = "relay_policy";

/// Where in a session something failed, in the order of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Connect,
    TlsHandshake,
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Rset,
    Mail,
    Rcpt,
    Data,
    /// Before the final dot was written.
    Body,
    /// After it.
    Dot,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::TlsHandshake => "TLS handshake",
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Rset => "RSET",
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
            Self::Data => "DATA",
            Self::Body => "message body",
            Self::Dot => "end of message",
        })
    }
}

/// What failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// A reply that was not the one hoped for.
    #[error("{} {}", .0.code, .0.text())]
    Reply(Reply),
    /// The connection.
    #[error("{}", connection_text(.0))]
    Io(#[from] io::Error),
    /// The relay does not speak SMTP as we know it.
    #[error("{0}")]
    Malformed(String),
    /// We do not go on, though the relay would.
    #[error("{0}")]
    Declined(String),
    /// Larger than the relay takes (RFC 1870).
    #[error("the message has {size} octets, the relay takes {limit}")]
    TooLarge { size: usize, limit: u64 },
    /// An address needs SMTPUTF8 (RFC 6531).
    #[error(
        "an address has non-ASCII characters before the @, and the relay does not offer SMTPUTF8"
    )]
    NoSmtpUtf8,
}

impl Cause {
    pub(super) fn at(self, phase: Phase) -> SessionError {
        SessionError { phase, cause: self, note: None }
    }
}

fn connection_text(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::TimedOut if err.get_ref().is_none() => "timed out".into(),
        io::ErrorKind::UnexpectedEof => "the relay closed the connection".into(),
        _ => err.to_string(),
    }
}

/// A failed step.
#[derive(Debug)]
pub(super) struct SessionError {
    pub(super) phase: Phase,
    pub(super) cause: Cause,
    /// What to do about it.
    note: Option<String>,
}

impl SessionError {
    #[must_use]
    pub(super) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    fn reason(&self) -> String {
        let Self { phase, cause, note } = self;
        match note {
            Some(note) => format!("{phase}: {cause} ({note})"),
            None => format!("{phase}: {cause}"),
        }
    }
}

/// The verdict on a failed step.
pub(super) fn classify(error: &SessionError) -> Failure {
    let early = error.phase <= Phase::Auth;
    let failure = verdict(error);
    // Every other mail would be refused as well. Asking for each would get us locked out.
    if let (RELAY_AUTH | RELAY_POLICY, Verdict::Blocked { retry_after: Some(pause) }) =
        (failure.code.as_str(), &failure.verdict)
    {
        let pause = *pause;
        return failure.telling(Health::Asks { pause });
    }
    failure.telling(match &error.cause {
        Cause::Reply(reply) if early || reply.code == 421 => Health::Down,
        Cause::Reply(_) => Health::Answers,
        Cause::Io(_) | Cause::Malformed(_) => Health::Down,
        Cause::Declined(_) if early => Health::Down,
        // What an earlier message on the connection has learnt is no answer to this one.
        Cause::Declined(_) | Cause::TooLarge { .. } | Cause::NoSmtpUtf8 => Health::Unknown,
    })
}

fn verdict(error: &SessionError) -> Failure {
    let reason = error.reason();
    match (&error.cause, error.phase) {
        (Cause::TooLarge { .. }, _) => Failure::permanent("too_large", reason),
        (Cause::NoSmtpUtf8, _) => Failure::permanent("smtputf8", reason),
        (cause, Phase::Connect | Phase::TlsHandshake | Phase::Greeting | Phase::Ehlo) => {
            before_mail(cause, error.phase, reason)
        }
        (cause, Phase::StartTls | Phase::Auth) => before_mail(cause, error.phase, reason),
        (Cause::Reply(reply), phase) => refused(reply, phase, reason),
        (_, Phase::Dot) => Failure::temporary(UNCERTAIN, reason),
        (Cause::Io(err), _) if err.kind() == io::ErrorKind::TimedOut => {
            Failure::temporary("timeout", reason)
        }
        (Cause::Io(_), _) => Failure::temporary("disconnected", reason),
        (Cause::Malformed(_) | Cause::Declined(_), _) => Failure::temporary("protocol", reason),
    }
}

fn before_mail(cause: &Cause, phase: Phase, reason: String) -> Failure {
    let passing = match cause {
        Cause::Reply(reply) => reply.class() == 4,
        Cause::Io(err) => !is_tls(err),
        _ => false,
    };
    let (code, pause) = match phase {
        Phase::StartTls | Phase::TlsHandshake if passing => ("relay_tls", UNAVAILABLE_PAUSE),
        Phase::StartTls | Phase::TlsHandshake => ("relay_tls", SETTINGS_PAUSE),
        _ if passing => ("relay_unavailable", UNAVAILABLE_PAUSE),
        Phase::Auth => (RELAY_AUTH, AUTH_PAUSE),
        _ if matches!(cause, Cause::Malformed(_)) => ("relay_unavailable", UNAVAILABLE_PAUSE),
        _ => ("relay_blocked", SETTINGS_PAUSE),
    };
    blocked(code, pause, reason)
}

/// Whether rustls rejected the peer, rather than the network.
fn is_tls(err: &io::Error) -> bool {
    err.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

fn blocked(code: &str, pause: Duration, reason: String) -> Failure {
    Failure::blocked(code, reason).with_retry_after(Some(pause))
}

/// A reply in the course of a transaction.
fn refused(reply: &Reply, phase: Phase, reason: String) -> Failure {
    let code = reply.code.to_string();
    let temporary = |wait| Failure::temporary(&code, &reason).with_retry_after(wait);
    match (reply.class(), reply.code, reply.enhanced()) {
        // Neither yes nor no: after the dot the message may have been taken.
        (2 | 3, ..) if phase == Phase::Dot => Failure::temporary(UNCERTAIN, reason),
        (2 | 3, ..) => Failure::temporary("protocol", reason),
        (4, ..) => temporary(hinted_wait(&reply.text())),
        // Out of step: the session is at fault, not the message. Too fast: neither.
        (_, 503, _) => temporary(None),
        (_, 550 | 554, None | Some((7, 0))) if is_rate_limit(reply) => {
            temporary(hinted_wait(&reply.text()))
        }
        // Too many recipients (RFC 5321, 4.5.3.1.10); a full mailbox.
        (_, 552, None) | (_, _, Some((5, 3))) if phase == Phase::Rcpt => temporary(None),
        (_, _, Some((2, 2))) if phase != Phase::Mail => temporary(None),
        (_, 530, _) => blocked(RELAY_AUTH, AUTH_PAUSE, reason),
        (..) if phase == Phase::Mail && !is_about_the_message(reply) => {
            blocked(RELAY_POLICY, SETTINGS_PAUSE, reason)
        }
        _ if phase == Phase::Rcpt && is_about_the_address(reply) => {
            Failure::bad_address(code, reason)
        }
        _ => Failure::permanent(code, reason),
    }
}

/// Whether a refused RCPT TO means that there is no such mailbox or domain, or none that takes
/// mail (RFC 3463, 3.2 and 3.3; RFC 7504, 7505). Nothing less certain may silence an address.
fn is_about_the_address(reply: &Reply) -> bool {
    match reply.enhanced() {
        Some(enhanced) => matches!(enhanced, (1, 1 | 2 | 3 | 6 | 10) | (2, 1)),
        None => matches!(reply.code, 521 | 556),
    }
}

/// Whether a refused MAIL FROM is about this message's size or addresses, not our sender.
fn is_about_the_message(reply: &Reply) -> bool {
    match reply.enhanced() {
        Some(enhanced) => matches!(enhanced, (3, 4) | (2, 3) | (6, 7)),
        None => matches!(reply.code, 523 | 552),
    }
}

/// Relays that refuse for good what they mean for now.
fn is_rate_limit(reply: &Reply) -> bool {
    const PHRASES: [&str; 6] = [
        "too many emails per",
        "too many messages per",
        "rate limit",
        "sending rate",
        "try again",
        "throttl",
    ];
    let text = reply.text().to_lowercase();
    PHRASES.iter().any(|phrase| text.contains(phrase))
}

/// The wait in a text such as "greylisted, come back in 5 minutes".
fn hinted_wait(text: &str) -> Option<Duration> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    words.windows(2).find_map(|pair| {
        let count: u32 = pair[0].parse().ok()?;
        let unit = match pair[1] {
            "s" | "sec" | "secs" | "second" | "seconds" => Duration::from_secs(1),
            "m" | "min" | "mins" | "minute" | "minutes" => Duration::from_mins(1),
            _ => return None,
        };
        Some(unit.saturating_mul(count).clamp(HINT_RANGE.0, HINT_RANGE.1))
    })
}

#[cfg(test)]
mod tests;
