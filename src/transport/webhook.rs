//! The webhook transport: one signed POST per attempt, after Standard Webhooks 1.0.0.
//!
//! # Invariants
//!
//! - The octets that are signed are the octets that are sent.
//! - `webhook-id` is the message's id, on every attempt and every repeat.
//! - A connection is dialled to an address that was vetted, or not at all.
//! - Nothing of a URL but scheme, host and port reaches a [`Failure`].
//!
//! Whether a message is tried again is not decided here; see `retry`.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

use ureq::http::Response;
use ureq::{Body, Proxy, SendBody};
use url::Url;

use crate::clock::{self, Clock, Skew};
use crate::config::{Secret, WebhookConfig};
use crate::message::Prepared;
use crate::outcome::{Failure, Receipt};
use crate::transport::{Deadline, Transport};

mod agent;
mod body;
mod classify;
mod dns;
mod endpoint;
mod guard;
mod pools;
mod reach;
mod retry_after;
mod sign;
mod tls;
mod trouble;

#[cfg(test)]
mod tests;

use self::classify::Class;
use self::dns::{Dns, Lookup};
use self::endpoint::Endpoint;
use self::guard::Guard;
use self::pools::Pools;
use self::reach::Reach;
use self::sign::Signer;
use self::trouble::Progress;

pub use self::endpoint::BadEndpoint;
pub use self::guard::BadNetwork;
pub use self::sign::BadSecret;
pub use self::tls::BadCaFile;

/// Most of a response's body that is read: enough for any answer that means something, so that
/// its connection can be used again.
const BODY_MAX: u64 = 64 << 10;

/// Delivers messages by HTTP POST. One for all threads; it owns the connections.
pub struct Webhook {
    pools: Pools,
    reach: Arc<Reach>,
    /// URL for messages that name none.
    default: Option<Endpoint>,
    signer: Option<Signer>,
    proxied: bool,
    clock: Clock,
}

impl Webhook {
    /// Checks the settings, reads the certificate file and starts the resolver's threads.
    ///
    /// With a proxy, names are still resolved and vetted here; but the proxy resolves them again,
    /// so what it may reach is in the end its own affair. `webhook.allow_private = true` leaves
    /// it all to the proxy, also the resolving.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used, by its name.
    pub fn new(config: &WebhookConfig) -> Result<Self, WebhookSetupError> {
        Self::with_lookup(config, dns::system_lookup)
    }

    fn with_lookup(config: &WebhookConfig, lookup: impl Lookup) -> Result<Self, WebhookSetupError> {
        let default = config.endpoint.as_deref().map(Endpoint::parse).transpose();
        let default = default.map_err(WebhookSetupError::Endpoint)?;
        let signer = config.secret.as_ref().map(Signer::new).transpose()?;
        let guard = Guard::new(&config.allow_private)?;
        let tls = tls::client_config(config.ca_file.as_deref())?;
        let proxy = config.proxy.as_ref().map(proxy).transpose()?;
        let proxied = proxy.is_some();
        let dns = Arc::new(Dns::start(lookup).map_err(WebhookSetupError::Threads)?);
        let reach = Arc::new(Reach { dns: Arc::clone(&dns), guard });
        // The proxy is the operator's own choice, and often on a private address.
        let dialled =
            if proxied { Arc::new(Reach { dns, guard: Guard::Open }) } else { Arc::clone(&reach) };
        let parts = agent::Parts { reach: dialled, tls, proxy };
        let main = default.as_ref().map(|endpoint| &endpoint.uri);
        let pools = Pools::new(main, |idle_max| agent::build(&parts, idle_max));
        Ok(Self { pools, reach, default, signer, proxied, clock: Clock::default() })
    }

