//! What became of a worker's leases, in numbers.

use std::fmt;
use std::ops::AddAssign;

use crate::lease::{LeaseKey, Settled};
use crate::outcome::Outcome;
use crate::telemetry;

/// What a worker did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Messages sent.
    pub sent: usize,
    /// Attempts that failed and will be repeated.
    pub deferred: usize,
    /// Messages ended without being sent.
    pub ended: usize,
    /// Leases given back unused.
    pub released: usize,
    /// Outcomes that were not recorded, because the lease had run out.
    pub lost: usize,
    /// Of the recorded outcomes, those that the database refused as they were: something of each is missing.
    pub refused: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, deferred, ended, released, lost, refused } = self;
        write!(
            f,
            "sent {sent}, deferred {deferred}, ended {ended}, released {released}, lost {lost}, \
             refused {refused}"
        )
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.deferred += other.deferred;
        self.ended += other.ended;
        self.released += other.released;
        self.lost += other.lost;
        self.refused += other.refused;
    }
}

/// Tells and counts what a commit made of a batch; `unsure` if an earlier try had no answer.
pub(super) fn account(batch: &[Settled], written: &[LeaseKey], unsure: bool) -> Tally {
    let mut tally = Tally::default();
    let mut written = written.to_vec();
    written.sort_unstable();
    for settled in batch {
        // After a lost answer an id that is missing was most likely written the first time.
        if !unsure && written.binary_search(&settled.key).is_err() {
            telemetry::outcome_lost(settled);
            tally.lost += 1;
            continue;
        }
        telemetry::outcome_committed(settled);
        *match settled.outcome {
            Outcome::Sent(_) => &mut tally.sent,
            Outcome::Deferred { .. } => &mut tally.deferred,
            Outcome::Failed { .. }
            | Outcome::BadAddress { .. }
            | Outcome::Inhibited
            | Outcome::Expired { .. } => &mut tally.ended,
            Outcome::Released { .. } => &mut tally.released,
        } += 1;
    }
    tally
}
