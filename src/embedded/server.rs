//! The server's process, and the watchdog between it and us.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::account::Account;
use super::binaries::Binaries;
use super::error::EmbeddedError;
use super::process::poll;
use crate::outcome::{REASON_MAX, storable};

const WATCHDOG: &str = include_str!("watchdog.sh");
/// Covers initdb on a slow disk, and recovery after a crash.
const START_MAX: Duration = Duration::from_mins(2);
/// More than the watchdog needs: 5 s for a fast shutdown, an immediate one, and a kill each.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Settings of every server. Later ones override earlier ones.
const SETTINGS: [(&str, &str); 8] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""), // their paths are limited to 107 octets
    ("cluster_name", "postrider"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("jit", "off"), // short statements only
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
];

/// What a server is started with.
pub(super) struct Launch<'a> {
    /// Holds `data` (made if it is not there), `password` and the log.
    pub(super) base: &'a Path,
    /// Whether `base` goes with the owner.
    pub(super) temporary: bool,
    pub(super) binaries: &'a Binaries,
    pub(super) account: Account,
    pub(super) port: u16,
    pub(super) settings: &'a [(String, String)],
    /// Where the server's messages go.
    pub(super) log: &'a File,
}

/// A running server. It ends with this process, if not before.
#[derive(Debug)]
pub(super) struct Server {
    base: PathBuf,
    watchdog: Child,
    /// The watchdog's sign of life from us. No other process inherits it.
    pipe: ChildStdin,
}

impl Server {
    /// Starts the server and waits until it takes connections.
    pub(super) fn start(launch: &Launch) -> Result<Self, EmbeddedError> {
        let base = launch.base;
        let _ = fs::remove_file(base.join("ended")); // is not there on the first start
        let before = fs::read_to_string(pid_file(base)).ok();
        let mut watchdog = command(launch)?.spawn().map_err(|err| match err.kind() {
            io::ErrorKind::PermissionDenied => {
                EmbeddedError::Unreachable { path: base.into(), user: launch.account.name() }
            }
            _ => EmbeddedError::io("run /bin/sh in", base)(err),
        })?;
        let pipe = watchdog.stdin.take().expect("stdin is piped");
        let server = Self { base: base.into(), watchdog, pipe };
        let started = poll(START_MAX, || {
            if base.join("ended").exists() {
                return Some(false);
            }
            let now = fs::read_to_string(pid_file(base)).ok();
            (now != before && now.is_some_and(|it| is_ready(&it))).then_some(true)
        });
        if started == Some(true) {
            return Ok(server);
        }
        let reason = match started {
            Some(_) => last_words(launch.log),
            None => format!("not ready after {START_MAX:?}"),
        };
        server.crash()?;
        Err(EmbeddedError::Start(reason))
    }

    /// Shuts the server down and removes what is temporary.
    pub(super) fn stop(self) -> Result<(), EmbeddedError> {
        let Self { base, watchdog, pipe } = self;
        drop(pipe);
        wait(watchdog, base)
    }

    /// Ends the server as a crash would, and keeps its directory.
    pub(super) fn crash(mut self) -> Result<(), EmbeddedError> {
        self.pipe
            .write_all(b"immediate\nkeep\n")
            .map_err(EmbeddedError::io("speak to the watchdog in", &self.base))?;
        let Self { base, watchdog, pipe: _pipe } = self;
        wait(watchdog, base)
    }
}

fn wait(mut watchdog: Child, base: PathBuf) -> Result<(), EmbeddedError> {
    match poll(STOP_MAX, || watchdog.try_wait().transpose()) {
        Some(Ok(_)) => Ok(()),
        Some(Err(err)) => Err(EmbeddedError::io("wait for the server in", &base)(err)),
        None => Err(EmbeddedError::Stop(base)),
    }
}

fn command(launch: &Launch) -> Result<Command, EmbeddedError> {
    let Launch { base, temporary, binaries, account, port, settings, log } = launch;
    let output = || log.try_clone().map_err(EmbeddedError::io("write to the log in", base));
    let remove = if *temporary { base.as_os_str() } else { "".as_ref() };
    // One option either way: speed for data that go soon, checks for data that stay.
    let option = if *temporary { "--no-sync" } else { "--data-checksums" };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCHDOG, "postrider-watchdog"]).arg(remove);
    command.arg(binaries.program("initdb")).arg(option);
    command.arg(binaries.program("postgres")).args(["-D", "data"]).args(["-p", &port.to_string()]);
    let ours = SETTINGS.into_iter();
    let theirs = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in ours.chain(theirs) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // Our environment may hold secrets that are not the server's user's to know.
    command.env_clear().env("TZ", "UTC");
    let search = ["PATH", "LD_LIBRARY_PATH"].into_iter();
    command.envs(search.filter_map(|name| Some((name, env::var_os(name)?))));
    // Its own process group, or Ctrl-C would end the server before the worker has drained.
    command.current_dir(base).process_group(0);
    command.stdin(Stdio::piped()).stdout(output()?).stderr(output()?);
    account.apply(&mut command);
    Ok(command)
}

fn pid_file(base: &Path) -> PathBuf {
    base.join("data/postmaster.pid")
}

/// The eighth line is the status.
fn is_ready(pid_file: &str) -> bool {
    pid_file.lines().nth(7).is_some_and(|status| status.trim() == "ready")
}

/// The last message of weight in the log, else its last line.
fn last_words(log: &File) -> String {
    let len = log.metadata().map_or(0, |it| it.len());
    let mut tail = vec![0; 4096];
    let read = log.read_at(&mut tail, len.saturating_sub(4096)).unwrap_or(0);
    let tail = String::from_utf8_lossy(&tail[..read]);
    let heavy = |line: &&str| line.contains("FATAL:") || line.contains("error:");
    let last = tail.lines().rev().find(heavy).or_else(|| tail.lines().next_back());
    storable(last.unwrap_or("it said nothing"), REASON_MAX)
}
