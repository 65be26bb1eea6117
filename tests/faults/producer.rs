//! Enqueues numbered messages at a steady rate, whatever happens to the database.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use postgres::{Client, NoTls};
use postrider::enqueue::{EnqueueError, Notification, enqueue};
use postrider::message::Recipient;

use crate::database::TEMPLATE;

/// Pause before another try.
const PAUSE: Duration = Duration::from_millis(100);

/// A running producer.
pub(crate) struct Producer {
    stop: Sender<Infallible>,
    thread: JoinHandle<()>,
    enqueued: Arc<AtomicU64>,
}

impl Producer {
    pub(crate) fn start(url: String, rate: u32) -> Self {
        let (stop, stopped) = bounded(0);
        let enqueued = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&enqueued);
        let thread = thread::spawn(move || produce(&url, rate, &count, &stopped));
        Self { stop, thread, enqueued }
    }

    /// Messages whose enqueue has committed; they are numbered from 1.
    pub(crate) fn enqueued(&self) -> u64 {
        self.enqueued.load(Ordering::SeqCst)
    }

    /// Ends it, and tells how many messages there are.
    pub(crate) fn stop(self) -> u64 {
        drop(self.stop);
        self.thread.join().unwrap();
        self.enqueued.load(Ordering::SeqCst)
    }
}

fn produce(url: &str, rate: u32, count: &AtomicU64, stop: &Receiver<Infallible>) {
    let mut client = None;
    let mut pause = Duration::from_secs(1) / rate;
    while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let number = count.load(Ordering::SeqCst) + 1;
        if put(&mut client, url, number).is_ok() {
            count.store(number, Ordering::SeqCst);
            pause = Duration::from_secs(1) / rate;
        } else {
            (client, pause) = (None, PAUSE);
        }
    }
}

/// Enqueues one message. One that was enqueued when its answer was lost is a duplicate now, as
/// good as new.
fn put(client: &mut Option<Client>, url: &str, number: u64) -> Result<(), EnqueueError> {
    let connection = match client {
        Some(client) => client,
        None => client.insert(Client::connect(url, NoTls).map_err(EnqueueError::Database)?),
    };
    let number = number.to_string();
    let recipient =
        Recipient { id: number.clone(), email: None, name: Some("Ada".into()), username: None };
    let notification = Notification {
        created_by: number.clone(),
        dedupe_key: Some(number.clone()),
        methods: vec!["webhook".into()],
        ..Notification::new(TEMPLATE, recipient).with_label("number", number)
    };
    enqueue(connection, &notification).map(drop)
}
