//! Events of the worker, one function each: a line in the log, and figures for monitors.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::clock::{self, Skew};
use crate::lease::Settled;
use crate::outcome::Outcome;
use crate::store::StoreError;

pub(crate) mod beats;
mod held;
mod histogram;
pub(crate) mod metrics;

use beats::Part;
use metrics::Came;

/// A delivery under way, from now until this is dropped.
pub(crate) struct UnderWay<'a> {
    method: &'a str,
    began: Instant,
}

/// A delivery begins; `waited` is the time since the message was due.
pub(crate) fn delivery(method: &str, waited: Option<Duration>) -> UnderWay<'_> {
    metrics::delivery_began(method, waited.map(|it| it.as_secs_f64()));
    UnderWay { method, began: Instant::now() }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        metrics::delivery_ended(self.method, self.began.elapsed().as_secs_f64());
    }
}

/// An acquire that the database answered.
pub(crate) fn acquired(count: usize, took: Duration) {
    metrics::acquired(count, took.as_secs_f64());
}

/// The database rang.
pub(crate) fn woken() {
    metrics::woken();
}

/// The clock was compared with the database's.
pub(crate) fn clock_compared(skew: Skew) {
    match skew {
        Skew::Fine => (),
        Skew::Noticeable(ahead_ms) => {
            log::warn!("this machine's clock is {}: set it by NTP", clock::in_words(ahead_ms));
        }
        Skew::Off(ahead_ms) => log::error!(
            "this machine's clock is {}: signed webhooks wait until it is right",
            clock::in_words(ahead_ms)
        ),
    }
}

/// One line for each outcome that was recorded: sent ones at debug, what will be tried again
/// at info, what will not at warn. Of what waits through no fault of its own only one a minute is told of.
pub(crate) fn outcome_committed(settled: &Settled) {
    let (id, method, attempt) = (settled.key.id, &settled.method, settled.attempt);
    let millis = settled.finished.saturating_duration_since(settled.started).as_millis();
    metrics::attempt_ended(method, attempt, came(&settled.outcome));
    let line = format_args!("message {id} {method} attempt {attempt} took {millis} ms");
    match &settled.outcome {
        Outcome::Sent(_) => log::debug!("sent: {line}"),
        Outcome::Deferred { delay, code, reason, counted } if *counted => {
            log::info!("deferred for {delay:.1?}: {line}: {code}: {reason}");
        }
        Outcome::Deferred { delay, code, reason, .. } => {
            if let Some(number) = held::count(code) {
                log::warn!(
                    "{number} more to wait, at no cost, until this is mended: {line}: {code}: {reason}"
                );
            }
            log::debug!("held for {delay:.1?}: {line}: {code}: {reason}");
        }
        Outcome::BadAddress { code, reason } => {
            log::warn!("failed, address suppressed: {line}: {code}: {reason}");
        }
        Outcome::Failed { code, reason, .. } => log::warn!("failed: {line}: {code}: {reason}"),
        Outcome::Inhibited => log::info!("inhibited: {line}"),
        Outcome::Expired { reason, .. } => log::warn!("expired: {line}: {reason}"),
        Outcome::Released { .. } => log::debug!("released: {line}"),
    }
}

fn came(outcome: &Outcome) -> Came {
    match outcome {
        Outcome::Sent(_) => Came::Sent,
        Outcome::Deferred { .. } => Came::Deferred,
        Outcome::Failed { .. } | Outcome::BadAddress { .. } => Came::Failed,
        Outcome::Inhibited => Came::Inhibited,
        Outcome::Expired { .. } => Came::Expired,
        Outcome::Released { .. } => Came::Released,
    }
}

/// An outcome that came after its lease had run out; it was not recorded.
pub(crate) fn outcome_lost(settled: &Settled) {
    metrics::outcome_was_stale();
    let (id, method, attempt) = (settled.key.id, &settled.method, settled.attempt);
    log::warn!(
        "lease lost: message {id} {method} attempt {attempt}: its outcome came too late and was not recorded"
    );
}

/// An outcome that is stored without something that the database refused with this SQLSTATE.
pub(crate) fn outcome_reduced(settled: &Settled, lacks: &str, sqlstate: &str) {
    metrics::outcome_refused();
    let (id, method) = (settled.key.id, &settled.method);
    log::warn!(
        "outcome of message {id} {method} is stored without {lacks}: the database refused it (SQLSTATE {sqlstate})"
    );
}

/// An outcome that cannot be written now, as long as this is there.
#[derive(Debug)]
pub(crate) struct SetApart(());

impl SetApart {
    pub(crate) fn new() -> Self {
        metrics::outcomes_set_apart(1);
        Self(())
    }
}

impl Drop for SetApart {
    fn drop(&mut self) {
        metrics::outcomes_set_apart(-1);
    }
}

