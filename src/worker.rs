//! The worker: three owners in a ring, joined by bounded channels, and their helpers.
//!
//! ```text
//!             Job                       Settled
//!   poller ────────▶ pool (rayon) ────────────────▶ writer
//!   ▲  ▲  acquire,     prepare,                       │ commit
//!   │  │  look up      deliver, decide                │
//!   │  └───────────────── credit ◀────────────────────┘
//!   └ wake-up ─ listener                    janitor (tables only)
//! ```
//!
//! A *credit* is the right to have one lease out. There are `in_flight_max` of them, and the
//! writer gives one back for each outcome it writes: slow commits slow the acquires.
//!
//! # Invariants
//!
//! - Each thread but those of the pool owns one connection; those of the pool have none.
//! - Each lease that enters the ring leaves it as one [`Settled`](crate::lease::Settled), panics included.
//! - Leases out never exceed `in_flight_max`, the bound of every channel, so no send waits for room.
//! - No shutdown flag: an owner that is done drops its ends of the channels; the next one finishes and does so, too.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rayon::ThreadPoolBuildError;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::store::admin;
use crate::store::connect::Connector;
use crate::store::migrate::{self, MigrateError};
use crate::store::postgres::PgStore;
use crate::store::upkeep::{Upkeep, WorkerInfo, compare_clocks};
use crate::telemetry;
use crate::transport::inbox::Inbox;
use crate::transport::smtp::Smtp;
use crate::transport::webhook::Webhook;
use crate::transport::{NotSetUp, Transport, Transports};

mod helper;
mod janitor;
mod listener;
mod pace;
mod poller;
mod pool;
mod prefetch;
mod ring;
mod running;
mod writer;

use helper::Helper;

#[cfg(test)]
mod tests;

pub use pace::Until;
pub use running::{LeasesOut, Running};
pub use writer::Tally;

