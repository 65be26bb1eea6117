//! A queue in memory that keeps the promises of [`Store`], and breaks down on order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::endpoint::EndpointSettings;
use crate::lease::{Lease, LeaseKey, Message, Settled};
use crate::message::{MailFields, MessageId};
use crate::outcome::Outcome;
use crate::store::{Acquired, Look, Room, Store, StoreError, TemplateRow};

/// Longest that a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a lease holds.
const LEASE: Duration = Duration::from_mins(2);

/// A message that waits or is leased.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: MessageId,
    pub(super) text: String,
    pub(super) template_id: Uuid,
    pub(super) template_version: Option<i32>,
    pub(super) method: String,
    pub(super) attempt: u32,
    pub(super) max_attempts: Option<u32>,
    pub(super) suspect: bool,
    pub(super) lapses: u32,
    pub(super) size: usize,
    pub(super) held_for: Option<Duration>,
    pub(super) disabled: bool,
    pub(super) suppressed: bool,
    pub(super) expires_in: Option<Duration>,
    pub(super) due: Instant,
}

impl Entry {
    /// Message `number`, due now; the scripted transport does what `text` says.
    pub(super) fn new(number: u128, text: &str) -> Self {
        Self {
            id: MessageId(Uuid::from_u128(number)),
            text: text.to_owned(),
            template_id: GOOD,
            template_version: Some(1),
            method: "script".to_owned(),
            attempt: 0,
            max_attempts: None,
            suspect: false,
            lapses: 0,
            size: 2,
            held_for: None,
            disabled: false,
            suppressed: false,
            expires_in: None,
            due: Instant::now(),
        }
    }

    fn lease(&self, claim: i64, until: Instant) -> Lease {
        let payload = json!({
            "_version": "1.2", "notification_name": "t", "user_id": "1",
            "labels": {"text": self.text}
        });
        let message = Message {
            notification_id: self.id.0,
            template_id: self.template_id,
            template_version: self.template_version,
            attempt: self.attempt + 1,
            max_attempts: self.max_attempts,
            suspect: self.suspect,
            lapses: self.lapses,
            size: self.size,
            held_for: self.held_for,
            disabled: self.disabled,
            suppressed: self.suppressed,
            expires_in: self.expires_in,
            created_at: SystemTime::now(),
            ..Message::sample(&self.method)
        };
        let message =
            Message { payload: RawValue::from_string(payload.to_string()).unwrap(), ..message };
        Lease::new(LeaseKey { id: self.id, claim }, until, message)
    }
}

/// A refusal with this SQLSTATE.
pub(super) fn refused(code: &str) -> StoreError {
    StoreError::Refused { code: code.into(), text: "scripted".into() }
}

/// A busy database, with this SQLSTATE.
pub(super) fn busy(code: &str) -> StoreError {
    StoreError::Busy { code: code.into(), text: "scripted".into() }
}

/// A template that renders the text of its message.
pub(super) const GOOD: Uuid = Uuid::from_u128(1);
/// A template that does not compile.
pub(super) const BROKEN: Uuid = Uuid::from_u128(2);
/// A template that wants a label that no message has.
pub(super) const WANTING: Uuid = Uuid::from_u128(3);

fn templates() -> HashMap<Uuid, TemplateRow> {
    let bodies = [(GOOD, "{{labels.text}}"), (BROKEN, "{{#if}}"), (WANTING, "{{labels.gone}}")];
    let row = |(id, body): (Uuid, &str)| {
        let (name, title, body) = ("t".to_owned(), "t".to_owned(), body.to_owned());
        (
            id,
            TemplateRow {
                id,
                name,
                version: 1,
                title,
                body,
                actions: Vec::new(),
                mail: MailFields::default(),
            },
        )
    };
    bodies.into_iter().map(row).collect()
}

/// A call that the ring made, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Acquire { asked: usize, got: usize, sweep: bool },
    Look,
    Disarm,
    Commit(usize),
    Locked(usize),
}

/// What is in the queue, and what came of it.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct State {
    pub(super) waiting: VecDeque<Entry>,
    pub(super) leased: HashMap<MessageId, (i64, Entry)>,
    /// Outcomes in the order of their commits.
    pub(super) outcomes: Vec<(MessageId, Outcome)>,
    pub(super) templates: HashMap<Uuid, TemplateRow>,
    pub(super) calls: Vec<(Instant, Call)>,
    /// Leases out after each acquire that yielded some, with the number of messages left.
    pub(super) marks: Vec<(usize, usize)>,
    pub(super) armed: bool,
    pub(super) paused: bool,
    /// Another worker holds a lease.
    pub(super) foreign_lease: bool,
    /// Messages wait whose time is over.
    pub(super) overdue: bool,
    pub(super) faults: Faults,
    claims: i64,
}

