//! The queue against a model: whatever two workers and an operator do in whatever order, each
//! message is where a much simpler account of the rules says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postrider::lease::Lease;
use postrider::message::MessageId;
use postrider::outcome::Outcome;
use postrider::store::Store;
use postrider::store::admin::{self, messages};
use postrider::store::postgres::PgStore;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::rig::{Leases, Rig, boxed, deferred, failed, released};

const WORKERS: usize = 2;
/// Each case is a history of this many steps at most.
const STEPS_MAX: usize = 60;
const CASES: u32 = 24;

/// Something that happens to the queue.
#[derive(Debug, Clone)]
enum Step {
    Enqueue,
    Acquire {
        worker: usize,
        limit: usize,
        sweep: bool,
    },
    AcquireSuspect(usize),
    /// A worker commits one of its leases, however old, and perhaps a second time.
    Commit {
        worker: usize,
        pick: usize,
        ending: Ending,
        twice: bool,
    },
    /// All leases run out.
    Expire,
    /// All that waits becomes due.
    Wait,
    Retry(usize),
    Cancel(usize),
    Pause(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Sent,
    DeferredShort,
    DeferredLong,
    Failed,
    Released,
}

impl Ending {
    fn outcome(self) -> Outcome {
        match self {
            Self::Sent => boxed(),
            Self::DeferredShort => deferred(Duration::ZERO),
            Self::DeferredLong => deferred(Duration::from_hours(1)),
            Self::Failed => failed(),
            Self::Released => released(),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let ending = prop_oneof![
        Just(Ending::Sent),
        Just(Ending::DeferredShort),
        Just(Ending::DeferredLong),
        Just(Ending::Failed),
        Just(Ending::Released),
    ];
    prop_oneof![
        3 => Just(Step::Enqueue),
        8 => (0..WORKERS, 1_usize..4, any::<bool>())
            .prop_map(|(worker, limit, sweep)| Step::Acquire { worker, limit, sweep }),
        4 => (0..WORKERS).prop_map(Step::AcquireSuspect),
        6 => (0..WORKERS, 0_usize..8, ending, any::<bool>())
            .prop_map(|(worker, pick, ending, twice)| Step::Commit { worker, pick, ending, twice }),
        4 => Just(Step::Expire),
        1 => Just(Step::Wait),
        1 => (0_usize..8).prop_map(Step::Retry),
        1 => (0_usize..8).prop_map(Step::Cancel),
        1 => any::<bool>().prop_map(Step::Pause),
    ]
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting { due: bool },
    Leased { claim: i64, expired: bool },
    Finished(&'static str),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    place: Place,
    attempt: i32,
    /// A failure is on record, which shows while it waits.
    failed_before: bool,
    /// A lease of it ran out, and no outcome since shows that it can be delivered.
    suspect: bool,
}

impl Entry {
    fn status(self) -> &'static str {
        match self.place {
            Place::Leased { expired: false, .. } => "leased",
            Place::Finished(status) => status,
            // A lease that ran out is none.
            _ if self.failed_before => "temporary_failure",
            _ => "pending",
        }
    }

    fn can_be_acquired(self) -> bool {
        matches!(self.place, Place::Waiting { due: true } | Place::Leased { expired: true, .. })
    }

    fn is_healthy(self) -> bool {
        !self.suspect && matches!(self.place, Place::Waiting { due: true })
    }
}

/// The queue and the account of it.
struct World<'a> {
    rig: &'a mut Rig,
    workers: Vec<(PgStore, Vec<Lease>)>,
    model: BTreeMap<MessageId, Entry>,
    order: Vec<MessageId>,
    paused: bool,
    highest_claim: i64,
}

impl<'a> World<'a> {
    /// An empty queue.
    fn new(rig: &'a mut Rig) -> Self {
        let tables = "messages, postrider.history, postrider.attempts, postrider.inbox";
        rig.client.batch_execute(&format!("truncate postrider.{tables}")).unwrap();
        admin::set_paused(&mut rig.client, false).unwrap();
        let workers = (0..WORKERS).map(|_| (rig.store(), Vec::new())).collect();
        let (model, order) = (BTreeMap::new(), Vec::new());
        Self { rig, workers, model, order, paused: false, highest_claim: 0 }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Enqueue => {
                let id = self.rig.fill(1)[0];
                let place = Place::Waiting { due: true };
                self.model
                    .insert(id, Entry { place, attempt: 0, failed_before: false, suspect: false });
                self.order.push(id);
            }
            Step::Acquire { worker, limit, sweep } => self.acquire(worker, limit, sweep),
            Step::AcquireSuspect(worker) => self.acquire_suspect(worker),
            Step::Commit { worker, pick, ending, twice } => {
                self.commit(worker, pick, ending, twice);
            }
            Step::Expire => {
                self.rig.expire_leases();
                for entry in self.model.values_mut() {
                    if let Place::Leased { expired, .. } = &mut entry.place {
                        *expired = true;
                    }
                }
            }
            Step::Wait => {
                self.rig
                    .execute("update postrider.messages set due_at = now() where claim = 0", &[]);
                for entry in self.model.values_mut() {
                    if let Place::Waiting { due } = &mut entry.place {
                        *due = true;
                    }
                }
            }
            Step::Retry(pick) => self.retry(pick),
            Step::Cancel(pick) => self.cancel(pick),
            Step::Pause(paused) => {
                admin::set_paused(&mut self.rig.client, paused).unwrap();
                self.paused = paused;
            }
        }
        self.compare();
    }

