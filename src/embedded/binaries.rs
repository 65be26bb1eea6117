//! PostgreSQL's programs: where they may be, and which to take.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use super::account::Account;
use super::error::EmbeddedError;
use super::fetch;
use super::process::{command, run};

#[cfg(test)]
pub(super) mod tests;

/// Oldest major version that we support.
const MAJOR_MIN: u32 = 14;
const VERSION_MAX: Duration = Duration::from_secs(10);
/// Where packages put the programs: a directory, how the names of its versions start, and
/// what follows.
const PLACES: [(&str, &str, &str); 7] = [
    ("/usr/lib/postgresql", "", "bin"),         // Debian
    ("/usr", "pgsql-", "bin"),                  // the PostgreSQL project's RPMs
    ("/usr/lib", "postgresql", "bin"),          // Alpine
    ("/usr/libexec", "postgresql", ""),         // Alpine, newer
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew
    ("/usr/local/opt", "postgresql", "bin"),    // Homebrew, Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
];

/// A directory with programs that run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    bin: PathBuf,
    major: u32,
}

impl Binaries {
    /// The first that runs as `account` and suits the data in `base`, which is of major version
    /// `wanted` if there is any. Fetches them if this machine has none.
    pub(super) fn find(
        account: Account,
        base: &Path,
        wanted: Option<u32>,
    ) -> Result<Self, EmbeddedError> {
        let explicit = env::var_os("POSTRIDER_PG_BIN").filter(|it| !it.is_empty());
        let found = match explicit.map(PathBuf::from) {
            Some(path) => choose([path.clone()], account, wanted)
                .ok_or(EmbeddedError::Unusable { path, user: account.name() })?,
            None => match choose(candidates(account), account, wanted) {
                Some(found) => found,
                None => fetch::fetch(account)?,
            },
        };
        match wanted {
            Some(data) if data != found.major => {
                Err(EmbeddedError::Version { path: base.into(), data, found: found.major })
            }
            _ => Ok(found),
        }
    }

    /// The programs in a directory, if there are both and `account` can run them.
    pub(super) fn at(bin: PathBuf, account: Account) -> Option<Self> {
        if !bin.join("initdb").is_file() || !bin.join("postgres").is_file() {
            return None;
        }
        let mut probe = command(bin.join("postgres"), &[]);
        let answer = run(account.apply(probe.arg("--version")), VERSION_MAX);
        let major = major(&answer.ok()?)?;
        (MAJOR_MIN <= major).then_some(Self { bin, major })
    }

    /// Path of a program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// The first of the wanted version; if there is none, the first of any.
fn choose(
    candidates: impl IntoIterator<Item = PathBuf>,
    account: Account,
    wanted: Option<u32>,
) -> Option<Binaries> {
    let mut other = None;
    for bin in candidates {
        let Some(found) = Binaries::at(bin, account) else { continue };
        if wanted.is_none_or(|wanted| wanted == found.major) {
            return Some(found);
        }
        other = other.or(Some(found));
    }
    other
}

fn candidates(account: Account) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = env::split_paths(&path).filter(|it| it.is_absolute()).collect();
    let packaged = PLACES.iter().flat_map(|(parent, name, rest)| versions(parent, name, rest));
    on_path.into_iter().chain(packaged).chain(fetch::places(account))
}

/// `parent/name*/rest`, highest version first.
fn versions(parent: &str, name: &str, rest: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(name)?.to_owned();
            Some((number(&version), entry.path().join(rest)))
        })
        .collect();
    found.sort_by_key(|(version, _)| Reverse(*version));
    found.into_iter().map(|(_, bin)| bin).collect()
}

/// Major version in the answer to `postgres --version`: `postgres (PostgreSQL) 17.2 (Debian)`.
fn major(answer: &str) -> Option<u32> {
    number(answer.strip_prefix("postgres (PostgreSQL) ")?)
}

/// First number in the text.
fn number(text: &str) -> Option<u32> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
