//! The life of a message, for real: PostgreSQL, a worker, and peers on loopback.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{bounded, unbounded};
use postgres::Client;
use postrider::config::Config;
use postrider::enqueue::{self, Notification};
use postrider::message::MessageId;
use postrider::sink::http::{Reply, Response, WebhookSink};
use postrider::store::admin::{self, Preference, inbox, templates};
use postrider::worker::{Running, Tally, Until, Worker};

use crate::support::service::{LIMIT, Service, notification, schedule, webhook};
use crate::support::{connect, wait_until};

mod isolation;
mod ownership;
mod refusals;
mod stopping;

pub(crate) fn start(config: Config) -> Running {
    Worker::new(config).unwrap().start().unwrap()
}

/// Delivers all that is due, and what becomes due soon.
fn deliver_all(config: Config) -> Tally {
    let until = Until::Empty(Duration::from_secs(10));
    let worker = Worker::new(config).unwrap().until(until).start().unwrap();
    wait_until(LIMIT, "all is delivered", || !worker.is_running());
    worker.stop().unwrap()
}

/// A sink that takes everything.
pub(crate) fn accepting() -> WebhookSink {
    WebhookSink::start(|_| Reply::status(200)).unwrap()
}

fn disable(service: &mut Service) {
    let (recipient_id, template) = ("ada".to_owned(), "hello".to_owned());
    let off = Preference { recipient_id, template, disabled: true };
    assert!(admin::set_preference(&mut service.client, &off).unwrap());
}

#[test]
fn an_idle_worker_delivers_within_50_ms_of_the_commit() {
    let mut service = Service::new();
    let (arrived_tx, arrived) = unbounded();
    let sink = WebhookSink::start(move |_| {
        arrived_tx.send(Instant::now()).unwrap();
        Reply::status(200)
    })
    .unwrap();
    assert_eq!(service.config().worker.fetch_interval, Duration::from_secs(15));
    let worker = start(service.config());
    let mut delays: Vec<Duration> = (0..20)
        .map(|n| {
            // Its next look of its own accord is then far enough away to be seen in the median.
            service.wait_idle(Duration::from_millis(120));
            let mut tx = service.client.transaction().unwrap();
            enqueue::enqueue(&mut tx, &webhook(n, &sink, "/")).unwrap();
            let before = Instant::now();
            tx.commit().unwrap();
            arrived.recv_timeout(LIMIT).unwrap() - before
        })
        .collect();
    assert_eq!(worker.stop().unwrap(), Tally { sent: 20, ..Tally::default() });
    delays.sort_unstable();
    assert!(delays[10] < Duration::from_millis(50), "{delays:?}");
    assert!(delays[19] < Duration::from_secs(3), "{delays:?}");
}

/// Transactions that the database has counted, once a session that ended has handed in its own.
fn transactions(observer: &mut Client, database: &str) -> i64 {
    let sql = "select xact_commit from pg_stat_database where datname = $1";
    observer.query_one(sql, &[&database]).unwrap().get(0)
}

#[test]
fn an_idle_worker_sends_a_statement_in_a_fetch_interval_and_no_more() {
    let service = Service::new();
    let url = service.db.url();
    let (server, database) = url.rsplit_once('/').unwrap();
    let mut observer = connect(&format!("{server}/postgres"));
    let mut config = service.config();
    config.worker.fetch_interval = Duration::from_millis(100);
    let interval = config.worker.fetch_interval;
    let before = transactions(&mut observer, database);
    let began = Instant::now();
    let worker = start(config);
    let sql = "select max(query_start)::text from pg_stat_activity
                where datname = $1 and application_name = 'postrider' and query like '%armed_until%'";
    let mut looks = HashSet::new();
    wait_until(LIMIT, "it has looked often", || {
        let at: Option<String> = observer.query_one(sql, &[&database]).unwrap().get(0);
        looks.extend(at);
        50 <= looks.len()
    });
    worker.stop().unwrap();
    let intervals = i64::try_from(began.elapsed().as_millis() / interval.as_millis()).unwrap();
    let sessions = "select count(*) from pg_stat_activity where datname = $1 and application_name = 'postrider'";
    wait_until(LIMIT, "its sessions have ended", || {
        observer.query_one(sessions, &[&database]).unwrap().get::<_, i64>(0) == 0
    });
    let sent = transactions(&mut observer, database) - before;
    // To connect, check and prepare; a first look at what upkeep there is; looks while the pauses grow.
    let start = 40;
    assert!((50..=start + intervals).contains(&sent), "{sent} statements in {intervals} intervals");
}

