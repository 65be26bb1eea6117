//! The pool: delivery threads that take jobs from one channel and put outcomes into another.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::delivery::{Delivery, Job};
use crate::lease::Settled;

/// Deliveries parse replies and run TLS handshakes; none of it is deep.
const STACK_SIZE: usize = 1 << 20;

/// Starts `threads` receive loops. They end when `jobs` is empty and its senders are gone, and
/// with the last of them the sender of `outcomes`.
///
/// A loop on a channel, not a `spawn` for each job: with many mostly idle threads a spawn wakes
/// them all, and costs twenty times as much.
pub(super) fn start(
    threads: usize,
    jobs: Receiver<Job>,
    outcomes: Sender<Settled>,
    delivery: Arc<Delivery>,
) -> Result<ThreadPool, ThreadPoolBuildError> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|idx| format!("deliver-{idx}"))
        .stack_size(STACK_SIZE)
        .panic_handler(|_| log::error!("a delivery thread panicked outside its transport"))
        .build()?;
    pool.spawn_broadcast(move |_| {
        for job in &jobs {
            // Fails only if the writer is gone. Then the lease runs out: at least once.
            let _ = outcomes.send(delivery.settle(job));
        }
    });
    Ok(pool)
}
