//! An address that is accepted adds nothing to the command that it is sent in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::transport::smtp::seams;

fuzz_target!(|text: &str| {
    if let Some(sent) = seams::address(text) {
        assert!(!sent.contains(|c: char| c.is_control() || "<> ".contains(c)), "{sent:?}");
        assert!(sent.contains('@') && sent.len() <= 320, "{sent:?}");
        assert_eq!(seams::address(&sent).as_deref(), Some(&*sent), "it is its own normal form");
    }
});
