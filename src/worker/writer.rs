//! The writer: commits outcomes in batches and turns them back into credit.

use std::convert::Infallible;
use std::fmt;
use std::iter;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::lease::{LeaseKey, Settled};
use crate::outcome::Outcome;
use crate::store::{Store, StoreError};
use crate::telemetry;
use crate::telemetry::beats::{Part, beat, rest};

/// Outcomes written in one statement.
const BATCH_MAX: usize = 500;
/// How long, in steps, an outcome waits for others while more messages are under way. A commit costs the database
/// about as much as ten rows of it, and so does the acquire that follows; and who puts an outcome into the channel
/// need not wake the writer.
const GATHER_STEP: Duration = Duration::from_millis(1);
const GATHER_STEPS: u32 = 12;
/// Longest wait for an outcome between two signs of life.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Pauses between tries of one commit, doubled from the first to the last: outcomes are written soon
/// after the database is back.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

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
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, deferred, ended, released, lost } = self;
        write!(
            f,
            "sent {sent}, deferred {deferred}, ended {ended}, released {released}, lost {lost}"
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
    }
}

/// Credit that comes back to the poller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Returned {
    /// Leases that are out no more.
    pub(super) count: usize,
    /// Bytes of their payloads.
    pub(super) bytes: usize,
    /// When the first of the messages that go on waiting is due.
    pub(super) next_due: Option<Duration>,
}

/// Owns the receiving end of the outcomes and a connection of its own.
pub(super) struct Writer<S> {
    pub(super) store: S,
    pub(super) outcomes: Receiver<Settled>,
    pub(super) credit: Sender<Returned>,
    /// Disconnected when the time for a drain is up.
    pub(super) abandon: Receiver<Infallible>,
    /// Leases out, for whoever watches from outside.
    pub(super) gauge: Arc<AtomicUsize>,
}

impl<S: Store> Writer<S> {
    /// Runs until every sender of outcomes is gone and all of them are written.
    pub(super) fn run(mut self) -> Tally {
        let tally = self.write_all();
        rest(Part::Writer);
        tally
    }

    fn write_all(&mut self) -> Tally {
        let mut tally = Tally::default();
        while let Some(batch) = self.next_batch() {
            let bytes = batch.iter().map(|settled| settled.size).sum();
            let returned = Returned { count: batch.len(), bytes, next_due: next_due(&batch) };
            let Some(written) = self.commit(batch) else { return tally };
            tally += written;
            self.gauge.fetch_sub(returned.count, Ordering::Relaxed);
            // Fails only if the poller is gone, which is how a drain looks.
            let _ = self.credit.send(returned);
        }
        tally
    }

    /// Waits for one outcome and takes along what came during the last commit, and soon after while more
    /// are under way: under load that makes full batches, without load nothing waits.
    fn next_batch(&self) -> Option<Vec<Settled>> {
        let first = loop {
            beat(Part::Writer, IDLE_MAX);
            match self.outcomes.recv_timeout(IDLE_MAX) {
                Ok(first) => break first,
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        };
        let mut batch: Vec<Settled> =
            iter::once(first).chain(self.outcomes.try_iter()).take(BATCH_MAX).collect();
        for _ in 0..GATHER_STEPS {
            if BATCH_MAX.min(self.gauge.load(Ordering::Relaxed)) <= batch.len() {
                break;
            }
            // Nobody sends there: it is a pause that the end of a drain cuts short.
            let _ = self.abandon.recv_timeout(GATHER_STEP);
            batch.extend(self.outcomes.try_iter().take(BATCH_MAX - batch.len()));
        }
        Some(batch)
    }

    /// Tries until the batch is written; `None` if the time for a drain is up. An outcome is
    /// never dropped while there is hope, however long the database is away.
    fn commit(&mut self, batch: Vec<Settled>) -> Option<Tally> {
        let mut pause = PAUSE_MIN;
        let mut unsure = false;
        loop {
            beat(Part::Writer, pause);
            let began = Instant::now();
            match self.store.commit(&batch) {
                Ok(written) => {
                    telemetry::batch_committed(batch.len(), written.len(), unsure, began.elapsed());
                    return Some(account(&batch, &written, unsure));
                }
                Err(StoreError::Data(reason)) => return self.commit_halves(batch, &reason),
                Err(err) => {
                    unsure = true;
                    telemetry::commit_failed(batch.len(), &err, pause);
                    match self.abandon.recv_timeout(pause.mul_f64(0.8 + 0.2 * fastrand::f64())) {
                        Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(PAUSE_MAX),
                        Err(RecvTimeoutError::Disconnected) => return None,
                        Ok(never) => match never {},
                    }
                }
            }
        }
    }

    /// Finds the value that cannot be stored by halving, so that it spoils no other outcome.
    fn commit_halves(&mut self, mut batch: Vec<Settled>, reason: &str) -> Option<Tally> {
        if batch.len() == 1 {
            return self.commit_substitute(batch.remove(0), reason);
        }
        let right = batch.split_off(batch.len() / 2);
        let mut tally = self.commit(batch)?;
        tally += self.commit(right)?;
        Some(tally)
    }

    /// Records, in place of an outcome that the database refuses, that it was refused.
    fn commit_substitute(&mut self, settled: Settled, reason: &str) -> Option<Tally> {
        telemetry::outcome_unstorable(&settled, reason);
        let unstorable = |settled: &Settled| matches!(&settled.outcome, Outcome::Failed { code, .. } if code == UNSTORABLE);
        if unstorable(&settled) {
            // Refused even so: the schema was changed under us. The lease runs out.
            return Some(Tally { lost: 1, ..Tally::default() });
        }
        let outcome = Outcome::Failed {
            counted: true,
            code: UNSTORABLE.into(),
            reason: "the database refused to store this attempt's outcome".into(),
        };
        self.commit(vec![Settled { outcome, ..settled }])
    }
}

/// Code of an outcome that stands for one that could not be stored.
const UNSTORABLE: &str = "unstorable";

fn account(batch: &[Settled], written: &[LeaseKey], unsure: bool) -> Tally {
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

fn next_due(batch: &[Settled]) -> Option<Duration> {
    let delay = |settled: &Settled| match settled.outcome {
        Outcome::Deferred { delay, .. } | Outcome::Released { delay } => Some(delay),
        _ => None,
    };
    batch.iter().filter_map(delay).min()
}
