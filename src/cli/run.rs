//! `run`: a worker in the foreground, and the signals that end it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{Receiver, Sender, bounded};
use postrider::config::{Config, Secret};
use postrider::embedded::Postgres;
use postrider::http::Monitor;
use postrider::store::admin;
use postrider::store::connect::Connector;
use postrider::store::migrate;
use postrider::worker::{LeasesOut, Tally, Until, Worker};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::output::{Failed, Output};
use super::publish_defaults;

/// A second signal that comes sooner is the same one: a process group and its supervisor often
/// both send it.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// Database of the embedded server.
const EMBEDDED_DATABASE: &str = "postrider";

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Ends when no message is leased, due, or due within --wait
    #[arg(long, conflicts_with = "once")]
    until_empty: bool,
    /// How far ahead --until-empty looks
    #[arg(long, value_name = "DURATION", default_value = "0s", requires = "until_empty")]
    #[arg(value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Ends after one pass over what is due
    #[arg(long)]
    once: bool,
    /// Serves /metrics, /healthz and /readyz there, for whoever can connect, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Starts a private PostgreSQL and keeps the queue there
    #[arg(long, requires = "data_dir")]
    embedded: bool,
    /// Where the private PostgreSQL keeps its data
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self, mut config: Config, output: Output) -> Result<(), Failed> {
        let server = self.start_embedded(&mut config)?;
        if config.database.url.is_some() && self.until() != Until::Stopped {
            publish_defaults(&mut Connector::new(&config.database)?.connect()?, &config)?;
        }
        let database = config.database.clone();
        let worker = Worker::new(config).map_err(|err| Failed::usage(err.to_string()))?;
        let worker = worker.until(self.until());
        let stop = stop_on_signals(worker.leases_out())?;
        let monitor = self.http.as_deref().map(|address| {
            let monitor = Monitor::start(address, &database, worker.leases_out());
            monitor.inspect(|it| log::info!("monitor on http://{}", it.address()))
        });
        let monitor = monitor.transpose().map_err(|err| Failed::new(err.to_string()))?;
        let tally = worker.run(stop).map_err(|err| Failed::new(err.to_string()))?;
        drop((monitor, server));
        print_tally(tally, output)
    }

    fn until(&self) -> Until {
        match (self.until_empty, self.once) {
            (true, _) => Until::Empty(self.wait),
            (_, true) => Until::Once,
            _ => Until::Stopped,
        }
    }

    fn start_embedded(&self, config: &mut Config) -> Result<Option<Postgres>, Failed> {
        let (true, Some(dir)) = (self.embedded, &self.data_dir) else { return Ok(None) };
        let server = Postgres::in_dir(dir).map_err(|err| Failed::new(err.to_string()))?;
        config.database.url = Some(Secret::new(server.url("postgres")));
        let mut client = Connector::new(&config.database)?.connect()?;
        admin::create_database(&mut client, EMBEDDED_DATABASE)?;
        let url = server.url(EMBEDDED_DATABASE);
        eprintln!("embedded PostgreSQL: {url}");
        config.database.url = Some(Secret::new(url));
        migrate::migrate(&mut Connector::new(&config.database)?.connect_for_migration()?)?;
        Ok(Some(server))
    }
}

fn print_tally(tally: Tally, output: Output) -> Result<(), Failed> {
    let Tally { sent, deferred, ended, released, lost } = tally;
    let value = json!({
        "sent": sent, "deferred": deferred, "ended": ended, "released": released, "lost": lost
    });
    output.print(&value, |_| {
        format!("sent {sent}, deferred {deferred}, ended {ended}, released {released}, lost {lost}")
    })
}

/// A channel that is disconnected by the first SIGTERM, SIGINT or SIGHUP. A later one ends the
/// process at once, with code 1.
pub(super) fn stop_on_signals(leases: LeasesOut) -> Result<Receiver<Infallible>, Failed> {
    let failed = |err: std::io::Error| Failed::new(format!("install signal handlers: {err}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let (stop_tx, stop) = bounded(0);
    let watch = move || watch_signals(signals.forever(), stop_tx, &leases);
    // Ends with the process: it waits for signals as long as there may be any.
    thread::Builder::new().name("signals".into()).spawn(watch).map_err(failed)?;
    Ok(stop)
}

fn watch_signals(signals: impl Iterator<Item = i32>, stop: Sender<Infallible>, leases: &LeasesOut) {
    let mut stop = Some(stop);
    let mut first = None;
    for _ in signals {
        let now = Instant::now();
        if stop.take().is_some() {
            first = Some(now);
            log::info!("stopping: finishing what is under way; a second signal ends at once");
        } else if first.is_some_and(|at| SAME_SIGNAL < now - at) {
            eprintln!(
                "postrider: ended by a second signal; {} leases are left to run out",
                leases.get()
            );
            std::process::exit(1);
        }
    }
}
