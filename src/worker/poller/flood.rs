//! The poller while all that is due is for the inbox: it finds messages, and others deliver them.

use std::time::Duration;

use super::super::direct::{BATCH, Ended};
use super::super::pace::{Hunger, Until};
use super::Poller;
use crate::store::Store;

/// Longest wait for room for another batch. Whoever takes it then is slow, and others shall not wait for it.
pub(super) const DIRECT_WAIT: Duration = Duration::from_millis(100);

impl<S: Store> Poller<S> {
    /// Whether it goes on without leases after an acquire that filled with inbox messages. A single pass does not: what is
    /// left over would wait for another one.
    pub(super) fn goes_direct(&mut self) -> bool {
        self.limits.until != Until::Once && self.direct.follows(self.limits.in_flight_max)
    }

    pub(super) fn has_direct_room(&self) -> bool {
        self.direct.has_room(self.limits.in_flight_max.saturating_sub(self.leases_out))
    }

    /// Hands a batch of inbox messages to the threads that deliver without a lease, unless there are other ones next, or
    /// there was no room for too long.
    pub(super) fn find_inbox(&mut self) {
        let places = if self.has_direct_room() {
            match self.store.find_inbox(BATCH, self.direct.ahead()) {
                Ok(places) => places,
                Err(err) => return self.failed(&err),
            }
        } else {
            Vec::new()
        };
        if !places.is_empty() {
            self.direct.deliver(places);
        } else if !self.direct.missed() {
            self.hunger = Hunger::Hungry;
        }
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        if self.direct.note(ended) {
            self.hunger = Hunger::Sweep; // They are behind the point that was reached.
        }
        if self.limits.until != Until::Stopped {
            self.pace.due_in(Duration::ZERO);
        }
    }
}
