//! Connections to PostgreSQL: how they are made, and what their errors mean.

use std::error::Error;
use std::time::Duration;

use postgres::error::SqlState;
use postgres::{Client, NoTls};

use super::StoreError;
use crate::config::{DatabaseConfig, Secret};

/// Limit of one statement.
const STATEMENT_TIMEOUT: &str = "30s";

/// Settings of the acquiring and the committing connection: their statements must keep one plan
/// whatever the statistics say, and a plan is made once.
const HOT_SETTINGS: &str = "set enable_seqscan = off; set enable_bitmapscan = off; \
    set enable_hashjoin = off; set enable_mergejoin = off; set plan_cache_mode = force_generic_plan; \
    set jit = off;";

/// Knows how to connect; connects again when asked.
#[derive(Debug, Clone)]
pub struct Connector {
    config: postgres::Config,
}

impl Connector {
    /// For the database of `config`.
    ///
    /// # Errors
    ///
    /// If `database.url` is missing or cannot be parsed; the text never shows its password.
    pub fn new(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.url.as_ref().ok_or_else(|| {
            StoreError::Setting(
                "database.url is not set: set POSTRIDER_DATABASE_URL or --database-url".into(),
            )
        })?;
        Self::with_url(config, "database.url", url)
    }

    /// For LISTEN: the direct connection where one is configured.
    ///
    /// # Errors
    ///
    /// As for [`Connector::new`].
    pub fn for_listening(config: &DatabaseConfig) -> Result<Self, StoreError> {
        match &config.listen_url {
            Some(url) => Self::with_url(config, "database.listen_url", url),
            None => Self::new(config),
        }
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
        Ok(Self { config: parsed })
    }

    /// The parsed connection string.
    pub(super) fn config(&self) -> &postgres::Config {
        &self.config
    }

    /// A new connection.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] mostly; [`StoreError::Refused`] for a wrong password or database.
    pub fn connect(&self) -> Result<Client, StoreError> {
        let mut client = self.config.connect(NoTls).map_err(|err| store_error(&err))?;
        let settings = format!(
            "set statement_timeout = '{STATEMENT_TIMEOUT}'; \
             set idle_in_transaction_session_timeout = '30s'"
        );
        client.batch_execute(&settings).map_err(|err| store_error(&err))?;
        Ok(client)
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
        client.batch_execute(HOT_SETTINGS).map_err(|err| store_error(&err))?;
        Ok(client)
    }
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
    let text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
    let code = db.code();
    match &code.code()[..2] {
        "22" | "23" => StoreError::Data(text),
        // Connection, resources, operator intervention, rollback, object not in the right state.
        "08" | "53" | "57" | "40" | "55" => StoreError::Unavailable(text),
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::Unavailable(text),
        _ => StoreError::Refused(text),
    }
}
