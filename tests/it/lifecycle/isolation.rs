//! One bad thing hurts only itself.

use std::iter;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{after, unbounded};
use postrider::config::SmtpTls;
use postrider::enqueue::{self, Notification};
use postrider::message::{MessageId, Prepared};
use postrider::outcome::{Failure, Receipt};
use postrider::sink::http::{Reply, Response, WebhookSink};
use postrider::sink::smtp::{SinkReply, SmtpSink, SmtpSinkOptions};
use postrider::transport::{Deadline, Transport};
use postrider::worker::Worker;

use crate::support::service::{LIMIT, Service, mail_to, notification, webhook};

const DISPATCH_TIMEOUT: Duration = Duration::from_secs(3);
/// How much a delivery may outlive its deadline.
const OVERRUN_MAX: f64 = 0.25;

struct Panicking;

impl Transport for Panicking {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
        // Past the hook, which would print it.
        panic::resume_unwind(Box::new("scripted"));
    }
}

/// Panics when it is asked where a message goes.
struct Lost;

impl Transport for Lost {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
        Ok(Receipt::default())
    }

    fn destination(&self, _: Option<&str>) -> Option<String> {
        panic::resume_unwind(Box::new("scripted"));
    }
}

/// Seconds that the only attempt at a message took.
fn took(service: &mut Service, id: MessageId) -> f64 {
    let sql = "select date_part('epoch', finished_at) - date_part('epoch', started_at)
                 from postrider.attempts where message_id = $1";
    service.client.query_one(sql, &[&id.0]).unwrap().get(0)
}

/// Messages that cannot be sent, and for each its status, code and attempts.
fn bad_ones(
    service: &mut Service,
    sink: &WebhookSink,
) -> Vec<(MessageId, &'static str, &'static str, i32)> {
    service.template("wanting", "Hello", "Hello {{labels.nobody}}");
    let wanting = Notification { template: "wanting".into(), ..webhook(4, sink, "/") };
    let to = |n, address: &str| {
        let mut mail = notification(n, "smtp");
        mail.recipient.email = Some(address.into());
        mail
    };
    let waits = "temporary_failure";
    let failed = "permanent_failure";
    [
        (webhook(1, sink, "/silent"), waits, "timeout", 1),
        (webhook(2, sink, "/drip"), waits, "timeout", 1),
        (notification(3, "panicking"), waits, "panic", 1),
        (wanting, failed, "render", 1),
        (to(5, "no address"), failed, "bad_address", 1),
        (to(6, "gone@example.com"), failed, "550", 1),
        (webhook(7, sink, "/gone"), failed, "http_410", 1),
        (notification(9, "lost"), waits, "panic", 1),
    ]
    .into_iter()
    .map(|(message, status, code, attempts)| (service.enqueue(&message), status, code, attempts))
    .collect()
}

