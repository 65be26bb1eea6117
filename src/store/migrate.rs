//! The schema: files in `migrations/`, applied in order, once, whoever comes first.

use std::fmt::Write as _;

use postgres::{Client, GenericClient, Transaction};
use ring::digest;

use super::connect::store_error;
use super::typed::typed;
use super::{StoreError, upkeep};

/// Key of the advisory lock that makes concurrent migrations take turns: "postride" in ASCII.
const LOCK: i64 = 0x706f_7374_7269_6465;

const ROLES: &str = include_str!("sql/roles.sql");

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "0001_schema",
        sql: include_str!("../../migrations/0001_schema.sql"),
    },
    Migration {
        version: 2,
        name: "0002_enqueue",
        sql: include_str!("../../migrations/0002_enqueue.sql"),
    },
    Migration {
        version: 3,
        name: "0003_upkeep",
        sql: include_str!("../../migrations/0003_upkeep.sql"),
    },
];

/// Version of the schema that this build works with.
pub const VERSION: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Why the schema is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The schema is older than this build.
    #[error(
        "schema postrider is at version {found}, this build needs {VERSION}: run `postrider migrate`"
    )]
    Older {
        /// Version found; 0 without a schema.
        found: i32,
    },
    /// The schema is newer than this build.
    #[error(
        "schema postrider is at version {found}, newer than this build's {VERSION}: upgrade postrider"
    )]
    Newer {
        /// Version found.
        found: i32,
    },
    /// A migration that was applied is not the one of this build.
    #[error(
        "migration {name} was applied with another content: this database was made by another build"
    )]
    Changed {
        /// Name of the migration.
        name: String,
    },
}

/// Applies what is missing, in one transaction, and returns the names of what it applied. Where
/// [`make_roles`] was called before, it gives the roles anew what they need.
/// Safe when several processes start at once: they take turns.
///
/// # Errors
///
/// [`MigrateError::Newer`] and [`MigrateError::Changed`] leave the schema as it was, as does every failure.
pub fn migrate(client: &mut Client) -> Result<Vec<&'static str>, MigrateError> {
    let mut tx = client.transaction().map_err(|err| store_error(&err))?;
    let applied = apply_missing(&mut tx)?;
    let granted = tx.query_typed_one(include_str!("sql/granted.sql"), &[]);
    if granted.map_err(|err| store_error(&err))?.get("granted") {
        tx.batch_execute(ROLES).map_err(|err| store_error(&err))?;
    }
    tx.commit().map_err(|err| store_error(&err))?;
    Ok(applied)
}

fn apply_missing(tx: &mut Transaction<'_>) -> Result<Vec<&'static str>, MigrateError> {
    let mut run = |sql: &str| tx.batch_execute(sql).map_err(|err| store_error(&err));
    run("set local lock_timeout = '60s'; set local statement_timeout = 0")?;
    run(&take_turn())?;
    run(include_str!("sql/migrations.sql"))?;
    let known = tx
        .query_typed(
            "select version, name, checksum from postrider.migrations order by version",
            &[],
        )
        .map_err(|err| store_error(&err))?;
    let found = known.last().map_or(0, |row| row.get(0));
    if VERSION < found {
        return Err(MigrateError::Newer { found });
    }
    for (row, migration) in known.iter().zip(MIGRATIONS) {
        if row.get::<_, String>(2) != checksum(migration.sql) {
            return Err(MigrateError::Changed { name: row.get(1) });
        }
    }
    let mut applied = Vec::new();
    for migration in MIGRATIONS.iter().filter(|it| found < it.version) {
        tx.batch_execute(migration.sql).map_err(|err| store_error(&err))?;
        tx.execute_typed(
            "insert into postrider.migrations (version, name, checksum) values ($1, $2, $3)",
            &typed(&[&migration.version, &migration.name, &checksum(migration.sql)]),
        )
        .map_err(|err| store_error(&err))?;
        applied.push(migration.name);
    }
    Ok(applied)
}

/// Makes the roles `postrider_enqueue` and `postrider_worker`, and takes what they do not need
/// from everybody but the owner. From then on [`migrate`] repeats it.
///
/// # Errors
///
/// [`StoreError::Refused`] to a user that may not make roles.
pub fn make_roles(client: &mut Client) -> Result<(), MigrateError> {
    let mut tx = client.transaction().map_err(|err| store_error(&err))?;
    for sql in [&*take_turn(), ROLES] {
        tx.batch_execute(sql).map_err(|err| store_error(&err))?;
    }
    Ok(tx.commit().map_err(|err| store_error(&err))?)
}

/// Waits for other migrations, and for the upkeep, which makes and drops partitions: to write the same rows of the
/// catalogue at once is an error. Before anything else is locked, so that none waits for the other in a circle.
fn take_turn() -> String {
    format!("select pg_advisory_xact_lock({LOCK}), pg_advisory_xact_lock({})", upkeep::LOCK)
}

/// Checks that the schema is the one that this build works with.
///
/// # Errors
///
/// [`MigrateError::Older`] or [`MigrateError::Newer`], which say what to do.
pub fn check(client: &mut Client) -> Result<(), MigrateError> {
    let row = client
        .query_typed_one("select to_regclass('postrider.migrations') is not null", &[])
        .map_err(|err| store_error(&err))?;
    let found = if row.get(0) { version(client).map_err(|err| store_error(&err))? } else { 0 };
    match found {
        VERSION => Ok(()),
        _ if found < VERSION => Err(MigrateError::Older { found }),
        _ => Err(MigrateError::Newer { found }),
    }
}

/// Version of the schema that is there.
pub(crate) fn version(client: &mut impl GenericClient) -> Result<i32, postgres::Error> {
    let sql = "select coalesce(max(version), 0) from postrider.migrations";
    client.query_typed_one(sql, &[]).map(|row| row.get(0))
}

fn checksum(sql: &str) -> String {
    let digest = digest::digest(&digest::SHA256, sql.as_bytes());
    let mut hex = String::with_capacity(64);
    for octet in digest.as_ref() {
        write!(hex, "{octet:02x}").expect("writing to a String never fails");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps_and_named_for_their_number() {
        for (number, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.version, number);
            assert!(migration.name.starts_with(&format!("{number:04}_")), "{}", migration.name);
        }
    }
}
