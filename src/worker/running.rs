//! A worker on a thread of its own, and what can be seen of it from outside.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;

use super::{Tally, WorkerError};

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
    pub(super) stop: Option<Sender<Infallible>>,
    pub(super) thread: Option<JoinHandle<Result<Tally, WorkerError>>>,
}

impl Running {
    /// Drains, within `worker.shutdown_timeout` and a few seconds, and tells what it did.
    ///
    /// # Errors
    ///
    /// As for [`Worker::run`](super::Worker::run).
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
        Some(thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(Err(err)) = self.end() {
            log::error!("worker: {err}");
        }
    }
}
