//! What the keeper of endpoints needs: checks, new secrets, and the stored forms of secrets.

use base64::prelude::{BASE64_STANDARD, Engine};
use ring::rand::{SecureRandom, SystemRandom};

use super::endpoint::Endpoint;
use super::secured::KEY_PART;
use super::target::{EndpointFault, Target, header_part};
use super::tls;
use crate::config::Secret;
use crate::endpoint::EndpointSettings;
use crate::transport::certificate;
use crate::vault::{Vault, VaultError};

/// Octets of a new signing key.
const KEY_SIZE: usize = 32;

/// Checks what can be known of an endpoint without a request: URL, keys, headers, template.
///
/// # Errors
///
/// The first setting that cannot be used.
pub fn check(settings: &EndpointSettings, vault: &Vault) -> Result<(), EndpointFault> {
    Target::new(settings, vault, None).map(|_| ())
}

/// A new signing secret, `whsec_...`.
///
/// # Errors
///
/// [`VaultError::Random`] if the system has no random numbers.
pub fn new_secret() -> Result<Secret, VaultError> {
    let mut key = [0; KEY_SIZE];
    SystemRandom::new().fill(&mut key).map_err(|_| VaultError::Random)?;
    Ok(Secret::new(format!("whsec_{}", BASE64_STANDARD.encode(key))))
}

/// The stored form of a signing secret of this endpoint.
///
/// # Errors
///
/// If the vault cannot seal it.
pub fn seal_secret(
    settings: &EndpointSettings,
    vault: &Vault,
    secret: &Secret,
) -> Result<String, VaultError> {
    vault.seal(secret.expose(), &settings.place("secret"))
}

/// The stored form of the value of a header of this endpoint.
///
/// # Errors
///
/// If the vault cannot seal it.
pub fn seal_header(
    settings: &EndpointSettings,
    vault: &Vault,
    name: &str,
    value: &str,
) -> Result<String, VaultError> {
    vault.seal(value, &settings.place(&header_part(name)))
}

/// The stored form of the key of this endpoint's client certificate.
///
/// # Errors
///
/// If the vault cannot seal it, also for want of a key: it is never stored as it is.
pub fn seal_client_key(
    settings: &EndpointSettings,
    vault: &Vault,
    key: &Secret,
) -> Result<String, VaultError> {
    vault.seal_always(key.expose(), &settings.place(KEY_PART))
}

/// What the first certificate of a PEM text says of itself: names, and the day it ends.
pub fn about_certificate(pem: &str) -> String {
    match tls::certificates(pem.as_bytes()) {
        Ok(chain) => certificate::about(&chain[0]),
        Err(error) => error.to_string(),
    }
}

/// What may be shown of a URL: scheme, host and port.
pub fn shown_url(url: &str) -> String {
    Endpoint::parse(url).map_or_else(|error| error.to_string(), |endpoint| endpoint.origin())
}
