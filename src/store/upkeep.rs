//! Upkeep of the tables: partitions, retention, expiry, dead rows, heartbeats.

use std::time::SystemTime;

use postgres::Client;
use uuid::Uuid;

use super::StoreError;
use super::connect::store_error;
use super::pool::Pool;
use crate::clock::Clock;
use crate::config::RetentionConfig;

/// Key of the advisory lock of the one that does the shared work: "posttidy" in ASCII.
const LOCK: i64 = 0x706f_7374_7469_6479;
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

    /// Shows that the worker lives, and does the shared work unless another one is at it.
    pub fn round(&mut self, worker: &WorkerInfo) -> Vec<Step> {
        let mut client = match self.pool.get() {
            Ok(client) => client,
            Err(err) => return vec![("connect", Err(err))],
        };
        let mut steps = vec![("heartbeat", heartbeat(&mut client, worker))];
        match try_lock(&mut client) {
            Ok(true) => {
                steps.extend(shared_steps(&mut client, self.retention));
                steps.push(("unlock", unlock(&mut client)));
            }
            Ok(false) => (),
            Err(err) => steps.push(("lock", Err(err))),
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
            let _ = client.execute("delete from postrider.workers where id = $1", &[&worker.id]);
        }
    }
}

/// Notes how far this machine's clock is from that of the database: as much of it as the time
/// of the question itself does not explain.
pub(crate) fn compare_clocks(client: &mut Client, clock: &Clock) -> Result<(), StoreError> {
    let asked = SystemTime::now();
    let row = client.query_one("select clock_timestamp()", &[]).map_err(|err| store_error(&err))?;
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
        .execute(
            include_str!("sql/heartbeat.sql"),
            &[&worker.id, &worker.host, &pid, &env!("CARGO_PKG_VERSION")],
        )
        .map_err(|err| store_error(&err))?;
    Ok(())
}

fn try_lock(client: &mut Client) -> Result<bool, StoreError> {
    // So that a step waits for busy tables only a little.
    client.batch_execute("set lock_timeout = '2s'").map_err(|err| store_error(&err))?;
    let row = client
        .query_one("select pg_try_advisory_lock($1)", &[&LOCK])
        .map_err(|err| store_error(&err))?;
    Ok(row.get(0))
}

fn unlock(client: &mut Client) -> Result<(), StoreError> {
    client
        .execute("select pg_advisory_unlock($1)", &[&LOCK])
        .map_err(|err| store_error(&err))
        .map(|_| ())
}

fn shared_steps(client: &mut Client, keep: RetentionConfig) -> Vec<Step> {
    let (sent, failed) = (keep.sent.as_secs_f64(), keep.failed.as_secs_f64());
    let attempts = keep.attempts.as_secs_f64();
    let mut once = |sql: &str, params: &[&(dyn postgres::types::ToSql + Sync)]| {
        client.execute(sql, params).map(|_| ()).map_err(|err| store_error(&err))
    };
    let make = once("select postrider.make_partitions()", &[]);
    let drop = once(include_str!("sql/drop_partitions.sql"), &[&sent, &failed]);
    let expire = in_batches(|| {
        let row = client.query_one("select postrider.expire_messages($1)", &[&BATCH])?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    });
    let most = i64::from(BATCH);
    let prune_attempts =
        in_batches(|| client.execute(include_str!("sql/prune_attempts.sql"), &[&attempts, &most]));
    let prune_dedupe =
        in_batches(|| client.execute(include_str!("sql/prune_dedupe.sql"), &[&failed, &most]));
    vec![
        ("make history partitions", make),
        ("drop history partitions", drop),
        ("expire messages", expire),
        ("prune attempts", prune_attempts),
        ("prune dedupe keys", prune_dedupe),
        ("vacuum", vacuum(client)),
    ]
}

/// Repeats a statement as long as it finds a full batch.
fn in_batches(
    mut statement: impl FnMut() -> Result<u64, postgres::Error>,
) -> Result<(), StoreError> {
    for _ in 0..BATCHES_MAX {
        if statement().map_err(|err| store_error(&err))? < u64::from(BATCH.unsigned_abs()) {
            break;
        }
    }
    Ok(())
}

/// Autovacuum may be busy with tables that take hours; a queue cannot wait for that.
fn vacuum(client: &mut Client) -> Result<(), StoreError> {
    let run = |client: &mut Client| -> Result<(), postgres::Error> {
        let row = client.query_one(include_str!("sql/dead_rows.sql"), &[&DEAD_ROWS])?;
        if row.get(0) {
            // A queue so bloated that it takes long needs it most.
            client.batch_execute("set statement_timeout = 0")?;
            client.batch_execute("vacuum (skip_locked, truncate false) postrider.messages")?;
            client.batch_execute("set statement_timeout = '30s'")?;
        }
        Ok(())
    };
    run(client).map_err(|err| store_error(&err))
}
