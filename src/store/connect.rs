//! Connections to PostgreSQL: how they are made, and what their errors mean.

use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use postgres::config::{Host, SslMode, SslNegotiation};
use postgres::error::SqlState;
use postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{StoreError, transaction};
use crate::config::{DatabaseConfig, DatabaseTls, Secret};

mod dial;
mod patience;
mod stream;
mod tls;

use dial::Dialer;

/// Limit of a statement of a migration, which may rewrite tables and wait for other ones.
pub(super) const MIGRATION_LIMIT: Duration = Duration::from_hours(1);

/// Settings of the acquiring and the committing connection: their statements must keep one plan
/// whatever the statistics say, and a plan is made once.
const HOT_SETTINGS: [(&str, &str); 6] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
];

/// Knows how to connect; connects again when asked.
#[derive(Clone)]
pub struct Connector {
    config: postgres::Config,
    /// `None` for Unix sockets, over which the client lets nobody but itself talk.
    dialer: Option<Dialer>,
    statement_timeout: Duration,
    /// By PgBouncer, which lends a session of the server for each transaction.
    bounced: bool,
}

impl Connector {
    /// For the database of `config`.
    ///
    /// # Errors
    ///
    /// If `database.url` is missing or cannot be parsed, or a certificate file cannot be used;
    /// the text never shows a password.
    pub fn new(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.url.as_ref().ok_or_else(|| {
            StoreError::Setting(
                "database.url is not set: set POSTRIDER_DATABASE_URL or --database-url".into(),
            )
        })?;
        Self::with_url(config, "database.url", url)
    }

    /// For LISTEN: the direct connection where one is configured; `None` if there is but PgBouncer,
    /// through which nothing is heard.
    ///
    /// # Errors
    ///
    /// As for [`Connector::new`].
    pub fn for_listening(config: &DatabaseConfig) -> Result<Option<Self>, StoreError> {
        let connector = match &config.listen_url {
            Some(url) => {
                let direct = Self::with_url(config, "database.listen_url", url)?;
                Self { bounced: false, ..direct }
            }
            None => Self::new(config)?,
        };
        Ok(connector.has_own_sessions().then_some(connector))
    }

    fn with_url(
        config: &DatabaseConfig,
        key: &'static str,
        url: &Secret,
    ) -> Result<Self, StoreError> {
        let mut parsed: postgres::Config = url
            .expose()
            .parse()
            .map_err(|_| StoreError::Setting(format!("{key} is no connection string")))?;
        parsed
            .connect_timeout(config.connect_timeout)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(20));
        if parsed.get_application_name().is_none() {
            parsed.application_name("postrider");
        }
        let dialer = dialer(config, &mut parsed).map_err(StoreError::Setting)?;
        let (statement_timeout, bounced) = (config.statement_timeout, config.pgbouncer);
        Ok(Self { config: parsed, dialer, statement_timeout, bounced })
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] mostly; [`StoreError::Refused`] for a wrong password or database.
    pub fn connect(&self) -> Result<Client, StoreError> {
        let client = guarded(|| match self.dialer.clone() {
            Some(dialer) => self.config.connect(dialer),
            None => self.config.connect(NoTls),
        })?;
        let mut client = client.map_err(|err| store_error(&err))?;
        if !self.bounced {
            let settings = format!(
                "{}; set statement_timeout = {}; set idle_in_transaction_session_timeout = '30s'",
                transaction::OF_SESSION,
                self.statement_timeout.as_millis()
            );
            client.batch_execute(&settings).map_err(|err| store_error(&err))?;
        }
        Ok(client)
    }

    /// Whether a connection is a session of the server for as long as it is open: what is set, prepared,
    /// locked or listened for in it stays.
    pub(super) fn has_own_sessions(&self) -> bool {
        !self.bounced
    }

    /// The parsed connection string.
    pub(super) fn config(&self) -> &postgres::Config {
        &self.config
    }

    /// A new connection whose statements may take their time, as those of a migration do.
    ///
    /// # Errors
    ///
    /// As for [`Connector::connect`].
    pub fn connect_for_migration(&self) -> Result<Client, StoreError> {
        let mut patient = self.clone();
        patient.statement_timeout = MIGRATION_LIMIT;
        if let Some(dialer) = &mut patient.dialer {
            dialer.answer = silence_max(MIGRATION_LIMIT);
        }
        patient.connect()
    }

    /// A new connection that hears what enqueues ring.
    ///
    /// # Errors
    ///
    /// As for [`Connector::connect`].
    pub fn listen(&self) -> Result<Client, StoreError> {
        let mut client = self.connect()?;
        client.batch_execute("listen postrider").map_err(|err| store_error(&err))?;
        Ok(client)
    }

    /// A new connection for the hot statements.
    ///
    /// # Errors
    ///
    /// As for [`Connector::connect`].
    pub fn connect_hot(&self) -> Result<Client, StoreError> {
        let mut client = self.connect()?;
        if !self.bounced {
            client.batch_execute(&hot_settings("set")).map_err(|err| store_error(&err))?;
        }
        Ok(client)
    }

    /// What makes a transaction of a session that is not ours as good as one of
    /// [`connect_hot`](Self::connect_hot).
    pub(super) fn local_settings(&self) -> String {
        let limit = self.statement_timeout.as_millis();
        let (path, hot) = (transaction::OF_TRANSACTION, hot_settings("set local"));
        format!("{path}; {hot}set local statement_timeout = {limit}")
    }
}

