//! The three rates: the bare queue, the bare client, and the worker.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::bounded;
use postrider::lease::{Lease, Settled};
use postrider::message::{Action, MailFields, MessageId, Prepared, Recipient};
use postrider::outcome::{Failure, Outcome, Receipt};
use postrider::store::connect::Connector;
use postrider::store::postgres::PgStore;
use postrider::store::{Room, Store, StoreError, bench};
use postrider::transport::smtp::Smtp;
use postrider::transport::{Deadline, Transport};
use postrider::worker::Until;
use serde_json::json;
use uuid::Uuid;

use super::Mode;
use super::cpu::Cpu;
use super::ground::{Ground, TEMPLATE};
use crate::cli::output::Failed;

/// Rows of one acquire and of one commit of the bare queue.
const BATCH: usize = 500;
/// Batches between the acquiring and the committing connection.
const BATCHES_AHEAD: usize = 2;
const LEASE: Duration = Duration::from_mins(10);
const LIMIT: Duration = Duration::from_mins(1);

/// Messages a second, and the CPU time that each took.
pub(super) struct Measured {
    pub(super) rate: f64,
    pub(super) cpu: Option<Cpu>,
}

impl Measured {
    /// From `messages` in `seconds`, and what had been used before and after them.
    fn new(messages: u32, seconds: f64, [before, after]: [Option<Cpu>; 2]) -> Self {
        let cpu = before.zip(after).map(|(before, after)| after.per_message(before, messages));
        Self { rate: f64::from(messages) / seconds, cpu }
    }
}

fn cpu(ground: &mut Ground) -> Result<Option<Cpu>, Failed> {
    Ok(Cpu::used(bench::backend_pid(&mut ground.client)?))
}

/// Rows a second of the bare queue: one connection acquires, another one commits.
pub(super) fn queue(ground: &mut Ground, messages: u32) -> Result<Measured, Failed> {
    bench::clear(&mut ground.client)?;
    bench::fill(&mut ground.client, messages, TEMPLATE, ground.mode.method())?;
    let connector = Connector::new(&ground.config.database)?;
    let methods = [ground.mode.method().to_owned()];
    let store = || PgStore::new(connector.clone(), Uuid::new_v4(), LEASE, &methods);
    let (mut front, mut back) = (store(), store());
    front.look(None)?; // Connects and prepares, which is not part of the rate.
    back.look(None)?;
    let (batches_tx, batches) = bounded::<Vec<Lease>>(BATCHES_AHEAD);
    let before = cpu(ground)?;
    let began = Instant::now();
    let committed = thread::scope(|scope| -> Result<usize, StoreError> {
        let acquiring = scope.spawn(move || -> Result<(), StoreError> {
            loop {
                let leases = front.acquire(Room::of(BATCH), false)?.leases;
                if leases.is_empty() || batches_tx.send(leases).is_err() {
                    return Ok(());
                }
            }
        });
        let mut committed = 0;
        for leases in batches {
            let settled: Vec<Settled> = leases.into_iter().map(sent).collect();
            committed += back.commit(&settled)?.len();
        }
        acquiring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(committed)
    })?;
    let took = began.elapsed();
    if committed != messages as usize {
        return Err(Failed::new(format!("the bare queue committed {committed} of {messages}")));
    }
    Ok(Measured::new(messages, took.as_secs_f64(), [before, cpu(ground)?]))
}

fn sent(lease: Lease) -> Settled {
    lease.settle(Instant::now(), Outcome::Sent(Receipt::default()))
}

/// Deliveries a second of the bare client; `None` where delivering is the commit itself.
pub(super) fn delivery(ground: &mut Ground, messages: u32) -> Result<Option<Measured>, Failed> {
    let before = cpu(ground)?;
    let failed = |err: Failure| Failed::new(format!("bare client: {err}"));
    let took = match ground.mode {
        Mode::Inbox | Mode::Noop => return Ok(None),
        Mode::Webhook => {
            let agent = agent(ground.config.worker.threads);
            let url = ground.config.webhook.endpoint.clone().unwrap_or_default();
            let body = prepared().payload.text().as_bytes().to_vec();
            spread(ground, messages, || post(&agent, &url, &body)).map_err(failed)?
        }
        Mode::Smtp => {
            let smtp = Smtp::new(&ground.config.smtp, &ground.config.branding)
                .map_err(|err| Failed::new(err.to_string()))?;
            let message = prepared();
            let deliver = || smtp.deliver(&message, Deadline::after(LIMIT)).map(drop);
            spread(ground, messages, deliver).map_err(failed)?
        }
    };
    let took = took.as_secs_f64();
    Ok(Some(Measured::new(messages, took, [before, cpu(ground)?])))
}

