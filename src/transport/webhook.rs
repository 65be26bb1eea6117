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

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ureq::http::Response;
use ureq::{Body, SendBody};

use crate::clock::{self, Clock, Skew};
use crate::config::{BrandingConfig, WebhookConfig};
use crate::message::Prepared;
use crate::outcome::{Failure, Receipt};
use crate::transport::dns::{self, Dns, Lookup};
use crate::transport::{Deadline, Trace, Transport};
use crate::vault::Vault;

mod agent;
mod body;
mod classify;
mod clients;
mod endpoint;
mod guard;
pub mod keep;
mod pools;
mod reach;
mod retry_after;
#[doc(hidden)]
pub mod seams;
mod secured;
mod setup;
mod sign;
mod target;
mod tcp;
mod tls;
mod transcript;
mod trouble;

#[cfg(test)]
mod tests;

use self::body::Encoded;
use self::classify::Class;
use self::clients::Clients;
use self::endpoint::Endpoint;
use self::guard::Guard;
use self::pools::Client;
use self::reach::Reach;
use self::sign::Signer;
use self::target::{Target, Targets};
use self::trouble::Progress;

pub use self::endpoint::BadEndpoint;
pub use self::guard::BadNetwork;
pub use self::setup::WebhookSetupError;
pub use self::sign::BadSecret;
pub use self::target::EndpointFault;
pub use self::tls::{BadCaFile, BadPem};

/// Most of a response's body that is read: enough for any answer that means something, so that
/// its connection can be used again.
const BODY_MAX: u64 = 64 << 10;

/// Delivers messages by HTTP POST. One for all threads; it owns the connections.
pub struct Webhook {
    clients: Clients,
    reach: Arc<Reach>,
    /// For messages that name no endpoint.
    default: Option<Arc<Target>>,
    signer: Option<Arc<Signer>>,
    targets: Targets,
    vault: Vault,
    branding: BrandingConfig,
    proxied: bool,
    trace: Trace,
    clock: Clock,
}

impl Webhook {
    /// Checks the settings and reads the certificate file.
    ///
    /// With a proxy, names are still resolved and vetted here; but the proxy resolves them again,
    /// so what it may reach is in the end its own affair. `webhook.allow_private = true` leaves
    /// it all to the proxy, also the resolving.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used, by its name.
    pub fn new(config: &WebhookConfig) -> Result<Self, WebhookSetupError> {
        Self::traced(config, &Trace::default())
    }

    /// The same, which tells `trace` what it does.
    ///
    /// # Errors
    ///
    /// As for [`Webhook::new`].
    pub fn traced(config: &WebhookConfig, trace: &Trace) -> Result<Self, WebhookSetupError> {
        Self::build(config, dns::system_lookup, trace)
    }

    #[cfg(test)]
    fn with_lookup(config: &WebhookConfig, lookup: impl Lookup) -> Result<Self, WebhookSetupError> {
        Self::build(config, lookup, &Trace::default())
    }

    fn build(
        config: &WebhookConfig,
        lookup: impl Lookup,
        trace: &Trace,
    ) -> Result<Self, WebhookSetupError> {
        let default = config.endpoint.as_deref().map(Endpoint::parse).transpose();
        let default = default.map_err(WebhookSetupError::Endpoint)?;
        let signer = config.secret.as_ref().map(Signer::new).transpose()?.map(Arc::new);
        let guard = Guard::new(&config.allow_private)?;
        let roots = tls::roots(config.ca_file.as_deref())?;
        let proxy = config.proxy.as_ref().map(setup::proxy).transpose()?;
        let proxied = proxy.is_some();
        let dns = Arc::new(Dns::new(lookup));
        let reach = Arc::new(Reach { dns: Arc::clone(&dns), guard });
        // The proxy is the operator's own choice, and often on a private address.
        let dialled =
            if proxied { Arc::new(Reach { dns, guard: Guard::Open }) } else { Arc::clone(&reach) };
        let parts = agent::Parts::new(dialled, proxy, trace.clone());
        let clients = Clients::new(parts, roots, default.as_ref().map(|endpoint| &endpoint.uri));
        let vault = Vault::new(config.encryption_key.as_ref())?;
        let default = default.map(|endpoint| Arc::new(Target::plain(endpoint, signer.clone())));
        let (targets, branding) = (Targets::default(), BrandingConfig::default());
        Ok(Self {
            clients,
            reach,
            default,
            signer,
            targets,
            vault,
            branding,
            proxied,
            trace: trace.clone(),
            clock: Clock::default(),
        })
    }

