//! The pool: delivery threads that take jobs from one channel and put outcomes into another.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::delivery::{Delivery, Job};
use crate::lease::Settled;

/// Deliveries parse replies and run TLS handshakes; none of it is deep.
const STACK_SIZE: usize = 1 << 20;

/// Where messages come from and outcomes go.
pub(super) struct Ends {
    pub(super) jobs: Receiver<Job>,
    /// Messages that are delivered one at a time.
    pub(super) suspects: Receiver<Job>,
    /// Told at the end of each of them.
    pub(super) suspect_done: Sender<()>,
    pub(super) outcomes: Sender<Settled>,
}

/// Starts `threads` receive loops, and one for suspects. They end when their channel is empty and its
/// senders are gone, and with the last of them the sender of `outcomes`.
///
/// A loop on a channel, not a `spawn` for each job: with many mostly idle threads a spawn wakes
/// them all, and costs twenty times as much.
pub(super) fn start(
    threads: usize,
    ends: Ends,
    delivery: Arc<Delivery>,
) -> Result<ThreadPool, ThreadPoolBuildError> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads + 1)
        .thread_name(|idx| format!("deliver-{idx}"))
        .stack_size(STACK_SIZE)
        .panic_handler(|_| log::error!("a delivery thread panicked outside its transport"))
        .build()?;
    pool.spawn_broadcast(move |thread| {
        // Sends fail only if the writer or the poller is gone. Without a writer the lease runs out.
        if thread.index() == 0 {
            for job in &ends.suspects {
                let _ = ends.outcomes.send(delivery.settle(job));
                let _ = ends.suspect_done.send(());
            }
        } else {
            for job in &ends.jobs {
                let _ = ends.outcomes.send(delivery.settle(job));
            }
        }
    });
    Ok(pool)
}
