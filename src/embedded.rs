//! A private PostgreSQL: found or fetched, started in a directory of its own, gone with its owner.
//!
//! ```text
//!   owner ──pipe──▶ watchdog (sh) ──child──▶ postgres ──▶ directory
//! ```
//!
//! The owner alone holds the writing end of the pipe. When that closes, because the owner is
//! done, has panicked or was killed, the watchdog shuts the server down and removes the
//! directory if it is temporary.
//!
//! # Invariants
//!
//! - A server listens on loopback alone, never on port 5432, and asks everybody for the password.
//! - The watchdog and all processes of the server hold a lock on `server.log`. A process that
//!   gets the lock knows that no server of ours runs in the directory.
//! - A directory called `data` is a complete cluster: it is made under another name.
//! - The server never runs as root. Its user can write into its own part of the directory alone,
//!   and we open nothing there that could lead elsewhere (`guard`).
//! - A program that is run here gets nothing of our environment but search paths, and a package
//!   client also what it needs to reach its registry.

use std::path::{Path, PathBuf};

use account::Account;
use binaries::Binaries;
use directory::Directory;
use server::{Launch, Server};

pub use error::EmbeddedError;

mod account;
mod binaries;
mod directory;
mod error;
mod fetch;
mod guard;
mod process;
mod server;

/// Starts at most, each on another port: somebody may take a free one before the server does.
const PORTS_MAX: u32 = 5;

/// A running private server, which ends with this value or this process, whichever ends first.
///
/// The superuser is `postgres`; encoding is UTF-8, locale `C`, time zone UTC.
#[derive(Debug)]
pub struct Postgres {
    directory: Directory,
    account: Account,
    binaries: Binaries,
    settings: Vec<(String, String)>,
    port: u16,
    /// `None` between a crash and the next start.
    server: Option<Server>,
}

impl Postgres {
    /// Starts a server in a new directory, which is removed at the end.
    ///
    /// Blocks for about half a second; longer, with a limit, if the programs must be fetched.
    pub fn temporary() -> Result<Self, EmbeddedError> {
        Self::temporary_with(&[])
    }

    /// As [`temporary`](Self::temporary), with more settings, such as `("fsync", "off")`.
    pub fn temporary_with(settings: &[(&str, &str)]) -> Result<Self, EmbeddedError> {
        let account = Account::choose()?;
        Self::open(Directory::temporary(account)?, account, settings)
    }

    /// Starts a server in a directory that is kept. The first time, the directory must be empty
    /// or not exist; from then on it keeps its data, its password and, while it is free, its port.
    ///
    /// Nobody else may be able to change it, nor, if we are root, the directories above it.
    pub fn in_dir(dir: &Path) -> Result<Self, EmbeddedError> {
        let account = Account::choose()?;
        Self::open(Directory::kept(dir, account)?, account, &[])
    }

    fn open(
        directory: Directory,
        account: Account,
        settings: &[(&str, &str)],
    ) -> Result<Self, EmbeddedError> {
        let mut postgres = Self {
            binaries: Binaries::find(account, directory.base(), directory.major_of_data()?)?,
            port: directory.choose_port()?,
            settings: settings.iter().map(|&(key, value)| (key.into(), value.into())).collect(),
            directory,
            account,
            server: None,
        };
        for _ in 1..PORTS_MAX {
            match postgres.start() {
                Err(EmbeddedError::Start(_)) if !directory::is_free(postgres.port) => {
                    postgres.port = directory::free_port(postgres.directory.base())?;
                }
                res => return res.map(|()| postgres),
            }
        }
        postgres.start().map(|()| postgres)
    }

    /// Starts the server again after [`crash`](Self::crash), on the same port.
    ///
    /// # Panics
    ///
    /// If it is running.
    pub fn start(&mut self) -> Result<(), EmbeddedError> {
        assert!(self.server.is_none(), "the server is running");
        self.server = Some(Server::start(&Launch {
            directory: &self.directory,
            binaries: &self.binaries,
            account: self.account,
            port: self.port,
            settings: &self.settings,
        })?);
        self.directory.keep_port(self.port)
    }

    /// Ends the server at once, as a crash would (an immediate shutdown), and keeps its data.
    pub fn crash(&mut self) -> Result<(), EmbeddedError> {
        self.server.take().map_or(Ok(()), Server::crash)
    }

    /// Shuts the server down (a fast shutdown), and removes a temporary directory. Dropping the
    /// value does the same and reports no error. Takes 20 s at most.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.end()
    }

    /// Connection string of a database, with the superuser's password in it. The name must need
    /// no escapes in a URL.
    pub fn url(&self, database: &str) -> String {
        let (password, port) = (self.directory.password().expose(), self.port);
        format!("postgres://postgres:{password}@127.0.0.1:{port}/{database}")
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// File with the superuser's password.
    pub fn password_file(&self) -> PathBuf {
        self.directory.password_file()
    }

    /// Where the server has its data, `server/data`, and its log, `server.log`.
    pub fn directory(&self) -> &Path {
        self.directory.base()
    }

    fn end(&mut self) -> Result<(), EmbeddedError> {
        let ended = self.server.take().map_or(Ok(()), Server::stop);
        self.directory.remove().and(ended)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(err) = self.end() {
            log::warn!("{err}");
        }
    }
}
