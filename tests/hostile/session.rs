//! A session whose memory is watched.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use postgres::{Client, Error, NoTls};

use crate::generator::Call;
use crate::process::private_memory;

/// Most KiB beyond reading the arguments.
pub(crate) const SPARE: i64 = 64 << 10;
/// Statements of one session.
const CALLS: u32 = 10;
const PACE: Duration = Duration::from_millis(2);
/// No statement takes longer; a good one waits for none of them.
const PATIENCE: &str = "set statement_timeout = '30s'";

/// Sessions of one login, one after the other.
pub(crate) struct Session {
    url: String,
    client: Client,
    pid: i32,
    calls: u32,
    /// Most KiB that a statement took.
    pub(crate) most: i64,
}

fn connect(url: &str) -> (Client, i32) {
    let mut client = Client::connect(url, NoTls).unwrap();
    client.batch_execute(PATIENCE).unwrap();
    let pid = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    (client, pid)
}

/// How many KiB the session `pid` grows while `act` runs, and what came of it.
fn growth<T>(pid: i32, act: impl FnOnce() -> T) -> (i64, T) {
    let before = private_memory(pid);
    thread::scope(|scope| {
        let (done, running) = bounded::<()>(0);
        let watch = scope.spawn(move || {
            let mut most = 0;
            while running.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                most = most.max(private_memory(pid));
            }
            most
        });
        let result = act();
        drop(done);
        (watch.join().unwrap().max(private_memory(pid)) - before, result)
    })
}

impl Session {
    pub(crate) fn new(url: String) -> Self {
        let (client, pid) = connect(&url);
        Self { url, client, pid, calls: 0, most: 0 }
    }

    /// Lets `act` use the session; it may not take much memory.
    pub(crate) fn act<T>(&mut self, what: &str, act: impl FnOnce(&mut Client) -> T) -> T {
        let (more, result) = self.measure(act);
        assert!(more < SPARE, "{more} KiB: {what:.2000}");
        result
    }

    /// Lets `act` use the session.
    pub(crate) fn freely<T>(&mut self, act: impl FnOnce(&mut Client) -> T) -> T {
        self.measure(act).1
    }

    /// Makes a call, which may take little more than reading its arguments does.
    pub(crate) fn call(&mut self, call: &Call) -> Result<(), Error> {
        let (more, result) = self.measure(|client| client.simple_query(&call.sql).map(drop));
        if SPARE / 2 < more {
            let (mut client, pid) = connect(&self.url);
            let (reading, _) = growth(pid, || client.simple_query(&call.read).map(drop));
            let beyond = more - reading;
            println!("  {more} KiB, of which {reading} to read: {:.150}", call.sql);
            assert!(beyond < SPARE, "{more} KiB, {reading} to read: {:.4000}", call.sql);
        }
        result
    }

    fn measure<T>(&mut self, act: impl FnOnce(&mut Client) -> T) -> (i64, T) {
        if self.calls == CALLS {
            (self.client, self.pid) = connect(&self.url);
            self.calls = 0;
        }
        self.calls += 1;
        let client = &mut self.client;
        let (more, result) = growth(self.pid, || act(client));
        self.most = self.most.max(more);
        (more, result)
    }
}
