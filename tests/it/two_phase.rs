//! Two-phase commit: an application whose transactions are prepared can enqueue in them.

use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use postgres::Client;
use postrider::config::{AllowPrivate, Bell, Config, Secret};
use postrider::embedded::Postgres;
use postrider::enqueue::enqueue;
use postrider::sink::http::{Reply, WebhookSink};
use postrider::store::admin::templates;
use postrider::store::migrate::migrate;
use postrider::worker::{Tally, Worker};

use crate::rig::{LIMIT, template};
use crate::support::service::webhook;
use crate::support::{connect, wait_until};

const PREPARED: usize = 5;
/// A worker that found nothing for so long is at its longest pause, 500 ms.
const SETTLED: Duration = Duration::from_millis(1_700);

/// A server where transactions can be prepared, with a queue.
fn server() -> (Postgres, Client) {
    let settings = [("max_prepared_transactions", "5"), ("fsync", "off")];
    let server = Postgres::temporary_with(&settings).unwrap();
    let mut client = connect(&server.url("postgres"));
    migrate(&mut client).unwrap();
    templates::set(&mut client, &template("hello")).unwrap();
    (server, client)
}

fn config(server: &Postgres, bell: Bell) -> Config {
    let mut config = Config::default();
    config.database.url = Some(Secret::new(server.url("postgres")));
    config.database.bell = Some(bell);
    config.worker.threads = 2;
    config.webhook.allow_private = AllowPrivate::All;
    config
}

/// Waits until a worker asks to be rung.
fn wait_armed(client: &mut Client) {
    let sql = "select exists (select from postrider.doorbell where now() < armed_until)";
    wait_until(LIMIT, "a worker sleeps", || client.query_one(sql, &[]).unwrap().get(0));
}

#[test]
fn prepared_enqueues_commit_and_are_delivered_within_a_second_to_a_worker_that_sleeps() {
    let (server, mut client) = server();
    let (arrived_tx, arrived) = unbounded();
    let sink = WebhookSink::start(move |_| {
        arrived_tx.send(Instant::now()).unwrap();
        Reply::status(200)
    })
    .unwrap();
    let worker = Worker::new(config(&server, Bell::Auto)).unwrap().start().unwrap();
    wait_armed(&mut client);
    for n in 0..PREPARED {
        let mut tx = client.transaction().unwrap();
        enqueue(&mut tx, &webhook(n, &sink, "/")).unwrap();
        tx.batch_execute(&format!("prepare transaction 'order {n}'")).unwrap();
    }
    // What is enqueued meanwhile is ahead of them in the queue.
    enqueue(&mut client, &webhook(PREPARED, &sink, "/")).unwrap();
    arrived.recv_timeout(LIMIT).unwrap();
    let mut delays: Vec<Duration> = (0..PREPARED)
        .map(|n| {
            // By then the worker looks as seldom as it ever does.
            arrived.recv_timeout(SETTLED).expect_err("nothing is sent before its commit");
            client.batch_execute(&format!("commit prepared 'order {n}'")).unwrap();
            let committed = Instant::now();
            let at = arrived.recv_timeout(LIMIT).unwrap();
            at.saturating_duration_since(committed)
        })
        .collect();
    let sent = PREPARED + 1;
    assert_eq!(worker.stop().unwrap(), Tally { sent, ..Tally::default() });
    delays.sort_unstable();
    assert!(delays[PREPARED / 2] < Duration::from_secs(1), "{delays:?}");
    assert!(delays[PREPARED - 1] < Duration::from_secs(5), "{delays:?}");
}

#[test]
fn an_operator_who_says_so_has_a_bell_where_transactions_can_be_prepared() {
    let (server, mut client) = server();
    let sink = WebhookSink::start(|_| Reply::status(200)).unwrap();
    let worker = Worker::new(config(&server, Bell::On)).unwrap().start().unwrap();
    wait_armed(&mut client);
    let mut tx = client.transaction().unwrap();
    enqueue(&mut tx, &webhook(0, &sink, "/")).unwrap();
    let refused = tx.batch_execute("prepare transaction 'order'").unwrap_err();
    let text = refused.as_db_error().unwrap().message().to_owned();
    assert!(text.contains("NOTIFY"), "{text}");
    worker.stop().unwrap();
}
