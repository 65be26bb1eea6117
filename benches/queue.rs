//! What does a message cost in the database, and does it depend on how many wait or are finished?
//!
//! Acquire, and acquire with commit, by batch, backlog and finished rows, on a private PostgreSQL with its
//! default durability. `POSTRIDER_BENCH_BACKLOGS`, `POSTRIDER_BENCH_BATCHES` and `POSTRIDER_BENCH_FINISHED`
//! choose the sizes; a million rows take about a minute to make, and 1.3 GB: `POSTRIDER_BENCH_BUFFERS` says how
//! much of them the server keeps in its memory.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use postgres::{Client, NoTls};
use postrider::config::{DatabaseConfig, Secret};
use postrider::embedded::Postgres;
use postrider::lease::{Lease, Settled};
use postrider::outcome::{Outcome, Receipt};
use postrider::store::connect::Connector;
use postrider::store::migrate::migrate;
use postrider::store::postgres::PgStore;
use postrider::store::{Room, Store};
use uuid::Uuid;

const FILL: &str = "insert into postrider.messages \
    (notification_id, template_id, method, recipient_id, payload, due_at) \
    select gen_random_uuid(), t.id, 'webhook', 'r' || g, jsonb_build_object('_version', '1.2', \
      'notification_name', t.name, 'user_name', 'Ada Lovelace', 'user_email', 'ada@example.com', \
      'labels', jsonb_build_object('name', 'analytical-engine', 'reason', 'autodeleted due to dormancy', \
      'initiator', 'autobuild', 'no', g), 'actions', '[]'::jsonb, 'data', null, 'targets', '[]'::jsonb), \
      clock_timestamp() \
    from generate_series(1, $1::bigint) g, postrider.templates t";

const FINISH: &str = "insert into postrider.history (id, notification_id, template_id, claim, created_at, outcome, \
    priority, attempt, method, recipient_id, created_by, targets, payload) \
    select postrider.uuid_v7_at(postrider.clock_ticks() - $1 + g), gen_random_uuid(), t.id, g, now(), 'sent', 0, 1, 'webhook', \
      'r' || g, '', '{}', jsonb_build_object('_version', '1.2', 'notification_name', t.name) \
    from generate_series(1, $1::bigint) g, postrider.templates t";

/// A database with a backlog, which is filled up again when it runs low.
struct Queue {
    client: Client,
    store: PgStore,
    backlog: usize,
    left: usize,
}

impl Queue {
    fn new(server: &Postgres, backlog: usize, finished: usize) -> Self {
        let name = format!("backlog_{backlog}_{finished}");
        let mut admin = Client::connect(&server.url("postgres"), NoTls).expect("server is up");
        admin.batch_execute(&format!("drop database if exists {name}")).expect("drop");
        admin.batch_execute(&format!("create database {name}")).expect("create");
        let url = server.url(&name);
        let mut client = Client::connect(&url, NoTls).expect("database is there");
        migrate(&mut client).expect("migrate");
        let template = "insert into postrider.templates (name, title, body) values ('t', 't', 'b')";
        client.batch_execute(template).expect("template");
        let finished = i64::try_from(finished).expect("a small number");
        client.execute(FINISH, &[&finished]).expect("finished rows");
        let config = DatabaseConfig { url: Some(Secret::new(url)), ..DatabaseConfig::default() };
        let connector = Connector::new(&config).expect("a good URL");
        let store = PgStore::new(
            connector,
            Uuid::new_v4(),
            Duration::from_mins(10),
            &["webhook".to_owned()],
        );
        let mut queue = Self { client, store, backlog, left: 0 };
        queue.fill();
        queue
    }

    fn fill(&mut self) {
        let count = i64::try_from(self.backlog - self.left).expect("a small number");
        self.client.execute(FILL, &[&count]).expect("fill");
        self.client.batch_execute("vacuum analyze postrider.messages").expect("vacuum");
        self.client.batch_execute("checkpoint").expect("checkpoint");
        self.left = self.backlog;
    }

    fn acquire(&mut self, batch: usize) -> (Vec<Lease>, Duration) {
        // A backlog that shrinks below a half would be another one.
        if self.left < (self.backlog / 2).max(batch) {
            self.fill();
        }
        let began = Instant::now();
        let leases = self.store.acquire(Room::of(batch), false).expect("acquire").leases;
        let took = began.elapsed();
        assert_eq!(leases.len(), batch, "the backlog is larger than a batch");
        self.left -= batch;
        (leases, took)
    }

    fn commit(&mut self, leases: Vec<Lease>) -> Duration {
        let sent = |lease: Lease| lease.settle(Instant::now(), Outcome::Sent(Receipt::default()));
        let settled: Vec<Settled> = leases.into_iter().map(sent).collect();
        let began = Instant::now();
        let written = self.store.commit(&settled).expect("commit");
        let took = began.elapsed();
        assert_eq!(written.len(), settled.len(), "no lease was lost");
        took
    }
}

fn sizes(variable: &str, default: &str) -> Vec<usize> {
    let text = std::env::var(variable).unwrap_or_else(|_| default.into());
    text.split(',').map(|size| size.trim().parse().expect("numbers with commas")).collect()
}

fn queue(criterion: &mut Criterion) {
    let buffers = std::env::var("POSTRIDER_BENCH_BUFFERS").unwrap_or_else(|_| "512MB".into());
    let settings = [
        ("shared_buffers", buffers.as_str()),
        ("max_wal_size", "4GB"),
        ("checkpoint_timeout", "15min"),
    ];
    let server = Postgres::temporary_with(&settings).expect("PostgreSQL starts");
    let finished = sizes("POSTRIDER_BENCH_FINISHED", "1000000");
    let cases =
        sizes("POSTRIDER_BENCH_BACKLOGS", "1000,100000,1000000").into_iter().map(|it| (it, 0));
    let finished = finished.into_iter().filter(|it| *it != 0).map(|it| (100_000, it));
    for (backlog, finished) in cases.chain(finished) {
        let mut queue = Queue::new(&server, backlog, finished);
        let size = if finished == 0 {
            backlog.to_string()
        } else {
            format!("{backlog}, {finished} finished")
        };
        for batch in sizes("POSTRIDER_BENCH_BATCHES", "1,20,100,500") {
            let mut group = criterion.benchmark_group(format!("batch {batch}"));
            group.throughput(Throughput::Elements(batch as u64)).sample_size(10);
            group.bench_function(BenchmarkId::new("acquire", &size), |bencher| {
                bencher.iter_custom(|iters| {
                    let once = |_| {
                        let (leases, took) = queue.acquire(batch);
                        queue.commit(leases);
                        took
                    };
                    (0..iters).map(once).sum()
                });
            });
            group.bench_function(BenchmarkId::new("acquire and commit", &size), |bencher| {
                bencher.iter_custom(|iters| {
                    let once = |_| {
                        let (leases, took) = queue.acquire(batch);
                        took + queue.commit(leases)
                    };
                    (0..iters).map(once).sum()
                });
            });
        }
    }
}

criterion_group!(benches, queue);
criterion_main!(benches);
