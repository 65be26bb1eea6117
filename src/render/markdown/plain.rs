//! Markdown as plain text, for the text part of a mail, subjects and the inbox.

use pulldown_cmark::{Event, Tag, TagEnd};

use super::{parse, target};

/// Plain text that reads well: `- ` and `1. ` before items, `text (url)` for links, `> ` before
/// quotes, a blank line between blocks. No blanks at either end.
pub fn to_plain(markdown: &str) -> String {
    plain_paragraphs(markdown).unwrap_or_else(|| parsed(markdown)).trim().to_owned()
}

/// Paragraphs of nothing but words, escaped punctuation and `**strong**` words, as most texts are; `None` where
/// there may be more to them.
pub(super) fn plain_paragraphs(markdown: &str) -> Option<String> {
    let mut out = String::with_capacity(markdown.len());
    for (nth, line) in markdown.split('\n').enumerate() {
        if 0 < nth {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        // Two blank lines come to one, and one before the text to none.
        if line.is_empty() && (nth == 0 || out.ends_with("\n\n")) {
            return None;
        }
        plain_line(&mut out, line)?;
    }
    Some(out)
}

/// Writes a line of a paragraph.
fn plain_line(out: &mut String, line: &str) -> Option<()> {
    // Another one may begin an item, a heading, a quote or code.
    let begins_text = |c: char| c.is_alphabetic() || c == '\\' || c == '*';
    let mut is_strong = false;
    let mut before = ' ';
    let mut chars = line.chars().peekable();
    if !line.is_empty() && !line.starts_with(begins_text) {
        return None;
    }
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(char::is_ascii_punctuation)?),
            // Where it cannot be anything else (CommonMark, 6.2).
            '*' => {
                chars.next_if_eq(&'*')?;
                let after = chars.peek().copied().unwrap_or(' ');
                let is_mark = if is_strong {
                    before != ' ' && (after == ' ' || after.is_ascii_punctuation())
                } else {
                    " (".contains(before) && (after.is_alphanumeric() || after == '\\')
                };
                if !is_mark || after == '*' {
                    return None;
                }
                is_strong = !is_strong;
            }
            c if c.is_alphanumeric() || " .,:;()'\"/?%$=+-".contains(c) => out.push(c),
            _ => return None,
        }
        before = c;
    }
    (!is_strong).then_some(())
}

pub(super) fn parsed(markdown: &str) -> String {
    let mut plain = Plain { indents_left: INDENTS_MIN + markdown.len(), ..Plain::default() };
    for event in parse(markdown) {
        plain.event(event);
    }
    plain.out
}

/// Deepest quote or item that still indents its lines. Each line repeats the indent, so without
/// a limit a small text could become a huge one.
const INDENT_MAX: usize = 16;
/// Bytes of indents that any text may have. Others may have as many as the text is long; then lines
/// are not indented any more.
const INDENTS_MIN: usize = 16 << 10;

/// What has to come before the next text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Line,
    Blank,
}

#[derive(Default)]
struct Plain {
    out: String,
    gap: Gap,
    /// What each line begins with, from the outermost quote or item inwards.
    prefix: String,
    /// How long the prefix is within each open quote or item.
    prefixes: Vec<usize>,
    /// Bytes of prefixes that may still be written.
    indents_left: usize,
    /// Number of the next item of each open list; `None`: bullets.
    lists: Vec<Option<u64>>,
    /// Where each open link or image begins in `out`, and where it leads.
    links: Vec<(usize, Option<String>)>,
}

impl Plain {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Text(text) => self.lines(&text),
            Event::Code(text) => self.text(&text),
            Event::SoftBreak | Event::HardBreak => self.gap(Gap::Line),
            Event::Rule => {
                self.gap(Gap::Blank);
                self.text("----");
                self.gap(Gap::Blank);
            }
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            _ => (),
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::BlockQuote(_) => {
                self.break_line();
                self.indent("> ");
                self.out.push_str("> ");
            }
            Tag::List(first) => {
                self.gap(Gap::Line);
                self.lists.push(*first);
            }
            Tag::Item => self.item(),
            Tag::Link { .. } | Tag::Image { .. } => {
                self.break_line();
                self.links.push((self.out.len(), target(tag)));
            }
            _ => (),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock => self.gap(Gap::Blank),
            TagEnd::BlockQuote(_) => {
                self.outdent();
                self.gap(Gap::Blank);
            }
            TagEnd::Item => {
                self.outdent();
                self.gap(Gap::Line);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.gap(if self.lists.is_empty() { Gap::Blank } else { Gap::Line });
            }
            TagEnd::Link | TagEnd::Image => self.end_link(),
            _ => (),
        }
    }

    fn item(&mut self) {
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number = number.saturating_add(1);
                format!("{}. ", *number - 1)
            }
            _ => "- ".into(),
        };
        self.text(&marker);
        self.indent(&" ".repeat(marker.len()));
    }

    fn indent(&mut self, prefix: &str) {
        if self.prefixes.len() < INDENT_MAX {
            self.prefix.push_str(prefix);
        }
        self.prefixes.push(self.prefix.len());
    }

    fn outdent(&mut self) {
        self.prefixes.pop();
        self.prefix.truncate(self.prefixes.last().copied().unwrap_or(0));
    }

    fn end_link(&mut self) {
        let Some((start, Some(url))) = self.links.pop() else { return };
        let shown = &self.out[start..];
        if shown.is_empty() {
            self.text(&url);
        } else if shown != url && url.strip_prefix("mailto:") != Some(shown) {
            self.text(&format!(" ({url})"));
        }
    }

    /// Text that may have line breaks, as code has.
    fn lines(&mut self, text: &str) {
        for (idx, line) in text.split('\n').enumerate() {
            if 0 < idx {
                // Breaks add up here, unlike between blocks: code keeps its blank lines.
                self.break_line();
                self.gap = Gap::Line;
            }
            if !line.is_empty() {
                self.text(line);
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.break_line();
        self.out.push_str(text);
    }

    /// The gap before the next text is at least this.
    fn gap(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    /// Writes the gap, unless nothing is before it.
    fn break_line(&mut self) {
        let breaks = std::mem::take(&mut self.gap) as usize;
        if self.out.is_empty() {
            return;
        }
        for idx in 0..breaks {
            self.out.truncate(self.out.trim_end_matches(' ').len());
            self.out.push('\n');
            let prefix = if idx + 1 < breaks { self.prefix.trim_end() } else { &self.prefix };
            if let Some(left) = self.indents_left.checked_sub(prefix.len()) {
                self.indents_left = left;
                self.out.push_str(prefix);
            }
        }
    }
}
