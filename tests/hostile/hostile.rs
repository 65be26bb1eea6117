//! What is done to the queue by each role.

use fastrand::Rng;
use postgres::{Client, Error};

use crate::generator::Generator;
use crate::ground::Ground;
use crate::plan::Role;
use crate::session::Session;
use crate::{nobody, template, worker};

/// Somebody who means no good.
pub(crate) struct Hostile {
    role: Role,
    generator: Generator,
    urls: Vec<String>,
    session: Session,
    /// For messages that a worker may handle.
    enqueuer: Session,
    pub(crate) tally: Tally,
}

/// What came of the statements.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: u32,
    refused: u32,
}

impl Hostile {
    pub(crate) fn new(role: Role, ground: &Ground<'_>, seed: u64, urls: Vec<String>) -> Self {
        let own = match role {
            Role::Owner => ground.admin_url(),
            _ => ground.url(role.name()),
        };
        Self {
            role,
            generator: Generator::new(seed, urls.clone()),
            urls,
            session: Session::new(own),
            enqueuer: Session::new(ground.url("enqueue")),
            tally: Tally::default(),
        }
    }

    /// One statement.
    pub(crate) fn act(&mut self) {
        match self.role {
            Role::Owner => match self.rng().u8(..4) {
                0 => self.save("a template", |client, rng, _| template::save(client, rng)),
                1 => self.save("an endpoint", template::save_endpoint),
                _ => self.enqueue(),
            },
            Role::Enqueue => self.enqueue(),
            Role::Worker => {
                if self.rng().bool() {
                    return self.enqueue();
                }
                let sql = worker::statement(self.rng());
                let act = |client: &mut Client| client.batch_execute(&sql);
                // What the server takes for a large value of a table is its own affair.
                let result = if sql.starts_with("select") {
                    self.session.act(&sql, act)
                } else {
                    self.session.freely(act)
                };
                self.judge(&sql, true, result);
            }
            Role::Nobody => {
                let (sql, refused) = nobody::statement(&mut self.generator.rng);
                let result = self.session.act(&sql, |client| client.batch_execute(&sql));
                let code = result.err().map(|err| code(&sql, &err));
                let expected = if refused { Some("42501".to_owned()) } else { None };
                assert_eq!(code, expected, "{sql}");
                self.tally.refused += u32::from(refused);
                self.tally.done += u32::from(!refused);
            }
        }
    }

    /// Most KiB that a statement took.
    pub(crate) fn most(&self) -> i64 {
        self.session.most.max(self.enqueuer.most)
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.generator.rng
    }

    fn enqueue(&mut self) {
        let call = self.generator.call();
        let session =
            if self.role == Role::Worker { &mut self.enqueuer } else { &mut self.session };
        let result = session.call(&call);
        self.judge(&call.sql, false, result);
    }

    fn save(
        &mut self,
        what: &str,
        save: impl FnOnce(&mut Client, &mut Rng, &[String]) -> Result<u64, Error>,
    ) {
        let (rng, urls) = (&mut self.generator.rng, &self.urls);
        let result = self.session.act(what, |client| save(client, rng, urls));
        self.judge(what, true, result.map(drop));
    }

    /// A statement succeeds, or its error says that it is wrong. A `direct` one may break the rule
    /// of a table, or lack a right; an enqueue that gets there has a check too few.
    fn judge(&mut self, sql: &str, direct: bool, result: Result<(), Error>) {
        let Err(err) = result else {
            self.tally.done += 1;
            return;
        };
        self.tally.refused += 1;
        let code = code(sql, &err);
        let said = ["PR", "22", "54"].iter().any(|class| code.starts_with(class));
        let of_domain = err.as_db_error().is_some_and(|it| it.datatype().is_some());
        let of_table = code.starts_with("23") && (direct || of_domain);
        assert!(said || of_table || direct && code == "42501", "{err:?}: {sql:.4000}");
    }
}

#[track_caller]
fn code(sql: &str, err: &Error) -> String {
    match err.code() {
        Some(code) => code.code().to_owned(),
        None => panic!("{err:?}: {sql:.4000}"),
    }
}
