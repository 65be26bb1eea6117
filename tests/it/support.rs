//! What tests need: a database of their own, and waits with a limit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use postgres::{Client, NoTls};
use postrider::embedded::Postgres;
use postrider::store::migrate::migrate;

pub(crate) use crate::wait::wait_until;

pub(crate) mod process;
pub(crate) mod service;

/// Every database is a copy of this one.
const TEMPLATE: &str = "template_postrider";
/// A kill cannot harm data that nobody reads again.
const SETTINGS: [(&str, &str); 2] = [("fsync", "off"), ("max_connections", "300")];

/// Brings the template to the state in which each test finds its database.
fn fill_template(client: &mut Client) {
    migrate(client).unwrap();
    // Of the transports that tests bring along.
    let sql = "insert into postrider.methods (name) values ('count'), ('gate'), ('held'), ('lost'),
               ('near'), ('panicking'), ('pigeon'), ('talk')";
    client.batch_execute(sql).unwrap();
}

/// The server of this process. A static is never dropped: the server's watchdog ends it.
struct Shared {
    server: Postgres,
    /// Makes and drops databases, one at a time, as the template must have no other user.
    admin: Mutex<Client>,
    databases: AtomicU32,
}

impl Shared {
    fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        SHARED.get_or_init(|| {
            let server = Postgres::temporary_with(&SETTINGS).unwrap();
            let mut admin = connect(&server.url("postgres"));
            admin.batch_execute(&format!("create database {TEMPLATE}")).unwrap();
            fill_template(&mut connect(&server.url(TEMPLATE)));
            Self { server, admin: Mutex::new(admin), databases: AtomicU32::new(0) }
        })
    }

    fn admin(&self, statement: &str) -> Result<(), postgres::Error> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner).batch_execute(statement)
    }
}

/// A database of one test, dropped with this value.
pub(crate) struct TestDb {
    name: String,
}

/// Makes a database.
pub(crate) fn database() -> TestDb {
    database_with(&format!("template {TEMPLATE}"))
}

/// Makes one with these options.
pub(crate) fn database_with(options: &str) -> TestDb {
    let shared = Shared::get();
    let name = format!("test_{}", shared.databases.fetch_add(1, Ordering::Relaxed));
    shared.admin(&format!("create database {name} {options}")).unwrap();
    TestDb { name }
}

impl TestDb {
    /// Connection string.
    pub(crate) fn url(&self) -> String {
        Shared::get().server.url(&self.name)
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        connect(&self.url())
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let dropped = Shared::get().admin(&format!("drop database {} with (force)", self.name));
        // A failed test shall show its own panic.
        if !thread::panicking() {
            dropped.unwrap();
        }
    }
}

/// Connects, without TLS.
pub(crate) fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).unwrap()
}

#[test]
fn each_test_has_a_database_of_its_own_that_is_dropped_at_the_end() {
    let (one, other) = (database(), database());
    one.client().batch_execute("create table mine ()").unwrap();
    let query = "select count(*) from pg_class where relname = 'mine'";
    assert_eq!(one.client().query_one(query, &[]).unwrap().get::<_, i64>(0), 1);
    assert_eq!(other.client().query_one(query, &[]).unwrap().get::<_, i64>(0), 0);

    let (name, _still_open) = (one.name.clone(), one.client());
    drop(one);
    let query = "select count(*) from pg_database where datname = $1";
    assert_eq!(other.client().query_one(query, &[&name]).unwrap().get::<_, i64>(0), 0);
}
