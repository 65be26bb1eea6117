//! What it means that a request got no answer. Pure.
//!
//! All of it may pass, except an address that may not be reached. What matters to people is
//! whether the receiver may already have the message: it can drop the copy by its id.

use ureq::{Error, Timeout};

use crate::outcome::{Failure, Verdict};
use crate::transport::webhook::dns::LookupError;
use crate::transport::webhook::reach::Unreachable;
use crate::transport::webhook::tls;

/// How far a request came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// The whole body was handed to the connection.
    pub(super) sent: bool,
    /// It went by a proxy, which is ours.
    pub(super) proxied: bool,
}

/// The failure behind an error. `origin` is what may be shown of the URL.
pub(super) fn explain(error: &Error, origin: &str, progress: Progress) -> Failure {
    let failure = failure(error, origin, progress);
    match failure.verdict {
        Verdict::Temporary { .. } => failure.of_destination(),
        _ => failure,
    }
}

fn failure(error: &Error, origin: &str, progress: Progress) -> Failure {
    if let Error::Other(cause) = error
        && let Some(cause) = cause.downcast_ref::<Unreachable>()
    {
        // By a proxy, the only name that a connection needs is the proxy's.
        return if progress.proxied {
            Failure::blocked("proxy", format!("cannot resolve the host of webhook.proxy: {cause}"))
        } else {
            unreachable(cause, origin)
        };
    }
    if let Some(cause) = tls_cause(error) {
        return Failure::temporary("tls", format!("{origin}: {cause}"));
    }
    match error {
        Error::Timeout(phase) => {
            Failure::temporary("timeout", format!("{origin}: {}", in_time(*phase, progress.sent)))
        }
        Error::Io(error) if progress.sent => {
            let reason = format!(
                "{origin}: connection lost before the answer ({error}); the message may have arrived"
            );
            Failure::temporary("connection_lost", reason)
        }
        Error::Io(error) if progress.proxied => Failure::blocked(
            "proxy",
            format!("cannot connect by webhook.proxy ({error}); is it running?"),
        ),
        Error::Io(error) => Failure::temporary(
            "connect",
            format!("{origin}: no connection that took the whole request ({error})"),
        ),
        Error::ConnectProxyFailed(answer) if answer.contains("407") => {
            Failure::blocked("proxy", "webhook.proxy refuses our user name or password (407)")
        }
        Error::ConnectProxyFailed(answer) => Failure::temporary(
            "proxy",
            format!("{origin}: webhook.proxy did not connect: {answer}"),
        ),
        Error::LargeResponseHeader(..) => Failure::temporary(
            "bad_response",
            format!("{origin}: the response's head is too large"),
        ),
        Error::Protocol(error) => Failure::temporary(
            "bad_response",
            format!("{origin}: the response is no HTTP ({error})"),
        ),
        // Their texts may hold the URL.
        _ => Failure::temporary("request", format!("{origin}: the request could not be made")),
    }
}

/// The failure behind a host that is not dialled.
pub(super) fn unreachable(cause: &Unreachable, origin: &str) -> Failure {
    let reason = format!("{origin}: {cause}");
    match cause {
        Unreachable::Forbidden(_) => Failure::permanent("blocked_address", reason),
        Unreachable::Lookup(LookupError::Busy) => Failure::blocked("dns", reason),
        Unreachable::Lookup(_) => Failure::temporary("dns", reason),
    }
}

/// The TLS error in an error, however it is wrapped.
fn tls_cause(error: &Error) -> Option<String> {
    match error {
        Error::Rustls(cause) => Some(tls::explain(cause)),
        Error::Io(error) => {
            error.get_ref().and_then(|cause| cause.downcast_ref()).map(tls::explain)
        }
        Error::Tls(cause) => Some((*cause).to_owned()),
        _ => None,
    }
}

fn in_time(phase: Timeout, sent: bool) -> &'static str {
    match phase {
        _ if sent => "no answer in time after the request was sent; the message may have arrived",
        Timeout::Connect => "no connection in time; nothing was sent",
        _ => "time was up before the request was sent whole; the message did not arrive",
    }
}
