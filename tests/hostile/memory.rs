//! Memory: what the threads of the worker allocate, and what a process of the server holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicIsize, Ordering};

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

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

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

// SAFETY: hands everything to the system's allocator, and counts beside it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Private memory of a process, in KiB; 0 where it is gone.
pub(crate) fn private(pid: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
