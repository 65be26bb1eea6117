//! What does an enqueue cost: one a transaction, many in one transaction, many in one call?
//!
//! One connection to a private PostgreSQL with its default durability, over loopback. `postrider bench --enqueue`
//! compares with a plain INSERT, and with many producers.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use postgres::{Client, NoTls};
use postrider::embedded::Postgres;
use postrider::enqueue::{Enqueuer, Notification, enqueue, enqueue_many};
use postrider::message::Recipient;
use postrider::store::admin::templates::{self, NewTemplate};
use postrider::store::migrate::migrate;

const SETTINGS: [(&str, &str); 3] =
    [("shared_buffers", "512MB"), ("max_wal_size", "4GB"), ("checkpoint_timeout", "15min")];
const TEMPLATE: &str = "Workspace Deleted";

fn notification(number: u64) -> Notification {
    let recipient = Recipient {
        id: format!("r{number}"),
        email: Some("ada@example.com".into()),
        name: Some("Ada Lovelace".into()),
        username: Some("ada".into()),
    };
    let mut notification = Notification::new(TEMPLATE, recipient)
        .with_label("name", "analytical-engine")
        .with_label("reason", "autodeleted due to dormancy")
        .with_label("initiator", "autobuild")
        .with_label("no", number.to_string());
    notification.methods = vec!["webhook".into()];
    notification
}

fn connect(server: &Postgres) -> Client {
    let mut client =
        Client::connect(&server.url("postgres"), NoTls).expect("the server takes connections");
    migrate(&mut client).expect("migrate");
    let template = NewTemplate {
        name: TEMPLATE.into(),
        title: "t".into(),
        body: "b".into(),
        enabled_by_default: true,
        ..NewTemplate::default()
    };
    templates::set(&mut client, &template).expect("set the template");
    client
}

fn enqueues(criterion: &mut Criterion) {
    let server = Postgres::temporary_with(&SETTINGS).expect("PostgreSQL starts");
    let mut client = connect(&server);
    let enqueuer = Enqueuer::prepare(&mut client).expect("prepare");
    let mut number = 0;
    // No two are the same, in whatever order criterion calls.
    let mut many = |count: u64| -> Vec<Notification> {
        number += count;
        (number - count..number).map(notification).collect()
    };
    let mut group = criterion.benchmark_group("enqueue");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    let mut measure = |name, way: &mut dyn FnMut(&mut Client, &[Notification])| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let notifications = many(count);
                timed(|| way(&mut client, &notifications))
            });
        });
    };
    measure("single", &mut |client, all| {
        for one in all {
            enqueue(client, one).expect("enqueue");
        }
    });
    measure("single, prepared", &mut |client, all| {
        for one in all {
            enqueuer.enqueue(client, one).expect("enqueue");
        }
    });
    measure("in one transaction, prepared", &mut |client, all| {
        let mut tx = client.transaction().expect("begin");
        for one in all {
            enqueuer.enqueue(&mut tx, one).expect("enqueue");
        }
        tx.commit().expect("commit");
    });
    measure("bulk", &mut |client, all| {
        enqueue_many(client, all).expect("enqueue");
    });
}

fn timed(act: impl FnOnce()) -> Duration {
    let began = Instant::now();
    act();
    began.elapsed()
}

criterion_group!(benches, enqueues);
criterion_main!(benches);
