//! What a template may contain, checked before and after handlebars reads it.
//!
//! handlebars recurses on nested input and dies on too much of it: an overflow of the stack
//! ends the process. So [`scan`] reads the tags first, by a grammar that is narrower than
//! handlebars' own, and refuses what it does not understand. [`walk`] then looks at names.

use handlebars::Template;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};

use super::helpers::{BLOCKS, FUNCTIONS, GLOBALS};

/// Longest part, in octets.
const SIZE_MAX: usize = 16 * 1024;
/// Most tags of a part. The time to compile grows with tags times size.
const TAGS_MAX: usize = 500;
/// Deepest nesting of blocks, `else if` included.
const DEPTH_MAX: usize = 16;
/// Most subexpressions in one tag.
const PARENS_MAX: usize = 16;
/// Deepest nesting of `each`.
const EACH_MAX: usize = 2;

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl From<handlebars::TemplateError> for Fault {
    fn from(err: handlebars::TemplateError) -> Self {
        let (line, column) = err.pos().unwrap_or((1, 1));
        Self { line, column, message: err.reason().to_string().replace(['\r', '\n'], " ") }
    }
}

/// Checks sizes, nesting and the kinds of tags.
pub(crate) fn scan(source: &str) -> Result<(), Fault> {
    let fault = |at: usize, message: String| {
        let before = &source[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Fault { line, column, message }
    };
    if SIZE_MAX < source.len() {
        let (size, limit) = (source.len(), SIZE_MAX / 1024);
        return Err(fault(0, format!("{size} octets are too many; {limit} KiB is the limit")));
    }
    let mut blocks = Blocks::default();
    let (mut at, mut tags) = (0, 0);
    while let Some(start) = next_tag(source, at) {
        tags += 1;
        if TAGS_MAX < tags {
            return Err(fault(start, format!("more than {TAGS_MAX} tags; shorten the template")));
        }
        let (tag, end) = Tag::read(source, start).map_err(|message| fault(start, message))?;
        blocks.see(tag, start).map_err(|message| fault(start, message))?;
        at = end;
    }
    match blocks.open.last() {
        Some(block) => {
            let name = block.name;
            Err(fault(block.start, format!("{{{{#{name}}}}} is not closed; add {{{{/{name}}}}}")))
        }
        None => Ok(()),
    }
}

/// Start of the next tag; a single backslash makes `{{` text.
fn next_tag(source: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let start = at + source[at..].find("{{")?;
        let before = &source[at..start];
        let backslashes = before.len() - before.trim_end_matches('\\').len();
        if backslashes != 1 {
            return Some(start);
        }
        at = start + 2;
    }
}

/// A tag, as far as nesting goes.
#[derive(Debug, Clone, Copy)]
enum Tag<'a> {
    /// `{{#name`
    Open(&'a str),
    /// `{{else if`
    ElseIf,
    /// `{{/name`
    Close(&'a str),
    /// Anything else.
    Plain,
}

impl<'a> Tag<'a> {
    /// The tag at `start`, and where it ends.
    fn read(source: &'a str, start: usize) -> Result<(Self, usize), String> {
        let rest = &source[start + 2..];
        if rest.starts_with('!') {
            let dashed = rest[1..].trim_start().starts_with("--");
            let close = if dashed { "--}}" } else { "}}" };
            let end = rest.find(close).ok_or_else(|| format!("add {close} to end this comment"))?;
            return Ok((Tag::Plain, start + 2 + end + close.len()));
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
            _ => Tag::Plain,
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
            '[' => {
                let name: String = chars.by_ref().take_while(|c| *c != ']').collect();
                if name.contains(['"', '\'', '[']) {
                    return Err("a quote or bracket within [ ]; use {{lookup labels \"…\"}}".into());
                }
            }
            _ => (),
        }
    }
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
            Tag::Plain => return Ok(()),
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

/// Checks the names of helpers and the nesting of `each`.
pub(crate) fn walk(template: &Template) -> Result<(), Fault> {
    walk_level(template, 0)
}

fn walk_level(template: &Template, each_depth: usize) -> Result<(), Fault> {
    for (element, position) in template.elements.iter().zip(&template.mapping) {
        let res = match element {
            TemplateElement::Expression(tag) => expression(tag),
            TemplateElement::HelperBlock(tag) => block(tag, each_depth),
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
            _ => Err("this kind of tag is not supported".into()),
        };
        res.map_err(|message| Fault { line: position.0, column: position.1, message })?;
        if let TemplateElement::HelperBlock(tag) = element {
            let inner = each_depth + usize::from(tag.name.as_name() == Some("each"));
            tag.template.iter().try_for_each(|template| walk_level(template, inner))?;
            tag.inverse.iter().try_for_each(|template| walk_level(template, each_depth))?;
        }
    }
    Ok(())
}

fn block(tag: &HelperTemplate, each_depth: usize) -> Result<(), String> {
    let name = tag.name.as_name().unwrap_or_default();
    if !BLOCKS.contains(&name) {
        return Err(format!(
            "no block is called {name:?}; write {{{{#if {name}}}}}, {{{{#each {name}}}}} or {{{{#with {name}}}}}"
        ));
    }
    if name == "each" && each_depth == EACH_MAX {
        return Err(format!("each nests deeper than {EACH_MAX}; flatten the data"));
    }
    parameters(tag)
}

fn expression(tag: &HelperTemplate) -> Result<(), String> {
    let Some(name) = tag.name.as_name() else {
        // A subexpression in the place of a name: `{{(lookup …)}}`.
        return parameter(&tag.name);
    };
    let alone = tag.params.is_empty() && tag.hash.is_empty();
    if !alone {
        return call(name).and_then(|()| parameters(tag));
    }
    if FUNCTIONS.contains(&name) || BLOCKS.contains(&name) {
        return Err(format!(
            "{name} needs values, as in {{{{{name} …}}}}; a label of that name is {{{{labels.{name}}}}}"
        ));
    }
    Ok(())
}

fn call(name: &str) -> Result<(), String> {
    if FUNCTIONS.contains(&name) || GLOBALS.contains(&name) {
        return Ok(());
    }
    Err(format!("no helper is called {name:?}; there are {}", FUNCTIONS.join(", ")))
}

fn parameters(tag: &HelperTemplate) -> Result<(), String> {
    tag.params.iter().chain(tag.hash.values()).try_for_each(parameter)
}

fn parameter(parameter: &Parameter) -> Result<(), String> {
    match parameter {
        Parameter::Subexpression(inner) => match inner.as_element() {
            TemplateElement::Expression(tag) => {
                call(tag.name.as_name().unwrap_or_default()).and_then(|()| parameters(tag))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}
