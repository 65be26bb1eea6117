//! Log events of the worker, one function each.

use std::time::Duration;

use uuid::Uuid;

use crate::lease::Settled;
use crate::outcome::Outcome;
use crate::store::StoreError;

/// One line for each outcome that was recorded: sent ones at debug, what will be tried again
/// at info, what will not at warn.
pub(crate) fn outcome_committed(settled: &Settled) {
    let (id, method, attempt) = (settled.key.id, &settled.method, settled.attempt);
    let millis = settled.finished.saturating_duration_since(settled.started).as_millis();
    let line = format_args!("message {id} {method} attempt {attempt} took {millis} ms");
    match &settled.outcome {
        Outcome::Sent(_) => log::debug!("sent: {line}"),
        Outcome::Deferred { delay, code, reason, .. } => {
            log::info!("deferred for {delay:.1?}: {line}: {code}: {reason}");
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

/// An outcome that came after its lease had run out; it was not recorded.
pub(crate) fn outcome_lost(settled: &Settled) {
    let (id, method, attempt) = (settled.key.id, &settled.method, settled.attempt);
    log::warn!(
        "lease lost: message {id} {method} attempt {attempt}: its outcome came too late and was not recorded"
    );
}

/// An outcome that the database refuses to store.
pub(crate) fn outcome_unstorable(settled: &Settled, reason: &str) {
    log::error!("outcome of message {} cannot be stored: {reason}", settled.key.id);
}

/// A commit; `unsure` if an earlier try had no answer.
pub(crate) fn batch_committed(outcomes: usize, written: usize, unsure: bool, took: Duration) {
    let again = if unsure { " after a lost answer" } else { "" };
    log::debug!("wrote {written} of {outcomes} outcomes{again} in {took:.1?}");
}

/// A commit that did not succeed and will be repeated.
pub(crate) fn commit_failed(outcomes: usize, err: &StoreError, pause: Duration) {
    log::warn!("{outcomes} outcomes could not be written, next try in {pause:.1?}: {err}");
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
    log::warn!("queue cannot be read, next try in {pause:.1?}: {err}");
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
    log::warn!("no wake-ups, polling only; next try to listen in {pause:.1?}: {err}");
}

/// A step of the janitor that did not succeed; it is made again at the next tick.
pub(crate) fn upkeep_failed(step: &str, err: &str) {
    log::warn!("upkeep: {step}: {err}");
}
