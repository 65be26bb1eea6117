//! Acquires: which rows are leased, and what happens to one that cannot be read.

use std::time::Instant;

use postgres::Row;

use super::PgStore;
use super::floor::Lanes;
use super::rows::acquired;
use super::session::Hot;
use crate::lease::{Lease, Unreadable};
use crate::message::MessageId;
use crate::store::connect::store_error;
use crate::store::typed::Param;
use crate::store::{Acquired, Room, StoreError};

/// Most messages of one acquire.
pub(super) const ACQUIRE_MAX: usize = 5000;

/// Which rows an acquire is to lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Healthy,
    Suspect,
}

/// What of a row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    All,
    /// Without what may be unreadable.
    Bare,
}

impl PgStore {
    pub(super) fn lease_due(&mut self, room: Room, sweep: bool) -> Result<Acquired, StoreError> {
        // Before the statement is sent, so that our idea of the lease's end is never late.
        let began = Instant::now();
        let until = began + self.lease;
        // A new connection reads everything: what happened meanwhile is not known.
        let swept = sweep || self.session.is_none() || self.floors.sweep_is_due();
        let mut before = swept.then(|| self.floors.lower());
        let (mut rows, mut more) = self.query_healthy(room)?;
        if swept {
            self.floors.swept(began);
        } else if !more && self.floors.sweep_is_cheap() {
            before = Some(self.floors.lower());
            let began = Instant::now();
            // What was leased above is in hand, whatever comes of this; the next call meets the same failure.
            if let Ok((others, used_up)) = self.query_healthy(room.without(&rows)) {
                more = used_up;
                rows.extend(others);
                self.floors.swept(began);
            }
        }
        if let Some(before) = before
            && !more
        {
            // The sweep has left nothing behind.
            self.floors.raise_to(before);
        }
        let leases = self.take(&rows, (began, until))?;
        let lapsed = leases.len() < rows.len();
        Ok(Acquired { leases, more, lapsed })
    }

    pub(super) fn lease_suspect(&mut self) -> Result<Option<Lease>, StoreError> {
        let began = Instant::now();
        let until = began + self.lease;
        let lanes = self.floors.all();
        let rows = match self.query_due(Room::of(1), &lanes, Kind::Suspect, Contents::All) {
            Err(StoreError::Refused { .. }) => {
                self.query_due(Room::of(1), &lanes, Kind::Suspect, Contents::Bare)?
            }
            result => result?,
        };
        Ok(self.take(&rows, (began, until))?.pop())
    }

    fn query_due(
        &mut self,
        room: Room,
        lanes: &Lanes,
        kind: Kind,
        contents: Contents,
    ) -> Result<Vec<Row>, StoreError> {
        let (worker, lease) = (self.worker, self.lease.as_secs_f64());
        let limit = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let (messages, bytes) = (limit(room.messages), limit(room.bytes));
        let (suspect, bare) = (kind == Kind::Suspect, contents == Contents::Bare);
        let Lanes { methods, priorities, floor_at, floor_id } = lanes;
        self.run(|session| {
            let lanes: [&dyn Param; 4] = [methods, priorities, floor_at, floor_id];
            let rest: [&dyn Param; 4] = [&messages, &bytes, &suspect, &bare];
            session.query(
                Hot::Acquire,
                &[&[&worker as &dyn Param, &lease], &lanes[..], &rest].concat(),
            )
        })
    }

    /// Due messages behind the floors, and whether they use up the room. Where the database refuses to
    /// send a row, fewer and fewer are asked for, until it is alone and leased without its contents.
    fn query_healthy(&mut self, mut room: Room) -> Result<(Vec<Row>, bool), StoreError> {
        loop {
            room.messages = room.messages.min(self.acquire_max);
            let lanes = self.floors.turn();
            let rows = match self.query_due(room, &lanes, Kind::Healthy, Contents::All) {
                Err(StoreError::Refused { .. }) if 1 < room.messages => {
                    self.acquire_max = room.messages / 2;
                    continue;
                }
                Err(StoreError::Refused { .. }) => {
                    // If this fails, too, it is no row that is at fault.
                    self.acquire_max = ACQUIRE_MAX;
                    self.query_due(room, &lanes, Kind::Healthy, Contents::Bare)?
                }
                result => result?,
            };
            self.acquire_max = (self.acquire_max * 2).min(ACQUIRE_MAX);
            let used_up = room.is_used_up_by(&rows);
            return Ok((rows, used_up));
        }
    }

    /// Says of a message that was leased without its contents whether its row is at fault.
    fn judge(&mut self, id: MessageId) -> Unreadable {
        match self.run(|session| session.query(Hot::ReadMessage, &[&id.0])) {
            Err(err @ StoreError::Refused { .. }) => Unreadable::Row(err.to_string()),
            Err(err) => Unreadable::Once(err.to_string()),
            Ok(_) => {
                Unreadable::Once("the database refused an acquire, and can read it now".into())
            }
        }
    }

    /// Reads the rows of an acquire, and notes how far it came.
    fn take(
        &mut self,
        rows: &[Row],
        (began, until): (Instant, Instant),
    ) -> Result<Vec<Lease>, StoreError> {
        let read = |row| acquired(row, began, until).map_err(|err| store_error(&err));
        let mut due = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        due.sort_unstable_by(|one, other| one.order.cmp(&other.order));
        let mut leases = Vec::with_capacity(due.len());
        for it in due {
            self.floors.raise(&it.order);
            let unreadable = it.is_bare.then(|| self.judge(MessageId(it.order.id)));
            leases.extend(it.lease.map(|lease| lease.with_unreadable(unreadable)));
        }
        Ok(leases)
    }
}

impl Room {
    /// What is left of it after some rows.
    fn without(self, rows: &[Row]) -> Self {
        let messages = self.messages.saturating_sub(rows.len());
        Self { messages, bytes: self.bytes.saturating_sub(bytes(rows)) }
    }

    fn is_used_up_by(self, rows: &[Row]) -> bool {
        self.messages <= rows.len() || self.bytes <= bytes(rows)
    }
}

/// Bytes of the payloads of acquired rows.
fn bytes(rows: &[Row]) -> usize {
    let size = |row: &Row| usize::try_from(row.try_get::<_, i32>("size").unwrap_or(0)).ok();
    rows.iter().filter_map(size).fold(0, usize::saturating_add)
}