#[test]
fn what_was_rolled_back_is_never_delivered() {
    let (mut service, sink) = (Service::new(), accepting());
    let worker = start(service.config());
    let mut tx = service.client.transaction().unwrap();
    enqueue::enqueue(&mut tx, &webhook(1, &sink, "/")).unwrap();
    tx.rollback().unwrap();
    let kept = service.enqueue(&webhook(2, &sink, "/"));
    service.wait_for(kept, "sent");
    assert_eq!(worker.stop().unwrap(), Tally { sent: 1, ..Tally::default() });
    assert_eq!(sink.arrivals().total(), 1);
}

#[test]
fn a_webhook_that_fails_twice_is_sent_at_the_third_attempt_under_the_same_id() {
    let mut service = Service::new();
    let (arrived_tx, arrived) = unbounded();
    let sink = WebhookSink::start(move |_| {
        arrived_tx.send(Instant::now()).unwrap();
        Reply::status(if arrived_tx.len() < 3 { 500 } else { 200 })
    })
    .unwrap();
    let id = service.enqueue(&webhook(1, &sink, "/"));
    let mut config = service.config();
    let delays = [Duration::from_millis(150), Duration::from_millis(300)];
    config.retry = schedule(&delays);
    assert_eq!(deliver_all(config), Tally { sent: 1, deferred: 2, ..Tally::default() });

    let at: Vec<Instant> = arrived.try_iter().collect();
    assert_eq!((at.len(), sink.arrivals().count(id)), (3, 3));
    for (pause, delay) in at.windows(2).map(|it| it[1] - it[0]).zip(delays) {
        assert!(delay <= pause, "tried again after {pause:?}, before {delay:?} were over");
    }
    let log = service.message(id);
    assert_eq!((log.message.status.as_str(), log.message.attempt), ("sent", 3));
    let attempts: Vec<_> = log
        .attempts
        .iter()
        .map(|it| (it.attempt, it.outcome.as_str(), it.code.as_deref().unwrap()))
        .collect();
    let expected = [
        (1, "temporary_failure", "http_500"),
        (2, "temporary_failure", "http_500"),
        (3, "sent", "200"),
    ];
    assert_eq!(attempts, expected);
}

#[test]
fn a_message_whose_attempts_are_used_up_fails_for_good_and_says_so() {
    let mut service = Service::new();
    let sink = WebhookSink::start(|_| Reply::status(503)).unwrap();
    let twice = Notification { max_attempts: Some(2), ..webhook(1, &sink, "/") };
    let id = service.enqueue(&twice);
    let mut config = service.config();
    config.retry = schedule(&[Duration::from_millis(20)]);
    assert_eq!(deliver_all(config), Tally { deferred: 1, ended: 1, ..Tally::default() });
    let message = service.message(id).message;
    assert_eq!((message.status.as_str(), message.attempt), ("permanent_failure", 2));
    let reason = message.reason.unwrap();
    assert!(reason.starts_with("attempts exhausted (2): HTTP 503"), "{reason}");
}

#[test]
fn retry_after_raises_the_delay() {
    let mut service = Service::new();
    let (arrived_tx, arrived) = unbounded();
    let sink = WebhookSink::start(move |_| {
        arrived_tx.send(Instant::now()).unwrap();
        match arrived_tx.len() {
            1 => Response::new(429).header("retry-after", "1").into(),
            _ => Reply::status(200),
        }
    })
    .unwrap();
    let id = service.enqueue(&webhook(1, &sink, "/"));
    let mut config = service.config();
    config.retry = schedule(&[Duration::from_millis(10)]);
    assert_eq!(deliver_all(config).sent, 1);
    let at: Vec<Instant> = arrived.try_iter().collect();
    assert!(Duration::from_secs(1) <= at[1] - at[0], "{:?}", at[1] - at[0]);
    assert_eq!(service.message(id).attempts[0].code.as_deref(), Some("http_429"));
}

/// Applications tie the inbox to their users.
#[test]
fn c79_an_addressee_who_is_gone_costs_his_own_message_only() {
    let mut service = Service::new();
    let people = "create table people (id text primary key);
        insert into people select 'p' || n from generate_series(1, 5) n;
        alter table postrider.inbox add foreign key (recipient_id) references people";
    service.client.batch_execute(people).unwrap();
    let to = |n: usize| {
        let mut notification = notification(n, "inbox");
        notification.recipient.id = format!("p{n}");
        notification
    };
    let ids: Vec<MessageId> = (1..=5).map(|n| service.enqueue(&to(n))).collect();
    service.client.execute("delete from people where id = 'p2'", &[]).unwrap();
    let tally = deliver_all(service.config());
    assert_eq!(tally, Tally { sent: 4, ended: 1, refused: 1, ..Tally::default() });
    let statuses: Vec<String> = ids.iter().map(|id| service.status(*id)).collect();
    assert_eq!(statuses, ["sent", "permanent_failure", "sent", "sent", "sent"]);
}

