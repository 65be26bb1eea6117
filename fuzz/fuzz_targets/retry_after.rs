//! Whatever a response asks for, the wait is at most a day; what is shown of it is clean.

#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use postrider::transport::webhook::seams;

fuzz_target!(|texts: (&str, Option<&str>, u32, &[u8])| {
    let (text, date, seconds, body) = texts;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
    if let Some(wait) = seams::wait(text, date, now) {
        assert!(wait <= Duration::from_secs(86_400), "{wait:?}");
    }
    if let Some(origin) = seams::origin(text) {
        assert!(!origin.contains(['?', '#', '@']), "{origin}");
    }
    if let Some(excerpt) = seams::excerpt("https://example.com/m4rk3rm4rk3r", body) {
        assert!(!excerpt.contains("m4rk3rm4rk3r"), "{excerpt}");
        assert!(!excerpt.contains(char::is_control), "{excerpt:?}");
    }
});
