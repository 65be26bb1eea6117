//! Signatures of Standard Webhooks 1.0.0: `v1` (HMAC-SHA256) and `v1a` (Ed25519).

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use ring::hmac;
use ring::signature::Ed25519KeyPair;

use crate::config::Secret;

#[cfg(test)]
mod tests;

/// The keys that sign, the current one first.
///
/// More than one while a key is replaced: receivers accept any signature that they can check.
#[derive(Default)]
pub(super) struct Signer {
    /// Each until when it signs, in Unix seconds; `None`: for ever.
    keys: Vec<(Key, Option<u64>)>,
}

/// A key that signs.
pub(super) enum Key {
    Shared(hmac::Key),
    Pair(Box<Ed25519KeyPair>),
}

impl Signer {
    /// Reads the secrets in `text`, separated by blanks.
    pub(super) fn new(text: &Secret) -> Result<Self, BadSecret> {
        let key = |text| Key::parse(text).map(|key| (key, None));
        let keys = text.expose().split_whitespace().map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(BadSecret::Prefix);
        }
        Ok(Self { keys })
    }

    /// Adds a key that signs until `expires_at`, in Unix seconds.
    pub(super) fn push(&mut self, text: &Secret, expires_at: Option<u64>) -> Result<(), BadSecret> {
        self.keys.push((Key::parse(text.expose())?, expires_at));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Value of the header `webhook-signature` for these octets, sent under `id` at `timestamp`
    /// (Unix seconds of this attempt). Keys that have expired by then do not sign.
    pub(super) fn signatures(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut value = String::with_capacity(96 * self.keys.len());
        let digits = timestamp.to_string();
        let live = self.keys.iter().filter(|(_, until)| until.is_none_or(|it| timestamp < it));
        for (key, _) in live {
            if !value.is_empty() {
                value.push(' ');
            }
            key.sign_into(&mut value, [id.as_bytes(), b".", digits.as_bytes(), b".", body]);
        }
        value
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer of {} keys", self.keys.len())
    }
}

impl Key {
    fn parse(text: &str) -> Result<Self, BadSecret> {
        if let Some(payload) = text.strip_prefix("whsec_") {
            let bytes = BASE64_STANDARD.decode(payload).map_err(|_| BadSecret::Base64)?;
            if !(24..=64).contains(&bytes.len()) {
                return Err(BadSecret::SharedLength(bytes.len()));
            }
            return Ok(Self::Shared(hmac::Key::new(hmac::HMAC_SHA256, &bytes)));
        }
        let payload = text.strip_prefix("whsk_").ok_or(BadSecret::Prefix)?;
        let bytes = BASE64_STANDARD.decode(payload).map_err(|_| BadSecret::Base64)?;
        let (seed, public) =
            bytes.split_at_checked(32).ok_or(BadSecret::PairLength(bytes.len()))?;
        if public.len() != 32 {
            return Err(BadSecret::PairLength(bytes.len()));
        }
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
        Ok(Self::Pair(Box::new(pair.map_err(|_| BadSecret::Pair)?)))
    }

    fn sign_into(&self, value: &mut String, signed: [&[u8]; 5]) {
        match self {
            Self::Shared(key) => {
                let mut context = hmac::Context::with_key(key);
                for part in signed {
                    context.update(part);
                }
                value.push_str("v1,");
                BASE64_STANDARD.encode_string(context.sign(), value);
            }
            Self::Pair(pair) => {
                value.push_str("v1a,");
                BASE64_STANDARD.encode_string(pair.sign(&signed.concat()), value);
            }
        }
    }
}

/// What is wrong with a signing secret. Never shows the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Neither kind of key.
    #[error("must start with whsec_ (shared key) or whsk_ (Ed25519 key)")]
    Prefix,
    /// The rest is not base64.
    #[error("must be standard base64 with padding after its prefix")]
    Base64,
    /// A shared key that is too short to be safe, or too long to be one.
    #[error("whsec_ must hold 24 to 64 octets, not {0}")]
    SharedLength(usize),
    /// Not a seed and a public key.
    #[error("whsk_ must hold 64 octets (seed, then public key), not {0}")]
    PairLength(usize),
    /// The public key is another pair's.
    #[error("the public half of the whsk_ key does not belong to its seed")]
    Pair,
}
