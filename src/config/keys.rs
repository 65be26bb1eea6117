//! The one table of settings. Names in the file and in the environment, `config print`, the
//! table in the README and suggestions for a mistyped name all come from it.

use std::iter;

use super::value::{Given, Value};
use super::{Config, database, webhook};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Name in the file, such as `worker.threads`.
    pub name: &'static str,
    /// What its values are, such as `duration`.
    pub kind: &'static str,
    /// Default, as written in the file; words where it depends on other settings.
    pub default: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
    /// Whether its value may hold a secret, and so is never echoed.
    pub secret: bool,
    pub(super) set: fn(&mut Config, &Given) -> Result<(), String>,
    pub(super) get: fn(&Config) -> Option<toml::Value>,
}

impl Key {
    /// Name in the environment, such as `POSTRIDER_WORKER__THREADS`.
    pub fn env_name(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_uppercase().replace('.', "__"))
    }
}

/// Start of the names of our environment variables.
pub const ENV_PREFIX: &str = "POSTRIDER_";

/// A row: the field of [`Config`], which also is the name; the default; the help.
macro_rules! key {
    ($group:ident $(. $field:ident)+, $default:literal, $help:literal) => {
        Key {
            name: concat!(stringify!($group) $(, ".", stringify!($field))+),
            kind: kind_of(|config| &config.$group$(.$field)+),
            default: $default,
            help: $help,
            secret: is_secret(|config| &config.$group$(.$field)+),
            set: |config, given| {
                config.$group$(.$field)+ = Value::read(given)?;
                Ok(())
            },
            get: |config| config.$group$(.$field)+.show(),
        }
    };
}

const fn kind_of<T: Value>(_: fn(&Config) -> &T) -> &'static str {
    T::KIND
}

const fn is_secret<T: Value>(_: fn(&Config) -> &T) -> bool {
    T::SECRET
}

