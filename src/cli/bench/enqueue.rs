//! How fast producers enqueue, beside a plain INSERT of the same rows by the same connections.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postrider::enqueue::{self, Enqueued, Enqueuer, Notification};
use postrider::store::bench::{self, Inserter};
use postrider::store::connect::Connector;
use serde::Serialize;
use serde_json::{Value, json};

use super::ground::{Ground, TEMPLATE, notification};
use super::{Mode, median};
use crate::cli::output::{Failed, table};

/// Length of one measurement.
const SLICE: Duration = Duration::from_secs(1);
const PRODUCERS: [u16; 3] = [1, 4, 16];
/// Notifications of one transaction.
const TRANSACTION: u32 = 5000;
/// Notifications of one call in bulk, which makes several statements.
const BULK: u32 = 50_000;
/// Measurements in bulk that do not count: a server that has just begun makes new files for its log and its tables,
/// which a queue in use has.
const WARM_UPS: usize = 2;

/// How a producer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// A plain INSERT, one row a transaction.
    Insert,
    /// One enqueue a transaction.
    Enqueue,
    /// Many enqueues in one transaction.
    OneTransaction,
    /// `enqueue_many`.
    Bulk,
}

/// What else the database does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Load {
    /// No worker.
    None,
    /// A worker with nothing to do but what the producers write.
    Idle,
    /// A worker with a backlog.
    Busy,
}

/// One line of the result; rates are notifications a second.
#[derive(Debug, Serialize)]
struct Line {
    way: Way,
    worker: Load,
    producers: u16,
    per_s: f64,
    /// To the plain INSERT; the median of the rounds' ratios.
    ratio: Option<f64>,
    rounds: Vec<f64>,
}

/// What a run found.
#[derive(Debug, Serialize)]
pub(super) struct Rates {
    backlog: u32,
    rates: Vec<Line>,
}

impl Rates {
    pub(super) fn text(&self) -> String {
        let row = |line: &Line| {
            [
                format!("{:?}", line.way).to_lowercase(),
                line.producers.to_string(),
                format!("{:?}", line.worker).to_lowercase(),
                format!("{:.0}", line.per_s),
                line.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            ]
        };
        let head = ["way", "producers", "worker", "median/s", "to insert"];
        table(head, self.rates.iter().map(row).collect())
    }
}

/// Measures all ways in turn, `rounds` times; a busy worker starts with `backlog` messages.
pub(super) fn measure(ground: &mut Ground, backlog: u32, rounds: u16) -> Result<Rates, Failed> {
    let mut rates = lines();
    let bulk = rates.iter().find(|line| line.way == Way::Bulk).expect("it is among all");
    for _ in 0..WARM_UPS {
        slice(ground, bulk, backlog)?;
    }
    bench::checkpoint(&mut ground.client)?;
    for round in 1..=rounds {
        for line in &mut rates {
            let rate = slice(ground, line, backlog)?.round();
            eprintln!(
                "round {round}: {:?}, {} producers, worker {:?}: {rate}/s",
                line.way, line.producers, line.worker
            );
            line.rounds.push(rate);
        }
    }
    let mut insert: Vec<f64> = Vec::new();
    for line in &mut rates {
        line.per_s = median(&line.rounds);
        match line.way {
            Way::Insert => insert.clone_from(&line.rounds),
            Way::Enqueue => {
                let ratios: Vec<f64> =
                    line.rounds.iter().zip(&insert).map(|(a, b)| a / b).collect();
                line.ratio = Some((median(&ratios) * 1000.0).round() / 1000.0);
            }
            Way::OneTransaction | Way::Bulk => (),
        }
    }
    Ok(Rates { backlog, rates })
}

/// All that is measured, each INSERT before the enqueue that is compared with it.
fn lines() -> Vec<Line> {
    let mut ways = vec![(Way::OneTransaction, 1), (Way::Bulk, 1)];
    for producers in PRODUCERS {
        ways.extend([(Way::Insert, producers), (Way::Enqueue, producers)]);
    }
    let line = |worker, (way, producers)| {
        let (per_s, ratio, rounds) = (0.0, None, Vec::new());
        Line { way, worker, producers, per_s, ratio, rounds }
    };
    let beside = |worker| ways.iter().map(move |&way| line(worker, way));
    [Load::None, Load::Idle, Load::Busy].into_iter().flat_map(beside).collect()
}

