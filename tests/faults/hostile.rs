//! Enqueues hostile messages meanwhile. They may be refused, end or wait; the books are about the
//! others.

use std::convert::Infallible;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use fastrand::Rng;
use postgres::{Client, NoTls};

use crate::database::Database;
use crate::generator::{self, Generator};
use crate::peers::Peers;

/// A running source of them, and the far ends that they name.
pub(crate) struct Hostile {
    stop: Sender<Infallible>,
    thread: JoinHandle<u64>,
    peers: Peers,
}

impl Hostile {
    pub(crate) fn start(database: &Database, seed: u64, rate: u32) -> Self {
        let (peers, (stop, stopped)) = (Peers::start(), bounded(0));
        let (url, urls) = (database.admin_url(), peers.urls());
        generator::prepare(&mut database.admin(), &mut Rng::with_seed(seed), &urls);
        let generator = Generator::new(seed, urls);
        let pause = Duration::from_secs(1) / rate;
        let thread = thread::spawn(move || enqueue(&url, generator, pause, &stopped));
        Self { stop, thread, peers }
    }

    /// Ends the source, tells how many calls were taken, and keeps the far ends.
    pub(crate) fn stop(self) -> (u64, Peers) {
        drop(self.stop);
        (self.thread.join().unwrap(), self.peers)
    }
}

fn enqueue(
    url: &str,
    mut generator: Generator,
    pause: Duration,
    stop: &Receiver<Infallible>,
) -> u64 {
    let (mut client, mut taken) = (None::<Client>, 0);
    while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = Client::connect(url, NoTls).ok(); // a fault may last
        }
        let call = generator.call();
        let result = client.as_mut().map(|client| client.simple_query(&call.sql));
        taken += u64::from(result.is_some_and(|it| it.is_ok()));
    }
    taken
}
