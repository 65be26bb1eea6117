//! How long a server may be silent once it was asked something.
//!
//! `statement_timeout` is kept by the server, and keepalives are answered by its kernel. A
//! session that is stopped or stuck does not notice the one and does not stop the other, so
//! the wait for an answer has a limit here, too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Type and length of `ReadyForQuery`, which ends every answer; one octet follows.
const READY: [u8; 5] = [b'Z', 0, 0, 0, 5];

/// The state of a conversation.
pub(super) struct Patience {
    /// Limit of silence; first that of a login, then that of an answer.
    limit: Duration,
    answer: Duration,
    /// When silence becomes too long; `None` while nothing is asked.
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The last octets heard.
    tail: [u8; 6],
}

impl Patience {
    pub(super) fn new(startup: Duration, answer: Duration) -> Self {
        Self { limit: startup, answer, deadline: None, timer: None, tail: [0; 6] }
    }

    /// Something was sent.
    pub(super) fn asked(&mut self) {
        self.deadline.get_or_insert_with(|| Instant::now() + self.limit);
    }

    /// Something came: the end of an answer, a part of one, or a notification.
    pub(super) fn heard(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        let count = octets.len().min(self.tail.len());
        self.tail.rotate_left(count);
        let from = self.tail.len() - count;
        self.tail[from..].copy_from_slice(&octets[octets.len() - count..]);
        if self.tail.starts_with(&READY) {
            self.limit = self.answer;
            self.deadline = None;
        } else if self.deadline.is_some() {
            self.deadline = Some(Instant::now() + self.limit);
        }
    }

    /// Pending until silence is too long, then an error. The task is woken for it.
    pub(super) fn poll<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(context));
        let limit = self.limit;
        let text = format!("no answer from the server within {limit:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        Patience::new(Duration::from_secs(1), Duration::from_secs(2))
    }

    #[test]
    fn silence_counts_from_a_question_to_the_end_of_its_answer() {
        let mut patience = patience();
        assert!(patience.deadline.is_none());
        patience.asked();
        patience.heard(b"D\0\0\0\x0arow");
        assert!(patience.deadline.is_some(), "an answer that has begun must end");
        patience.heard(b"C\0\0\0\x04Z\0\0\0\x05I");
        assert!(patience.deadline.is_none() && patience.limit == patience.answer);
        patience.heard(b"");
        patience.asked();
        patience.heard(b"");
        assert!(patience.deadline.is_some(), "nothing is no answer");
        patience.heard(b"Z\0\0\0\x05I");
        patience.heard(b"A\0\0\0\x04");
        assert!(patience.deadline.is_none(), "a notification is no answer");
    }

    #[test]
    fn the_end_of_an_answer_may_come_in_pieces() {
        for at in 0..6 {
            let mut patience = patience();
            patience.asked();
            let (left, right) = b"Z\0\0\0\x05I".split_at(at);
            patience.heard(left);
            patience.heard(right);
            assert!(patience.deadline.is_none(), "cut at {at}");
        }
    }
}
