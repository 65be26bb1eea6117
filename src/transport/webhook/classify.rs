//! What a status says about the message. Pure.
//!
//! | Answer | Message |
//! |---|---|
//! | 2xx, whatever the body | sent |
//! | `webhook-delivery: abort-message` or `disable` | failed for good |
//! | 410 | failed for good: the receiver says the endpoint is gone |
//! | 4xx but 408, 421, 425, 429; 501, 505 | failed for good where the endpoint's `fail_fast_4xx` says so |
//! | 3xx | tried again; redirects are not followed, the URL must be corrected |
//! | every other status, 4xx too | tried again |
//!
//! 429 and 503 with a `Retry-After` pause the whole endpoint: it is not this message that is too much.
//! The message waits for as long as it says, up to a day; so does a named endpoint, any other URL for
//! five minutes at most.
//! 410 and `disable` also disable a named endpoint; `commit.sql` does it, by the code of the failure.
//!
//! 4xx is tried again on purpose. A 401, 404 or 422 is far more often a receiver in the middle of
//! a bad deployment than a message nobody wants, and the schedule gives people a day to mend it;
//! to fail at once would lose the message. Standard Webhooks asks for the same.

use std::time::SystemTime;

use ureq::http::{HeaderMap, Uri};

use crate::outcome::{Failure, Health};
use crate::transport::webhook::endpoint::{Endpoint, origin};
use crate::transport::webhook::retry_after;
use crate::transport::webhook::target::Target;

#[cfg(test)]
mod tests;

/// Longest part of a response that is kept, in characters.
const EXCERPT_MAX: usize = 200;

/// Code of a failure on `webhook-delivery: disable`; `commit.sql` knows it.
const DISABLE: &str = "endpoint_disable";

/// What becomes of a message on a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Sent,
    Temporary,
    Permanent,
}

/// The table above, but for the header.
pub(super) fn class(status: u16, fail_fast_4xx: bool) -> Class {
    match status {
        200..=299 => Class::Sent,
        410 => Class::Permanent,
        408 | 421 | 425 | 429 => Class::Temporary,
        400..=499 | 501 | 505 if fail_fast_4xx => Class::Permanent,
        _ => Class::Temporary,
    }
}

/// The failure in an answer that is not [`Class::Sent`]. `now` is for `Retry-After`.
pub(super) fn refusal(
    target: &Target,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Failure {
    let endpoint = &target.endpoint;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let directive = text("webhook-delivery").map_or("", str::trim);
    let code = match status {
        _ if directive == "disable" => DISABLE.to_owned(),
        300..=399 => "redirect_not_followed".to_owned(),
        _ => format!("http_{status}"),
    };
    let redirect = text("location").filter(|_| matches!(status, 300..=399)).map(moved);
    let told = match directive {
        "abort-message" => ", which told us to end this message",
        "disable" => ", which told us to disable this endpoint",
        _ => "",
    };
    let reason = [
        format!("HTTP {status} from {}", endpoint.origin()),
        redirect.unwrap_or_default(),
        told.into(),
        excerpt(endpoint, body).map_or_else(String::new, |text| format!(": {text}")),
    ]
    .concat();
    if !told.is_empty() || class(status, target.fail_fast_4xx) == Class::Permanent {
        return Failure::permanent(code, reason).answered();
    }
    let wait = text("retry-after").and_then(|value| retry_after::wait(value, text("date"), now));
    Failure::temporary(code, reason).with_retry_after(wait).telling(match (status, wait) {
        (429 | 503, Some(pause)) if !pause.is_zero() => {
            Health::Asks { pause: pause.min(target.pause_max) }
        }
        (500.., _) => Health::Down,
        _ => Health::Answers,
    })
}

fn moved(target: &str) -> String {
    let host = target.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    let place = host.map_or_else(|| "another path".to_owned(), |uri| origin(&uri));
    format!(", a redirect to {place}; redirects are not followed, correct the URL of the endpoint")
}

/// The beginning of a body on one line, without what it repeats of the URL.
pub(super) fn excerpt(endpoint: &Endpoint, body: &[u8]) -> Option<String> {
    let text = endpoint.redact(&String::from_utf8_lossy(body));
    let printable = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = printable.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then(|| line.chars().take(EXCERPT_MAX).collect())
}
