//! The janitor: upkeep at a slow tick, by one worker at a time.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use super::LeasesOut;
use crate::clock::{Clock, Skew};
use crate::store::upkeep::{Upkeep, WorkerInfo};
use crate::telemetry;
use crate::telemetry::beats::{Part, beat, rest};

/// Pause between two rounds of a worker that delivers, or has found something to do.
const INTERVAL: Duration = Duration::from_secs(30);
/// The same of one that does neither: it leaves its database alone.
const IDLE_INTERVAL: Duration = Duration::from_mins(10);
/// Shortest pause, however much waits to be expired.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// Owns the connection of the upkeep.
pub(super) struct Janitor {
    pub(super) upkeep: Upkeep,
    pub(super) worker: WorkerInfo,
    pub(super) clock: Clock,
    pub(super) leases: LeasesOut,
    /// The poller saw messages whose time is over.
    pub(super) overdue: Receiver<()>,
    pub(super) stop: Receiver<Infallible>,
}

impl Janitor {
    pub(super) fn run(mut self) {
        loop {
            let alive = |within| beat(Part::Janitor, within);
            let steps = self.upkeep.round(&self.worker, &self.clock, alive);
            telemetry::clock_compared(self.clock.skew());
            let worked = !steps.is_empty();
            for (step, result) in steps {
                if let Err(err) = result {
                    telemetry::upkeep_failed(step, &err.to_string());
                }
            }
            if self.wait(worked, Instant::now()).is_none() {
                break;
            }
        }
        rest(Part::Janitor);
        self.upkeep.leave(&self.worker);
    }

    /// Waits for the time of the next round after one that ended at `ended`; `None` if told to stop.
    fn wait(&self, worked: bool, ended: Instant) -> Option<()> {
        loop {
            beat(Part::Janitor, INTERVAL * 2);
            let tick = INTERVAL.mul_f64(0.9 + 0.2 * fastrand::f64());
            select! {
                recv(self.stop) -> _ => return None,
                recv(self.overdue) -> told => match told {
                    Ok(()) => return self.sleep(PAUSE_MIN.saturating_sub(ended.elapsed())),
                    Err(_) => self.sleep(tick)?, // The poller has ended: nobody tells any more.
                },
                default(tick) => (),
            }
            if self.is_due(worked, ended.elapsed()) {
                return Some(());
            }
        }
    }

    /// Whether a round shall be made now that a tick has passed.
    fn is_due(&self, worked: bool, rested: Duration) -> bool {
        let delivers = 0 < self.leases.get();
        // Webhooks may be waiting for the clock to be right.
        let clock_is_off = self.clock.skew() != Skew::Fine;
        worked || delivers || clock_is_off || IDLE_INTERVAL <= rested
    }

    fn sleep(&self, span: Duration) -> Option<()> {
        match self.stop.recv_timeout(span) {
            Err(RecvTimeoutError::Timeout) => Some(()),
            Err(RecvTimeoutError::Disconnected) => None,
            Ok(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crossbeam_channel::bounded;
    use uuid::Uuid;

    use super::*;
    use crate::config::{Config, Secret};
    use crate::store::connect::Connector;

    #[test]
    fn an_idle_worker_leaves_its_database_alone_until_there_may_be_something_to_do() {
        let mut config = Config::default();
        config.database.url = Some(Secret::new("postgres://127.0.0.1/nothing"));
        let upkeep = Upkeep::new(Connector::new(&config.database).unwrap(), config.retention);
        let worker = WorkerInfo { id: Uuid::nil(), host: "host".into() };
        let (leases, clock) = (Arc::new(AtomicUsize::new(0)), Clock::default());
        let janitor = Janitor {
            upkeep,
            worker,
            clock: clock.clone(),
            leases: LeasesOut(Arc::clone(&leases)),
            overdue: bounded(1).1,
            stop: bounded(0).1,
        };
        assert!(!janitor.is_due(false, INTERVAL));
        assert!(janitor.is_due(false, IDLE_INTERVAL), "time has passed");
        assert!(janitor.is_due(true, INTERVAL), "there was something to do");
        clock.set(60_000);
        assert!(janitor.is_due(false, INTERVAL), "the clock was off");
        clock.set(0);
        leases.store(1, Ordering::Relaxed);
        assert!(janitor.is_due(false, INTERVAL), "it delivers");
    }
}
