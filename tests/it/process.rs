//! The binary as a process: signals, kills, many of them at once, and every command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use postrider::enqueue;
use postrider::sink::http::{Reply, WebhookSink};
use serde_json::json;

use crate::support::process::{Process, postrider, run};
use crate::support::service::{LIMIT, Service, notification, to_inbox, webhook};
use crate::support::wait_until;

mod commands;
mod limits;
mod mail;
mod settings;

fn fill(service: &mut Service, sink: &WebhookSink, count: usize) {
    let notifications: Vec<_> = (0..count).map(|n| webhook(n, sink, "/")).collect();
    enqueue::enqueue_many(&mut service.client, &notifications).unwrap();
}

/// Five threads, all of which one endpoint may hold.
const ALL_FOR_ONE: [&str; 2] = ["--set=worker.threads=5", "--set=worker.threads_per_endpoint=5"];

fn accepting() -> WebhookSink {
    WebhookSink::start(|_| Reply::status(200)).unwrap()
}

/// A sink that answers nothing before its gate is opened, by dropping what comes with it.
fn gated() -> (WebhookSink, crossbeam_channel::Sender<()>) {
    let (gate, closed) = bounded::<()>(0);
    let sink = WebhookSink::start(move |_| {
        let _ = closed.recv_timeout(LIMIT); // ends by disconnection
        Reply::status(200)
    })
    .unwrap();
    (sink, gate)
}

#[test]
fn until_empty_delivers_what_is_due_and_says_so() {
    let (mut service, sink) = (Service::new(), accepting());
    fill(&mut service, &sink, 50);
    let ended = run(&service.db.url(), &["run", "--until-empty", "--json"]);
    let expected =
        json!({"sent": 50, "deferred": 0, "ended": 0, "released": 0, "lost": 0, "refused": 0});
    assert_eq!(ended.json(), expected);
    assert_eq!((sink.arrivals().distinct(), service.count("sent")), (50, 50));
    let again = run(&service.db.url(), &["run", "--until-empty"]);
    assert!(again.status.success());
    assert_eq!(again.stdout, "sent 0, deferred 0, ended 0, released 0, lost 0, refused 0\n");
}

#[test]
fn until_empty_waits_as_far_ahead_as_it_is_told() {
    let mut service = Service::new();
    let failed_once = AtomicBool::new(false);
    let sink = WebhookSink::start(move |_| {
        Reply::status(if failed_once.swap(true, Ordering::SeqCst) { 200 } else { 500 })
    })
    .unwrap();
    fill(&mut service, &sink, 1);
    let args = ["run", "--until-empty", "--json", "--set", "retry.schedule=1s"];
    let url = service.db.url();
    assert_eq!(run(&url, &args).json()["deferred"], 1);
    let waiting = [&args[..], &["--wait", "10s"]].concat();
    assert_eq!(run(&url, &waiting).json()["sent"], 1);
}

#[test]
fn a_missing_setting_is_told_of_once_and_not_for_each_message_that_waits_for_it() {
    let mut service = Service::new();
    let many: Vec<_> = (0..50).map(|no| notification(no, "smtp")).collect();
    enqueue::enqueue_many(&mut service.client, &many).unwrap();
    let ended = run(&service.db.url(), &["run", "--until-empty", "--json"]);
    assert_eq!(ended.json()["deferred"], 50, "{ended:?}");
    assert_eq!(ended.stderr.matches("smtp.host is not set").count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("to wait, at no cost, until this is mended"), "{ended:?}");
}

#[test]
fn once_makes_one_pass_and_ends() {
    let mut service = Service::new();
    let sink = WebhookSink::start(|_| Reply::status(500)).unwrap();
    fill(&mut service, &sink, 30);
    let args =
        ["run", "--once", "--json", "--set", "retry.schedule=1h", "--set", "worker.threads=4"];
    let tally = run(&service.db.url(), &args).json();
    assert_eq!((&tally["deferred"], &tally["released"]), (&json!(30), &json!(0)));
    assert_eq!(sink.arrivals().total(), 30);
}

