//! The writer: commits outcomes in batches and turns them back into credit.
//!
//! No outcome holds up another one. A batch that the database refuses is halved until the outcome at fault is
//! alone; that one is stored without what is refused (`forms`). An outcome that cannot be written now, since
//! even so it is refused or since somebody else has locked what it needs, is set apart with its credit and
//! tried again by itself (`apart`). Only a database that is not there makes all of them wait.
//!
//! None is dropped while the process lives.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::lease::{LeaseKey, Settled};
use crate::store::{Store, StoreError};
use crate::telemetry;
use crate::telemetry::beats::{Part, beat, rest};
use apart::Apart;
use batch::{Batch, COUNT_MAX};
use forms::forms;
use tally::account;

mod apart;
mod batch;
mod forms;
mod tally;

pub use tally::Tally;

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

/// The channels of the writer.
pub(super) struct Ends {
    pub(super) outcomes: Receiver<Settled>,
    pub(super) credit: Sender<Returned>,
    /// Disconnected when the time for a drain is up.
    pub(super) abandon: Receiver<Infallible>,
    /// Leases out, for whoever watches from outside.
    pub(super) gauge: Arc<AtomicUsize>,
}

/// Owns the receiving end of the outcomes and a connection of its own.
pub(super) struct Writer<S> {
    store: S,
    ends: Ends,
    /// Parts of batches that failed, the next to try last.
    parts: Vec<Batch>,
    apart: Apart,
    /// What is new comes next, if there is anything.
    new_first: bool,
    /// Every sender of outcomes is gone.
    draining: bool,
    tally: Tally,
}

impl<S: Store> Writer<S> {
    pub(super) fn new(store: S, ends: Ends) -> Self {
        let (apart, tally) = (Apart::default(), Tally::default());
        Self { store, ends, parts: Vec::new(), apart, new_first: true, draining: false, tally }
    }

    /// Runs until every sender of outcomes is gone and all of them are written, or the time for a drain is up.
    pub(super) fn run(mut self) -> Tally {
        while let Some(batch) = self.next_batch() {
            let (again, began) = (batch.reason.is_some(), Instant::now());
            if self.write(batch).is_none() {
                break;
            }
            if again {
                self.apart.rest(began.elapsed());
            }
        }
        rest(Part::Writer);
        self.tally
    }

