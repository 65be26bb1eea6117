//! A queue to test on: a database with a template, and short ways to fill it and to look at it.

use std::time::{Duration, Instant};

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postrider::config::{DatabaseConfig, Secret};
use postrider::enqueue::{Enqueued, Notification, enqueue_many};
use postrider::lease::{Lease, Settled};
use postrider::message::{Action, InboxEntry, MessageId, Recipient};
use postrider::outcome::{Outcome, Receipt};
use postrider::store::admin::templates::{self, NewTemplate};
use postrider::store::connect::Connector;
use postrider::store::postgres::PgStore;
use postrider::store::{Room, Store};
use uuid::Uuid;

use crate::support::{TestDb, database, wait_until};

/// Longest wait for what should happen at once, on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Longer than any test.
pub(crate) const LEASE: Duration = Duration::from_mins(10);
/// What its workers carry.
const METHODS: [&str; 3] = ["inbox", "smtp", "webhook"];
/// Name of the template that each rig has.
pub(crate) const TEMPLATE: &str = "greeting";

/// A database and a connection to it.
pub(crate) struct Rig {
    pub(crate) client: Client,
    pub(crate) db: TestDb,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let db = database();
        let mut rig = Self { client: db.client(), db };
        rig.set_template(&template(TEMPLATE));
        rig
    }

    pub(crate) fn set_template(&mut self, template: &NewTemplate) -> Uuid {
        templates::set(&mut self.client, template).unwrap().id
    }

    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig { url: Some(Secret::new(self.db.url())), ..DatabaseConfig::default() }
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector::new(&self.config()).unwrap()
    }

    /// The store of another worker.
    pub(crate) fn store(&self) -> PgStore {
        PgStore::new(self.connector(), Uuid::new_v4(), LEASE, &METHODS.map(str::to_owned))
    }

    /// Enqueues `count` messages that differ.
    pub(crate) fn fill(&mut self, count: usize) -> Vec<MessageId> {
        let notifications: Vec<_> = (0..count).map(|_| to_inbox()).collect();
        enqueue_many(&mut self.client, &notifications).unwrap().iter().map(only_id).collect()
    }

    /// Enqueues one message.
    pub(crate) fn put(&mut self, notification: &Notification) -> MessageId {
        only_id(&postrider::enqueue::enqueue(&mut self.client, notification).unwrap())
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> u64 {
        self.client.execute(sql, params).unwrap()
    }

    /// The number that a query yields.
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).unwrap().get(0)
    }

    /// Rows of a table or view of ours.
    pub(crate) fn count(&mut self, table: &str) -> i64 {
        self.number(&format!("select count(*) from postrider.{table}"))
    }

    /// Lets the leases out run out.
    pub(crate) fn expire_leases(&mut self) {
        let sql = "update postrider.messages set lease_until = now() - interval '1 second' \
                   where claim <> 0";
        self.execute(sql, &[]);
    }

    /// Leaves more dead rows than a VACUUM is worth its cost for, and waits until the server knows of them.
    pub(crate) fn leave_dead_rows(&mut self) {
        let sql = "insert into postrider.messages (notification_id, template_id, method, recipient_id, payload)
            select gen_random_uuid(), gen_random_uuid(), 'inbox', 'r', '{}' from generate_series(1, 21000)";
        let mut filler = self.db.client();
        filler.batch_execute(sql).unwrap();
        filler.batch_execute("delete from postrider.messages").unwrap();
        drop(filler); // The session hands in its figures at its end.
        let figures = "select n_dead_tup from pg_stat_user_tables
                        where schemaname = 'postrider' and relname = 'messages'";
        wait_until(LIMIT, "the figures are in", || 20_000 < self.number(figures));
    }

    pub(crate) fn status(&mut self, id: MessageId) -> String {
        let sql = "select status::text from postrider.all_messages where id = $1";
        self.client.query_one(sql, &[&id.0]).unwrap().get(0)
    }

    /// Attempts that were charged to a message.
    pub(crate) fn attempts(&mut self, id: MessageId) -> i32 {
        let sql = "select attempt from postrider.all_messages where id = $1";
        self.client.query_one(sql, &[&id.0]).unwrap().get(0)
    }

    /// All that the tables say of a message.
    pub(crate) fn picture(&mut self, id: MessageId) -> String {
        let sql = "select concat_ws(e'\\n',
            (select string_agg(to_jsonb(m)::text, ',') from postrider.messages m where id = $1),
            (select string_agg(to_jsonb(h)::text, ',') from postrider.history h where id = $1),
            (select string_agg(to_jsonb(a)::text, ',' order by claim)
               from postrider.attempts a where message_id = $1),
            (select string_agg(to_jsonb(i)::text, ',') from postrider.inbox i where id = $1))";
        self.client.query_one(sql, &[&id.0]).unwrap().get(0)
    }
}

