//! Which pool of idle connections a request uses.
//!
//! ureq keeps the idle connections of an agent in one list under one lock, and each request
//! walks it once per host: 400 hosts in it made deliveries 14 times slower than one.
//! So the hosts are spread over several small pools, and the one host that often takes all
//! messages has a large one for itself. The sum stays well below a usual limit of open files.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use ureq::Agent;
use ureq::http::Uri;
use ureq::http::uri::Authority;

/// Idle connections to the main host: one for each delivery thread that anyone may run.
const MAIN_IDLE_MAX: usize = 512;
/// Pools of the other hosts.
const OTHERS: usize = 8;
/// Idle connections in each of these.
const OTHER_IDLE_MAX: usize = 32;

/// Agents that differ in nothing but their connections.
pub(super) struct Pools {
    main: Agent,
    main_host: OnceLock<Authority>,
    others: Vec<Agent>,
    hasher: RandomState,
}

impl Pools {
    /// Makes the agents with `build`, which is told how many connections one may keep. The host
    /// of `main`, or else the first that is asked for, is the main host.
    pub(super) fn new(main: Option<&Uri>, mut build: impl FnMut(usize) -> Agent) -> Self {
        let main_host = main.and_then(Uri::authority).cloned();
        Self {
            main: build(MAIN_IDLE_MAX),
            main_host: main_host.map_or_else(OnceLock::new, OnceLock::from),
            others: (0..OTHERS).map(|_| build(OTHER_IDLE_MAX)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The agent for a URL, always the same for one host.
    pub(super) fn agent(&self, uri: &Uri) -> &Agent {
        let Some(host) = uri.authority() else { return &self.main };
        if self.main_host.get_or_init(|| host.clone()) == host {
            return &self.main;
        }
        let index = self.hasher.hash_one(host) % OTHERS as u64;
        &self.others[usize::try_from(index).expect("below OTHERS")]
    }
}
