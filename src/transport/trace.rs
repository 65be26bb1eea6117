//! A view of a delivery, step by step, for whoever tests a setting. No secret is shown.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConnection;

use super::certificate;

/// Longest text of one note, in characters.
const NOTE_MAX: usize = 500;

/// Told what a transport does. Off unless given, and then nothing is put together for it.
#[derive(Clone, Default)]
pub struct Trace(Option<Arc<Observer>>);

type Observer = dyn Fn(&'static str, &str) + Send + Sync;

impl Trace {
    /// Calls `observer` with the name of each step, and what happened in it.
    pub fn new(observer: impl Fn(&'static str, &str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observer)))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells what happened, cut and without control characters.
    pub(super) fn note(&self, step: &'static str, what: impl FnOnce() -> String) {
        if let Some(observer) = &self.0 {
            let clean = what().trim_end().replace(char::is_control, " ");
            observer(step, &clean.chars().take(NOTE_MAX).collect::<String>());
        }
    }

    /// Tells what a handshake agreed on, and whom the certificate names.
    pub(super) fn note_tls(&self, connection: &ClientConnection) {
        self.note("TLS", || {
            let version = connection.protocol_version().map(|it| format!("{it:?}"));
            let suite = connection.negotiated_cipher_suite().map(|it| format!("{:?}", it.suite()));
            let first = connection.peer_certificates().and_then(<[_]>::first);
            let names = first.map(|der| certificate::names(der)).unwrap_or_default();
            let agreed = [version, suite].into_iter().flatten().collect::<Vec<_>>().join(", ");
            format!("{agreed}, certificate for {}", names.join(", "))
        });
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Trace on" } else { "Trace off" })
    }
}