/// How often the bell rings for what `act` commits.
pub(crate) fn rings(rig: &mut Rig, act: impl FnOnce(&mut Rig)) -> usize {
    let mut ear = rig.db.client();
    ear.batch_execute("listen postrider").unwrap();
    act(rig);
    // Notifications come in the order of their commits.
    rig.client.batch_execute("notify postrider, 'end'").unwrap();
    let mut heard = ear.notifications();
    let mut heard = heard.timeout_iter(LIMIT);
    let mut count = 0;
    while heard.next().unwrap().expect("the end is heard").payload() != "end" {
        count += 1;
    }
    count
}

/// Sessions of the client's database that wait for a lock.
pub(crate) fn waiting(client: &mut Client) -> i64 {
    let sql = "select count(*) from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'";
    client.query_one(sql, &[]).unwrap().get(0)
}

/// A template by this name for whoever did not turn it off.
pub(crate) fn template(name: &str) -> NewTemplate {
    NewTemplate {
        name: name.into(),
        title: "Hello".into(),
        body: "Hello {{user_name}}".into(),
        enabled_by_default: true,
        ..NewTemplate::default()
    }
}

pub(crate) fn ada() -> Recipient {
    Recipient {
        id: "ada".into(),
        email: Some("ada@example.com".into()),
        name: Some("Ada".into()),
        username: None,
    }
}

/// A notification by the inbox alone with a dedupe key.
pub(crate) fn keyed(key: &str) -> Notification {
    Notification { dedupe_key: Some(key.into()), ..to_inbox() }
}

/// Whether it is the answer to a duplicate.
pub(crate) fn is_duplicate(enqueued: &Enqueued) -> bool {
    matches!(enqueued, Enqueued::Duplicate { .. })
}

/// A notification by the inbox alone that is like no other.
pub(crate) fn to_inbox() -> Notification {
    let notification =
        Notification::new(TEMPLATE, ada()).with_label("no", Uuid::new_v4().to_string());
    Notification { methods: vec!["inbox".into()], ..notification }
}

/// The id of the one message of a notification.
pub(crate) fn only_id(enqueued: &Enqueued) -> MessageId {
    match enqueued {
        Enqueued::Enqueued { messages, .. } if messages.len() == 1 => messages[0].0,
        other => panic!("not one message: {other:?}"),
    }
}

pub(crate) fn ids(leases: &[Lease]) -> Vec<MessageId> {
    leases.iter().map(|lease| lease.key().id).collect()
}

/// Short ways to acquire.
pub(crate) trait Leases {
    /// Leases up to `limit` healthy messages.
    fn leases(&mut self, limit: usize, sweep: bool) -> Vec<Lease>;

    /// Leases all messages that are suspect, after a sweep that finds those whose lease ran out.
    fn suspects(&mut self) -> Vec<Lease>;
}

impl Leases for PgStore {
    fn leases(&mut self, limit: usize, sweep: bool) -> Vec<Lease> {
        self.acquire(Room::of(limit), sweep).unwrap().leases
    }

    fn suspects(&mut self) -> Vec<Lease> {
        assert!(self.leases(100, true).is_empty(), "no healthy message is due");
        std::iter::from_fn(|| self.acquire_suspect().unwrap()).collect()
    }
}

/// Acquires the one message that is due, healthy or suspect.
#[track_caller]
pub(crate) fn acquire_one(store: &mut PgStore) -> Lease {
    let mut leases = store.leases(10, true);
    leases.extend(store.acquire_suspect().unwrap());
    assert_eq!(leases.len(), 1, "one message must be due");
    leases.remove(0)
}

/// Ends leases alike.
pub(crate) fn settle(leases: Vec<Lease>, outcome: &Outcome) -> Vec<Settled> {
    leases.into_iter().map(|lease| lease.settle(Instant::now(), outcome.clone())).collect()
}

pub(crate) fn sent() -> Outcome {
    Outcome::Sent(Receipt::default())
}

/// Sent to the inbox.
pub(crate) fn boxed() -> Outcome {
    let actions = vec![Action { label: "Open".into(), url: "https://app.example.com/".into() }];
    let entry = InboxEntry { title: "Hello".into(), content: "Hello Ada".into(), actions };
    Outcome::Sent(Receipt { inbox: Some(entry), ..Receipt::default() })
}

pub(crate) fn deferred(delay: Duration) -> Outcome {
    Outcome::Deferred { delay, counted: true, code: "451".into(), reason: "try later".into() }
}

pub(crate) fn failed() -> Outcome {
    Outcome::Failed { counted: true, code: "550".into(), reason: "no such user".into() }
}

pub(crate) fn released() -> Outcome {
    Outcome::Released { delay: Duration::ZERO }
}
