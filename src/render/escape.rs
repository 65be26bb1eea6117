//! Escaping by the place where a value lands.

mod json;

use std::fmt::Write as _;
use std::ops::Range;

use url::Url;

use super::markdown::code_ranges;

pub(crate) use json::{finish_json, json_document, json_value};

/// Marks around a value that the whole output decides about, in [`finish_url`], [`finish_code`]
/// and [`finish_json`]. No value holds them, nor does a template: both have no control characters.
const VALUE_START: char = '\u{1}';
const VALUE_END: char = '\u{2}';

/// A blank that Markdown leaves where it is.
const BLANK: &str = "&#32;";

/// Where a part of a template ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Title and body.
    Markdown,
    /// Text of a button.
    Label,
    /// URL of a button.
    Url,
    /// A JSON document.
    Json,
}

impl Place {
    /// How values are written there.
    pub(crate) fn escape(self) -> fn(&str) -> String {
        match self {
            Self::Markdown => markdown,
            Self::Label => line,
            Self::Url => url_value,
            Self::Json => json_value,
        }
    }
}

/// One line without control characters and without the marks that reorder text (Unicode
/// "embedding", "override" and "isolate"). A line break or a tab becomes a space.
pub(crate) fn line(value: &str) -> String {
    if value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return value.to_owned(); // As most values are.
    }
    let clean = value.replace("\r\n", "\n");
    let kept = clean.chars().filter_map(|c| match c {
        '\t' | '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        c if c.is_control() => None,
        c => Some(c),
    });
    kept.collect()
}

/// Markdown that shows exactly `value`: a [`line`] with all ASCII punctuation escaped.
/// A blank at either end is written as a reference, or it would indent a code block or undo
/// the emphasis around the value (`CommonMark`, 2.4 and 2.5).
pub(crate) fn markdown(value: &str) -> String {
    let line = line(value);
    let middle = line.trim_matches(' ');
    if middle.is_empty() {
        return BLANK.repeat(line.len().min(1));
    }
    let mut out = String::with_capacity(line.len() + line.len() / 4);
    if line.starts_with(' ') {
        out.push_str(BLANK);
    }
    for c in middle.chars() {
        match c {
            // A backslash would not keep it from closing code that a stray backtick opened.
            '`' => out.push_str("&#96;"),
            c if c.is_ascii_punctuation() => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    if line.ends_with(' ') {
        out.push_str(BLANK);
    }
    out
}

/// A value that is to be shown as code, to be written by [`finish_code`].
pub(crate) fn code_value(value: &str) -> String {
    mark(&line(value))
}

/// Writes the values that are to be code. A code span knows no escaping, and what is around it
/// can break it: a stray backtick, a backslash, another span. So the result is parsed again; if
/// a value is not the code that it should be, all of them are written as plain text.
pub(crate) fn finish_code(text: String) -> String {
    if !text.contains(VALUE_START) {
        return text; // As nearly always.
    }
    let (out, spans) = write_values(&text, code_span);
    let code = code_ranges(&out);
    // Both are in the order of the text, so that a search finds a span without a walk.
    let is_code = |span: &Range<usize>| {
        let found = code.binary_search_by_key(&span.start, |code| code.start);
        found.is_ok_and(|idx| code[idx] == *span)
    };
    if spans.iter().all(|span| blank(&out[span.clone()]) || is_code(span)) {
        out
    } else {
        write_values(&text, markdown).0
    }
}

/// Whether a value shows nothing, and so is no code.
fn blank(written: &str) -> bool {
    matches!(written, "" | BLANK)
}

/// The text with its values written by `write`, and where they are.
fn write_values(text: &str, write: fn(&str) -> String) -> (String, Vec<Range<usize>>) {
    let (mut out, mut spans, mut rest) = (String::with_capacity(text.len()), Vec::new(), text);
    while let Some((before, (value, after))) = next_value(rest) {
        out.push_str(before);
        let start = out.len();
        out.push_str(&write(value));
        spans.push(start..out.len());
        rest = after;
    }
    out.push_str(rest);
    (out, spans)
}

/// The fence has one backtick more than the longest run inside (`CommonMark`, 6.1).
fn code_span(value: &str) -> String {
    if value.trim_matches(' ').is_empty() {
        return markdown(value);
    }
    let longest = value.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A blank at both ends keeps backticks apart from the fence; the parser takes it away.
    let blank = if value.starts_with(['`', ' ']) || value.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{blank}{value}{blank}{fence}")
}

/// Markdown for a value as one component of a URL, for links in a text.
pub(crate) fn markdown_url_component(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    encode(&mut out, &line(value), "");
    markdown(&out)
}

/// A value in a URL, to be encoded by [`finish_url`].
pub(crate) fn url_value(value: &str) -> String {
    mark(line(value).trim())
}

/// The URL of an action, from the text that a render gave. Values are encoded as components,
/// except one that the URL begins with and that is itself a URL: it keeps what is reserved.
///
/// # Errors
///
/// The URL is not absolute, or is neither http, https nor mailto. The message shows no value.
pub(crate) fn finish_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, (value, after))) = next_value(rest) {
        out.push_str(before);
        if out.is_empty() && is_web_url(value) {
            encode(&mut out, value, ":/?#[]@!$&'()*+,;=%");
        } else if out.starts_with("mailto:") {
            encode(&mut out, value, "@");
        } else {
            encode(&mut out, value, "");
        }
        rest = after;
    }
    out.push_str(rest);
    if !is_web_url(&out) {
        return Err("the URL of an action must begin with https://, http:// or mailto: \
                    once it is rendered; check the template and the values in it"
            .into());
    }
    if out.bytes().all(|b| b.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&b)) {
        return Ok(out);
    }
    // The template's own text has blanks or letters beyond ASCII: encode them as browsers do.
    Url::parse(&out).map(String::from).map_err(|err| format!("the URL of an action: {err}"))
}

