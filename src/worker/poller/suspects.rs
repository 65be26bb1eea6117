//! Messages whose lease ran out: each may have ended its worker, so they are delivered one at a time.

use std::time::{Duration, Instant};

use super::super::pace::Hunger;
use super::Poller;
use crate::store::Store;

/// How often a busy poller, which never looks, asks for a suspect.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is known of suspects.
#[derive(Debug)]
pub(super) struct Suspects {
    /// At least one is due, as far as is known; at the start it may be.
    due: bool,
    /// One is under way.
    busy: bool,
    asked: Instant,
}

impl Default for Suspects {
    fn default() -> Self {
        Self { due: true, busy: false, asked: Instant::now() }
    }
}

impl Suspects {
    /// Whether one is to be acquired now.
    pub(super) fn is_next(&self, hunger: Hunger) -> bool {
        let ask = hunger != Hunger::Sated && INTERVAL <= self.asked.elapsed();
        !self.busy && (self.due || ask)
    }

    /// One has been seen.
    pub(super) fn appear(&mut self) {
        self.due = true;
    }

    /// None is there, or it cannot be acquired.
    pub(super) fn vanish(&mut self) {
        (self.due, self.asked) = (false, Instant::now());
    }

    /// One is being delivered.
    pub(super) fn begin(&mut self) {
        self.busy = true;
    }

    /// The delivery is over.
    pub(super) fn end(&mut self) {
        self.busy = false;
    }
}

impl<S: Store> Poller<S> {
    /// Leases a suspect, and hands it to its thread.
    pub(super) fn acquire_suspect(&mut self) {
        match self.store.acquire_suspect() {
            Ok(Some(lease)) => {
                self.works();
                self.suspects.appear();
                self.count(&lease);
                // The next one is acquired when this one has ended, whatever happens to it.
                let _ = self.submit(lease);
            }
            Ok(None) => self.suspects.vanish(),
            Err(err) => self.failed(&err),
        }
    }
}
