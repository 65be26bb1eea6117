//! Replies of the relay, read within limits (RFC 5321, 4.2).

use std::io::{self, BufRead, Read};

use super::classify::Cause;

/// Longest line, in octets; RFC 5321, 4.5.3.1.5 asks for 512.
const LINE_MAX: usize = 2048;
/// Most lines of one reply.
const LINES_MAX: usize = 100;
/// Longest reply, in octets.
const REPLY_MAX: usize = 16 * 1024;
/// How much of a line that is no reply is shown.
const ODD_SHOWN: usize = 100;

/// One complete reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// Three digits, 200 to 599.
    pub(super) code: u16,
    /// The text of each line, without the code. Octets that are not UTF-8 are replaced.
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// First digit, 2 to 5: it alone decides whether a command succeeded.
    pub(super) fn class(&self) -> u16 {
        self.code / 100
    }

    /// All lines in one.
    pub(super) fn text(&self) -> String {
        self.lines.join(" ").trim().to_owned()
    }

    /// Subject and detail of the enhanced code (RFC 2034): `(1, 1)` for `5.1.1`. A code whose
    /// class contradicts the reply's is ignored.
    pub(super) fn enhanced(&self) -> Option<(u16, u16)> {
        let last = self.lines.last()?;
        let mut parts = last.split_whitespace().next()?.splitn(3, '.').map(str::parse::<u16>);
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let matches = class.ok()? == self.class();
        matches.then_some((subject.ok()?, detail.ok()?))
    }
}

/// Reads one reply.
///
/// All lines must have the same code. Where they have not, a refusal in the last line stands,
/// with everything that was said; anything else is not a reply that one could act on.
pub(super) fn read(reader: &mut impl BufRead) -> Result<Reply, Cause> {
    let mut codes = Vec::new();
    let mut lines = Vec::new();
    let mut size = 0;
    loop {
        let line = read_line(reader)?;
        size += line.len();
        let Some((code, last, text)) = parse_line(&line) else {
            let shown: String = line.chars().take(ODD_SHOWN).collect();
            return Err(Cause::Malformed(format!("not an SMTP reply: {shown:?}")));
        };
        codes.push(code);
        lines.push(text.to_owned());
        if last {
            return agree(&codes, lines);
        }
        if lines.len() == LINES_MAX || REPLY_MAX < size {
            return Err(Cause::Malformed("the reply does not end".into()));
        }
    }
}

fn agree(codes: &[u16], mut lines: Vec<String>) -> Result<Reply, Cause> {
    let code = *codes.last().expect("a reply that ended has a line");
    if codes.iter().any(|other| *other != code) {
        for (line, other) in lines.iter_mut().zip(codes).filter(|(_, other)| **other != code) {
            *line = format!("{other} {line}");
        }
        if code < 400 {
            let said = lines.join(" ");
            return Err(Cause::Malformed(format!("a reply with several codes: {code} {said}")));
        }
    }
    Ok(Reply { code, lines })
}

/// One line without its end. A bare LF is taken for an end too.
fn read_line(reader: &mut impl BufRead) -> Result<String, Cause> {
    let mut octets = Vec::new();
    let limit = u64::try_from(LINE_MAX).expect("a small constant");
    reader.take(limit).read_until(b'\n', &mut octets)?;
    if octets.last() != Some(&b'\n') {
        if octets.len() == LINE_MAX {
            return Err(Cause::Malformed("a reply line does not end".into()));
        }
        return Err(Cause::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    let line = String::from_utf8_lossy(&octets);
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Code, whether the line is the last one, and its text.
fn parse_line(line: &str) -> Option<(u16, bool, &str)> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let code = digits.parse().ok().filter(|code| (200..600).contains(code))?;
    match rest.as_bytes().first() {
        None => Some((code, true, "")),
        Some(b' ') => Some((code, true, &rest[1..])),
        Some(b'-') => Some((code, false, &rest[1..])),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(octets: &[u8]) -> Result<Reply, String> {
        read(&mut &*octets).map_err(|cause| cause.to_string())
    }

    #[test]
    fn a_reply_has_one_code_and_the_text_of_all_its_lines() {
        let reply =
            reply(b"550-5.7.1 content refused\r\n550-5.7.1 policy 12\r\n550 x\r\n").unwrap();
        assert_eq!((reply.code, reply.class()), (550, 5));
        assert_eq!(reply.text(), "5.7.1 content refused 5.7.1 policy 12 x");
    }

    #[test]
    fn a_code_alone_is_a_reply() {
        assert_eq!(reply(b"220\r\n").unwrap().code, 220);
        assert_eq!(reply(b"220 \n").unwrap().text(), "");
    }

    #[test]
    fn c04_text_that_is_not_utf_8_does_not_hide_the_code() {
        let reply = reply(b"550 caf\xe9\r\n").unwrap();
        assert_eq!((reply.code, reply.text().as_str()), (550, "caf\u{fffd}"));
    }

    #[test]
    fn c05_a_refusal_after_lines_with_another_code_stands() {
        let reply = reply(b"220-mx.example.com\r\n521 5.7.1 blocked\r\n").unwrap();
        assert_eq!(reply.code, 521);
        assert_eq!(reply.text(), "220 mx.example.com 5.7.1 blocked");
    }

    #[test]
    fn a_success_after_lines_with_another_code_is_no_success() {
        let said = reply(b"550-no\r\n250 yes\r\n").unwrap_err();
        assert!(said.contains("550 no") && said.contains("250"), "{said}");
    }

    #[test]
    fn what_is_not_a_reply_is_shown() {
        for odd in ["HTTP/1.1 400 Bad Request", "2200 x", "99 x", "650 x", "150 x", "25", "+OK"] {
            let said = reply(format!("{odd}\r\n").as_bytes()).unwrap_err();
            assert!(said.contains(odd), "{odd}: {said}");
        }
    }

    #[test]
    fn a_reply_is_bounded_while_it_is_read() {
        let said = reply(&b"2".repeat(1 << 20)).unwrap_err();
        assert!(said.contains("line does not end"), "{said}");
        let said = reply(&b"250-x\r\n".repeat(101)).unwrap_err();
        assert!(said.contains("reply does not end"), "{said}");
        let long = format!("250-{}\r\n", "x".repeat(2000));
        let said = reply(long.repeat(20).as_bytes()).unwrap_err();
        assert!(said.contains("reply does not end"), "{said}");
    }

    #[test]
    fn a_reply_cut_short_is_an_end_of_file() {
        assert!(matches!(read(&mut &b"250-x\r\n250 "[..]), Err(Cause::Io(err))
            if err.kind() == io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn an_enhanced_code_counts_only_if_its_class_fits() {
        let enhanced = |text: &str| reply(text.as_bytes()).unwrap().enhanced();
        assert_eq!(enhanced("550 5.1.1 x\r\n"), Some((1, 1)));
        assert_eq!(enhanced("550 4.1.1 x\r\n"), None);
        assert_eq!(enhanced("550 5.1 x\r\n"), None);
        assert_eq!(enhanced("550 no\r\n"), None);
        assert_eq!(enhanced("550-5.7.1 x\r\n550 5.1.10 y\r\n"), Some((1, 10)));
    }
}