    fn acquire(&mut self, worker: usize, limit: usize, sweep: bool) {
        let free = self.model.values().filter(|it| it.is_healthy()).count();
        let lapsed: Vec<_> = self
            .model
            .iter()
            .filter(|(_, it)| {
                matches!(it.place, Place::Leased { expired: true, .. }) && !it.suspect
            })
            .map(|(id, _)| *id)
            .collect();
        let free = if self.paused { 0 } else { free };
        let leases = self.workers[worker].0.leases(limit, sweep);
        let most = free.min(limit);
        // What lies behind the point that was reached is found by sweeps only, and rows whose lease ran
        // out take the place of others.
        let exact = sweep && lapsed.is_empty();
        assert!(leases.len() == most || (!exact && leases.len() < most), "{}", leases.len());
        let before = self.highest_claim;
        for lease in leases {
            assert!(self.model[&lease.key().id].is_healthy(), "{:?}", self.model[&lease.key().id]);
            self.lease(worker, lease, before);
        }
        // Which of them were met depends on the limit and the floors.
        for id in lapsed {
            let sql = "select suspect from postrider.messages where id = $1";
            if self.rig.client.query_one(sql, &[&id.0]).unwrap().get(0) {
                let entry = self.model.get_mut(&id).unwrap();
                (entry.suspect, entry.place) = (true, Place::Waiting { due: true });
            }
        }
    }

    fn acquire_suspect(&mut self, worker: usize) {
        let any = self.model.values().any(|it| it.suspect && it.can_be_acquired());
        let lease = self.workers[worker].0.acquire_suspect().unwrap();
        assert_eq!(lease.is_some(), any && !self.paused);
        if let Some(lease) = lease {
            let entry = self.model[&lease.key().id];
            assert!(entry.suspect && entry.can_be_acquired(), "{entry:?}");
            let before = self.highest_claim;
            self.lease(worker, lease, before);
        }
    }

    fn lease(&mut self, worker: usize, lease: Lease, before: i64) {
        let key = lease.key();
        let entry = self.model.get_mut(&key.id).unwrap();
        assert!(before < key.claim, "a claim is higher than any before");
        self.highest_claim = key.claim;
        entry.place = Place::Leased { claim: key.claim, expired: false };
        assert_eq!(i64::from(lease.message().attempt), i64::from(entry.attempt) + 1);
        self.workers[worker].1.push(lease);
    }

