//! A lease has one owner: what two workers may and may not do to one queue.

use std::convert::Infallible;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use postrider::enqueue;
use postrider::message::{MessageId, Prepared};
use postrider::outcome::{Failure, Receipt};
use postrider::transport::{Deadline, Transport};
use postrider::worker::{Running, Tally, Until, Worker};

use super::accepting;
use crate::support::service::{LIMIT, Service, notification, webhook};

/// What a delivery comes to.
type Answer = Result<Receipt, Failure>;

/// Answers once its gate is opened, by disconnection.
struct Held {
    begun: Sender<()>,
    gate: Receiver<Infallible>,
    answer: Answer,
}

impl Transport for Held {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Answer {
        self.begun.send(()).unwrap();
        let _ = self.gate.recv_timeout(LIMIT); // ends by disconnection
        self.answer.clone()
    }
}

/// Says what it is told to.
struct Prompt(Answer);

impl Transport for Prompt {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Answer {
        self.0.clone()
    }
}

/// A worker in the middle of a delivery.
struct Late {
    worker: Running,
    gate: Sender<Infallible>,
}

fn begin(service: &Service, answer: Answer) -> Late {
    let (gate, closed) = bounded(0);
    let (begun, delivers) = unbounded();
    let transport = Held { begun, gate: closed, answer };
    let mut config = service.config();
    // Busy, so that it is not the one that takes over from itself.
    (config.worker.threads, config.worker.in_flight_max) = (1, Some(1));
    let worker = Worker::new(config).unwrap();
    let worker = worker.with_transport("held", Arc::new(transport)).start().unwrap();
    delivers.recv_timeout(LIMIT).expect("the delivery begins");
    Late { worker, gate }
}

/// Another worker takes over what has lapsed, and records `answer`.
fn take_over(service: &mut Service, answer: Answer) -> Tally {
    service.expire_leases();
    let (_stop, stopped) = bounded(0);
    let worker = Worker::new(service.config()).unwrap().until(Until::Once);
    worker.with_transport("held", Arc::new(Prompt(answer))).run(stopped).unwrap()
}

/// One worker is late with `late`, another has recorded `recorded` meanwhile; the message must
/// have, and keep, `status`.
#[track_caller]
fn check(recorded: Answer, late: Answer, status: &str) {
    let mut service = Service::new();
    let id: MessageId = service.enqueue(&notification(1, "held"));
    let Late { worker, gate } = begin(&service, late);
    let tally = take_over(&mut service, recorded);
    assert_eq!(tally.sent + tally.deferred + tally.ended, 1);
    let before = service.message(id);
    assert_eq!(before.message.status, status);

    drop(gate);
    assert_eq!(worker.stop().unwrap(), Tally { lost: 1, ..Tally::default() });
    let after = service.message(id);
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}

#[test]
fn c53_a_late_failure_does_not_undo_what_was_sent() {
    check(Ok(Receipt::default()), Err(Failure::temporary("500", "late")), "sent");
    check(Ok(Receipt::default()), Err(Failure::permanent("550", "late")), "sent");
}

#[test]
fn c53_a_late_result_does_not_revive_what_has_failed() {
    let failed = || Err(Failure::permanent("550", "no such user"));
    check(failed(), Err(Failure::temporary("500", "late")), "permanent_failure");
    check(failed(), Ok(Receipt::default()), "permanent_failure");
}

#[test]
fn c53_a_late_result_does_not_end_what_waits_for_its_next_attempt() {
    check(Err(Failure::temporary("500", "try again")), Ok(Receipt::default()), "temporary_failure");
}

#[test]
fn c53_a_worker_whose_timeout_is_not_below_its_lease_is_refused() {
    let service = Service::new();
    let mut config = service.config();
    config.worker.dispatch_timeout = config.worker.lease_period;
    let err = Worker::new(config).err().expect("it must not start").to_string();
    assert!(
        err.contains("worker.dispatch_timeout") && err.contains("worker.lease_period"),
        "{err}"
    );
}

#[test]
fn two_workers_on_one_queue_deliver_each_message_once() {
    let (mut service, sink) = (Service::new(), accepting());
    let workers = [super::start(service.config()), super::start(service.config())];
    let notifications: Vec<_> = (0..400).map(|n| webhook(n, &sink, "/")).collect();
    enqueue::enqueue_many(&mut service.client, &notifications).unwrap();
    service.wait_count("sent", 400);
    let tallies = workers.map(|it| it.stop().unwrap());
    assert_eq!(tallies[0].sent + tallies[1].sent, 400);
    assert_eq!(tallies[0].lost + tallies[1].lost, 0);
    let arrivals = sink.arrivals();
    assert_eq!((arrivals.total(), arrivals.distinct()), (400, 400));
}
