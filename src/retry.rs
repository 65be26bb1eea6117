//! When a message is tried again, and when it is given up. Pure: no clock, no randomness.
//!
//! Transports report what happened; this alone decides what becomes of the message.

use std::time::Duration;

use crate::config::{Config, RetryConfig};
use crate::outcome::{Failure, Outcome, REASON_MAX, Receipt, Verdict, storable};

#[cfg(test)]
mod tests;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Default delays of e-mail, about 51 hours in all: greylisting passes in minutes, a relay may
/// be away for a day (RFC 5321, 4.5.4.1).
const SMTP_SECS: [u64; 9] =
    [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, 24 * HOUR];
/// Default delays of webhooks and of methods we do not know, 27.5 hours in all.
const WEBHOOK_SECS: [u64; 7] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR];

/// Attempts where delays grow by a rule, which has no end of its own.
const GROWING_ATTEMPTS: u32 = 10;
/// Factor of growing delays where none is set.
const MULTIPLIER: f64 = 2.0;
/// Longest of growing delays where none is set.
const DELAY_MAX: Duration = Duration::from_secs(HOUR);
/// Longest wait that a far end may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * HOUR);
/// Pause after trouble of our own.
const BLOCKED_PAUSE: Duration = Duration::from_secs(30);
/// Jitter is at most the delay divided by this.
const JITTER_PART: u32 = 10;
/// Longest jitter.
const JITTER_MAX: Duration = Duration::from_secs(15 * MINUTE);

/// The retry policy of one method.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    delays: Delays,
    attempts_max: u32,
    /// How long a message waits for an operator at most.
    hold_max: Duration,
}

#[derive(Debug, Clone, PartialEq)]
enum Delays {
    /// Delays after the first, second, ... failure; the last one repeats.
    Schedule(Vec<Duration>),
    Growing {
        initial: Duration,
        multiplier: f64,
        max: Duration,
    },
}

/// The attempt that has just been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempted {
    /// Its number, from 1.
    pub number: u32,
    /// Attempts that the message gets.
    pub max: u32,
    /// Time until the message expires; `None`: never.
    pub expires_in: Option<Duration>,
}

impl RetryPolicy {
    /// The policy of a method: its own settings, else those for all methods, else the default
    /// schedule of the method.
    pub fn for_method(config: &Config, method: &str) -> Self {
        let (own, default) = match method {
            "smtp" => (Some(&config.smtp.retry), SMTP_SECS.as_slice()),
            "webhook" => (Some(&config.webhook.retry), WEBHOOK_SECS.as_slice()),
            _ => (None, WEBHOOK_SECS.as_slice()),
        };
        let delays = own
            .and_then(Delays::configured)
            .or_else(|| Delays::configured(&config.retry))
            .unwrap_or_else(|| Delays::Schedule(seconds(default)));
        let attempts_max = config.worker.max_attempts.unwrap_or_else(|| delays.attempts());
        let attempts_max = attempts_max.min(delays.attempts_max());
        Self { delays, attempts_max, hold_max: config.worker.hold_max }
    }

    /// Attempts of a message that does not say otherwise, the first included.
    pub fn attempts_max(&self) -> u32 {
        self.attempts_max
    }

    /// What becomes of the message after an attempt. `jitter`, a random number from 0 to 1,
    /// spreads the messages that failed together: up to a tenth of the delay, and up to 15
    /// minutes, is added to it and nothing ever taken away, so none fires early.
    ///
    /// A wait that the far end asks for raises the delay, by up to 24 hours. Trouble of our own
    /// costs no attempt and ends nothing.
    pub fn decide(
        &self,
        attempt: Attempted,
        result: Result<Receipt, Failure>,
        jitter: f64,
    ) -> Outcome {
        let Failure { verdict, code, reason, .. } = match result {
            Ok(receipt) => return Outcome::Sent(receipt),
            Err(failure) => failure,
        };
        match verdict {
            Verdict::Permanent => Outcome::Failed { counted: true, code, reason },
            Verdict::BadAddress => Outcome::BadAddress { code, reason },
            Verdict::Held => {
                Outcome::Deferred { delay: self.hold_max, counted: false, code, reason }
            }
            Verdict::Blocked { retry_after } => {
                let delay = asked(retry_after).unwrap_or(BLOCKED_PAUSE);
                Outcome::Deferred { delay: spread(delay, jitter), counted: false, code, reason }
            }
            Verdict::Temporary { .. }
                if attempt.max.min(self.delays.attempts_max()) <= attempt.number =>
            {
                let reason = format!("attempts exhausted ({}): {reason}", attempt.number);
                Outcome::Failed { counted: true, code, reason: storable(&reason, REASON_MAX) }
            }
            Verdict::Temporary { retry_after } => {
                let delay = self.delays.after(attempt.number);
                let delay = spread(delay.max(asked(retry_after).unwrap_or_default()), jitter);
                match attempt.expires_in {
                    Some(left) if left <= delay => Outcome::Expired { counted: true, reason },
                    _ => Outcome::Deferred { delay, counted: true, code, reason },
                }
            }
        }
    }
}

impl Delays {
    /// What the settings ask for, if anything.
    fn configured(config: &RetryConfig) -> Option<Self> {
        let growing = |initial| Self::Growing {
            initial,
            multiplier: config.multiplier.unwrap_or(MULTIPLIER),
            max: config.max.unwrap_or(DELAY_MAX).max(initial),
        };
        config.schedule.clone().map(Self::Schedule).or_else(|| config.initial.map(growing))
    }

    /// Attempts until the schedule is used up.
    fn attempts(&self) -> u32 {
        match self {
            Self::Schedule(delays) => u32::try_from(delays.len()).map_or(u32::MAX, |n| n + 1),
            Self::Growing { .. } => GROWING_ATTEMPTS,
        }
    }

    /// Attempts that no setting and no message can exceed: a schedule ends with its last delay.
    fn attempts_max(&self) -> u32 {
        match self {
            Self::Schedule(_) => self.attempts(),
            Self::Growing { .. } => u32::MAX,
        }
    }

    /// The delay after the failure of an attempt, without jitter.
    fn after(&self, number: u32) -> Duration {
        let failures_before = number.saturating_sub(1);
        match self {
            Self::Schedule(delays) => {
                let at = usize::try_from(failures_before).unwrap_or(usize::MAX);
                delays.get(at).or(delays.last()).copied().unwrap_or_default()
            }
            Self::Growing { initial, multiplier, max } => {
                let power = i32::try_from(failures_before).unwrap_or(i32::MAX);
                let secs = initial.as_secs_f64() * multiplier.powi(power);
                Duration::try_from_secs_f64(secs).map_or(*max, |delay| delay.min(*max))
            }
        }
    }
}

fn asked(retry_after: Option<Duration>) -> Option<Duration> {
    retry_after.map(|wait| wait.min(RETRY_AFTER_MAX))
}

fn spread(delay: Duration, jitter: f64) -> Duration {
    let most = (delay / JITTER_PART).min(JITTER_MAX);
    // A number that is none of the range is no reason to fire early or to panic.
    let share = if (0.0..=1.0).contains(&jitter) { jitter } else { 1.0 };
    delay.saturating_add(most.mul_f64(share).min(most))
}

fn seconds(secs: &[u64]) -> Vec<Duration> {
    secs.iter().copied().map(Duration::from_secs).collect()
}