fn hot_settings(set: &str) -> String {
    HOT_SETTINGS.map(|(name, value)| format!("{set} {name} = {value};")).concat()
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Sets `parsed` so that the client hands its sockets to the dialer that is returned.
fn dialer(
    config: &DatabaseConfig,
    parsed: &mut postgres::Config,
) -> Result<Option<Dialer>, String> {
    let mode = config.tls.unwrap_or(match parsed.get_ssl_mode() {
        SslMode::Disable => DatabaseTls::Disable,
        SslMode::Require => DatabaseTls::Require,
        _ => DatabaseTls::Prefer,
    });
    let is_local = |host: &Host| matches!(host, Host::Unix(_));
    if parsed.get_hosts().iter().any(is_local) {
        // Nobody can listen in on a socket in the file system, so TLS is not asked for there.
        let lax = matches!(mode, DatabaseTls::Disable | DatabaseTls::Prefer);
        if !lax && !parsed.get_hosts().iter().all(is_local) {
            return Err("database.url names a socket beside a host that needs TLS; name one".into());
        }
        parsed.ssl_mode(SslMode::Disable);
        return Ok(None);
    }
    if parsed.get_hosts().is_empty() {
        let addresses: Vec<_> = parsed.get_hostaddrs().iter().map(ToString::to_string).collect();
        for address in addresses {
            parsed.host(&address);
        }
    }
    let direct = parsed.get_ssl_negotiation() == SslNegotiation::Direct;
    parsed.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    Ok(Some(Dialer {
        mode,
        direct,
        tls: MakeRustlsConnect::new(tls::client_config(config, mode)?),
        startup: config.connect_timeout,
        answer: silence_max(config.statement_timeout),
    }))
}

/// Calls the client, which panics where the system has no file descriptor or thread left for it. That
/// must cost one attempt to connect, not the thread that owns the connection.
fn guarded<T>(connect: impl FnOnce() -> T) -> Result<T, StoreError> {
    panic::catch_unwind(AssertUnwindSafe(connect)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref().copied()).unwrap_or("unknown");
        StoreError::Unavailable(format!(
            "the client cannot connect, most likely for want of file descriptors or memory: {text}"
        ))
    })
}

/// Longest wait for an answer: the server, which keeps the same limit, gets a little longer to
/// say that it was reached.
fn silence_max(statement_timeout: Duration) -> Duration {
    statement_timeout
        + (statement_timeout / 4).clamp(Duration::from_secs(1), Duration::from_secs(5))
}

/// What an error of the client means for the caller.
///
/// The text has the causes that `postgres::Error` leaves out, but not the DETAIL, which can
/// hold values of the row.
pub fn store_error(err: &postgres::Error) -> StoreError {
    let Some(db) = err.as_db_error() else {
        let text = match err.source() {
            Some(cause) => format!("{err}: {cause}"),
            None => err.to_string(),
        };
        return StoreError::Unavailable(text);
    };
    let (code, text) = (db.code().code().to_owned(), db.message().to_owned());
    match &code[..2] {
        // Out of resources; the statement was cancelled or took too long; somebody has a lock for too long.
        "53" => StoreError::Busy { code, text },
        _ if [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE].contains(db.code()) => {
            StoreError::Busy { code, text }
        }
        // Connection, rollback, operator intervention, system error.
        "08" | "40" | "57" | "58" => unavailable(&text, &code),
        _ if *db.code() == SqlState::READ_ONLY_SQL_TRANSACTION => unavailable(&text, &code),
        _ => StoreError::Refused { code, text },
    }
}

fn unavailable(text: &str, code: &str) -> StoreError {
    StoreError::Unavailable(format!("{text} (SQLSTATE {code})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_panics_is_a_database_that_is_not_available() {
        for text in ["Too many open files", "OS can't spawn worker thread"] {
            let outcome: Result<(), _> = guarded(|| panic!("{text}"));
            let Err(StoreError::Unavailable(why)) = outcome else { panic!("{outcome:?}") };
            assert!(why.contains(text), "{why}");
        }
        assert_eq!(guarded(|| 1), Ok(1));
    }
}
