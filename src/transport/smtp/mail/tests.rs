//! Octets of the data stage.

use super::*;

#[test]
fn c17_dots_are_doubled_at_the_beginning_of_a_line_only() {
    assert_eq!(with_dots(b".a\r\nb.\r\n..\r\n".to_vec()), b"..a\r\nb.\r\n...\r\n.\r\n");
    assert_eq!(with_dots(b"a".to_vec()), b"a\r\n.\r\n");
    assert_eq!(with_dots(b"".to_vec()), b"\r\n.\r\n");
}