    fn commit(&mut self, worker: usize, pick: usize, ending: Ending, twice: bool) {
        let (store, held) = &mut self.workers[worker];
        if held.is_empty() {
            return;
        }
        let lease = held.remove(pick % held.len());
        let key = lease.key();
        let settled = [lease.settle(Instant::now(), ending.outcome())];
        let written = store.commit(&settled).unwrap();
        let entry = self.model.get_mut(&key.id).unwrap();
        let holds = matches!(entry.place, Place::Leased { claim, .. } if claim == key.claim);
        assert_eq!(written, if holds { vec![key] } else { vec![] }, "{entry:?}");
        if holds {
            entry.place = match ending {
                Ending::Sent => Place::Finished("sent"),
                Ending::Failed => Place::Finished("permanent_failure"),
                Ending::DeferredShort | Ending::Released => Place::Waiting { due: true },
                Ending::DeferredLong => Place::Waiting { due: false },
            };
            entry.attempt += i32::from(ending != Ending::Released);
            entry.suspect &= ending == Ending::Released;
            entry.failed_before |= matches!(ending, Ending::DeferredShort | Ending::DeferredLong);
        }
        if twice {
            assert_eq!(store.commit(&settled).unwrap(), vec![], "a repeat writes nothing");
        }
    }

    fn retry(&mut self, pick: usize) {
        let Some(id) = self.pick(pick) else { return };
        let changed = messages::retry(&mut self.rig.client, id.0).unwrap();
        let entry = self.model.get_mut(&id).unwrap();
        let done = match entry.place {
            Place::Waiting { .. } | Place::Leased { expired: true, .. } => true,
            Place::Finished(status) if status != "sent" => {
                // What it ended with is a failure on record.
                (entry.attempt, entry.failed_before, entry.suspect) = (0, true, false);
                true
            }
            Place::Finished(_) | Place::Leased { .. } => false,
        };
        if done {
            entry.place = Place::Waiting { due: true };
        }
        assert_eq!(changed == messages::Changed::Done, done, "{entry:?}");
    }

    fn cancel(&mut self, pick: usize) {
        let Some(id) = self.pick(pick) else { return };
        let changed = messages::cancel(&mut self.rig.client, id.0).unwrap();
        let entry = self.model.get_mut(&id).unwrap();
        let done =
            matches!(entry.place, Place::Waiting { .. } | Place::Leased { expired: true, .. });
        if done {
            entry.place = Place::Finished("cancelled");
        }
        assert_eq!(changed == messages::Changed::Done, done, "{entry:?}");
    }

    fn pick(&self, pick: usize) -> Option<MessageId> {
        (!self.order.is_empty()).then(|| self.order[pick % self.order.len()])
    }

    /// The tables say of each message what the account says, and know no other.
    fn compare(&mut self) {
        let sql = "select id, status::text, attempt from postrider.all_messages order by id";
        let rows = self.rig.client.query(sql, &[]).unwrap();
        let found: Vec<(MessageId, String, i32)> =
            rows.iter().map(|row| (MessageId(row.get(0)), row.get(1), row.get(2))).collect();
        let sent = found.iter().filter(|(_, status, _)| status == "sent").count();
        assert_eq!(
            self.rig.count("inbox"),
            i64::try_from(sent).unwrap(),
            "a sent message has one entry, and no other has any"
        );
        let wanted: Vec<_> = self
            .model
            .iter()
            .map(|(id, entry)| (*id, entry.status().to_owned(), entry.attempt))
            .collect();
        assert_eq!(found, wanted, "what the tables say, and what is true");
    }
}

#[test]
fn two_workers_and_an_operator_leave_each_message_where_the_rules_say() {
    let mut rig = Rig::new();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let rig = std::cell::RefCell::new(&mut rig);
    let steps = prop::collection::vec(step(), 20..STEPS_MAX);
    let result = TestRunner::new(config).run(&steps, |steps| {
        let mut rig = rig.borrow_mut();
        let mut world = World::new(&mut rig);
        for step in &steps {
            world.take(step);
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, steps)) = result {
        panic!("{reason}\nafter {steps:#?}");
    }
    result.unwrap();
}