#[test]
fn the_good_ones_of_a_batch_arrive_at_once_and_each_bad_one_says_what_was_wrong() {
    let mut service = Service::new();
    let (arrived_tx, arrived) = unbounded();
    let sink = WebhookSink::start(move |request| match request.path {
        "/silent" => Reply::Silent,
        "/drip" => Reply::Drip(Response::new(200).body("a body that takes its time")),
        "/gone" => Reply::status(410),
        _ => {
            arrived_tx.send(Instant::now()).unwrap();
            Reply::status(200)
        }
    })
    .unwrap();
    let relay = SmtpSink::start(SmtpSinkOptions {
        recipient: Box::new(|address| match address {
            "gone@example.com" => SinkReply::new(550, "5.1.1 no such user"),
            _ => SinkReply::accept(),
        }),
        ..SmtpSinkOptions::default()
    })
    .unwrap();
    let bad = bad_ones(&mut service, &sink);
    let good = (100..119).map(|n| service.enqueue(&webhook(n, &sink, "/"))).collect::<Vec<_>>();
    let mail = service.enqueue(&notification(200, "smtp"));

    let mut config = service.config();
    config.worker.dispatch_timeout = DISPATCH_TIMEOUT;
    mail_to(&mut config, &relay);
    let worker = Worker::new(config).unwrap().with_transport("panicking", Arc::new(Panicking));
    let worker = worker.with_transport("lost", Arc::new(Lost));
    let began = Instant::now();
    let worker = worker.start().unwrap();
    for _ in &good {
        let at = arrived.recv_timeout(LIMIT).unwrap();
        assert!(at - began < DISPATCH_TIMEOUT / 2, "a good one waited for a bad one");
    }
    service.wait_count("sent", 20);
    assert_eq!((service.status(mail).as_str(), relay.arrived()), ("sent", 1));

    for (id, status, code, attempts) in bad {
        service.wait_for(id, status);
        let message = service.message(id);
        assert_eq!(message.message.attempt, attempts, "{message:?}");
        let attempt = &message.attempts[0];
        assert_eq!(attempt.code.as_deref(), Some(code), "{message:?}");
        let took = took(&mut service, id);
        assert!(took < DISPATCH_TIMEOUT.as_secs_f64() + OVERRUN_MAX, "{took} s: {message:?}");
    }
    let tally = worker.stop().unwrap();
    assert_eq!((tally.sent, tally.deferred, tally.ended, tally.lost), (20, 4, 4, 0));
}

#[test]
fn a_relay_that_never_greets_costs_its_mail_no_attempt_and_others_no_time() {
    let mut service = Service::new();
    // Connects, since the kernel does so for us; then nothing.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let sink = super::accepting();
    let mails: Vec<_> = (0..10).map(|n| service.enqueue(&notification(n, "smtp"))).collect();
    let hook = service.enqueue(&webhook(20, &sink, "/"));
    let mut config = service.config();
    config.worker.dispatch_timeout = Duration::from_secs(1);
    config.smtp.host = Some("127.0.0.1".into());
    config.smtp.port = deaf.local_addr().unwrap().port();
    config.smtp.tls = Some(SmtpTls::None);
    config.smtp.from = Some("post@example.com".into());
    let worker = super::start(config);
    service.wait_for(hook, "sent");
    service.wait_count("temporary_failure", 10);
    worker.stop().unwrap();
    for id in mails {
        let message = service.message(id);
        assert_eq!(message.message.attempt, 0, "{message:?}");
        let took = took(&mut service, id);
        assert!(took < 1.0 + OVERRUN_MAX, "{took} s: {message:?}");
    }
}

/// Hosts that take connections and never answer.
struct SilentHosts {
    listeners: Vec<TcpListener>,
    connections: Vec<TcpStream>,
}

