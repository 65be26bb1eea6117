//! A worker on a thread of its own, and what can be seen of it from outside.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{Tally, Worker, WorkerError};

/// How much longer than its limit a drain is waited for: a silent database can hold the poller
/// before the limit begins to count.
const MARGIN: Duration = Duration::from_secs(10);

/// How many leases a worker has out.
#[derive(Debug, Clone)]
pub struct LeasesOut(pub(super) Arc<AtomicUsize>);

impl LeasesOut {
    /// The number now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A worker on a thread of its own. Dropping it stops it, too.
#[must_use = "a worker that is dropped stops"]
pub struct Running {
    /// `None` once it was told to stop.
    stop: Option<Sender<Infallible>>,
    done: Receiver<Result<Tally, WorkerError>>,
    thread: Option<JoinHandle<()>>,
    limit: Duration,
    leases: LeasesOut,
}

impl Running {
    pub(super) fn start(worker: Worker) -> Result<Self, WorkerError> {
        let (stop_tx, stop) = bounded(0);
        let (done_tx, done) = bounded(1);
        let (limit, leases) = (worker.config.worker.shutdown_timeout, worker.leases_out());
        let thread = thread::Builder::new().name("postrider".into()).spawn(move || {
            // Fails only if nobody waits any more.
            let _ = done_tx.send(worker.run(stop));
        })?;
        Ok(Self { stop: Some(stop_tx), done, thread: Some(thread), limit, leases })
    }

    /// Drains, and tells what it did: within `worker.shutdown_timeout`, or 10 s later while the
    /// database hangs. A thread that hangs longer is left behind.
    ///
    /// # Errors
    ///
    /// As for [`Worker::run`].
    pub fn stop(mut self) -> Result<Tally, WorkerError> {
        self.end().unwrap_or_else(|| Ok(Tally::default()))
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn end(&mut self) -> Option<Result<Tally, WorkerError>> {
        drop(self.stop.take());
        let thread = self.thread.take()?;
        let result = match self.done.recv_timeout(self.limit + MARGIN) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                let (limit, leases) = (self.limit, self.leases.get());
                return Some(Err(WorkerError::Shutdown { limit, leases }));
            }
            // It panicked before it could send, and the join below says how.
            Err(RecvTimeoutError::Disconnected) => Ok(Tally::default()),
        };
        Some(thread.join().map_or_else(|payload| std::panic::resume_unwind(payload), |()| result))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(Err(err)) = self.end() {
            log::error!("worker: {err}");
        }
    }
}
