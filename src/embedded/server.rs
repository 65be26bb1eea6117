//! The server's process, and the watchdog between it and us.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::account::Account;
use super::binaries::Binaries;
use super::directory::Directory;
use super::error::EmbeddedError;
use super::guard;
use super::process::{self, poll};
use crate::outcome::{REASON_MAX, storable};

const WATCHDOG: &str = include_str!("watchdog.sh");
/// Covers initdb on a slow disk, and recovery after a crash.
const START_MAX: Duration = Duration::from_mins(2);
/// More than the watchdog needs: 5 s for a fast shutdown, an immediate one, and a kill each.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Settings of every server. Later ones override earlier ones.
const SETTINGS: [(&str, &str); 8] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""), // their paths are limited to 107 bytes
    ("cluster_name", "postrider"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("jit", "off"), // short statements only
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
];

/// What a server is started with.
pub(super) struct Launch<'a> {
    pub(super) directory: &'a Directory,
    pub(super) binaries: &'a Binaries,
    pub(super) account: Account,
    pub(super) port: u16,
    pub(super) settings: &'a [(String, String)],
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
        let before = told(launch, "data/postmaster.pid");
        let server = Self::spawn(launch)?;
        let mark = server.watchdog.id().to_string();
        let started = poll(START_MAX, || {
            // An earlier start may have left its mark.
            if told(launch, "ended").is_some_and(|it| it.trim() == mark) {
                return Some(false);
            }
            let now = told(launch, "data/postmaster.pid");
            (now != before && now.is_some_and(|it| is_ready(&it))).then_some(true)
        });
        if started == Some(true) {
            return Ok(server);
        }
        let reason = match started {
            Some(_) => last_words(launch.directory.log()),
            None => format!("not ready after {START_MAX:?}"),
        };
        server.crash()?;
        Err(EmbeddedError::Start(reason))
    }

    fn spawn(launch: &Launch) -> Result<Self, EmbeddedError> {
        let base = launch.directory.base();
        let mut watchdog = command(launch)?.spawn().map_err(|err| match err.kind() {
            io::ErrorKind::PermissionDenied => {
                EmbeddedError::Unreachable { path: base.into(), user: launch.account.name() }
            }
            _ => EmbeddedError::io("run /bin/sh in", base)(err),
        })?;
        let pipe = watchdog.stdin.take().expect("stdin is piped");
        let mut server = Self { base: base.into(), watchdog, pipe };
        server.tell(&format!("{}\n", launch.directory.password().expose()))?;
        Ok(server)
    }

    fn tell(&mut self, text: &str) -> Result<(), EmbeddedError> {
        let told = self.pipe.write_all(text.as_bytes());
        told.map_err(EmbeddedError::io("speak to the watchdog in", &self.base))
    }

    /// Shuts the server down and removes what is temporary.
    pub(super) fn stop(self) -> Result<(), EmbeddedError> {
        let Self { base, watchdog, pipe } = self;
        drop(pipe);
        wait(watchdog, base)
    }

    /// Ends the server as a crash would, and keeps its directory.
    pub(super) fn crash(mut self) -> Result<(), EmbeddedError> {
        self.tell("immediate\nkeep\n")?;
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
    let Launch { directory, binaries, account, port, settings } = launch;
    let (base, temporary) = (directory.base(), directory.is_temporary());
    let output =
        || directory.log().try_clone().map_err(EmbeddedError::io("write to the log in", base));
    let remove = if temporary { base.as_os_str() } else { "".as_ref() };
    // One option either way: speed for data that go soon, checks for data that stay.
    let option = if temporary { "--no-sync" } else { "--data-checksums" };
    let mut command = process::command("/bin/sh", &[]);
    command.args(["-c", WATCHDOG, "postrider-watchdog"]).arg(remove);
    command.arg(binaries.program("initdb")).arg(option);
    command.arg(binaries.program("postgres")).args(["-D", "data"]).args(["-p", &port.to_string()]);
    let ours = SETTINGS.into_iter();
    let theirs = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in ours.chain(theirs) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // Its own process group, or Ctrl-C would end the server before the worker has drained.
    command.env("TZ", "UTC").current_dir(directory.server_dir()).process_group(0);
    command.stdin(Stdio::piped()).stdout(output()?).stderr(output()?);
    account.apply(&mut command);
    Ok(command)
}

/// What server or watchdog have written for us. Their user may be hostile, so it is read with care.
fn told(launch: &Launch, name: &str) -> Option<String> {
    let path = launch.directory.server_dir().join(name);
    guard::read_file(&path, launch.account.servers()).ok().flatten()
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