impl SilentHosts {
    fn start(count: usize) -> Self {
        let bind = |n| {
            let listener = TcpListener::bind(format!("127.0.0.{}:0", 1 + n % 200)).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        Self { listeners: (0..count).map(bind).collect(), connections: Vec::new() }
    }

    /// Enqueues so many messages, each to a path of its own.
    fn enqueue(&self, service: &mut Service, count: usize) {
        let messages: Vec<_> = (0..count)
            .map(|n| {
                let host = self.listeners[n % self.listeners.len()].local_addr().unwrap();
                let endpoint = Some(format!("http://{host}/{n}"));
                Notification { endpoint, ..notification(n, "webhook") }
            })
            .collect();
        enqueue::enqueue_many(&mut service.client, &messages).unwrap();
    }

    /// Connections that were ever made.
    fn connected(&mut self) -> usize {
        for listener in &self.listeners {
            self.connections.extend(iter::from_fn(|| listener.accept().ok()).map(|it| it.0));
        }
        self.connections.len()
    }
}

/// Sends one message after the other. None waits for what hangs.
fn soon_sent(service: &mut Service, messages: impl IntoIterator<Item = Notification>) {
    for message in messages {
        let began = Instant::now();
        let id = service.enqueue(&message);
        service.wait_for(id, "sent");
        assert!(began.elapsed() < LIMIT / 2, "{:?}", began.elapsed());
    }
}

#[test]
fn any_number_of_silent_hosts_leaves_half_of_the_threads_to_those_who_answer_fast() {
    let mut service = Service::new();
    let mut config = service.config();
    (config.worker.threads, config.worker.in_flight_max) = (32, None);
    config.worker.dispatch_timeout = LIMIT; // What waits for a thread that hangs is seen.
    let sinks: Vec<_> = (0..5).map(|_| super::accepting()).collect();
    let worker = super::start(config);
    // Answers fast from now on.
    soon_sent(&mut service, (0..5).map(|n| webhook(1000 + n, &sinks[n], "/")));

    let mut silent = SilentHosts::start(40);
    silent.enqueue(&mut service, 400);
    super::wait_until(LIMIT, "half of the threads hang", || silent.connected() == 16);
    soon_sent(&mut service, (0..20).map(|n| webhook(2000 + n, &sinks[n % 5], "/")));
    assert_eq!(silent.connected(), 16, "some hang that should wait");
    drop(silent); // which ends what hangs
    worker.stop().unwrap();
}

#[test]
fn a_destination_that_nobody_has_tried_does_not_wait_behind_hundreds_of_silent_ones() {
    let mut service = Service::new();
    let mut silent = SilentHosts::start(6);
    silent.enqueue(&mut service, 400);
    let mut config = service.config();
    (config.worker.threads, config.worker.in_flight_max) = (32, None);
    config.worker.dispatch_timeout = LIMIT;
    let worker = super::start(config);
    super::wait_until(LIMIT, "a quarter of the threads hangs", || 8 <= silent.connected());
    let sinks: Vec<_> = (0..5).map(|_| super::accepting()).collect();
    soon_sent(&mut service, (0..5).map(|n| webhook(1000 + n, &sinks[n], "/")));
    drop(silent);
    worker.stop().unwrap();
}

#[test]
fn silent_hosts_that_are_tried_again_and_again_leave_room_to_new_destinations() {
    let mut service = Service::new();
    let silent = SilentHosts::start(40);
    silent.enqueue(&mut service, 400);
    let mut config = service.config();
    (config.worker.threads, config.worker.in_flight_max) = (16, None);
    config.worker.dispatch_timeout = Duration::from_secs(3);
    let worker = super::start(config);
    super::wait_until(LIMIT, "all were tried", || 40 <= service.count("temporary_failure"));
    let sinks: Vec<_> = (0..5).map(|_| super::accepting()).collect();
    soon_sent(&mut service, (0..5).map(|n| webhook(1000 + n, &sinks[n], "/")));
    drop(silent);
    worker.stop().unwrap();
}

#[test]
fn two_threads_serve_others_while_one_hangs() {
    let mut service = Service::new();
    let (sink, mut silent) = (super::accepting(), SilentHosts::start(3));
    let mut config = service.config();
    (config.worker.threads, config.worker.in_flight_max) = (2, None);
    config.worker.dispatch_timeout = LIMIT;
    let worker = super::start(config);
    soon_sent(&mut service, [webhook(1000, &sink, "/")]);
    silent.enqueue(&mut service, 20);
    super::wait_until(LIMIT, "one hangs", || silent.connected() == 1);
    soon_sent(&mut service, (0..5).map(|n| webhook(2000 + n, &sink, "/")));
    drop(silent);
    worker.stop().unwrap();
}

#[test]
fn c61_an_endpoint_that_hangs_leaves_threads_to_others_on_its_host_and_elsewhere() {
    let mut service = Service::new();
    let sink = WebhookSink::start(|request| match request.path {
        "/healthy" => Reply::status(200),
        _ => Reply::Silent,
    })
    .unwrap();
    let mut config = service.config();
    config.worker.dispatch_timeout = LIMIT; // What waits for a thread that hangs is seen.
    let worker = super::start(config); // 16 threads, 4 for what hangs on a host that answers
    soon_sent(&mut service, [webhook(300, &sink, "/healthy")]);
    for n in 0..200 {
        service.enqueue(&webhook(n, &sink, "/hangs"));
    }
    super::wait_until(LIMIT, "a share of the threads hangs", || 5 <= sink.arrivals().total());
    let other = super::accepting();
    soon_sent(&mut service, [webhook(301, &sink, "/healthy"), webhook(302, &other, "/")]);
    assert_eq!(sink.arrivals().total(), 4 + 2, "no more than its share");
    drop(sink); // which ends what hangs
    worker.stop().unwrap();
}

#[test]
fn messages_to_an_endpoint_that_is_down_wait_without_attempts_and_go_when_it_is_well() {
    let mut service = Service::new();
    let well = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&well);
    let sink = WebhookSink::start(move |_| {
        if seen.load(Ordering::SeqCst) { Reply::status(200) } else { Reply::Silent }
    })
    .unwrap();
    for n in 0..60 {
        service.enqueue(&webhook(n, &sink, "/"));
    }
    let mut config = service.config();
    config.worker.dispatch_timeout = Duration::from_secs(3);
    let worker = super::start(config); // 16 threads, 4 for what has not answered yet
    // Those that find it out, and one that tries.
    super::wait_until(LIMIT, "one more tries", || 4 < sink.arrivals().total());
    super::wait_until(LIMIT, "four fail", || 4 <= service.count("temporary_failure"));

