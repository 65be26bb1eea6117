//! E-mail by SMTP (RFC 5321): one relay, connections that are reused, one recipient a message.
//!
//! ```text
//!   Prepared ─▶ mail ─▶ pool ─▶ session ─▶ classify ─▶ Receipt or Failure
//!               MIME    idle    wire,      phase and
//!               headers ones    reply      reply
//! ```
//!
//! # Invariants
//!
//! - A mail is complete before a connection is touched.
//! - Every wait ends by the delivery's deadline, but for the reply to the final dot, which has a
//!   limit of its own; every reply is bounded while it is read.
//! - Nothing heard in clear is believed after STARTTLS, and no credential is sent in clear.
//! - A message is sent again within one delivery only if the relay cannot have seen its body.

use std::time::Duration;

use crate::config::{BrandingConfig, OnAuthFailure, OnUncertain, SmtpConfig};
use crate::message::{MessageId, Prepared};
use crate::outcome::{Failure, REASON_MAX, Receipt, Verdict, storable};
use crate::transport::{Deadline, Trace, Transport};

mod address;
mod auth;
mod classify;
mod dkim;
mod header;
mod mail;
mod offers;
mod pool;
mod quoted;
mod relay;
mod reply;
mod resolve;
#[doc(hidden)]
pub mod seams;
mod session;
mod stream;
mod wire;

use self::classify::{Phase, RELAY_AUTH, SessionError, UNCERTAIN, classify};
use self::dkim::Signer;
use self::mail::Mail;
use self::pool::Pool;
use self::relay::Relay;
pub use self::relay::SmtpSetupError;
use self::reply::Reply;
use self::session::Session;

/// Longest text of the relay that a receipt keeps, in octets.
const DETAIL_MAX: usize = 512;

/// Carries messages to an SMTP relay.
pub struct Smtp {
    relay: Relay,
    branding: BrandingConfig,
    signer: Option<Signer>,
    pool: Pool,
    final_reply_timeout: Duration,
    on_uncertain: OnUncertain,
    on_auth_failure: OnAuthFailure,
    /// In lower case.
    transient_replies: Vec<String>,
}

impl Smtp {
    /// Checks the settings and reads the files that they name. Does not connect.
    ///
    /// # Errors
    ///
    /// The first setting that cannot work; to be mended by the operator.
    pub fn new(config: &SmtpConfig, branding: &BrandingConfig) -> Result<Self, SmtpSetupError> {
        let relay = Relay::new(config)?;
        Ok(Self {
            relay,
            branding: branding.clone(),
            signer: Signer::new(&config.dkim)?,
            pool: Pool::default(),
            final_reply_timeout: config.final_reply_timeout.unwrap_or_default(),
            on_uncertain: config.on_uncertain,
            on_auth_failure: config.on_auth_failure,
            transient_replies: config
                .transient_replies
                .iter()
                .flatten()
                .map(|text| text.to_lowercase())
                .collect(),
        })
    }

    /// Sets how long the reply to the final dot is waited for, even past the deadline of a
    /// delivery; where neither this nor the setting says so, not past it.
    #[must_use]
    pub fn with_final_reply_timeout(mut self, limit: Duration) -> Self {
        self.final_reply_timeout = limit;
        self
    }

    /// Tells `trace` what sessions do.
    #[must_use]
    pub fn traced(mut self, trace: &Trace) -> Self {
        self.relay.trace = trace.clone();
        self
    }

    /// What the operator makes of a failure.
    fn settle(&self, id: MessageId, failure: Failure) -> Failure {
        let Failure { verdict, code, reason, destination } = &failure;
        if self.on_uncertain == OnUncertain::Hold && code == UNCERTAIN {
            return held(id, reason).telling(*destination);
        }
        if self.on_auth_failure == OnAuthFailure::Fail && code == RELAY_AUTH {
            // An answer: messages shall fail, not wait for a better one.
            return Failure::permanent(code, reason).answered();
        }
        let is_final = matches!(verdict, Verdict::Permanent | Verdict::BadAddress);
        if is_final && code.starts_with('5') {
            let said = reason.to_lowercase();
            if self.transient_replies.iter().any(|text| said.contains(text)) {
                return Failure::temporary(code, reason).telling(*destination);
            }
        }
        failure
    }

    #[cfg(test)]
    fn pool_is_empty(&self) -> bool {
        self.pool.is_empty()
    }

    /// Sends on an idle connection, else on a new one.
    fn send(&self, mail: &Mail, deadline: Deadline) -> Result<Reply, Failure> {
        if deadline.remaining().is_none() {
            return Err(Failure::temporary("timeout", "building the mail took all of the time"));
        }
        if let Some(mut session) = self.pool.take() {
            let result = session.send(mail, deadline, self.final_reply_timeout);
            if !result.as_ref().is_err_and(|err| is_stale(err, &session)) {
                self.pool.put(session);
                return result.map_err(|err| classify(&err));
            }
            // The relay dropped the connection while it was idle, which is nobody's fault.
        }
        let mut session = Session::open(&self.relay, deadline).map_err(|err| classify(&err))?;
        let result = session.send(mail, deadline, self.final_reply_timeout);
        self.pool.put(session);
        result.map_err(|err| classify(&err))
    }
}

/// Whether an idle connection turned out dead before the relay took note of the message.
fn is_stale(err: &SessionError, session: &Session) -> bool {
    err.phase <= Phase::Mail && !session.is_reusable()
}

impl Transport for Smtp {
    fn deliver(&self, message: &Prepared, deadline: Deadline) -> Result<Receipt, Failure> {
        let mail = Mail::render(message, &self.branding, &self.relay.sender, self.signer.as_ref())?;
        if deadline.remaining().is_none() {
            // Not for want of a connection, so it counts.
            return Err(Failure::temporary(
                "timeout",
                "the time was over before the mail was made",
            ));
        }
        let reply =
            self.send(&mail, deadline).map_err(|failure| self.settle(message.id, failure))?;
        Ok(Receipt {
            code: Some(reply.code.to_string()),
            detail: Some(storable(&reply.text(), DETAIL_MAX)),
            inbox: None,
        })
    }

    fn destination(&self, _: Option<&str>) -> Option<String> {
        Some(format!("smtp://{}:{}", self.relay.host, self.relay.port))
    }

    fn overtime(&self) -> Duration {
        self.final_reply_timeout
    }
}

/// A failure of which only a person can say whether trying again makes a copy.
fn held(id: MessageId, reason: &str) -> Failure {
    let release = format!(
        "; held, as it may have arrived: `postrider message retry {id}` sends it again, \
         `postrider message cancel {id}` ends it"
    );
    let reason = storable(reason, REASON_MAX - release.len());
    Failure::held(UNCERTAIN, reason + &release)
}

#[cfg(test)]
mod tests;
