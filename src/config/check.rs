//! Relations that must hold between settings.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use url::Url;

use super::error::{ConfigError, Faults};
use super::{Config, RetryConfig, WorkerConfig, database, duration};

mod worker;

/// Most connections of the pool.
const POOL_MAX: u32 = 1024;
/// Most delays of a schedule.
const SCHEDULE_MAX: usize = 1000;
/// Shortest interval or limit: a shorter one only burns the processor.
const PACE_MIN: Duration = Duration::from_millis(10);
/// Shortest delay before another attempt.
const DELAY_MIN: Duration = Duration::from_millis(1);
/// Shortest time that finished messages are kept.
const RETENTION_MIN: Duration = Duration::from_secs(1);
/// The same of history, which goes by whole days.
const HISTORY_MIN: Duration = Duration::from_hours(24);
/// Shortest time that keys are kept.
const DEDUPE_MIN: Duration = Duration::from_hours(1);
/// Shortest time after which a message that is put off ends.
const HOLD_MIN: Duration = Duration::from_secs(1);

/// Names of the settings of a [`RetryConfig`].
struct RetryKeys {
    schedule: &'static str,
    initial: &'static str,
    multiplier: &'static str,
    max: &'static str,
}

macro_rules! retry_keys {
    ($group:literal) => {
        RetryKeys {
            schedule: concat!($group, ".schedule"),
            initial: concat!($group, ".initial"),
            multiplier: concat!($group, ".multiplier"),
            max: concat!($group, ".max"),
        }
    };
}

impl Config {
    /// Checks settings that were not [`load`](Self::load)ed but put together in a program.
    ///
    /// # Errors
    ///
    /// All that is wrong, one line each.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        self.check_all(&mut faults);
        faults.into_result()
    }

    /// Checks that this process can carry the methods it names as defaults; `transports` are
    /// those it has. For a worker: a program that only enqueues needs none.
    ///
    /// # Errors
    ///
    /// All that is wrong, one line each.
    pub fn check_methods(&self, transports: &[&str]) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        let key = "worker.default_methods";
        for method in self.worker.default_methods.iter().flatten() {
            let missing = match method.as_str() {
                "smtp" if self.smtp.host.is_none() => Some("smtp.host"),
                "webhook" if self.webhook.endpoint.is_none() => Some("webhook.endpoint"),
                _ => None,
            };
            if let Some(missing) = missing {
                faults.note(&[missing], format!("{missing}: not set, but {key} names {method}"));
            }
            if !transports.contains(&method.as_str()) {
                let known = transports.join(", ");
                faults.stray(format!("{key}: {method:?} is no method here; there are {known}"));
            }
        }
        faults.into_result()
    }

    pub(super) fn check_all(&self, faults: &mut Faults) {
        self.check_durations(faults);
        self.check_database(faults);
        self.worker.check(faults);
        self.check_final_reply(faults);
        check_methods(faults, self.worker.default_methods.as_deref());
        self.retry.check(faults, &retry_keys!("retry"));
        self.smtp.retry.check(faults, &retry_keys!("smtp.retry"));
        self.webhook.retry.check(faults, &retry_keys!("webhook.retry"));
        self.smtp.check(faults);
        self.webhook.check(faults);
        let links = [
            ("branding.logo_url", self.branding.logo_url.as_deref()),
            ("branding.base_url", Some(&*self.branding.base_url).filter(|url| !url.is_empty())),
        ];
        for (key, url) in links {
            let Some(url) = url else { continue };
            let line = format!("{key}: {url:?} is not a URL that starts with https:// or http://");
            faults.require(http_url(url), &[key], line);
        }
    }

    fn check_durations(&self, faults: &mut Faults) {
        let (worker, retention) = (&self.worker, &self.retention);
        let least = [
            ("database.connect_timeout", self.database.connect_timeout, PACE_MIN),
            ("database.statement_timeout", self.database.statement_timeout, PACE_MIN),
            ("worker.fetch_interval", worker.fetch_interval, PACE_MIN),
            ("worker.lease_period", worker.lease_period, PACE_MIN),
            ("worker.dispatch_timeout", worker.dispatch_timeout, PACE_MIN),
            ("worker.shutdown_timeout", worker.shutdown_timeout, PACE_MIN),
            ("worker.silent_interval", worker.silent_interval, PACE_MIN),
            ("retry.hold_max", worker.hold_max, HOLD_MIN),
            ("retention.sent", retention.sent, HISTORY_MIN),
            ("retention.failed", retention.failed, HISTORY_MIN),
            ("retention.attempts", retention.attempts, RETENTION_MIN),
        ];
        for (key, value, least) in least {
            at_least(faults, key, value, least);
        }
        if let Some(keep) = retention.dedupe {
            at_least(faults, "retention.dedupe", keep, DEDUPE_MIN);
        }
    }

    /// Whether a lease outlasts a delivery together with the wait for its last reply.
    fn check_final_reply(&self, faults: &mut Faults) {
        const KEY: &str = "smtp.final_reply_timeout";
        let Some(limit) = self.smtp.final_reply_timeout else { return };
        at_least(faults, KEY, limit, PACE_MIN);
        let WorkerConfig { dispatch_timeout, lease_period, .. } = self.worker;
        let longest = dispatch_timeout.saturating_add(limit);
        faults.require(
            leaves_time(longest, lease_period),
            &[KEY, "worker.dispatch_timeout", "worker.lease_period"],
            format!(
                "{KEY}: with worker.dispatch_timeout it makes {}, which is not less than \
                 worker.lease_period, {}, by at least a twentieth; raise worker.lease_period or lower one of them",
                duration::format(longest),
                duration::format(lease_period)
            ),
        );
    }

    fn check_database(&self, faults: &mut Faults) {
        within(faults, "database.pool_size", self.database.pool_size, 1, POOL_MAX);
        let strings = [
            ("database.url", &self.database.url),
            ("database.listen_url", &self.database.listen_url),
        ];
        for (key, string) in strings {
            if let Some(Err(problem)) = string.as_ref().map(database::check) {
                faults.note(&[key], format!("{key}: {problem}"));
            }
        }
        let database = &self.database;
        file(faults, "database.ca_file", database.ca_file.as_deref());
        file(faults, "database.cert_file", database.cert_file.as_deref());
        file(faults, "database.key_file", database.key_file.as_deref());
        faults.require(
            database.cert_file.is_some() == database.key_file.is_some(),
            &["database.cert_file", "database.key_file"],
            "database.cert_file and database.key_file belong together; set both or neither",
        );
    }
}

