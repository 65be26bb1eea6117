//! Memory: what the threads of the worker allocate.

use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

use crate::counting::Counting;

/// How the names of the worker's threads begin. A thread without a name has that of its parent.
const WORKER: [&[u8]; 6] =
    [b"postrider", b"deliver-", b"writer", b"janitor", b"listener", b"resolve"];
/// Allocations after which a thread has the name that it keeps.
const NAMED_AFTER: u8 = 64;

/// Bytes in use by the threads of the worker, and the most there were.
static NOW: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// Allocations so far, and whether the thread is the worker's.
    static THREAD: Cell<(u8, bool)> = const { Cell::new((0, false)) };
}

#[global_allocator]
static COUNTING: Counting = Counting(count);

/// The most that the worker had in use since the last call, and what it has now.
pub(crate) fn worker_most() -> (isize, isize) {
    let now = NOW.load(Ordering::SeqCst);
    (MOST.swap(now, Ordering::SeqCst), now)
}

fn count(bytes: isize) {
    // A thread that is ending has no such value any more.
    let ours = THREAD.try_with(|cell| {
        let (seen, mut ours) = cell.get();
        if seen < NAMED_AFTER {
            ours = is_worker();
            cell.set((seen + 1, ours));
        }
        ours
    });
    if ours.unwrap_or_else(|_| is_worker()) {
        let now = NOW.fetch_add(bytes, Ordering::SeqCst) + bytes;
        MOST.fetch_max(now, Ordering::SeqCst);
    }
}

#[allow(unsafe_code)]
fn is_worker() -> bool {
    let mut name = [0u8; 16];
    // SAFETY: the kernel writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    WORKER.iter().any(|it| name.starts_with(it))
}
