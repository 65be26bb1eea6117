//! The HTTP clients: those that endpoints share, and one for each that has TLS of its own.

use std::sync::Arc;

use rustls::RootCertStore;
use ureq::http::Uri;

use crate::transport::webhook::agent::{self, Parts};
use crate::transport::webhook::pools::{Client, Pools};
use crate::transport::webhook::target::Target;
use crate::transport::webhook::tls;

/// Idle connections to an endpoint with a client of its own: there may be many such endpoints.
const OWN_IDLE_MAX: usize = 8;

/// Makes clients and keeps the shared ones; an endpoint keeps its own.
pub(super) struct Clients {
    parts: Arc<Parts>,
    /// What every endpoint trusts.
    roots: RootCertStore,
    shared: Pools,
}

impl Clients {
    /// `main` is the URL that most requests go to, if it is known.
    pub(super) fn new(parts: Parts, roots: RootCertStore, main: Option<&Uri>) -> Self {
        let config = tls::client_config(roots.clone(), None, &parts.trace);
        let parts = Arc::new(parts);
        let build = {
            let parts = Arc::clone(&parts);
            move |idle_max| agent::build(&parts, &config, idle_max)
        };
        let shared = Pools::new(main, parts.idle_age, build);
        Self { parts, roots, shared }
    }

    /// The client for a target. No other target shows its certificate: connections are not shared.
    pub(super) fn client<'a>(&'a self, target: &'a Target) -> Client<'a> {
        let Some(secured) = &target.secured else {
            return self.shared.client(&target.endpoint.uri);
        };
        let agent = secured.agent.get_or_init(|| {
            let mut roots = self.roots.clone();
            roots.extend(secured.authorities.roots.iter().cloned());
            let config = tls::client_config(roots, secured.identity.clone(), &self.parts.trace);
            Arc::new(agent::build(&self.parts, &config, OWN_IDLE_MAX))
        });
        agent.into()
    }
}
