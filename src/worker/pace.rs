//! How much the poller takes on, what it knows of the queue, and when it ends by itself.

use std::time::Duration;

/// When the worker ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Only when it is stopped.
    Stopped,
    /// After one pass over what is due.
    Once,
    /// When no message is leased, due, or becomes due within this span; also while paused.
    Empty(Duration),
}

/// Sizes of the ring and pauses of the poller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) threads: usize,
    pub(super) in_flight_max: usize,
    pub(super) fetch_interval: Duration,
    pub(super) until: Until,
}

/// Whether the queue may hold more due messages than were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hunger {
    /// Not as far as is known.
    Sated,
    /// Most likely.
    Hungry,
    /// A look saw one, perhaps behind the point that acquires have reached.
    Sweep,
}

/// How much is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    GoesOn,
    /// The one pass of [`Until::Once`] is made: what it leased is awaited, no more is taken.
    Passed,
    Done,
}
