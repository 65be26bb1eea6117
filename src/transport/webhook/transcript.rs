//! What `test-send` shows of a request and its response.

use ureq::http::response::Parts;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::classify::excerpt;
use super::endpoint::Endpoint;
use crate::transport::Trace;

/// Headers of ours that hold no secret.
const SHOWN: [&str; 6] = [
    "content-type",
    "content-length",
    "x-message-id",
    "idempotency-key",
    "webhook-id",
    "webhook-timestamp",
];

/// The request as it goes out, if anybody watches; the values of signatures and of headers that
/// an operator set are masked.
pub(super) fn request(
    trace: &Trace,
    endpoint: &Endpoint,
    headers: Option<&HeaderMap>,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    if !trace.is_on() {
        return Vec::new();
    }
    let line = format!("POST {}, {} octets", endpoint.origin(), body.len());
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        let is_shown = SHOWN.contains(&name.as_str());
        let value = if is_shown { value.to_str().unwrap_or_default() } else { "<secret>" };
        ("request header", format!("{name}: {value}"))
    };
    let headers = headers.into_iter().flatten().map(header);
    std::iter::once(("request", line)).chain(headers).collect()
}

/// The response, without what it repeats of the URL and of secret headers.
pub(super) fn note_response(trace: &Trace, endpoint: &Endpoint, head: &Parts, body: &[u8]) {
    trace.note("response", || format!("{:?} {}", head.version, head.status));
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        trace.note("response header", || format!("{name}: {}", endpoint.redact(&value)));
    }
    if let Some(text) = excerpt(endpoint, body) {
        trace.note("response body", || text);
    }
}
