//! What it means that a request got no answer. Pure.
//!
//! All of it may pass, except a literal address that may not be reached. What matters to people is
//! whether the receiver may already have the message: it can drop the copy by its id.
//!
//! A network or a name server of our own that is down looks like that of the far end: the resolver says
//! "try again" for both, and a router far away refuses with the same codes as our own routes. So that
//! costs an attempt, until the destination counts as down. Only what says that this machine has no
//! means left is taken for our own trouble.

use ureq::{Error, Timeout};

use crate::outcome::{Failure, Verdict};
use crate::transport::dns::{self, LookupError};
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
    match (failure.verdict, error) {
        // A request that cannot be made reaches nobody.
        (_, Error::Http(_) | Error::BadUri(_)) => failure,
        (Verdict::Temporary { .. }, _) => failure.of_destination(),
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
        Error::Io(error) if dns::is_ours(error) => Failure::blocked(
            "local",
            format!("{origin}: this machine cannot make a connection ({error})"),
        ),
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
        Unreachable::Resolved(_) => Failure::temporary("blocked_address", reason).of_destination(),
        Unreachable::Lookup(LookupError::Busy | LookupError::Ours(_)) => {
            Failure::blocked("dns", reason)
        }
        Unreachable::Lookup(LookupError::NotFound(_) | LookupError::TimedOut) => {
            Failure::temporary("dns", reason).of_destination()
        }
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::outcome::Health;

    fn explained(error: &Error) -> Failure {
        explain(error, "https://example.com", Progress { sent: false, proxied: false })
    }

    fn is_own_trouble(failure: &Failure) -> bool {
        matches!(failure.verdict, Verdict::Blocked { .. }) && failure.destination == Health::Unknown
    }

    #[test]
    fn a_machine_without_means_left_blames_nobody_else() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ENETDOWN] {
            let error = || io::Error::from_raw_os_error(code);
            let failure = explained(&error().into());
            assert!(is_own_trouble(&failure), "{failure:?}");
            let lookup = Unreachable::Lookup(error().into());
            let failure = explained(&Error::Other(Box::new(lookup)));
            assert!(is_own_trouble(&failure), "{failure:?}");
        }
    }

    #[test]
    fn what_may_be_the_far_end_s_trouble_is_taken_for_it() {
        for code in [libc::ECONNREFUSED, libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ECONNRESET] {
            let failure = explained(&io::Error::from_raw_os_error(code).into());
            assert_eq!(failure.destination, Health::Down, "{failure:?}");
        }
        let lookup = Unreachable::Lookup(LookupError::TimedOut);
        assert_eq!(unreachable(&lookup, "https://example.com").destination, Health::Down);
    }

    #[test]
    fn a_request_that_cannot_be_made_tells_nothing_of_the_far_end() {
        let failure = explained(&Error::BadUri("m4rk3r".into()));
        assert_eq!(failure.destination, Health::Unknown);
    }
}