/// The rate of one way for a while.
fn slice(ground: &mut Ground, line: &Line, backlog: u32) -> Result<f64, Failed> {
    bench::reuse(&mut ground.client)?;
    if line.worker == Load::Busy {
        bench::fill(&mut ground.client, backlog, TEMPLATE, Mode::Noop.method())?;
    }
    let connector = Connector::new(&ground.config.database)?;
    let connect = |_| Producer::new(connector.connect()?);
    let producers: Vec<Producer> =
        (0..line.producers).map(connect).collect::<Result<_, Failed>>()?;
    let start = || ground.worker()?.start().map_err(|err| Failed::new(err.to_string()));
    let running = (line.worker != Load::None).then(start).transpose()?;
    let (number, ready) = (AtomicU32::new(0), Barrier::new(producers.len()));
    let rates = thread::scope(|scope| {
        let run = |mut producer: Producer| {
            let (number, ready) = (&number, &ready);
            scope.spawn(move || -> Result<f64, Failed> {
                ready.wait();
                let began = Instant::now();
                let (mut written, mut spent) = (0, Duration::ZERO);
                while began.elapsed() < SLICE {
                    let (count, took) = producer.write(line.way, number)?;
                    written += count;
                    spent += took;
                }
                Ok(f64::from(written) / spent.as_secs_f64())
            })
        };
        let threads: Vec<_> = producers.into_iter().map(run).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Result<Vec<f64>, Failed>>()
    });
    if let Some(running) = running {
        running.stop().map_err(|err| Failed::new(err.to_string()))?;
    }
    Ok(rates?.iter().sum())
}

/// A connection with its statements prepared.
struct Producer {
    client: Client,
    inserter: Inserter,
    enqueuer: Enqueuer,
}

impl Producer {
    fn new(mut client: Client) -> Result<Self, Failed> {
        let inserter = Inserter::prepare(&mut client, TEMPLATE)?;
        let enqueuer =
            Enqueuer::prepare(&mut client).map_err(|err| Failed::new(err.to_string()))?;
        Ok(Self { client, inserter, enqueuer })
    }

    /// Writes one transaction, or in bulk one call. Returns how many notifications it was, and how long it
    /// took; to make those of a call is not part of it.
    fn write(&mut self, way: Way, number: &AtomicU32) -> Result<(u32, Duration), Failed> {
        let failed = |err: enqueue::EnqueueError| Failed::new(err.to_string());
        let next = || number.fetch_add(1, Ordering::Relaxed);
        let mut began = Instant::now();
        let count = match way {
            Way::Insert => {
                let number = next();
                let (recipient, payload) = (format!("r{number}"), payload(number));
                let method = Mode::Noop.method();
                self.inserter.insert(&mut self.client, method, &recipient, &payload)?;
                1
            }
            Way::Enqueue => {
                let enqueued = self.enqueuer.enqueue(&mut self.client, &numbered(next()));
                all_new(&[enqueued.map_err(failed)?])?
            }
            Way::OneTransaction => {
                let broken = |err: postgres::Error| Failed::new(err.to_string());
                let mut tx = self.client.transaction().map_err(broken)?;
                for _ in 0..TRANSACTION {
                    let enqueued = self.enqueuer.enqueue(&mut tx, &numbered(next()));
                    all_new(&[enqueued.map_err(failed)?])?;
                }
                tx.commit().map_err(broken)?;
                TRANSACTION
            }
            Way::Bulk => {
                let many: Vec<_> = (0..BULK).map(|_| numbered(next())).collect();
                began = Instant::now();
                let enqueued = enqueue::enqueue_many(&mut self.client, &many).map_err(failed)?;
                all_new(&enqueued)?
            }
        };
        Ok((count, began.elapsed()))
    }
}

/// How many results there are; a duplicate would be cheaper than what is to be measured.
fn all_new(results: &[Enqueued]) -> Result<u32, Failed> {
    if results.iter().all(|it| matches!(it, Enqueued::Enqueued { .. })) {
        Ok(u32::try_from(results.len()).expect("a batch is small"))
    } else {
        Err(Failed::new("the benchmark's notifications are all different"))
    }
}

/// With a label that tells the payloads apart, as an application's are.
fn numbered(number: u32) -> Notification {
    notification(Mode::Noop, number).with_label("no", number.to_string())
}

/// The document that an enqueue of [`numbered`] makes.
fn payload(number: u32) -> Value {
    json!({
        "_version": "1.2", "notification_name": TEMPLATE,
        "notification_template_id": "f517da0b-cdc9-410f-ab89-a86107c420ed",
        "user_id": format!("r{number}"), "user_email": "ada@example.com",
        "user_name": "Ada Lovelace", "user_username": "ada",
        "actions": [], "data": null, "targets": [],
        "labels": {
            "name": "analytical-engine", "reason": "autodeleted due to dormancy",
            "initiator": "autobuild", "no": number.to_string()
        },
    })
}
