//! The worker processes.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::signal;
use crate::wait::{comes_true, wait_until};

/// How long a lease holds.
pub(crate) const LEASE: Duration = Duration::from_secs(4);
/// Leases that a worker may have out.
pub(crate) const IN_FLIGHT_MAX: u64 = 24;
/// Longest that a drain may take, with what comes after it.
const DRAIN: Duration = Duration::from_secs(25);
/// After this time a worker has started all its threads.
const GROWN: Duration = Duration::from_secs(3);
/// One that still waits for its database has fewer.
const THREADS_GROWN: usize = 16;
/// How many more threads and descriptors than when it was young a worker may have: pools of
/// connections fill as they are needed.
const THREADS_MORE: usize = 2;
const FILES_MORE: usize = 40;

/// Settings of a worker beside its addresses.
const SETTINGS: [(&str, &str); 14] = [
    ("POSTRIDER_DATABASE__STATEMENT_TIMEOUT", "2s"),
    ("POSTRIDER_DATABASE__CONNECT_TIMEOUT", "2s"),
    ("POSTRIDER_WORKER__THREADS", "12"),
    ("POSTRIDER_WORKER__IN_FLIGHT_MAX", "24"),
    ("POSTRIDER_WORKER__FETCH_INTERVAL", "500ms"),
    ("POSTRIDER_WORKER__LEASE_PERIOD", "4s"),
    ("POSTRIDER_WORKER__DISPATCH_TIMEOUT", "1s"),
    ("POSTRIDER_WORKER__SHUTDOWN_TIMEOUT", "15s"),
    ("POSTRIDER_WORKER__MAX_ATTEMPTS", "1000"),
    ("POSTRIDER_WEBHOOK__ALLOW_PRIVATE", "true"),
    ("POSTRIDER_WEBHOOK__RETRY__INITIAL", "200ms"),
    ("POSTRIDER_WEBHOOK__RETRY__MULTIPLIER", "1.5"),
    ("POSTRIDER_WEBHOOK__RETRY__MAX", "2s"),
    ("POSTRIDER_LOG__LEVEL", "info"),
];

/// Where the workers find what they need.
pub(crate) struct Addresses {
    pub(crate) database_url: String,
    pub(crate) peer: SocketAddr,
}

/// All workers. They are killed when this is dropped.
pub(crate) struct Fleet {
    addresses: Addresses,
    logs: PathBuf,
    started: usize,
    workers: Vec<Worker>,
}

struct Worker {
    child: Child,
    log: PathBuf,
    started: Instant,
    /// Threads and descriptors when it was young, but had all that it needs.
    young: Option<(usize, usize)>,
}

impl Fleet {
    pub(crate) fn start(addresses: Addresses, count: usize) -> Self {
        let name = format!("postrider-faults-{}", uuid::Uuid::new_v4());
        let logs = std::env::temp_dir().join(name);
        fs::create_dir_all(&logs).unwrap();
        let mut fleet = Self { addresses, logs, started: 0, workers: Vec::new() };
        for _ in 0..count {
            let worker = fleet.worker();
            fleet.workers.push(worker);
        }
        fleet
    }

    fn worker(&mut self) -> Worker {
        self.started += 1;
        let log = self.logs.join(format!("worker-{}.log", self.started));
        let child = Command::new(env!("CARGO_BIN_EXE_postrider"))
            .arg("run")
            .env_clear()
            .envs(SETTINGS)
            .env("POSTRIDER_DATABASE_URL", &self.addresses.database_url)
            .env("POSTRIDER_WEBHOOK__ENDPOINT", format!("http://{}/hook", self.addresses.peer))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Worker { child, log, started: Instant::now(), young: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    pub(crate) fn pid(&self, index: usize) -> u32 {
        self.workers[index].child.id()
    }

    /// Kills a worker and starts another one.
    pub(crate) fn kill(&mut self, index: usize) {
        self.workers[index].child.kill().unwrap();
        self.workers[index].child.wait().unwrap();
        self.workers[index] = self.worker();
    }

    /// Asks a worker to end, and starts another one when it has.
    pub(crate) fn stop(&mut self, index: usize) -> ExitStatus {
        signal("TERM", self.pid(index));
        let child = &mut self.workers[index].child;
        let mut status = None;
        wait_until(DRAIN, "a worker ends after SIGTERM", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        let last_words = self.workers[index].last_words();
        let status = status.unwrap();
        println!("  ended with {status}{}", if status.success() { "" } else { &last_words });
        self.workers[index] = self.worker();
        status
    }

    /// Checks that no worker has ended by itself.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        for worker in &mut self.workers {
            let ended = worker.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "a worker ended by itself: {ended:?}\n{}",
                worker.last_words()
            );
        }
    }

    /// Notes threads and descriptors of workers that are new.
    pub(crate) fn note_usage(&mut self) {
        let grown = |it: &&mut Worker| it.young.is_none() && GROWN < it.started.elapsed();
        for worker in self.workers.iter_mut().filter(grown) {
            worker.young = usage(worker.child.id()).filter(|it| THREADS_GROWN <= it.0);
        }
    }

    /// Checks that threads and descriptors are about as many as when each worker was young.
    #[track_caller]
    pub(crate) fn assert_usage(&self) {
        for worker in &self.workers {
            let (Some(young), pid) = (worker.young, worker.child.id()) else { continue };
            let mut now = young;
            let normal = comes_true(Duration::from_secs(20), || {
                now = usage(pid).unwrap_or(young);
                now.0 <= young.0 + THREADS_MORE && now.1 <= young.1 + FILES_MORE
            });
            assert!(
                normal,
                "threads and files grew from {young:?} to {now:?}\n{}",
                worker.last_words()
            );
        }
    }

    /// What each worker uses, where the system tells.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        self.workers.iter().filter_map(|worker| Usage::of(worker.child.id())).collect()
    }

    /// The ends of all logs.
    pub(crate) fn last_words(&self) -> String {
        self.workers.iter().map(Worker::last_words).collect()
    }

    /// Ends all of them in order, and removes the logs.
    pub(crate) fn finish(mut self) {
        for index in 0..self.len() {
            signal("TERM", self.pid(index));
        }
        for worker in &mut self.workers {
            wait_until(DRAIN, "an idle worker ends", || worker.child.try_wait().unwrap().is_some());
            let status = worker.child.wait().unwrap();
            assert!(status.success(), "{status}\n{}", worker.last_words());
        }
        fs::remove_dir_all(&self.logs).unwrap();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.child.kill(); // it may have ended
            let _ = worker.child.wait();
        }
    }
}

impl Worker {
    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(25);
        format!("\n--- {}\n{}", self.log.display(), lines[from..].join("\n"))
    }
}

/// What a process uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) threads: usize,
    pub(crate) files: usize,
}

impl Usage {
    /// Of a process, where the system tells.
    fn of(pid: u32) -> Option<Self> {
        let (threads, files) = usage(pid)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib = resident.split_whitespace().next()?.parse().ok()?;
        Some(Self { resident_kib, threads, files })
    }
}

/// Threads and descriptors of a process, where the system tells.
fn usage(pid: u32) -> Option<(usize, usize)> {
    let count = |what: &str| {
        let path = format!("/proc/{pid}/{what}");
        Some(fs::read_dir(Path::new(&path)).ok()?.count())
    };
    Some((count("task")?, count("fd")?))
}
