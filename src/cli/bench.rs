//! `bench`: the worker against the limit that its two halves set, measured in one run.
//!
//! Q is the bare queue (acquire a batch, commit its outcomes, nothing in between), H the bare
//! client against the same sink from the same number of threads. On saturated cores the two
//! together cannot exceed L = 1 / (1/Q + 1/H). All on a private PostgreSQL with its default
//! durability, over real sockets.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::output::{Failed, Output, table};

mod cpu;
mod enqueue;
mod ground;
mod latency;
mod measure;

use cpu::Cpu;
use ground::Ground;
use measure::Measured;

pub(super) const EXAMPLES: &str = "\
Example: postrider bench --mode webhook --messages 100000 --threads 64
Example: postrider bench --latency --rate 200 --seconds 10 --json
Example: postrider bench --enqueue --messages 100000";

/// Settings of the private server, beside its defaults; durability is as PostgreSQL ships it.
const SERVER: [(&str, &str); 4] = [
    ("shared_buffers", "512MB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    ("max_connections", "200"),
];

#[derive(Debug, Args)]
pub(super) struct Bench {
    /// What delivers
    #[arg(long, value_enum, default_value_t = Mode::Webhook)]
    mode: Mode,
    /// Messages of a round
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    messages: u32,
    /// Delivery threads
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Workers at the same time, each with its threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    workers: u16,
    /// Rounds; the figures are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// A sink that runs already: a URL for webhook, HOST:PORT for smtp
    #[arg(long)]
    sink: Option<String>,
    /// Measures the time from the commit of an enqueue to the arrival at the webhook sink
    #[arg(long)]
    latency: bool,
    /// Measures how fast 1, 4 and 16 producers enqueue beside no worker, an idle one and one that has --messages
    /// to deliver, against a plain INSERT of the same rows
    #[arg(long, conflicts_with_all = ["latency", "mode"])]
    enqueue: bool,
    /// Enqueues a second, for --latency
    #[arg(long, default_value_t = 200, requires = "latency", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Length of --latency
    #[arg(long, default_value_t = 10, requires = "latency", value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// POST to a sink
    Webhook,
    /// Mail to a sink
    Smtp,
    /// Entries in the inbox
    Inbox,
    /// A transport that does nothing
    Noop,
}

impl Mode {
    fn method(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Smtp => "smtp",
            Self::Inbox => "inbox",
            Self::Noop => "noop",
        }
    }
}

/// What a run found; rates are messages a second.
#[derive(Debug, Serialize)]
struct Figures {
    mode: &'static str,
    messages: u32,
    threads: u16,
    workers: u16,
    queue_per_s: f64,
    delivery_per_s: Option<f64>,
    limit_per_s: f64,
    worker_per_s: f64,
    ratio: f64,
    /// CPU time in microseconds a message, of the last round.
    cpu_us: BTreeMap<&'static str, Cpu>,
    /// Each round, for the spread.
    rounds: BTreeMap<&'static str, Vec<f64>>,
}

impl Bench {
    pub(super) fn run(self, output: Output) -> Result<(), Failed> {
        if self.enqueue {
            let mut ground = Ground::new(Mode::Noop, self.threads, None)?;
            let rates = enqueue::measure(&mut ground, self.messages, self.rounds)?;
            return output.print(&rates, enqueue::Rates::text);
        }
        let mut ground = Ground::new(self.mode, self.threads, self.sink.as_deref())?;
        if self.latency {
            let duration = Duration::from_secs(self.seconds.into());
            let latency = latency::measure(&mut ground, self.rate, duration)?;
            return output.print(&latency, latency::Latency::text);
        }
        let (mut rounds, mut cpu_us) = (BTreeMap::<_, Vec<f64>>::new(), BTreeMap::new());
        for round in 1..=self.rounds {
            let mut note = |name, measured: Option<Measured>| {
                let Some(Measured { rate, cpu }) = measured else { return };
                eprintln!("round {round}: {name} {rate:.0}/s");
                rounds.entry(name).or_default().push(rate.round());
                cpu_us.extend(cpu.map(|cpu| (name, cpu)));
            };
            note("queue", Some(measure::queue(&mut ground, self.messages)?));
            note("delivery", measure::delivery(&mut ground, self.messages)?);
            note("worker", Some(measure::worker(&mut ground, self.messages, self.workers)?));
        }
        output.print(&self.figures(rounds, cpu_us), Figures::text)
    }

    fn figures(
        &self,
        rounds: BTreeMap<&'static str, Vec<f64>>,
        cpu_us: BTreeMap<&'static str, Cpu>,
    ) -> Figures {
        let rate = |name| rounds.get(name).map(|rates| median(rates));
        let queue = rate("queue").unwrap_or_default();
        let delivery = rate("delivery");
        let limit = delivery.map_or(queue, |delivery| 1.0 / (1.0 / queue + 1.0 / delivery));
        let worker = rate("worker").unwrap_or_default();
        Figures {
            mode: self.mode.method(),
            messages: self.messages,
            threads: self.threads,
            workers: self.workers,
            queue_per_s: queue,
            delivery_per_s: delivery,
            limit_per_s: limit.round(),
            worker_per_s: worker,
            ratio: (worker / limit * 1000.0).round() / 1000.0,
            cpu_us,
            rounds,
        }
    }
}

impl Figures {
    fn text(&self) -> String {
        let row = |(name, rates): (&&str, &Vec<f64>)| {
            let ends =
                |pick: fn(f64, f64) -> f64| rates.iter().copied().reduce(pick).unwrap_or(0.0);
            [
                (*name).to_owned(),
                format!("{:.0}", median(rates)),
                format!("{:.0} to {:.0}", ends(f64::min), ends(f64::max)),
                self.cpu_us.get(name).map_or_else(String::new, |cpu| {
                    format!("{:.0} + {:.0}", cpu.process, cpu.database)
                }),
            ]
        };
        let rows = self.rounds.iter().map(row).collect();
        format!(
            "{}\n{} messages, {} threads, {} workers: limit {:.0}/s, worker {:.0}/s, ratio {:.2}\n",
            table([self.mode, "median/s", "spread", "CPU us here + database"], rows),
            self.messages,
            self.threads,
            self.workers,
            self.limit_per_s,
            self.worker_per_s,
            self.ratio
        )
    }
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
