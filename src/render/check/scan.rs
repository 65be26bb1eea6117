//! The tags of a template, read without recursion.

use std::ops::Range;

use super::Fault;

/// Longest part, in octets.
const SIZE_MAX: usize = 16 * 1024;
/// Most tags of a part. The time to compile grows with tags times size.
const TAGS_MAX: usize = 500;
/// Deepest nesting of blocks, `else if` included.
const DEPTH_MAX: usize = 16;
/// Most subexpressions in one tag.
const PARENS_MAX: usize = 16;

/// Longest run of backslashes. The time to compile grows with its square.
const BACKSLASHES_MAX: usize = 64;

/// A tag and where it is, in octets.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) tag: Tag<'a>,
    pub(super) range: Range<usize>,
}

/// All tags, if sizes, nesting and the kinds of tags are as they may be.
pub(super) fn tags(source: &str) -> Result<Vec<Found<'_>>, Fault> {
    if SIZE_MAX < source.len() {
        let (size, limit) = (source.len(), SIZE_MAX / 1024);
        let message = format!("{size} octets are too many; {limit} KiB is the limit");
        return Err(Fault::at(source, 0, message));
    }
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if let Some(at) = source.find(control) {
        return Err(Fault::at(source, at, "a control character; remove it".into()));
    }
    if let Some(at) = source.find(&"\\".repeat(BACKSLASHES_MAX + 1)) {
        let message = format!("more than {BACKSLASHES_MAX} backslashes in a row; remove some");
        return Err(Fault::at(source, at, message));
    }
    let mut blocks = Blocks::default();
    let (mut at, mut tags) = (0, Vec::new());
    while let Some(start) = next_tag(source, at) {
        let fault = |message| Fault::at(source, start, message);
        if tags.len() == TAGS_MAX {
            return Err(fault(format!("more than {TAGS_MAX} tags; shorten the template")));
        }
        if source[at..start].ends_with('\\') {
            let message = "a backslash before a tag would change what comes after it; write &#92;";
            return Err(fault(message.into()));
        }
        let (tag, end) = Tag::read(source, start).map_err(fault)?;
        blocks.see(tag, start).map_err(fault)?;
        tags.push(Found { tag, range: start..end });
        at = end;
    }
    match blocks.open.last() {
        Some(OpenBlock { name, start, .. }) => {
            let message = format!("{{{{#{name}}}}} is not closed; add {{{{/{name}}}}}");
            Err(Fault::at(source, *start, message))
        }
        None => Ok(tags),
    }
}

/// Start of the next tag; a single backslash makes `{{` text, and `{{{{` too.
fn next_tag(source: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let start = at + source[at..].find("{{")?;
        let before = &source[at..start];
        if !before.ends_with('\\') || before.ends_with("\\\\") {
            return Some(start);
        }
        at = start + 2;
        at += if source[at..].starts_with("{{") { 2 } else { 0 };
    }
}

/// A tag, as far as nesting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag<'a> {
    /// `{{#name`
    Open(&'a str),
    /// `{{else if`
    ElseIf,
    /// `{{/name`
    Close(&'a str),
    /// `{{else}}` or a comment.
    Other,
    /// Prints something.
    Value,
}

impl<'a> Tag<'a> {
    /// The tag at `start`, and where it ends.
    fn read(source: &'a str, start: usize) -> Result<(Self, usize), String> {
        let rest = &source[start + 2..];
        if let Some(comment) = rest.strip_prefix('!') {
            let (close, body) = match comment.trim_start().strip_prefix("--") {
                Some(body) => ("--}}", body),
                None => ("}}", comment),
            };
            let end = body.find(close).ok_or_else(|| format!("add {close} to end this comment"))?;
            let tail = body.len() - end - close.len();
            return Ok((Tag::Other, source.len() - tail));
        }
        if rest.trim_start_matches(blank_or_tilde).starts_with(['{', '&']) {
            return Err("this would print a value unescaped; write it as {{name}}".into());
        }
        let end = rest.find("}}").ok_or("this tag has no end; add }}")?;
        let inner = rest[..end].trim_matches(blank_or_tilde);
        check_inner(inner)?;
        let tag = match inner.as_bytes().first() {
            None => return Err("this tag is empty; name a variable".into()),
            Some(b'>') => return Err("partials are not supported; write the text here".into()),
            Some(b'*') => return Err("decorators are not supported; remove this".into()),
            Some(b'#') => Tag::Open(block_name(&inner[1..])?),
            Some(b'/') => Tag::Close(inner[1..].trim()),
            Some(b'^') if 1 < inner.len() => Tag::ElseIf,
            _ if inner.starts_with("else") && inner != "else" => Tag::ElseIf,
            _ if inner == "else" || inner == "^" => Tag::Other,
            _ => Tag::Value,
        };
        Ok((tag, start + 2 + end + 2))
    }
}

fn blank_or_tilde(c: char) -> bool {
    c == '~' || c.is_ascii_whitespace()
}

fn block_name(inner: &str) -> Result<&str, String> {
    let inner = inner.trim_start();
    if inner.starts_with(['>', '*']) {
        return Err("partials and decorators are not supported; write the text here".into());
    }
    Ok(inner.split(char::is_whitespace).next().unwrap_or_default())
}

/// Refuses what would let handlebars see another end of the tag than we do, or recurse in it.
fn check_inner(inner: &str) -> Result<(), String> {
    if inner.contains(['{', '}']) {
        return Err("a brace within a tag; close the tag before it with }}".into());
    }
    if PARENS_MAX < inner.matches('(').count() {
        return Err(format!("more than {PARENS_MAX} parentheses in one tag; simplify it"));
    }
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => end_quote(&mut chars, c)?,
            '[' => end_bracket(&mut chars)?,
            _ => (),
        }
    }
    Ok(())
}

