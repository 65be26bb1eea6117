//! What is known of the far ends: how many deliveries each has now, and whether it is down.
//!
//! - An *endpoint* is what a message names: a whole URL, a named endpoint, the default one, the
//!   relay. It has a share of the delivery threads, and a circuit breaker: while it is down, its
//!   messages wait, a single one tries now and then, and none of it costs an attempt.
//! - A *host* (scheme, host and port) has a share that is a little larger, over all endpoints on
//!   it. It has no breaker, since another path of the same host may be well.
//! - The *room* is all threads. Endpoints without a recent fast answer hold half of it at most,
//!   together with all deliveries that take long, and each host a part of that half.
//!
//! All of it is this worker's own experience, and forgotten with it; before that only where nobody is under
//! way, and where a breaker is open, five minutes after its pause. Nothing in it grows with what
//! messages say: an endpoint is known by a digest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};

use crate::gate::{Gate, Pass};
use crate::lease::Message;
use crate::outcome::{Failure, Health, storable};
use crate::telemetry;

mod breaker;
mod host;
mod record;
mod room;

use breaker::{Breaker, Change, Role};
use host::{Host, Stay};
use record::Record;
pub(crate) use room::Room;
use room::Slow;

/// A full share where for so long nobody leaves is stalled: threads wait for it no more. Until then up
/// to the limit. Both are times that all threads may be held for, and well within what a lease leaves.
const PATIENCE: Duration = Duration::from_millis(250);
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// Fewer threads are not shared out unless that is asked for: there is too little to share.
const SHARED_MIN: usize = 16;
/// As many endpoints are remembered before idle ones are forgotten, at first.
const KNOWN_MAX: usize = 4096;
/// As many are remembered at all, besides those with a delivery under way: some 20 MB.
const KNOWN_LIMIT: usize = 16 * KNOWN_MAX;
/// Longest name of a host that is kept to be shown, in bytes.
const NAME_MAX: usize = 300;

/// Most deliveries at a time; `None`: as many as there are threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    endpoint: Option<u32>,
    host: Option<u32>,
    slow: Option<Slow>,
}

impl Shares {
    /// Of so many threads, of which one endpoint may take `share`, where it is set. If that is all of
    /// them, nothing is kept for others.
    pub(crate) fn new(threads: usize, share: Option<usize>) -> Self {
        let default = if threads < SHARED_MIN { threads } else { threads * 3 / 4 };
        let endpoint = share.unwrap_or(default).clamp(1, threads.max(1));
        let host = usize::midpoint(endpoint, threads).max(1);
        // No limit where it would be no less than all.
        let most = |share| if share < threads { u32::try_from(share).ok() } else { None };
        let is_shared = share.is_none_or(|share| share < threads);
        let slow = is_shared.then(|| Slow::new(threads));
        Self { endpoint: most(endpoint), host: most(host), slow }
    }

    /// The threads that these are shares of.
    pub(crate) fn room(self) -> Arc<Room> {
        Arc::new(Room::new(self.slow))
    }
}

/// What an endpoint is known by.
type Key = [u8; 32];

/// All far ends that a worker has met. Owned by the one who asks where messages go.
pub(crate) struct Destinations {
    shares: Shares,
    room: Arc<Room>,
    endpoints: HashMap<Key, Arc<Destination>>,
    hosts: HashMap<Key, Arc<Host>>,
    /// Endpoints at which idle ones are forgotten.
    known_max: usize,
}

/// Where messages go that name the same endpoint.
#[derive(Debug)]
pub(crate) struct Destination {
    gate: Gate,
    host: Arc<Host>,
    breaker: Mutex<Breaker>,
    record: Mutex<Record>,
}

/// One delivery there. If it is not [`end`](Self::end)ed, it was none.
pub(crate) struct Visit<'a> {
    destination: &'a Destination,
    role: Role,
    began: Instant,
    passes: [Pass<'a>; 2],
    stay: Stay<'a>,
}

