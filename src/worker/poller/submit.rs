//! How a lease gets from the poller to the pool, or ends before.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Poller;
use crate::delivery::Job;
use crate::destination::Destination;
use crate::lease::{Lease, Message, Settled};
use crate::library::{Missing, Parts};
use crate::outcome::Outcome;
use crate::store::Store;
use crate::telemetry;

/// How long a lease waits whose template could not be read because the database was away.
pub(super) const RELEASE_DELAY: Duration = Duration::from_secs(1);

impl<S: Store> Poller<S> {
    /// Finds what a message refers to and where it goes, and hands all to the pool, unless the destination is
    /// down; breaks if the database is away.
    pub(super) fn submit(&mut self, lease: Lease) -> ControlFlow<()> {
        let started = Instant::now();
        if let Some(outcome) = self.delivery.refusal(&lease) {
            self.settled(lease.settle(started, outcome));
            return ControlFlow::Continue(());
        }
        match self.find(lease.message()) {
            Ok((parts, destination)) => match destination.as_deref().and_then(Destination::wait) {
                Some(delay) => self.release(lease, delay),
                None => self.hand_over(Job { lease, parts, destination }),
            },
            Err(Missing::Failed(failure)) => {
                self.settled(self.delivery.decide(lease, started, Err(failure)));
            }
            Err(Missing::Unavailable(err)) => {
                telemetry::poll_failed(&err, RELEASE_DELAY);
                self.release(lease, RELEASE_DELAY);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn hand_over(&mut self, job: Job) {
        let suspect = job.lease.message().suspect;
        let channel = if suspect { &self.ends.suspects } else { &self.ends.jobs };
        // The pool is gone only if it could not start, and then nobody polls.
        drop(channel.send(job));
        if suspect {
            self.suspects.begin();
        }
    }

    fn find(&mut self, message: &Message) -> Result<(Parts, Option<Arc<Destination>>), Missing> {
        let parts = self.library.find(&mut self.store, message)?;
        let destination = self.delivery.destination(&mut self.destinations, message, &parts);
        Ok((parts, destination.map_err(Missing::Failed)?))
    }

    pub(super) fn release(&self, lease: Lease, delay: Duration) {
        self.settled(lease.settle(Instant::now(), Outcome::Released { delay }));
    }

    fn settled(&self, settled: Settled) {
        // Fails only if the writer is gone. Then the lease runs out: at least once.
        let _ = self.ends.outcomes.send(settled);
    }
}
