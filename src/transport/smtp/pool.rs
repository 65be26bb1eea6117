//! Connections that are kept for the next message. Each delivery uses one, so there are never more
//! of them than deliveries at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::session::Session;

/// How long a connection is kept unused; relays close idle ones after minutes.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Idle sessions.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    session: Session,
    since: Instant,
}

impl Pool {
    /// The session used last, which is the one most likely alive.
    pub(super) fn take(&self) -> Option<Session> {
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