impl Destinations {
    /// None yet, with shares of the threads in `room`.
    pub(crate) fn new(shares: Shares, room: Arc<Room>) -> Self {
        let (endpoints, hosts) = (HashMap::new(), HashMap::new());
        Self { shares, room, endpoints, hosts, known_max: KNOWN_MAX }
    }

    /// Where `message` goes; `None` if nobody else's messages meet it there. `host` is asked only where the
    /// endpoint is not known yet.
    pub(crate) fn of<E>(
        &mut self,
        message: &Message,
        host: impl FnOnce() -> Result<Option<String>, E>,
    ) -> Result<Option<Arc<Destination>>, E> {
        let key = key_of(message);
        if let Some(known) = self.endpoints.get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(name) = host()? else { return Ok(None) };
        if self.known_max <= self.endpoints.len() {
            self.forget_idle(Instant::now());
        }
        let (gate, host) = (Gate::new(self.shares.endpoint), self.host(&name));
        let (breaker, record) = (Mutex::default(), Mutex::default());
        let destination = Arc::new(Destination { gate, host, breaker, record });
        self.endpoints.insert(key, Arc::clone(&destination));
        Ok(Some(destination))
    }

    fn host(&mut self, name: &str) -> Arc<Host> {
        let (share, room) = (self.shares.host, &self.room);
        let host = self.hosts.entry(digest(&[name]));
        let name = storable(name, NAME_MAX);
        let new = || Arc::new(Host::new(name, Gate::new(share), Arc::clone(room)));
        Arc::clone(host.or_insert_with(new))
    }

    /// Who is left makes room for as many again, so that to look at all stays rare.
    fn forget_idle(&mut self, now: Instant) {
        // Only this thread makes users out of what is known here, so none can appear meanwhile.
        let is_used = |it: &Arc<Destination>| 1 < Arc::strong_count(it);
        self.endpoints.retain(|_, it| is_used(it) || !it.breaker().is_idle(now));
        if KNOWN_LIMIT <= self.endpoints.len() {
            // Better a pause that is forgotten than memory without end.
            self.endpoints.retain(|_, it| is_used(it));
        }
        self.hosts.retain(|_, host| 1 < Arc::strong_count(host));
        self.known_max = KNOWN_MAX.max(2 * self.endpoints.len()).min(KNOWN_LIMIT);
    }
}

/// What the endpoint of a message is known by. Settings that were changed make it another one.
fn key_of(message: &Message) -> Key {
    let Message { method, endpoint, endpoint_version: version, .. } = message;
    let version = version.map(|version| version.to_string()).unwrap_or_default();
    digest(&[method, &version, endpoint.as_deref().unwrap_or_default()])
}

fn digest(parts: &[&str]) -> Key {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    context.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

impl Destination {
    /// How long a message has to wait, if the endpoint is down. Cheap, and right for most: to be asked
    /// before a thread has to do with it.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.breaker().park(Instant::now())
    }

    /// The right to deliver, or how long to stay away. May take [`PATIENCE_MAX`] for an endpoint that
    /// answers fast, and again for its host.
    pub(crate) fn enter(&self) -> Result<Visit<'_>, Duration> {
        let (stay, passes) = self.enter_shares().inspect_err(|_| telemetry::crowded())?;
        let role = self.breaker().enter(Instant::now())?;
        Ok(Visit { destination: self, role, began: Instant::now(), passes, stay })
    }

    fn enter_shares(&self) -> Result<(Stay<'_>, [Pass<'_>; 2]), Duration> {
        let stay = self.host.enter(&self.record, Instant::now())?;
        let endpoint = self.gate.enter_soon(PATIENCE, PATIENCE_MAX)?;
        let host = self.host.gate.enter_soon(PATIENCE, PATIENCE_MAX)?;
        Ok((stay, [endpoint, host]))
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
        self.stay.answered = matches!(health, Health::Answers | Health::Asks { .. });
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
            self.destination.host.gate.begin_anew(since);
        }
        let name = &self.destination.host.name;
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
