//! Direct deliveries: a flood of inbox messages goes without leases.
//!
//! A delivery to the inbox is a row in the same database. So one transaction can lock messages, render them, and end
//! them with their entries: exactly once, and without the version of each row that a claim costs. While all that is
//! due is for the inbox, the poller finds the messages and hands them to threads that do so.
//!
//! Only plain successes at the first attempt end here, and only what is soon rendered. All else is unlocked again, and an
//! acquire finds it: a lease counts the attempt, and its outcome is decided as any other. So does a worker begin, for
//! the message that ended the last one may be among the first; and so it goes on after trouble.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::writer::Tally;
use crate::delivery::{Delivery, Job};
use crate::lease::{Lease, Settled};
use crate::library::{Library, Missing};
use crate::store::{Place, Store, StoreError};
use crate::telemetry;
use crate::telemetry::beats::{Part, beat, rest};

/// Messages of one transaction.
pub(super) const BATCH: usize = 500;
/// Batches under way: one for each thread, and one that is found meanwhile.
const BATCHES_MAX: usize = THREADS + 1;
/// Threads, each with a connection of its own: while the database works for one, the other one renders.
pub(super) const THREADS: usize = 2;
/// Inbox messages that a worker leases before it takes some without. More than are taken so at a time: if one of
/// these kills its worker, the next worker leases it, or, where several are at the same flood, one of the next.
const LEASED_FIRST: usize = (BATCHES_MAX + 1) * BATCH;
/// Longest that a transaction is held open to render. What takes longer is for the pool.
const RENDER_MAX: Duration = Duration::from_millis(100);
/// Messages of a batch that may be left over. More would be found, locked and rendered in vain again and again.
const LEFT_MAX: usize = BATCH / 10;
/// Longest [`Pause`].
const PAUSE_MAX: u32 = 64;
/// Where another worker is at the same messages: how many to leave to it, at least, and twice as many at most.
const AHEAD: usize = 5000;

/// The poller's end.
pub(super) struct Direct {
    /// None where the inbox is not the stock one.
    batches: Option<Sender<Vec<Place>>>,
    ended: Receiver<Ended>,
    threads: Vec<JoinHandle<()>>,
    /// Batches under way.
    out: usize,
    /// Inbox messages leased since the start, or the last trouble.
    leased: usize,
    pause: Pause,
    /// Messages to leave to other workers in the next search.
    ahead: usize,
    /// Batches to end of which it does not count that others have had them: they were found before the last time some were
    /// left out, or right after a sweep, which also finds what is under way here.
    old: usize,
    tally: Tally,
}

/// Acquires to wait for after a search that found something else among the next messages.
#[derive(Default)]
struct Pause {
    length: u32,
    left: u32,
}

/// A batch that is under way no more.
pub(super) type Ended = Result<Delivered, StoreError>;

pub(super) struct Delivered {
    sent: usize,
    /// Locked, and unlocked again.
    left: usize,
    /// Other workers had most of it.
    contended: bool,
}

/// One of the threads.
struct Clerk<S> {
    store: S,
    library: Library,
    delivery: Arc<Delivery>,
}