fn end_bracket(chars: &mut std::str::Chars<'_>) -> Result<(), String> {
    let Some((name, rest)) = chars.as_str().split_once(']') else {
        return Err("a name without its closing ] in this tag; add it".into());
    };
    if name.contains(['"', '\'', '[']) {
        return Err("a quote or bracket within [ ]; use {{lookup labels \"…\"}}".into());
    }
    *chars = rest.chars();
    Ok(())
}

fn end_quote(chars: &mut std::str::Chars<'_>, quote: char) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return Ok(()),
            _ => (),
        }
    }
    Err(format!("a string without its closing {quote} in this tag; add it"))
}

/// The blocks that are open.
#[derive(Default)]
struct Blocks<'a> {
    open: Vec<OpenBlock<'a>>,
}

struct OpenBlock<'a> {
    name: &'a str,
    start: usize,
    /// The block and its `else if`s: each nests in the one before.
    depth: usize,
}

impl<'a> Blocks<'a> {
    fn see(&mut self, tag: Tag<'a>, start: usize) -> Result<(), String> {
        match tag {
            Tag::Value | Tag::Other => return Ok(()),
            Tag::Open(name) => self.open.push(OpenBlock { name, start, depth: 1 }),
            Tag::ElseIf => match self.open.last_mut() {
                Some(block) => block.depth += 1,
                None => return Err("an else outside of a block; remove it".into()),
            },
            Tag::Close(name) => match self.open.pop() {
                Some(block) if block.name == name => return Ok(()),
                Some(block) => {
                    let open = block.name;
                    return Err(format!("{{{{/{name}}}}} closes {{{{#{open}}}}}; correct one"));
                }
                None => return Err(format!("{{{{/{name}}}}} closes nothing; remove it")),
            },
        }
        if DEPTH_MAX < self.open.iter().map(|block| block.depth).sum() {
            return Err(format!("blocks nest deeper than {DEPTH_MAX}; simplify the template"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use handlebars::Template;
    use handlebars::template::TemplateElement;

    use super::*;

    fn blocks(template: &Template) -> usize {
        let element = |element: &TemplateElement| match element {
            TemplateElement::HelperBlock(block) => {
                1 + block.template.iter().chain(&block.inverse).map(blocks).sum::<usize>()
            }
            _ => 0,
        };
        template.elements.iter().map(element).sum()
    }

    /// The limits on nesting hold only if we see the blocks that handlebars sees.
    #[test]
    fn we_see_the_same_blocks_as_handlebars_in_any_template_that_we_let_through() {
        let pieces = "{{¦}}¦{{#if a}}¦{{/if}}¦{{else}}¦{{else if a}}¦{{^¦{{!¦{{!--¦--}}¦{{eq a ¦{{a¦{{~¦~}}¦\
                      /if¦#if a¦(not a)¦as |b|¦\\¦\"¦'¦[¦]¦{¦}¦!¦--¦ ¦a¦~¦^¦\n¦.¦=¦|¦&¦>¦*¦@";
        let pieces: Vec<_> = pieces.split('¦').collect();
        let mut random = fastrand::Rng::with_seed(7);
        let mut compared = 0;
        for _ in 0..30_000 {
            let count = random.usize(1..14);
            let source: String = (0..count).map(|_| pieces[random.usize(..pieces.len())]).collect();
            let Ok(tags) = tags(&source) else { continue };
            let Ok(template) = Template::compile(&source) else { continue };
            let seen = tags.iter().filter(|found| matches!(found.tag, Tag::Open(_) | Tag::ElseIf));
            assert_eq!(seen.count(), blocks(&template), "{source:?}");
            compared += tags.len();
        }
        assert!(1000 < compared, "{compared}");
    }
}
