//! Names to addresses, by the system's resolver, for many threads with a limit on the wait.
//!
//! `getaddrinfo` cannot be interrupted, so each look-up has a thread of its own, up to a number. One
//! that hangs holds its own name, and nobody else. Threads that ask for the same name share one
//! look-up, and answers are kept for a short time, because the system call tells no time to live. While
//! the resolver does not answer, older ones are used.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::transport::Deadline;

#[cfg(test)]
mod tests;

/// Look-ups at a time. Names that hang cost half a minute each, and a worker waits for as many as half
/// of its threads, ten seconds each: this is several times more.
const LOOKUPS_MAX: usize = 256;
/// Enough for the resolver and its plugins.
const STACK_SIZE: usize = 512 << 10;
/// Names that are remembered.
const NAMES_MAX: usize = 4096;
/// How long addresses are used.
const FRESH: Duration = Duration::from_secs(30);
/// How long a failure stands: long enough for the threads that wait for it, and to spare the
/// name server a storm.
const FAILED_FRESH: Duration = Duration::from_secs(1);
/// How long addresses are used while the resolver hangs.
const OLD_MAX: Duration = Duration::from_hours(1);
/// How long fresh ones are waited for, where there are old ones.
const OLD_PATIENCE: Duration = Duration::from_millis(250);
/// A name that has no answer by then gets none. A name server that is there says no sooner than
/// [`NO_ANSWER`].
const LIMIT: Duration = Duration::from_secs(10);
const NO_ANSWER: Duration = Duration::from_secs(2);
/// Limit of the wait for look-ups that run when the last user goes.
const END_LIMIT: Duration = Duration::from_secs(2);

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

/// A resolver, and what it has found.
pub(super) struct Dns {
    table: Arc<Table>,
    lookup: Arc<dyn Lookup>,
}

/// What is known, and a bell for those who wait to know.
#[derive(Default)]
struct Table {
    names: Mutex<Names>,
    answered: Condvar,
}

#[derive(Default)]
struct Names {
    entries: HashMap<Arc<str>, Entry>,
    /// Look-ups under way.
    running: usize,
}

#[derive(Default)]
struct Entry {
    answer: Option<(Instant, Answer)>,
    /// When the look-up that runs began.
    asked: Option<Instant>,
    /// The address that last took a connection. It stands first.
    worked: Option<IpAddr>,
}

pub(super) type Answer = Result<Arc<[IpAddr]>, LookupError>;

impl Dns {
    /// A resolver that has found nothing yet.
    pub(super) fn new(lookup: impl Lookup) -> Self {
        Self { table: Arc::default(), lookup: Arc::new(lookup) }
    }

