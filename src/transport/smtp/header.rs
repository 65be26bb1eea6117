//! Header fields that hold text from outside (RFC 5322, 2.2; RFC 2047).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::address::Address;

/// Octets of text in one encoded word: with the frame 68, and so within 78 behind any field
/// name in use here. RFC 2047, 2 allows words of 75.
const ENCODED_MAX: usize = 42;
/// Longest line that is filled up, without its end (RFC 5322, 2.1.1).
const LINE_MAX: usize = 78;
/// Longest run without a space that is sent as it is.
const WORD_MAX: usize = 60;

/// Makes one line of any text, at most `chars_max` characters long: line breaks and other
/// controls become spaces, and what would turn the direction of writing is dropped.
pub(super) fn clean(text: &str, chars_max: usize) -> String {
    let spaced: String = text
        .replace("\r\n", "\n")
        .chars()
        .filter(|c| !is_direction(*c))
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect();
    spaced.trim().chars().take(chars_max).collect::<String>().trim_end().to_owned()
}

fn is_direction(c: char) -> bool {
    let marks = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{feff}');
    marks || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A field of free text, with its line end. `text` must be [`clean`].
pub(super) fn unstructured(name: &str, text: &str) -> String {
    let verbatim = is_plain(text) && text.split(' ').all(is_short_word);
    let value = if verbatim { fold(name.len() + 2, text) } else { encoded_words(text) };
    format!("{name}: {value}\r\n")
}

/// A field with one address. `display` must be [`clean`].
pub(super) fn mailbox(name: &str, display: Option<&str>, address: &Address) -> String {
    let Some(display) = display.filter(|display| !display.is_empty()) else {
        return format!("{name}: {address}\r\n");
    };
    let phrase = if !is_plain(display) || WORD_MAX < display.len() {
        encoded_words(display)
    } else if display.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b' ') {
        display.to_owned()
    } else {
        format!("\"{}\"", display.replace('\\', "\\\\").replace('"', "\\\""))
    };
    // On a line of its own the address cannot make another one too long.
    format!("{name}: {phrase}\r\n <{address}>\r\n")
}

/// Whether a reader shows the text just as it stands. What looks like an encoded word does
/// not, and spaces in a row may not outlive a fold.
fn is_plain(text: &str) -> bool {
    let printable = text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    printable && !text.contains("=?") && !text.contains("  ")
}

fn is_short_word(word: &str) -> bool {
    word.len() <= WORD_MAX
}

/// Breaks lines before words; `column` is where the text begins.
fn fold(mut column: usize, text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (idx, word) in text.split(' ').enumerate() {
        if 0 < idx {
            let full = LINE_MAX < column + 1 + word.len();
            out.push_str(if full { "\r\n " } else { " " });
            column = if full { 1 } else { column + 1 };
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

/// The whole text as encoded words of whole characters, one a line.
fn encoded_words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, tail) = rest.split_at(rest.floor_char_boundary(ENCODED_MAX));
        let fold = if out.is_empty() { "" } else { "\r\n " };
        write!(out, "{fold}=?utf-8?B?{}?=", STANDARD.encode(word)).expect("a String takes all");
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader makes of the field.
    fn read_back(field: &str) -> String {
        let mail = format!("{field}\r\nbody");
        let parsed = mail_parser::MessageParser::default().parse(mail.as_bytes()).unwrap();
        parsed.subject().unwrap_or_default().to_owned()
    }

    #[test]
    fn c16_a_subject_reads_back_exactly() {
        let nbsp = "Dépêche reçue. Départ prévu\u{a0}: 3 août, 10h15";
        let subjects = [
            "Dépêche reçue. Départ prévu : 3 août, 10h15",
            nbsp,
            &"é".repeat(400),
            "😀 launch",
            &["long word"; 25].join(" "),
            &"x".repeat(1200),
            "=?UTF-8?Q?literal?=",
            "two  spaces",
            "plain",
            &"日本語テキスト".repeat(20),
        ];
        for subject in subjects {
            assert_eq!(clean(subject, 2000), *subject);
            let field = unstructured("Subject", subject);
            assert_eq!(read_back(&field), *subject, "{field}");
            assert!(field.is_ascii());
            for line in field.lines() {
                assert!(line.len() <= 78, "{line}");
                for word in line.split(' ').filter(|word| word.contains("=?")) {
                    let inner =
                        word.strip_prefix("=?utf-8?B?").unwrap().strip_suffix("?=").unwrap();
                    assert!(word.len() <= 75, "{word}");
                    assert!(String::from_utf8(STANDARD.decode(inner).unwrap()).is_ok(), "{word}");
                }
            }
        }
    }

    #[test]
    fn c23_line_breaks_and_controls_become_spaces() {
        let text = clean("Hi x\r\nBcc: v@example.com\r\n\r\nfake body\n", 200);
        assert_eq!(text, "Hi x Bcc: v@example.com  fake body");
        assert_eq!(clean("a\rb\nc\0d\u{85}e\u{2028}f", 200), "a b c d e f");
    }

    #[test]
    fn text_cannot_turn_the_direction_of_writing() {
        assert_eq!(clean("a\u{202e}b\u{2066}c\u{200f}d", 200), "abcd");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(clean(&"é".repeat(300), 200), "é".repeat(200));
    }

    #[test]
    fn names_are_quoted_or_encoded_as_they_need() {
        let address = Address::parse("a@example.com").unwrap();
        let to = |name| mailbox("To", name, &address);
        assert_eq!(to(None), "To: a@example.com\r\n");
        assert_eq!(to(Some("")), "To: a@example.com\r\n");
        assert_eq!(to(Some("Ann Lee")), "To: Ann Lee\r\n <a@example.com>\r\n");
        assert_eq!(
            to(Some(r#"Lee, A "x\""#)),
            "To: \"Lee, A \\\"x\\\\\\\"\"\r\n <a@example.com>\r\n"
        );
        assert_eq!(to(Some("Zoë")), "To: =?utf-8?B?Wm/Dqw==?=\r\n <a@example.com>\r\n");
    }
}
