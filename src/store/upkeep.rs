//! Upkeep of the tables: partitions, retention, expiry, dead rows, heartbeats.

use std::time::SystemTime;

use postgres::{Client, Transaction};
use uuid::Uuid;

use super::StoreError;
use super::connect::store_error;
use super::pool::Pool;
use super::typed::typed;
use crate::clock::Clock;
use crate::config::RetentionConfig;

/// Key of the advisory lock of the one that does the shared work: "posttidy" in ASCII.
const LOCK: i64 = 0x706f_7374_7469_6479;
const MAKE_PARTITIONS: &str = "select postrider.make_partitions()";
const EXPIRE_MESSAGES: &str = "select postrider.expire_messages($1)";
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

/// Does the upkeep, a round at a time, on a pooled connection.
pub struct Upkeep {
    pool: Pool,
    retention: RetentionConfig,
}

/// A step and how it went.
pub type Step = (&'static str, Result<(), StoreError>);

impl Upkeep {
    /// Connects at the first round.
    pub fn new(pool: Pool, retention: RetentionConfig) -> Self {
        Self { pool, retention }
    }

    /// Shows that the worker lives, and does of the shared work what no other one is at.
    pub fn round(&mut self, worker: &WorkerInfo) -> Vec<Step> {
        let mut client = match self.pool.get() {
            Ok(client) => client,
            Err(err) => return vec![("connect", Err(err))],
        };
        let mut steps = vec![("heartbeat", heartbeat(&mut client, worker))];
        match exclusively(&mut client, |_| Ok(0)) {
            Ok(Some(_)) => {
                steps.extend(shared_steps(&mut client, self.retention));
                steps.push(("vacuum", vacuum(&mut client, self.pool.has_own_sessions())));
            }
            Ok(None) => (),
            Err(err) => steps.push(("lock", Err(store_error(&err)))),
        }
        steps
    }

    /// Notes how far this machine's clock is from the database's.
    pub fn compare_clocks(&mut self, clock: &Clock) -> Result<(), StoreError> {
        compare_clocks(&mut *self.pool.get()?, clock)
    }

    /// Takes the worker off the table.
    pub fn leave(&mut self, worker: &WorkerInfo) {
        if let Ok(mut client) = self.pool.get() {
            // For people only, and a stale heartbeat says the same.
            let sql = "delete from postrider.workers where id = $1";
            let _ = client.execute_typed(sql, &typed(&[&worker.id]));
        }
    }
}

/// Notes how far this machine's clock is from that of the database: as much of it as the time
/// of the question itself does not explain.
pub(crate) fn compare_clocks(client: &mut Client, clock: &Clock) -> Result<(), StoreError> {
    let asked = SystemTime::now();
    let row =
        client.query_typed_one("select clock_timestamp()", &[]).map_err(|err| store_error(&err))?;
    let (theirs, answered): (SystemTime, _) = (row.get(0), SystemTime::now());
    let millis = |from: SystemTime, to: SystemTime| {
        to.duration_since(from).map_or(0, |by| i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
    };
    // The answer was written between asked and answered; outside of that, clocks differ.
    clock.set(millis(theirs, asked) - millis(answered, theirs));
    Ok(())
}

fn heartbeat(client: &mut Client, worker: &WorkerInfo) -> Result<(), StoreError> {
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    client
        .execute_typed(
            include_str!("sql/heartbeat.sql"),
            &typed(&[&worker.id, &worker.host, &pid, &env!("CARGO_PKG_VERSION")]),
        )
        .map_err(|err| store_error(&err))?;
    Ok(())
}

fn shared_steps(client: &mut Client, keep: RetentionConfig) -> Vec<Step> {
    let (sent, failed) = (keep.sent.as_secs_f64(), keep.failed.as_secs_f64());
    let (attempts, most) = (keep.attempts.as_secs_f64(), i64::from(BATCH));
    let make = in_batches(client, |tx| tx.execute_typed(MAKE_PARTITIONS, &[]));
    let drop = in_batches(client, |tx| {
        tx.execute_typed(include_str!("sql/drop_partitions.sql"), &typed(&[&sent, &failed]))
    });
    let expire = in_batches(client, |tx| {
        let row = tx.query_typed_one(EXPIRE_MESSAGES, &typed(&[&BATCH]))?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    });
    let prune_attempts = in_batches(client, |tx| {
        tx.execute_typed(include_str!("sql/prune_attempts.sql"), &typed(&[&attempts, &most]))
    });
    let prune_dedupe = in_batches(client, |tx| {
        tx.execute_typed(include_str!("sql/prune_dedupe.sql"), &typed(&[&failed, &most]))
    });
    vec![
        ("make history partitions", make),
        ("drop history partitions", drop),
        ("expire messages", expire),
        ("prune attempts", prune_attempts),
        ("prune dedupe keys", prune_dedupe),
    ]
}

/// Repeats a statement as long as it finds a full batch, unless another worker is at such a step.
fn in_batches(
    client: &mut Client,
    mut statement: impl FnMut(&mut Transaction<'_>) -> Result<u64, postgres::Error>,
) -> Result<(), StoreError> {
    for _ in 0..BATCHES_MAX {
        let done = exclusively(client, &mut statement).map_err(|err| store_error(&err))?;
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
    statement: impl FnOnce(&mut Transaction<'_>) -> Result<u64, postgres::Error>,
) -> Result<Option<u64>, postgres::Error> {
    let mut tx = client.transaction()?;
    // So that a step waits for busy tables only a little.
    tx.batch_execute("set local lock_timeout = '2s'")?;
    let lock = tx.query_typed_one("select pg_try_advisory_xact_lock($1)", &typed(&[&LOCK]))?;
    if !lock.get::<_, bool>(0) {
        return Ok(None);
    }
    let rows = statement(&mut tx)?;
    tx.commit()?;
    Ok(Some(rows))
}

/// Autovacuum may be busy with tables that take hours; a queue cannot wait for that. `own`: the session
/// is ours, and has our limits.
fn vacuum(client: &mut Client, own: bool) -> Result<(), StoreError> {
    let run = |client: &mut Client| -> Result<(), postgres::Error> {
        let dead_rows = include_str!("sql/dead_rows.sql");
        if client.query_typed_one(dead_rows, &typed(&[&DEAD_ROWS]))?.get(0) {
            // A queue so bloated that it takes long needs it most.
            let limit = |limit: &str| format!("set statement_timeout = {limit}");
            if own {
                client.batch_execute(&limit("0"))?;
            }
            client.batch_execute("vacuum (skip_locked, truncate false) postrider.messages")?;
            if own {
                client.batch_execute(&limit("'30s'"))?;
            }
        }
        Ok(())
    };
    run(client).map_err(|err| store_error(&err))
}
