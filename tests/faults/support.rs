//! The time that a fault lasts, and signals.

use std::process::Command;
use std::thread;
use std::time::Duration;

/// Lets a fault last.
pub(crate) fn last(span: Duration) {
    thread::sleep(span);
}

/// Sends a signal, such as `KILL`, to a process. One that is gone already is left alone.
pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).output();
    status.expect("kill is there");
}
