//! Upkeep of the tables: partitions, retention, expiry, dead rows, heartbeats.
//!
//! One statement tells what there is to do, and mostly that is nothing.

use std::time::{Duration, SystemTime};

use postgres::error::{DbError, Severity};
use postgres::{Client, Row};
use uuid::Uuid;

use super::StoreError;
use super::connect::{Connector, MIGRATION_LIMIT, store_error};
use super::typed::{Param, typed};
use crate::clock::Clock;
use crate::config::RetentionConfig;

/// Key of the advisory lock of the one that does the shared work: "posttidy" in ASCII.
pub(super) const LOCK: i64 = 0x706f_7374_7469_6479;
const MAKE_PARTITIONS: &str = "select postrider.make_partitions()";
/// So that a step waits for busy tables only a little.
const LIMIT_AND_LOCK: &str =
    "select set_config('lock_timeout', '2s', true), pg_try_advisory_xact_lock($1) locked";
const VACUUM: &str = "vacuum (skip_locked, truncate false) postrider.messages";
/// Rows ended or deleted in one statement, so that none holds its locks long.
const BATCH: i32 = 1000;
/// Statements of one kind in one round.
const BATCHES_MAX: u32 = 100;
/// Dead rows beyond which a VACUUM is worth its cost, beside four times the live ones.
const DEAD_ROWS: i64 = 20_000;

/// Who is at work, for people who look at the table of workers.
#[derive(Debug, Clone)]
pub struct WorkerInfo {
    /// Id that leases and attempts carry.
    pub id: Uuid,
    /// Name of the machine.
    pub host: String,
}

/// Does the upkeep, a round at a time, on a connection of its own.
pub struct Upkeep {
    connector: Connector,
    client: Option<Client>,
    retention: RetentionConfig,
}