/// All settings, in the order of `config print`: those of a group together, a group before the
/// groups inside it.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    Key {
        get: |config| database::show(config.database.url.as_ref()),
        ..key!(database.url, "", "PostgreSQL: URL or key=value string (also POSTRIDER_DATABASE_URL)")
    },
    Key {
        get: |config| database::show(config.database.listen_url.as_ref()),
        ..key!(database.listen_url, "", "direct connection for LISTEN, when database.url goes through PgBouncer")
    },
    key!(database.pgbouncer, "false", "whether database.url goes through PgBouncer in transaction mode"),
    key!(database.bell, "auto", "whether an enqueue wakes idle workers by NOTIFY, which forbids PREPARE TRANSACTION: auto (where max_prepared_transactions is 0), on, off"),
    key!(database.pool_size, "4", "connections beside those of the worker's own threads"),
    key!(database.connect_timeout, "5s", "limit of one attempt to connect"),
    key!(database.statement_timeout, "30s", "limit of one statement; a server that is silent for longer is given up"),
    key!(database.tls, "as sslmode in the URL says, else prefer", "disable, prefer and require (no check of the server), verify-ca, verify-full"),
    key!(database.ca_file, "public authorities", "certificate authorities (PEM) that replace the public ones"),
    key!(database.cert_file, "", "client certificate (PEM)"),
    key!(database.key_file, "", "key of the client certificate (PEM)"),

    key!(worker.threads, "64", "delivery threads, the most deliveries at a time"),
    key!(worker.fetch_interval, "15s", "longest pause between two looks at the queue, plus up to 10 % jitter"),
    key!(worker.silent_interval, "500ms", "the same where no enqueue wakes the worker; see database.bell"),
    key!(worker.lease_period, "2m", "how long a worker may hold a message"),
    key!(worker.dispatch_timeout, "1m", "hard deadline of one delivery; less than worker.lease_period"),
    key!(worker.max_attempts, "one more than the schedule has delays", "attempts of a message that does not say otherwise"),
    key!(worker.in_flight_max, "derived from worker.threads", "messages held at a time, those waiting for a thread included"),
    key!(worker.memory_max, "256MiB", "memory for payloads under way; at least 64MiB"),
    key!(worker.lapses_max, "5", "leases of one message that may run out while it is delivered, before it ends"),
    key!(worker.threads_per_endpoint, "three quarters of worker.threads, from 16 on", "delivery threads that one webhook endpoint, or the mail relay, may take"),
    key!(worker.shutdown_timeout, "30s", "longest wait for deliveries under way when stopping"),
    key!(worker.default_methods, "smtp", "methods where neither template nor enqueue name any"),

    key!(retry.schedule, "by method", "delays after the first, second, ... failed attempt"),
    key!(retry.initial, "", "growing delays in place of a schedule: the first"),
    key!(retry.multiplier, "2", "growing delays: factor from one to the next"),
    key!(retry.max, "1h", "growing delays: the longest"),
    Key {
        name: "retry.hold_max",
        ..key!(worker.hold_max, "5d", "longest time that a message waits without an attempt before it ends: a destination down, a setting missing, a mail held")
    },

    key!(inbox.enabled, "true", "whether the inbox is added to the default methods"),

    key!(smtp.host, "", "relay; not set: e-mail is held"),
    key!(smtp.port, "587", "port of the relay"),
    key!(smtp.tls, "implicit on port 465, else required", "TLS: implicit, required (STARTTLS), opportunistic, none"),
    key!(smtp.from, "", "sender: Name <address>, or an address"),
    key!(smtp.bounces_to, "address of smtp.from", "address that bounces go to (envelope sender)"),
    key!(smtp.auth, "any", "how to authenticate: plain, login, xoauth2 (the password is an access token), or any that the relay offers, in this order"),
    key!(smtp.username, "", "user name; not set: no authentication"),
    key!(smtp.password, "", "password"),
    key!(smtp.password_file, "", "file that holds the password"),
    key!(smtp.hello, "name of the machine", "name to greet the relay with"),
    key!(smtp.ca_file, "public authorities", "certificate authorities (PEM) that replace the public ones"),
    key!(smtp.cert_file, "", "client certificate (PEM)"),
    key!(smtp.key_file, "", "key of the client certificate (PEM)"),
    key!(smtp.server_name, "smtp.host", "name that the relay's certificate must have"),
    key!(smtp.final_reply_timeout, "half of what the lease leaves", "longest wait for the reply to a whole mail, even past worker.dispatch_timeout; both together less than worker.lease_period"),
    key!(smtp.on_uncertain, "retry", "a mail that the relay may have taken: retry (it may arrive twice) or hold (an operator decides)"),
    key!(smtp.on_auth_failure, "pause", "mails while the relay refuses user name or password: pause (they wait, at no cost of an attempt) or fail"),
    key!(smtp.transient_replies, "", "texts of a refusal for good, without regard to case, that the relay means for now, such as quota of the hour"),
    key!(smtp.dkim.domain, "", "domain that signs the mails (DKIM); not set: no signature"),
    key!(smtp.dkim.selector, "", "name below _domainkey. where DNS has the public key"),
    key!(smtp.dkim.key_file, "", "private key (PEM): RSA of at least 2048 bits, or Ed25519"),
    key!(smtp.retry.schedule, "1m,5m,15m,1h,2h,4h,8h,12h,24h", "like retry.schedule, for e-mail"),
    key!(smtp.retry.initial, "", "like retry.initial, for e-mail"),
    key!(smtp.retry.multiplier, "2", "like retry.multiplier, for e-mail"),
    key!(smtp.retry.max, "1h", "like retry.max, for e-mail"),

    Key {
        secret: true,
        get: |config| webhook::show_endpoint(config.webhook.endpoint.as_deref()),
        ..key!(webhook.endpoint, "", "URL for messages that name none; not set: they are held")
    },
    key!(webhook.secret, "", "signing secret: whsec_... (HMAC) or whsk_... (Ed25519)"),
    key!(webhook.secret_file, "", "file that holds the signing secret"),
    key!(webhook.encryption_key, "", "key that endpoint secrets are stored under: 32 bytes in base64; not set: stored as they are"),
    key!(webhook.encryption_key_file, "", "file that holds that key"),
    key!(webhook.allow_private, "false", "private addresses that may be reached: true, false, or networks"),
    key!(webhook.ca_file, "", "certificate authorities (PEM) trusted beside the public ones"),
    key!(webhook.proxy, "", "proxy URL; the environment's proxy variables are never read"),
    key!(webhook.retry.schedule, "5s,5m,30m,2h,5h,10h,10h", "like retry.schedule, for webhooks"),
    key!(webhook.retry.initial, "", "like retry.initial, for webhooks"),
    key!(webhook.retry.multiplier, "2", "like retry.multiplier, for webhooks"),
    key!(webhook.retry.max, "1h", "like retry.max, for webhooks"),

    key!(branding.app_name, "Postrider", "name of the sending product"),
    key!(branding.logo_url, "", "logo for HTML mail"),
    key!(branding.base_url, "", "where the product's pages live"),

    key!(retention.sent, "7d", "how long sent messages are kept"),
    key!(retention.failed, "30d", "how long other finished messages are kept"),
    key!(retention.attempts, "30d", "how long the log of attempts is kept"),
    key!(retention.dedupe, "30d", "how long a dedupe key is remembered"),

    key!(log.format, "text", "form of a log line: text or json"),
    key!(log.level, "info", "error, warn, info, debug or trace"),
];

/// The setting of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The table of settings for the README.
pub fn markdown() -> String {
    let row = |key: &Key| {
        let (name, env, kind, help) = (key.name, key.env_name(), key.kind, key.help);
        let default = if key.default.is_empty() { "–" } else { key.default };
        format!("| `{name}` | `{env}` | {kind} | {default} | {help} |\n")
    };
    let head =
        "| Key | Environment | Kind | Default | Meaning |\n|---|---|---|---|---|\n".to_owned();
    iter::once(head).chain(KEYS.iter().map(row)).collect()
}

/// `; did you mean X?` for the candidate that a mistyped name is nearest to, or nothing.
pub(super) fn suggestion(name: &str, candidates: impl Iterator<Item = String>) -> String {
    let near = candidates
        .map(|candidate| (distance(name, &candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3);
    near.map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate}?"))
}

/// Levenshtein distance; a group that was left out (`threads`) counts one.
fn distance(from: &str, to: &str) -> usize {
    if to.strip_suffix(from).is_some_and(|group| group.ends_with(['.', '_'])) {
        return 1;
    }
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