#[test]
fn c67_sigterm_finishes_what_is_under_way_and_gives_back_the_rest() {
    let mut service = Service::new();
    let (sink, gate) = gated();
    fill(&mut service, &sink, 10);
    let args = ["run", "--json", ALL_FOR_ONE[0], ALL_FOR_ONE[1]];
    let worker = Process::spawn(&mut postrider(&service.db.url(), &args));
    wait_until(LIMIT, "five are under way", || sink.arrivals().total() == 5);
    worker.signal(&["TERM"]);
    worker.wait_log("stopping");
    drop(gate);
    let tally = worker.wait().json();
    assert_eq!(tally["sent"], 5);
    assert_eq!((service.count("sent"), service.count("pending")), (5, 5));
    let sql = "select count(*) from postrider.messages where attempt = 0 and claim = 0";
    assert_eq!(service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 5);

    assert_eq!(run(&service.db.url(), &["run", "--until-empty", "--json"]).json()["sent"], 5);
    assert_eq!((sink.arrivals().total(), sink.arrivals().duplicates()), (10, 0));
}

#[test]
fn c68_two_signals_at_once_are_one() {
    let mut service = Service::new();
    let (sink, gate) = gated();
    fill(&mut service, &sink, 1);
    let worker = Process::spawn(&mut postrider(&service.db.url(), &["run", "--json"]));
    wait_until(LIMIT, "it is under way", || sink.arrivals().total() == 1);
    worker.signal(&["TERM", "INT"]);
    worker.wait_log("stopping");
    drop(gate);
    assert_eq!(worker.wait().json()["sent"], 1);
}

#[test]
fn c68_a_later_second_signal_ends_at_once_and_says_what_it_leaves() {
    let mut service = Service::new();
    let (sink, gate) = gated();
    fill(&mut service, &sink, 1);
    let mut worker = Process::spawn(&mut postrider(&service.db.url(), &["run"]));
    wait_until(LIMIT, "it is under way", || sink.arrivals().total() == 1);
    worker.signal(&["TERM"]);
    worker.wait_log("stopping");
    let first = Instant::now();
    wait_until(LIMIT, "it is another signal", || Duration::from_millis(600) < first.elapsed());
    worker.signal(&["INT"]);
    let ended = worker.wait_within(Duration::from_secs(2));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("1 leases are left to run out"), "{ended:?}");
    assert_eq!(service.count("leased"), 1);
    drop(gate);
}

#[test]
fn c68_a_drain_that_takes_too_long_fails() {
    let mut service = Service::new();
    let (sink, _gate) = gated();
    fill(&mut service, &sink, 1);
    let args = ["run", "--set", "worker.shutdown_timeout=200ms", "--set", "log.level=error"];
    let worker = Process::spawn(&mut postrider(&service.db.url(), &args));
    wait_until(LIMIT, "it is under way", || sink.arrivals().total() == 1);
    worker.signal(&["TERM"]);
    let ended = worker.wait();
    let line = ended.error(1);
    assert!(line.contains("worker.shutdown_timeout") || line.contains("200ms"), "{line}");
    assert!(line.contains("1 leases"), "{line}");
}