/// Runs `deliver` `messages` times on as many threads as the worker has.
fn spread(
    ground: &Ground,
    messages: u32,
    deliver: impl Fn() -> Result<(), Failure> + Sync,
) -> Result<Duration, Failure> {
    let next = AtomicU32::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        let deliver_some = || {
            while next.fetch_add(1, Ordering::Relaxed) < messages {
                deliver()?;
            }
            Ok(())
        };
        let threads: Vec<_> =
            (0..ground.config.worker.threads).map(|_| scope.spawn(deliver_some)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<(), Failure>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().try_for_each(join)
    })?;
    Ok(began.elapsed())
}

fn agent(threads: usize) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .max_idle_connections(threads)
        .max_idle_connections_per_host(threads)
        .input_buffer_size(16 << 10)
        .output_buffer_size(16 << 10)
        .build()
        .new_agent()
}

fn post(agent: &ureq::Agent, url: &str, body: &[u8]) -> Result<(), Failure> {
    let failed = |err: ureq::Error| Failure::temporary("request", err.to_string());
    let mut response =
        agent.post(url).content_type("application/json").send(body).map_err(failed)?;
    response.body_mut().read_to_vec().map_err(failed)?;
    if response.status().is_success() {
        Ok(())
    } else {
        Err(Failure::temporary("status", response.status().as_str()))
    }
}

/// Messages a second of `workers` workers, until the last outcome is committed.
pub(super) fn worker(ground: &mut Ground, messages: u32, workers: u16) -> Result<Measured, Failed> {
    bench::clear(&mut ground.client)?;
    bench::fill(&mut ground.client, messages, TEMPLATE, ground.mode.method())?;
    let workers = (0..workers).map(|_| Ok(ground.worker()?.until(Until::Empty(Duration::ZERO))));
    let workers: Vec<_> = workers.collect::<Result<_, Failed>>()?;
    let arrived_before = ground.arrived();
    let before = cpu(ground)?;
    let began = bench::clock(&mut ground.client)?;
    let tallies = thread::scope(|scope| {
        let run = |worker: postrider::worker::Worker| {
            scope.spawn(move || {
                let (_stop, stopped) = bounded(0);
                worker.run(stopped)
            })
        };
        let threads: Vec<_> = workers.into_iter().map(run).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })
    .map_err(|err| Failed::new(err.to_string()))?;
    let sent: usize = tallies.iter().map(|tally| tally.sent).sum();
    if sent != messages as usize {
        return Err(Failed::new(format!("the worker sent {sent} of {messages}")));
    }
    let arrived = ground.arrived() - arrived_before;
    if ground.webhook.is_some() && arrived != u64::from(messages) {
        return Err(Failed::new(format!("{arrived} requests arrived for {messages} messages")));
    }
    let took = bench::last_finished(&mut ground.client)? - began;
    Ok(Measured::new(messages, took, [before, cpu(ground)?]))
}

/// A message as the worker would prepare it.
fn prepared() -> Prepared {
    let actions = vec![Action {
        label: "View workspaces".into(),
        url: "https://app.example.com/workspaces".into(),
    }];
    let recipient = Recipient {
        id: "r1".into(),
        email: Some("ada@example.com".into()),
        name: Some("Ada Lovelace".into()),
        username: Some("ada".into()),
    };
    let payload = json!({
        "_version": "1.2", "notification_name": TEMPLATE,
        "notification_template_id": "f517da0b-cdc9-410f-ab89-a86107c420ed", "user_id": "r1",
        "user_email": "ada@example.com", "user_name": "Ada Lovelace", "user_username": "ada",
        "actions": actions, "data": null, "targets": [],
        "labels": {
            "name": "analytical-engine", "reason": "autodeleted due to dormancy",
            "initiator": "autobuild"
        },
    });
    Prepared {
        id: MessageId(Uuid::now_v7()),
        notification_id: Uuid::nil(),
        template_id: Uuid::nil(),
        template_name: TEMPLATE.into(),
        attempt: 1,
        recipient,
        endpoint: None,
        endpoint_settings: None,
        title: "Workspace analytical\\-engine deleted".into(),
        body: "Your workspace **analytical\\-engine** was deleted.\n\n\
               The reason was: **autodeleted due to dormancy** (autobuild)."
            .into(),
        actions,
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: payload.into(),
        created_at: SystemTime::now(),
    }
}
