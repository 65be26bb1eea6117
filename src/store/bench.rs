//! What a benchmark does to the tables: fills them, empties them, and reads when work was done.

use postgres::Client;

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
        client.batch_execute("vacuum analyze postrider.messages")?;
        client.batch_execute("checkpoint")
    };
    run(client).map_err(|err| store_error(&err))
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
