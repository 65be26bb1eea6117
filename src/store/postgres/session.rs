//! A connection and the hot statements on it.

use postgres::{Client, Row, Statement};

use crate::store::StoreError;
use crate::store::connect::Connector;
use crate::store::typed::{Param, typed};

/// The hot statements.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hot {
    Acquire,
    ReadMessage,
    Look,
    Arm,
    Disarm,
    Template,
    Endpoint,
    Commit,
    Locked,
}

/// Their texts, in the same order.
const SQL: [&str; 9] = [
    include_str!("../sql/acquire.sql"),
    include_str!("../sql/read_message.sql"),
    include_str!("../sql/look.sql"),
    include_str!("../sql/arm.sql"),
    include_str!("../sql/disarm.sql"),
    include_str!("../sql/template.sql"),
    include_str!("../sql/endpoint.sql"),
    include_str!("../sql/commit.sql"),
    include_str!("../sql/locked.sql"),
];

impl Hot {
    /// Whether it shall not wait for those who hold a lock for long.
    fn waits_briefly(self) -> bool {
        matches!(self, Self::Commit | Self::Locked)
    }
}

/// How long such a statement waits for a lock: longer than the statements of other workers hold one, so
/// what is met by chance costs no second try.
const BRIEFLY: &str = "lock_timeout = '100ms'";

/// A connection.
pub(super) struct Session {
    client: Client,
    statements: Statements,
    /// Its statements wait for locks only [`BRIEFLY`].
    brief: bool,
}

enum Statements {
    /// In the session, each before its first use, in the order of [`SQL`].
    Prepared([Option<Statement>; SQL.len()]),
    /// Not at all, for each transaction may be in another session, whose settings are these.
    Sent { settings: String },
}

impl Session {
    pub(super) fn open(connector: &Connector) -> Result<Self, StoreError> {
        let client = connector.connect_hot()?;
        let statements = if connector.has_own_sessions() {
            Statements::Prepared([const { None }; SQL.len()])
        } else {
            Statements::Sent { settings: connector.local_settings() }
        };
        Ok(Self { client, statements, brief: false })
    }

    pub(super) fn query(
        &mut self,
        hot: Hot,
        params: &[&dyn Param],
    ) -> Result<Vec<Row>, postgres::Error> {
        let (sql, params) = (SQL[hot as usize], typed(params));
        match &mut self.statements {
            Statements::Prepared(prepared) => {
                if hot.waits_briefly() && !self.brief {
                    self.client.batch_execute(&format!("set {BRIEFLY}"))?;
                    self.brief = true;
                }
                let values: Vec<_> = params.into_iter().map(|(value, _)| value).collect();
                let statement = match &mut prepared[hot as usize] {
                    Some(statement) => statement,
                    unprepared => unprepared.insert(self.client.prepare(sql)?),
                };
                self.client.query(&*statement, &values)
            }
            Statements::Sent { settings } => {
                let mut tx = self.client.transaction()?;
                tx.batch_execute(settings)?;
                if hot.waits_briefly() {
                    tx.batch_execute(&format!("set local {BRIEFLY}"))?;
                }
                let rows = tx.query_typed(sql, &params)?;
                tx.commit()?;
                Ok(rows)
            }
        }
    }
}
