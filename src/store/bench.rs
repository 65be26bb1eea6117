//! What a benchmark does to the tables: fills them, empties them, and reads when work was done.

use postgres::types::{Json, Type};
use postgres::{Client, Statement};
use serde_json::Value;
use uuid::Uuid;

use super::StoreError;
use super::connect::store_error;

/// Empties the queue, its history and the inbox.
///
/// # Errors
///
/// If the database does not answer.
pub fn clear(client: &mut Client) -> Result<(), StoreError> {
    let sql = "truncate postrider.messages, postrider.history, postrider.attempts, postrider.inbox, \
               postrider.dedupe";
    client.batch_execute(sql).map_err(|err| store_error(&err))
}

/// Empties the queue as deliveries and the janitor do: the pages of its tables stay, and are used again.
///
/// # Errors
///
/// If the database does not answer.
pub fn reuse(client: &mut Client) -> Result<(), StoreError> {
    for sql in [
        "set statement_timeout = 0",
        "truncate postrider.history, postrider.attempts, postrider.inbox",
        "delete from postrider.messages",
        "delete from postrider.dedupe",
        "vacuum (truncate false) postrider.messages, postrider.dedupe",
    ] {
        client.batch_execute(sql).map_err(|err| store_error(&err))?;
    }
    Ok(())
}

/// Puts `count` due messages of a template and method into the queue, and settles the tables.
///
/// # Errors
///
/// If the database does not answer.
pub fn fill(
    client: &mut Client,
    count: u32,
    template: &str,
    method: &str,
) -> Result<(), StoreError> {
    let sql = include_str!("sql/bench_fill.sql");
    let run = |client: &mut Client| -> Result<(), postgres::Error> {
        client.batch_execute("set statement_timeout = 0")?;
        client.execute(sql, &[&i64::from(count), &template, &method])?;
        client.batch_execute("vacuum analyze postrider.messages")
    };
    run(client).map_err(|err| store_error(&err))?;
    checkpoint(client)
}

/// Writes out what was changed, so that it is not done while something is measured.
///
/// # Errors
///
/// If the database does not answer.
pub fn checkpoint(client: &mut Client) -> Result<(), StoreError> {
    client.batch_execute("checkpoint").map_err(|err| store_error(&err))
}

/// Process id of the connection's server process.
///
/// # Errors
///
/// If the database does not answer.
pub fn backend_pid(client: &mut Client) -> Result<u32, StoreError> {
    let row = client.query_one("select pg_backend_pid()", &[]).map_err(|err| store_error(&err))?;
    Ok(u32::try_from(row.get::<_, i32>(0)).unwrap_or_default())
}

/// Writes by a prepared plain INSERT what an enqueue would write.
#[derive(Debug)]
pub struct Inserter {
    statement: Statement,
    template_id: Uuid,
}

impl Inserter {
    /// Prepares the statement on a connection, for messages of a template that is there.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub fn prepare(client: &mut Client, template: &str) -> Result<Self, StoreError> {
        let sql = "select id from postrider.templates where name = $1";
        let row = client.query_one(sql, &[&template]).map_err(|err| store_error(&err))?;
        let types = [Type::UUID, Type::UUID, Type::UUID, Type::TEXT, Type::TEXT, Type::JSONB];
        let statement = client
            .prepare_typed(include_str!("sql/bench_insert.sql"), &types)
            .map_err(|err| store_error(&err))?;
        Ok(Self { statement, template_id: row.get(0) })
    }

    /// Inserts one message on the same connection.
    ///
    /// # Errors
    ///
    /// If the database does not answer.
    pub fn insert(
        &self,
        client: &mut Client,
        method: &str,
        recipient_id: &str,
        payload: &Value,
    ) -> Result<(), StoreError> {
        let id = Uuid::now_v7();
        let params: [&(dyn postgres::types::ToSql + Sync); 6] =
            [&id, &id, &self.template_id, &method, &recipient_id, &Json(payload)];
        client.execute(&self.statement, &params).map(drop).map_err(|err| store_error(&err))
    }
}

/// The database's clock, in seconds.
///
/// # Errors
///
/// If the database does not answer.
pub fn clock(client: &mut Client) -> Result<f64, StoreError> {
    seconds(client, "select date_part('epoch', clock_timestamp())")
}

/// When the last message was finished, by the database's clock, in seconds.
///
/// # Errors
///
/// If the database does not answer.
pub fn last_finished(client: &mut Client) -> Result<f64, StoreError> {
    let sql = "select coalesce(date_part('epoch', max(finished_at)), 0) from postrider.history";
    seconds(client, sql)
}

fn seconds(client: &mut Client, sql: &str) -> Result<f64, StoreError> {
    let row = client.query_typed_one(sql, &[]).map_err(|err| store_error(&err))?;
    Ok(row.get(0))
}
