//! What does an outcome's way from a delivery thread to the writer cost, and how many share one commit?
//!
//! Threads settle into a bounded channel; one thread takes what is there, as the writer does, up to a batch.

use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_channel::bounded;
use postrider::lease::{LeaseKey, Settled};
use postrider::message::MessageId;
use postrider::outcome::{Outcome, Receipt};
use uuid::Uuid;

/// As many as a worker of 64 threads may have out.
const CAPACITY: usize = 1024;
const BATCH: usize = 500;

fn settled(claim: u64) -> Settled {
    let now = Instant::now();
    Settled {
        key: LeaseKey { id: MessageId(Uuid::from_u128(claim.into())), claim: 1 },
        method: "webhook".into(),
        attempt: 1,
        template_version: Some(1),
        size: 500,
        destination: None,
        started: now,
        finished: now,
        outcome: Outcome::Sent(Receipt::default()),
    }
}

/// Time until `count` outcomes of `threads` threads have arrived.
fn pass(threads: u64, count: u64) -> Duration {
    let (sender, receiver) = bounded(CAPACITY);
    let began = Instant::now();
    thread::scope(|scope| {
        for nth in 0..threads {
            let sender = sender.clone();
            scope.spawn(move || {
                for number in (nth..count).step_by(usize::try_from(threads).expect("few threads")) {
                    sender.send(settled(number)).expect("the receiver waits for all");
                }
            });
        }
        drop(sender);
        let mut arrived = 0;
        while let Ok(first) = receiver.recv() {
            let batch: Vec<_> =
                [first].into_iter().chain(receiver.try_iter()).take(BATCH).collect();
            arrived += batch.len() as u64;
        }
        assert_eq!(arrived, count, "no outcome is lost");
    });
    began.elapsed()
}

fn channel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outcome channel");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 64] {
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            bencher.iter_custom(|count| pass(threads, count));
        });
    }
}

criterion_group!(benches, channel);
criterion_main!(benches);
