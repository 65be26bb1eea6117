//! The queue in PostgreSQL.

use std::time::{Duration, Instant};

use postgres::Row;
use uuid::Uuid;

use super::connect::{Connector, store_error};
use super::{Acquired, Look, Room, Store, StoreError, TemplateRow};
use crate::endpoint::EndpointSettings;
use crate::lease::{Lease, LeaseKey, Settled};
use crate::message::MessageId;
use crate::store::typed::Param;

mod acquire;
mod batch;
mod floor;
mod rows;
mod session;

use acquire::ACQUIRE_MAX;
use batch::Batch;
use floor::{Floors, Lanes, PRIORITIES};
use rows::seconds;
pub(super) use rows::{endpoint_settings, template_row};
use session::{Hot, Session};

/// One connection to the queue.
pub struct PgStore {
    connector: Connector,
    worker: Uuid,
    lease: Duration,
    floors: Floors,
    /// Most messages of an acquire: fewer after one that the database refused, until it is known which
    /// row is at fault.
    acquire_max: usize,
    /// The bell is, unless that has run out or the database has crashed since.
    armed: bool,
    session: Option<Session>,
}

impl PgStore {
    /// For `worker`, which carries `methods` and whose leases hold for `lease`. Connects at the first
    /// call.
    pub fn new(connector: Connector, worker: Uuid, lease: Duration, methods: &[String]) -> Self {
        let (floors, acquire_max) = (Floors::new(methods), ACQUIRE_MAX);
        Self { connector, worker, lease, floors, acquire_max, armed: false, session: None }
    }

    /// Runs `call` on the connection, made anew if there is none. It is dropped after a failure that does
    /// not come from the values: it may be dead, or lead to a server that has become read-only.
    fn run<T>(
        &mut self,
        call: impl FnOnce(&mut Session) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        if self.session.is_none() {
            self.session = Some(Session::open(&self.connector).map_err(of_connection)?);
            self.floors.lower();
        }
        let session = self.session.as_mut().expect("a session was opened above");
        let result = call(session).map_err(|err| store_error(&err));
        if result.as_ref().is_err_and(|err| !comes_from_values(err)) {
            self.session = None;
        }
        result
    }

    /// How the queue stands, as far as `whole` says, and whether the bell was armed and is for longer now.
    fn query_look(
        &mut self,
        renew: Option<Duration>,
        whole: bool,
    ) -> Result<(Look, bool), StoreError> {
        let (worker, span) = (self.worker, renew.map(|span| span.as_secs_f64()));
        let mut lanes = self.floors.all();
        if whole {
            lanes.without_floors();
        }
        let Lanes { methods, priorities, floor_at, floor_id } = &lanes;
        let began = Instant::now();
        let rows = self.run(|session| {
            let params: [&dyn Param; 6] = [&worker, &span, methods, priorities, floor_at, floor_id];
            session.query(Hot::Look, &params)
        })?;
        if whole {
            self.floors.looked(began);
        }
        let row = &rows[0]; // There always is one.
        let (due, next_due): (bool, Option<f64>) = (row.get("due"), row.get("next_due"));
        let look = Look {
            paused: row.get("paused"),
            silent: row.get("silent"),
            due,
            suspect: row.get("suspect"),
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

    fn acquire(&mut self, room: Room, sweep: bool) -> Result<Acquired, StoreError> {
        self.lease_due(room, sweep)
    }

    fn acquire_suspect(&mut self) -> Result<Option<Lease>, StoreError> {
        self.lease_suspect()
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
        let rows = self.run(|session| session.query(Hot::Template, &[&id])).map_err(of_row)?;
        rows.first().map(template_row).transpose()
    }

    fn endpoint(&mut self, name: &str) -> Result<Option<EndpointSettings>, StoreError> {
        let rows = self.run(|session| session.query(Hot::Endpoint, &[&name])).map_err(of_row)?;
        rows.first().map(endpoint_settings).transpose()
    }

    fn commit(&mut self, batch: &[Settled]) -> Result<Vec<LeaseKey>, StoreError> {
        let (batch, worker) = (Batch::new(batch), self.worker);
        let rows = self.run(|session| session.query(Hot::Commit, &batch.params(&worker)))?;
        let key = |row: &Row| LeaseKey { id: MessageId(row.get(0)), claim: row.get(1) };
        Ok(rows.iter().map(key).collect())
    }

    fn locked(&mut self, ids: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = self.run(|session| session.query(Hot::Locked, &[&ids]))?;
        Ok(rows.iter().map(|row| MessageId(row.get(0))).collect())
    }
}

/// Whether a failure says nothing about the connection: it comes from the values of the statement, from the
/// rows that it met, or from want of time or room.
fn comes_from_values(err: &StoreError) -> bool {
    match err {
        StoreError::Busy { .. } => true,
        // Data, constraints, limits, and what triggers raise.
        StoreError::Refused { code, .. } => ["22", "23", "54", "55", "P0"].contains(&&code[..2]),
        _ => false,
    }
}

/// A connection that is refused says nothing about what it was to be used for.
fn of_connection(err: StoreError) -> StoreError {
    match err {
        StoreError::Busy { .. } | StoreError::Refused { .. } => {
            StoreError::Unavailable(err.to_string())
        }
        err => err,
    }
}

/// A row that was asked for has a value that cannot be sent.
fn of_row(err: StoreError) -> StoreError {
    match err {
        StoreError::Refused { code, text } if code.starts_with("22") => {
            StoreError::Unreadable(format!("{text} (SQLSTATE {code})"))
        }
        err => err,
    }
}

const _: () = assert!(PRIORITIES == 4, "the CHECK on messages.priority knows four");