/// Whether a lease that held for the longest delivery lets its outcome be written in time.
fn leaves_time(longest: Duration, lease: Duration) -> bool {
    lease / 20 <= lease.saturating_sub(longest)
}

fn check_methods(faults: &mut Faults, methods: Option<&[String]>) {
    const KEY: &str = "worker.default_methods";
    for (at, method) in methods.into_iter().flatten().enumerate() {
        let earlier = methods.is_some_and(|methods| methods[..at].contains(method));
        let problem = if method == "inbox" {
            "is no default method; set inbox.enabled to add it to every notification"
        } else if !is_method_name(method) {
            "is not the name of a method; write lower-case letters, digits and _, such as smtp"
        } else if earlier {
            "is there twice; remove one"
        } else {
            continue;
        };
        faults.note(&[KEY], format!("{KEY}: {method:?} {problem}"));
    }
}

/// Whether a method may be called so, as `postrider.methods` has it.
fn is_method_name(name: &str) -> bool {
    let rest = |c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 63 && name.bytes().all(rest)
}

impl RetryConfig {
    fn check(&self, faults: &mut Faults, keys: &RetryKeys) {
        let &RetryKeys { schedule, initial, multiplier, max } = keys;
        for delay in self.schedule.iter().flatten() {
            at_least(faults, schedule, *delay, DELAY_MIN);
        }
        if let Some(delays) = &self.schedule {
            within(faults, schedule, delays.len(), 1, SCHEDULE_MAX);
        }
        for (key, delay) in [(initial, self.initial), (max, self.max)] {
            at_least(faults, key, delay.unwrap_or(DELAY_MIN), DELAY_MIN);
        }
        let factor = self.multiplier.unwrap_or(1.0);
        faults.require(
            (1.0..f64::INFINITY).contains(&factor),
            &[multiplier],
            format!("{multiplier}: {factor} is less than 1; write 1 or more"),
        );
        faults.require(
            self.schedule.is_none() || self.initial.is_none(),
            &[schedule, initial],
            format!("{schedule} and {initial} are both set; remove one"),
        );
        for (key, set) in [(multiplier, self.multiplier.is_some()), (max, self.max.is_some())] {
            faults.require(
                !set || self.initial.is_some(),
                &[key, initial],
                format!("{key} is set, but not {initial}, which it needs; set it or remove {key}"),
            );
        }
        if let (Some(first), Some(longest)) = (self.initial, self.max) {
            faults.require(
                first <= longest,
                &[initial, max],
                format!("{initial} is longer than {max}; lower it or raise {max}"),
            );
        }
    }
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
    faults: &mut Faults,
    key: &'static str,
    number: N,
    least: N,
    most: N,
) {
    let line = format!("{key}: {number} is out of range; write {least} to {most}");
    faults.require((least..=most).contains(&number), &[key], line);
}

fn at_least(faults: &mut Faults, key: &'static str, value: Duration, least: Duration) {
    let (shown, floor) = (duration::format(value), duration::format(least));
    let line = format!("{key}: {shown} is too short; write {floor} or more");
    faults.require(least <= value, &[key], line);
}

/// Whether a file that a setting names can be read.
pub(super) fn file(faults: &mut Faults, key: &'static str, path: Option<&Path>) {
    let Some(path) = path else { return };
    let problem = match File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => "is a directory".into(),
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    faults.note(&[key], format!("{key}: file {}: {problem}", path.display()));
}

pub(super) fn http_url(text: &str) -> bool {
    let http = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    Url::parse(text).is_ok_and(http)
}