impl Direct {
    /// Starts the threads, each with one of `stores`.
    pub(super) fn start<S: Store + 'static>(
        stores: [S; THREADS],
        delivery: &Arc<Delivery>,
    ) -> io::Result<Self> {
        if !delivery.has_local_inbox() {
            return Ok(Self::new(None, crossbeam_channel::never(), Vec::new()));
        }
        let (batches_tx, batches) = bounded::<Vec<Place>>(BATCHES_MAX);
        let (ended_tx, ended) = bounded(BATCHES_MAX);
        let spawn = |(number, store): (usize, S)| {
            let (batches, ended) = (batches.clone(), ended_tx.clone());
            let delivery = Arc::clone(delivery);
            thread::Builder::new().name(format!("inbox-{number}")).spawn(move || {
                let mut clerk = Clerk { store, library: Library::default(), delivery };
                for places in batches {
                    // Fails only if nobody waits any more.
                    let _ = ended.send(clerk.deliver(&places));
                }
            })
        };
        let threads = stores.into_iter().enumerate().map(spawn).collect::<Result<_, _>>()?;
        Ok(Self::new(Some(batches_tx), ended, threads))
    }

    fn new(
        batches: Option<Sender<Vec<Place>>>,
        ended: Receiver<Ended>,
        threads: Vec<JoinHandle<()>>,
    ) -> Self {
        let (pause, tally) = (Pause::default(), Tally::default());
        Self { batches, ended, threads, out: 0, leased: 0, pause, ahead: 0, old: 0, tally }
    }

    /// Where the batches that have ended arrive.
    pub(super) fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Counts what an acquire has leased; whether all of it is for the inbox.
    pub(super) fn count(&mut self, leases: &[Lease]) -> bool {
        let inbox = leases.iter().filter(|lease| lease.message().method == "inbox").count();
        self.leased = self.leased.saturating_add(inbox);
        inbox == leases.len()
    }

    /// Whether batches may follow an acquire of inbox messages, while `in_flight_max` messages may be under way.
    pub(super) fn follows(&mut self, in_flight_max: usize) -> bool {
        if self.batches.is_none() || self.leased < LEASED_FIRST || in_flight_max < BATCH {
            return false;
        }
        let rested = self.pause.left == 0;
        self.pause.left = self.pause.left.saturating_sub(1);
        if rested {
            self.old = self.out + BATCHES_MAX;
        }
        rested
    }

    /// How many messages the next search shall leave to other workers: two that are at the same ones would
    /// take half of them from each other, batch after batch.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// Notes a search in vain; whether there is to be another one. One that found something else among the next messages
    /// is not: a queue of both kinds is not searched before each acquire.
    pub(super) fn missed(&mut self) -> bool {
        if 0 < self.ahead {
            self.leave_out();
            return true;
        }
        let length = (self.pause.length * 2).clamp(1, PAUSE_MAX);
        self.pause = Pause { length, left: length };
        false
    }

    fn leave_out(&mut self) {
        (self.ahead, self.old) = (0, self.out);
    }

    /// Messages under way.
    pub(super) fn messages(&self) -> usize {
        self.out * BATCH
    }

    /// Whether there is room for another batch, while as many messages may be under way beside these.
    pub(super) fn has_room(&self, others_max: usize) -> bool {
        self.out < BATCHES_MAX && self.messages() + BATCH <= others_max
    }

    /// Hands on a batch, for which there is room.
    pub(super) fn deliver(&mut self, places: Vec<Place>) {
        self.pause = Pause::default();
        if 0 < self.ahead {
            self.leave_out();
        }
        if let Some(batches) = &self.batches
            && batches.send(places).is_ok()
        {
            if self.out == 0 {
                beat(Part::Inbox, RENDER_MAX);
            }
            self.out += 1;
        }
    }

    /// Notes that a batch has ended; whether messages were left that want leases.
    pub(super) fn note(&mut self, ended: Ended) -> bool {
        self.out -= 1;
        match self.out {
            0 => rest(Part::Inbox),
            _ => beat(Part::Inbox, RENDER_MAX),
        }
        let is_old = 0 < self.old;
        self.old = self.old.saturating_sub(1);
        let left = match ended {
            Ok(Delivered { sent, left, contended }) => {
                self.tally.sent += sent;
                if contended && !is_old {
                    self.ahead = fastrand::usize(AHEAD..=2 * AHEAD);
                }
                LEFT_MAX < left
            }
            Err(err) => {
                telemetry::direct_failed(&err);
                true
            }
        };
        if left {
            self.leased = 0; // Leases find out which messages they are.
        }
        left
    }

    /// Waits for what is under way, and for the threads; `None` if that takes longer than `limit`. What they have
    /// locked ends with their transactions.
    pub(super) fn finish(mut self, limit: Duration) -> Option<Tally> {
        let end = Instant::now() + limit;
        drop(self.batches);
        if self.threads.is_empty() {
            return Some(self.tally);
        }
        loop {
            match self.ended.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Ok(Delivered { sent, .. })) => self.tally.sent += sent,
                Ok(Err(err)) => telemetry::direct_failed(&err),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
        for thread in self.threads {
            let _ = thread.join(); // A panic would have been caught.
        }
        rest(Part::Inbox);
        Some(self.tally)
    }
}

