//! Authentication (RFC 4954): PLAIN, LOGIN and XOAUTH2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::classify::{Cause, Phase, SessionError};
use super::reply::Reply;
use super::wire::Wire;
use crate::config::{Secret, SmtpAuth};

/// Longest command line, without its end (RFC 5321, 4.5.3.1.4).
const COMMAND_MAX: usize = 510;
/// Most challenges that are answered.
const ROUNDS_MAX: usize = 4;

/// User name and password, or token.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: Secret,
    pub(super) auth: SmtpAuth,
}

/// What we can do, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Login,
    /// The password is an access token.
    Xoauth2,
}

impl Mechanism {
    /// Those that the setting allows.
    fn allowed(auth: SmtpAuth) -> &'static [Self] {
        match auth {
            SmtpAuth::Any => &[Self::Plain, Self::Login, Self::Xoauth2],
            SmtpAuth::Plain => &[Self::Plain],
            SmtpAuth::Login => &[Self::Login],
            SmtpAuth::Xoauth2 => &[Self::Xoauth2],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Xoauth2 => "XOAUTH2",
        }
    }

    /// What the server gets to see, in order.
    fn responses(self, credentials: &Credentials) -> Vec<String> {
        let (user, password) = (&credentials.username, credentials.password.expose());
        match self {
            Self::Plain => vec![STANDARD.encode(format!("\0{user}\0{password}"))],
            Self::Login => vec![STANDARD.encode(user), STANDARD.encode(password)],
            Self::Xoauth2 => {
                vec![STANDARD.encode(format!("user={user}\x01auth=Bearer {password}\x01\x01"))]
            }
        }
    }
}

/// Authenticates by the first mechanism that is allowed and offered; others are ignored.
pub(super) fn authenticate(
    wire: &mut Wire,
    offered: &[String],
    credentials: &Credentials,
) -> Result<(), SessionError> {
    let offer = if offered.is_empty() { "nothing".into() } else { offered.join(" ") };
    if !wire.keeps_secrets() {
        let why = "credentials are not sent without TLS; set smtp.tls to required or implicit";
        return Err(Cause::Declined(why.into()).at(Phase::Auth));
    }
    let is_offered = |it: &Mechanism| offered.iter().any(|name| name == it.name());
    let allowed = Mechanism::allowed(credentials.auth);
    let Some(mechanism) = allowed.iter().copied().find(is_offered) else {
        let ours: Vec<_> = allowed.iter().map(|it| it.name()).collect();
        let ours = ours.join(" or ");
        let why = format!("smtp.username and smtp.auth need {ours}; the relay offers {offer}");
        return Err(Cause::Declined(why).at(Phase::Auth));
    };
    let responses = mechanism.responses(credentials);
    let reply = converse(wire, mechanism, &responses)?;
    if reply.class() == 2 {
        return Ok(());
    }
    let reply = without_secrets(reply, credentials, &responses);
    let note = format!("by {}; offered: {offer}", mechanism.name());
    Err(Cause::Reply(reply).at(Phase::Auth).with_note(note))
}

/// Says what there is to say until the server has decided.
fn converse(
    wire: &mut Wire,
    mechanism: Mechanism,
    responses: &[String],
) -> Result<Reply, SessionError> {
    let mut command = format!("AUTH {}", mechanism.name());
    let mut responses = responses.iter();
    // LOGIN has no initial response, and a long one has no room on the line.
    if mechanism != Mechanism::Login
        && let Some(first) = responses.as_slice().first()
        && command.len() + 1 + first.len() <= COMMAND_MAX
    {
        responses.next();
        command = format!("{command} {first}");
    }
    let mut reply = wire.ask(Phase::Auth, &command)?;
    for _ in 0..ROUNDS_MAX {
        if reply.code != 334 {
            break;
        }
        // A challenge when all is said precedes a refusal; XOAUTH2 puts its error in there.
        reply = wire.ask(Phase::Auth, responses.next().map_or("", String::as_str))?;
    }
    Ok(reply)
}

/// The reply, should the server have repeated what it must not.
fn without_secrets(mut reply: Reply, credentials: &Credentials, responses: &[String]) -> Reply {
    let secrets = responses.iter().map(String::as_str).chain([credentials.password.expose()]);
    for secret in secrets {
        for line in &mut reply.lines {
            *line = line.replace(secret, "<secret>");
        }
    }
    reply
}