    /// Goes by what is known of this machine's clock: signatures hold the time, and wrong ones are refused.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    fn check_clock(&self, target: &Target) -> Result<(), Failure> {
        match self.clock.skew() {
            Skew::Off(ahead_ms) if target.signer.is_some() => {
                let by = clock::in_words(ahead_ms);
                let reason = format!("not signed: this machine's clock is {by}; set it by NTP");
                Err(Failure::blocked("clock", reason))
            }
            _ => Ok(()),
        }
    }

    /// Sets what the templates of endpoints say about the sender.
    #[must_use]
    pub fn with_branding(self, branding: &BrandingConfig) -> Self {
        Self { branding: branding.clone(), ..self }
    }

    fn target(&self, message: &Prepared) -> Result<Arc<Target>, Failure> {
        if let Some(settings) = &message.endpoint_settings {
            let build = || Target::new(settings, &self.vault, self.signer.as_ref());
            let target = self.targets.get(settings, build);
            return target.map_err(|fault| fault.failure(&settings.name));
        }
        match (&message.endpoint, &self.default) {
            (Some(text), _) => Endpoint::parse(text)
                .map(|endpoint| Arc::new(Target::plain(endpoint, self.signer.clone())))
                .map_err(|error| Failure::permanent("bad_url", error.to_string())),
            (None, Some(default)) => Ok(Arc::clone(default)),
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
        client: &Client<'_>,
        target: &Target,
        message: &Prepared,
        (content_type, unsent): (&str, &mut &[u8]),
        deadline: Deadline,
    ) -> Result<Response<Body>, ureq::Error> {
        let id = message.id.to_string();
        // A clock before 1970 makes a timestamp that receivers refuse, as they should.
        let timestamp = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let mut request = client
            .post(target.endpoint.uri.clone())
            .header("content-type", content_type)
            .header("content-length", unsent.len())
            .header("x-message-id", &id)
            .header("idempotency-key", &id)
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp);
        if let Some(signer) = &target.signer {
            request =
                request.header("webhook-signature", signer.signatures(&id, timestamp, unsent));
        }
        for (name, value) in &target.headers {
            request = request.header(name, value);
        }
        let shown =
            transcript::request(&self.trace, &target.endpoint, request.headers_ref(), unsent);
        let left = deadline.remaining().ok_or(ureq::Error::Timeout(ureq::Timeout::Global))?;
        let request = request.config().timeout_global(Some(left)).build();
        let answer = request.send(SendBody::from_reader(unsent));
        // Not earlier, so that it stands behind the steps that made the connection.
        if unsent.is_empty() {
            for (step, what) in shown {
                self.trace.note(step, || what);
            }
        }
        answer
    }
}

impl Transport for Webhook {
    fn deliver(&self, message: &Prepared, deadline: Deadline) -> Result<Receipt, Failure> {
        let target = self.target(message)?;
        self.check_clock(&target)?;
        let mut pass = target.gate.enter(Instant::now()).map_err(|wait| {
            let reason = "the endpoint has as many deliveries at a time as it may have";
            Failure::blocked("endpoint_busy", reason).with_retry_after(Some(wait))
        })?;
        let Encoded { content_type, octets } =
            body::encode(&target.layout, message, &self.branding, deadline)?;
        self.vet_proxied(&target.endpoint, deadline)?;
        pass.delivers();
        let mut unsent = octets.as_slice();
        let client = self.clients.client(&target);
        let answer = self.post(&client, &target, message, (content_type, &mut unsent), deadline);
        let response = answer.map_err(|error| {
            let progress = Progress { sent: unsent.is_empty(), proxied: self.proxied };
            trouble::explain(&error, &target.endpoint.origin(), progress)
        })?;
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        let is_sent = classify::class(status, target.fail_fast_4xx) == Class::Sent;
        let mut text = Vec::new();
        if is_sent && !self.trace.is_on() {
            read(body, &mut io::sink());
        } else {
            read(body, &mut text);
        }
        transcript::note_response(&self.trace, &target.endpoint, &head, &text);
        if is_sent {
            return Ok(Receipt { code: Some(status.to_string()), ..Receipt::default() });
        }
        Err(classify::refusal(&target, status, &head.headers, &text, SystemTime::now()))
    }

    fn destination(&self, endpoint: Option<&str>) -> Option<String> {
        let default = || self.default.as_ref().map(|target| target.endpoint.origin());
        endpoint.map_or_else(default, endpoint::origin_of)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = self.default.as_ref().map(|target| target.endpoint.origin());
        f.debug_struct("Webhook").field("endpoint", &default).finish_non_exhaustive()
    }
}

/// Reads a body for as long as size and time allow. The status has decided already, so a body
/// that breaks off or never ends is no error.
fn read(body: Body, into: &mut impl io::Write) {
    let _ = io::copy(&mut body.into_reader().take(BODY_MAX), into);
}