impl<S: Store> Clerk<S> {
    fn deliver(&mut self, places: &[Place]) -> Ended {
        let panicked = |_| Err(StoreError::Unreadable("the inbox thread panicked".into()));
        let ended = panic::catch_unwind(AssertUnwindSafe(|| self.try_deliver(places)));
        ended.unwrap_or_else(panicked).inspect_err(|_| {
            // Unlocks what is still locked, if anything is.
            let _ = self.store.deliver_inbox(&[]);
        })
    }

    fn try_deliver(&mut self, places: &[Place]) -> Ended {
        let began = Instant::now();
        let leases = self.store.lock_inbox(places)?;
        let (locked, locked_at) = (leases.len(), Instant::now());
        telemetry::acquired(locked, locked_at - began);
        let mut settled = Vec::with_capacity(locked);
        for lease in leases {
            if RENDER_MAX < locked_at.elapsed() {
                break;
            }
            settled.extend(self.settle(lease)?);
        }
        let sent = settled.len();
        let began = Instant::now();
        self.store.deliver_inbox(&settled)?;
        if 0 < sent {
            telemetry::batch_committed(sent, sent, false, began.elapsed());
        }
        settled.iter().for_each(telemetry::outcome_committed);
        Ok(Delivered { sent, left: locked - sent, contended: locked * 2 < places.len() })
    }

    /// Renders a message that is locked; `None` if it does not go to the inbox without further ado.
    fn settle(&mut self, lease: Lease) -> Result<Option<Settled>, StoreError> {
        if self.delivery.refusal(&lease).is_some() {
            return Ok(None);
        }
        let parts = match self.library.find(&mut self.store, lease.message()) {
            Ok(parts) => parts,
            Err(Missing::Failed(_)) => return Ok(None),
            Err(Missing::Unavailable(err)) => return Err(err),
        };
        let settled = self.delivery.settle(Job { lease, parts, destination: None });
        Ok(settled.outcome.inbox_entry().is_some().then_some(settled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that hands its batches to nobody.
    fn direct() -> (Direct, Receiver<Vec<Place>>) {
        let (batches, taken) = bounded(10);
        (Direct::new(Some(batches), crossbeam_channel::never(), Vec::new()), taken)
    }

    fn delivered(contended: bool) -> Delivered {
        Delivered { sent: 1, left: 0, contended }
    }

    #[test]
    fn who_meets_others_at_the_same_messages_leaves_some_to_them_once() {
        let (mut direct, _taken) = direct();
        let batch = || vec![Place("(0,1)".into())];
        (0..3).for_each(|_| direct.deliver(batch()));
        assert!(!direct.note(Ok(delivered(true))));
        assert!((AHEAD..=2 * AHEAD).contains(&direct.ahead()));
        direct.deliver(batch());
        assert_eq!(direct.ahead(), 0);
        // They were found before.
        for _ in 0..2 {
            direct.note(Ok(delivered(true)));
            assert_eq!(direct.ahead(), 0);
        }
        direct.note(Ok(delivered(true)));
        assert_ne!(direct.ahead(), 0, "others are there, too");
    }

    #[test]
    fn where_there_are_not_so_many_ahead_none_are_left_out() {
        let (mut direct, _taken) = direct();
        direct.deliver(vec![Place("(0,1)".into())]);
        direct.note(Ok(delivered(true)));
        assert!(direct.missed(), "it is to look again");
        assert_eq!(direct.ahead(), 0);
        assert!(!direct.missed(), "something else is next");
    }

    #[test]
    fn batches_are_bounded_by_their_number_and_by_the_room() {
        let (mut direct, _taken) = direct();
        assert!(direct.has_room(BATCH) && !direct.has_room(BATCH - 1));
        direct.deliver(vec![Place("(0,1)".into())]);
        assert!(direct.has_room(2 * BATCH) && !direct.has_room(2 * BATCH - 1));
        (0..2).for_each(|_| direct.deliver(Vec::new()));
        assert!(!direct.has_room(usize::MAX));
    }
}
