//! The poller: turns credit into leases, and hands them to the pool with what they refer to.
//!
//! It is *hungry* while the queue may hold more due messages than it took. When an acquire
//! finds nothing it arms the doorbell, looks once more, and sleeps until a wake-up, the next
//! due time, or the end of a pause ([`Pace`]). A look while the bell is armed keeps it so. While messages
//! come in bursts the doorbell stays disarmed, and the poller looks again after a short pause.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select_biased};

use super::pace::{Hunger, Limits, Pace, Until, Work};
use super::prefetch::Prefetch;
use super::writer::Returned;
use crate::delivery::{Delivery, Job};
use crate::destination::Destinations;
use crate::lease::{Lease, Settled};
use crate::library::Library;
use crate::store::{Look, Room, Store, StoreError};
use crate::telemetry;
use crate::telemetry::beats::{Part, beat, rest};

mod submit;
mod suspects;

use submit::RELEASE_DELAY;
use suspects::Suspects;

/// As many messages at once show that they come faster than a doorbell should ring.
const BURST: usize = 4;
/// What a byte of payload is taken to cost while its message is under way: its text, and for a while what
/// is made of it. Measured in `tests/memory.rs`.
const PAYLOAD_COST: usize = 8;
/// How much longer than two looks the doorbell stays armed.
const ARM_SLACK: Duration = Duration::from_secs(5);

/// The poller's ends of the channels.
pub(super) struct Ends {
    pub(super) stop: Receiver<Infallible>,
    pub(super) credit: Receiver<Returned>,
    pub(super) wake: Receiver<()>,
    /// To the janitor; of capacity one.
    pub(super) overdue: Sender<()>,
    pub(super) jobs: Sender<Job>,
    /// The pool's end of `jobs`, to take back what no thread has begun.
    pub(super) queued: Receiver<Job>,
    /// To the thread of the pool that delivers suspects, one after the other.
    pub(super) suspects: Sender<Job>,
    /// That thread is free again.
    pub(super) suspect_done: Receiver<()>,
    pub(super) outcomes: Sender<Settled>,
}

/// Owns a connection of its own and all state that decides what to acquire when.
pub(super) struct Poller<S> {
    store: S,
    library: Library,
    destinations: Destinations,
    delivery: Arc<Delivery>,
    limits: Limits,
    ends: Ends,
    /// Leases out, for whoever watches from outside; the writer counts them down.
    gauge: Arc<AtomicUsize>,
    leases_out: usize,
    /// Bytes of their payloads.
    bytes_out: usize,
    suspects: Suspects,
    prefetch: Prefetch,
    hunger: Hunger,
    armed: bool,
    paused: bool,
    work: Work,
    pace: Pace,
}

/// All that can move the poller.
enum Event {
    Stop,
    Returned(Returned),
    SuspectDone,
    Wake,
    Tick,
}

