//! The mail as it goes over the wire: headers, MIME parts, dots doubled.

use std::borrow::Cow;
use std::time::SystemTime;

use ring::digest::{SHA256, digest};

use super::address::{Address, Mailbox};
use super::dkim::Signer;
use super::{header, quoted};
use crate::config::BrandingConfig;
use crate::message::{Prepared, Recipient};
use crate::outcome::Failure;
use crate::render::mail::Texts;

/// Longest subject, in characters.
const SUBJECT_MAX: usize = 2000;
/// Longest display name, in characters.
const NAME_MAX: usize = 200;

/// Who sends, where a template does not say otherwise.
#[derive(Debug)]
pub(super) struct Sender {
    /// In the header.
    pub(super) mailbox: Mailbox,
    /// In the envelope: where bounces go.
    pub(super) envelope: Address,
}

/// A mail to one recipient, ready to send.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) sender: Address,
    pub(super) recipient: Address,
    /// Everything after DATA: dots doubled, the final dot included.
    pub(super) data: Vec<u8>,
    /// Octets of the message itself (RFC 1870, 3).
    pub(super) size: usize,
    /// Whether it has octets above 127.
    pub(super) eight_bit: bool,
}

impl Mail {
    /// Renders a message. The result differs between attempts only in Date.
    pub(super) fn render(
        message: &Prepared,
        branding: &BrandingConfig,
        sender: &Sender,
        signer: Option<&Signer>,
    ) -> Result<Self, Failure> {
        let recipient = &message.recipient;
        let address = recipient.email.as_deref().ok_or_else(|| {
            Failure::permanent("bad_address", "the recipient has no mail address")
        })?;
        let address = Address::parse(address).map_err(|why| {
            Failure::permanent("bad_address", format!("the recipient's mail address: {why}"))
        })?;
        let fields = Fields::new(message, &sender.mailbox)?;
        let texts = Texts::of(message);
        let mut raw = headers(message, texts.subject(), &fields, &address).into_bytes();
        parts(message, &texts, branding, &mut raw);
        if let Some(signer) = signer {
            let signature = signer.sign(&raw, seconds_since_1970()).ok_or_else(|| {
                Failure::blocked("dkim", "the system has no randomness to sign with")
            })?;
            raw.splice(0..0, signature.into_bytes());
        }
        Ok(Self {
            sender: sender.envelope.clone(),
            recipient: address,
            size: raw.len(),
            eight_bit: !raw.is_ascii(),
            data: with_dots(raw),
        })
    }

    /// Whether an address needs SMTPUTF8.
    pub(super) fn needs_utf8(&self) -> bool {
        self.sender.needs_utf8() || self.recipient.needs_utf8()
    }
}

/// Whom a mail is from, in its header: the envelope has the sender of the settings, which the
/// relay knows.
struct Fields<'a> {
    from: Cow<'a, Mailbox>,
    reply_to: Option<Mailbox>,
    /// Right side of ids. Not the template's, which may change between two attempts.
    domain: &'a str,
}

impl<'a> Fields<'a> {
    fn new(message: &Prepared, from: &'a Mailbox) -> Result<Self, Failure> {
        let parse = |field: &str, text: &Option<String>| {
            text.as_deref().map(Mailbox::parse).transpose().map_err(|why| {
                Failure::permanent("bad_sender", format!("the template's {field}: {why}"))
            })
        };
        let own = parse("from_address", &message.mail.from_address)?;
        Ok(Self {
            from: own.map_or(Cow::Borrowed(from), Cow::Owned),
            reply_to: parse("reply_to", &message.mail.reply_to)?,
            domain: from.address.domain(),
        })
    }
}

/// All fields but those of the MIME body.
fn headers(message: &Prepared, subject: &str, fields: &Fields<'_>, to: &Address) -> String {
    let subject = header::clean(subject, SUBJECT_MAX);
    let date = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "+0000");
    let named = |field: &str, name: Option<&str>, address: &Address| {
        let name = name.map(|name| header::clean(name, NAME_MAX));
        header::mailbox(field, name.as_deref(), address)
    };
    let mailbox = |field: &str, it: &Mailbox| named(field, it.name.as_deref(), &it.address);
    let Recipient { name, username, .. } = &message.recipient;
    [
        mailbox("From", &fields.from),
        named("To", name.as_deref().or(username.as_deref()), to),
        fields.reply_to.as_ref().map(|it| mailbox("Reply-To", it)).unwrap_or_default(),
        header::unstructured("Subject", &subject),
        format!("Date: {date}\r\n"),
        // The same on every attempt, so that a receiver can drop a copy (RFC 5322, 3.6.4).
        format!("Message-ID: <{}@{}>\r\n", message.id, fields.domain),
        message.mail.thread_key.as_deref().map(|it| thread(it, fields.domain)).unwrap_or_default(),
        message.mail.unsubscribe_url.as_deref().map(unsubscribe).unwrap_or_default(),
        // Keeps out-of-office answers away (RFC 3834, 5; Exchange has its own field).
        "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n".into(),
        "MIME-Version: 1.0\r\n".into(),
    ]
    .concat()
}

/// An answer to a mail that nobody sent: mail programs put all answers to it together.
fn thread(key: &str, domain: &str) -> String {
    let digest = digest(&SHA256, key.as_bytes());
    let hash = digest.as_ref()[..16].iter().fold(String::new(), |hex, it| format!("{hex}{it:02x}"));
    let root = format!("<thread-{hash}@{domain}>");
    format!("In-Reply-To:\r\n {root}\r\nReferences:\r\n {root}\r\n")
}

/// One-click unsubscription (RFC 2369, RFC 8058).
fn unsubscribe(url: &str) -> String {
    format!(
        "List-Unsubscribe:\r\n <{url}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    )
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |span| span.as_secs())
}

/// Text, then HTML: the last part that a reader can show is the best one (RFC 2046, 5.1.4).
fn parts(message: &Prepared, texts: &Texts<'_>, branding: &BrandingConfig, raw: &mut Vec<u8>) {
    // No line of quoted-printable begins so: `=_` is no escape.
    let boundary = format!("=_{}", message.id);
    let head = format!("Content-Type: multipart/alternative;\r\n boundary=\"{boundary}\"\r\n\r\n");
    raw.extend_from_slice(head.as_bytes());
    for (kind, body) in [("plain", texts.text(branding)), ("html", texts.html(branding))] {
        let head = format!(
            "--{boundary}\r\nContent-Type: text/{kind}; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        );
        raw.extend_from_slice(head.as_bytes());
        quoted::encode(&body, raw);
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
}

/// Doubles a dot that begins a line and adds the final one (RFC 5321, 4.5.2). `raw` ends
/// lines with CRLF only.
fn with_dots(raw: Vec<u8>) -> Vec<u8> {
    let has_dots = raw.starts_with(b".") || raw.windows(2).any(|pair| pair == b"\n.");
    let mut out = if has_dots { doubled(&raw) } else { raw };
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn doubled(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 64);
    for line in raw.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out
}

#[cfg(test)]
mod tests;