    well.store(true, Ordering::SeqCst);
    super::wait_until(LIMIT, "all that only waited are sent", || {
        service.count("sent") + service.count("temporary_failure") == 60
    });
    let sql = "select count(*) from postrider.history where attempt <> 1";
    assert_eq!(service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 0);
    let tally = worker.stop().unwrap();
    assert_eq!((tally.sent + tally.deferred, tally.ended, tally.lost), (60, 0, 0));
    assert!(tally.deferred < 15, "most waited: {tally}");
}

#[test]
fn an_endpoint_that_asks_for_a_pause_gets_it_from_all_its_messages_and_they_pay_no_attempt() {
    let mut service = Service::new();
    let sink = WebhookSink::start(|request| match request.path {
        "/busy?tenant=a" => Reply::Full(Response::new(429).header("Retry-After", "3600")),
        _ => Reply::status(200),
    })
    .unwrap();
    let first = service.enqueue(&webhook(0, &sink, "/busy?tenant=a"));
    let worker = super::start(service.config());
    service.wait_for(first, "temporary_failure");
    let others: Vec<MessageId> =
        (1..20).map(|n| service.enqueue(&webhook(n, &sink, "/busy?tenant=a"))).collect();
    let elsewhere = service.enqueue(&webhook(20, &sink, "/busy?tenant=b"));
    service.wait_for(elsewhere, "sent");
    let sql = "select count(*) from postrider.messages where claim = 0 and now() + interval '4 min' < due_at";
    super::wait_until(LIMIT, "all wait", || {
        service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 20
    });
    worker.stop().unwrap();
    assert_eq!(sink.arrivals().total(), 1 + 1, "one of each");
    assert!(others.into_iter().all(|id| service.message(id).message.attempt == 0));
}

#[test]
fn mails_wait_for_a_relay_that_is_down_without_asking_it_each() {
    let mut service = Service::new();
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    for n in 0..40 {
        service.enqueue(&notification(n, "smtp"));
    }
    let mut config = service.config();
    config.worker.dispatch_timeout = Duration::from_secs(6);
    config.smtp.host = Some("127.0.0.1".into());
    config.smtp.port = deaf.local_addr().unwrap().port();
    config.smtp.tls = Some(SmtpTls::None);
    config.smtp.from = Some("post@example.com".into());
    let worker = super::start(config);
    service.wait_count("temporary_failure", 4);
    let sql = "select count(*) from postrider.messages where claim <> 0";
    super::wait_until(LIMIT, "one tries, all others wait", || {
        service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 1
    });
    assert!(service.count("temporary_failure") < 20, "most have not asked it");
    worker.stop().unwrap();
    let sql = "select count(*) from postrider.messages where attempt <> 0";
    assert_eq!(service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 0);
}