    /// Goes by what is known of this machine's clock: a signature holds its time, and one of a
    /// wrong clock would be refused, attempt after attempt.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    fn check_clock(&self) -> Result<(), Failure> {
        match self.clock.skew() {
            Skew::Off(ahead_ms) if self.signer.is_some() => {
                let by = clock::in_words(ahead_ms);
                let reason = format!("not signed: this machine's clock is {by}; set it by NTP");
                Err(Failure::blocked("clock", reason))
            }
            _ => Ok(()),
        }
    }

    fn endpoint(&self, message: &Prepared) -> Result<Cow<'_, Endpoint>, Failure> {
        match (&message.endpoint, &self.default) {
            (Some(text), _) => Endpoint::parse(text)
                .map(Cow::Owned)
                .map_err(|error| Failure::permanent("bad_url", error.to_string())),
            (None, Some(default)) => Ok(Cow::Borrowed(default)),
            (None, None) => Err(Failure::blocked(
                "endpoint_missing",
                "neither the message nor its template names an endpoint; set webhook.endpoint",
            )),
        }
    }

    /// Vets the target of a request that a proxy will make.
    fn vet_proxied(&self, endpoint: &Endpoint, deadline: Deadline) -> Result<(), Failure> {
        if !self.proxied || matches!(self.reach.guard, Guard::Open) {
            return Ok(());
        }
        let limit = deadline.at_most(agent::CONNECT_LIMIT);
        let addresses = self.reach.addresses(endpoint.host(), limit);
        addresses.map(drop).map_err(|error| trouble::unreachable(&error, &endpoint.origin()))
    }

    /// Sends the request. Takes from `unsent` what it hands to the connection.
    fn post(
        &self,
        endpoint: &Endpoint,
        message: &Prepared,
        unsent: &mut &[u8],
        deadline: Deadline,
    ) -> Result<Response<Body>, ureq::Error> {
        let id = message.id.to_string();
        let timestamp = unix_seconds(SystemTime::now()).to_string();
        let mut request = self
            .pools
            .agent(&endpoint.uri)
            .post(endpoint.uri.clone())
            .header("content-type", "application/json")
            .header("content-length", unsent.len())
            .header("x-message-id", &id)
            .header("idempotency-key", &id)
            .header("webhook-id", &id)
            .header("webhook-timestamp", &timestamp);
        if let Some(signer) = &self.signer {
            request =
                request.header("webhook-signature", signer.signatures(&id, &timestamp, unsent));
        }
        let left = deadline.remaining().ok_or(ureq::Error::Timeout(ureq::Timeout::Global))?;
        let request = request.config().timeout_global(Some(left)).build();
        request.send(SendBody::from_reader(unsent))
    }
}

impl Transport for Webhook {
    fn deliver(&self, message: &Prepared, deadline: Deadline) -> Result<Receipt, Failure> {
        self.check_clock()?;
        let endpoint = self.endpoint(message)?;
        let body = body::encode(message)?;
        self.vet_proxied(&endpoint, deadline)?;
        let mut unsent = body.as_slice();
        let answer = self.post(&endpoint, message, &mut unsent, deadline);
        let response = answer.map_err(|error| {
            let progress = Progress { sent: unsent.is_empty(), proxied: self.proxied };
            trouble::explain(&error, &endpoint.origin(), progress)
        })?;
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        if classify::class(status) == Class::Sent {
            read(body, &mut io::sink());
            return Ok(Receipt { code: Some(status.to_string()), ..Receipt::default() });
        }
        let mut text = Vec::new();
        read(body, &mut text);
        Err(classify::refusal(&endpoint, status, &head.headers, &text, SystemTime::now()))
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = self.default.as_ref().map(Endpoint::origin);
        f.debug_struct("Webhook").field("endpoint", &default).finish_non_exhaustive()
    }
}

/// Reads a body for as long as size and time allow. The status has decided already, so a body
/// that breaks off or never ends is no error.
fn read(body: Body, into: &mut impl io::Write) {
    let _ = io::copy(&mut body.into_reader().take(BODY_MAX), into);
}

fn unix_seconds(now: SystemTime) -> u64 {
    // A clock before 1970 makes a timestamp that receivers refuse, as they should.
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn proxy(text: &Secret) -> Result<Proxy, WebhookSetupError> {
    let text = text.expose().trim();
    let web = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !web {
        return Err(WebhookSetupError::Proxy);
    }
    Proxy::new(text).map_err(|_| WebhookSetupError::Proxy)
}

/// A setting of the webhook transport that cannot be used. Shows no secret.
#[derive(Debug, thiserror::Error)]
pub enum WebhookSetupError {
    /// The default URL.
    #[error("webhook.endpoint: {0}")]
    Endpoint(#[source] BadEndpoint),
    /// The signing secret.
    #[error("webhook.secret: {0}")]
    Secret(#[from] BadSecret),
    /// A permitted network.
    #[error("webhook.allow_private: {0}")]
    AllowPrivate(#[from] BadNetwork),
    /// The additional certificate authorities.
    #[error("webhook.ca_file: {0}")]
    CaFile(#[from] BadCaFile),
    /// The proxy's URL. It may hold a password, so it is not shown.
    #[error("webhook.proxy: must be a URL like http://proxy.example.com:3128")]
    Proxy,
    /// The operating system has no threads left for us.
    #[error("start the threads that resolve names: {0}")]
    Threads(#[source] io::Error),
}
