//! A histogram that many threads fill without waiting for each other.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most buckets of a histogram.
const BUCKETS_MAX: usize = 16;
/// Sums are kept in millionths.
const SCALE: f64 = 1e6;

/// Counts of values by upper bound.
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: [AtomicU64; BUCKETS_MAX + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// With these upper bounds, in ascending order; what is above all of them is counted, too.
    pub(super) const fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() <= BUCKETS_MAX, "more bounds than buckets");
        Self { bounds, counts: [const { AtomicU64::new(0) }; _], sum: AtomicU64::new(0) }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and saturating is right"
    )]
    pub(super) fn observe(&self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound);
        self.counts[bucket.unwrap_or(self.bounds.len())].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * SCALE) as u64, Ordering::Relaxed);
    }

    /// Appends the lines of this histogram; `labels` is empty or ends in a comma.
    #[expect(clippy::cast_precision_loss, reason = "a sum of 285 years is not exact to the second")]
    pub(super) fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        let bounds = self.bounds.iter().map(ToString::to_string);
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            _ = writeln!(out, "{name}_bucket{{{labels}le=\"{bound}\"}} {total}");
        }
        let sum = self.sum.load(Ordering::Relaxed) as f64 / SCALE;
        let labels = labels.trim_end_matches(',');
        _ = writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {total}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_in_its_bucket_and_all_above() {
        static HISTOGRAM: Histogram = Histogram::new(&[0.5, 2.0]);
        for value in [0.1, 0.5, 1.0, 9.0] {
            HISTOGRAM.observe(value);
        }
        let mut text = String::new();
        HISTOGRAM.write(&mut text, "h", "method=\"smtp\",");
        let wanted = "h_bucket{method=\"smtp\",le=\"0.5\"} 2\n\
                      h_bucket{method=\"smtp\",le=\"2\"} 3\n\
                      h_bucket{method=\"smtp\",le=\"+Inf\"} 4\n\
                      h_sum{method=\"smtp\"} 10.6\nh_count{method=\"smtp\"} 4\n";
        assert_eq!(text, wanted);
    }
}
