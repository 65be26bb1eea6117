//! Figures of this process, for Prometheus: counters that are added to beside the log events.
//!
//! Every addition is one or two relaxed atomic operations. All workers of a process share them.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::beats::{PARTS, Part};
use super::histogram::Histogram;

/// Methods that are told apart; what others a program adds are counted together.
const METHODS: [&str; 4] = ["smtp", "webhook", "inbox", "other"];
/// Upper bounds of times, in seconds.
const SECONDS: &[f64] =
    &[0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
/// Upper bounds of waits in the queue, in seconds.
const WAITS: &[f64] =
    &[0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0];
/// Upper bounds of times in the database, in seconds.
const STATEMENTS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Upper bounds of batches.
const SIZES: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

/// What an attempt came to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Came {
    Sent,
    Deferred,
    Failed,
    Inhibited,
    Expired,
    Released,
}

const RESULTS: [(Came, &str); 6] = [
    (Came::Sent, "sent"),
    (Came::Deferred, "temporary_failure"),
    (Came::Failed, "permanent_failure"),
    (Came::Inhibited, "inhibited"),
    (Came::Expired, "expired"),
    (Came::Released, "released"),
];

/// A number that only grows.
struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Figures of one method.
struct Method {
    results: [Counter; RESULTS.len()],
    retries: Counter,
    under_way: AtomicI64,
    send: Histogram,
    wait: Histogram,
}

impl Method {
    const fn new() -> Self {
        Self {
            results: [const { Counter::new() }; _],
            retries: Counter::new(),
            under_way: AtomicI64::new(0),
            send: Histogram::new(SECONDS),
            wait: Histogram::new(WAITS),
        }
    }

    fn of(name: &str) -> &'static Self {
        let known = METHODS.iter().position(|it| *it == name);
        &BY_METHOD[known.unwrap_or(METHODS.len() - 1)]
    }
}

static BY_METHOD: [Method; METHODS.len()] = [const { Method::new() }; _];
static ACQUIRE: Histogram = Histogram::new(STATEMENTS);
static ACQUIRED: Histogram = Histogram::new(SIZES);
static COMMIT: Histogram = Histogram::new(STATEMENTS);
static COMMITTED: Histogram = Histogram::new(SIZES);
static STALE: Counter = Counter::new();
static AMBIGUOUS: Counter = Counter::new();
static REFUSED: Counter = Counter::new();
static SET_APART: AtomicI64 = AtomicI64::new(0);
static WAKE_UPS: Counter = Counter::new();
static DOWN: AtomicI64 = AtomicI64::new(0);
static PARKED: Counter = Counter::new();
static CROWDED: Counter = Counter::new();
static ERRORS: [Counter; PARTS.len()] = [const { Counter::new() }; _];

pub(super) fn attempt_ended(method: &str, attempt: u32, came: Came) {
    let method = Method::of(method);
    method.results[came as usize].add(1);
    if 1 < attempt && !matches!(came, Came::Released) {
        method.retries.add(1);
    }
}

pub(super) fn delivery_began(method: &str, waited: Option<f64>) {
    let method = Method::of(method);
    method.under_way.fetch_add(1, Ordering::Relaxed);
    if let Some(waited) = waited {
        method.wait.observe(waited);
    }
}

pub(super) fn delivery_ended(method: &str, seconds: f64) {
    let method = Method::of(method);
    method.under_way.fetch_sub(1, Ordering::Relaxed);
    method.send.observe(seconds);
}

#[expect(clippy::cast_precision_loss, reason = "batches are small")]
pub(super) fn acquired(count: usize, seconds: f64) {
    ACQUIRE.observe(seconds);
    ACQUIRED.observe(count as f64);
}

#[expect(clippy::cast_precision_loss, reason = "batches are small")]
pub(super) fn committed(count: usize, seconds: f64) {
    COMMIT.observe(seconds);
    COMMITTED.observe(count as f64);
}

pub(super) fn commit_was_ambiguous() {
    AMBIGUOUS.add(1);
}

pub(super) fn outcome_was_stale() {
    STALE.add(1);
}

pub(super) fn outcome_refused() {
    REFUSED.add(1);
}

pub(super) fn outcomes_set_apart(more: i64) {
    SET_APART.fetch_add(more, Ordering::Relaxed);
}

pub(super) fn woken() {
    WAKE_UPS.add(1);
}

pub(super) fn destinations_down(more: i64) {
    DOWN.fetch_add(more, Ordering::Relaxed);
}

pub(super) fn message_parked() {
    PARKED.add(1);
}

pub(super) fn message_crowded() {
    CROWDED.add(1);
}

