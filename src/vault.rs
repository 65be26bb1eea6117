//! Secrets at rest: sealed under a key from the settings, opened where they are used.
//!
//! # Invariants
//!
//! - What is sealed for one place opens in no other: the place is part of what is authenticated.
//! - A vault without a key stores texts as they are, and still says which ones it cannot read.
//! - A vault with a key reads no text that is stored as it is: anybody may have put it there.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::Secret;

#[cfg(test)]
mod tests;

/// How a sealed text starts; then nonce, ciphertext and tag in base64.
const PREFIX: &str = "sealed.v1.";

/// Seals and opens texts (ChaCha20-Poly1305). A nonce is random, which is safe for billions of texts.
pub struct Vault {
    key: Option<LessSafeKey>,
}

impl Vault {
    /// With the key in `text`, 32 octets in base64; without one nothing is sealed.
    ///
    /// # Errors
    ///
    /// [`VaultError::Key`] if it is no such key.
    pub fn new(text: Option<&Secret>) -> Result<Self, VaultError> {
        let key = |text: &Secret| {
            let octets = BASE64_STANDARD.decode(text.expose().trim());
            let octets = octets.map_err(|_| VaultError::Key)?;
            let key = UnboundKey::new(&CHACHA20_POLY1305, &octets).map_err(|_| VaultError::Key)?;
            Ok(LessSafeKey::new(key))
        };
        Ok(Self { key: text.map(key).transpose()? })
    }

    /// The form in which a secret is stored at `place`.
    ///
    /// # Errors
    ///
    /// [`VaultError::Random`] if the system has no random numbers; [`VaultError::Looks`] if the
    /// text could be taken for a sealed one.
    pub fn seal(&self, text: &str, place: &str) -> Result<String, VaultError> {
        if text.starts_with(PREFIX) {
            return Err(VaultError::Looks);
        }
        let Some(key) = &self.key else { return Ok(text.to_owned()) };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| VaultError::Random)?;
        let mut sealed = text.as_bytes().to_vec();
        let aad = Aad::from(place.as_bytes());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| VaultError::Random)?;
        let octets = [&nonce[..], &sealed].concat();
        Ok(format!("{PREFIX}{}", BASE64_STANDARD.encode(octets)))
    }

    /// The same for a secret that is not stored as it is: who could read it in a backup could pass
    /// for its owner elsewhere.
    ///
    /// # Errors
    ///
    /// [`VaultError::Unset`] without a key; else as for [`Vault::seal`].
    pub fn seal_always(&self, text: &str, place: &str) -> Result<String, VaultError> {
        if self.key.is_none() {
            return Err(VaultError::Unset);
        }
        self.seal(text, place)
    }

    /// The stored form at the place `to` of what was stored at `from`. One that is for that place already
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// As for [`Vault::open`] and [`Vault::seal`].
    pub fn reseal(&self, stored: &str, from: &str, to: &str) -> Result<String, VaultError> {
        if from == to || self.open(stored, to).is_ok() {
            return Ok(stored.to_owned());
        }
        self.seal(self.open(stored, from)?.expose(), to)
    }

    /// The stored form at `place` of what may have been stored there when there was no key.
    ///
    /// # Errors
    ///
    /// As for [`Vault::seal_always`].
    pub fn seal_stored(&self, stored: &str, place: &str) -> Result<String, VaultError> {
        if stored.starts_with(PREFIX) {
            return Ok(stored.to_owned());
        }
        self.seal_always(stored, place)
    }

    /// The secret that was stored at `place`.
    ///
    /// # Errors
    ///
    /// [`VaultError::Missing`] and [`VaultError::Wrong`]: the operator must set the right key.
    /// [`VaultError::Plain`]: it is not sealed, and there is a key.
    pub fn open(&self, stored: &str, place: &str) -> Result<Secret, VaultError> {
        let Some(sealed) = stored.strip_prefix(PREFIX) else {
            return if self.key.is_some() {
                Err(VaultError::Plain)
            } else {
                Ok(Secret::new(stored))
            };
        };
        let key = self.key.as_ref().ok_or(VaultError::Missing)?;
        let mut octets = BASE64_STANDARD.decode(sealed).map_err(|_| VaultError::Wrong)?;
        let (nonce, sealed) = octets.split_at_mut_checked(NONCE_LEN).ok_or(VaultError::Wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Wrong)?;
        let text = key.open_in_place(nonce, Aad::from(place.as_bytes()), sealed);
        let text = text.map_err(|_| VaultError::Wrong)?;
        std::str::from_utf8(text).map(Secret::new).map_err(|_| VaultError::Wrong)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.key.is_some() { "Vault with a key" } else { "Vault without a key" })
    }
}

/// Why a secret cannot be stored or read. Shows no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key itself is wrong.
    #[error(
        "webhook.encryption_key: must be 32 random octets in base64; `openssl rand -base64 32` makes one"
    )]
    Key,
    /// There is no key.
    #[error(
        "is stored encrypted, and webhook.encryption_key is not set; set the key that it was stored with"
    )]
    Missing,
    /// There is no key, and what is to be stored must not lie there as it is.
    #[error(
        "is stored encrypted only, and webhook.encryption_key is not set; `openssl rand -base64 32` makes one"
    )]
    Unset,
    /// Another key, another place, or damage.
    #[error(
        "is stored encrypted, and webhook.encryption_key does not open it for this name and URL; \
         set the key, or the URL, that it was stored with"
    )]
    Wrong,
    /// It is not sealed, though there is a key.
    #[error(
        "is stored as it is, though webhook.encryption_key is set; if nobody else put it there, \
         `postrider endpoint seal` encrypts it"
    )]
    Plain,
    /// It could be taken for a sealed one.
    #[error("must not begin with {PREFIX}")]
    Looks,
    /// No random numbers.
    #[error("cannot be encrypted: the system gives no random numbers")]
    Random,
}
