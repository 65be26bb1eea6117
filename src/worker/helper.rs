//! Threads beside the ring.

use std::convert::Infallible;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Longest that the end of a helper thread is waited for.
const LIMIT: Duration = Duration::from_secs(5);

/// A thread beside the ring, ended by the disconnection of its stop channel.
pub(super) struct Helper {
    name: &'static str,
    stop: Sender<Infallible>,
    /// Disconnected when the thread has ended.
    done: Receiver<Infallible>,
    thread: JoinHandle<()>,
}

impl Helper {
    pub(super) fn spawn(
        name: &'static str,
        work: impl FnOnce(Receiver<Infallible>) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let (done_tx, done) = bounded(0);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            work(stopped);
            drop(done_tx);
        })?;
        Ok(Self { name, stop, done, thread })
    }

    /// Ends the thread; one that a dead database holds for longer than the limit is left behind.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.done.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            log::warn!("thread {} did not end within {LIMIT:?}", self.name);
        } else if self.thread.join().is_err() {
            log::error!("thread {} panicked", self.name);
        }
    }
}
