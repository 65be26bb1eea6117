//! The database under fault.

use std::net::SocketAddr;

use postgres::{Client, Config, NoTls};
use postrider::embedded::{EmbeddedError, Postgres};
use postrider::store::admin::templates::{self, NewTemplate};
use postrider::store::migrate::migrate;

/// Name of the template, of the role of the workers, and of the database.
pub(crate) const TEMPLATE: &str = "greeting";
const ROLE: &str = "worker";
const DATABASE: &str = "queue";
/// Few connections, so that they can run out.
const SETTINGS: [(&str, &str); 2] = [("fsync", "off"), ("max_connections", "60")];

/// A private server with the queue.
pub(crate) struct Database {
    server: Postgres,
}

impl Database {
    pub(crate) fn start() -> Self {
        let database = Self { server: Postgres::temporary_with(&SETTINGS).unwrap() };
        let mut admin = Client::connect(&database.server.url("postgres"), NoTls).unwrap();
        // Not a superuser, for whom connections are kept back.
        admin.batch_execute(&format!("create role {ROLE} login password '{ROLE}'")).unwrap();
        admin.batch_execute(&format!("alter role {ROLE} set lock_timeout = '1s'")).unwrap();
        admin.batch_execute(&format!("create database {DATABASE} owner {ROLE}")).unwrap();
        let mut client = database.as_worker().unwrap();
        migrate(&mut client).unwrap();
        let template = NewTemplate {
            name: TEMPLATE.into(),
            title: "Number {{labels.number}}".into(),
            body: "Hello {{user_name}}".into(),
            enabled_by_default: true,
            ..NewTemplate::default()
        };
        templates::set(&mut client, &template).unwrap();
        database
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let config: Config = self.server.url(DATABASE).parse().unwrap();
        SocketAddr::from(([127, 0, 0, 1], config.get_ports()[0]))
    }

    /// Connection string of a worker that goes by `proxy`.
    pub(crate) fn url_by(proxy: SocketAddr) -> String {
        format!("postgres://{ROLE}:{ROLE}@{proxy}/{DATABASE}")
    }

    /// Connection string of the superuser, past the proxy.
    pub(crate) fn admin_url(&self) -> String {
        self.server.url(DATABASE)
    }

    /// A connection of the superuser, past the proxy.
    pub(crate) fn admin(&self) -> Client {
        Client::connect(&self.admin_url(), NoTls).unwrap()
    }

    /// A connection like a worker's, past the proxy.
    pub(crate) fn as_worker(&self) -> Result<Client, postgres::Error> {
        Client::connect(&Self::url_by(self.address()), NoTls)
    }

    pub(crate) fn crash(&mut self) {
        self.server.crash().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        let started: Result<(), EmbeddedError> = self.server.start();
        started.unwrap();
    }

    /// Process ids of the sessions of workers.
    pub(crate) fn sessions(&self) -> Vec<u32> {
        let sql = format!("select pid from pg_stat_activity where {OF_WORKERS}");
        let rows = self.admin().query(&sql, &[]).unwrap();
        rows.iter().map(|row| u32::try_from(row.get::<_, i32>(0)).unwrap()).collect()
    }

    /// Calls a function such as `pg_terminate_backend` for each session of a worker.
    pub(crate) fn for_each_session(&self, function: &str) {
        let sql = format!("select {function}(pid) from pg_stat_activity where {OF_WORKERS}");
        self.admin().query(&sql, &[]).unwrap();
    }
}

const OF_WORKERS: &str = "usename = 'worker' and application_name = 'postrider'";
