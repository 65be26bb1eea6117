//! Markdown (`CommonMark`, no extensions) to HTML and to plain text.
//!
//! Both show the same words. Raw HTML is shown as the text that it is, so that nothing is lost
//! without a trace; a link or an image that leads elsewhere than to http, https or mailto is
//! shown as its text.

mod plain;

use std::ops::Range;

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd, html};

use super::escape::is_web_url;

pub use plain::to_plain;

/// HTML without scripts, styles, raw HTML and unsafe links. A line break in a paragraph is one
/// in the HTML too.
pub fn to_html(markdown: &str) -> String {
    let mut links = Links::default();
    let events = parse(markdown).filter_map(|event| match event {
        Event::SoftBreak => Some(Event::HardBreak),
        event => links.filter(event),
    });
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut out, events);
    out.truncate(out.trim_end().len());
    out
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
