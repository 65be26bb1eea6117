//! An address that is accepted adds nothing to the command that it is sent in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::transport::smtp::seams;

fuzz_target!(|text: &str| {
    if let Some(sent) = seams::address(text) {
        assert!(!sent.contains(char::is_control) && sent.len() <= 320, "{sent:?}");
        let outside = after_quotes(&sent);
        assert!(outside.contains('@') && !outside.contains(['<', '>', ' ', '"']), "{sent:?}");
        assert_eq!(seams::address(&sent).as_deref(), Some(&*sent), "it is its own normal form");
    }
});

/// What comes behind a quoted local part (RFC 5321, 4.1.2), which may hold nearly anything.
fn after_quotes(address: &str) -> &str {
    let Some(inner) = address.strip_prefix('"') else { return address };
    let mut escaped = false;
    let end = inner.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or("", |(at, _)| &inner[at + 1..])
}
