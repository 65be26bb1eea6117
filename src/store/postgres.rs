//! The queue in PostgreSQL.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use postgres::Row;
use uuid::Uuid;

use super::connect::{Connector, store_error};
use super::{Look, Place, Store, StoreError, TemplateRow};
use crate::endpoint::EndpointSettings;
use crate::lease::{Lease, LeaseKey, Settled};
use crate::message::MessageId;

mod batch;
mod floor;
mod inbox;
mod rows;
mod session;

use batch::Batch;
use floor::{Floors, LANES, LANES_IN_ORDER};
use inbox::Locked;
use rows::{acquired, seconds};
pub(super) use rows::{endpoint_settings, template_row};
use session::{Hot, Session};

/// One connection to the queue.
pub struct PgStore {
    connector: Connector,
    worker: Uuid,
    lease: Duration,
    floors: Floors,
    /// The bell is, unless that has run out or the database has crashed since.
    armed: bool,
    /// What the open transaction is to deliver to the inbox.
    locked: HashMap<Uuid, Locked>,
    session: Option<Session>,
}

impl PgStore {
    /// For `worker`, whose leases hold for `lease`. Connects at the first call.
    pub fn new(connector: Connector, worker: Uuid, lease: Duration) -> Self {
        let (floors, locked) = (Floors::default(), HashMap::new());
        Self { connector, worker, lease, floors, armed: false, locked, session: None }
    }

    /// Runs `call` on the connection, made anew if there is none. After a failure that says
    /// nothing about the values the connection is dropped: it may be dead, or lead to a server
    /// that has become read-only.
    fn run<T>(
        &mut self,
        call: impl FnOnce(&mut Session) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        if self.session.is_none() {
            self.session = Some(Session::open(&self.connector)?);
            self.floors.lower();
        }
        let session = self.session.as_mut().expect("a session was opened above");
        let result = call(session).map_err(|err| store_error(&err));
        if matches!(result, Err(StoreError::Unavailable(_) | StoreError::Refused(_))) {
            self.session = None;
        }
        result
    }

    fn query_due(&mut self, limit: usize) -> Result<Vec<Row>, StoreError> {
        let (lanes, worker, lease) = (self.floors.lanes(), self.worker, self.lease.as_secs_f64());
        let (floor_at, floor_id) = self.floors.of(lanes);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let lanes = lanes.as_slice();
        self.run(|session| {
            session.query(Hot::Acquire, &[&worker, &lease, &lanes, &floor_at, &floor_id, &limit])
        })
    }

    /// How the queue stands, as far as `whole` says, and whether the bell was armed and is for longer now.
    fn query_look(
        &mut self,
        renew: Option<Duration>,
        whole: bool,
    ) -> Result<(Look, bool), StoreError> {
        let (worker, span) = (self.worker, renew.map(|span| span.as_secs_f64()));
        let floors = if whole { &Floors::default() } else { &self.floors };
        let (floor_at, floor_id) = floors.of(LANES_IN_ORDER);
        let began = Instant::now();
        let rows =
            self.run(|session| session.query(Hot::Look, &[&worker, &span, &floor_at, &floor_id]))?;
        if whole {
            self.floors.looked(began);
        }
        let row = &rows[0]; // There always is one.
        let (due, next_due): (bool, Option<f64>) = (row.get("due"), row.get("next_due"));
        let look = Look {
            paused: row.get("paused"),
            due,
            next_due: next_due.and_then(seconds),
            // The leased ones are behind the floor.
            leased: if whole { row.get("leased") } else { !due },
            overdue: row.get("overdue"),
        };
        Ok((look, row.get("renewed")))
    }
}

impl Store for PgStore {
    fn open(&mut self) {
        if let Err(err) = self.run(|_| Ok(())) {
            log::debug!("connects at its first call: {err}");
        }
    }

    fn acquire(&mut self, limit: usize, sweep: bool) -> Result<Vec<Lease>, StoreError> {
        // Before the statement is sent, so that our idea of the lease's end is never late.
        let began = Instant::now();
        let until = began + self.lease;
        // A new connection reads everything: what happened meanwhile is not known.
        let swept = sweep || self.session.is_none() || self.floors.sweep_is_due();
        let mut before = swept.then(|| self.floors.lower());
        let mut rows = self.query_due(limit)?;
        if swept {
            self.floors.swept(began);
        } else if rows.len() < limit && self.floors.sweep_is_cheap() {
            before = Some(self.floors.lower());
            let began = Instant::now();
            // What was leased above is in hand, whatever comes of this; the next call meets the same failure.
            if let Ok(more) = self.query_due(limit - rows.len()) {
                rows.extend(more);
                self.floors.swept(began);
            }
        }
        if let Some(before) = before
            && rows.len() < limit
        {
            // The sweep has left nothing behind.
            self.floors.raise_to(before);
        }
        let mut due =
            rows.iter().map(|row| acquired(row, began, until)).collect::<Result<Vec<_>, _>>()?;
        due.sort_by_key(|it| it.order);
        for it in &due {
            self.floors.raise(it.order);
        }
        Ok(due.into_iter().map(|it| it.lease).collect())
    }

    fn look(&mut self, arm: Option<Duration>) -> Result<Look, StoreError> {
        let mut whole = self.floors.look_is_cheap();
        if self.armed && arm.is_some() {
            let (look, renewed) = self.query_look(arm, whole)?;
            if renewed {
                return Ok(look);
            }
            // Nobody was rung for since the bell fell silent, and this worker has slept.
            whole = true;
        }
        if let Some(span) = arm {
            let (worker, span) = (self.worker, span.as_secs_f64());
            // Before the look: what is enqueued too early to ring is then seen.
            self.run(|session| session.query(Hot::Arm, &[&worker, &span]))?;
            self.armed = true;
        }
        Ok(self.query_look(None, whole)?.0)
    }

    fn disarm(&mut self) -> Result<(), StoreError> {
        let worker = self.worker;
        self.armed = false;
        self.run(|session| session.query(Hot::Disarm, &[&worker])).map(|_| ())
    }

    fn template(&mut self, id: Uuid) -> Result<Option<TemplateRow>, StoreError> {
        let rows = self.run(|session| session.query(Hot::Template, &[&id]))?;
        rows.first().map(template_row).transpose()
    }

    fn endpoint(&mut self, name: &str) -> Result<Option<EndpointSettings>, StoreError> {
        let rows = self.run(|session| session.query(Hot::Endpoint, &[&name]))?;
        rows.first().map(endpoint_settings).transpose()
    }

    fn commit(&mut self, batch: &[Settled]) -> Result<Vec<LeaseKey>, StoreError> {
        let (batch, worker) = (Batch::new(batch), self.worker);
        let rows = self.run(|session| session.query(Hot::Commit, &batch.params(&worker)))?;
        let key = |row: &Row| LeaseKey { id: MessageId(row.get(0)), claim: row.get(1) };
        Ok(rows.iter().map(key).collect())
    }

    fn find_inbox(&mut self, limit: usize, ahead: usize) -> Result<Vec<Place>, StoreError> {
        self.find_places(limit, ahead)
    }

    fn lock_inbox(&mut self, places: &[Place]) -> Result<Vec<Lease>, StoreError> {
        self.lock_places(places)
    }

    fn deliver_inbox(&mut self, settled: &[Settled]) -> Result<(), StoreError> {
        self.deliver_locked(settled)
    }
}

const _: () = assert!(LANES == 4, "the CHECK on messages.priority and look.sql know four lanes");
