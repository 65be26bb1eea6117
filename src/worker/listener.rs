//! The listener: turns NOTIFY into a wake-up of the poller. Never needed for correctness.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use super::helper::Helper;
use crate::store::StoreError;
use crate::store::connect::{Connector, store_error};
use crate::telemetry;
use crate::telemetry::beats::{Part, beat, rest};

/// How often the stop signal is looked for, and longest that a wait inside PostgreSQL lasts.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Pauses between attempts to reconnect, doubled from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Starts the thread. `wake` is of capacity one: a wake-up that finds another one waiting is the
/// same wake-up.
pub(super) fn start(connector: Connector, wake: Sender<()>) -> io::Result<Helper> {
    Helper::spawn("listener", move |stop| Listener { connector, wake, stop }.run())
}

/// Owns a direct connection that listens.
struct Listener {
    connector: Connector,
    wake: Sender<()>,
    stop: Receiver<Infallible>,
}

impl Listener {
    fn run(self) {
        self.keep_listening();
        rest(Part::Listener);
    }

    fn keep_listening(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            beat(Part::Listener, pause);
            match self.connector.listen() {
                Ok(client) => {
                    pause = PAUSE_MIN;
                    // What was rung while nobody listened is found by one look.
                    self.ring();
                    match self.listen(client) {
                        Ok(()) => return,
                        Err(err) => telemetry::listener_failed(&err.to_string(), pause),
                    }
                }
                Err(err) => telemetry::listener_failed(&err.to_string(), pause),
            }
            match self.stop.recv_timeout(pause.mul_f64(0.9 + 0.2 * fastrand::f64())) {
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(PAUSE_MAX),
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(never) => match never {},
            }
        }
    }

    /// Listens until it is told to stop, or the connection is lost.
    fn listen(&self, mut client: Client) -> Result<(), StoreError> {
        loop {
            beat(Part::Listener, CHECK_INTERVAL);
            let next = client.notifications().timeout_iter(CHECK_INTERVAL).next();
            match next.map_err(|err| store_error(&err))? {
                Some(_) => {
                    telemetry::woken();
                    self.ring();
                }
                None if client.is_closed() => {
                    return Err(StoreError::Unavailable("connection closed".into()));
                }
                None => (),
            }
            if self.stop.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected) {
                return Ok(());
            }
        }
    }

    fn ring(&self) {
        // Full: the poller has a wake-up before it that it has not taken yet.
        let _ = self.wake.try_send(());
    }
}
