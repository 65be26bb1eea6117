//! Relations that must hold between the settings of a worker.

use super::{Faults, leaves_time, within};
use crate::config::{ByteSize, WorkerConfig, duration};

/// Most delivery threads.
const THREADS_MAX: usize = 4096;
/// Most leases out at a time.
const IN_FLIGHT_MAX: usize = 65_536;
/// Most attempts of a message.
const ATTEMPTS_MAX: u32 = 10_000;
/// Least memory for payloads: a large one takes some MiB while it is rendered.
const MEMORY_MIN: ByteSize = ByteSize(64 << 20);
/// Most leases of one message that may run out.
const LAPSES_MAX: u32 = 1000;

impl WorkerConfig {
    pub(super) fn check(&self, faults: &mut Faults) {
        within(faults, "worker.threads", self.threads, 1, THREADS_MAX);
        if let Some(attempts) = self.max_attempts {
            within(faults, "worker.max_attempts", attempts, 1, ATTEMPTS_MAX);
        }
        if let Some(in_flight) = self.in_flight_max {
            within(faults, "worker.in_flight_max", in_flight, 1, IN_FLIGHT_MAX);
            let threads = self.threads;
            faults.require(
                threads <= in_flight,
                &["worker.in_flight_max", "worker.threads"],
                format!(
                    "worker.in_flight_max: {in_flight} is less than worker.threads, {threads}; \
                     raise it or leave it out"
                ),
            );
        }
        within(faults, "worker.lapses_max", self.lapses_max, 1, LAPSES_MAX);
        faults.require(
            MEMORY_MIN <= self.memory_max,
            &["worker.memory_max"],
            format!("worker.memory_max: {} is less than {MEMORY_MIN}", self.memory_max),
        );
        let share = self.threads_per_endpoint.unwrap_or(1);
        within(faults, "worker.threads_per_endpoint", share, 1, self.threads.max(1));
        let (dispatch, lease) = (self.dispatch_timeout, self.lease_period);
        faults.require(
            leaves_time(dispatch, lease),
            &["worker.dispatch_timeout", "worker.lease_period"],
            format!(
                "worker.dispatch_timeout: {} is not less than worker.lease_period, {}, by at least \
                 a twentieth; lower it or raise worker.lease_period",
                duration::format(dispatch),
                duration::format(lease)
            ),
        );
    }
}