    /// Addresses of a host: at least one. An address needs no look-up. Waits until `limit`, and no
    /// longer than [`LIMIT`].
    pub(super) fn addresses(&self, host: &str, limit: Deadline) -> Answer {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Arc::new([address]));
        }
        let (limit, patience) = (limit.at_most(LIMIT), limit.at_most(OLD_PATIENCE));
        let mut names = self.table.names();
        loop {
            let entry = names.entries.get(host);
            if let Some(answer) = entry.and_then(Entry::fresh) {
                return answer;
            }
            let asked = entry.and_then(|entry| entry.asked);
            let old = entry.and_then(Entry::old);
            let waited = |span| asked.is_some_and(|asked: Instant| span <= asked.elapsed());
            match old {
                Some(old) if waited(OLD_PATIENCE) => return Ok(old),
                // Who asks now shall not wait as long as the first one.
                None if waited(LIMIT) => return Err(LookupError::TimedOut),
                _ => (),
            }
            if asked.is_none() && names.running < LOOKUPS_MAX {
                self.ask(&mut names, host)?;
            }
            let limit = if old.is_some() { patience } else { limit };
            let Some(left) = limit.remaining() else {
                let is_asked = names.entries.get(host).is_some_and(|entry| entry.asked.is_some());
                let fault = if is_asked { LookupError::TimedOut } else { LookupError::Busy };
                return old.ok_or(fault);
            };
            let woken = self.table.answered.wait_timeout(names, left);
            names = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes that an address of a host took a connection.
    pub(super) fn worked(&self, host: &str, address: IpAddr) {
        if let Some(entry) = self.table.names().entries.get_mut(host)
            && entry.worked != Some(address)
        {
            entry.worked = Some(address);
            entry.sort();
        }
    }

    /// Makes every answer older.
    #[cfg(test)]
    pub(super) fn age(&self, span: Duration) {
        for entry in self.table.names().entries.values_mut() {
            for at in entry.answer.iter_mut().map(|(at, _)| at).chain(&mut entry.asked) {
                *at = at.checked_sub(span).unwrap();
            }
        }
    }

    /// Starts a look-up.
    fn ask(&self, names: &mut Names, host: &str) -> Result<(), LookupError> {
        names.make_room();
        let (name, now) = (Arc::<str>::from(host), Instant::now());
        let (table, lookup, asked) =
            (Arc::clone(&self.table), Arc::clone(&self.lookup), Arc::clone(&name));
        let thread = thread::Builder::new().name("resolve".into()).stack_size(STACK_SIZE);
        let started = thread.spawn(move || {
            let found = lookup(&asked);
            table.answer(&asked, found);
        });
        started.map_err(|error| LookupError::Ours(error.to_string().into()))?;
        names.entries.entry(name).or_default().asked = Some(now);
        names.running += 1;
        Ok(())
    }
}

impl Table {
    fn names(&self) -> MutexGuard<'_, Names> {
        // Nothing in here is half-done between two statements.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, name: &str, found: io::Result<Vec<IpAddr>>) {
        let answer = match found {
            Ok(addresses) if addresses.is_empty() => {
                Err(LookupError::NotFound("no address".into()))
            }
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(error.into()),
        };
        let mut names = self.names();
        names.running -= 1;
        if let Some(entry) = names.entries.get_mut(name) {
            entry.take(answer);
        }
        drop(names);
        self.answered.notify_all();
    }
}

impl Names {
    fn make_room(&mut self) {
        if NAMES_MAX <= self.entries.len() {
            self.entries.retain(|_, entry| entry.asked.is_some() || entry.fresh().is_some());
        }
        if NAMES_MAX <= self.entries.len() {
            self.entries.retain(|_, entry| entry.asked.is_some());
        }
    }
}

impl Entry {
    fn fresh(&self) -> Option<Answer> {
        let (at, answer) = self.answer.as_ref()?;
        let span = if answer.is_ok() { FRESH } else { FAILED_FRESH };
        (at.elapsed() < span).then(|| answer.clone())
    }

    /// Addresses that are better than none.
    fn old(&self) -> Option<Arc<[IpAddr]>> {
        let (at, answer) = self.answer.as_ref()?;
        answer.as_ref().ok().filter(|_| at.elapsed() < OLD_MAX).cloned()
    }

    /// The answer of a look-up. A failure that came late is no answer of a name server, so it stands
    /// only where there are no addresses.
    fn take(&mut self, answer: Answer) {
        let late = self.asked.take().is_some_and(|asked| NO_ANSWER <= asked.elapsed());
        if answer.is_err() && late && self.old().is_some() {
            return;
        }
        self.answer = Some((Instant::now(), answer));
        self.sort();
    }

    /// Puts the address first that worked.
    fn sort(&mut self) {
        if let (Some((_, Ok(addresses))), Some(worked)) = (&mut self.answer, self.worked) {
            let mut sorted = addresses.to_vec();
            sorted.sort_by_key(|address| *address != worked);
            *addresses = sorted.into();
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        // A look-up that hangs on cannot be ended, and must not keep the process: it is left
        // behind, holding no more than its name.
        let runs = |names: &mut Names| 0 < names.running;
        let ended = self.table.answered.wait_timeout_while(self.table.names(), END_LIMIT, runs);
        drop(ended);
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
    /// The resolver hangs, for so many names that no more are asked for.
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