#[test]
fn mails_wait_for_a_relay_that_refuses_us_without_asking_it_each() {
    let mut service = Service::new();
    let credentials = Some(("user".to_owned(), "password".to_owned()));
    let relay =
        SmtpSink::start(SmtpSinkOptions { credentials, ..SmtpSinkOptions::default() }).unwrap();
    let mails: Vec<_> = (0..200).map(|n| notification(n, "smtp")).collect();
    enqueue::enqueue_many(&mut service.client, &mails).unwrap();
    let mut config = service.config();
    mail_to(&mut config, &relay);
    let worker = super::start(config);
    let sql = "select count(*) from postrider.messages
                where claim = 0 and now() + interval '4 min' < due_at";
    super::wait_until(LIMIT, "all wait", || {
        service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 200
    });
    worker.stop().unwrap();
    assert!(service.count("temporary_failure") <= 16, "it was asked again and again");
}

#[test]
fn c61_a_slow_endpoint_with_a_backlog_leaves_threads_to_what_comes_later_elsewhere() {
    let mut service = Service::new();
    let arrived = AtomicU64::new(0);
    let slow = WebhookSink::start(move |_| {
        // Now one leaves and then another, so that its share never looks stalled.
        let nth = arrived.fetch_add(1, Ordering::SeqCst) % 12;
        after(Duration::from_millis(500 + 40 * nth)).recv().unwrap();
        Reply::status(200)
    })
    .unwrap();
    let to_slow = |service: &mut Service, numbers: Range<usize>| {
        let messages: Vec<_> = numbers.map(|n| webhook(n, &slow, "/")).collect();
        enqueue::enqueue_many(&mut service.client, &messages).unwrap();
    };
    let worker = super::start(service.config()); // 16 threads, 12 for an endpoint
    to_slow(&mut service, 0..60);
    super::wait_until(LIMIT, "now and then one is sent", || 24 <= service.count("sent"));
    to_slow(&mut service, 60..460); // 24 s of work for its share
    let fast = super::accepting();
    for n in 0..5 {
        let began = Instant::now();
        let id = service.enqueue(&webhook(1000 + n, &fast, "/"));
        service.wait_for(id, "sent");
        assert!(began.elapsed() < Duration::from_secs(2), "{n}: {:?}", began.elapsed());
    }
    assert!(service.count("sent") < 200, "the backlog is there still");
    drop(slow);
    worker.stop().unwrap();
}

/// Takes 10 ms, all to one place.
struct Near;

impl Transport for Near {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
        after(Duration::from_millis(10)).recv().unwrap();
        Ok(Receipt::default())
    }

    fn destination(&self, _: Option<&str>) -> Option<String> {
        Some("near://example.com".into())
    }
}

#[test]
fn messages_to_a_fast_endpoint_are_not_put_off_though_it_has_a_share_of_the_threads() {
    const MESSAGES: usize = 3000;
    let mut service = Service::new();
    let messages: Vec<_> = (0..MESSAGES).map(|n| notification(n, "near")).collect();
    enqueue::enqueue_many(&mut service.client, &messages).unwrap();
    let mut config = service.config();
    (config.worker.threads, config.worker.in_flight_max) = (64, None); // 48 for an endpoint
    let worker = Worker::new(config).unwrap().with_transport("near", Arc::new(Near));
    let worker = worker.start().unwrap();
    service.wait_count("sent", 3000);
    let tally = worker.stop().unwrap();
    assert!(tally.released < MESSAGES / 10, "{tally}");
}
