//! The schema: files in `migrations/`, applied in order, once, by the first who comes.

use std::fmt::Write as _;

use postgres::{Client, Row, Transaction};
use ring::digest;

use super::connect::store_error;
use super::typed::typed;
use super::{StoreError, transaction};

mod ground;
mod patience;

use patience::Trouble;

const ROLES: &str = include_str!("sql/roles.sql");
/// One migration at a time; others may read what is noted.
const TAKE_TURN: &str = "lock table postrider.migrations in share row exclusive mode";
/// No step of the upkeep meanwhile: it makes and drops partitions, and to write the same rows of the
/// catalogue at once is an error.
const STOP_UPKEEP: &str = "select from postrider.settings where name = 'upkeep' for update";

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
    /// The schema was made before the first release.
    #[error(
        "schema postrider was made by a pre-release build: export what you need of it, \
         drop it (`drop schema postrider cascade`), and run `postrider migrate`"
    )]
    PreRelease,
    /// Code of another role would run with the rights of this one.
    #[error(
        "{what} belongs to role {owner}, whose code would run with the rights of {user}: connect as \
         {owner}, or, if you know all that is in the schema, give it to {user} \
         (`reassign owned by`, `alter ... owner to`)"
    )]
    Foreign {
        /// The schema, or what is in it.
        what: String,
        /// Role that it belongs to.
        owner: String,
        /// Role of the connection.
        user: String,
    },
    /// The database cannot store every text.
    #[error(
        "database {database} has the encoding {encoding}, and Postrider needs UTF8: make another one \
         (`create database NAME encoding 'UTF8' locale 'C' template template0`)"
    )]
    Encoding {
        /// Name of the database.
        database: String,
        /// Its encoding.
        encoding: String,
    },
    /// Locks were not to be had.
    #[error(
        "schema postrider is in use, and the migration did not get its turn within a minute: \
         end the transactions that hold locks on its tables, and try again ({0})"
    )]
    Busy(StoreError),
}

/// Applies what is missing, in one transaction, and returns the names of what it applied. Where
/// [`make_roles`] was called before, it gives the roles again what they need.
///
/// Safe when several processes start at once: they take turns. Nobody waits for long behind one that
/// waits for a lock: it gives up its place and tries again, for a minute.
///
/// # Errors
///
/// All of them leave the schema as it was.
pub fn migrate(client: &mut Client) -> Result<Vec<&'static str>, MigrateError> {
    patience::transaction(client, |tx| {
        let ground = ground::look(tx)?;
        ground::prepare(tx, &ground)?;
        let applied = apply_missing(tx)?;
        if tx.query_typed_one(include_str!("sql/granted.sql"), &[])?.get("granted") {
            tx.batch_execute(ROLES)?;
        }
        Ok(applied)
    })
}

fn apply_missing(tx: &mut Transaction<'_>) -> Result<Vec<&'static str>, Trouble> {
    tx.batch_execute(TAKE_TURN)?;
    let noted = noted(tx)?;
    let found = newest(&noted)?;
    for (row, migration) in noted.iter().zip(MIGRATIONS) {
        if row.get::<_, String>("checksum") != checksum(migration.sql) {
            return Err(MigrateError::Changed { name: row.get("name") }.into());
        }
    }
    if 0 < found {
        tx.batch_execute(STOP_UPKEEP)?;
    }
    let mut applied = Vec::new();
    for migration in MIGRATIONS.iter().filter(|it| found < it.version) {
        tx.batch_execute(migration.sql)?;
        tx.execute_typed(
            "insert into postrider.migrations (version, name, checksum) values ($1, $2, $3)",
            &typed(&[&migration.version, &migration.name, &checksum(migration.sql)]),
        )?;
        applied.push(migration.name);
    }
    Ok(applied)
}

/// Makes the roles `postrider_enqueue` and `postrider_worker`, and takes what they do not need
/// from everybody but the owner. From then on [`migrate`] repeats it.
///
/// # Errors
///
/// [`StoreError::Refused`] to a user that may not make roles; else as for [`migrate`].
pub fn make_roles(client: &mut Client) -> Result<(), MigrateError> {
    patience::transaction(client, |tx| {
        let ground = ground::look(tx)?;
        if !ground.has_notes {
            return Err(MigrateError::Older { found: 0 }.into());
        }
        for sql in [TAKE_TURN, STOP_UPKEEP, ROLES] {
            tx.batch_execute(sql)?;
        }
        Ok(())
    })
}

/// Checks that the schema is the one that this build works with.
///
/// # Errors
///
/// What is to be done first: [`MigrateError::Older`], [`MigrateError::Newer`],
/// [`MigrateError::PreRelease`] or [`MigrateError::Encoding`].
pub fn check(client: &mut Client) -> Result<(), MigrateError> {
    let mut tx = transaction::begin(client).map_err(|err| store_error(&err))?;
    match find(&mut tx).map_err(Trouble::told)? {
        VERSION => Ok(tx.commit().map_err(|err| store_error(&err))?),
        found => Err(MigrateError::Older { found }),
    }
}

/// Version of the schema; 0 without one.
fn find(tx: &mut Transaction<'_>) -> Result<i32, Trouble> {
    ground::check_encoding(tx)?;
    let has_notes = "select to_regclass('postrider.migrations') is not null";
    if !tx.query_typed_one(has_notes, &[])?.get::<_, bool>(0) {
        return Ok(0);
    }
    Ok(newest(&noted(tx)?)?)
}

/// What was applied, in order.
fn noted(tx: &mut Transaction<'_>) -> Result<Vec<Row>, postgres::Error> {
    let sql = "select version, name, checksum from postrider.migrations order by version";
    tx.query_typed(sql, &[])
}

/// The last version that is noted, if this build knows it.
fn newest(noted: &[Row]) -> Result<i32, MigrateError> {
    if noted.first().is_some_and(|row| row.get::<_, &str>("name") != MIGRATIONS[0].name) {
        return Err(MigrateError::PreRelease);
    }
    match noted.last().map_or(0, |row| row.get("version")) {
        found if VERSION < found => Err(MigrateError::Newer { found }),
        found => Ok(found),
    }
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
