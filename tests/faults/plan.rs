//! How long, how much, and from which seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Faults of the short form.
const FEW: usize = 5;

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Where the lots come from.
    pub(crate) seed: u64,
    /// When the run ends.
    pub(crate) length: Length,
    /// Worker processes.
    pub(crate) workers: usize,
    /// Messages enqueued a second.
    pub(crate) rate: u32,
    /// Hostile calls a second beside them; 0 for none.
    pub(crate) hostile: u32,
}

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// After so many faults, each of another kind.
    Faults(usize),
    /// After this time.
    Time(Duration),
}

impl Plan {
    /// The short form, unless `POSTRIDER_FAULTS` says how many minutes.
    pub(crate) fn from_env() -> Self {
        let minutes = number::<f64>("POSTRIDER_FAULTS");
        let length = minutes
            .map_or(Length::Faults(FEW), |it| Length::Time(Duration::from_secs_f64(60.0 * it)));
        Self {
            seed: number("POSTRIDER_FAULTS_SEED").unwrap_or_else(|| fastrand::u64(..)),
            length,
            workers: number("POSTRIDER_FAULTS_WORKERS").unwrap_or(3),
            rate: number("POSTRIDER_FAULTS_RATE").unwrap_or(100),
            hostile: number("POSTRIDER_FAULTS_HOSTILE").unwrap_or(2),
        }
    }
}

/// The number in an environment variable, if it is set.
pub(crate) fn number<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|it| !it.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, length, workers, rate, hostile } = self;
        write!(f, "POSTRIDER_FAULTS_SEED={seed}: {length:?}, {workers} workers, ")?;
        write!(f, "{rate} messages/s, {hostile} hostile calls/s")
    }
}
