//! The base directory of a server: what is ours, and the part that is the server's.
//!
//! ```text
//!   DIR             ours
//!   ├─ server.log   ours; the server has inherited its descriptor
//!   ├─ password     ours
//!   ├─ port         ours
//!   └─ server       the server's user's
//!      └─ data      the cluster
//! ```
//!
//! A temporary one goes to the server's user as a whole, once we have made what is ours: the
//! watchdog runs as that user, and removes it. From then on we open nothing of ours there.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process};

use uuid::Uuid;

use super::account::Account;
use super::error::EmbeddedError;
use super::guard;
use super::process::lock;
use crate::config::Secret;

/// How long an earlier server may take to end.
const LOCK_MAX: Duration = Duration::from_secs(6);
/// Left to the machine's own server.
const PORT_DEFAULT: u16 = 5432;

/// A directory in which no other server of ours runs while this value or the server lives.
#[derive(Debug)]
pub(super) struct Directory {
    base: PathBuf,
    temporary: bool,
    account: Account,
    log: File,
    password: Secret,
}

impl Directory {
    /// Makes a new one in the system's place for temporary ones.
    pub(super) fn temporary(account: Account) -> Result<Self, EmbeddedError> {
        let name = format!("postrider-{}-{}", process::id(), Uuid::new_v4().simple());
        let base = temporary_parent(account).join(name);
        let made = DirBuilder::new().mode(0o700).create(&base);
        made.map_err(EmbeddedError::io("create directory", &base))?;
        Self::prepare(base.clone(), true, account).inspect_err(|_| {
            let _ = fs::remove_dir_all(&base); // the first error is the one to report
        })
    }

    /// Makes the directory unless there is one. What is there must be empty or made by us.
    pub(super) fn kept(dir: &Path, account: Account) -> Result<Self, EmbeddedError> {
        Self::prepare(claim(dir, account)?, false, account)
    }

