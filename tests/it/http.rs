//! The monitor, as a scraper and a supervisor see it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postrider::config::{Config, DatabaseConfig, Secret};
use postrider::enqueue::Notification;
use postrider::http::Monitor;
use postrider::message::Prepared;
use postrider::outcome::{Failure, Receipt};
use postrider::transport::{Deadline, Transport};
use postrider::worker::Worker;

use crate::rig::{LIMIT, Rig, to_inbox};
use crate::support::wait_until;

/// Sends `request` and reads until the connection ends.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a reset ends it, too
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes())
}

/// The value of a sample.
fn sample<'a>(text: &'a str, name: &str) -> &'a str {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// Takes every message.
struct Taker;

impl Transport for Taker {
    fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
        Ok(Receipt::default())
    }
}

#[test]
fn a_scrape_tells_what_the_worker_and_the_queue_did() {
    let mut rig = Rig::new();
    let mut config = Config { database: rig.config(), ..Config::default() };
    config.worker.threads = 2;
    let worker = Worker::new(config).unwrap();
    let worker = worker.with_transport("smtp", Arc::new(Taker));
    let monitor = Monitor::start("127.0.0.1:0", &rig.config(), worker.leases_out()).unwrap();
    let address = monitor.address();
    let later = Notification {
        methods: vec!["inbox".into()],
        schedule_at: Some(std::time::SystemTime::now() + Duration::from_hours(1)),
        ..to_inbox()
    };
    rig.put(&later);
    let before = get(address, "/metrics");
    assert!(before.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4"));
    assert_eq!(sample(&before, "postrider_queue_messages{status=\"pending\"}"), "1");

    // The figures of the process are shared by all tests, so they only grow.
    let sent = "postrider_delivery_attempts_total{method=\"smtp\",result=\"sent\"}";
    let running = worker.start().unwrap();
    rig.put(&Notification { methods: vec!["smtp".into()], ..to_inbox() });
    wait_until(LIMIT, "the delivery is counted", || {
        sample(&before, sent) != sample(&get(address, "/metrics"), sent)
    });
    let after = get(address, "/metrics");
    for name in [
        "postrider_send_seconds_count{method=\"smtp\"}",
        "postrider_queue_seconds_count{method=\"smtp\"}",
        "postrider_acquire_seconds_count{}",
        "postrider_commit_outcomes_count{}",
    ] {
        assert_ne!(sample(&after, name), "0", "{name}");
    }
    assert_eq!(sample(&after, "postrider_database_up"), "1");
    assert_eq!(sample(&after, "postrider_in_flight{method=\"smtp\"}"), "0");
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").contains("database ok"));
    running.stop().unwrap();
}

#[test]
fn without_its_database_or_schema_a_worker_is_alive_but_not_ready() {
    let mut rig = Rig::new();
    let worker = Worker::new(Config { database: rig.config(), ..Config::default() }).unwrap();
    let monitor = Monitor::start("127.0.0.1:0", &rig.config(), worker.leases_out()).unwrap();
    assert!(get(monitor.address(), "/readyz").starts_with("HTTP/1.1 200"));
    rig.execute("delete from postrider.migrations where version > 1", &[]);
    let behind = get(monitor.address(), "/readyz");
    assert!(behind.starts_with("HTTP/1.1 503") && behind.contains("postrider migrate"), "{behind}");

    let url = Some(Secret::new("postgres://u:secret@127.0.0.1:1/db"));
    let away = DatabaseConfig {
        url,
        connect_timeout: Duration::from_millis(300),
        ..DatabaseConfig::default()
    };
    let monitor = Monitor::start("127.0.0.1:0", &away, worker.leases_out()).unwrap();
    let unready = get(monitor.address(), "/readyz");
    assert!(unready.starts_with("HTTP/1.1 503") && !unready.contains("secret"), "{unready}");
    assert!(get(monitor.address(), "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(sample(&get(monitor.address(), "/metrics"), "postrider_database_up"), "0");
}

#[test]
fn requests_that_are_wrong_large_or_slow_are_refused_and_hold_nobody_up() {
    let rig = Rig::new();
    let worker = Worker::new(Config { database: rig.config(), ..Config::default() }).unwrap();
    let monitor = Monitor::start("127.0.0.1:0", &rig.config(), worker.leases_out()).unwrap();
    let address = monitor.address();
    let status = |request: &[u8]| exchange(address, request)[9..12].to_owned();
    assert_eq!(status(b"POST /metrics HTTP/1.1\r\n\r\n"), "405");
    assert_eq!(status(b"GET /nothing HTTP/1.1\r\n\r\n"), "404");
    assert_eq!(status(b"nonsense\r\n\r\n"), "400");
    assert_eq!(status(&[b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'x'; 8300]].concat()), "431");
    let head = exchange(address, b"HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");

    let began = Instant::now();
    let silent: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"), "after the silent ones");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop(silent);
}
