//! `smtp.*`: what e-mail needs to know, and what must hold of it.

use std::path::PathBuf;
use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;

use super::error::Faults;
use super::{RetryConfig, Secret, check};

/// How an SMTP session is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS from the first octet (RFC 8314, 3.3).
    Implicit,
    /// STARTTLS or no delivery (RFC 3207).
    Required,
    /// STARTTLS where offered; credentials still never in clear.
    Opportunistic,
    /// No TLS.
    None,
}

/// What becomes of a message that the relay may or may not have taken: it did not answer the
/// final dot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUncertain {
    /// It is sent again, and may arrive twice.
    #[default]
    Retry,
    /// It waits for an operator, and may not arrive.
    Hold,
}

/// What becomes of a message when the relay refuses our user name or password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnAuthFailure {
    /// It waits, at no cost of an attempt, until an operator has mended it.
    #[default]
    Pause,
    /// It ends.
    Fail,
}

/// How a user authenticates (RFC 4954).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SmtpAuth {
    /// The first of the others that the relay offers too, in their order here.
    #[default]
    Any,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN, which some relays have alone.
    Login,
    /// XOAUTH2; the password is an access token.
    Xoauth2,
}

/// `smtp.*`
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// Relay; `None`: e-mail is not set up, and its messages are held.
    pub host: Option<String>,
    /// 587 where not set.
    pub port: u16,
    /// `None`: implicit on port 465, else required.
    pub tls: Option<SmtpTls>,
    /// Sender, `Name <address>` or an address.
    pub from: Option<String>,
    /// Address that bounces go to, in the envelope; `None`: that of `from`.
    pub bounces_to: Option<String>,
    /// How `username` and `password` are shown to the relay.
    pub auth: SmtpAuth,
    /// User name; `None`: no authentication.
    pub username: Option<String>,
    /// Password, already read from `password_file` where that is set.
    pub password: Option<Secret>,
    /// File that the password was read from.
    pub password_file: Option<PathBuf>,
    /// Name for EHLO; `None`: the host's name, else an address literal.
    pub hello: Option<String>,
    /// Certificate authorities (PEM) that replace the public ones.
    pub ca_file: Option<PathBuf>,
    /// Client certificate (PEM).
    pub cert_file: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    pub key_file: Option<PathBuf>,
    /// Name that the relay's certificate must have; `None`: `host`.
    pub server_name: Option<String>,
    /// How long the reply to the final dot is waited for, even past the dispatch timeout;
    /// `None`: half of what a lease leaves beyond that one.
    pub final_reply_timeout: Option<Duration>,
    /// What becomes of a message whose final dot was not answered.
    pub on_uncertain: OnUncertain,
    /// What becomes of a message when the relay refuses our user name or password.
    pub on_auth_failure: OnAuthFailure,
    /// Texts of refusals for good that the relay means for now, beside those that are known.
    pub transient_replies: Option<Vec<String>>,
    /// Signature of our own.
    pub dkim: DkimConfig,
    /// Overrides `retry` for e-mail.
    pub retry: RetryConfig,
}

/// `smtp.dkim.*`: all of them, or none.
#[derive(Debug, Clone, Default)]
pub struct DkimConfig {
    /// Domain that the signature speaks for, best that of the sender.
    pub domain: Option<String>,
    /// Name below `_domainkey.` where DNS has the public key.
    pub selector: Option<String>,
    /// Private key (PEM), RSA or Ed25519.
    pub key_file: Option<PathBuf>,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: 587,
            tls: None,
            from: None,
            bounces_to: None,
            auth: SmtpAuth::Any,
            username: None,
            password: None,
            password_file: None,
            hello: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name: None,
            final_reply_timeout: None,
            on_uncertain: OnUncertain::Retry,
            on_auth_failure: OnAuthFailure::Pause,
            transient_replies: None,
            dkim: DkimConfig::default(),
            retry: RetryConfig::default(),
        }
    }
}

impl SmtpConfig {
    /// The mode in force: implicit on port 465 and required elsewhere, unless set.
    pub fn tls_mode(&self) -> SmtpTls {
        self.tls.unwrap_or(if self.port == 465 { SmtpTls::Implicit } else { SmtpTls::Required })
    }
}

impl SmtpConfig {
    pub(super) fn check(&self, faults: &mut Faults) {
        self.check_relay(faults);
        self.check_sender(faults);
        self.check_bounces(faults);
        self.check_login(faults);
        check::file(faults, "smtp.ca_file", self.ca_file.as_deref());
        check::file(faults, "smtp.cert_file", self.cert_file.as_deref());
        check::file(faults, "smtp.key_file", self.key_file.as_deref());
        check::file(faults, "smtp.dkim.key_file", self.dkim.key_file.as_deref());
        let DkimConfig { domain, selector, key_file } = &self.dkim;
        let given = [domain.is_some(), selector.is_some(), key_file.is_some()];
        faults.require(
            given == [given[0]; 3],
            &["smtp.dkim.domain", "smtp.dkim.selector", "smtp.dkim.key_file"],
            "smtp.dkim.domain, smtp.dkim.selector and smtp.dkim.key_file belong together; set all or none",
        );
        faults.require(
            self.cert_file.is_some() == self.key_file.is_some(),
            &["smtp.cert_file", "smtp.key_file"],
            "smtp.cert_file and smtp.key_file belong together; set both or neither",
        );
    }

    fn check_relay(&self, faults: &mut Faults) {
        faults.require(self.port != 0, &["smtp.port"], "smtp.port: 0 is no port; 587 is usual");
        let Some(host) = &self.host else { return };
        let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
        faults.require(
            is_address || !host.contains([':', '[', ']', '/', '@']),
            &["smtp.host"],
            format!(
                "smtp.host: {host:?} is not a host alone; put a port in smtp.port, and write an \
                 IPv6 address without brackets"
            ),
        );
        faults.require(
            !host.contains(char::is_whitespace),
            &["smtp.host"],
            format!("smtp.host: {host:?} has blanks; remove them"),
        );
    }

    fn check_sender(&self, faults: &mut Faults) {
        match &self.from {
            Some(from) => faults.require(
                from.parse::<Mailbox>().is_ok(),
                &["smtp.from"],
                format!("smtp.from: {from:?} is not a sender; write Name <address> or an address"),
            ),
            None => faults.require(
                self.host.is_none(),
                &["smtp.from", "smtp.host"],
                "smtp.from: not set, but smtp.host is; give the sender's address",
            ),
        }
    }

    fn check_bounces(&self, faults: &mut Faults) {
        let Some(address) = &self.bounces_to else { return };
        faults.require(
            address.parse::<Address>().is_ok(),
            &["smtp.bounces_to"],
            format!("smtp.bounces_to: {address:?} is not an address, such as bounces@example.com"),
        );
    }

    fn check_login(&self, faults: &mut Faults) {
        let keys = ["smtp.username", "smtp.password"];
        faults.require(
            self.username.is_none() || self.password.is_some(),
            &keys,
            "smtp.username is set, but no password; set smtp.password or smtp.password_file",
        );
        faults.require(
            self.host.is_none() || self.password.is_none() || self.username.is_some(),
            &keys,
            "smtp.password is set, but no user name; set smtp.username",
        );
        faults.require(
            self.username.is_none() || self.tls_mode() != SmtpTls::None,
            &["smtp.tls", "smtp.username"],
            "smtp.tls is none, and smtp.username is set: the password would be sent in clear; \
             set smtp.tls to required, or remove smtp.username",
        );
    }
}
