//! What is known of the far ends: how many deliveries each has now, and whether it is down.
//!
//! - An *endpoint* is what a message names: a URL without its query, a named endpoint, the default
//!   one, the relay. It has a share of the delivery threads, and a circuit breaker: while it is
//!   down, its messages wait, a single one tries now and then, and none of it costs an attempt.
//! - A *host* (scheme, host and port) has a share that is a little larger, over all endpoints on
//!   it. It has no breaker, since another path of the same host may be well.
//!
//! All of it is this worker's own experience, and forgotten with it; before that only where nobody is under
//! way, and where a breaker is open, five minutes after its pause.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::gate::{Gate, Pass};
use crate::lease::Message;
use crate::outcome::{Failure, Health};
use crate::telemetry;

mod breaker;

use breaker::{Breaker, Change, Role};

/// A full share where for so long nobody leaves is stalled: threads wait for it no more. Until then up
/// to the limit. Both are times that all threads may be held for, and well within what a lease leaves.
const PATIENCE: Duration = Duration::from_millis(250);
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// Fewer threads are not shared out unless that is asked for: there is too little to share.
const SHARED_MIN: usize = 16;
/// As many endpoints are remembered before idle ones are forgotten, at first.
const KNOWN_MAX: usize = 4096;

/// Most deliveries at a time; `None`: as many as there are threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    endpoint: Option<u32>,
    host: Option<u32>,
}

impl Shares {
    /// Of so many threads, of which one endpoint may take `share`, where it is set.
    pub(crate) fn new(threads: usize, share: Option<usize>) -> Self {
        let default = if threads < SHARED_MIN { threads } else { threads * 3 / 4 };
        let endpoint = share.unwrap_or(default).clamp(1, threads.max(1));
        let host = usize::midpoint(endpoint, threads).max(1);
        // No limit where it would be no less than all.
        let most = |share| if share < threads { u32::try_from(share).ok() } else { None };
        Self { endpoint: most(endpoint), host: most(host) }
    }
}

/// All far ends that a worker has met. Owned by the one who asks where messages go.
pub(crate) struct Destinations {
    shares: Shares,
    endpoints: HashMap<String, Arc<Destination>>,
    hosts: HashMap<String, Arc<Gate>>,
    /// Endpoints at which idle ones are forgotten.
    known_max: usize,
    /// Of the message asked for, here to spare its memory.
    key: String,
}

/// Where messages go that name the same endpoint.
#[derive(Debug)]
pub(crate) struct Destination {
    /// Of its host.
    name: String,
    gate: Gate,
    host: Arc<Gate>,
    breaker: Mutex<Breaker>,
}

/// One delivery there. If it is not [`end`](Self::end)ed, it was none.
pub(crate) struct Visit<'a> {
    destination: &'a Destination,
    role: Role,
    began: Instant,
    passes: [Pass<'a>; 2],
}

impl Destinations {
    /// None yet.
    pub(crate) fn new(shares: Shares) -> Self {
        let (endpoints, hosts) = (HashMap::new(), HashMap::new());
        Self { shares, endpoints, hosts, known_max: KNOWN_MAX, key: String::new() }
    }

    /// Where `message` goes; `None` if nobody else's messages meet it there. `host` is asked only where the
    /// endpoint is not known yet.
    pub(crate) fn of<E>(
        &mut self,
        message: &Message,
        host: impl FnOnce() -> Result<Option<String>, E>,
    ) -> Result<Option<Arc<Destination>>, E> {
        write_key(message, &mut self.key);
        if let Some(known) = self.endpoints.get(&self.key) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(name) = host()? else { return Ok(None) };
        if self.known_max <= self.endpoints.len() {
            self.forget_idle(Instant::now());
        }
        let new_host = || Arc::new(Gate::new(self.shares.host));
        let host = Arc::clone(self.hosts.entry(name.clone()).or_insert_with(new_host));
        let (gate, breaker) = (Gate::new(self.shares.endpoint), Mutex::default());
        let destination = Arc::new(Destination { name, gate, host, breaker });
        self.endpoints.insert(self.key.clone(), Arc::clone(&destination));
        Ok(Some(destination))
    }

    /// Who is left makes room for as many again, so that to look at all stays rare.
    fn forget_idle(&mut self, now: Instant) {
        // Only this thread makes users out of what is known here, so none can appear meanwhile.
        self.endpoints.retain(|_, it| 1 < Arc::strong_count(it) || !it.breaker().is_idle(now));
        self.hosts.retain(|_, gate| 1 < Arc::strong_count(gate));
        self.known_max = KNOWN_MAX.max(2 * self.endpoints.len());
    }
}

/// Writes what the endpoint of a message is known by. Settings that were changed make it another one.
fn write_key(message: &Message, key: &mut String) {
    let Message { method, endpoint, endpoint_version: version, .. } = message;
    let endpoint = endpoint.as_deref().unwrap_or_default();
    let place = endpoint.split(['?', '#']).next().unwrap_or_default();
    key.clear();
    write!(key, "{method} {} {place}", version.unwrap_or_default()).expect("memory takes it");
}

impl Destination {
    /// How long a message has to wait, if the endpoint is down. Cheap, and right for most: to be asked
    /// before a thread has to do with it.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.breaker().park(Instant::now())
    }

    /// The right to deliver, or how long to stay away. May take [`PATIENCE_MAX`] for the endpoint, and again
    /// for the host.
    pub(crate) fn enter(&self) -> Result<Visit<'_>, Duration> {
        let passes = self.gate.enter_soon(PATIENCE, PATIENCE_MAX).and_then(|endpoint| {
            let host = self.host.enter_soon(PATIENCE, PATIENCE_MAX)?;
            Ok([endpoint, host])
        });
        let passes = passes.inspect_err(|_| telemetry::crowded())?;
        let role = self.breaker().enter(Instant::now())?;
        Ok(Visit { destination: self, role, began: Instant::now(), passes })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit<'_> {
    /// Ends it, and notes what came of it.
    pub(crate) fn end(mut self, failure: Option<&Failure>) {
        let (began, now) = (self.began, Instant::now());
        let role = std::mem::replace(&mut self.role, Role::Usual);
        let health = failure.map_or(Health::Answers, |failure| failure.destination);
        self.passes.iter_mut().for_each(|pass| match health {
            Health::Answers => pass.is_answered(),
            Health::Asks { .. } | Health::Down => pass.delivers(),
            Health::Unknown => (),
        });
        let mut breaker = self.destination.breaker();
        let change = match health {
            Health::Asks { pause } => breaker.asked_to_wait(pause, now),
            Health::Down => breaker.failed(role, began, now),
            Health::Answers => breaker.answered(role),
            Health::Unknown => {
                breaker.unsure(role, now);
                None
            }
        };
        drop(breaker);
        if let Some(Change::Closed { since }) = change {
            // What took long to fail says nothing of what now succeeds. This pass is not given back yet, so it
            // does not count as an answer meanwhile; those of other endpoints do, and their host stays as it is.
            self.destination.gate.begin_anew(since);
            self.destination.host.begin_anew(since);
        }
        let name = &self.destination.name;
        match (change, failure) {
            (Some(Change::Opened { pause }), Some(failure)) => {
                telemetry::destination_down(name, &failure.code, pause);
            }
            (Some(Change::Paused { pause }), _) => telemetry::destination_paused(name, pause),
            (Some(Change::Closed { .. }), _) => telemetry::destination_well(name),
            _ => (),
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.destination.breaker().unsure(self.role, Instant::now());
    }
}

#[cfg(test)]
mod tests;
