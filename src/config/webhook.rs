//! `webhook.*`: what webhooks need to know, and what must hold of it.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::error::Faults;
use super::{RetryConfig, Secret, check};

/// Which private addresses a webhook may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowPrivate {
    /// None: only public addresses.
    #[default]
    No,
    /// Any address.
    All,
    /// Those within these networks, written `10.1.0.0/16` or `fd00::/8`.
    Networks(Vec<String>),
}

/// `webhook.*`
#[derive(Clone, Default)]
pub struct WebhookConfig {
    /// URL for messages that name no endpoint; `None`: such messages are held.
    pub endpoint: Option<String>,
    /// Signing secret, `whsec_...` or `whsk_...`, already read from `secret_file` where that is set.
    pub secret: Option<Secret>,
    /// File that the secret was read from.
    pub secret_file: Option<PathBuf>,
    /// Key under which secrets of endpoints are stored, 32 octets in base64, already read from
    /// `encryption_key_file` where that is set; `None`: they are stored as they are.
    pub encryption_key: Option<Secret>,
    /// File that the key was read from.
    pub encryption_key_file: Option<PathBuf>,
    /// Private addresses that may be reached.
    pub allow_private: AllowPrivate,
    /// Certificate authorities (PEM) trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// Proxy URL; proxy variables of the environment are never read.
    pub proxy: Option<Secret>,
    /// Overrides `retry` for webhooks.
    pub retry: RetryConfig,
}

/// All but the endpoint's path and query, which may hold a token.
impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("endpoint", &self.endpoint.as_deref().map(hide_path))
            .field("secret", &self.secret)
            .field("secret_file", &self.secret_file)
            .field("encryption_key", &self.encryption_key)
            .field("encryption_key_file", &self.encryption_key_file)
            .field("allow_private", &self.allow_private)
            .field("ca_file", &self.ca_file)
            .field("proxy", &self.proxy)
            .field("retry", &self.retry)
            .finish()
    }
}

impl WebhookConfig {
    pub(super) fn check(&self, faults: &mut Faults) {
        if let Some(endpoint) = &self.endpoint {
            faults.require(
                check::http_url(endpoint),
                &["webhook.endpoint"],
                "webhook.endpoint: not a URL that starts with https:// or http://",
            );
        }
        if let Some(proxy) = &self.proxy {
            faults.require(
                check::http_url(proxy.expose()),
                &["webhook.proxy"],
                "webhook.proxy: not a URL that starts with http:// or https://",
            );
        }
        if let Some(secret) = &self.secret {
            faults.require(
                is_signing_secret(secret.expose()),
                &["webhook.secret"],
                "webhook.secret: not a signing secret; write whsec_ and 24 to 64 octets in \
                 base64, or whsk_ and an Ed25519 key of 32 or 64 octets in base64",
            );
        }
        if let Some(key) = &self.encryption_key {
            faults.require(
                STANDARD.decode(key.expose().trim()).is_ok_and(|octets| octets.len() == 32),
                &["webhook.encryption_key"],
                "webhook.encryption_key: not 32 octets in base64; `openssl rand -base64 32` \
                 makes such a key",
            );
        }
        check::file(faults, "webhook.ca_file", self.ca_file.as_deref());
    }
}

/// Forms and lengths of Standard Webhooks, "Secrets".
fn is_signing_secret(text: &str) -> bool {
    let octets = |text: &str| STANDARD.decode(text).map_or(0, |octets| octets.len());
    match (text.strip_prefix("whsec_"), text.strip_prefix("whsk_")) {
        (Some(key), _) => (24..=64).contains(&octets(key)),
        (_, Some(key)) => matches!(octets(key), 32 | 64),
        _ => false,
    }
}

pub(super) fn show_endpoint(endpoint: Option<&str>) -> Option<toml::Value> {
    endpoint.map(|endpoint| hide_path(endpoint).into())
}

/// Scheme, host and port of a URL.
fn hide_path(endpoint: &str) -> String {
    let hidden = Secret::PLACEHOLDER;
    match Url::parse(endpoint) {
        Ok(url) if url.has_host() => format!("{}/{hidden}", url.origin().ascii_serialization()),
        _ => hidden.to_owned(),
    }
}
