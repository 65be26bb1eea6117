//! One line a rule; loops for what must hold of every attempt and every jitter.

use super::*;

const DAY: Duration = Duration::from_hours(24);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn policy(method: &str) -> RetryPolicy {
    RetryPolicy::for_method(&Config::default(), method)
}

fn scheduled(schedule: &[u64]) -> RetryPolicy {
    let retry = RetryConfig { schedule: Some(seconds(schedule)), ..RetryConfig::default() };
    RetryPolicy::for_method(&Config { retry, ..Config::default() }, "smtp")
}

fn growing(initial: Duration, multiplier: f64, max: Duration) -> RetryPolicy {
    let retry = RetryConfig {
        initial: Some(initial),
        multiplier: Some(multiplier),
        max: Some(max),
        ..RetryConfig::default()
    };
    RetryPolicy::for_method(&Config { retry, ..Config::default() }, "smtp")
}

fn attempt(number: u32) -> Attempted {
    Attempted { number, max: u32::MAX, expires_in: None }
}

fn temporary(retry_after: Option<Duration>) -> Result<Receipt, Failure> {
    Err(Failure::temporary("451", "later").with_retry_after(retry_after))
}

fn blocked(retry_after: Option<Duration>) -> Result<Receipt, Failure> {
    Err(Failure::blocked("relay_down", "refused").with_retry_after(retry_after))
}

/// The delay of an outcome that defers.
#[track_caller]
fn delay(outcome: Outcome) -> Duration {
    match outcome {
        Outcome::Deferred { delay, .. } => delay,
        other => panic!("not deferred: {other:?}"),
    }
}

fn deferred(delay: Duration, counted: bool, code: &str, reason: &str) -> Outcome {
    Outcome::Deferred { delay, counted, code: code.into(), reason: reason.into() }
}

#[test]
fn the_defaults_are_those_of_the_method() {
    assert_eq!(policy("smtp").delays, Delays::Schedule(seconds(&SMTP_SECS)));
    assert_eq!(policy("webhook").delays, Delays::Schedule(seconds(&WEBHOOK_SECS)));
    assert_eq!(policy("pager").delays, Delays::Schedule(seconds(&WEBHOOK_SECS)));
    assert_eq!((policy("smtp").attempts_max(), policy("webhook").attempts_max()), (10, 8));
    assert_eq!(SMTP_SECS.iter().sum::<u64>(), 51 * HOUR + 21 * MINUTE);
    assert_eq!(WEBHOOK_SECS.iter().sum::<u64>(), 27 * HOUR + 35 * MINUTE + 5);
}

#[test]
fn the_table_of_settings_tells_the_same_defaults() {
    for (key, secs) in [
        ("smtp.retry.schedule", SMTP_SECS.as_slice()),
        ("webhook.retry.schedule", WEBHOOK_SECS.as_slice()),
    ] {
        let written = crate::config::keys::find(key).unwrap().default;
        let read: Vec<_> =
            written.split(',').map(|delay| humantime::parse_duration(delay).unwrap()).collect();
        assert_eq!(read, seconds(secs), "{key}");
    }
}

#[test]
fn the_settings_of_a_method_go_before_those_for_all() {
    let mut config = Config::default();
    config.retry.schedule = Some(seconds(&[1, 2]));
    config.smtp.retry.initial = Some(secs(7));
    let smtp = RetryPolicy::for_method(&config, "smtp");
    assert_eq!((smtp.delays.after(1), smtp.attempts_max()), (secs(7), 10));
    let webhook = RetryPolicy::for_method(&config, "webhook");
    assert_eq!((webhook.delays.after(2), webhook.attempts_max()), (secs(2), 3));
    let other = RetryPolicy::for_method(&config, "pager");
    assert_eq!((other.delays.after(1), other.attempts_max()), (secs(1), 3));
}

#[test]
fn attempts_end_with_the_schedule_or_with_max_attempts_whichever_is_first() {
    let mut config = Config::default();
    config.worker.max_attempts = Some(20);
    assert_eq!(RetryPolicy::for_method(&config, "webhook").attempts_max(), 8);
    config.worker.max_attempts = Some(3);
    assert_eq!(RetryPolicy::for_method(&config, "webhook").attempts_max(), 3);
    config.retry.initial = Some(secs(1));
    config.worker.max_attempts = Some(20);
    assert_eq!(RetryPolicy::for_method(&config, "webhook").attempts_max(), 20);
}

#[test]
fn growing_delays_double_up_to_an_hour_where_nothing_else_is_set() {
    let mut config = Config::default();
    config.retry.initial = Some(secs(20 * MINUTE));
    let delays = RetryPolicy::for_method(&config, "smtp").delays;
    let wanted = [20, 40, 60, 60].map(|minutes| secs(minutes * MINUTE));
    assert_eq!([1, 2, 3, 4].map(|number| delays.after(number)), wanted);
}

#[test]
fn a_success_is_sent() {
    let receipt = Receipt { code: Some("250".into()), ..Receipt::default() };
    let last = Attempted { number: 9, max: 1, expires_in: Some(Duration::ZERO) };
    assert_eq!(policy("smtp").decide(last, Ok(receipt.clone()), 0.0), Outcome::Sent(receipt));
}

#[test]
fn a_permanent_failure_ends_the_message() {
    let outcome = policy("smtp").decide(attempt(1), Err(Failure::permanent("550", "no")), 0.5);
    assert_eq!(outcome, Outcome::Failed { counted: true, code: "550".into(), reason: "no".into() });
}

