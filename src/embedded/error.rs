//! What can go wrong with a private PostgreSQL.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no private PostgreSQL. Each message says what to do where we know it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No usable PostgreSQL on this machine, and none could be fetched.
    #[error(
        "no PostgreSQL 14 or newer found, and none could be fetched ({fetch}): {install}, \
         or set POSTRIDER_PG_BIN to the directory of `initdb` and `postgres`"
    )]
    NotFound {
        /// What came of each way to fetch one.
        fetch: String,
        /// What to run on this system.
        install: &'static str,
    },
    /// `POSTRIDER_PG_BIN` names a directory whose programs do not run.
    #[error(
        "POSTRIDER_PG_BIN={}: user {user} cannot run `initdb` and `postgres`, version 14 or \
         newer, from there", path.display()
    )]
    Unusable {
        /// Value of the variable.
        path: PathBuf,
        /// Who would have to run them.
        user: &'static str,
    },
    /// We are root, and there is nobody else to run the server.
    #[error(
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`: \
         start as another user"
    )]
    NoAccount,
    /// The directory holds the data of another major version.
    #[error(
        "{} holds data of PostgreSQL {data}, but the programs found are of {found}: install \
         PostgreSQL {data}, or set POSTRIDER_PG_BIN to the directory of its programs",
        path.display()
    )]
    Version {
        /// Base directory.
        path: PathBuf,
        /// Major version of the data.
        data: u32,
        /// Major version of the programs.
        found: u32,
    },
    /// The directory holds other things.
    #[error("{} is not empty and not a data directory of Postrider: choose another", .0.display())]
    NotOurs(PathBuf),
    /// What is there could lead us to the files of others, or be changed by others.
    #[error(
        "{} {fault}, so it is not safe to use: put that right, or choose a directory where only \
         you can write", path.display()
    )]
    Untrusted {
        /// File or directory.
        path: PathBuf,
        /// What is wrong with it, as a clause without a subject.
        fault: String,
    },
    /// The directory was made before `server` was the server's part of it.
    #[error(
        "{} was made by an earlier build and is laid out otherwise: choose another directory; \
         `pg_dump` with that build's server carries the data over", .0.display()
    )]
    Earlier(PathBuf),
    /// Another server runs in the directory.
    #[error("another server runs in {}: stop it, or choose another directory", .0.display())]
    InUse(PathBuf),
    /// The server's user may not enter the directory.
    #[error(
        "user {user} cannot enter {}: choose a directory whose parents it can enter",
        path.display()
    )]
    Unreachable {
        /// Base directory.
        path: PathBuf,
        /// Who runs the server.
        user: &'static str,
    },
    /// The server did not start, or ended at once.
    #[error("PostgreSQL did not start: {0}")]
    Start(String),
    /// The server did not end.
    #[error("PostgreSQL in {} did not stop in time", .0.display())]
    Stop(PathBuf),
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl EmbeddedError {
    /// For `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
