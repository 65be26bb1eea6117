//! What a template may contain, checked before and after handlebars reads it.
//!
//! handlebars recurses on nested input and dies on too much of it: an overflow of the stack
//! ends the process. So [`scan`] reads the tags first, by a grammar that is narrower than
//! handlebars' own, and refuses what it does not understand. [`walk`] then looks at names.

mod scan;

use handlebars::Template;
use handlebars::template::{HelperTemplate, Parameter, TemplateElement};

use super::escape::Place;
use super::helpers::{BLOCKS, FUNCTIONS, GLOBALS};
use super::markdown;
use scan::{Found, Tag};

/// Deepest nesting of `each`.
const EACH_MAX: usize = 2;

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
pub(crate) fn compile(source: &str, place: Place) -> Result<Template, Fault> {
    let tags = scan::tags(source)?;
    if place == Place::Markdown {
        no_values_in_code(source, &tags)?;
    }
    let template = Template::compile(source)?;
    walk(&template)?;
    Ok(template)
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

/// Checks the names of helpers and the nesting of `each`.
fn walk(template: &Template) -> Result<(), Fault> {
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
            "no block is called {name:?}; write {{{{#if {name}}}}}, {{{{#each {name}}}}} or \
             {{{{#with {name}}}}}"
        ));
    }
    if tag.params.is_empty() {
        return Err(format!("{name} needs a value, as in {{{{#{name} labels.x}}}}"));
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
            "{name} needs values, as in {{{{{name} …}}}}; a label of that name is \
             {{{{labels.{name}}}}}"
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