#[test]
fn an_address_that_is_refused_for_good_ends_the_message_and_is_told() {
    let outcome = policy("smtp").decide(attempt(1), Err(Failure::bad_address("550", "no")), 0.5);
    assert_eq!(outcome, Outcome::BadAddress { code: "550".into(), reason: "no".into() });
}

#[test]
fn a_held_message_waits_for_an_operator_and_is_charged_no_attempt() {
    let last = Attempted { number: 3, max: 3, expires_in: Some(secs(1)) };
    let outcome = policy("smtp").decide(last, Err(Failure::held("uncertain", "held")), 1.0);
    assert_eq!(outcome, deferred(Config::default().worker.hold_max, false, "uncertain", "held"));
}

#[test]
fn a_temporary_failure_waits_as_scheduled() {
    let policy = scheduled(&[10, 20]);
    let decide = |number, jitter| policy.decide(attempt(number), temporary(None), jitter);
    assert_eq!(decide(1, 0.0), deferred(secs(10), true, "451", "later"));
    assert_eq!(decide(1, 1.0), deferred(secs(11), true, "451", "later"));
    assert_eq!(decide(2, 0.5), deferred(secs(21), true, "451", "later"));
}

#[test]
fn the_last_attempt_ends_the_message_with_the_last_reason() {
    let last = Attempted { number: 3, max: 3, expires_in: None };
    let wanted = Outcome::Failed {
        counted: true,
        code: "451".into(),
        reason: "attempts exhausted (3): later".into(),
    };
    assert_eq!(policy("smtp").decide(last, temporary(None), 0.0), wanted);
    let long = Err(Failure::temporary("451", "x".repeat(REASON_MAX)));
    let Outcome::Failed { reason, .. } = policy("smtp").decide(last, long, 0.0) else { panic!() };
    assert_eq!(reason.len(), REASON_MAX);
}

#[test]
fn a_wait_that_the_far_end_asks_for_raises_the_delay_up_to_a_day() {
    let decide = |wait| delay(scheduled(&[60]).decide(attempt(1), temporary(Some(wait)), 0.0));
    assert_eq!(decide(secs(5)), secs(60));
    assert_eq!(decide(secs(61)), secs(61));
    assert_eq!(decide(DAY), DAY);
    assert_eq!(decide(Duration::MAX), DAY);
}

#[test]
fn a_retry_that_would_come_too_late_expires_the_message_at_once() {
    let decide = |left| {
        let attempt = Attempted { expires_in: Some(left), ..attempt(1) };
        scheduled(&[60]).decide(attempt, temporary(None), 0.0)
    };
    assert_eq!(decide(secs(60)), Outcome::Expired { counted: true, reason: "later".into() });
    assert_eq!(decide(secs(61)), deferred(secs(60), true, "451", "later"));
}

#[test]
fn our_own_trouble_costs_no_attempt() {
    let last = Attempted { number: 3, max: 3, expires_in: Some(secs(1)) };
    let decide = |wait, jitter| policy("smtp").decide(last, blocked(wait), jitter);
    assert_eq!(decide(None, 0.0), deferred(secs(30), false, "relay_down", "refused"));
    assert_eq!(decide(None, 1.0), deferred(secs(33), false, "relay_down", "refused"));
    assert_eq!(decide(Some(secs(5)), 0.0), deferred(secs(5), false, "relay_down", "refused"));
    assert_eq!(delay(decide(Some(Duration::MAX), 0.0)), DAY);
}

#[test]
fn nothing_fires_early_and_jitter_is_a_tenth_and_a_quarter_of_an_hour_at_most() {
    let policies = [
        policy("smtp"),
        policy("webhook"),
        scheduled(&[0, 1, 7 * 24 * HOUR]),
        growing(Duration::from_millis(1), 3.7, DAY),
        growing(Duration::MAX, 1.0, Duration::MAX),
    ];
    let jitters = (0..=100).map(|percent| f64::from(percent) / 100.0);
    let odd = [-1.0, 2.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1.0 - f64::EPSILON];
    for jitter in jitters.chain(odd) {
        for policy in &policies {
            let last = policy.delays.attempts_max();
            for number in (0..40).chain([u32::MAX - 1]).filter(|number| *number < last) {
                let base = policy.delays.after(number);
                let delay = delay(policy.decide(attempt(number), temporary(None), jitter));
                let most = base.saturating_add((base / 10).min(secs(15 * MINUTE)));
                assert!(base <= delay && delay <= most, "{policy:?} {number} {jitter}: {delay:?}");
            }
        }
    }
}

#[test]
fn growing_delays_never_shrink_and_never_pass_their_limit() {
    for multiplier in [1.0, 1.000_001, 1.5, 2.0, 10.0, f64::MAX] {
        let (initial, max) = (Duration::from_millis(3), secs(9 * HOUR));
        let delays = growing(initial, multiplier, max).delays;
        let numbers = (1..200).chain([1000, u32::MAX / 2, u32::MAX]);
        let all: Vec<_> = numbers.map(|number| delays.after(number)).collect();
        assert_eq!(all[0], initial);
        assert!(all.is_sorted() && all.iter().all(|delay| *delay <= max), "{multiplier}: {all:?}");
    }
}

#[test]
fn the_highest_number_of_an_attempt_overflows_nothing() {
    let last = Attempted { number: u32::MAX, max: u32::MAX, expires_in: None };
    for policy in [policy("smtp"), growing(secs(1), 2.0, DAY)] {
        let outcome = policy.decide(last, temporary(None), 1.0);
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
        assert!(policy.delays.after(u32::MAX) <= DAY);
    }
}