pub(super) fn database_failed(asker: Part) {
    ERRORS[asker as usize].add(1);
}

/// All of them in the text format of Prometheus.
pub(crate) fn text() -> String {
    let mut out = String::with_capacity(16 << 10);
    head(&mut out, "postrider_build_info", "gauge", "The version at work.");
    let version = env!("CARGO_PKG_VERSION");
    _ = writeln!(out, "postrider_build_info{{version=\"{version}\"}} 1");
    write_methods(&mut out);
    let histograms = [
        (&ACQUIRE, "postrider_acquire_seconds", "Time of an acquire."),
        (&ACQUIRED, "postrider_acquire_messages", "Messages that an acquire leased."),
        (&COMMIT, "postrider_commit_seconds", "Time of a commit."),
        (&COMMITTED, "postrider_commit_outcomes", "Outcomes that a commit wrote or tried to."),
    ];
    for (histogram, name, help) in histograms {
        head(&mut out, name, "histogram", help);
        histogram.write(&mut out, name, "");
    }
    let counters = [
        (
            &STALE,
            "postrider_stale_outcomes_total",
            "Outcomes that came after their lease had run out.",
        ),
        (
            &AMBIGUOUS,
            "postrider_ambiguous_commits_total",
            "A commit repeated after an answer was lost.",
        ),
        (
            &REFUSED,
            "postrider_refused_outcomes_total",
            "Outcomes stored without something that the database refused.",
        ),
        (&WAKE_UPS, "postrider_wake_ups_total", "Wake-ups by the database."),
        (&PARKED, "postrider_parked_total", "Messages put off since their destination is down."),
        (
            &CROWDED,
            "postrider_crowded_total",
            "Messages put off since their destination has its share of the threads.",
        ),
    ];
    for (counter, name, help) in counters {
        head(&mut out, name, "counter", help);
        _ = writeln!(out, "{name} {}", counter.get());
    }
    let gauges = [
        (&DOWN, "postrider_destinations_down", "Destinations that are down."),
        (&SET_APART, "postrider_outcomes_set_apart", "Outcomes that cannot be written now."),
    ];
    for (gauge, name, help) in gauges {
        head(&mut out, name, "gauge", help);
        _ = writeln!(out, "{name} {}", gauge.load(Ordering::Relaxed));
    }
    head(
        &mut out,
        "postrider_database_errors_total",
        "counter",
        "Calls that the database did not answer well.",
    );
    for ((_, thread), counter) in PARTS.iter().zip(&ERRORS) {
        _ = writeln!(
            out,
            "postrider_database_errors_total{{thread=\"{thread}\"}} {}",
            counter.get()
        );
    }
    out
}

fn write_methods(out: &mut String) {
    let each = || METHODS.iter().zip(&BY_METHOD);
    head(
        out,
        "postrider_delivery_attempts_total",
        "counter",
        "Leases that ended, by what came of them.",
    );
    for (name, method) in each() {
        for ((_, result), count) in RESULTS.iter().zip(&method.results) {
            let labels = format!("method=\"{name}\",result=\"{result}\"");
            _ = writeln!(out, "postrider_delivery_attempts_total{{{labels}}} {}", count.get());
        }
    }
    head(out, "postrider_retries_total", "counter", "Attempts after the first.");
    for (name, method) in each() {
        let count = method.retries.get();
        _ = writeln!(out, "postrider_retries_total{{method=\"{name}\"}} {count}");
    }
    head(out, "postrider_in_flight", "gauge", "Deliveries under way.");
    for (name, method) in each() {
        let count = method.under_way.load(Ordering::Relaxed);
        _ = writeln!(out, "postrider_in_flight{{method=\"{name}\"}} {count}");
    }
    head(out, "postrider_send_seconds", "histogram", "Time of a delivery, successful or not.");
    for (name, method) in each() {
        method.send.write(out, "postrider_send_seconds", &format!("method=\"{name}\","));
    }
    head(
        out,
        "postrider_queue_seconds",
        "histogram",
        "Time from when a message was due to its delivery.",
    );
    for (name, method) in each() {
        method.wait.write(out, "postrider_queue_seconds", &format!("method=\"{name}\","));
    }
}

/// Appends the head of a metric.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_threads_stand_at_their_own_place() {
        assert!(RESULTS.iter().enumerate().all(|(idx, (came, _))| *came as usize == idx));
        assert!(PARTS.iter().enumerate().all(|(idx, (part, _))| *part as usize == idx));
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample_of_the_metric_whose_head_it_follows() {
        let text = text();
        let mut name = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                name = rest.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&name) && !name.is_empty(), "{line} after {name}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}
