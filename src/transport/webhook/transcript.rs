//! What `test-send` shows of a request and its response.

use ureq::http::HeaderMap;
use ureq::http::response::Parts;

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

/// The request as it goes out; the values of signatures and of headers that an operator set are
/// masked.
pub(super) fn note_request(
    trace: &Trace,
    endpoint: &Endpoint,
    headers: Option<&HeaderMap>,
    body: &[u8],
) {
    trace.note("request", || format!("POST {}, {} octets", endpoint.origin(), body.len()));
    for (name, value) in headers.into_iter().flatten() {
        trace.note("request header", || {
            let is_shown = SHOWN.contains(&name.as_str());
            let value = if is_shown { value.to_str().unwrap_or_default() } else { "<secret>" };
            format!("{name}: {value}")
        });
    }
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
