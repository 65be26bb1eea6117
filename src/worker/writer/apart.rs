//! Outcomes that cannot be written now: each is kept and tried again apart from the others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::batch::Batch;
use crate::lease::{LeaseKey, Settled};
use crate::message::MessageId;
use crate::store::StoreError;
use crate::telemetry;

/// First pause before another try, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause of one for which something is locked, or too busy: that passes by itself, and the outcome is
/// written soon after.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest pause of one that is refused: somebody has to change something.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(30);
/// After a try of one that is apart the others come first, for so many times as long as it took.
const REST: u32 = 4;
/// Between two lines about all that are apart.
const REMINDER: Duration = Duration::from_mins(1);

/// Why an outcome is apart.
#[derive(Debug)]
enum Reason {
    /// Somebody else has locked the row of its message.
    Locked,
    /// A commit of this outcome alone failed.
    Failed(StoreError),
}

struct Kept {
    settled: Settled,
    unsure: bool,
    reason: Reason,
    due: Instant,
    _counted: telemetry::SetApart,
}

/// The outcomes that are apart.
#[derive(Default)]
pub(super) struct Apart {
    kept: Vec<Kept>,
    /// The last pause of each that was ever set apart, until it is written.
    pauses: BTreeMap<LeaseKey, Duration>,
    /// The others come first until then.
    rests_until: Option<Instant>,
    /// When all were last told of.
    told: Option<Instant>,
}

impl Apart {
    /// Keeps outcomes whose rows are locked.
    pub(super) fn keep_locked(&mut self, outcomes: Vec<Settled>, unsure: bool) {
        for settled in outcomes {
            self.keep(settled, unsure, Reason::Locked);
        }
    }

    /// Keeps an outcome that failed alone.
    pub(super) fn keep_failed(&mut self, one: Batch, err: StoreError) {
        let unsure = one.unsure;
        self.keep(one.into_only(), unsure, Reason::Failed(err));
    }

    fn keep(&mut self, settled: Settled, unsure: bool, reason: Reason) {
        if !self.pauses.contains_key(&settled.key) {
            match &reason {
                Reason::Locked => telemetry::outcome_locked(&settled),
                Reason::Failed(err) => telemetry::outcome_set_apart(&settled, err),
            }
        }
        let now = Instant::now();
        self.told.get_or_insert(now);
        let due = now + self.next_pause(settled.key, &reason);
        let counted = telemetry::SetApart::new();
        self.kept.push(Kept { settled, unsure, reason, due, _counted: counted });
    }

    fn next_pause(&mut self, key: LeaseKey, reason: &Reason) -> Duration {
        let max = match reason {
            Reason::Failed(StoreError::Refused { .. }) => REFUSED_PAUSE_MAX,
            _ => BUSY_PAUSE_MAX,
        };
        let pause = self.pauses.get(&key).map_or(PAUSE_MIN, |last| (*last * 2).min(max));
        self.pauses.insert(key, pause);
        pause
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether one is here that failed with this SQLSTATE.
    pub(super) fn has(&self, code: Option<&str>) -> bool {
        self.kept.iter().any(|it| it.code().is_some_and(|its| Some(its) == code))
    }

    /// Time until there is something to do for one of them; `None` where there are none.
    pub(super) fn wait(&self) -> Option<Duration> {
        let due = |it: &Kept| match it.reason {
            Reason::Locked => it.due,
            Reason::Failed(_) => it.due.max(self.rests_until.unwrap_or(it.due)),
        };
        let first = self.kept.iter().map(due).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// The next to try of those that failed alone, if it is time for one.
    pub(super) fn take_due(&mut self) -> Option<Batch> {
        let now = Instant::now();
        if self.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        let due = |it: &&Kept| matches!(it.reason, Reason::Failed(_)) && it.due <= now;
        let first = self.kept.iter().filter(due).min_by_key(|it| it.due)?.settled.key;
        let place = self.kept.iter().position(|it| it.settled.key == first)?;
        let kept = self.kept.swap_remove(place);
        let code = kept.code().map(str::to_owned);
        Some(Batch::again(kept.settled, kept.unsure, code))
    }

    /// Lets the others come first after a try that took so long.
    pub(super) fn rest(&mut self, took: Duration) {
        self.rests_until = Some(Instant::now() + took * REST);
    }

    /// All that failed with this SQLSTATE: where one of them could be written after all, what was in the way
    /// of all may be gone.
    pub(super) fn take_alike(&mut self, code: &str) -> Vec<Batch> {
        self.take(|it| it.code() == Some(code))
    }

    /// Messages of which it is time to ask whether their rows are locked still.
    pub(super) fn locked_due(&self) -> Vec<MessageId> {
        let now = Instant::now();
        let due = |it: &&Kept| matches!(it.reason, Reason::Locked) && it.due <= now;
        self.kept.iter().filter(due).map(|it| it.settled.key.id).collect()
    }

    /// Of the `asked` ones takes those that are not locked any more; the others wait for longer.
    pub(super) fn unlock(&mut self, asked: &[MessageId], locked: &[MessageId]) -> Vec<Batch> {
        let now = Instant::now();
        let of = |it: &Kept, ids: &[MessageId]| ids.contains(&it.settled.key.id);
        let free =
            self.take(|it| matches!(it.reason, Reason::Locked) && of(it, asked) && !of(it, locked));
        let mut kept = std::mem::take(&mut self.kept);
        for it in kept.iter_mut().filter(|it| matches!(it.reason, Reason::Locked) && of(it, asked))
        {
            it.due = now + self.next_pause(it.settled.key, &Reason::Locked);
        }
        self.kept = kept;
        free
    }

    fn take(&mut self, wanted: impl Fn(&Kept) -> bool) -> Vec<Batch> {
        let (taken, left) = std::mem::take(&mut self.kept).into_iter().partition(|it| wanted(it));
        self.kept = left;
        let mut batches: Vec<Batch> = Vec::new();
        for Kept { settled, unsure, .. } in taken {
            let fits = |it: &&mut Batch| it.unsure == unsure && it.has_room();
            match batches.iter_mut().rev().find(fits) {
                Some(batch) => batch.push(settled),
                None => batches.push(Batch::again(settled, unsure, None)),
            }
        }
        batches
    }

    /// Forgets those that are written.
    pub(super) fn forget(&mut self, written: &[Settled]) {
        if self.pauses.is_empty() {
            return;
        }
        for settled in written {
            self.pauses.remove(&settled.key);
        }
        if self.kept.is_empty() {
            self.told = None;
        }
    }

    /// Makes all of them due now, with the pauses of the first tries: the worker is about to end.
    pub(super) fn hurry(&mut self) {
        let now = Instant::now();
        self.pauses.values_mut().for_each(|pause| *pause = PAUSE_MIN);
        self.kept.iter_mut().for_each(|it| it.due = now);
    }

    /// Tells of them once in a while.
    pub(super) fn remind(&mut self) {
        let (Some(told), Some(first)) = (self.told, self.kept.first()) else { return };
        if REMINDER <= told.elapsed() {
            let why = match &first.reason {
                Reason::Locked => "its row is locked".to_owned(),
                Reason::Failed(err) => err.to_string(),
            };
            telemetry::outcomes_apart(self.kept.len(), &first.settled, &why);
            self.told = Some(Instant::now());
        }
    }
}

impl Kept {
    fn code(&self) -> Option<&str> {
        match &self.reason {
            Reason::Failed(err) => err.code(),
            Reason::Locked => None,
        }
    }
}
