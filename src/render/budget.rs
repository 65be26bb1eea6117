//! How much a render may do, and until when.

use std::cell::Cell;
use std::time::Instant;

/// Most work of a render, in bytes that are looked at or written. A step counts as [`STEP`] of
/// them. A report of 1,000 rows of 100 elements passes, and the limit is reached within a tenth of
/// a second.
const WORK_MAX: usize = 16 << 20;
/// What a step costs besides the bytes that it handles: running a tag, going to an element.
pub(super) const STEP: usize = 64;
/// Work after which the clock is looked at.
const CHECK_AFTER: usize = 16 << 10;

/// Why a render may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// It would be too much work whenever it is tried.
    Work,
    /// Its time is over.
    Time,
}

/// What is left to a render.
#[derive(Debug)]
pub(super) struct Budget {
    deadline: Instant,
    work_left: Cell<usize>,
    unchecked: Cell<usize>,
}

impl Budget {
    pub(super) fn until(deadline: Instant) -> Self {
        // So that a render that begins too late ends at its first step.
        let unchecked = Cell::new(CHECK_AFTER);
        Self { deadline, work_left: Cell::new(WORK_MAX), unchecked }
    }

    /// To be called before the work is done.
    pub(super) fn spend(&self, work: usize) -> Result<(), Spent> {
        let left = self.work_left.get().checked_sub(work).ok_or(Spent::Work)?;
        self.work_left.set(left);
        let unchecked = self.unchecked.get().saturating_add(work);
        if unchecked < CHECK_AFTER {
            self.unchecked.set(unchecked);
            return Ok(());
        }
        self.unchecked.set(0);
        self.check_time()
    }

    /// For work that has a limit of its own.
    pub(super) fn check_time(&self) -> Result<(), Spent> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(Spent::Time) }
    }
}
