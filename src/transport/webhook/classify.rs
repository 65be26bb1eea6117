//! What a status says about the message. Pure.
//!
//! | Answer | Message |
//! |---|---|
//! | 2xx, whatever the body | sent |
//! | `webhook-delivery: abort-message` or `disable` | failed for good |
//! | 410 | failed for good: the receiver says the endpoint is gone |
//! | 3xx | tried again; redirects are not followed, the URL must be corrected |
//! | every other status, 4xx too | tried again |
//!
//! 4xx is tried again on purpose. A 401, 404 or 422 is far more often a receiver in the middle of
//! a bad deployment than a message nobody wants, and the schedule gives people a day to mend it;
//! to fail at once would lose the message. Standard Webhooks asks for the same.

use std::time::SystemTime;

use ureq::http::{HeaderMap, Uri};

use crate::outcome::Failure;
use crate::transport::webhook::endpoint::{Endpoint, origin};
use crate::transport::webhook::retry_after;

#[cfg(test)]
mod tests;

/// Longest part of a response that is kept, in characters.
const EXCERPT_MAX: usize = 200;

/// What becomes of a message on a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Sent,
    Temporary,
    Permanent,
}

/// The table above, but for the header.
pub(super) fn class(status: u16) -> Class {
    match status {
        200..=299 => Class::Sent,
        410 => Class::Permanent,
        _ => Class::Temporary,
    }
}

/// The failure in an answer that is not [`Class::Sent`]. `now` is for `Retry-After`.
pub(super) fn refusal(
    endpoint: &Endpoint,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Failure {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = match status {
        300..=399 => "redirect_not_followed".to_owned(),
        _ => format!("http_{status}"),
    };
    let redirect = text("location").filter(|_| matches!(status, 300..=399)).map(moved);
    let told_to_end = text("webhook-delivery").is_some_and(ends_message);
    let reason = [
        format!("HTTP {status} from {}", endpoint.origin()),
        redirect.unwrap_or_default(),
        if told_to_end { ", which told us to end this message".into() } else { String::new() },
        excerpt(endpoint, body).map_or_else(String::new, |text| format!(": {text}")),
    ]
    .concat();
    if told_to_end || class(status) == Class::Permanent {
        return Failure::permanent(code, reason);
    }
    let wait = text("retry-after").and_then(|value| retry_after::wait(value, text("date"), now));
    Failure::temporary(code, reason).with_retry_after(wait)
}

fn moved(target: &str) -> String {
    let host = target.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    let place = host.map_or_else(|| "another path".to_owned(), |uri| origin(&uri));
    format!(", a redirect to {place}; redirects are not followed, correct the URL of the endpoint")
}

fn ends_message(directive: &str) -> bool {
    matches!(directive.trim(), "abort-message" | "disable")
}

/// The beginning of a body on one line, without what it repeats of the URL.
fn excerpt(endpoint: &Endpoint, body: &[u8]) -> Option<String> {
    let text = endpoint.redact(&String::from_utf8_lossy(body));
    let printable = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = printable.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then(|| line.chars().take(EXCERPT_MAX).collect())
}
