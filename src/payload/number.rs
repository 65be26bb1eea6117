//! Numbers as they are written, compared without making floats of them.

use std::cmp::Ordering;

/// Whether a text is a number of JSON.
pub(super) fn is_number(text: &str) -> bool {
    length(text.as_bytes()) == Some(text.len())
}

/// Bytes of the number that a text begins with.
pub(super) fn length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let count = text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        (0 < count).then_some(from + count)
    };
    let start = usize::from(text.first() == Some(&b'-'));
    let mut end = if text.get(start) == Some(&b'0') { start + 1 } else { digits(start)? };
    if text.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits(end + 1 + signed)?;
    }
    Some(end)
}

/// Whether a number is zero, however it is written.
pub(super) fn is_zero(number: &str) -> bool {
    Parts::of(number).significant().next().is_none()
}

/// Order of two numbers by what they are worth.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    match (a.sign(), b.sign()) {
        (-1, -1) => b.compare_size(&a),
        (1, 1) => a.compare_size(&b),
        (a, b) => a.cmp(&b),
    }
}

/// A number in its pieces.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn of(number: &'a str) -> Self {
        let negative = number.starts_with('-');
        let number = number.trim_start_matches('-');
        let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        // One that does not fit makes the number huge, or next to nothing, and so does its limit.
        let huge = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        Self { negative, whole, fraction, exponent: exponent.parse().unwrap_or(huge) }
    }

    /// The digits from the first one that is not zero.
    fn significant(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.whole.bytes().chain(self.fraction.bytes()).skip_while(|digit| *digit == b'0')
    }

    fn sign(&self) -> i8 {
        match (self.significant().next(), self.negative) {
            (None, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    /// The power of ten of the first digit that is not zero.
    fn magnitude(&self) -> i64 {
        let digits = self.significant().count();
        let point = i64::try_from(digits).unwrap_or(i64::MAX)
            - i64::try_from(self.fraction.len()).unwrap_or(i64::MAX);
        self.exponent.saturating_add(point)
    }

    fn compare_size(&self, other: &Self) -> Ordering {
        self.magnitude().cmp(&other.magnitude()).then_with(|| {
            let (mut a, mut b) = (self.significant(), other.significant());
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return Ordering::Equal,
                    (a, b) => match a.unwrap_or(b'0').cmp(&b.unwrap_or(b'0')) {
                        Ordering::Equal => (),
                        unequal => return unequal,
                    },
                }
            }
        })
    }
}