/// Pauses between attempts to reach the database at the start.
const START_PAUSE_MIN: Duration = Duration::from_millis(200);
const START_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a worker could not start, or ended before its work was done.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// The schema is not the one of this build.
    #[error(transparent)]
    Schema(#[from] MigrateError),
    /// The delivery pool could not be built.
    #[error("build the delivery pool: {0}")]
    Pool(#[from] ThreadPoolBuildError),
    /// A thread could not be started.
    #[error("start a thread: {0}")]
    Spawn(#[from] io::Error),
    /// The writer died of a bug; the leases run out.
    #[error("the writer thread panicked; {leases} leases are left to run out")]
    Writer {
        /// Leases that nobody will settle.
        leases: usize,
    },
    /// The drain took longer than `worker.shutdown_timeout`.
    #[error("shutdown took longer than {limit:?}; {leases} leases are left to run out")]
    Shutdown {
        /// The limit.
        limit: Duration,
        /// Leases that nobody will settle.
        leases: usize,
    },
}

/// A worker that is set up but does not run yet.
pub struct Worker {
    config: Config,
    id: Uuid,
    transports: Transports,
    until: Until,
    gauge: Arc<AtomicUsize>,
    clock: Clock,
}

impl Worker {
    /// With the transports that `config` sets up: smtp, webhook and inbox.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Setting`] says which setting is wrong.
    pub fn new(config: Config) -> Result<Self, WorkerError> {
        let setting = |err: &dyn std::fmt::Display| WorkerError::Setting(err.to_string());
        config.check().map_err(|err| setting(&err))?;
        let smtp: Arc<dyn Transport> = if config.smtp.host.is_some() {
            let smtp = Smtp::new(&config.smtp, &config.branding).map_err(|err| setting(&err))?;
            Arc::new(smtp.with_final_reply_timeout(config.final_reply_timeout()))
        } else {
            Arc::new(NotSetUp { setting: "smtp.host" })
        };
        let clock = Clock::default();
        let webhook = Webhook::new(&config.webhook).map_err(|err| setting(&err))?;
        let webhook = webhook.with_branding(&config.branding);
        let transports: Transports = BTreeMap::from([
            ("smtp".to_owned(), smtp),
            ("webhook".to_owned(), Arc::new(webhook.with_clock(clock.clone()))),
            ("inbox".to_owned(), Arc::new(Inbox)),
        ]);
        let (id, gauge) = (Uuid::new_v4(), Arc::default());
        Ok(Self { config, id, transports, until: Until::Stopped, gauge, clock })
    }

    /// Adds a transport under a method name of its own, or replaces a stock one.
    #[must_use]
    pub fn with_transport(
        mut self,
        method: impl Into<String>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        self.transports.insert(method.into(), transport);
        self
    }

    /// Sets when it ends by itself; only when it is stopped, unless set.
    #[must_use]
    pub fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    /// Checks that it can carry the default methods that its settings name.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Setting`] says which one it cannot carry, and what is missing.
    pub fn check_methods(&self) -> Result<(), WorkerError> {
        let methods: Vec<&str> = self.transports.keys().map(String::as_str).collect();
        let checked = self.config.check_methods(&methods);
        checked.map_err(|err| WorkerError::Setting(err.to_string()))
    }

    /// A view of how many leases are out, for whoever ends the process by force.
    pub fn leases_out(&self) -> LeasesOut {
        LeasesOut(Arc::clone(&self.gauge))
    }

    /// Delivers on the caller's thread until `stop` is disconnected, then drains: what no thread
    /// has begun is given back, what is under way is finished and recorded.
    ///
    /// Waits for a database that is not there yet, unless it is to end by itself.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Shutdown`] if the drain took longer than `worker.shutdown_timeout`.
    pub fn run(self, stop: Receiver<Infallible>) -> Result<Tally, WorkerError> {
        self.check_methods()?;
        let connector = Connector::new(&self.config.database).map_err(MigrateError::Store)?;
        let listening =
            Connector::for_listening(&self.config.database).map_err(MigrateError::Store)?;
        if !self.wait_for_schema(&connector, &stop)? {
            return Ok(Tally::default());
        }
        let (wake_tx, wake) = bounded(1);
        let listen = |connector| listener::start(connector, wake_tx.clone());
        let listener = listening.map(listen).transpose()?;
        let (overdue_tx, overdue) = bounded(1);
        let upkeep = Upkeep::new(connector.clone(), self.config.retention);
        let worker = WorkerInfo { id: self.id, host: host_name() };
        let (clock, leases) = (self.clock.clone(), self.leases_out());
        let janitor = Helper::spawn("janitor", move |stop| {
            janitor::Janitor { upkeep, worker, clock, leases, overdue, stop }.run();
        })?;
        let lease = self.config.worker.lease_period;
        let methods: Vec<String> = self.transports.keys().cloned().collect();
        let store = || PgStore::new(connector.clone(), self.id, lease, &methods);
        if listener.is_none() {
            telemetry::cannot_listen(self.config.worker.silent_interval);
        }
        telemetry::worker_started(self.id, self.config.worker.threads, &methods.join(", "));
        let listens = listener.is_some();
        let result = self.ring(stop, (wake, listens), overdue_tx).run([store(), store()]);
        if let Ok(tally) = &result {
            telemetry::worker_stopped(self.id, &tally.to_string());
        }
        drop(wake_tx); // Until now the poller's end of the bell had to stay connected.
        listener.into_iter().chain([janitor]).for_each(Helper::stop);
        result
    }

    /// Delivers on a thread of its own until it is stopped.
    ///
    /// # Errors
    ///
    /// If the database cannot be reached or its schema is not the one of this build.
    pub fn start(self) -> Result<Running, WorkerError> {
        self.check_methods()?;
        let connector = Connector::new(&self.config.database).map_err(MigrateError::Store)?;
        self.greet(&connector)?;
        Running::start(self)
    }

    fn ring(
        &self,
        stop: Receiver<Infallible>,
        (wake, listens): (Receiver<()>, bool),
        overdue: Sender<()>,
    ) -> ring::Ring {
        let mut config = self.config.clone();
        if self.until != Until::Stopped {
            // What is due shall go now, so no message is put off for the sake of later ones.
            config.worker.threads_per_endpoint = Some(config.worker.threads);
        }
        ring::Ring {
            limits: pace::Limits::new(&config, self.until, listens),
            delivery: Arc::new(Delivery::new(&config, self.transports.clone())),
            shutdown_timeout: self.config.worker.shutdown_timeout,
            stop,
            wake,
            overdue,
            gauge: Arc::clone(&self.gauge),
        }
    }

    /// Checks the schema, and publishes what the settings say about enqueues, and the methods.
    fn greet(&self, connector: &Connector) -> Result<(), MigrateError> {
        let mut client = connector.connect()?;
        migrate::check(&mut client)?;
        admin::publish_defaults(&mut client, &self.config)?;
        let methods: Vec<&str> = self.transports.keys().map(String::as_str).collect();
        admin::methods::add(&mut client, &methods)?;
        // Before anything is signed.
        Ok(compare_clocks(&mut client, &self.clock)?)
    }

    /// Waits until the database answers; `false` if it is told to stop before.
    fn wait_for_schema(
        &self,
        connector: &Connector,
        stop: &Receiver<Infallible>,
    ) -> Result<bool, WorkerError> {
        let mut pause = START_PAUSE_MIN;
        loop {
            match self.greet(connector) {
                Ok(()) => return Ok(true),
                Err(MigrateError::Store(err)) if err.may_pass() && self.until == Until::Stopped => {
                    log::warn!("waiting for the database, next try in {pause:.1?}: {err}");
                }
                Err(err) => return Err(err.into()),
            }
            match stop.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(START_PAUSE_MAX),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Ok(never) => match never {},
            }
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}