#[test]
fn an_inbox_entry_is_there_once_and_with_the_outcome() {
    let mut service = Service::new();
    let ids: Vec<MessageId> = (0..50).map(|n| service.enqueue(&notification(n, "inbox"))).collect();
    let workers = [start(service.config()), start(service.config())];
    service.wait_count("sent", 50);
    let sent: usize = workers.map(|it| it.stop().unwrap().sent).iter().sum();
    assert_eq!(sent, 50);
    let entries = inbox::list(&mut service.client, "ada", true, 1000).unwrap();
    assert_eq!(entries.len(), 50);
    let first = entries.iter().find(|it| it.id == ids[0].0).unwrap();
    assert_eq!((first.title.as_str(), first.content.as_str()), ("Hello", "Number 0"));
}

#[test]
fn c64_a_preference_set_after_the_enqueue_inhibits() {
    let (mut service, sink) = (Service::new(), accepting());
    let id = service.enqueue(&webhook(1, &sink, "/"));
    disable(&mut service);
    assert_eq!(deliver_all(service.config()), Tally { ended: 1, ..Tally::default() });
    assert_eq!(service.status(id), "inhibited");
    assert_eq!(sink.arrivals().total(), 0);
}

#[test]
fn c64_a_preference_set_between_two_attempts_inhibits_the_second() {
    let mut service = Service::new();
    let sink = WebhookSink::start(|_| Reply::status(500)).unwrap();
    let id = service.enqueue(&webhook(1, &sink, "/"));
    let mut config = service.config();
    config.retry = schedule(&[Duration::from_millis(500)]);
    let worker = start(config);
    service.wait_for(id, "temporary_failure");
    disable(&mut service);
    service.wait_for(id, "inhibited");
    worker.stop().unwrap();
    assert_eq!(sink.arrivals().total(), 1);
}

#[test]
fn c64_a_template_deleted_after_the_enqueue_fails_its_messages_and_no_others() {
    let (mut service, sink) = (Service::new(), accepting());
    service.template("doomed", "Doomed", "Doomed");
    let doomed = Notification { template: "doomed".into(), ..webhook(1, &sink, "/") };
    let doomed = service.enqueue(&doomed);
    let fine = service.enqueue(&webhook(2, &sink, "/"));
    assert!(templates::delete(&mut service.client, "doomed").unwrap());
    let tally = deliver_all(service.config());
    assert_eq!(tally, Tally { sent: 1, ended: 1, ..Tally::default() });
    let message = service.message(doomed).message;
    assert_eq!(message.status, "permanent_failure");
    assert_eq!(message.code.as_deref(), Some("template_deleted"));
    assert_eq!(service.status(fine), "sent");
}

#[test]
fn an_edited_template_holds_for_the_messages_that_wait() {
    let mut service = Service::new();
    let worker = start(service.config());
    let before = service.enqueue(&notification(1, "inbox"));
    service.wait_for(before, "sent");
    service.template("hello", "Good day", "Number {{labels.n}}");
    let after = service.enqueue(&notification(2, "inbox"));
    service.wait_for(after, "sent");
    worker.stop().unwrap();
    let entries = inbox::list(&mut service.client, "ada", false, 10).unwrap();
    let title = |id: MessageId| &entries.iter().find(|it| it.id == id.0).unwrap().title;
    assert_eq!((title(before).as_str(), title(after).as_str()), ("Hello", "Good day"));
}

#[test]
fn a_message_that_is_not_delivered_in_time_expires() {
    let mut service = Service::new();
    let sink = WebhookSink::start(|_| Reply::status(500)).unwrap();
    let now = SystemTime::now();
    let over =
        Notification { expires_at: Some(now - Duration::from_secs(1)), ..webhook(1, &sink, "/") };
    let over = service.enqueue(&over);
    // The next attempt would come after it has expired, so there is nothing to wait for.
    let soon_over =
        Notification { expires_at: Some(now + Duration::from_mins(5)), ..webhook(2, &sink, "/") };
    let soon_over = service.enqueue(&soon_over);
    // The janitor may be the one to end the first.
    let tally = deliver_all(service.config());
    assert_eq!((tally.sent, tally.deferred), (0, 0));
    assert_eq!(
        (service.status(over), service.status(soon_over)),
        ("expired".into(), "expired".into())
    );
    assert_eq!((sink.arrivals().count(over), sink.arrivals().count(soon_over)), (0, 1));
}