    fn prepare(base: PathBuf, temporary: bool, account: Account) -> Result<Self, EmbeddedError> {
        let handle = guard::open_own_dir(&base, account.ours())?;
        let log = open_log(&base, account)?;
        make_server_dir(&base, account)?;
        let password = password(&base, account)?;
        if temporary {
            account.hand_over(&handle, &base)?;
        }
        Ok(Self { base, temporary, account, log, password })
    }

    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// The server's part, its working directory.
    pub(super) fn server_dir(&self) -> PathBuf {
        server_dir(&self.base)
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Where the server's messages go. Who has inherited it holds the lock on the directory.
    pub(super) fn log(&self) -> &File {
        &self.log
    }

    /// The superuser's password.
    pub(super) fn password(&self) -> &Secret {
        &self.password
    }

    /// Where the superuser's password is kept.
    pub(super) fn password_file(&self) -> PathBuf {
        password_path(&self.base)
    }

    /// Major version of the data, if there are any.
    pub(super) fn major_of_data(&self) -> Result<Option<u32>, EmbeddedError> {
        major_of_data(&self.base, self.account)
    }

    /// The port of the last start if it is free, else one that is.
    pub(super) fn choose_port(&self) -> Result<u16, EmbeddedError> {
        if self.temporary {
            return free_port(&self.base);
        }
        let kept = guard::read_file(&port_path(&self.base), self.account.ours())?;
        let kept = kept.and_then(|it| it.parse().ok());
        kept.filter(|&port| is_free(port)).map_or_else(|| free_port(&self.base), Ok)
    }

    /// Remembers the port for the next start, if there will be one.
    pub(super) fn keep_port(&self, port: u16) -> Result<(), EmbeddedError> {
        if self.temporary {
            return Ok(());
        }
        guard::write_file(&port_path(&self.base), self.account.ours(), &port.to_string())
    }

    /// Removes it if it is temporary and still there.
    pub(super) fn remove(&self) -> Result<(), EmbeddedError> {
        if !self.temporary || !self.base.exists() {
            return Ok(());
        }
        // The standard library follows no links on its way down.
        fs::remove_dir_all(&self.base).map_err(EmbeddedError::io("remove", &self.base))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(err) = self.remove() {
            log::warn!("{err}");
        }
    }
}

/// The watchdog removes the directory as the server's user, so all must be able to write there,
/// but nobody may swap what belongs to others.
fn temporary_parent(account: Account) -> PathBuf {
    let dir = env::temp_dir();
    let is_open = || fs::metadata(&dir).is_ok_and(|it| it.permissions().mode() & 0o1003 == 0o1003);
    let is_safe = || {
        let inside = dir.canonicalize().map(|it| it.join("inside"));
        inside.is_ok_and(|it| guard::check_parents(&it, account.ours()).is_ok())
    };
    if !account.is_other() || is_open() && is_safe() { dir } else { "/tmp".into() }
}

/// Makes the directory ours, so that others can at most pass through. Returns its real path.
fn claim(dir: &Path, account: Account) -> Result<PathBuf, EmbeddedError> {
    let dir = std::path::absolute(dir).map_err(EmbeddedError::io("find directory", dir))?;
    let base = guard::make_dirs(&dir, account)?;
    let has = |path: PathBuf| fs::symlink_metadata(path).is_ok();
    if has(log_path(&base)) && has(base.join("data")) {
        return Err(EmbeddedError::Earlier(base));
    }
    if has(log_path(&base)) && has(server_dir(&base)) {
        return Ok(base);
    }
    check_empty(&base)?;
    let handle = guard::open_dir(&base)?;
    guard::check_owner(&guard::metadata(&handle, &base)?, &base, account.ours())?;
    // The server's user has to pass through.
    let mode = if account.is_other() { 0o711 } else { 0o700 };
    let closed = handle.set_permissions(Permissions::from_mode(mode));
    closed.map_err(EmbeddedError::io("close to other users", &base))?;
    check_empty(&base)?; // nobody has put anything there until it was closed
    Ok(base)
}

fn check_empty(base: &Path) -> Result<(), EmbeddedError> {
    let mut entries = fs::read_dir(base).map_err(EmbeddedError::io("read directory", base))?;
    if entries.next().is_none() { Ok(()) } else { Err(EmbeddedError::NotOurs(base.into())) }
}

/// Opens the log, empty, and locks it: no server of ours runs in the directory, and none can be
/// started in it while the file is open here or in a process that got it from us.
fn open_log(base: &Path, account: Account) -> Result<File, EmbeddedError> {
    let path = log_path(base);
    let log = guard::open_file(&path, account.ours())?;
    if !lock(&log, LOCK_MAX).map_err(EmbeddedError::io("lock", &path))? {
        return Err(EmbeddedError::InUse(base.into()));
    }
    log.set_len(0).map_err(EmbeddedError::io("empty", &path))?;
    Ok(log)
}

/// Makes the server's part unless it is there.
fn make_server_dir(base: &Path, account: Account) -> Result<(), EmbeddedError> {
    let path = server_dir(base);
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            return Err(EmbeddedError::io("create directory", &path)(err));
        }
        _ => (),
    }
    let handle = guard::open_dir(&path)?;
    let metadata = guard::metadata(&handle, &path)?;
    // It is still ours if it is new, or if its maker was killed at this point.
    if guard::check_owner(&metadata, &path, account.ours()).is_ok() {
        return account.hand_over(&handle, &path);
    }
    guard::check_owner(&metadata, &path, account.servers())
}

/// The superuser's password: made the first time, then kept.
fn password(base: &Path, account: Account) -> Result<Secret, EmbeddedError> {
    let path = password_path(base);
    if major_of_data(base, account)?.is_some() {
        let kept = guard::read_file(&path, account.ours())?;
        let missing = || EmbeddedError::io("read", &path)(io::ErrorKind::NotFound.into());
        return Ok(Secret::new(kept.ok_or_else(missing)?.trim_end()));
    }
    // 122 random bits of the operating system's.
    let password = Uuid::new_v4().simple().to_string();
    guard::write_file(&path, account.ours(), &password)?;
    Ok(Secret::new(password))
}

fn major_of_data(base: &Path, account: Account) -> Result<Option<u32>, EmbeddedError> {
    let version = server_dir(base).join("data/PG_VERSION");
    let text = guard::read_file(&version, account.servers())?;
    Ok(text.and_then(|it| it.trim().parse().ok()))
}

fn server_dir(base: &Path) -> PathBuf {
    base.join("server")
}

fn log_path(base: &Path) -> PathBuf {
    base.join("server.log")
}

fn password_path(base: &Path) -> PathBuf {
    base.join("password")
}

fn port_path(base: &Path) -> PathBuf {
    base.join("port")
}

/// A port that nobody listens on, for now.
pub(super) fn free_port(base: &Path) -> Result<u16, EmbeddedError> {
    let free = || -> io::Result<u16> {
        // Both are held until there is an answer, so the second differs from the first.
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let second = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = first.local_addr()?.port();
        Ok(if port == PORT_DEFAULT { second.local_addr()?.port() } else { port })
    };
    free().map_err(EmbeddedError::io("find a free port for the server in", base))
}

pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
