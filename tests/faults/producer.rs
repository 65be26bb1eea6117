//! Enqueues numbered messages at a steady rate, whatever happens to the database.

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use postgres::{Client, NoTls};
use postrider::enqueue::{EnqueueError, Notification, enqueue_many};
use postrider::message::Recipient;

use crate::database::TEMPLATE;

/// Pause between two looks at what is due, and before another try.
const TICK: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(100);
/// Most messages of one statement.
pub(crate) const BATCH_MAX: u64 = 50;

/// A running producer.
pub(crate) struct Producer {
    stop: Sender<Infallible>,
    thread: JoinHandle<()>,
    counts: Arc<Counts>,
}

/// Numbers, from 1, of the last message that was begun to be enqueued, and of the last that was.
#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    enqueued: AtomicU64,
}

impl Producer {
    pub(crate) fn start(url: String, rate: u32) -> Self {
        let (stop, stopped) = bounded(0);
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        let thread = thread::spawn(move || produce(&url, rate, &shared, &stopped));
        Self { stop, thread, counts }
    }

    /// Number of the last message whose enqueue has begun.
    pub(crate) fn begun(&self) -> u64 {
        self.counts.begun.load(Ordering::SeqCst)
    }

    /// Ends it, and tells how many messages there are.
    pub(crate) fn stop(self) -> u64 {
        drop(self.stop);
        self.thread.join().unwrap();
        self.counts.enqueued.load(Ordering::SeqCst)
    }
}

/// Keeps to the rate on average: what an outage held up comes after it.
fn produce(url: &str, rate: u32, counts: &Counts, stop: &Receiver<Infallible>) {
    let (mut client, began) = (None, Instant::now());
    let mut pause = TICK;
    while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let done = counts.enqueued.load(Ordering::SeqCst);
        let due = u64::try_from(began.elapsed().as_millis()).unwrap() * u64::from(rate) / 1000;
        let last = due.min(done + BATCH_MAX);
        pause = TICK;
        if done < last {
            counts.begun.store(last, Ordering::SeqCst);
            if put(&mut client, url, done + 1..=last).is_ok() {
                counts.enqueued.store(last, Ordering::SeqCst);
            } else {
                (client, pause) = (None, PAUSE);
            }
        }
    }
}

/// Enqueues messages. One that was enqueued when its answer was lost is a duplicate now, as good
/// as new.
fn put(
    client: &mut Option<Client>,
    url: &str,
    numbers: RangeInclusive<u64>,
) -> Result<(), EnqueueError> {
    let connection = match client {
        Some(client) => client,
        None => client.insert(Client::connect(url, NoTls).map_err(EnqueueError::Database)?),
    };
    let notifications: Vec<Notification> = numbers.map(notification).collect();
    enqueue_many(connection, &notifications).map(drop)
}

fn notification(number: u64) -> Notification {
    let number = number.to_string();
    let recipient =
        Recipient { id: number.clone(), email: None, name: Some("Ada".into()), username: None };
    Notification {
        created_by: number.clone(),
        dedupe_key: Some(number.clone()),
        methods: vec!["webhook".into()],
        ..Notification::new(TEMPLATE, recipient).with_label("number", number)
    }
}