fn mark(value: &str) -> String {
    format!("{VALUE_START}{value}{VALUE_END}")
}

fn next_value(text: &str) -> Option<(&str, (&str, &str))> {
    let (before, rest) = text.split_once(VALUE_START)?;
    Some((before, rest.split_once(VALUE_END)?))
}

/// Whether this is an absolute URL of a scheme that may be in a message.
pub(crate) fn is_web_url(text: &str) -> bool {
    is_usual_url(text)
        || Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "mailto"))
}

/// Whether a URL is of a kind that is right at a glance, as most are: http or https, a host name in lower case
/// that ends in a word of letters, and a path.
fn is_usual_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    let is_usual_label = |label: &str| {
        // What begins so, or with a digit, may be a name in other letters, or a number.
        !label.is_empty()
            && !label.starts_with("xn--")
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|b| b.is_ascii_lowercase()) && host.split('.').all(is_usual_label)
}

/// Percent-encodes all but letters, digits, `-._~` (RFC 3986, 2.3) and `kept`.
fn encode(out: &mut String, value: &str, kept: &str) {
    for &b in value.as_bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || kept.as_bytes().contains(&b) {
            out.push(char::from(b));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_has_no_breaks_controls_or_reordering() {
        assert_eq!(line("a\r\nb\nc\rd\te\u{2028}f\u{b}g"), "a b c d e f g");
        assert_eq!(line("a\0b\u{1b}[31m\u{202e}c\u{2066}d\u{7f}\u{9b}"), "ab[31mcd");
        assert_eq!(line("👩‍💻 é שלום\u{200f}"), "👩‍💻 é שלום\u{200f}");
    }

    proptest! {
        #[test]
        fn what_looks_like_a_usual_url_is_one(text in "https?://[a-z0-9.:-]{0,9}(xn--a\\.)?[a-z0-9.]{0,6}(/[ -~é]{0,5})?") {
            let is_url = Url::parse(&text).is_ok_and(|url| url.scheme().starts_with("http"));
            prop_assert!(is_url || !is_usual_url(&text));
        }
    }

    #[test]
    fn a_usual_url_is_known_at_a_glance() {
        assert!(is_usual_url("https://app.example.com/a?b=c#d"));
        assert!(is_usual_url("http://localhost"));
        for text in [
            "https://1.2.3.4/",
            "https://0x1",
            "https://",
            "https://a..com",
            "https://a.com:99999",
            "ftp://a",
        ] {
            assert!(!is_usual_url(text), "{text}");
        }
    }

    #[test]
    fn markdown_escapes_all_ascii_punctuation_and_the_outer_blanks() {
        assert_eq!(
            markdown("a*b_[c](d) <e> & `f`"),
            "a\\*b\\_\\[c\\]\\(d\\) \\<e\\> \\& &#96;f&#96;"
        );
        assert_eq!(markdown("    code"), "&#32;code");
        assert_eq!(markdown("\n\n"), "&#32;");
        assert_eq!(markdown(""), "");
    }

    fn finish(parts: &[(&str, &str)]) -> Result<String, String> {
        let text = parts.iter().map(|(text, value)| {
            if value.is_empty() {
                (*text).to_owned()
            } else {
                format!("{text}{}", url_value(value))
            }
        });
        finish_url(&text.collect::<String>())
    }

    #[test]
    fn a_value_in_a_url_is_one_component() {
        let url =
            finish(&[("https://example.com/a/", "b/../c?d=e&f#g h"), ("?q=", "ä@:"), ("&z", "")]);
        assert_eq!(
            url.unwrap(),
            "https://example.com/a/b%2F..%2Fc%3Fd%3De%26f%23g%20h?q=%C3%A4%40%3A&z"
        );
    }

    #[test]
    fn a_value_that_is_the_whole_url_keeps_what_is_reserved() {
        let url = "https://example.com/x?a=1&b=2#c%20d";
        assert_eq!(finish(&[("", url)]).unwrap(), url);
        assert_eq!(
            finish(&[("", "https://app.example.com/base"), ("/x/", "a b")]).unwrap(),
            "https://app.example.com/base/x/a%20b"
        );
        assert_eq!(
            finish(&[("https://example.com/?next=", url)]).unwrap(),
            "https://example.com/?next=https%3A%2F%2Fexample.com%2Fx%3Fa%3D1%26b%3D2%23c%2520d"
        );
    }

    #[test]
    fn a_mail_address_keeps_its_at_sign_but_adds_no_header() {
        assert_eq!(
            finish(&[("mailto:", "ann@example.com?bcc=v@example.com")]).unwrap(),
            "mailto:ann@example.com%3Fbcc%3Dv@example.com"
        );
    }

    #[test]
    fn other_schemes_and_relative_urls_are_refused() {
        for value in [
            "javascript:alert(1)",
            "JAVA\nscript:alert(1)",
            "data:text/html,x",
            "/a",
            "//example.com",
            "x",
        ] {
            assert!(finish(&[("", value)]).is_err(), "{value}");
            assert!(finish_url(value).is_err(), "{value}");
        }
        assert!(finish_url("").is_err());
        assert!(finish(&[("javascript:", "alert(1)")]).is_err());
    }

    #[test]
    fn letters_beyond_ascii_in_the_template_are_encoded() {
        assert_eq!(
            finish_url("https://bücher.example/ä b").unwrap(),
            "https://xn--bcher-kva.example/%C3%A4%20b"
        );
    }
}
