//! Outcomes that are written together.

use std::time::Duration;

use crate::lease::Settled;
use crate::outcome::Outcome;

/// Outcomes written in one statement.
pub(super) const COUNT_MAX: usize = 500;
/// Bytes of text after which a batch is full, so that one statement stays far below what PostgreSQL takes
/// in one value (256 MiB of text in a jsonb object).
const BYTES_MAX: usize = 8 << 20;
/// Tries that a busy database gets before the batch is halved.
const TRIES_MAX: u32 = 5;

/// Outcomes for one statement.
#[derive(Default)]
pub(super) struct Batch {
    outcomes: Vec<Settled>,
    /// Of the texts.
    bytes: usize,
    /// An earlier try had no answer, so they may have been written.
    pub(super) unsure: bool,
    /// How often the database was too busy for it.
    tries: u32,
    /// Where it is one outcome that was set apart: the SQLSTATE that was the reason.
    pub(super) reason: Option<String>,
}

impl Batch {
    /// Of one outcome that was set apart.
    pub(super) fn again(settled: Settled, unsure: bool, reason: Option<String>) -> Self {
        let mut batch = Self { unsure, tries: TRIES_MAX, reason, ..Self::default() };
        batch.push(settled);
        batch
    }

    pub(super) fn push(&mut self, settled: Settled) {
        self.bytes += text_len(&settled.outcome);
        self.outcomes.push(settled);
    }

    pub(super) fn outcomes(&self) -> &[Settled] {
        &self.outcomes
    }

    pub(super) fn len(&self) -> usize {
        self.outcomes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.len() < COUNT_MAX && self.bytes < BYTES_MAX
    }

    /// Counts a try that met a busy database; whether the batch is worth another one as it is.
    pub(super) fn is_patient(&mut self) -> bool {
        self.tries += 1;
        self.tries < TRIES_MAX
    }

    /// How long to wait before that.
    pub(super) fn pause(&self, first: Duration) -> Duration {
        first * (1 << self.tries.saturating_sub(1).min(TRIES_MAX))
    }

    /// Two halves; itself if it is one outcome. They are tried once each: it is known by now that one of them
    /// fails.
    pub(super) fn halve(mut self) -> Result<[Self; 2], Self> {
        if self.len() < 2 {
            return Err(self);
        }
        let right = self.outcomes.split_off(self.len() / 2);
        let half = |outcomes| {
            let (unsure, tries) = (self.unsure, TRIES_MAX);
            Self { outcomes, bytes: 0, unsure, tries, reason: None }
        };
        Ok([half(self.outcomes), half(right)])
    }

    /// Takes out the outcomes of which `wanted` says so.
    pub(super) fn take(&mut self, wanted: impl Fn(&Settled) -> bool) -> Vec<Settled> {
        let all = std::mem::take(&mut self.outcomes);
        let (taken, left) = all.into_iter().partition(wanted);
        self.outcomes = left;
        taken
    }

    /// Puts another outcome in the place of the only one, and returns that.
    pub(super) fn replace(&mut self, outcome: Outcome) -> Outcome {
        std::mem::replace(&mut self.outcomes[0].outcome, outcome)
    }

    /// The only outcome, with its lease.
    pub(super) fn into_only(mut self) -> Settled {
        self.outcomes.remove(0)
    }

    /// When the first of the messages that go on waiting is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let delay = |settled: &Settled| match settled.outcome {
            Outcome::Deferred { delay, .. } | Outcome::Released { delay } => Some(delay),
            _ => None,
        };
        self.outcomes.iter().filter_map(delay).min()
    }
}

/// Bytes of the texts that an outcome brings along.
fn text_len(outcome: &Outcome) -> usize {
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match outcome {
        Outcome::Sent(receipt) => {
            let entry = receipt.inbox.as_ref().map_or(0, |entry| {
                let actions = entry.actions.iter().map(|it| it.label.len() + it.url.len());
                entry.title.len() + entry.content.len() + actions.sum::<usize>()
            });
            of(&receipt.code) + of(&receipt.detail) + entry
        }
        Outcome::Deferred { code, reason, .. }
        | Outcome::Failed { code, reason, .. }
        | Outcome::BadAddress { code, reason } => code.len() + reason.len(),
        Outcome::Expired { reason, .. } => reason.len(),
        Outcome::Inhibited | Outcome::Released { .. } => 0,
    }
}
