//! The base directory of a server: `data`, and beside it what we keep about it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process};

use uuid::Uuid;

use super::account::Account;
use super::error::EmbeddedError;
use super::process::lock;
use crate::config::Secret;

/// How long an earlier server may take to end.
const LOCK_MAX: Duration = Duration::from_secs(6);
/// Left to the machine's own server.
const PORT_DEFAULT: u16 = 5432;

/// Makes a new directory in the system's place for temporary ones.
pub(super) fn make_temporary(account: Account) -> Result<PathBuf, EmbeddedError> {
    let name = format!("postrider-{}-{}", process::id(), Uuid::new_v4().simple());
    let base = temporary_parent(account).join(name);
    let made = DirBuilder::new().mode(0o700).create(&base);
    made.map_err(EmbeddedError::io("create directory", &base))?;
    Ok(base)
}

/// The watchdog removes the directory as the server's user, so all must be able to write there.
fn temporary_parent(account: Account) -> PathBuf {
    let dir = env::temp_dir();
    let open = fs::metadata(&dir).is_ok_and(|it| it.permissions().mode() & 0o003 == 0o003);
    if open || account == Account::Ours { dir } else { "/tmp".into() }
}

/// Makes the directory unless there is one. What is there must be empty or made by us.
pub(super) fn make_kept(dir: &Path) -> Result<PathBuf, EmbeddedError> {
    let base = std::path::absolute(dir).map_err(EmbeddedError::io("find directory", dir))?;
    fs::create_dir_all(&base).map_err(EmbeddedError::io("create directory", &base))?;
    if log_path(&base).exists() {
        return Ok(base);
    }
    let mut entries = fs::read_dir(&base).map_err(EmbeddedError::io("read directory", &base))?;
    if entries.next().is_some() {
        return Err(EmbeddedError::NotOurs(base));
    }
    let closed = fs::set_permissions(&base, Permissions::from_mode(0o700));
    closed.map_err(EmbeddedError::io("close to other users", &base))?;
    Ok(base)
}

/// Opens the log, empty, and locks it: no server of ours runs in the directory, and none can be
/// started in it while the file is open here or in a process that got it from us.
pub(super) fn open_log(base: &Path, account: Account) -> Result<File, EmbeddedError> {
    let path = log_path(base);
    let opened = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path);
    let log = opened.map_err(EmbeddedError::io("open", &path))?;
    if !lock(&log, LOCK_MAX).map_err(EmbeddedError::io("lock", &path))? {
        return Err(EmbeddedError::InUse(base.into()));
    }
    log.set_len(0).map_err(EmbeddedError::io("empty", &path))?;
    account.own(&path)?;
    Ok(log)
}

fn log_path(base: &Path) -> PathBuf {
    base.join("server.log")
}

/// Major version of the data, if there are any.
pub(super) fn major_of_data(base: &Path) -> Option<u32> {
    fs::read_to_string(base.join("data/PG_VERSION")).ok()?.trim().parse().ok()
}

/// Where the superuser's password is kept.
pub(super) fn password_file(base: &Path) -> PathBuf {
    base.join("password")
}

/// The superuser's password: made the first time, then kept.
pub(super) fn password(base: &Path, account: Account) -> Result<Secret, EmbeddedError> {
    let path = password_file(base);
    if major_of_data(base).is_some() {
        let kept = fs::read_to_string(&path).map_err(EmbeddedError::io("read", &path))?;
        return Ok(Secret::new(kept.trim_end()));
    }
    // 122 random bits of the operating system's.
    let password = Uuid::new_v4().simple().to_string();
    let opened = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
    let written = opened.and_then(|mut file| file.write_all(password.as_bytes()));
    written.map_err(EmbeddedError::io("write", &path))?;
    account.own(&path)?;
    Ok(Secret::new(password))
}

/// The port of the last start if it is free, else one that is.
pub(super) fn choose_port(base: &Path) -> Result<u16, EmbeddedError> {
    let kept = fs::read_to_string(port_path(base)).ok().and_then(|it| it.parse().ok());
    kept.filter(|&port| is_free(port)).map_or_else(|| free_port(base), Ok)
}

/// Remembers the port for the next start.
pub(super) fn keep_port(base: &Path, port: u16) -> Result<(), EmbeddedError> {
    let path = port_path(base);
    fs::write(&path, port.to_string()).map_err(EmbeddedError::io("write", &path))
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
