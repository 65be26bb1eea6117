//! Connections that are kept for the next message.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::session::Session;
use crate::transport::Deadline;

/// How long a connection is kept unused; relays close idle ones after minutes.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Idle sessions, and the right to use one.
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    permits: Receiver<()>,
    returned: Sender<()>,
}

struct Idle {
    session: Session,
    since: Instant,
}

/// The right to use one connection. A new one is opened only when none is idle, so permits
/// limit the open ones as well.
pub(super) struct Permit<'a>(&'a Sender<()>);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // There is room: as many permits as the channel holds were ever made.
        let _ = self.0.try_send(());
    }
}

impl Pool {
    /// For at most `connections_max` connections, at least one.
    pub(super) fn new(connections_max: usize) -> Self {
        let connections_max = connections_max.max(1);
        let (returned, permits) = bounded(connections_max);
        for _ in 0..connections_max {
            returned.try_send(()).expect("the channel was made for as many");
        }
        Self { idle: Mutex::default(), permits, returned }
    }

    /// Waits until a connection may be used; `None` if the deadline comes first.
    pub(super) fn permit(&self, deadline: Deadline) -> Option<Permit<'_>> {
        self.permits.recv_timeout(deadline.remaining()?).ok()?;
        Some(Permit(&self.returned))
    }

    /// The session used last, which is the one most likely alive.
    pub(super) fn take(&self, _permit: &Permit<'_>) -> Option<Session> {
        let (expired, session) = {
            let mut idle = self.lock();
            let fresh = idle.partition_point(|it| IDLE_MAX < it.since.elapsed());
            let expired: Vec<Idle> = idle.drain(..fresh).collect();
            (expired, idle.pop())
        };
        for it in expired {
            it.session.quit();
        }
        session.map(|it| it.session)
    }

    /// Keeps a session for the next message, if it is fit for one.
    pub(super) fn put(&self, session: Session) {
        if session.is_reusable() {
            self.lock().push(Idle { session, since: Instant::now() });
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Nothing that can panic happens under the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.lock());
        for it in idle {
            it.session.quit();
        }
    }
}
