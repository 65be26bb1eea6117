//! Signs of life of the worker's threads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A thread that must not stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Poller,
    Writer,
    Listener,
    Janitor,
}

pub(crate) const PARTS: [(Part, &str); 4] = [
    (Part::Poller, "poller"),
    (Part::Writer, "writer"),
    (Part::Listener, "listener"),
    (Part::Janitor, "janitor"),
];

/// Beyond the announced time, a call to a database that does not answer may take this long.
const GRACE: Duration = Duration::from_mins(3);

/// For each part, when its next sign is overdue, in milliseconds from the first sign of all;
/// 0 for one that does not run.
static OVERDUE: [AtomicU64; PARTS.len()] = [const { AtomicU64::new(0) }; _];

fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// A sign of life; the next one comes `within` this time.
pub(crate) fn beat(part: Part, within: Duration) {
    let overdue = now() + within + GRACE;
    let millis = u64::try_from(overdue.as_millis()).unwrap_or(u64::MAX);
    OVERDUE[part as usize].store(millis, Ordering::Relaxed);
}

/// The part has ended, as it should.
pub(crate) fn rest(part: Part) {
    OVERDUE[part as usize].store(0, Ordering::Relaxed);
}

/// Name and state of each part: `None` for one that does not run, else whether it is alive.
pub(crate) fn states() -> impl Iterator<Item = (&'static str, Option<bool>)> {
    let now = now().as_millis();
    PARTS.into_iter().map(move |(part, name)| {
        let overdue = u128::from(OVERDUE[part as usize].load(Ordering::Relaxed));
        (name, (overdue != 0).then_some(now <= overdue))
    })
}
