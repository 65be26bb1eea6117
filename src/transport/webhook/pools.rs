//! Which pool of idle connections a request uses.
//!
//! ureq keeps the idle connections of an agent in one list under one lock, and each request
//! walks it twice, once per host: 400 hosts in it made deliveries 14 times slower than one.
//! So the hosts are spread over several small pools, and the one host that often takes all
//! messages has some for itself, of which a request takes the first with room: few requests at a time
//! share few connections, many do not walk past those of all others. The sum stays well below a usual limit
//! of open files.
//!
//! An agent closes connections that are too old when it is used, and only then: after a burst, those
//! of a pool that nobody needs any more would stay open, though their peer has closed them. So a request
//! that ends looks now and then for pools that rest, and gives them a new agent in place of the old one.
//!
//! # Invariants
//!
//! - A request keeps the agent it began with. Whoever lets go of an old one last closes its connections.
//! - A pool with a request under way is left alone, and so is one that was used within the idle age. A request
//!   that begins in the very moment of the look gets either agent; at worst it makes a connection.
//! - A lock is held to copy or swap a pointer; agents are built and dropped outside of it.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::Uri;
use ureq::http::uri::Authority;

/// Pools of the main host.
const MAINS: usize = 8;
/// Idle connections in each of these: together one for each delivery thread that anyone may run.
const MAIN_IDLE_MAX: usize = 64;
/// Requests at a time in one of these while another has room.
const MAIN_SHARE: usize = 8;
/// Pools of the other hosts.
const OTHERS: usize = 8;
/// Idle connections in each of these.
const OTHER_IDLE_MAX: usize = 32;

/// Looks for resting pools within an idle age.
const LOOKS: u64 = 4;
/// A time of last use: the agent is new.
const NEVER: u64 = u64::MAX;

/// Agents that differ in nothing but their connections.
pub(super) struct Pools {
    mains: Vec<Pool>,
    main_host: OnceLock<Authority>,
    others: Vec<Pool>,
    hasher: RandomState,
    build: Box<Build>,
    idle_age_ms: u64,
    /// Times are milliseconds since then.
    start: Instant,
    next_look: AtomicU64,
}

/// Makes an agent that keeps so many connections.
type Build = dyn Fn(usize) -> Agent + Send + Sync;

/// An agent, and how many requests it has under way.
struct Pool {
    agent: Mutex<Arc<Agent>>,
    idle_max: usize,
    busy: AtomicUsize,
    /// When the last request ended.
    used_at: AtomicU64,
}

/// An agent for one request, until the response was read.
pub(super) struct Client<'a> {
    agent: Arc<Agent>,
    home: Option<(&'a Pools, &'a Pool)>,
}

impl Pools {
    /// Makes the agents with `build`, which is told how many connections one may keep; none is of use
    /// for longer than `idle_age`. The host of `main`, or else the first that is asked for, is the main host.
    pub(super) fn new(
        main: Option<&Uri>,
        idle_age: Duration,
        build: impl Fn(usize) -> Agent + Send + Sync + 'static,
    ) -> Self {
        let main_host = main.and_then(Uri::authority).cloned();
        let pools = |count, idle_max| {
            (0..count).map(|_| Pool::new(idle_max, build(idle_max))).collect::<Vec<_>>()
        };
        Self {
            mains: pools(MAINS, MAIN_IDLE_MAX),
            main_host: main_host.map_or_else(OnceLock::new, OnceLock::from),
            others: pools(OTHERS, OTHER_IDLE_MAX),
            hasher: RandomState::new(),
            build: Box::new(build),
            idle_age_ms: millis(idle_age),
            start: Instant::now(),
            next_look: AtomicU64::default(),
        }
    }

    /// A client for a request to a URL.
    pub(super) fn client(&self, uri: &Uri) -> Client<'_> {
        let pool = self.pool(uri);
        pool.busy.fetch_add(1, Ordering::Relaxed);
        Client { agent: Arc::clone(&pool.agent()), home: Some((self, pool)) }
    }

    /// Renews the pools that rest, if it is time to look for them.
    fn look(&self, now: u64) {
        let due = self.next_look.load(Ordering::Relaxed);
        if now < due {
            return;
        }
        let next = now + self.idle_age_ms / LOOKS;
        // One of those who come at the same time. The order of nothing else hangs on it.
        let mine = self.next_look.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_ok() {
            for pool in self.mains.iter().chain(&self.others) {
                pool.renew_if_resting(now, self.idle_age_ms, &self.build);
            }
        }
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }

    fn pool(&self, uri: &Uri) -> &Pool {
        let Some(host) = uri.authority() else { return &self.others[0] };
        if self.main_host.get_or_init(|| host.clone()) == host {
            let has_room = |pool: &&Pool| pool.busy() < MAIN_SHARE;
            let least_busy = || self.mains.iter().min_by_key(|pool| pool.busy());
            let pool = self.mains.iter().find(has_room).or_else(least_busy);
            return pool.expect("there are some");
        }
        let index = self.hasher.hash_one(host) % OTHERS as u64;
        &self.others[usize::try_from(index).expect("below OTHERS")]
    }
}

