//! Settings: what they are, their defaults, and the relations that must hold between them.
//!
//! [`Config::load`] reads them (flags over environment over file over defaults) and checks them
//! once; everything else gets the part it needs by reference. A setting is a field here and a
//! row in [`keys`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

mod check;
mod database;
pub mod duration;
mod error;
mod file;
pub mod keys;
mod load;
mod print;
mod secret;
mod size;
mod smtp;
mod value;
mod webhook;

#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use load::{Origin, Origins, Sources};
pub use secret::Secret;
pub use size::ByteSize;
pub use smtp::{DkimConfig, OnAuthFailure, OnUncertain, SmtpAuth, SmtpConfig, SmtpTls};
pub use webhook::{AllowPrivate, WebhookConfig};

/// Everything that an operator can set.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where the queue is.
    pub database: DatabaseConfig,
    /// How the worker is sized and paced.
    pub worker: WorkerConfig,
    /// When failed deliveries are tried again, for all methods.
    pub retry: RetryConfig,
    /// In-app inbox.
    pub inbox: InboxConfig,
    /// E-mail.
    pub smtp: SmtpConfig,
    /// Webhooks.
    pub webhook: WebhookConfig,
    /// What the helpers of a template say about the sender.
    pub branding: BrandingConfig,
    /// How long finished messages are kept.
    pub retention: RetentionConfig,
    /// Log lines.
    pub log: LogConfig,
    /// Where the settings that are not defaults came from.
    pub origins: Origins,
}

impl Config {
    /// How long the reply to an SMTP message is waited for, even past the dispatch timeout.
    ///
    /// Half of what a lease leaves, where not set: the rest is for messages that wait for a
    /// delivery thread.
    pub fn final_reply_timeout(&self) -> Duration {
        let WorkerConfig { dispatch_timeout, lease_period, .. } = self.worker;
        let spare = lease_period.saturating_sub(dispatch_timeout);
        self.smtp.final_reply_timeout.unwrap_or(spare / 2)
    }
}

/// `database.*`
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// URL or key=value connection string. It may hold a password, so it is a secret.
    pub url: Option<Secret>,
    /// A direct connection string for LISTEN, when `url` goes through PgBouncer.
    pub listen_url: Option<Secret>,
    /// `url` goes through PgBouncer in transaction mode: nothing is left in a session.
    pub pgbouncer: bool,
    /// Connections of everything but the acquiring, the committing and the listening thread.
    pub pool_size: u32,
    /// Limit of one attempt to connect: once for the socket, once for all until the login is done.
    pub connect_timeout: Duration,
    /// Limit of one statement, by the server; a little later the connection is given up.
    pub statement_timeout: Duration,
    /// Whether enqueues wake idle workers; `None`: as published in the database, at first `auto`.
    pub bell: Option<Bell>,
    /// `None`: as `sslmode` in the URL says, at first `prefer`.
    pub tls: Option<DatabaseTls>,
    /// Certificate authorities (PEM) that replace the public ones.
    pub ca_file: Option<PathBuf>,
    /// Client certificate (PEM).
    pub cert_file: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    pub key_file: Option<PathBuf>,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: None,
            listen_url: None,
            pgbouncer: false,
            pool_size: 4,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            bell: None,
            tls: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

/// How a connection to PostgreSQL is protected; the names are those of libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseTls {
    /// No TLS.
    Disable,
    /// TLS where the server offers it; nobody's certificate is checked.
    Prefer,
    /// TLS or no connection; the certificate is not checked.
    Require,
    /// The certificate must come from a known authority, for whatever name.
    VerifyCa,
    /// And it must be for the name of the host.
    VerifyFull,
}

