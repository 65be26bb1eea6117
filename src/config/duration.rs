//! Durations as settings write them: `15s`, `1m30s`, `250ms`, `1.5h`, `7d`.
//!
//! Stricter than humantime, which reads `5M` as five months and takes no fractions: one
//! spelling per unit, larger units first, no blanks inside, and never a number without a unit.

use std::time::Duration;

/// How to write one, for errors.
pub(super) const FORM: &str = "write a duration such as 15s, 1m30s, 250ms, 1.5h or 7d";

/// Longest duration: ten years. Any clock can add it without overflow.
const MAX_NANOS: u128 = 3650 * UNITS[0].1;

/// Units with their length in nanoseconds, longest first.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a duration; blanks around it do not count.
///
/// # Errors
///
/// What is wrong with the text, to be put after it.
pub fn parse(text: &str) -> Result<Duration, String> {
    nanos(text.trim()).and_then(duration).map_err(|problem| format!("{problem}; {FORM}"))
}

/// Writes a duration so that [`parse`] reads the same one.
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let parts = UNITS.iter().filter_map(|(unit, length)| {
        let count = rest / length;
        rest %= length;
        (0 < count).then(|| format!("{count}{unit}"))
    });
    let text = parts.collect::<String>();
    if text.is_empty() { "0s".into() } else { text }
}

fn nanos(text: &str) -> Result<u128, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.starts_with('-') {
        return Err("is negative");
    }
    let (mut rest, mut units, mut total) = (text, UNITS.as_slice(), 0);
    while !rest.is_empty() {
        let number = leading(rest, |c| c.is_ascii_digit() || c == '.');
        let name = leading(&rest[number.len()..], |c| c.is_ascii_alphabetic());
        rest = &rest[number.len() + name.len()..];
        if number.is_empty() {
            return Err("is not a duration");
        }
        if name.is_empty() {
            return Err(if rest.is_empty() { "has no unit" } else { "is not a duration" });
        }
        let place = units
            .iter()
            .position(|(unit, _)| *unit == name)
            .ok_or("has a unit that is unknown or out of order")?;
        total += part(number, units[place].1)?;
        units = &units[place + 1..];
    }
    Ok(total)
}

/// A number of units, in nanoseconds.
fn part(number: &str, unit: u128) -> Result<u128, &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err("has a broken number");
    }
    let whole: u64 = whole.parse().map_err(|_| "is too long")?;
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 18);
    let scale = 10_u128.pow(digits.ok_or("has too many decimals")?);
    let fraction: u128 = fraction.parse().map_err(|_| "has a broken number")?;
    if !(fraction * unit).is_multiple_of(scale) {
        return Err("is finer than a nanosecond");
    }
    Ok(u128::from(whole) * unit + fraction * unit / scale)
}

fn duration(nanos: u128) -> Result<Duration, &'static str> {
    if MAX_NANOS < nanos {
        return Err("is longer than 3650d");
    }
    let nanos = u64::try_from(nanos).expect("ten years are less than 2^64 ns");
    Ok(Duration::from_nanos(nanos))
}

/// The characters at the start of `text` that `wanted` takes.
fn leading(text: &str, wanted: fn(char) -> bool) -> &str {
    text.find(|c| !wanted(c)).map_or(text, |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c70_durations_have_units_and_anything_else_is_refused() {
        let millis = |text| parse(text).map(|duration| duration.as_millis());
        assert_eq!(millis("15s"), Ok(15_000));
        assert_eq!(millis("1m30s"), Ok(90_000));
        assert_eq!(millis("1.5h"), Ok(5_400_000));
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis(" 15s "), Ok(15_000));
        assert_eq!(millis("7d"), Ok(604_800_000));
        assert_eq!(millis("0s"), Ok(0));
        let refused = [
            "",
            " ",
            "15",
            "5 m",
            "5M",
            "15 seconds",
            "1y",
            "s",
            ".5s",
            "5.s",
            "1.2.3s",
            "1s1s",
            "30s1m",
            "1m30",
            "+5s",
            "1e3s",
            "0x5s",
            "٣s",
            "1s,2s",
            "0.5ns",
            "1,5h",
        ];
        for text in refused {
            let problem = parse(text).expect_err(text);
            assert!(problem.ends_with(FORM), "{text}: {problem}");
        }
        assert!(parse("15").unwrap_err().starts_with("has no unit"));
    }

    #[test]
    fn c71_negative_and_overflowing_durations_are_refused() {
        for text in ["-1s", "-10m", "- 1s"] {
            assert!(parse(text).unwrap_err().starts_with("is negative"), "{text}");
        }
        let nines = "9".repeat(40);
        for text in ["9223372036854h", "3651d", "3650d1ns", &format!("{nines}ns"), "1000000h"] {
            assert!(parse(text).unwrap_err().starts_with("is "), "{text}");
        }
        assert!(parse(&format!("0.{nines}s")).is_err());
        assert_eq!(parse("3650d"), Ok(Duration::from_hours(24 * 3650)));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for text in ["0s", "15s", "1m30s", "250ms", "1h30m", "7d", "1d12h", "1s1ms1us1ns"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }
}
