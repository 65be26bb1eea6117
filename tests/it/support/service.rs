//! What an application and an operator do with a queue: templates, enqueues, and a look at what
//! became of them.

use std::time::Duration;

use postgres::Client;
use postrider::config::{AllowPrivate, Config, RetryConfig, Secret, SmtpTls};
use postrider::enqueue::{self, Enqueued, Notification};
use postrider::message::{MessageId, Recipient};
use postrider::sink::http::WebhookSink;
use postrider::sink::smtp::SmtpSink;
use postrider::store::admin::messages::{self, MessageDetail};
use postrider::store::admin::methods;
use postrider::store::admin::templates::{self, NewTemplate};

use super::{TestDb, database, wait_until};

/// Longest that a test waits for what must come, on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Methods of transports that tests make, which an enqueue may name before their worker runs.
const OWN_METHODS: [&str; 7] = ["count", "gate", "held", "lost", "near", "panicking", "pigeon"];

/// A database of its own, with a template named `hello`.
pub(crate) struct Service {
    pub(crate) db: TestDb,
    pub(crate) client: Client,
}

impl Service {
    pub(crate) fn new() -> Self {
        let db = database();
        let mut client = db.client();
        methods::add(&mut client, &OWN_METHODS).unwrap();
        let mut service = Self { db, client };
        service.template("hello", "Hello", "Number {{labels.n}}");
        service
    }

    /// Settings of a worker: 16 threads, an hour between the attempts, loopback allowed.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.database.url = Some(Secret::new(self.db.url()));
        config.worker.threads = 16;
        config.worker.in_flight_max = Some(64);
        config.webhook.allow_private = AllowPrivate::All;
        config.retry = schedule(&[Duration::from_hours(1); 3]);
        config
    }

    pub(crate) fn template(&mut self, name: &str, title: &str, body: &str) {
        let template = NewTemplate {
            name: name.into(),
            title: title.into(),
            body: body.into(),
            enabled_by_default: true,
            ..NewTemplate::default()
        };
        templates::set(&mut self.client, &template).unwrap();
    }

    /// Enqueues a notification of one message.
    #[track_caller]
    pub(crate) fn enqueue(&mut self, notification: &Notification) -> MessageId {
        let enqueued = enqueue::enqueue(&mut self.client, notification).unwrap();
        let Enqueued::Enqueued { messages, .. } = enqueued else { panic!("{enqueued:?}") };
        assert_eq!(messages.len(), 1);
        messages[0].0
    }

    pub(crate) fn message(&mut self, id: MessageId) -> MessageDetail {
        messages::show(&mut self.client, id.0).unwrap().expect("the message is there")
    }

    pub(crate) fn status(&mut self, id: MessageId) -> String {
        self.message(id).message.status
    }

    /// Waits until a message has this status.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, id: MessageId, status: &str) {
        wait_until(LIMIT, &format!("{id} is {status}"), || self.status(id) == status);
    }

    /// Messages of this status.
    pub(crate) fn count(&mut self, status: &str) -> i64 {
        let sql = "select count(*) from postrider.all_messages where status::text = $1";
        self.client.query_one(sql, &[&status]).unwrap().get(0)
    }

    /// Waits until so many messages have this status.
    #[track_caller]
    pub(crate) fn wait_count(&mut self, status: &str, count: i64) {
        wait_until(LIMIT, &format!("{count} are {status}"), || self.count(status) == count);
    }

    /// Waits until a worker has asked to be rung, and has then slept for `span`.
    #[track_caller]
    pub(crate) fn wait_idle(&mut self, span: Duration) {
        let sql = "select coalesce(max(armed_until)::text, '') from postrider.doorbell
                    where now() < armed_until";
        let mut last = (String::new(), std::time::Instant::now());
        wait_until(LIMIT, "the worker sleeps", || {
            let armed: String = self.client.query_one(sql, &[]).unwrap().get(0);
            if armed != last.0 {
                last = (armed, std::time::Instant::now());
            }
            !last.0.is_empty() && span <= last.1.elapsed()
        });
    }

    /// Whether an enqueue would ring.
    pub(crate) fn is_armed(&mut self) -> bool {
        let sql = "select exists (select from postrider.doorbell where now() < armed_until)";
        self.client.query_one(sql, &[]).unwrap().get(0)
    }

    /// Connections that workers hold to the database.
    pub(crate) fn connections(&mut self) -> i64 {
        let sql = "select count(*) from pg_stat_activity
                    where datname = current_database() and application_name = 'postrider'";
        self.client.query_one(sql, &[]).unwrap().get(0)
    }

    /// Lets the leases of all messages run out.
    pub(crate) fn expire_leases(&mut self) {
        let sql = "update postrider.messages set lease_until = now() - interval '1 second'
                    where claim <> 0";
        self.client.execute(sql, &[]).unwrap();
    }
}

/// Delays between attempts.
pub(crate) fn schedule(delays: &[Duration]) -> RetryConfig {
    RetryConfig { schedule: Some(delays.to_vec()), ..RetryConfig::default() }
}

/// Mail goes to this sink.
pub(crate) fn mail_to(config: &mut Config, sink: &SmtpSink) {
    config.smtp.host = Some("127.0.0.1".into());
    config.smtp.port = sink.addr().port();
    config.smtp.tls = Some(SmtpTls::None);
    config.smtp.from = Some("Postrider <post@example.com>".into());
}

/// Notification `n` by one method.
pub(crate) fn notification(n: usize, method: &str) -> Notification {
    let recipient = Recipient {
        id: "ada".into(),
        email: Some("ada@example.com".into()),
        ..Recipient::default()
    };
    Notification { methods: vec![method.into()], ..Notification::new("hello", recipient) }
        .with_label("n", n)
}

/// Notification `n` to the inbox.
pub(crate) fn to_inbox(n: usize) -> Notification {
    notification(n, "inbox")
}

/// Notification `n` to a path of a sink.
pub(crate) fn webhook(n: usize, sink: &WebhookSink, path: &str) -> Notification {
    Notification { endpoint: Some(sink.url(path)), ..notification(n, "webhook") }
}
