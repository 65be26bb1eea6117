//! Markdown (`CommonMark`, no extensions) to HTML and to plain text.
//!
//! Both show the same words. Raw HTML is shown as the text that it is, so that nothing is lost
//! without a trace; a link or an image that leads elsewhere than to http, https or mailto is
//! shown as its text.

mod plain;

use std::fmt;
use std::ops::Range;

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd, html};

use super::escape::is_web_url;

pub use plain::to_plain;

/// HTML without scripts, styles, raw HTML and unsafe links. A line break in a paragraph is one
/// in the HTML too.
pub fn to_html(markdown: &str) -> String {
    to_html_within(markdown, usize::MAX).unwrap_or_default()
}

/// The events of a text without unsafe links.
fn shown(markdown: &str) -> impl Iterator<Item = Event<'_>> {
    let mut links = Links::default();
    parse(markdown).filter_map(move |event| match event {
        Event::SoftBreak => Some(Event::HardBreak),
        event => links.filter(event),
    })
}

/// [`to_html`], if it is not longer than `max` bytes: some marks come to many times their length.
pub(crate) fn to_html_within(markdown: &str, max: usize) -> Option<String> {
    let mut out = Within { text: String::with_capacity(max.min(markdown.len() * 3 / 2)), max };
    html::write_html_fmt(&mut out, shown(markdown)).ok()?;
    let mut text = out.text;
    text.truncate(text.trim_end().len());
    Some(text)
}

/// A text that refuses to grow beyond a length.
struct Within {
    text: String,
    max: usize,
}

impl fmt::Write for Within {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.max < self.text.len() + text.len() {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// Most of lines times lists and quotes around them that a text may have: some hundredths of a
/// second to read.
const NESTED_LINES_MAX: usize = 8 << 20;

/// Whether a text is read in a time that grows with its length alone. A paragraph in many lists and
/// quotes may have lines that repeat none of their marks (`CommonMark`, "lazy continuation"), and
/// each of these lines costs a look at all that is around it.
pub(crate) fn is_soon_read(markdown: &str) -> bool {
    let (mut cost, mut depth, mut after_blank) = (0_usize, 0, true);
    let lines = markdown.split('\n').flat_map(|it| it.strip_suffix('\r').unwrap_or(it).split('\r'));
    for line in lines {
        let is_blank = line.trim_matches([' ', '\t']).is_empty();
        if !is_blank {
            let before = if after_blank { 0 } else { depth };
            depth = nesting_max(line).max(before);
            cost += depth;
        }
        after_blank = is_blank;
    }
    cost <= NESTED_LINES_MAX
}

/// The most lists and quotes that a line can begin or go on with: one for two columns or a mark.
fn nesting_max(line: &str) -> usize {
    let (mut columns, mut marks) = (0_usize, 0);
    let bytes = line.as_bytes();
    for (idx, byte) in bytes.iter().enumerate() {
        let ends = || matches!(bytes.get(idx + 1), None | Some(b' ' | b'\t'));
        match byte {
            b' ' => columns += 1,
            b'\t' => columns += 4,
            b'>' => marks += 1,
            b'-' | b'+' | b'*' | b'.' | b')' if ends() => marks += 1,
            b'0'..=b'9' => (),
            _ => break,
        }
    }
    columns.div_ceil(2) + marks
}

/// The events of a text, with raw HTML as text.
fn parse(markdown: &str) -> impl Iterator<Item = Event<'_>> {
    Parser::new_ext(markdown, Options::empty()).map(|event| match event {
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        // The block's lines are text now, which needs a paragraph around it.
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        event => event,
    })
}

/// Where code is in a text, in octets.
pub(crate) fn code_ranges(markdown: &str) -> Vec<Range<usize>> {
    let events = Parser::new_ext(markdown, Options::empty()).into_offset_iter();
    let code = events
        .filter(|(event, _)| matches!(event, Event::Code(_) | Event::Start(Tag::CodeBlock(_))));
    code.map(|(_, range)| range).collect()
}

/// Drops the ends of what was dropped at its start.
#[derive(Default)]
struct Links {
    /// Whether each open link or image is kept.
    open: Vec<bool>,
}

impl Links {
    fn filter<'a>(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        let keep = match &event {
            Event::Start(tag @ (Tag::Link { .. } | Tag::Image { .. })) => {
                let keep = target(tag).is_some();
                self.open.push(keep);
                keep
            }
            Event::End(TagEnd::Link | TagEnd::Image) => self.open.pop().unwrap_or(true),
            _ => true,
        };
        keep.then_some(event)
    }
}

/// Where a link or an image may lead: http, https, for a link mailto too.
fn target(tag: &Tag<'_>) -> Option<String> {
    match tag {
        Tag::Link { link_type: LinkType::Email, dest_url, .. } => {
            Some(format!("mailto:{dest_url}"))
        }
        Tag::Link { dest_url, .. } if is_web_url(dest_url) => Some(dest_url.to_string()),
        Tag::Image { dest_url, .. } if is_web_url(dest_url) && !is_mail(dest_url) => {
            Some(dest_url.to_string())
        }
        _ => None,
    }
}

fn is_mail(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:"))
}

#[cfg(test)]
mod tests;
