//! Waits with a limit.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

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
