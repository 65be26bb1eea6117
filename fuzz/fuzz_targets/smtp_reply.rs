//! Whatever a relay says, it means something, within bounds, that can be stored and shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::outcome::REASON_MAX;
use postrider::transport::smtp::seams;

fuzz_target!(|octets: &[u8]| {
    if let Some(failure) = seams::refusal(octets) {
        assert!(failure.reason.len() <= REASON_MAX, "{failure}");
        assert!(!failure.reason.contains(char::is_control), "{failure:?}");
        assert!(!failure.code.is_empty());
    }
});