#[test]
fn a_scheduled_message_is_delivered_on_time_by_a_worker_that_sleeps_longer() {
    let mut service = Service::new();
    let (arrived_tx, arrived) = unbounded();
    let sink = WebhookSink::start(move |_| {
        arrived_tx.send(SystemTime::now()).unwrap();
        Reply::status(200)
    })
    .unwrap();
    let worker = start(service.config());
    service.wait_idle(Duration::ZERO);
    let due = SystemTime::now() + Duration::from_millis(800);
    service.enqueue(&Notification { schedule_at: Some(due), ..webhook(1, &sink, "/") });
    let late =
        arrived.recv_timeout(LIMIT).unwrap().duration_since(due).expect("not before its time");
    assert!(late < Duration::from_secs(2), "{late:?} late");
    worker.stop().unwrap();
}

#[test]
fn an_urgent_message_goes_first() {
    let mut service = Service::new();
    let (arrived_tx, arrived) = unbounded();
    let sink = WebhookSink::start(move |request| {
        arrived_tx.send(request.path.to_owned()).unwrap();
        Reply::status(200)
    })
    .unwrap();
    for priority in [3, 1, 0, 2] {
        let path = format!("/{priority}");
        let message = Notification { priority, ..webhook(priority.into(), &sink, &path) };
        service.enqueue(&message);
    }
    let mut config = service.config();
    (config.worker.threads, config.worker.in_flight_max) = (1, Some(1));
    assert_eq!(deliver_all(config).sent, 4);
    assert_eq!(arrived.try_iter().collect::<Vec<_>>(), ["/0", "/1", "/2", "/3"]);
}

#[test]
fn c65_a_pause_holds_what_comes_and_a_resume_lets_it_go_at_once() {
    let (mut service, sink) = (Service::new(), accepting());
    let worker = start(service.config());
    service.wait_idle(Duration::ZERO);
    admin::set_paused(&mut service.client, true).unwrap();
    for n in 0..20 {
        service.enqueue(&webhook(n, &sink, "/"));
    }
    // It has looked, and looked again.
    service.wait_idle(Duration::from_millis(100));
    assert_eq!((sink.arrivals().total(), service.count("pending")), (0, 20));
    let resumed = Instant::now();
    admin::set_paused(&mut service.client, false).unwrap();
    service.wait_count("sent", 20);
    assert!(resumed.elapsed() < Duration::from_secs(5), "a tick later");
    assert_eq!(worker.stop().unwrap().sent, 20);
    assert_eq!((sink.arrivals().total(), sink.arrivals().duplicates()), (20, 0));
}

#[test]
fn a_worker_that_comes_before_its_database_is_ready_waits_for_the_schema_it_knows() {
    let service = Service::new();
    let mut config = service.config();
    config.database.url = Some(postrider::config::Secret::new(
        service.db.url().rsplit_once('/').unwrap().0.to_owned() + "/postgres",
    ));
    let (_stop, stopped) = bounded(0);
    let err = Worker::new(config).unwrap().run(stopped).unwrap_err().to_string();
    assert!(err.contains("run `postrider migrate`"), "{err}");
}

#[test]
fn messages_of_a_method_that_a_worker_does_not_carry_wait_for_one_that_does() {
    let mut service = Service::new();
    let pigeon = service.enqueue(&notification(1, "pigeon"));
    let inbox = service.enqueue(&notification(2, "inbox"));
    deliver_all(service.config());
    assert_eq!((service.status(pigeon), service.status(inbox)), ("pending".into(), "sent".into()));
}

#[test]
fn a_worker_keeps_its_transports_apart_from_the_stock_ones() {
    struct Pigeon;
    impl postrider::transport::Transport for Pigeon {
        fn deliver(
            &self,
            _: &postrider::message::Prepared,
            _: postrider::transport::Deadline,
        ) -> Result<postrider::outcome::Receipt, postrider::outcome::Failure> {
            Ok(postrider::outcome::Receipt::default())
        }
    }
    let mut service = Service::new();
    let id = service.enqueue(&notification(1, "pigeon"));
    let worker = Worker::new(service.config()).unwrap().with_transport("pigeon", Arc::new(Pigeon));
    let worker = worker.start().unwrap();
    wait_until(LIMIT, "the pigeon has arrived", || service.status(id) == "sent");
    worker.stop().unwrap();
}