/// An outcome that cannot be written, not even alone and in its shortest form.
pub(crate) fn outcome_set_apart(settled: &Settled, err: &StoreError) {
    let (id, method) = (settled.key.id, &settled.method);
    log::error!(
        "outcome of message {id} {method} cannot be written: {err}; it is kept and tried again, and the others go on"
    );
}

/// An outcome that waits for a lock.
pub(crate) fn outcome_locked(settled: &Settled) {
    let id = settled.key.id;
    log::info!("outcome of message {id} waits: somebody else has locked its row; the others go on");
}

/// Outcomes that have waited for long, one of them and why.
pub(crate) fn outcomes_apart(count: usize, one: &Settled, why: &str) {
    let id = one.key.id;
    log::error!(
        "{count} outcomes are still not written, that of message {id} among them: {why}; \
         nothing is lost while this process lives"
    );
}

/// It cannot be told which rows are locked.
pub(crate) fn locks_unknown(err: &StoreError) {
    metrics::database_failed(Part::Writer);
    log::warn!("it cannot be told which rows are locked: {err}");
}

/// A commit; `unsure` if an earlier try had no answer.
pub(crate) fn batch_committed(outcomes: usize, written: usize, unsure: bool, took: Duration) {
    metrics::committed(outcomes, took.as_secs_f64());
    if unsure {
        metrics::commit_was_ambiguous();
    }
    let again = if unsure { " after a lost answer" } else { "" };
    log::debug!("wrote {written} of {outcomes} outcomes{again} in {took:.1?}");
}

/// A commit that did not succeed and will be repeated.
pub(crate) fn commit_failed(outcomes: usize, err: &StoreError, pause: Duration) {
    metrics::database_failed(Part::Writer);
    log::warn!("{outcomes} outcomes could not be written, next try in {pause:.1?}: {err}");
}

/// A commit that did not succeed and is repeated in two halves.
pub(crate) fn commit_halved(outcomes: usize, err: &StoreError) {
    metrics::database_failed(Part::Writer);
    let code = err.code().unwrap_or("unknown");
    log::debug!("{outcomes} outcomes could not be written together (SQLSTATE {code})");
}

/// A worker begins or ends its work.
pub(crate) fn worker_started(id: Uuid, threads: usize, methods: &str) {
    let version = env!("CARGO_PKG_VERSION");
    log::info!("worker {id} (postrider {version}) delivers {methods} with {threads} threads");
}

/// A worker ended.
pub(crate) fn worker_stopped(id: Uuid, tally: &str) {
    log::info!("worker {id} ended: {tally}");
}

/// The database answers again.
pub(crate) fn poll_recovered() {
    log::info!("queue can be read again");
}

/// An acquire or a look that did not succeed.
pub(crate) fn poll_failed(err: &StoreError, pause: Duration) {
    metrics::database_failed(Part::Poller);
    log::warn!("queue cannot be read, next try in {pause:.1?}: {err}");
}

/// A destination that is down, as long as this is there.
#[derive(Debug)]
pub(crate) struct Down(());

impl Down {
    pub(crate) fn new() -> Self {
        metrics::destinations_down(1);
        Self(())
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        metrics::destinations_down(-1);
    }
}

/// Deliveries to a destination fail one after the other.
pub(crate) fn destination_down(name: &str, code: &str, pause: Duration) {
    log::warn!(
        "{name} is down ({code}): its messages wait, at no cost; next try in {pause:.1?}, then ever more rarely"
    );
}

/// A destination asked to be left alone.
pub(crate) fn destination_paused(name: &str, pause: Duration) {
    log::warn!("{name} asks for a pause: its messages wait for {pause:.1?}, at no cost");
}

/// A destination answers again.
pub(crate) fn destination_well(name: &str) {
    log::info!("{name} answers again");
}

/// A message waits for a destination that is down.
pub(crate) fn parked() {
    metrics::message_parked();
}

/// A message waits since its destination has its share of the threads.
pub(crate) fn crowded() {
    metrics::message_crowded();
}

/// Deliveries were paused or resumed.
pub(crate) fn paused(now: bool) {
    if now {
        log::warn!("paused: nothing is acquired until `postrider resume`");
    } else {
        log::info!("resumed");
    }
}

/// The listening connection is gone.
pub(crate) fn listener_failed(err: &str, pause: Duration) {
    metrics::database_failed(Part::Listener);
    log::warn!("no wake-ups, polling only; next try to listen in {pause:.1?}: {err}");
}

/// There is no connection to listen on.
pub(crate) fn cannot_listen(interval: Duration) {
    log::warn!(
        "no wake-ups through PgBouncer: the queue is looked at each {interval:.1?} at least; \
         set database.listen_url to a direct connection"
    );
}

/// A step of the janitor that did not succeed; it is made again at the next tick.
pub(crate) fn upkeep_failed(step: &str, err: &str) {
    metrics::database_failed(Part::Janitor);
    log::warn!("upkeep: {step}: {err}");
}
