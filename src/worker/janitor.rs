//! The janitor: upkeep at a slow tick, by one worker at a time.

use std::convert::Infallible;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::clock::Clock;
use crate::store::upkeep::{Upkeep, WorkerInfo};
use crate::telemetry;
use crate::telemetry::beats::{Part, beat, rest};

/// Pause between two rounds.
const INTERVAL: Duration = Duration::from_secs(15);

/// Takes a pooled connection for each round.
pub(super) struct Janitor {
    pub(super) upkeep: Upkeep,
    pub(super) worker: WorkerInfo,
    pub(super) clock: Clock,
    pub(super) stop: Receiver<Infallible>,
}

impl Janitor {
    pub(super) fn run(mut self) {
        loop {
            beat(Part::Janitor, INTERVAL * 2);
            match self.upkeep.compare_clocks(&self.clock) {
                Ok(()) => telemetry::clock_compared(self.clock.skew()),
                Err(err) => telemetry::upkeep_failed("compare clocks", &err.to_string()),
            }
            for (step, result) in self.upkeep.round(&self.worker) {
                if let Err(err) = result {
                    telemetry::upkeep_failed(step, &err.to_string());
                }
            }
            match self.stop.recv_timeout(INTERVAL.mul_f64(0.9 + 0.2 * fastrand::f64())) {
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(never) => match never {},
            }
        }
        rest(Part::Janitor);
        self.upkeep.leave(&self.worker);
    }
}
