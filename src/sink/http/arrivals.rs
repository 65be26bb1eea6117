//! Which messages have arrived, and how often.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::message::MessageId;

/// Counts requests by the message id in their `X-Message-Id`.
#[derive(Debug, Default)]
pub struct Arrivals {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u64,
    by_id: HashMap<MessageId, u64>,
}

impl Arrivals {
    /// Requests, those without a message id too.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Messages that arrived at least once.
    pub fn distinct(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Requests that brought a message once more.
    pub fn duplicates(&self) -> u64 {
        self.lock().by_id.values().map(|count| count - 1).sum()
    }

    /// How often a message arrived.
    pub fn count(&self, id: MessageId) -> u64 {
        self.lock().by_id.get(&id).copied().unwrap_or(0)
    }

    /// Counts per message, in no order.
    pub fn by_id(&self) -> HashMap<MessageId, u64> {
        self.lock().by_id.clone()
    }

    pub(super) fn record(&self, id: Option<MessageId>) {
        let mut counts = self.lock();
        counts.total += 1;
        if let Some(id) = id {
            *counts.by_id.entry(id).or_default() += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
