//! How long a response asks us to wait (RFC 9110, 10.2.3). Pure.

use std::time::{Duration, SystemTime};

/// Longest wait that is honoured.
const WAIT_MAX: Duration = Duration::from_hours(24);

/// The wait in a `Retry-After` header, between zero and [`WAIT_MAX`]; `None` if it makes no sense.
///
/// A date, in any of the three forms of RFC 9110, 5.6.7, counts from the response's own `date`,
/// so that a peer whose clock is wrong still gets the pause it means; from `now` if it sent none.
pub(super) fn wait(retry_after: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let text = retry_after.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are still a number, and a long wait.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(WAIT_MAX));
    }
    let due = httpdate::parse_http_date(text).ok()?;
    let from = date.and_then(|text| httpdate::parse_http_date(text.trim()).ok()).unwrap_or(now);
    Some(due.duration_since(from).unwrap_or_default().min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: u64 = 784_111_777;

    fn check(retry_after: &str, date: Option<&str>, seconds: Option<u64>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        let wait = wait(retry_after, date, now);
        assert_eq!(wait, seconds.map(Duration::from_secs), "{retry_after:?} {date:?}");
    }

    #[test]
    fn seconds_are_read_and_clamped_to_a_day() {
        check("0", None, Some(0));
        check("7", None, Some(7));
        check(" 120 ", None, Some(120));
        check("86401", None, Some(86_400));
        check("99999999999999999999999999", None, Some(86_400));
    }

    #[test]
    fn all_three_forms_of_a_date_are_read() {
        check("Sun, 06 Nov 1994 08:50:37 GMT", None, Some(60));
        check("Sunday, 06-Nov-94 08:50:37 GMT", None, Some(60));
        check("Sun Nov  6 08:50:37 1994", None, Some(60));
        check("Wed, 06 Nov 2030 08:50:37 GMT", None, Some(86_400));
        check("Sun, 06 Nov 1994 08:49:00 GMT", None, Some(0));
    }

    #[test]
    fn a_date_counts_from_the_clock_of_its_sender() {
        let date = Some("Tue, 15 Nov 2033 12:00:00 GMT");
        check("Tue, 15 Nov 2033 12:00:30 GMT", date, Some(30));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some("yesterday"), Some(60));
    }

    #[test]
    fn nonsense_is_ignored() {
        for text in
            ["", "-1", "+5", "1.5", "1e3", "soon", "10 s", "é", "Sun, 99 Nov 1994 08:49:37 GMT"]
        {
            check(text, None, None);
        }
    }
}
