//! Commands with a clean environment; waits with a limit: for a condition, a command, a lock.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks: a server that starts or a command that ends has no way to wake us.
const PAUSE: Duration = Duration::from_millis(5);
/// More than any answer that is read here; the rest of a longer one is of no interest.
const ANSWER_MAX: usize = 4096;

/// Where a program looks for others, and for libraries.
const SEARCH_PATHS: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// A command in the root directory that gets nothing of our environment but search paths and
/// these variables: the rest may hold secrets, or change what the program does.
pub(super) fn command(program: impl AsRef<OsStr>, variables: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/");
    command.envs(SEARCH_PATHS.iter().filter_map(|name| Some((name, absolute_paths(name)?))));
    command.envs(variables.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command
}

/// The entries of a search path that do not depend on the working directory.
fn absolute_paths(name: &str) -> Option<OsString> {
    let value = env::var_os(name)?;
    let paths = env::split_paths(&value).filter(|it| it.is_absolute());
    Some(env::join_paths(paths).expect("a part of a search path has no separator"))
}

/// Asks `ready` again and again until it has an answer; `None` once `limit` has passed.
pub(super) fn poll<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ready() {
            return Some(answer);
        }
        if end <= Instant::now() {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Runs a command to its end and returns the start of what it printed. A failure, and a run
/// that takes longer than `limit`, which is killed, is an error.
pub(super) fn run(command: &mut Command, limit: Duration) -> io::Result<String> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let Some(status) = poll(limit, || child.try_wait().transpose()) else {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("took over {limit:?}")));
    };
    let status = status?;
    if !status.success() {
        return Err(io::Error::other(status.to_string()));
    }
    let mut answer = vec![0; ANSWER_MAX];
    let mut stdout = child.stdout.take().expect("stdout is piped");
    // What the ended command printed is in the pipe already, so one read gets it.
    let len = stdout.read(&mut answer)?;
    answer.truncate(len);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Locks the file for this process and all that inherit it. `false` if others still hold it
/// after `limit`.
pub(super) fn lock(file: &File, limit: Duration) -> io::Result<bool> {
    let locked = poll(limit, || match file.try_lock() {
        Ok(()) => Some(Ok(true)),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(err)) => Some(Err(err)),
    });
    locked.unwrap_or(Ok(false))
}