/// What shall go wrong.
#[derive(Default)]
pub(super) struct Faults {
    /// So many leases to come are nearly over when they are taken.
    pub(super) short_leases: usize,
    pub(super) acquire_errors: VecDeque<StoreError>,
    pub(super) look_errors: VecDeque<StoreError>,
    pub(super) template_errors: VecDeque<StoreError>,
    pub(super) commit_errors: VecDeque<StoreError>,
    /// The next commit panics.
    pub(super) commit_panics: bool,
    /// Outcomes of these are refused if they are as this says.
    pub(super) refused: HashMap<MessageId, fn(&Outcome) -> bool>,
    /// The database is too busy for batches with these.
    pub(super) too_much: HashSet<MessageId>,
    /// Somebody else has locked the rows of these.
    pub(super) rows_locked: HashSet<MessageId>,
}

/// A connection to the queue; clones lead to the same one.
#[derive(Clone)]
pub(super) struct MemStore {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl MemStore {
    pub(super) fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let state = State {
            waiting: entries.into_iter().collect(),
            leased: HashMap::new(),
            outcomes: Vec::new(),
            templates: templates(),
            calls: Vec::new(),
            marks: Vec::new(),
            armed: false,
            paused: false,
            foreign_lease: false,
            overdue: false,
            faults: Faults::default(),
            claims: 0,
        };
        Self { shared: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    /// Waits until the queue is as `ready` wants it, after one of the ring's calls.
    #[track_caller]
    pub(super) fn wait(&self, what: &str, mut ready: impl FnMut(&State) -> bool) {
        let (_guard, result) =
            self.shared.1.wait_timeout_while(self.state(), LIMIT, |state| !ready(state)).unwrap();
        assert!(!result.timed_out(), "after {LIMIT:?}, still not so: {what}");
    }

    /// Runs a call of the ring, and wakes who waits for it.
    fn call<T>(&self, call: impl FnOnce(&mut State) -> T) -> T {
        let result = call(&mut self.state());
        self.shared.1.notify_all();
        result
    }
}

impl State {
    pub(super) fn count(&self, wanted: impl Fn(Call) -> bool) -> usize {
        self.calls.iter().filter(|(_, call)| wanted(*call)).count()
    }

    pub(super) fn looks(&self) -> usize {
        self.count(|call| call == Call::Look)
    }

    /// The only outcome of message `number`.
    #[track_caller]
    pub(super) fn outcome(&self, number: u128) -> &Outcome {
        let id = MessageId(Uuid::from_u128(number));
        let mut found = self.outcomes.iter().filter(|(it, _)| *it == id);
        let (_, outcome) = found.next().expect("the message has an outcome");
        assert!(found.next().is_none(), "the message has more than one outcome");
        outcome
    }

    pub(super) fn sent(&self) -> usize {
        self.outcomes.iter().filter(|(_, it)| matches!(it, Outcome::Sent(_))).count()
    }

    fn note(&mut self, call: Call) {
        self.calls.push((Instant::now(), call));
    }

    fn take(&mut self, room: Room, suspect: bool) -> Vec<Lease> {
        let now = Instant::now();
        let (mut leases, mut bytes) = (Vec::new(), 0);
        for _ in 0..self.waiting.len() {
            let Some(entry) = self.waiting.pop_front() else { break };
            let is_full = leases.len() == room.messages || room.bytes <= bytes;
            if is_full || now < entry.due || entry.suspect != suspect {
                self.waiting.push_back(entry);
                continue;
            }
            self.claims += 1;
            bytes += entry.size;
            let short = 0 < self.faults.short_leases;
            self.faults.short_leases = self.faults.short_leases.saturating_sub(1);
            let until = if short { now } else { now + LEASE };
            leases.push(entry.lease(self.claims, until));
            self.leased.insert(entry.id, (self.claims, entry));
        }
        leases
    }

    /// Whether the database refuses the outcome.
    fn refuses(&self, settled: &Settled) -> bool {
        self.faults.refused.get(&settled.key.id).is_some_and(|refused| refused(&settled.outcome))
    }