impl Pool {
    fn new(idle_max: usize, agent: Agent) -> Self {
        let (agent, used_at) = (Mutex::new(Arc::new(agent)), AtomicU64::new(NEVER));
        Self { agent, idle_max, busy: AtomicUsize::default(), used_at }
    }

    fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    fn agent(&self) -> MutexGuard<'_, Arc<Agent>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the agent out of use if no connection of it can be of use.
    fn renew_if_resting(&self, now: u64, idle_age_ms: u64, build: &Build) {
        // Acquire, with the release of `Client::drop`: who sees that a request has ended sees when.
        if 0 < self.busy.load(Ordering::Acquire) {
            return;
        }
        let used_at = self.used_at.load(Ordering::Relaxed);
        if now < used_at.saturating_add(idle_age_ms) {
            return;
        }
        // Before the swap, and only in place of what was read: whatever ends from now on, with either
        // agent, leaves its time for a later look.
        let claimed =
            self.used_at.compare_exchange(used_at, NEVER, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_ok() {
            let fresh = Arc::new(build(self.idle_max));
            let old = mem::replace(&mut *self.agent(), fresh);
            drop(old);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// For the agent of a single endpoint.
impl From<&Arc<Agent>> for Client<'_> {
    fn from(agent: &Arc<Agent>) -> Self {
        Self { agent: Arc::clone(agent), home: None }
    }
}

impl Deref for Client<'_> {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.agent
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        if let Some((pools, pool)) = self.home {
            let now = pools.now();
            pool.used_at.store(now, Ordering::Relaxed);
            pool.busy.fetch_sub(1, Ordering::Release);
            pools.look(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools_of_age(idle_age: Duration) -> Pools {
        Pools::new(None, idle_age, |_| Agent::new_with_defaults())
    }

    fn pools() -> Pools {
        pools_of_age(Duration::from_mins(1))
    }

    fn busy(pools: &[Pool]) -> Vec<usize> {
        pools.iter().map(Pool::busy).collect()
    }

    #[test]
    fn few_requests_share_one_pool_and_many_are_spread() {
        let (pools, uri) = (pools(), Uri::from_static("https://a.example.com/x"));
        for _ in 0..3 {
            let _client = pools.client(&uri);
            assert_eq!(busy(&pools.mains)[..2], [1, 0]);
        }
        let clients: Vec<_> = (0..2 * MAINS * MAIN_SHARE).map(|_| pools.client(&uri)).collect();
        assert_eq!(busy(&pools.mains), [2 * MAIN_SHARE; MAINS]);
        drop(clients);
        assert_eq!(busy(&pools.mains), [0; MAINS]);
    }

    #[test]
    fn the_first_host_has_pools_of_its_own() {
        let pools = pools();
        let [main, other] =
            ["https://a.example.com/x", "https://b.example.com"].map(Uri::from_static);
        let _clients = [pools.client(&main), pools.client(&other), pools.client(&other)];
        assert_eq!(busy(&pools.mains)[0], 1);
        assert_eq!(busy(&pools.others).into_iter().max(), Some(2), "always the same for one host");
    }

    /// Requests that fill the main pools.
    fn fill<'a>(pools: &'a Pools, uri: &Uri) -> Vec<Client<'a>> {
        (0..MAINS * MAIN_SHARE).map(|_| pools.client(uri)).collect()
    }

    /// The agent of the last main pool, once one more request has looked for pools that rest.
    fn last_after_look(pools: &Pools, uri: &Uri) -> Arc<Agent> {
        pools.next_look.store(0, Ordering::Relaxed);
        drop(pools.client(uri));
        Arc::clone(&pools.mains[MAINS - 1].agent())
    }

    #[test]
    fn a_pool_that_rests_gets_a_new_agent_once_and_lets_the_old_one_go() {
        let (pools, uri) =
            (pools_of_age(Duration::ZERO), Uri::from_static("https://a.example.com"));
        let old = fill(&pools, &uri).pop().map(|client| Arc::downgrade(&client.agent)).unwrap();
        let new = last_after_look(&pools, &uri);
        assert_eq!(old.strong_count(), 0, "its connections are still open");
        assert!(Arc::ptr_eq(&new, &last_after_look(&pools, &uri)), "replaced without any use");
    }

    #[test]
    fn a_pool_that_is_in_use_or_was_within_the_idle_age_keeps_its_agent() {
        let uri = Uri::from_static("https://a.example.com");
        let (in_use, just_used) = (pools_of_age(Duration::ZERO), pools());
        // The others in its pool have ended.
        let client = fill(&in_use, &uri).pop().unwrap();
        assert!(Arc::ptr_eq(&client.agent, &last_after_look(&in_use, &uri)));

        let agent = fill(&just_used, &uri).pop().map(|client| Arc::clone(&client.agent)).unwrap();
        assert!(Arc::ptr_eq(&agent, &last_after_look(&just_used, &uri)));
    }
}
