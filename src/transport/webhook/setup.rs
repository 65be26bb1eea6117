//! What can be wrong with the settings.

use ureq::Proxy;
use url::Url;

use super::{BadCaFile, BadEndpoint, BadNetwork, BadSecret};
use crate::config::Secret;
use crate::vault::VaultError;

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
    /// The key of stored secrets.
    #[error(transparent)]
    EncryptionKey(#[from] VaultError),
    /// The additional certificate authorities.
    #[error("webhook.ca_file: {0}")]
    CaFile(#[from] BadCaFile),
    /// The proxy's URL. It may hold a password, so it is not shown.
    #[error("webhook.proxy: must be a URL like http://proxy.example.com:3128")]
    Proxy,
}

pub(super) fn proxy(text: &Secret) -> Result<Proxy, WebhookSetupError> {
    let text = text.expose().trim();
    let web = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !web {
        return Err(WebhookSetupError::Proxy);
    }
    Proxy::new(text).map_err(|_| WebhookSetupError::Proxy)
}
