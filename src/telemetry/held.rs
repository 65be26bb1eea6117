//! Messages that wait through no fault of theirs: there may be as many as are queued, so not each has a line.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines with the same code.
const INTERVAL: Duration = Duration::from_mins(1);
/// Codes remembered; a transport may make up its own.
const CODES_MAX: usize = 64;

static TOLD: Mutex<Told> = Mutex::new(Told(Vec::new()));

/// When each code was last told of, and of how many messages it was not told since.
struct Told(Vec<(String, Instant, u64)>);

/// Counts a message that waits because of `code`. Where it is time to say so, how many did since the last time.
pub(super) fn count(code: &str) -> Option<u64> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).count(code, Instant::now())
}

impl Told {
    fn count(&mut self, code: &str, now: Instant) -> Option<u64> {
        if let Some((_, told, more)) = self.0.iter_mut().find(|(known, ..)| known == code) {
            *more += 1;
            if now.duration_since(*told) < INTERVAL {
                return None;
            }
            *told = now;
            return Some(std::mem::take(more));
        }
        if self.0.len() < CODES_MAX {
            self.0.push((code.to_owned(), now, 0));
        }
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_told_of_at_once_and_then_once_a_while_with_their_number() {
        let (mut told, start) = (Told(Vec::new()), Instant::now());
        assert_eq!(told.count("setting", start), Some(1));
        let soon = start + INTERVAL / 2;
        assert!((0..5).all(|_| told.count("setting", soon).is_none()));
        assert_eq!(told.count("other", soon), Some(1));
        assert_eq!(told.count("setting", start + INTERVAL), Some(6));
        assert_eq!(told.count("setting", start + INTERVAL), None);
    }

    #[test]
    fn more_codes_than_are_remembered_are_told_of_each_time() {
        let (mut told, now) = (Told(Vec::new()), Instant::now());
        for code in 0..CODES_MAX {
            told.count(&code.to_string(), now);
        }
        assert_eq!((told.count("x", now), told.count("x", now)), (Some(1), Some(1)));
        assert_eq!(told.0.len(), CODES_MAX);
    }
}
