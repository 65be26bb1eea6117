//! The mail as it goes over the wire: headers, MIME parts, dots doubled.

use std::time::SystemTime;

use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{MultiPart, SinglePart};

use super::address::{Address, Mailbox};
use super::header;
use crate::config::BrandingConfig;
use crate::message::Prepared;
use crate::outcome::Failure;
use crate::render;

/// Longest subject, in characters.
const SUBJECT_MAX: usize = 2000;
/// Longest display name, in characters.
const NAME_MAX: usize = 200;

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
    /// Renders a message. The result differs between attempts only in Date and MIME boundary.
    pub(super) fn render(
        message: &Prepared,
        branding: &BrandingConfig,
        from: &Mailbox,
    ) -> Result<Self, Failure> {
        let recipient = &message.recipient;
        let address = recipient.email.as_deref().ok_or_else(|| {
            Failure::permanent("bad_address", "the recipient has no mail address")
        })?;
        let address = Address::parse(address).map_err(|why| {
            Failure::permanent("bad_address", format!("the recipient's mail address: {why}"))
        })?;
        let name = recipient.name.as_deref().or(recipient.username.as_deref());
        let mut raw = headers(message, from, name, &address).into_bytes();
        raw.extend(parts(message, branding).formatted());
        Ok(Self {
            sender: from.address.clone(),
            recipient: address,
            size: raw.len(),
            eight_bit: !raw.is_ascii(),
            data: with_dots(&raw),
        })
    }

    /// Whether an address needs SMTPUTF8.
    pub(super) fn needs_utf8(&self) -> bool {
        self.sender.needs_utf8() || self.recipient.needs_utf8()
    }
}

/// All fields but those of the MIME body.
fn headers(message: &Prepared, from: &Mailbox, name: Option<&str>, to: &Address) -> String {
    let subject = header::clean(&render::mail::subject(message), SUBJECT_MAX);
    let clean_name = |name: Option<&str>| name.map(|name| header::clean(name, NAME_MAX));
    let date = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "+0000");
    [
        header::mailbox("From", clean_name(from.name.as_deref()).as_deref(), &from.address),
        header::mailbox("To", clean_name(name).as_deref(), to),
        header::unstructured("Subject", &subject),
        format!("Date: {date}\r\n"),
        // The same on every attempt, so that a receiver can drop a copy (RFC 5322, 3.6.4).
        format!("Message-ID: <{}@{}>\r\n", message.id, from.address.domain()),
        // Keeps out-of-office answers away (RFC 3834, 5; Exchange has its own field).
        "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n".into(),
        "MIME-Version: 1.0\r\n".into(),
    ]
    .concat()
}

/// Text, then HTML: the last part that a reader can show is the best one (RFC 2046, 5.1.4).
fn parts(message: &Prepared, branding: &BrandingConfig) -> MultiPart {
    let part = |kind: ContentType, body: String| {
        SinglePart::builder()
            .header(kind)
            .header(ContentTransferEncoding::QuotedPrintable)
            .body(with_crlf(&body))
    };
    MultiPart::alternative()
        .singlepart(part(ContentType::TEXT_PLAIN, render::mail::text(message, branding)))
        .singlepart(part(ContentType::TEXT_HTML, render::mail::html(message, branding)))
}

/// Every line end, a bare CR or LF too, as CRLF (RFC 5321, 2.3.8).
fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace(['\r', '\n'], "\r\n")
}

/// Doubles a dot that begins a line and adds the final one (RFC 5321, 4.5.2). `raw` ends
/// lines with CRLF only.
fn with_dots(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 64);
    for line in raw.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests;
