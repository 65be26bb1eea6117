//! DKIM signatures (RFC 6376; RFC 8463 for Ed25519), relaxed both ways: what relays commonly do
//! to blanks and folds does not break them.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::relay::SmtpSetupError;
use crate::config::DkimConfig;

/// Fields that are signed where a mail has them: all that a reader or a mail program acts on.
/// From stands twice, so that nobody can add another one (RFC 6376, 5.4.2).
const SIGNED: [&str; 13] = [
    "from",
    "from",
    "to",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "mime-version",
    "content-type",
];
/// Names in one line of `h=`.
const NAMES_PER_LINE: usize = 4;
/// Base64 in one line of `b=`.
const VALUE_PER_LINE: usize = 72;

/// Signs mails for one domain.
pub(super) struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// `None` if there is nothing to sign with. Reads the key.
    pub(super) fn new(config: &DkimConfig) -> Result<Option<Self>, SmtpSetupError> {
        let missing = SmtpSetupError::Missing(
            "smtp.dkim.domain, smtp.dkim.selector or smtp.dkim.key_file, which need each other,",
        );
        match (&config.domain, &config.selector, &config.key_file) {
            (None, None, None) => Ok(None),
            (Some(domain), Some(selector), Some(path)) => Ok(Some(Self {
                domain: name("smtp.dkim.domain", domain)?,
                selector: name("smtp.dkim.selector", selector)?,
                key: Key::read(path)?,
            })),
            _ => Err(missing),
        }
    }

    /// The field to put in front of `mail`, whose lines end with CRLF; `time` is in seconds
    /// since 1970. `None` if the system has no randomness, without which RSA does not sign.
    pub(super) fn sign(&self, mail: &[u8], time: u64) -> Option<String> {
        let (head, body) = split(mail);
        let fields = fields(&head);
        let find = |name: &str| fields.iter().find(|field| field_name(field) == name);
        let names: Vec<&str> = SIGNED.into_iter().filter(|name| find(name).is_some()).collect();
        let lines: Vec<String> =
            names.chunks(NAMES_PER_LINE).map(|names| names.join(":")).collect();
        let mut field = format!(
            "DKIM-Signature: v=1; a={}; c=relaxed/relaxed; t={time};\r\n d={};\r\n s={};\r\n \
             h={};\r\n bh={};\r\n b=",
            self.key.algorithm(),
            self.domain,
            self.selector,
            lines.join(":\r\n "),
            STANDARD.encode(digest(&SHA256, &relaxed_body(body))),
        );
        let mut signed = String::new();
        // The second From stands for one that is not there.
        for name in &names[1..] {
            signed += &relaxed_field(find(name).expect("names are those that were found"));
            signed += "\r\n";
        }
        signed += &relaxed_field(&field);
        let value = STANDARD.encode(self.key.sign(signed.as_bytes())?);
        for (idx, at) in (0..value.len()).step_by(VALUE_PER_LINE).enumerate() {
            let fold = if idx == 0 { "" } else { "\r\n " };
            let line = &value[at..value.len().min(at + VALUE_PER_LINE)];
            write!(field, "{fold}{line}").expect("a String takes all");
        }
        Some(field + "\r\n")
    }
}

impl Key {
    fn read(path: &Path) -> Result<Self, SmtpSetupError> {
        const KEY: &str = "smtp.dkim.key_file";
        let der = PrivateKeyDer::from_pem_file(path).map_err(|source| SmtpSetupError::File {
            key: KEY,
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&der).ok_or_else(|| SmtpSetupError::Invalid {
            key: KEY,
            why: format!(
                "{} holds neither an RSA key of 2048 to 8192 bits nor an Ed25519 key",
                path.display()
            ),
        })
    }

    fn parse(der: &PrivateKeyDer<'_>) -> Option<Self> {
        match der {
            PrivateKeyDer::Pkcs1(der) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(Self::Rsa)
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519);
                ed25519.or_else(|_| RsaKeyPair::from_pkcs8(der).map(Self::Rsa)).ok()
            }
            _ => None,
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn sign(&self, data: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature).ok()?;
                Some(signature)
            }
            // What is signed is the hash (RFC 8463, 3).
            Self::Ed25519(key) => Some(key.sign(digest(&SHA256, data).as_ref()).as_ref().to_vec()),
        }
    }
}

/// A domain or selector, checked to be safe in a field.
fn name(key: &'static str, text: &str) -> Result<String, SmtpSetupError> {
    let is_label = |label: &str| {
        let mut octets = label.bytes();
        !label.is_empty() && octets.all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(text.to_ascii_lowercase());
    }
    let why = "it must be a name as DNS has it, such as example.com or mail2026".into();
    Err(SmtpSetupError::Invalid { key, why })
}

/// Header fields and body.
fn split(mail: &[u8]) -> (String, &[u8]) {
    let end = mail.windows(4).position(|octets| octets == b"\r\n\r\n");
    let (head, body) = mail.split_at(end.map_or(mail.len(), |at| at + 2));
    (String::from_utf8_lossy(head).into_owned(), body.get(2..).unwrap_or_default())
}

/// Fields with their folded lines.
fn fields(head: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut begin = 0;
    for (at, _) in head.match_indices("\r\n") {
        let next = at + 2;
        if !head[next..].starts_with([' ', '\t']) {
            fields.push(&head[begin..next]);
            begin = next;
        }
    }
    fields
}

fn field_name(field: &str) -> String {
    field.split(':').next().unwrap_or_default().trim_end().to_ascii_lowercase()
}

/// RFC 6376, 3.4.2, without the line end.
fn relaxed_field(field: &str) -> String {
    let value = field.split_once(':').map_or("", |(_, value)| value);
    let words: Vec<&str> =
        value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
    format!("{}:{}", field_name(field), words.join(" "))
}

/// RFC 6376, 3.4.4.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 2);
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut blank = false;
        for octet in line {
            if matches!(octet, b' ' | b'\t') {
                blank = true;
                continue;
            }
            if blank {
                out.push(b' ');
                blank = false;
            }
            out.push(*octet);
        }
        out.extend_from_slice(b"\r\n");
    }
    while out.ends_with(b"\r\n\r\n") || out == b"\r\n" {
        out.truncate(out.len() - 2);
    }
    out
}

#[cfg(test)]
mod tests;
