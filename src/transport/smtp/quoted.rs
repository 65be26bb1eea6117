//! Quoted-printable (RFC 2045, 6.7), in one pass: most of a mail is made here.

/// Longest line, without its end and the sign that it goes on.
const LINE_MAX: usize = 75;
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Appends a text. Every line end in it, a bare CR or LF too, is a CRLF (RFC 5321, 2.3.8).
pub(super) fn encode(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + text.len() / 8);
    let mut rest = text.as_bytes();
    while let Some(end) = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n')) {
        line(&rest[..end], out);
        out.extend_from_slice(b"\r\n");
        let length = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + length..];
    }
    line(rest, out);
}

/// Appends one line without its end.
fn line(text: &[u8], out: &mut Vec<u8>) {
    // A blank at the end of a line may get lost on the way.
    let blank = text.last().filter(|octet| matches!(octet, b' ' | b'\t'));
    let mut rest = &text[..text.len() - blank.iter().len()];
    let mut column = 0;
    while !rest.is_empty() {
        let end = rest.iter().position(|octet| !is_literal(*octet)).unwrap_or(rest.len());
        let (run, others) = rest.split_at(end);
        literal(run, &mut column, out);
        rest = others;
        if let Some((octet, others)) = others.split_first() {
            escaped(*octet, &mut column, out);
            rest = others;
        }
    }
    if let Some(octet) = blank {
        escaped(*octet, &mut column, out);
    }
}

fn is_literal(octet: u8) -> bool {
    matches!(octet, b' '..=b'~' | b'\t') && octet != b'='
}

fn literal(mut run: &[u8], column: &mut usize, out: &mut Vec<u8>) {
    while LINE_MAX - *column < run.len() {
        let (fits, others) = run.split_at(LINE_MAX - *column);
        out.extend_from_slice(fits);
        go_on(column, out);
        run = others;
    }
    out.extend_from_slice(run);
    *column += run.len();
}

fn escaped(octet: u8, column: &mut usize, out: &mut Vec<u8>) {
    if LINE_MAX < *column + 3 {
        go_on(column, out);
    }
    let digit = |value: u8| DIGITS[usize::from(value)];
    out.extend_from_slice(&[b'=', digit(octet >> 4), digit(octet & 15)]);
    *column += 3;
}

/// Breaks the line where the text has no break.
fn go_on(column: &mut usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"=\r\n");
    *column = 0;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &str) -> String {
        let mut out = Vec::new();
        encode(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_not_literal_is_escaped() {
        assert_eq!(encoded("a=b\u{e9}\u{7f}\0"), "a=3Db=C3=A9=7F=00");
        assert_eq!(encoded("a \nb\t\r\n c"), "a=20\r\nb=09\r\n c");
        assert_eq!(encoded(" "), "=20");
    }

    #[test]
    fn c17_every_line_end_becomes_crlf() {
        assert_eq!(encoded("a\rb\nc\r\nd\n\re"), "a\r\nb\r\nc\r\nd\r\n\r\ne");
    }

    #[test]
    fn long_lines_are_broken_and_escapes_are_not() {
        let long = encoded(&"x".repeat(200));
        assert_eq!(long.lines().map(str::len).collect::<Vec<_>>(), [76, 76, 50]);
        assert_eq!(encoded(&"x".repeat(75)), "x".repeat(75));
        for before in 70..76 {
            let text = encoded(&format!("{}\u{e9}y", "x".repeat(before)));
            assert!(text.replace("=\r\n", "").ends_with("x=C3=A9y"), "{text}");
            assert!(text.lines().all(|line| line.len() <= 76), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// An independent reader gets the text back, with each line end a CRLF.
        #[test]
        fn every_text_reads_back(text in "(?s)[ -~\\t\r\n\u{e9}=.]{0,400}") {
            let body = encoded(&text);
            for line in body.split("\r\n") {
                prop_assert!(line.len() <= 76 && line.is_ascii() && !line.contains(['\r', '\n']));
                prop_assert!(!line.ends_with([' ', '\t']));
            }
            let mail = format!(
                "Content-Type: text/plain; charset=utf-8\r\n\
                 Content-Transfer-Encoding: quoted-printable\r\n\r\n{body}"
            );
            let mail = mail_parser::MessageParser::default().parse(mail.as_bytes()).unwrap();
            let wanted = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
            let read = mail.body_text(0).unwrap_or_default().replace("\r\n", "\n");
            prop_assert_eq!(read, wanted.replace("\r\n", "\n"));
        }
    }
}
