//! The ring: builds the channels, starts the owners, and waits for them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::pace::Limits;
use super::poller::{Ends, Poller};
use super::writer::{self, Tally, Writer};
use super::{WorkerError, pool};
use crate::delivery::Delivery;
use crate::store::Store;

/// The parts of a ring.
pub(super) struct Ring {
    pub(super) limits: Limits,
    pub(super) delivery: Arc<Delivery>,
    pub(super) shutdown_timeout: Duration,
    pub(super) stop: Receiver<Infallible>,
    pub(super) wake: Receiver<()>,
    pub(super) overdue: Sender<()>,
    pub(super) gauge: Arc<AtomicUsize>,
}

impl Ring {
    /// Runs until it is stopped or done, and drains. `stores` are the poller's connection and
    /// the writer's; the caller's thread polls.
    pub(super) fn run<S: Store + 'static>(
        self,
        [store, mut writer_store]: [S; 2],
    ) -> Result<Tally, WorkerError> {
        let (jobs, queued) = bounded(self.limits.in_flight_max);
        // A suspect is beside those that the limit counts.
        let (outcomes_tx, outcomes) = bounded(self.limits.in_flight_max + 1);
        let (credit_tx, credit) = bounded(self.limits.in_flight_max + 1);
        let (suspects_tx, suspects) = bounded(1);
        let (suspect_done_tx, suspect_done) = bounded(1);
        let (abandon_tx, abandon) = bounded(0);
        let (done_tx, done) = bounded(1);
        let ends = pool::Ends {
            jobs: queued.clone(),
            suspects,
            suspect_done: suspect_done_tx,
            outcomes: outcomes_tx.clone(),
        };
        let pool = pool::start(self.limits.threads, ends, Arc::clone(&self.delivery))?;
        let gauge = Arc::clone(&self.gauge);
        // Before there are deliveries, whose sockets may take all descriptors: outcomes must get out.
        writer_store.open();
        let ends = writer::Ends { outcomes, credit: credit_tx, abandon, gauge };
        let writer = Writer::new(writer_store, ends);
        let writer = thread::Builder::new().name("writer".into()).spawn(move || {
            // Fails only if nobody waits any more.
            let _ = done_tx.send(writer.run());
        })?;
        let (stop, wake, overdue) = (self.stop, self.wake, self.overdue);
        let ends = Ends {
            stop,
            credit,
            wake,
            overdue,
            jobs,
            queued,
            suspects: suspects_tx,
            suspect_done,
            outcomes: outcomes_tx,
        };
        let gauge = Arc::clone(&self.gauge);
        // `run` consumes the poller, and with it the last ends of the channels outside the
        // pool. So the pool runs dry, and after it the writer.
        Poller::new(store, self.delivery, (self.limits, ends), gauge).run();
        let limit = self.shutdown_timeout;
        let leases = || self.gauge.load(Ordering::Relaxed);
        let tally = match done.recv_timeout(limit) {
            Ok(tally) => tally,
            Err(RecvTimeoutError::Timeout) => {
                // The writer gives up; deliveries end by their own deadlines.
                drop(abandon_tx);
                return Err(WorkerError::Shutdown { limit, leases: leases() });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(WorkerError::Writer { leases: leases() });
            }
        };
        drop(pool);
        // It has sent its tally, so it ends now; a panic would have been seen above.
        let _ = writer.join();
        Ok(tally)
    }
}
