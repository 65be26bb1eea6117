//! What does a webhook cost, and do many threads at once get in each other's way?
//!
//! Deliveries to a sink on loopback from 1 and 64 threads, by one endpoint; and the parts of one
//! that need no connection: encoding and signing.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use postrider::config::{AllowPrivate, Secret, WebhookConfig};
use postrider::endpoint::Format;
use postrider::message::{Action, MailFields, MessageId, Prepared, Recipient};
use postrider::sink::http::{Reply, WebhookSink};
use postrider::transport::webhook::{Webhook, seams};
use postrider::transport::{Deadline, Transport};
use serde_json::json;
use uuid::Uuid;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const LIMIT: Duration = Duration::from_secs(30);

fn message(url: Option<String>) -> Prepared {
    Prepared {
        id: MessageId(Uuid::from_u128(1)),
        notification_id: Uuid::from_u128(2),
        template_id: Uuid::from_u128(3),
        template_name: "build-failed".into(),
        attempt: 1,
        recipient: Recipient { id: "42".into(), ..Recipient::default() },
        endpoint: url,
        endpoint_settings: None,
        title: "Build of **engine** failed".into(),
        body: "It stopped at *link*, after 12 minutes.\n\nThe last commit was by Ada.".repeat(4),
        actions: vec![Action { label: "Open".into(), url: "https://example.com/b/1".into() }],
        mail: MailFields::default(),
        targets: vec![Uuid::from_u128(4).to_string()],
        payload: json!({
            "_version": "1.2", "notification_name": "build-failed", "user_id": "42",
            "user_email": "ada@example.com", "user_name": "Ada", "user_username": "ada",
            "actions": [], "labels": {"project": "engine", "step": "link"}, "data": null,
            "targets": []
        })
        .into(),
        created_at: SystemTime::UNIX_EPOCH,
    }
}

/// Time that `threads` threads need for `count` deliveries.
fn deliver(webhook: &Webhook, message: &Prepared, threads: usize, count: u64) -> Duration {
    let taken = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while taken.fetch_add(1, Ordering::Relaxed) < count {
                    webhook.deliver(message, Deadline::after(LIMIT)).expect("the sink takes all");
                }
            });
        }
    });
    start.elapsed()
}

fn deliveries(criterion: &mut Criterion) {
    let sink = WebhookSink::start(|_| Reply::status(204)).expect("start the sink");
    let config = WebhookConfig {
        allow_private: AllowPrivate::All,
        secret: Some(Secret::new(SECRET)),
        ..WebhookConfig::default()
    };
    let webhook = Webhook::new(&config).expect("settings that work");
    let message = message(Some(sink.url("/")));
    let mut group = criterion.benchmark_group("webhook");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 64] {
        group.bench_function(BenchmarkId::new("deliver", threads), |bencher| {
            bencher.iter_custom(|count| deliver(&webhook, &message, threads, count));
        });
    }
}

fn parts(criterion: &mut Criterion) {
    let message = message(None);
    let mut group = criterion.benchmark_group("webhook");
    for format in [Format::Standard, Format::CloudEvents, Format::Slack] {
        group.bench_function(BenchmarkId::new("encode", format), |bencher| {
            bencher.iter(|| seams::encode(format, black_box(&message)));
        });
    }
    let body = seams::encode(Format::Standard, &message).expect("it can be encoded");
    let sign = seams::signer(SECRET).expect("a good secret");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("sign", |bencher| {
        bencher.iter(|| sign("01890a5d-ac96-774b-bcce-b302099a8057", 1_700_000_000, &body));
    });
}

criterion_group!(benches, deliveries, parts);
criterion_main!(benches);
