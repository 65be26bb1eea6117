//! What people ask of the tables and change in them: templates, messages, inbox, preferences, pause.

use postgres::types::Json;
use postgres::{Client, Row, Transaction};
use serde::Serialize;
use serde_json::{Map, Value};

use super::connect::store_error;
use super::transaction;
use super::typed::{Param, typed};
use super::{StoreError, TemplateRow};
use crate::config::Config;

pub mod endpoints;
pub mod inbox;
pub mod messages;
pub mod methods;
pub mod suppressions;
pub mod templates;

/// How the queue stands, for people and monitors.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Messages by status; a status without messages is missing.
    pub by_status: Map<String, Value>,
    /// Age of the oldest message that could be delivered now; `None` without one.
    pub oldest_ready_seconds: Option<f64>,
    /// Whether deliveries are paused, or the setting that says so cannot be read.
    pub paused: bool,
    /// Workers seen within the last minute.
    pub workers: i64,
}

/// Reads the figures.
///
/// # Errors
///
/// If the database does not answer.
pub fn stats(client: &mut Client) -> Result<Stats, StoreError> {
    let counts = query(client, include_str!("sql/count_by_status.sql"), &[])?;
    let by_status = counts.iter().map(|row| (row.get(0), row.get::<_, i64>(1).into())).collect();
    let row = query_one(client, include_str!("sql/stats.sql"), &[])?;
    Ok(Stats {
        by_status,
        oldest_ready_seconds: row.get("oldest_ready_seconds"),
        paused: row.get("paused"),
        workers: row.get("workers"),
    })
}

/// Pauses or resumes deliveries, of all workers.
///
/// # Errors
///
/// If the database does not answer.
pub fn set_paused(client: &mut Client, paused: bool) -> Result<(), StoreError> {
    query(client, "select postrider.set_paused($1)", &[&paused])?;
    // A worker that sleeps shall not learn of it only at its next look.
    client.batch_execute("notify postrider").map_err(|err| store_error(&err))
}

/// Publishes what enqueues go by where nothing else is said, as far as the settings name it: a
/// machine without settings must not undo what another one published.
///
/// # Errors
///
/// If the database does not answer.
pub fn publish_defaults(client: &mut Client, config: &Config) -> Result<(), StoreError> {
    if let Some(methods) = &config.worker.default_methods {
        set(client, "default_methods", &methods.as_slice().into())?;
    }
    if let Some(enabled) = config.inbox.enabled {
        set(client, "inbox_enabled", &Value::Bool(enabled))?;
    }
    if let Some(bell) = config.database.bell {
        set(client, "bell", &bell.to_string().into())?;
    }
    if let Some(keep) = config.retention.dedupe {
        set(client, "dedupe_retention", &format!("{} seconds", keep.as_secs()).into())?;
    }
    Ok(())
}

/// Lets notifications name these methods. A worker does it for its transports when it starts; an application
/// that enqueues before can do it first.
///
/// # Errors
///
/// If the database does not answer, or a name is not like `sms`: a lower-case letter, then letters, digits,
/// `_` or `-`, at most 63.
pub fn add_methods(client: &mut Client, names: &[&str]) -> Result<(), StoreError> {
    execute(client, include_str!("sql/add_methods.sql"), &[&names.to_vec()]).map(|_| ())
}

fn set(client: &mut Client, name: &str, value: &Value) -> Result<(), StoreError> {
    execute(client, include_str!("sql/set_setting.sql"), &[&name, &Json(value)]).map(|_| ())
}

/// Creates a database unless there is one of this name.
///
/// # Errors
///
/// If the database does not answer, or the user may not do it.
pub fn create_database(client: &mut Client, name: &str) -> Result<(), StoreError> {
    if query(client, "select from pg_database where datname = $1", &[&name])?.is_empty() {
        let sql = format!("create database \"{}\"", name.replace('"', "\"\""));
        client.batch_execute(&sql).map_err(|err| store_error(&err))?;
    }
    Ok(())
}

/// Names an endpoint, or gives it another URL.
///
/// # Errors
///
/// If the database does not answer.
pub fn set_endpoint(client: &mut Client, name: &str, url: &str) -> Result<(), StoreError> {
    execute(client, include_str!("sql/set_endpoint.sql"), &[&name, &url]).map(|_| ())
}

/// A preference, as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct Preference {
    /// Who.
    pub recipient_id: String,
    /// Name of the template.
    pub template: String,
    /// Whether the recipient turned it off.
    pub disabled: bool,
}

/// Turns a template off or on for a recipient; `false` if there is no such template. It outlives the
/// template: one of the same name that is made later is off, too.
///
/// # Errors
///
/// If the database does not answer.
pub fn set_preference(client: &mut Client, preference: &Preference) -> Result<bool, StoreError> {
    let Preference { recipient_id, template, disabled } = preference;
    let params: [&dyn Param; 3] = [recipient_id, template, disabled];
    Ok(0 < execute(client, include_str!("sql/set_preference.sql"), &params)?)
}

/// Preferences, of one recipient or of all.
///
/// # Errors
///
/// If the database does not answer.
pub fn preferences(
    client: &mut Client,
    recipient_id: Option<&str>,
) -> Result<Vec<Preference>, StoreError> {
    let rows = query(client, include_str!("sql/preferences.sql"), &[&recipient_id])?;
    let preference = |row: &Row| Preference {
        recipient_id: row.get(0),
        template: row.get(1),
        disabled: row.get(2),
    };
    Ok(rows.iter().map(preference).collect())
}

fn query(client: &mut Client, sql: &str, params: &[&dyn Param]) -> Result<Vec<Row>, StoreError> {
    run(client, |tx| tx.query_typed(sql, &typed(params)))
}

fn query_one(client: &mut Client, sql: &str, params: &[&dyn Param]) -> Result<Row, StoreError> {
    run(client, |tx| tx.query_typed_one(sql, &typed(params)))
}

fn execute(client: &mut Client, sql: &str, params: &[&dyn Param]) -> Result<u64, StoreError> {
    run(client, |tx| tx.execute_typed(sql, &typed(params)))
}

/// Runs a statement in a transaction of its own, for the session may be that of a caller.
fn run<T>(
    client: &mut Client,
    call: impl FnOnce(&mut Transaction<'_>) -> Result<T, postgres::Error>,
) -> Result<T, StoreError> {
    let run = || {
        let mut tx = transaction::begin(client)?;
        let answer = call(&mut tx)?;
        tx.commit().map(|()| answer)
    };
    run().map_err(|err| store_error(&err))
}
