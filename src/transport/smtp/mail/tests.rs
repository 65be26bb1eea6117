//! Octets of the data stage.

use super::*;

#[test]
fn c17_dots_are_doubled_at_the_beginning_of_a_line_only() {
    assert_eq!(with_dots(b".a\r\nb.\r\n..\r\n"), b"..a\r\nb.\r\n...\r\n.\r\n");
    assert_eq!(with_dots(b"a"), b"a\r\n.\r\n");
    assert_eq!(with_dots(b""), b"\r\n.\r\n");
}

#[test]
fn c17_every_line_end_becomes_crlf() {
    assert_eq!(with_crlf("a\nb\rc\r\nd\n\re"), "a\r\nb\r\nc\r\nd\r\n\r\ne");
}
