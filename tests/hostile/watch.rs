//! Watches the memory of the worker's sessions.

use std::convert::Infallible;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use postgres::Client;

use crate::process::private_memory;

const PACE: Duration = Duration::from_millis(10);
/// Looks at the same sessions before it asks which there are.
const LOOKS: u32 = 50;

/// Runs until it is stopped.
pub(crate) struct Watch {
    stop: Sender<Infallible>,
    thread: JoinHandle<i64>,
}

impl Watch {
    pub(crate) fn start(client: Client) -> Self {
        let (stop, stopped) = bounded(0);
        Self { stop, thread: thread::spawn(move || watch(client, &stopped)) }
    }

    /// Most KiB that one of them had.
    pub(crate) fn stop(self) -> i64 {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

fn watch(mut client: Client, stop: &Receiver<Infallible>) -> i64 {
    let sql = "select pid from pg_stat_activity
                where application_name = 'postrider' and datname = current_database()";
    let mut most = 0;
    loop {
        let rows = client.query(sql, &[]).unwrap();
        let pids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        for _ in 0..LOOKS {
            most = pids.iter().map(|pid| private_memory(*pid)).fold(most, i64::max);
            if stop.recv_timeout(PACE) == Err(RecvTimeoutError::Disconnected) {
                return most;
            }
        }
    }
}
