//! Settings: what they are, their defaults, and the relations that must hold between them.
//!
//! `load` reads them (flags over environment over file over defaults) and checks them
//! once; everything else gets the part it needs by reference.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
}

/// `database.*`
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// URL or key=value connection string. It may hold a password, so it is a secret.
    pub url: Option<Secret>,
    /// A direct connection string for LISTEN, when `url` goes through PgBouncer.
    pub listen_url: Option<Secret>,
    /// Connections of everything but the acquiring, the committing and the listening thread.
    pub pool_size: u32,
    /// Limit of one attempt to connect.
    pub connect_timeout: Duration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, listen_url: None, pool_size: 4, connect_timeout: Duration::from_secs(5) }
    }
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
    /// Limit of a drain.
    pub shutdown_timeout: Duration,
    /// Methods where template and enqueue name none; `None`: as published in the database, at first `["smtp"]`.
    pub default_methods: Option<Vec<String>>,
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
            shutdown_timeout: Duration::from_secs(30),
            default_methods: None,
        }
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

/// How an SMTP session is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS from the first octet (RFC 8314, 3.3).
    Implicit,
    /// STARTTLS or no delivery (RFC 3207).
    Required,
    /// STARTTLS where offered; credentials still never in clear.
    Opportunistic,
    /// No TLS.
    None,
}

/// `smtp.*`
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// Relay; `None`: e-mail is not set up, and its messages are held.
    pub host: Option<String>,
    /// 587 where not set.
    pub port: u16,
    /// `None`: implicit on port 465, else required.
    pub tls: Option<SmtpTls>,
    /// Sender, `Name <address>` or an address.
    pub from: Option<String>,
    /// User name; `None`: no authentication.
    pub username: Option<String>,
    /// Password, already read from `password_file` where that is set.
    pub password: Option<Secret>,
    /// Name for EHLO; `None`: the host's name, else an address literal.
    pub hello: Option<String>,
    /// Certificate authorities (PEM) that replace the public ones.
    pub ca_file: Option<PathBuf>,
    /// Client certificate (PEM).
    pub cert_file: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    pub key_file: Option<PathBuf>,
    /// Name that the relay's certificate must have; `None`: `host`.
    pub server_name: Option<String>,
    /// Overrides `retry` for e-mail.
    pub retry: RetryConfig,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: 587,
            tls: None,
            from: None,
            username: None,
            password: None,
            hello: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name: None,
            retry: RetryConfig::default(),
        }
    }
}

impl SmtpConfig {
    /// The mode in force: implicit on port 465 and required elsewhere, unless set.
    pub fn tls_mode(&self) -> SmtpTls {
        self.tls.unwrap_or(if self.port == 465 { SmtpTls::Implicit } else { SmtpTls::Required })
    }
}

/// Which private addresses a webhook may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowPrivate {
    /// None: only public addresses.
    #[default]
    No,
    /// Any address.
    All,
    /// Those within these networks, written `10.1.0.0/16` or `fd00::/8`.
    Networks(Vec<String>),
}

/// `webhook.*`
#[derive(Debug, Clone, Default)]
pub struct WebhookConfig {
    /// URL for messages that name no endpoint; `None`: such messages are held.
    pub endpoint: Option<String>,
    /// Signing secret, `whsec_...` or `whsk_...`, already read from `secret_file` where that is set.
    pub secret: Option<Secret>,
    /// Private addresses that may be reached.
    pub allow_private: AllowPrivate,
    /// Certificate authorities (PEM) trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// Proxy URL; proxy variables of the environment are never read.
    pub proxy: Option<Secret>,
    /// Overrides `retry` for webhooks.
    pub retry: RetryConfig,
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
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let days = |count: u64| Duration::from_hours(24 * count);
        Self { sent: days(7), failed: days(30), attempts: days(30) }
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

/// Text that must not be shown. `Debug` prints a placeholder; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