#[test]
fn c68_a_signal_while_it_waits_for_the_database_ends_it_at_once() {
    let mut worker = Process::spawn(&mut postrider("postgres://127.0.0.1:1/nowhere", &["run"]));
    worker.wait_log("waiting for the database");
    worker.signal(&["TERM"]);
    let ended = worker.wait_within(Duration::from_secs(3));
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn c68_sighup_and_sigint_stop_it_as_sigterm_does() {
    let mut service = Service::new();
    for signal in ["HUP", "INT"] {
        let worker = Process::spawn(&mut postrider(&service.db.url(), &["run", "--json"]));
        service.wait_idle(Duration::ZERO);
        worker.signal(&[signal]);
        assert_eq!(worker.wait().json()["sent"], 0);
        assert!(!service.is_armed());
    }
}

#[test]
fn c52_after_a_kill_all_are_delivered_and_only_those_in_flight_twice_under_their_id() {
    let mut service = Service::new();
    let killed = Arc::new(AtomicBool::new(false));
    let (after, served) = (Arc::clone(&killed), std::sync::atomic::AtomicUsize::new(0));
    let sink = WebhookSink::start(move |_| {
        let hold = 150 <= served.fetch_add(1, Ordering::SeqCst) && !after.load(Ordering::SeqCst);
        if hold { Reply::Silent } else { Reply::status(200) }
    })
    .unwrap();
    fill(&mut service, &sink, 400);
    let settings = [
        "--set=worker.threads=8",
        "--set=worker.in_flight_max=16",
        "--set=worker.lease_period=5s",
        "--set=worker.dispatch_timeout=4s",
    ];
    let url = service.db.url();
    let worker = Process::spawn(&mut postrider(&url, &[&["run"], &settings[..]].concat()));
    wait_until(LIMIT, "all threads are held", || 158 <= sink.arrivals().total());
    worker.kill();
    killed.store(true, Ordering::SeqCst);
    assert!(service.count("sent") <= 150 && 0 < service.count("leased"));

    let args = [&["run", "--until-empty", "--json"], &settings[..]].concat();
    run(&url, &args).json();
    assert_eq!((service.count("sent"), sink.arrivals().distinct()), (400, 400));
    let repeated = sink.arrivals().duplicates();
    assert!((8..=16).contains(&repeated), "{repeated} were sent twice");
    assert!(sink.arrivals().by_id().values().all(|count| *count <= 2));
}

#[test]
fn a_kill_amid_many_inbox_messages_loses_nothing_and_writes_no_entry_twice() {
    let mut service = Service::new();
    let notifications: Vec<_> = (0..20_000).map(to_inbox).collect();
    for notifications in notifications.chunks(10_000) {
        enqueue::enqueue_many(&mut service.client, notifications).unwrap();
    }
    let url = service.db.url();
    let entries = "select count(*) from postrider.inbox";
    let mut count = |sql: &str| service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    let worker = Process::spawn(&mut postrider(&url, &["run"]));
    wait_until(LIMIT, "many are written", || 2000 < count(entries));
    worker.kill();
    let written = count(entries);
    assert!(written < 20_000, "the kill came too late");
    assert_eq!(count("select count(*) from postrider.history where outcome = 'sent'"), written);

    service.expire_leases();
    run(&url, &["run", "--until-empty", "--json"]).json();
    let mut count = |sql: &str| service.client.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    assert_eq!((count(entries), count("select count(*) from postrider.messages")), (20_000, 0));
}

#[test]
fn c65_a_pause_holds_through_kill_restart_and_lapsed_leases() {
    let mut service = Service::new();
    let resumed = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&resumed);
    let sink = WebhookSink::start(move |_| {
        if answers.load(Ordering::SeqCst) { Reply::status(200) } else { Reply::Silent }
    })
    .unwrap();
    fill(&mut service, &sink, 20);
    let url = service.db.url();
    let worker = Process::spawn(&mut postrider(&url, &["run", ALL_FOR_ONE[0], ALL_FOR_ONE[1]]));
    wait_until(LIMIT, "five are under way", || sink.arrivals().total() == 5);
    assert_eq!(run(&url, &["pause", "--json"]).json(), json!({"paused": true}));
    worker.kill();
    service.expire_leases();

    for args in [["run", "--once", "--json"], ["run", "--until-empty", "--json"]] {
        assert_eq!(run(&url, &args).json()["sent"], 0);
    }
    assert_eq!(run(&url, &["stats", "--json"]).json()["paused"], true);
    assert_eq!(sink.arrivals().total(), 5);

    resumed.store(true, Ordering::SeqCst);
    assert_eq!(run(&url, &["resume", "--json"]).json(), json!({"paused": false}));
    assert_eq!(run(&url, &["run", "--until-empty", "--json"]).json()["sent"], 20);
    assert_eq!((sink.arrivals().distinct(), sink.arrivals().duplicates()), (20, 5));
}

/// 1,000 messages through so many processes at once: each arrives once.
fn thousand(processes: usize) {
    let (mut service, sink) = (Service::new(), accepting());
    fill(&mut service, &sink, 1000);
    let args = ["run", "--until-empty", "--json", "--set=worker.threads=16"];
    let spawn = |_| Process::spawn(&mut postrider(&service.db.url(), &args));
    let running: Vec<Process> = (0..processes).map(spawn).collect();
    let sent = |it: Process| it.wait().json()["sent"].as_u64().unwrap();
    let sent: u64 = running.into_iter().map(sent).sum();
    assert_eq!((sent, service.count("sent")), (1000, 1000));
    assert_eq!((sink.arrivals().total(), sink.arrivals().distinct()), (1000, 1000));
}

#[test]
fn a_thousand_messages_through_one_process_arrive_once_each() {
    thousand(1);
}

#[test]
fn a_thousand_messages_through_three_processes_arrive_once_each() {
    thousand(3);
}
