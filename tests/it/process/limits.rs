//! A worker that its system gives too little.

use std::process::Command;
use std::time::Duration;

use crossbeam_channel::bounded;
use postrider::sink::http::{Reply, WebhookSink};

use super::fill;
use crate::support::process::{Process, postrider};
use crate::support::service::{LIMIT, Service};
use crate::support::wait_until;

/// The same command with so many file descriptors.
fn with_descriptors(count: u32, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")]);
    limited.arg(command.get_program()).args(command.get_args()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited
}

#[test]
fn a_worker_that_runs_out_of_file_descriptors_goes_on_and_records_each_outcome() {
    let mut service = Service::new();
    let (_never, closed) = bounded::<()>(0);
    let sink = WebhookSink::start(move |_| {
        let _ = closed.recv_timeout(Duration::from_millis(200)); // a receiver that takes its time
        Reply::status(200)
    })
    .unwrap();
    fill(&mut service, &sink, 200);
    let worker = Process::spawn(&mut with_descriptors(
        56,
        &postrider(&service.db.url(), &["run", "--json"]),
    ));
    let is_told =
        |service: &mut Service| service.count("sent") + service.count("temporary_failure");
    wait_until(LIMIT, "each outcome is recorded", || is_told(&mut service) == 200);
    worker.signal(&["TERM"]);
    let ended = worker.wait();
    assert_eq!(ended.json()["lost"], 0, "{ended:?}");
    assert!(ended.stderr.contains("Too many open files"), "{ended:?}");
    let sent = service.count("sent");
    assert!(0 < sent, "{ended:?}");
    assert_eq!(
        (sink.arrivals().total(), sink.arrivals().duplicates()),
        (u64::try_from(sent).unwrap(), 0)
    );
}
