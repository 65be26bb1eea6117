//! Names to addresses, by the system's resolver, for many threads with a limit on the wait.
//!
//! `getaddrinfo` cannot be interrupted, so it runs on a fixed set of threads: a hung name server
//! holds these, and nobody else. Threads that ask for the same name share one look-up, and
//! answers are kept for a short time, because the system call tells no time to live.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::transport::Deadline;

#[cfg(test)]
mod tests;

/// Look-ups at a time. A guess: a bulk run to many hosts needs some, a dead server hangs all.
const THREADS: usize = 8;
/// Names that wait for a thread.
const QUEUE_MAX: usize = 1024;
/// Names that are remembered.
const NAMES_MAX: usize = 4096;
/// How long addresses are used.
const FRESH: Duration = Duration::from_secs(30);
/// How long a failure stands: long enough for the threads that wait for it, and to spare the
/// name server a storm.
const FAILED_FRESH: Duration = Duration::from_secs(1);
/// Limit of the wait for look-ups that run when the last user goes.
const JOIN_LIMIT: Duration = Duration::from_secs(2);

/// Asks for the addresses of a name. Blocks for as long as it likes.
pub(super) trait Lookup:
    Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static
{
}
impl<F: Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static> Lookup for F {}

/// The system's resolver.
pub(super) fn system_lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// Owner of the threads that look names up.
pub(super) struct Dns {
    table: Arc<Table>,
    /// `None` only while it is dropped.
    names: Option<Sender<Arc<str>>>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected once all threads are done.
    done: Receiver<Infallible>,
}

/// What is known, and a bell for those who wait to know.
#[derive(Default)]
struct Table {
    entries: Mutex<HashMap<Arc<str>, Entry>>,
    answered: Condvar,
}

enum Entry {
    /// A thread has been asked.
    Asked,
    Answered {
        at: Instant,
        answer: Answer,
    },
}

type Answer = Result<Arc<[IpAddr]>, LookupError>;

impl Dns {
    /// Starts the threads.
    pub(super) fn start(lookup: impl Lookup) -> io::Result<Self> {
        let lookup = Arc::new(lookup);
        let (names, queue) = bounded::<Arc<str>>(QUEUE_MAX);
        let (alive, done) = bounded(0);
        let table = Arc::new(Table::default());
        let mut dns = Self { table, names: Some(names), threads: Vec::new(), done };
        for index in 0..THREADS {
            let (table, lookup, queue) =
                (Arc::clone(&dns.table), Arc::clone(&lookup), queue.clone());
            let alive: Sender<Infallible> = alive.clone();
            let thread =
                thread::Builder::new().name(format!("resolve-{index}")).spawn(move || {
                    queue.iter().for_each(|name| {
                        let found = lookup(&name);
                        table.answer(name, found);
                    });
                    drop(alive);
                })?;
            dns.threads.push(thread);
        }
        Ok(dns)
    }

    /// Addresses of a host: at least one. An address needs no look-up. Waits until `limit`.
    pub(super) fn addresses(&self, host: &str, limit: Deadline) -> Answer {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::new([address]));
        }
        let mut entries = self.table.lock();
        loop {
            match entries.get(host) {
                Some(Entry::Answered { at, answer }) if is_fresh(*at, answer) => {
                    return answer.clone();
                }
                Some(Entry::Asked) => (),
                Some(Entry::Answered { .. }) | None => self.ask(&mut entries, host)?,
            }
            let left = limit.remaining().ok_or(LookupError::TimedOut)?;
            let woken = self.table.answered.wait_timeout(entries, left);
            entries = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes every answer old.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.table.lock().retain(|_, entry| matches!(entry, Entry::Asked));
    }

    /// Hands a name to the threads, without waiting for room.
    fn ask(&self, entries: &mut HashMap<Arc<str>, Entry>, host: &str) -> Result<(), LookupError> {
        if NAMES_MAX <= entries.len() {
            entries.retain(|_, entry| matches!(entry, Entry::Asked));
        }
        let name: Arc<str> = host.into();
        let names = self.names.as_ref().expect("only drop takes it");
        names.try_send(Arc::clone(&name)).map_err(|_| LookupError::Busy)?;
        entries.insert(name, Entry::Asked);
        Ok(())
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        // Nothing in here is half-done between two statements.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, name: Arc<str>, found: io::Result<Vec<IpAddr>>) {
        let answer = match found {
            Ok(addresses) if addresses.is_empty() => {
                Err(LookupError::NotFound("no address".into()))
            }
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(error.into()),
        };
        self.lock().insert(name, Entry::Answered { at: Instant::now(), answer });
        self.answered.notify_all();
    }
}

fn is_fresh(at: Instant, answer: &Answer) -> bool {
    at.elapsed() < if answer.is_ok() { FRESH } else { FAILED_FRESH }
}

impl Drop for Dns {
    fn drop(&mut self) {
        drop(self.names.take());
        // A look-up that hangs on cannot be ended, and must not keep the process: it is left
        // behind, holding no more than its name.
        let hung = self.done.recv_timeout(JOIN_LIMIT).is_err_and(|error| error.is_timeout());
        for thread in self.threads.drain(..).filter(|thread| !hung || thread.is_finished()) {
            // A thread that panicked has nothing left to tell.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dns")
    }
}

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// The resolver says so.
    #[error("{0}")]
    NotFound(Arc<str>),
    /// The resolver says nothing.
    #[error("the name was not resolved in time")]
    TimedOut,
    /// This machine has no means left to ask.
    #[error("{0}")]
    Ours(Arc<str>),
    /// The resolver hangs, and so many names wait for it that one more would not help.
    #[error("the resolver of this host does not keep up")]
    Busy,
}

impl From<io::Error> for LookupError {
    fn from(error: io::Error) -> Self {
        let reason = error.to_string().into();
        if is_ours(&error) { Self::Ours(reason) } else { Self::NotFound(reason) }
    }
}

/// Whether an error says that this machine lacks something, whatever the far end: descriptors, memory,
/// a network that is up.
pub(super) fn is_ours(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ENETDOWN)
    )
}
