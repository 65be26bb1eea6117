//! What the keeper of endpoints needs: checks, new secrets, and the stored forms of secrets.

use base64::prelude::{BASE64_STANDARD, Engine};
use ring::rand::{SecureRandom, SystemRandom};

use super::endpoint::Endpoint;
use super::secured::KEY_PART;
use super::target::{EndpointFault, SECRET_PART, Target, header_part};
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
    vault.seal(secret.expose(), &settings.place(SECRET_PART))
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

/// Gives an endpoint another URL. What is sealed for the origin of the one before is sealed for the new one.
///
/// # Errors
///
/// The first secret that the vault cannot open, or seal.
pub fn move_to(
    settings: &mut EndpointSettings,
    vault: &Vault,
    url: &str,
) -> Result<(), EndpointFault> {
    let before = settings.clone();
    url.clone_into(&mut settings.url);
    let after = settings.clone();
    store_again(settings, |stored, part| {
        vault.reseal(stored, &before.place(part), &after.place(part))
    })
}

/// Seals what was stored as it is before there was a key.
///
/// # Errors
///
/// If the vault cannot seal it, also for want of a key.
pub fn seal_stored(settings: &mut EndpointSettings, vault: &Vault) -> Result<(), EndpointFault> {
    let before = settings.clone();
    store_again(settings, |stored, part| vault.seal_stored(stored, &before.place(part)))
}

/// Puts into the place of each secret of an endpoint what `form` makes of its stored form and its part.
fn store_again(
    settings: &mut EndpointSettings,
    form: impl Fn(&str, &str) -> Result<String, VaultError>,
) -> Result<(), EndpointFault> {
    for secret in &mut settings.secrets {
        secret.key = form(&secret.key, SECRET_PART).map_err(EndpointFault::SealedSecret)?;
    }
    for (name, value) in &mut settings.headers {
        let sealed = |fault| EndpointFault::SealedHeader(name.clone(), fault);
        *value = form(value, &header_part(name)).map_err(sealed)?;
    }
    if let Some(identity) = &mut settings.tls.identity {
        identity.key = form(&identity.key, KEY_PART).map_err(EndpointFault::SealedKey)?;
    }
    Ok(())
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
