//! What is known of the far ends: how many deliveries each has now, and whether it is down.
//!
//! - An *endpoint* is what a message names: a URL without its query, a named endpoint, the default
//!   one, the relay. It has a share of the delivery threads, and a circuit breaker: while it is
//!   down, its messages wait, a single one tries now and then, and none of it costs an attempt.
//! - A *host* (scheme, host and port) has a share that is a little larger, over all endpoints on
//!   it. It has no breaker, since another path of the same host may be well.
//!
//! All of it is this worker's own experience, and forgotten with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::gate::{Gate, Pass};
use crate::lease::Message;
use crate::outcome::{Failure, Verdict};
use crate::telemetry;

mod breaker;

use breaker::{Breaker, Change, Role};

/// A full share where for so long nobody leaves is stalled: threads wait for it no more. Until then up
/// to the limit, which is well within what a lease leaves.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// Fewer threads are not shared out unless that is asked for: there is too little to share.
const SHARED_MIN: usize = 16;
/// Most endpoints, and hosts, that are remembered.
const KNOWN_MAX: usize = 4096;

/// All far ends that this worker has met.
pub(crate) struct Destinations {
    endpoint_most: Option<u32>,
    host_most: Option<u32>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    endpoints: HashMap<String, Arc<Endpoint>>,
    hosts: HashMap<String, Arc<Gate>>,
}

struct Endpoint {
    gate: Gate,
    breaker: Mutex<Breaker>,
}

/// Where one message goes.
pub(crate) struct Destination {
    name: String,
    endpoint: Arc<Endpoint>,
    host: Arc<Gate>,
}

/// One delivery there. If it is not [`end`](Self::end)ed, it was none.
pub(crate) struct Visit<'a> {
    destination: &'a Destination,
    role: Role,
    began: Instant,
    _passes: [Pass<'a>; 2],
}

impl Destinations {
    /// For a worker with so many threads, of which one endpoint may take `share`, where it is set.
    pub(crate) fn new(threads: usize, share: Option<usize>) -> Self {
        let default = if threads < SHARED_MIN { threads } else { threads * 3 / 4 };
        let endpoint = share.unwrap_or(default).clamp(1, threads.max(1));
        let host = usize::midpoint(endpoint, threads).max(1);
        // No limit where it would be no less than all.
        let most = |share| if share < threads { u32::try_from(share).ok() } else { None };
        let known = Mutex::default();
        Self { endpoint_most: most(endpoint), host_most: most(host), known }
    }

    /// How long a message has to wait for its endpoint, if that is down. Cheap, and right for most:
    /// to be asked before a thread has to do with it.
    pub(crate) fn wait(&self, message: &Message) -> Option<Duration> {
        let endpoint = self.known().endpoints.get(&key(message)).map(Arc::clone)?;
        endpoint.breaker().park(Instant::now())
    }

    /// Where `message` goes, which is on `host`.
    pub(crate) fn of(&self, message: &Message, host: String) -> Destination {
        let mut known = self.known();
        if KNOWN_MAX <= known.endpoints.len().max(known.hosts.len()) {
            *known = Known::default(); // Rarer than a better way would be worth.
        }
        let endpoint = known.endpoints.entry(key(message)).or_insert_with(|| {
            Arc::new(Endpoint { gate: Gate::new(self.endpoint_most), breaker: Mutex::default() })
        });
        let endpoint = Arc::clone(endpoint);
        let gate = known.hosts.entry(host.clone());
        let gate = Arc::clone(gate.or_insert_with(|| Arc::new(Gate::new(self.host_most))));
        Destination { name: host, endpoint, host: gate }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the endpoint of a message is known by. Settings that were changed make it another one.
fn key(message: &Message) -> String {
    let Message { method, endpoint, endpoint_version: version, .. } = message;
    let endpoint = endpoint.as_deref().unwrap_or_default();
    let place = endpoint.split(['?', '#']).next().unwrap_or_default();
    format!("{method} {} {place}", version.unwrap_or_default())
}

impl Destination {
    /// The right to deliver, or how long to stay away. May take [`PATIENCE_MAX`] for the endpoint, and again
    /// for the host.
    pub(crate) fn enter(&self) -> Result<Visit<'_>, Duration> {
        let passes = self.endpoint.gate.enter_soon(PATIENCE, PATIENCE_MAX).and_then(|endpoint| {
            let host = self.host.enter_soon(PATIENCE, PATIENCE_MAX)?;
            Ok([endpoint, host])
        });
        let passes = passes.inspect_err(|_| telemetry::crowded())?;
        let role = self.endpoint.breaker().enter(Instant::now())?;
        Ok(Visit { destination: self, role, began: Instant::now(), _passes: passes })
    }
}

impl Visit<'_> {
    /// Ends it, and notes what came of it.
    pub(crate) fn end(mut self, failure: Option<&Failure>) {
        let (began, now) = (self.began, Instant::now());
        let role = std::mem::replace(&mut self.role, Role::Usual);
        let mut breaker = self.destination.endpoint.breaker();
        let change = match failure {
            Some(Failure { destination_pause: Some(pause), .. }) if !pause.is_zero() => {
                breaker.asked_to_wait(*pause, now)
            }
            Some(failure) if failure.destination_down => breaker.failed(role, began, now),
            // Our own trouble says nothing of the far end.
            Some(Failure { verdict: Verdict::Blocked { .. }, .. }) => {
                breaker.unsure(role, now);
                None
            }
            _ => breaker.answered(role),
        };
        drop(breaker);
        let name = &self.destination.name;
        match (change, failure) {
            (Some(Change::Opened { pause }), Some(failure)) => {
                telemetry::destination_down(name, &failure.code, pause);
            }
            (Some(Change::Paused { pause }), _) => telemetry::destination_paused(name, pause),
            (Some(Change::Closed), _) => telemetry::destination_well(name),
            _ => (),
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.destination.endpoint.breaker().unsure(self.role, Instant::now());
    }
}

impl Endpoint {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_leaves_threads_to_its_host_and_one_host_to_the_others() {
        let most = |threads, share| {
            let it = Destinations::new(threads, share);
            (it.endpoint_most, it.host_most)
        };
        assert_eq!(most(64, None), (Some(48), Some(56)));
        assert_eq!(most(64, Some(16)), (Some(16), Some(40)));
        assert_eq!(most(64, Some(64)), (None, None));
        assert_eq!(most(2, Some(1)), (Some(1), Some(1)));
        assert_eq!(most(8, None), (None, None), "there is too little to share");
    }
}
