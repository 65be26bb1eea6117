//! The poller while all that is due is for the inbox: it finds messages, and others deliver them.

use std::time::{Duration, Instant};

use super::super::direct::{BATCH, Ended};
use super::super::pace::{Hunger, Until};
use super::Poller;
use crate::store::{Store, StoreError};
use crate::telemetry;

impl<S: Store> Poller<S> {
    pub(super) fn has_direct_room(&self) -> bool {
        self.direct.has_room(self.limits.in_flight_max.saturating_sub(self.leases_out))
    }

    /// Hands a batch of inbox messages to the threads that deliver without a lease; there may be other ones next.
    pub(super) fn find_inbox(&mut self) {
        if !self.has_direct_room() {
            return;
        }
        let began = Instant::now();
        match self.store.find_inbox(BATCH, self.direct.ahead()) {
            Ok(places) if places.is_empty() => {
                if !self.direct.missed() {
                    self.hunger = Hunger::Hungry;
                }
            }
            Ok(places) => {
                telemetry::acquired(places.len(), began.elapsed());
                self.direct.deliver(places);
            }
            Err(err) => self.failed(&err),
        }
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        match self.direct.note(ended) {
            Err(err @ StoreError::Unavailable(_)) => self.failed(&err),
            Err(err) => {
                telemetry::direct_failed(&err);
                self.hunger = Hunger::Hungry;
            }
            Ok(()) if self.limits.until == Until::Stopped => (),
            Ok(()) => self.pace.due_in(Duration::ZERO),
        }
    }
}