    /// Waits for something to write; `None` at the end. What is new and what has failed take turns.
    fn next_batch(&mut self) -> Option<Batch> {
        loop {
            self.apart.remind();
            let new_first = std::mem::take(&mut self.new_first) && !self.ends.outcomes.is_empty();
            if !new_first && let Some(batch) = self.failed() {
                self.new_first = true;
                return Some(batch);
            }
            let wait = self.apart.wait().map_or(IDLE_MAX, |wait| wait.min(IDLE_MAX));
            beat(Part::Writer, wait);
            match self.ends.outcomes.recv_timeout(wait) {
                Ok(first) => return Some(self.gather(first)),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) if self.apart.is_empty() => return None,
                Err(RecvTimeoutError::Disconnected) => self.drain(wait)?,
            }
        }
    }

    /// The next to try of what has failed.
    fn failed(&mut self) -> Option<Batch> {
        let asked = self.apart.locked_due();
        if !asked.is_empty() {
            // As long as it cannot be told, none of them is tried.
            let locked = self.store.locked(&asked).unwrap_or_else(|err| {
                telemetry::locks_unknown(&err);
                asked.clone()
            });
            self.parts.extend(self.apart.unlock(&asked, &locked));
        }
        self.parts.pop().or_else(|| self.apart.take_due())
    }

    /// Takes along what came during the last commit, and soon after while more are under way: under load that
    /// makes full batches, without load nothing waits.
    fn gather(&self, first: Settled) -> Batch {
        let mut batch = Batch::default();
        batch.push(first);
        let mut steps = if self.parts.is_empty() { GATHER_STEPS } else { 0 };
        loop {
            while batch.has_room()
                && let Ok(settled) = self.ends.outcomes.try_recv()
            {
                batch.push(settled);
            }
            let out = self.ends.gauge.load(Ordering::Relaxed).saturating_sub(self.apart.len());
            if steps == 0 || !batch.has_room() || COUNT_MAX.min(out) <= batch.len() {
                return batch;
            }
            steps -= 1;
            // Nobody sends there: it is a pause that the end of a drain cuts short.
            let _ = self.ends.abandon.recv_timeout(GATHER_STEP);
        }
    }

    /// Waits for what is apart, now that nothing new comes; `None` if the time for a drain is up.
    fn drain(&mut self, wait: Duration) -> Option<()> {
        if !self.draining {
            self.draining = true;
            self.apart.hurry();
            return Some(());
        }
        self.pause(wait)
    }

    /// Writes a batch, or puts its parts where they are tried again. `None` if the time for a drain is up.
    fn write(&mut self, mut batch: Batch) -> Option<()> {
        let err = match self.commit(&mut batch)? {
            Ok(written) => {
                self.record(&batch, &written);
                return Some(());
            }
            Err(err) => err,
        };
        if err.is_lock_timeout() && self.set_locked_apart(&mut batch) {
            if !batch.is_empty() {
                self.parts.push(batch);
            }
            return Some(());
        }
        // Where the same is the trouble of one that is apart, it is not that of the whole database.
        if err.may_pass() && !self.apart.has(err.code()) && batch.is_patient() {
            let pause = batch.pause(PAUSE_MIN);
            telemetry::commit_failed(batch.len(), &err, pause);
            self.parts.push(batch);
            return self.pause(pause);
        }
        match batch.halve() {
            Ok(halves) => {
                telemetry::commit_halved(halves.iter().map(Batch::len).sum(), &err);
                self.parts.extend(halves);
                Some(())
            }
            Err(one) => self.write_one(one, err),
        }
    }

    /// Commits a batch as soon as the database is there. An outcome is never dropped while there is hope,
    /// however long that takes; `None` if the time for a drain is up.
    fn commit(&mut self, batch: &mut Batch) -> Option<Result<Vec<LeaseKey>, StoreError>> {
        let mut pause = PAUSE_MIN;
        loop {
            beat(Part::Writer, pause);
            let began = Instant::now();
            match self.store.commit(batch.outcomes()) {
                Ok(written) => {
                    let (count, took) = (batch.len(), began.elapsed());
                    telemetry::batch_committed(count, written.len(), batch.unsure, took);
                    return Some(Ok(written));
                }
                Err(err @ StoreError::Unavailable(_)) => {
                    batch.unsure = true;
                    telemetry::commit_failed(batch.len(), &err, pause);
                    self.pause(pause)?;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(err) => return Some(Err(err)),
            }
        }
    }

    /// Sets apart the outcomes whose rows are locked by somebody else; whether there were any.
    fn set_locked_apart(&mut self, batch: &mut Batch) -> bool {
        let ids: Vec<_> = batch.outcomes().iter().map(|it| it.key.id).collect();
        let locked = match self.store.locked(&ids) {
            Ok(locked) => locked,
            Err(err) => {
                telemetry::locks_unknown(&err);
                return false;
            }
        };
        let taken = batch.take(|it| locked.contains(&it.key.id));
        let some = !taken.is_empty();
        self.apart.keep_locked(taken, batch.unsure);
        some
    }

    /// Stores an outcome that failed alone without what is refused of it, or sets it apart.
    fn write_one(&mut self, mut one: Batch, mut err: StoreError) -> Option<()> {
        if let StoreError::Refused { code, .. } = &err {
            let code = code.clone();
            let whole = one.outcomes()[0].outcome.clone();
            for form in forms(&one.outcomes()[0], &code) {
                one.replace(form.outcome);
                match self.commit(&mut one)? {
                    Ok(written) => {
                        if let Some(lacks) = form.lacks {
                            telemetry::outcome_reduced(&one.outcomes()[0], lacks, &code);
                            self.tally.refused += written.len();
                        }
                        self.record(&one, &written);
                        return Some(());
                    }
                    Err(refused @ StoreError::Refused { .. }) => err = refused,
                    Err(other) => {
                        err = other;
                        break;
                    }
                }
            }
            // What is in the way may be mended, and then nothing of it needs to be given up.
            one.replace(whole);
        }
        self.apart.keep_failed(one, err);
        Some(())
    }

    /// Accounts for outcomes that are written, and gives their credit back.
    fn record(&mut self, batch: &Batch, written: &[LeaseKey]) {
        self.tally += account(batch.outcomes(), written, batch.unsure);
        self.apart.forget(batch.outcomes());
        let bytes = batch.outcomes().iter().map(|settled| settled.size).sum();
        let returned = Returned { count: batch.len(), bytes, next_due: batch.next_due() };
        self.ends.gauge.fetch_sub(returned.count, Ordering::Relaxed);
        // Fails only if the poller is gone, which is how a drain looks.
        let _ = self.ends.credit.send(returned);
        if let Some(code) = &batch.reason {
            self.parts.extend(self.apart.take_alike(code));
        }
    }

    /// Waits for about so long; `None` if the time for a drain is up.
    fn pause(&self, pause: Duration) -> Option<()> {
        beat(Part::Writer, pause);
        match self.ends.abandon.recv_timeout(pause.mul_f64(0.8 + 0.2 * fastrand::f64())) {
            Err(RecvTimeoutError::Timeout) => Some(()),
            Err(RecvTimeoutError::Disconnected) => None,
            Ok(never) => match never {},
        }
    }
}