/// A step and how it went.
pub type Step = (&'static str, Result<(), StoreError>);

impl Upkeep {
    /// Connects at the first round.
    pub fn new(connector: Connector, retention: RetentionConfig) -> Self {
        Self { connector, client: None, retention }
    }

    /// Shows that the worker lives, notes how far this machine's clock is from the database's, and does of the
    /// shared work what there is and no other worker is at. Returns the steps that it made; none if there was nothing to do.
    ///
    /// `alive` is told before each statement how much longer than others it may take.
    pub fn round(
        &mut self,
        worker: &WorkerInfo,
        clock: &Clock,
        mut alive: impl FnMut(Duration),
    ) -> Vec<Step> {
        alive(Duration::ZERO);
        let (wanted, mut steps) = match self.inquire(worker, clock) {
            Ok(wanted) => (Some(wanted), Vec::new()),
            // One part of the question may be slow, or fail: each step finds out itself whether there is anything to do.
            Err(err) => (None, vec![("see what there is to do", Err(err))]),
        };
        steps.extend(self.shared_steps(wanted.as_ref(), &mut alive));
        match wanted {
            Some(wanted) if wanted.get("vacuum") => {
                alive(MIGRATION_LIMIT);
                steps.push(("vacuum", self.vacuum()));
            }
            Some(_) => (),
            None => self.client = None, // It may lead to a server that has become read-only.
        }
        steps
    }

    /// Takes the worker off the table.
    pub fn leave(&mut self, worker: &WorkerInfo) {
        // For people only, and a stale heartbeat says the same.
        let sql = "delete from postrider.workers where id = $1";
        let _ = self.call(|client| client.execute_typed(sql, &typed(&[&worker.id])));
    }

    fn inquire(&mut self, worker: &WorkerInfo, clock: &Clock) -> Result<Row, StoreError> {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let version = env!("CARGO_PKG_VERSION");
        let keep = self.retention;
        let (sent, failed) = (keep.sent.as_secs_f64(), keep.failed.as_secs_f64());
        let attempts = keep.attempts.as_secs_f64();
        self.call(|client| {
            let asked = SystemTime::now();
            let row = client.query_typed_one(
                include_str!("sql/care.sql"),
                &typed(&[
                    &worker.id,
                    &worker.host,
                    &pid,
                    &version,
                    &sent,
                    &failed,
                    &attempts,
                    &DEAD_ROWS,
                ]),
            )?;
            compare(clock, asked, row.get("clock"));
            Ok(row)
        })
    }

    /// Calls the database, a second time on a new connection if the old one is found ended, most likely while
    /// nothing was asked. A statement that took too long would do so again.
    fn call<T>(
        &mut self,
        mut call: impl FnMut(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        if let Some(client) = &mut self.client {
            match call(client) {
                Err(err) if is_over(client, &err) => (),
                result => return result.map_err(|err| store_error(&err)),
            }
        }
        self.client = None;
        let client = self.client.insert(self.connector.connect()?);
        call(client).map_err(|err| store_error(&err))
    }

    /// Does what is wanted by name; everything if that is not known.
    fn shared_steps(
        &mut self,
        wanted: Option<&Row>,
        alive: &mut impl FnMut(Duration),
    ) -> Vec<Step> {
        let open = self.client.as_mut().filter(|client| !client.is_closed());
        let Some(client) = open else { return Vec::new() };
        let keep = self.retention;
        let (sent, failed) = (keep.sent.as_secs_f64(), keep.failed.as_secs_f64());
        let (attempts, most) = (keep.attempts.as_secs_f64(), i64::from(BATCH));
        let mut steps = Vec::new();
        let mut step = |name, sql, params: &[&dyn Param]| {
            if wanted.is_none_or(|row| row.get(name)) {
                let result = in_batches(client, sql, params, alive);
                steps.push((name, result.map_err(|err| store_error(&err))));
            }
        };
        let drop_partitions = include_str!("sql/drop_partitions.sql");
        step("make history partitions", MAKE_PARTITIONS, &[]);
        step("drop history partitions", drop_partitions, &[&sent, &failed]);
        step("expire messages", include_str!("sql/expire_messages.sql"), &[&BATCH]);
        step("prune attempts", include_str!("sql/prune_attempts.sql"), &[&attempts, &most]);
        step("prune dedupe keys", include_str!("sql/prune_dedupe.sql"), &[&most]);
        steps
    }

    /// Autovacuum may be busy with tables that take hours; a queue cannot wait for that. One so bloated that
    /// it takes long needs it most, hence a connection without the limits of ours.
    fn vacuum(&self) -> Result<(), StoreError> {
        let mut client = self.connector.connect_for_migration()?;
        client.batch_execute(VACUUM).map_err(|err| store_error(&err))
    }
}

/// Whether a session ended with this error. A server says why before it closes the connection.
fn is_over(client: &Client, err: &postgres::Error) -> bool {
    let fatal = |err: &DbError| matches!(err.parsed_severity(), Some(Severity::Fatal));
    client.is_closed() || err.as_db_error().is_some_and(fatal)
}

/// Notes how far this machine's clock is from that of the database: as much of it as the time
/// of the question itself does not explain.
pub(crate) fn compare_clocks(client: &mut Client, clock: &Clock) -> Result<(), StoreError> {
    let asked = SystemTime::now();
    let row =
        client.query_typed_one("select clock_timestamp()", &[]).map_err(|err| store_error(&err))?;
    compare(clock, asked, row.get(0));
    Ok(())
}

/// `theirs` is what the database answered just now.
fn compare(clock: &Clock, asked: SystemTime, theirs: SystemTime) {
    let answered = SystemTime::now();
    let millis = |from: SystemTime, to: SystemTime| {
        to.duration_since(from).map_or(0, |by| i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
    };
    // The answer was written between asked and answered; outside of that, clocks differ.
    clock.set(millis(theirs, asked) - millis(answered, theirs));
}

/// Repeats a statement as long as it finds a full batch, unless another worker is at such a step.
fn in_batches(
    client: &mut Client,
    sql: &str,
    params: &[&dyn Param],
    alive: &mut impl FnMut(Duration),
) -> Result<(), postgres::Error> {
    for _ in 0..BATCHES_MAX {
        alive(Duration::ZERO);
        let done = exclusively(client, sql, params)?;
        if done.is_none_or(|rows| rows < u64::from(BATCH.unsigned_abs())) {
            break;
        }
    }
    Ok(())
}

/// Runs a statement in a transaction that holds the lock; `None` if another worker has it. A lock of the
/// session would stay behind with it where PgBouncer lends us another one each time.
fn exclusively(
    client: &mut Client,
    sql: &str,
    params: &[&dyn Param],
) -> Result<Option<u64>, postgres::Error> {
    let mut tx = client.transaction()?;
    if !tx.query_typed_one(LIMIT_AND_LOCK, &typed(&[&LOCK]))?.get::<_, bool>("locked") {
        return Ok(None);
    }
    let rows = tx.execute_typed(sql, &typed(params))?;
    tx.commit()?;
    Ok(Some(rows))
}
