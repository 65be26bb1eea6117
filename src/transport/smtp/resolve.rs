//! The addresses of the relay.
//!
//! `getaddrinfo` cannot be cancelled, so one thread per transport runs it, and a delivery
//! waits for the answer no longer than its deadline. Answers are kept for a while, and the
//! last good one is used while DNS is out of order.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::transport::Deadline;

/// How long an answer is used.
const KEPT: Duration = Duration::from_mins(1);
/// How long a failure is: those who already wait share it, instead of asking one by one.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Questions that may wait; a delivery behind them waits to ask.
const QUESTIONS_MAX: usize = 64;
/// How long the end of the thread is waited for. A look-up that hangs longer is left to end
/// by itself; it holds nothing but the name.
const END_WAIT: Duration = Duration::from_secs(2);

type Answer = Result<Vec<SocketAddr>, String>;

/// Where the relay is.
pub(super) enum Resolver {
    /// Configured as an address.
    Literal(SocketAddr),
    /// To be looked up.
    Name(Lookup),
}

impl Resolver {
    /// For `host`, a name or an address.
    pub(super) fn new(host: &str, port: u16) -> io::Result<Self> {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(ip) => Ok(Self::Literal(SocketAddr::new(ip, port))),
            Err(_) => Lookup::start(host.to_owned(), port).map(Self::Name),
        }
    }

    /// Connects to the first address that answers. Each one gets an equal share of the time
    /// that is left, so that a dead one does not use it up.
    pub(super) fn connect(&self, deadline: Deadline) -> io::Result<TcpStream> {
        let addresses = match self {
            Self::Literal(address) => vec![*address],
            Self::Name(lookup) => lookup.ask(deadline)?,
        };
        let mut failure = io::Error::other("the name has no address");
        for (idx, address) in addresses.iter().enumerate() {
            let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
            let shares = u32::try_from(addresses.len() - idx).unwrap_or(u32::MAX);
            match TcpStream::connect_timeout(address, left / shares) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Err(err) => failure = err,
            }
        }
        Err(failure)
    }
}

/// The thread that looks up, and the way to ask it.
pub(super) struct Lookup {
    /// `None` only while it is dropped.
    questions: Option<Sender<Sender<Answer>>>,
    ended: Receiver<Infallible>,
    thread: Option<JoinHandle<()>>,
}

impl Lookup {
    fn start(host: String, port: u16) -> io::Result<Self> {
        let (questions, asked) = bounded::<Sender<Answer>>(QUESTIONS_MAX);
        let (alive, ended) = bounded(0);
        let thread = thread::Builder::new().name("smtp-resolver".into()).spawn(move || {
            let _alive: Sender<Infallible> = alive;
            answer(&asked, || (host.as_str(), port).to_socket_addrs().map(Iterator::collect));
        })?;
        Ok(Self { questions: Some(questions), ended, thread: Some(thread) })
    }

    fn ask(&self, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the name look-up took too long");
        let (answer_tx, answer) = bounded(1);
        let questions = self.questions.as_ref().ok_or_else(late)?;
        let left = || deadline.remaining().ok_or_else(late);
        questions.send_timeout(answer_tx, left()?).map_err(|_| late())?;
        match answer.recv_timeout(left()?) {
            Ok(answer) => answer.map_err(io::Error::other),
            Err(_) => Err(late()),
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.questions = None;
        let ended = self.ended.recv_timeout(END_WAIT) == Err(RecvTimeoutError::Disconnected);
        if let Some(thread) = self.thread.take()
            && ended
        {
            // It cannot have panicked with anything that the owner could mend.
            let _ = thread.join();
        }
    }
}

/// Answers until nobody can ask any more.
fn answer(asked: &Receiver<Sender<Answer>>, look_up: impl Fn() -> io::Result<Vec<SocketAddr>>) {
    let mut good: Option<Vec<SocketAddr>> = None;
    let mut known: Option<(Instant, Answer)> = None;
    for asker in asked {
        let fresh = known.take_if(|(until, _)| Instant::now() < *until);
        let (until, answer) = fresh.unwrap_or_else(|| match look_up() {
            Ok(addresses) => {
                good = Some(addresses.clone());
                (Instant::now() + KEPT, Ok(addresses))
            }
            Err(err) => {
                let answer = good.clone().ok_or_else(|| err.to_string());
                (Instant::now() + FAILURE_KEPT, answer)
            }
        });
        // Fails only if the asker's deadline has passed.
        let _ = asker.try_send(answer.clone());
        known = Some((until, answer));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Asks `times` times and gives the answers, and how often the name was looked up.
    fn ask_all(times: usize, results: &[io::Result<u16>]) -> (Vec<Answer>, usize) {
        let (questions, asked) = bounded(times);
        let answers: Vec<_> = (0..times)
            .map(|_| {
                let (answer_tx, answer_rx) = bounded(1);
                questions.send(answer_tx).unwrap();
                answer_rx
            })
            .collect();
        drop(questions);
        let calls = Cell::new(0);
        answer(&asked, || {
            let result = &results[calls.get()];
            calls.set(calls.get() + 1);
            match result {
                Ok(port) => Ok(vec![SocketAddr::from(([127, 0, 0, 1], *port))]),
                Err(err) => Err(io::Error::new(err.kind(), err.to_string())),
            }
        });
        (answers.iter().map(|answer| answer.recv().unwrap()).collect(), calls.get())
    }

    #[test]
    fn many_questions_cost_one_look_up() {
        let (answers, calls) = ask_all(3, &[Ok(25)]);
        assert_eq!(calls, 1);
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap()[0].port() == 25));
    }

    #[test]
    fn those_who_wait_share_a_failure() {
        let (answers, calls) = ask_all(3, &[Err(io::Error::other("no such name"))]);
        assert_eq!(calls, 1);
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err() == "no such name"));
    }

    #[test]
    fn a_hanging_look_up_holds_a_caller_no_longer_than_its_deadline() {
        let (questions, _nobody_answers) = bounded(1);
        let (_alive, ended) = bounded(0);
        let lookup = Lookup { questions: Some(questions), ended, thread: None };
        let begun = Instant::now();
        let err = lookup.ask(Deadline::after(Duration::from_millis(50))).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_millis(300));
    }

    #[test]
    fn an_address_needs_no_thread() {
        for host in ["127.0.0.1", "::1", "[::1]"] {
            assert!(matches!(Resolver::new(host, 25), Ok(Resolver::Literal(_))), "{host}");
        }
    }
}
