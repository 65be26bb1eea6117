//! Which pool of idle connections a request uses.
//!
//! ureq keeps the idle connections of an agent in one list under one lock, and each request
//! walks it twice, once per host: 400 hosts in it made deliveries 14 times slower than one.
//! So the hosts are spread over several small pools, and the one host that often takes all
//! messages has some for itself, of which a request takes the first with room: few requests at a time
//! share few connections, many do not walk past those of all others. The sum stays well below a usual limit
//! of open files.

use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Agents that differ in nothing but their connections.
pub(super) struct Pools {
    mains: Vec<Pool>,
    main_host: OnceLock<Authority>,
    others: Vec<Pool>,
    hasher: RandomState,
}

/// An agent, and how many requests it has under way.
struct Pool {
    agent: Agent,
    busy: AtomicUsize,
}

/// An agent for one request, until the response was read.
pub(super) struct Client<'a> {
    agent: &'a Agent,
    busy: Option<&'a AtomicUsize>,
}

impl Pools {
    /// Makes the agents with `build`, which is told how many connections one may keep. The host
    /// of `main`, or else the first that is asked for, is the main host.
    pub(super) fn new(main: Option<&Uri>, mut build: impl FnMut(usize) -> Agent) -> Self {
        let main_host = main.and_then(Uri::authority).cloned();
        let mut pools = |count, idle_max| {
            let pool = |_| Pool { agent: build(idle_max), busy: AtomicUsize::default() };
            (0..count).map(pool).collect()
        };
        Self {
            mains: pools(MAINS, MAIN_IDLE_MAX),
            main_host: main_host.map_or_else(OnceLock::new, OnceLock::from),
            others: pools(OTHERS, OTHER_IDLE_MAX),
            hasher: RandomState::new(),
        }
    }

    /// A client for a request to a URL.
    pub(super) fn client(&self, uri: &Uri) -> Client<'_> {
        self.pool(uri).client()
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
    fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    fn client(&self) -> Client<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Client { agent: &self.agent, busy: Some(&self.busy) }
    }
}

impl<'a> From<&'a Agent> for Client<'a> {
    fn from(agent: &'a Agent) -> Self {
        Self { agent, busy: None }
    }
}

impl Deref for Client<'_> {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        self.agent
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        if let Some(busy) = self.busy {
            busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> Pools {
        Pools::new(None, |_| Agent::new_with_defaults())
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
}
