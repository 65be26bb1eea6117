//! `run`: a worker in the foreground, and the signals that end it.

use std::convert::Infallible;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::{Receiver, Sender, bounded};
use postrider::config::{Config, Secret, duration};
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

/// A second signal that comes sooner is the same one: a process group and its supervisor often
/// both send it.
const SAME_SIGNAL: Duration = Duration::from_millis(100);
/// How often a drain is looked after.
const SIGNAL_CHECK: Duration = Duration::from_millis(20);
/// How much longer than its limit a drain may take before the process is ended.
const EXIT_MARGIN: Duration = Duration::from_millis(500);
/// Database of the embedded server.
const EMBEDDED_DATABASE: &str = "postrider";

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Ends when no message is leased, due, or due within --wait
    #[arg(long, conflicts_with = "once")]
    until_empty: bool,
    /// How far ahead --until-empty looks
    #[arg(long, value_name = "DURATION", default_value = "0ms", requires = "until_empty")]
    #[arg(value_parser = duration::parse)]
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
    #[arg(long, value_name = "DIR", requires = "embedded")]
    data_dir: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self, mut config: Config, output: Output) -> Result<(), Failed> {
        let server = self.start_embedded(&mut config)?;
        let (limit, database) = (config.worker.shutdown_timeout, config.database.clone());
        let worker = Worker::new(config)?.until(self.until());
        worker.check_methods()?;
        let stop = stop_on_signals(limit, worker.leases_out())?;
        let monitor = self.http.as_deref().map(|address| {
            let monitor = Monitor::start(address, &database, worker.leases_out());
            monitor.inspect(|it| log::info!("monitor on http://{}", it.address()))
        });
        let monitor = monitor.transpose().map_err(|err| Failed::new(err.to_string()))?;
        let tally = worker.run(stop)?;
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
        config.database.url = Some(Secret::new(server.url(EMBEDDED_DATABASE)));
        eprintln!(
            "embedded PostgreSQL: host=127.0.0.1 port={} dbname={EMBEDDED_DATABASE} user=postgres, \
             password in {}",
            server.port(),
            server.password_file().display()
        );
        migrate::migrate(&mut Connector::new(&config.database)?.connect_for_migration()?)?;
        Ok(Some(server))
    }
}

fn print_tally(tally: Tally, output: Output) -> Result<(), Failed> {
    let Tally { sent, deferred, ended, released, lost, refused } = tally;
    let value = json!({
        "sent": sent, "deferred": deferred, "ended": ended, "released": released, "lost": lost,
        "refused": refused,
    });
    output.print(&value, |_| tally.to_string())
}

/// A channel that is disconnected by the first SIGTERM, SIGINT or SIGHUP. A later one, or a
/// drain that takes longer than `limit`, ends the process at once, with code 1.
fn stop_on_signals(limit: Duration, leases: LeasesOut) -> Result<Receiver<Infallible>, Failed> {
    let failed = |err: std::io::Error| Failed::new(format!("install signal handlers: {err}"));
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let (stop_tx, stop) = bounded(0);
    let watch = move || watch_signals(signals, stop_tx, limit, &leases);
    // Ends with the process: it waits for signals as long as there may be any.
    thread::Builder::new().name("signals".into()).spawn(watch).map_err(failed)?;
    Ok(stop)
}

fn watch_signals(
    mut signals: Signals,
    stop: Sender<Infallible>,
    limit: Duration,
    leases: &LeasesOut,
) {
    while signals.wait().count() == 0 {}
    let first = Instant::now();
    log::info!("stopping: finishing what is under way; a second signal ends at once");
    drop(stop);
    loop {
        thread::sleep(SIGNAL_CHECK);
        let again = 0 < signals.pending().count() && SAME_SIGNAL < first.elapsed();
        let reason = match () {
            () if again => "by a second signal",
            () if limit + EXIT_MARGIN < first.elapsed() => "because the drain took too long",
            () => continue,
        };
        eprintln!("postrider: ended {reason}; {} leases are left to run out", leases.get());
        std::process::exit(1);
    }
}