impl<S: Store> Poller<S> {
    pub(super) fn new(
        store: S,
        delivery: Arc<Delivery>,
        (limits, ends): (Limits, Ends),
        gauge: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            store,
            library: Library::default(),
            destinations: delivery.destinations(),
            delivery,
            limits,
            ends,
            gauge,
            leases_out: 0,
            bytes_out: 0,
            suspects: Suspects::default(),
            prefetch: Prefetch::new(Instant::now()),
            hunger: Hunger::Hungry,
            armed: false,
            paused: false,
            work: Work::GoesOn,
            pace: Pace::new(&limits),
        }
    }

    /// Runs until it is told to stop or its work is done; then gives back what is not begun.
    pub(super) fn run(mut self) {
        while !self.is_done() {
            let room = self.room();
            let suspect = self.suspects.is_next(self.hunger);
            match self.next_event(room, suspect) {
                Event::Stop => break,
                Event::Returned(returned) => self.take_back(returned),
                Event::SuspectDone => self.suspects.end(),
                Event::Tick if suspect => self.acquire_suspect(),
                Event::Tick if room.is_none() => (),
                Event::Tick if self.hunger != Hunger::Sated => self.acquire(room),
                Event::Tick if self.armed => self.look(),
                Event::Wake | Event::Tick => self.hunger = Hunger::Hungry,
            }
        }
        rest(Part::Poller);
        for job in self.ends.queued.try_iter() {
            self.release(job.lease, Duration::ZERO);
        }
        if self.armed {
            // Fails only with the database; then the bell falls silent by itself.
            let _ = self.store.disarm();
        }
    }

    fn next_event(&self, room: Room, suspect: bool) -> Event {
        let pause = match self.hunger {
            _ if suspect => Duration::ZERO,
            _ if room.is_none() => self.limits.fetch_interval, // Only returned credit can help.
            Hunger::Sated => self.pace.pause(),
            Hunger::Hungry | Hunger::Sweep => Duration::ZERO,
        };
        beat(Part::Poller, pause);
        select_biased! {
            recv(self.ends.stop) -> _ => Event::Stop,
            // No writer, no credit: to lease on would deliver and lose the outcome.
            recv(self.ends.credit) -> returned => returned.map_or(Event::Stop, Event::Returned),
            recv(self.ends.suspect_done) -> done => done.map_or(Event::Stop, |()| Event::SuspectDone),
            recv(self.ends.wake) -> _ => Event::Wake,
            default(pause) => Event::Tick,
        }
    }

    fn is_done(&self) -> bool {
        match self.work {
            Work::GoesOn => false,
            Work::Passed => self.leases_out == 0 && !self.suspects.is_next(self.hunger),
            Work::Done => true,
        }
    }

    /// What may be leased now: a message for each free thread, and what is worth fetching ahead; as many
    /// bytes of payload as there is memory for.
    fn room(&mut self) -> Room {
        if self.work == Work::Passed {
            return Room::of(0);
        }
        let ahead = self.prefetch.count(Instant::now());
        let most = (self.limits.threads + ahead).min(self.limits.in_flight_max);
        let bytes = (self.limits.memory_max / PAYLOAD_COST).saturating_sub(self.bytes_out);
        Room { messages: most.saturating_sub(self.leases_out), bytes }
    }

    fn take_back(&mut self, returned: Returned) {
        self.leases_out -= returned.count;
        self.bytes_out -= returned.bytes;
        self.prefetch.finished(returned.count, Instant::now());
        if let Some(delay) = returned.next_due {
            self.pace.due_in(delay);
        }
        if self.leases_out == 0 && matches!(self.limits.until, Until::Empty(_)) {
            self.pace.due_in(Duration::ZERO);
        }
    }

    fn acquire(&mut self, room: Room) {
        let sweep = self.hunger == Hunger::Sweep;
        let began = Instant::now();
        let acquired = match self.store.acquire(room, sweep) {
            Ok(acquired) => acquired,
            Err(err) => return self.failed(&err),
        };
        let got = acquired.leases.len();
        telemetry::acquired(got, began.elapsed());
        assert!(got <= room.messages, "the store leased more than it was asked for");
        self.works();
        // An acquire that filled has probably left some behind: ask again at once.
        self.hunger = if acquired.more { Hunger::Hungry } else { Hunger::Sated };
        if !acquired.more && self.limits.until == Until::Once {
            self.work = Work::Passed;
        }
        if acquired.lapsed {
            self.suspects.appear();
        }
        for lease in &acquired.leases {
            self.count(lease);
        }
        let mut leases = acquired.leases.into_iter();
        if leases.by_ref().any(|lease| self.submit(lease).is_break()) {
            // The database is away: asking for the template of each would only take long.
            leases.for_each(|lease| self.release(lease, RELEASE_DELAY));
        }
        match got {
            0 if self.work == Work::Passed || acquired.more => (),
            0 if sweep => (), // Another worker was faster; the look has set the pause.
            0 => self.look(),
            _ => self.found(got, acquired.more),
        }
    }

    /// Counts a lease as out.
    fn count(&mut self, lease: &Lease) {
        self.leases_out += 1;
        self.bytes_out += lease.message().size;
        self.gauge.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the bell and the next look after an acquire that found messages.
    fn found(&mut self, got: usize, more: bool) {
        if self.armed && BURST <= got {
            match self.store.disarm() {
                Ok(()) => self.armed = false,
                Err(err) => return self.failed(&err),
            }
        }
        self.pace.found(!self.armed);
        if self.armed && !more {
            // What came with the same ring, but is due a little later or was committed out of
            // order, rings no more: look for it soon.
            self.pace.look_soon();
        }
    }

    /// Arms the doorbell and sees how the queue stands.
    fn look(&mut self) {
        match self.store.look(Some(self.limits.fetch_interval * 2 + ARM_SLACK)) {
            Ok(look) => self.looked(look),
            Err(err) => self.failed(&err),
        }
    }

    fn looked(&mut self, look: Look) {
        self.armed = true;
        self.works();
        if self.paused != look.paused {
            self.paused = look.paused;
            telemetry::paused(look.paused);
        }
        if look.overdue {
            // Full: the janitor has not taken up the last one yet. Gone: it is being stopped.
            let _ = self.ends.overdue.try_send(());
        }
        let due = look.due && !look.paused;
        let suspect = look.suspect && !look.paused;
        if suspect {
            self.suspects.appear();
        }
        self.hunger = if due { Hunger::Sweep } else { Hunger::Sated };
        if let Until::Empty(wait) = self.limits.until {
            let later = !look.paused && look.next_due.is_some_and(|due| due <= wait);
            if !due && !suspect && !look.leased && !later && self.leases_out == 0 {
                self.work = Work::Done;
            }
        }
        self.pace.hears(!look.silent);
        self.pace.idle(look.next_due);
    }

    fn works(&mut self) {
        if self.pace.works() {
            telemetry::poll_recovered();
        }
    }

    /// Takes a failure for an empty queue, and tries again after a pause.
    fn failed(&mut self, err: &StoreError) {
        let pause = self.pace.failed();
        telemetry::poll_failed(err, pause);
        self.suspects.vanish();
        (self.hunger, self.armed) = (Hunger::Sated, false);
    }
}
