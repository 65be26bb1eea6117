//! How a worker ends: nothing of it is left behind, and nothing that it had begun is lost.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use postrider::config::Secret;
use postrider::message::Prepared;
use postrider::outcome::{Failure, Receipt};
use postrider::transport::{Deadline, Transport};
use postrider::worker::{Tally, Worker, WorkerError};

use super::start;
use crate::support::service::{LIMIT, Service, notification};
use crate::support::wait_until;

/// Takes the first messages at once; the others wait until the gate is disconnected.
struct Gate {
    prompt: usize,
    begun: AtomicUsize,
    closed: Receiver<Infallible>,
}

impl Transport for Gate {
    fn deliver(&self, _: &Prepared, deadline: Deadline) -> Result<Receipt, Failure> {
        if self.prompt <= self.begun.fetch_add(1, Ordering::SeqCst) {
            let _ = self.closed.recv_timeout(deadline.remaining().unwrap()); // as said above
        }
        Ok(Receipt::default())
    }
}

fn fill(service: &mut Service, count: usize) {
    let notifications: Vec<_> = (0..count).map(|n| notification(n, "gate")).collect();
    postrider::enqueue::enqueue_many(&mut service.client, &notifications).unwrap();
}

fn leases(service: &mut Service) -> i64 {
    service.count("leased")
}

#[test]
fn a_worker_that_was_stopped_leaves_no_lease_no_connection_and_no_thread() {
    let mut service = Service::new();
    fill(&mut service, 100);
    let (_gate, closed) = bounded(0);
    let transport = Arc::new(Gate { prompt: 1000, begun: AtomicUsize::new(0), closed });
    let worker = Worker::new(service.config()).unwrap().with_transport("gate", transport.clone());
    let out = worker.leases_out();
    let worker = worker.start().unwrap();
    service.wait_count("sent", 100);
    // The two hot ones, the listener's, and those of the pool.
    wait_until(LIMIT, "the listener and the janitor have come", || 4 <= service.connections());
    assert!(worker.is_running());
    assert_eq!(worker.stop().unwrap(), Tally { sent: 100, ..Tally::default() });
    assert_eq!((out.get(), leases(&mut service)), (0, 0));
    // The server takes a moment to see a connection closed, a pool thread to end.
    wait_until(LIMIT, "all connections are closed", || service.connections() == 0);
    wait_until(LIMIT, "no thread holds the transport", || Arc::strong_count(&transport) == 1);
    assert!(!service.is_armed());
    let sql = "select count(*) from postrider.workers";
    assert_eq!(service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 0);
}

#[test]
fn a_worker_that_is_dropped_stops_too() {
    let mut service = Service::new();
    let worker = start(service.config());
    wait_until(LIMIT, "the worker is there", || 3 <= service.connections());
    drop(worker);
    wait_until(LIMIT, "all connections are closed", || service.connections() == 0);
}

#[test]
fn a_worker_that_is_stopped_at_once_stops_at_once() {
    let mut service = Service::new();
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(start(service.config()).stop().unwrap(), Tally::default());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    assert_eq!(leases(&mut service), 0);
}

#[test]
fn stop_gives_back_what_is_not_begun_and_records_what_is_under_way() {
    let mut service = Service::new();
    fill(&mut service, 300);
    let (gate, closed) = bounded(0);
    let transport = Arc::new(Gate { prompt: 200, begun: AtomicUsize::new(0), closed });
    let mut config = service.config();
    config.worker.threads = 4;
    let worker = Worker::new(config).unwrap().with_transport("gate", transport.clone());
    let worker = worker.start().unwrap();
    wait_until(LIMIT, "leases wait behind busy threads", || {
        service.count("sent") == 200 && 4 < leases(&mut service)
    });
    let stopping = std::thread::spawn(move || worker.stop());
    wait_until(LIMIT, "what waits is given back", || leases(&mut service) == 4);
    assert!(!stopping.is_finished(), "deliveries are under way");
    drop(gate);
    let tally = stopping.join().unwrap().unwrap();
    assert_eq!((tally.sent, tally.deferred, tally.ended, tally.lost), (204, 0, 0, 0));
    assert!(0 < tally.released);
    assert_eq!(transport.begun.load(Ordering::SeqCst), 204);
    let sql = "select count(*) from postrider.messages where attempt = 0 and claim = 0";
    assert_eq!(service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 96);
}

#[test]
fn a_drain_that_takes_too_long_says_what_it_leaves() {
    let mut service = Service::new();
    fill(&mut service, 2);
    let (gate, closed) = bounded(0);
    let transport = Arc::new(Gate { prompt: 0, begun: AtomicUsize::new(0), closed });
    let mut config = service.config();
    config.worker.shutdown_timeout = Duration::from_millis(100);
    let worker = Worker::new(config).unwrap().with_transport("gate", transport.clone());
    let worker = worker.start().unwrap();
    wait_until(LIMIT, "both are under way", || transport.begun.load(Ordering::SeqCst) == 2);
    let err = worker.stop().unwrap_err();
    assert!(matches!(err, WorkerError::Shutdown { leases: 2, .. }), "{err}");
    assert_eq!(leases(&mut service), 2);
    drop(gate);
    wait_until(LIMIT, "no thread holds the transport", || Arc::strong_count(&transport) == 1);
}

#[test]
fn a_worker_without_a_database_does_not_start_and_says_why() {
    let service = Service::new();
    let mut config = service.config();
    config.database.url = Some(Secret::new("postgres://127.0.0.1:1/nowhere"));
    let err = Worker::new(config).unwrap().start().err().expect("it must not start").to_string();
    assert!(err.starts_with("database is not available"), "{err}");
}

#[test]
fn a_worker_that_waits_for_its_database_can_be_stopped() {
    let service = Service::new();
    let mut config = service.config();
    config.database.url = Some(Secret::new("postgres://127.0.0.1:1/nowhere"));
    let (stop, stopped) = bounded::<Infallible>(0);
    drop(stop);
    let began = Instant::now();
    let tally = Worker::new(config).unwrap().run(stopped).unwrap();
    assert_eq!(tally, Tally::default());
    assert!(began.elapsed() < Duration::from_secs(5));
}