    /// What the database has against a batch.
    fn fault(&self, batch: &[Settled]) -> Option<StoreError> {
        if batch.iter().any(|it| self.faults.rows_locked.contains(&it.key.id)) {
            return Some(busy("55P03"));
        }
        if batch.iter().any(|it| self.faults.too_much.contains(&it.key.id)) {
            return Some(busy("57014"));
        }
        batch.iter().any(|it| self.refuses(it)).then(|| refused("P0001"))
    }

    /// Ends a lease if it is still the one in force.
    fn end(&mut self, settled: &Settled) -> Option<MessageId> {
        let id = settled.key.id;
        self.leased.get(&id).filter(|(claim, _)| *claim == settled.key.claim)?;
        let (_, mut entry) = self.leased.remove(&id)?;
        let back = match &settled.outcome {
            Outcome::Deferred { delay, counted, .. } => Some((*delay, *counted)),
            Outcome::Released { delay } => Some((*delay, false)),
            _ => None,
        };
        if let Some((delay, counted)) = back {
            entry.due = Instant::now() + delay;
            entry.attempt += u32::from(counted);
            entry.suspect = false;
            self.waiting.push_back(entry);
        }
        self.outcomes.push((id, settled.outcome.clone()));
        Some(id)
    }
}

impl Store for MemStore {
    fn acquire(&mut self, room: Room, sweep: bool) -> Result<Acquired, StoreError> {
        self.call(|state| {
            let error = state.faults.acquire_errors.pop_front();
            let leases = match error {
                None if !state.paused => state.take(room, false),
                _ => Vec::new(),
            };
            let (asked, got) = (room.messages, leases.len());
            state.note(Call::Acquire { asked, got, sweep });
            if !leases.is_empty() {
                state.marks.push((state.leased.len(), state.waiting.len()));
            }
            let bytes: usize = leases.iter().map(|it| it.message().size).sum();
            let more = got == asked || room.bytes <= bytes;
            error.map_or(Ok(Acquired { leases, more, lapsed: false }), Err)
        })
    }

    fn acquire_suspect(&mut self) -> Result<Option<Lease>, StoreError> {
        self.call(|state| {
            if state.paused {
                return Ok(None);
            }
            Ok(state.take(Room::of(1), true).pop())
        })
    }

    fn look(&mut self, arm: Option<Duration>) -> Result<Look, StoreError> {
        self.call(|state| {
            state.note(Call::Look);
            if let Some(error) = state.faults.look_errors.pop_front() {
                return Err(error);
            }
            state.armed |= arm.is_some();
            let now = Instant::now();
            let later = state.waiting.iter().map(|it| it.due).filter(|due| now < *due).min();
            Ok(Look {
                paused: state.paused,
                due: state.waiting.iter().any(|it| it.due <= now && !it.suspect),
                suspect: state.waiting.iter().any(|it| it.due <= now && it.suspect),
                silent: false,
                next_due: later.map(|due| due - now),
                leased: state.foreign_lease || !state.leased.is_empty(),
                overdue: state.overdue,
            })
        })
    }

    fn disarm(&mut self) -> Result<(), StoreError> {
        self.call(|state| {
            state.note(Call::Disarm);
            state.armed = false;
            Ok(())
        })
    }

    fn template(&mut self, id: Uuid) -> Result<Option<TemplateRow>, StoreError> {
        self.call(|state| match state.faults.template_errors.pop_front() {
            Some(error) => Err(error),
            None => Ok(state.templates.get(&id).cloned()),
        })
    }

    fn endpoint(&mut self, _: &str) -> Result<Option<EndpointSettings>, StoreError> {
        Ok(None)
    }

    fn commit(&mut self, batch: &[Settled]) -> Result<Vec<LeaseKey>, StoreError> {
        self.call(|state| {
            state.note(Call::Commit(batch.len()));
            if let Some(error) = state.faults.commit_errors.pop_front() {
                return Ok(Err(error));
            }
            if state.faults.commit_panics {
                return Err("scripted");
            }
            if let Some(error) = state.fault(batch) {
                return Ok(Err(error));
            }
            Ok(Ok(batch.iter().filter(|it| state.end(it).is_some()).map(|it| it.key).collect()))
        })
        // Outside the lock, which a panic would poison, and past the hook, which would print it.
        .unwrap_or_else(|text| panic::resume_unwind(Box::new(text)))
    }

    fn locked(&mut self, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        self.call(|state| {
            state.note(Call::Locked(ids.len()));
            let locked = |id: &&MessageId| state.faults.rows_locked.contains(id);
            Ok(ids.iter().filter(locked).copied().collect())
        })
    }
}
