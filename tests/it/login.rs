//! Logins of the test server: roles that are not the superuser who owns everything.

use postgres::Client;
use postrider::config::{DatabaseConfig, Secret};
use uuid::Uuid;

use crate::support::{TestDb, connect};

/// A login of one database, removed at the end with all that it owns there.
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) url: String,
    admin: Client,
}

impl Login {
    /// With no rights but those that everybody has.
    pub(crate) fn new(db: &TestDb) -> Self {
        let mut admin = db.client();
        let name = format!("login_{}", Uuid::new_v4().simple());
        admin.batch_execute(&format!("create role {name} login password 'x'")).unwrap();
        let url = db.url();
        let server = url.split_once('@').unwrap().1;
        let url = format!("postgres://{name}:x@{server}");
        Self { name, url, admin }
    }

    pub(crate) fn client(&self) -> Client {
        connect(&self.url)
    }

    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig { url: Some(Secret::new(self.url.clone())), ..DatabaseConfig::default() }
    }

    /// As the superuser, with `LOGIN` in `sql` for the name of this one.
    pub(crate) fn admin(&mut self, sql: &str) {
        self.admin.batch_execute(&sql.replace("LOGIN", &self.name)).unwrap();
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let sql = format!("drop owned by {0} cascade; drop role {0}", self.name);
        let _ = self.admin.batch_execute(&sql); // a failed test shall show its own panic
    }
}
