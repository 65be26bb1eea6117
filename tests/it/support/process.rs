//! Runs the `postrider` command as a process of its own.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use super::service::LIMIT;
use super::wait_until;

/// The command with this database and nothing else in its environment.
pub(crate) fn postrider(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
    command.env_clear().env("POSTRIDER_DATABASE_URL", url).args(args);
    command.env("POSTRIDER_WEBHOOK__ALLOW_PRIVATE", "true");
    command
}

/// A process that runs. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Reader,
    stderr: Reader,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Reader::start(child.stdout.take().unwrap());
        let stderr = Reader::start(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives it this for standard input, which is then at its end. It may not read it all.
    pub(crate) fn feed(&mut self, text: &str) {
        let _ = self.child.stdin.take().unwrap().write_all(text.as_bytes());
    }

    /// Sends signals, given by name, one right after the other.
    pub(crate) fn signal(&self, names: &[&str]) {
        let id = self.child.id();
        let kills: Vec<String> = names.iter().map(|name| format!("kill -{name} {id}")).collect();
        let status = Command::new("sh").args(["-c", &kills.join("; ")]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it without a chance to clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has written this to standard error.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) {
        wait_until(LIMIT, text, || self.stderr.text().contains(text));
    }

    /// Waits until it ends.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        self.wait_within(LIMIT)
    }

    #[track_caller]
    pub(crate) fn wait_within(&mut self, limit: Duration) -> Ended {
        let mut status = None;
        wait_until(limit, "the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        Ended { status: status.unwrap(), stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // fails if it has ended
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Checks that it succeeded, and returns the one JSON document that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(self.status.success(), "{self:?}");
        self.document()
    }

    /// The one JSON document that it printed.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    /// Checks that it ended with this code, and returns its only line of error.
    #[track_caller]
    pub(crate) fn error(&self, code: i32) -> &str {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        let line = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert!(line.starts_with("postrider: ") && !line.contains('\n'), "{self:?}");
        line
    }
}

/// Runs it to its end.
#[track_caller]
pub(crate) fn run(url: &str, args: &[&str]) -> Ended {
    Process::spawn(postrider(url, args).stdin(Stdio::null())).wait()
}

/// Takes in a pipe, so that the process never waits for it.
struct Reader {
    text: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let thread = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                into.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Self { text, thread: Some(thread) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn finish(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.text()
    }
}
