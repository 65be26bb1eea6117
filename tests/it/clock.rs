//! A machine whose clock is wrong.

use std::time::Duration;

use postrider::clock::{Clock, Skew};
use postrider::config::{AllowPrivate, Config, Secret};
use postrider::enqueue::Notification;
use postrider::sink::http::{Reply, WebhookSink};
use postrider::store::upkeep::{Upkeep, WorkerInfo};
use postrider::worker::Worker;
use uuid::Uuid;

use crate::rig::{LIMIT, Rig, to_inbox};
use crate::support::wait_until;

/// Lets the database's clock be `by` ahead: another function has the name of the server's own.
fn shift(rig: &mut Rig, by: &str) {
    let sql = format!(
        "do $$ begin
            if to_regproc('pg_catalog.true_clock') is null then
                alter function pg_catalog.clock_timestamp() rename to true_clock;
            end if;
         end $$;
         create or replace function pg_catalog.clock_timestamp() returns timestamptz language sql as
            'select pg_catalog.true_clock() + interval ''{by}'''"
    );
    rig.client.batch_execute(&sql).unwrap();
}

#[test]
fn clocks_are_compared_with_the_database() {
    let mut rig = Rig::new();
    let measure = |rig: &Rig| {
        let clock = Clock::default();
        let worker = WorkerInfo { id: Uuid::new_v4(), host: "host".into() };
        Upkeep::new(rig.connector(), Config::default().retention).round(&worker, &clock, drop);
        clock.skew()
    };
    assert_eq!(measure(&rig), Skew::Fine);
    shift(&mut rig, "1 minute");
    let Skew::Noticeable(ahead_ms) = measure(&rig) else { panic!("a minute is noticeable") };
    assert!((-61_000..-50_000).contains(&ahead_ms), "{ahead_ms}");
    shift(&mut rig, "-3 minutes");
    assert!(matches!(measure(&rig), Skew::Off(170_000..)));
}

#[test]
fn signed_webhooks_wait_while_the_clock_is_minutes_off_and_spend_no_attempt() {
    let mut rig = Rig::new();
    shift(&mut rig, "3 minutes");
    let sink = WebhookSink::start(|_| Reply::status(200)).unwrap();
    let mut config = Config { database: rig.config(), ..Config::default() };
    config.webhook.endpoint = Some(sink.url("/hook"));
    config.webhook.allow_private = AllowPrivate::All;
    config.webhook.secret = Some(Secret::new(format!("whsec_{}", "A".repeat(32))));
    let id = rig.put(&Notification { methods: vec!["webhook".into()], ..to_inbox() });
    let running = Worker::new(config.clone()).unwrap().start().unwrap();
    wait_until(LIMIT, "the message waits", || rig.status(id) == "temporary_failure");
    running.stop().unwrap();
    let sql = "select last_error from postrider.messages";
    let reason: String = rig.client.query_one(sql, &[]).unwrap().get(0);
    assert!(reason.contains("clock is 1") && reason.contains("behind"), "{reason}");
    assert_eq!((rig.attempts(id), sink.arrivals().total()), (0, 0));

    shift(&mut rig, "0 minutes");
    rig.execute("update postrider.messages set due_at = now()", &[]);
    config.worker.fetch_interval = Duration::from_millis(100);
    let running = Worker::new(config).unwrap().start().unwrap();
    wait_until(LIMIT, "it is sent when the clock is right", || rig.status(id) == "sent");
    running.stop().unwrap();
}
