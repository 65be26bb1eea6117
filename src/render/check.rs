//! What a template may contain, checked before and after handlebars reads it.
//!
//! handlebars recurses on nested input and dies on too much of it: an overflow of the stack
//! ends the process. So [`scan`] reads the tags first, by a grammar that is narrower than
//! handlebars' own, and refuses what it does not understand. [`Program::of`] then looks at names.

mod scan;

use handlebars::Template;

use super::escape::Place;
use super::markdown;
use super::program::Program;
use scan::{Found, Tag};

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl Fault {
    /// At an octet of the source.
    fn at(source: &str, at: usize, message: String) -> Self {
        let before = &source[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, message }
    }
}

impl From<handlebars::TemplateError> for Fault {
    fn from(err: handlebars::TemplateError) -> Self {
        let (line, column) = err.pos().unwrap_or((1, 1));
        Self { line, column, message: err.reason().to_string().replace(['\r', '\n'], " ") }
    }
}

/// Compiles a text that passes all checks.
pub(crate) fn compile(source: &str, place: Place) -> Result<Program, Fault> {
    let tags = scan::tags(source)?;
    if place == Place::Markdown {
        no_values_in_code(source, &tags)?;
    }
    Program::of(&Template::compile(source)?)
}

/// Refuses values within code, where Markdown knows no escaping: it would show.
fn no_values_in_code(source: &str, tags: &[Found<'_>]) -> Result<(), Fault> {
    let mut text = source.to_owned();
    for tag in tags {
        // A word of the same length, so that octets keep their places.
        text.replace_range(tag.range.clone(), &"x".repeat(tag.range.len()));
    }
    let code = markdown::code_ranges(&text);
    let in_code = |tag: &&Found<'_>| {
        tag.tag == Tag::Value && code.iter().any(|code| code.contains(&tag.range.start))
    };
    match tags.iter().find(in_code) {
        Some(tag) => {
            let message = "a value within backticks or an indented or fenced block would show \
                           its escaping; write {{code name}} outside of it";
            Err(Fault::at(source, tag.range.start, message.into()))
        }
        None => Ok(()),
    }
}