/// `worker.*`
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Delivery threads, the most deliveries at a time.
    pub threads: usize,
    /// Longest pause between two looks at the queue.
    pub fetch_interval: Duration,
    /// How long a lease holds.
    pub lease_period: Duration,
    /// Hard deadline of one delivery; less than `lease_period`.
    pub dispatch_timeout: Duration,
    /// Attempts a message gets that does not say otherwise; `None`: one more than its schedule has delays.
    pub max_attempts: Option<u32>,
    /// Leases out at a time, prefetch included; `None`: derived from `threads`.
    pub in_flight_max: Option<usize>,
    /// Delivery threads that one endpoint or relay may take; `None`: three quarters of `threads`, or
    /// all if they are fewer than 16.
    pub threads_per_endpoint: Option<usize>,
    /// Limit of a drain.
    pub shutdown_timeout: Duration,
    /// Methods where template and enqueue name none; `None`: as published in the database, at first `["smtp"]`.
    pub default_methods: Option<Vec<String>>,
    /// Memory for payloads under way; at least 64 MiB.
    pub memory_max: ByteSize,
    /// Leases of one message that may run out while it is delivered alone.
    pub lapses_max: u32,
    /// Longest time that a message is put off without an attempt (`retry.hold_max`).
    pub hold_max: Duration,
    /// Longest pause between two looks at the queue where no enqueue rings.
    pub silent_interval: Duration,
}

/// `database.bell`: whether an enqueue wakes idle workers, by NOTIFY in its transaction.
///
/// PostgreSQL refuses to PREPARE a transaction that has notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bell {
    /// Where no transaction can be prepared (`max_prepared_transactions = 0`).
    Auto,
    /// Always.
    On,
    /// Never: idle workers look at the queue every `worker.silent_interval`.
    Off,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            threads: 64,
            fetch_interval: Duration::from_secs(15),
            lease_period: Duration::from_mins(2),
            dispatch_timeout: Duration::from_mins(1),
            max_attempts: None,
            in_flight_max: None,
            threads_per_endpoint: None,
            shutdown_timeout: Duration::from_secs(30),
            default_methods: None,
            memory_max: ByteSize(256 << 20),
            lapses_max: 5,
            hold_max: Duration::from_hours(5 * 24),
            silent_interval: Duration::from_millis(500),
        }
    }
}

impl fmt::Display for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// `retry.*`, `smtp.retry.*`, `webhook.retry.*`: either a schedule or an exponential rule.
///
/// Nothing set means the default schedule of the method.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RetryConfig {
    /// Delays after the first, second, ... failed attempt.
    pub schedule: Option<Vec<Duration>>,
    /// Exponential rule: first delay.
    pub initial: Option<Duration>,
    /// Exponential rule: factor from one delay to the next, at least 1; 2 where not set.
    pub multiplier: Option<f64>,
    /// Exponential rule: longest delay; 1 h where not set.
    pub max: Option<Duration>,
}

/// `inbox.*`
#[derive(Debug, Clone, Default)]
pub struct InboxConfig {
    /// Whether the inbox is added to the default methods; `None`: as published in the database, at first true.
    pub enabled: Option<bool>,
}

/// `branding.*`
#[derive(Debug, Clone)]
pub struct BrandingConfig {
    /// Name of the sending product, `Postrider` where not set.
    pub app_name: String,
    /// Logo for the HTML mail.
    pub logo_url: Option<String>,
    /// Where the product's pages live, without a slash at the end; empty where not set.
    pub base_url: String,
}

impl Default for BrandingConfig {
    fn default() -> Self {
        Self { app_name: "Postrider".into(), logo_url: None, base_url: String::new() }
    }
}

/// `retention.*`
#[derive(Debug, Clone, Copy)]
pub struct RetentionConfig {
    /// Sent messages, 7 days.
    pub sent: Duration,
    /// Finished messages that were not sent, 30 days.
    pub failed: Duration,
    /// Attempts, 30 days.
    pub attempts: Duration,
    /// Dedupe keys; `None`: as published in the database, at first 30 days.
    pub dedupe: Option<Duration>,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let days = |count: u64| Duration::from_hours(24 * count);
        Self { sent: days(7), failed: days(30), attempts: days(30), dedupe: None }
    }
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.*`
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Form of a line.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: log::LevelFilter,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: log::LevelFilter::Info }
    }
}
