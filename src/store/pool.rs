//! Connections of everything but the acquiring, the committing and the listening thread.

use std::time::Duration;

use postgres::{Client, NoTls};
use r2d2::{HandleError, ManageConnection};
use r2d2_postgres::PostgresConnectionManager;

use super::StoreError;
use super::connect::{Connector, store_error};
use crate::config::DatabaseConfig;

/// Limit of the check that a pooled connection still works. A shorter one than that
/// of a statement, for a new connection is quickly made.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// A few connections, made when they are needed.
#[derive(Clone)]
pub struct Pool {
    connections: r2d2::Pool<Manager>,
}

/// A connection that goes back to its pool.
pub type Pooled = r2d2::PooledConnection<Manager>;

/// Connects as [`Connector`] does, and checks within a limit; for the rest the stock manager.
pub struct Manager {
    connector: Connector,
    stock: PostgresConnectionManager<NoTls>,
}

impl Pool {
    /// Of `database.pool_size` connections, none of which is made yet.
    ///
    /// # Errors
    ///
    /// As for [`Connector::new`].
    pub fn new(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let connector = Connector::new(config)?;
        let stock = PostgresConnectionManager::new(connector.config().clone(), NoTls);
        let connections = r2d2::Pool::builder()
            .max_size(config.pool_size)
            .min_idle(Some(0))
            .connection_timeout(config.connect_timeout)
            .error_handler(Box::new(Quiet))
            .build_unchecked(Manager { connector, stock });
        Ok(Self { connections })
    }

    /// A connection that works, within `database.connect_timeout`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub fn get(&self) -> Result<Pooled, StoreError> {
        self.connections.get().map_err(|err| StoreError::Unavailable(err.to_string()))
    }
}

impl ManageConnection for Manager {
    type Connection = Client;
    type Error = StoreError;

    fn connect(&self) -> Result<Client, StoreError> {
        self.connector.connect()
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), StoreError> {
        client.is_valid(CHECK_LIMIT).map_err(|err| store_error(&err))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        self.stock.has_broken(client)
    }
}

/// The error reaches the caller of [`Pool::get`], with its cause; the stock handler would log
/// it at each try besides.
#[derive(Debug)]
struct Quiet;

impl HandleError<StoreError> for Quiet {
    fn handle_error(&self, err: StoreError) {
        log::debug!("pooled connection: {err}");
    }
}
