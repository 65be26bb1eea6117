//! Waits with a limit, the time that a fault lasts, and signals.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `ready`, and panics with `what` was missing after `limit`.
#[track_caller]
pub(crate) fn wait_until(limit: Duration, what: &str, ready: impl FnMut() -> bool) {
    assert!(comes_true(limit, ready), "after {limit:?}, still not so: {what}");
}

/// Waits until `ready`; `false` if it is not after `limit`.
pub(crate) fn comes_true(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !ready() {
        if end <= Instant::now() {
            return false;
        }
        thread::sleep(PAUSE);
    }
    true
}

/// Lets a fault last.
pub(crate) fn last(span: Duration) {
    thread::sleep(span);
}

/// Sends a signal, such as `KILL`, to a process. One that is gone already is left alone.
pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).output();
    status.expect("kill is there");
}
