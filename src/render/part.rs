//! One compiled text of a template: its title, its body, a label or a URL.

use std::io;

use handlebars::{Handlebars, Output, RenderErrorReason, Renderable};

use super::check::{self, Fault};
use super::each::Each;
use super::escape::{self, Place};
use super::helpers::{self, Refusal};
use super::root::Root;
use super::simple::Simple;
use super::{RenderError, TemplateError};

/// Longest output of one part, in octets.
const OUTPUT_MAX: usize = 256 * 1024;

/// Longest piece of a template that an error quotes, in characters.
const QUOTE_MAX: usize = 80;

/// A compiled text and its source, which errors quote.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    place: Place,
    source: String,
    compiled: handlebars::Template,
    simple: Option<Simple>,
}

impl Part {
    /// Checks and compiles. `name` is the part as errors call it.
    pub(crate) fn compile(name: String, source: &str, place: Place) -> Result<Self, TemplateError> {
        match check::compile(source, place) {
            Ok(compiled) => {
                let simple = Simple::of(&compiled);
                Ok(Self { name, place, source: source.into(), compiled, simple })
            }
            Err(Fault { line, column, message }) => {
                Err(TemplateError { part: name, line, column, message })
            }
        }
    }

    /// Renders with the escaping of the part's place; blanks at either end are removed.
    pub(crate) fn render(&self, root: &Root<'_>) -> Result<String, RenderError> {
        let simply = || {
            let (simple, context) = (self.simple.as_ref()?, root.context()?);
            let mut out = Bounded(String::new());
            simple.render(context, self.place.escape(), &mut out)?;
            Some(out.0)
        };
        match simply() {
            Some(text) => Ok(trimmed(text)),
            None => self.render_with(helpers::registry(self.place), root.full()),
        }
    }

    /// The same by handlebars, with another registry.
    pub(crate) fn render_with(
        &self,
        registry: &Handlebars<'static>,
        root: &handlebars::Context,
    ) -> Result<String, RenderError> {
        let mut scope = handlebars::RenderContext::new(None);
        if self.source.contains("each") {
            scope.register_local_helper("each", Box::new(Each::new()));
        }
        let mut out = Bounded(String::new());
        self.compiled
            .render(registry, root, &mut scope, &mut out)
            .map_err(|err| self.error(&err))?;
        let text = trimmed(out.0);
        Ok(if self.place == Place::Markdown { escape::finish_code(text) } else { text })
    }

    /// An error of the part as a whole.
    pub(crate) fn error_at_start(&self, message: String) -> RenderError {
        RenderError {
            part: self.name.clone(),
            line: 1,
            column: 1,
            variable: None,
            setting: None,
            message,
        }
    }

    fn error(&self, err: &handlebars::RenderError) -> RenderError {
        let (line, column) = (err.line_no.unwrap_or(1), err.column_no.unwrap_or(1));
        let tag = quote(&self.source, line, column);
        let (mut variable, mut setting) = (None, None);
        let message = match err.reason() {
            RenderErrorReason::MissingVariable(Some(name)) => {
                variable = Some(name.clone());
                format!("the message has no {name:?} for {tag}; correct the name or supply it")
            }
            RenderErrorReason::MissingVariable(None) => {
                format!("the message has nothing for {tag}; correct the name or supply it")
            }
            RenderErrorReason::ParamNotFoundForIndex(helper, idx) => {
                let nth = idx + 1;
                format!("{helper} has no value {nth} in {tag}; correct the name or supply it")
            }
            RenderErrorReason::InvalidJsonIndex(name) => {
                format!("{tag} takes {name:?} from a list; use a number, or {{{{#each}}}}")
            }
            RenderErrorReason::IOError(_) => {
                let limit = OUTPUT_MAX / 1024;
                format!("the text is longer than {limit} KiB; put less data into the message")
            }
            RenderErrorReason::NestedError(err) => {
                if let Some(Refusal::Setting(name)) = err.downcast_ref() {
                    setting = Some(*name);
                }
                format!("{tag}: {err}")
            }
            other => format!("{tag}: {other}"),
        };
        RenderError { part: self.name.clone(), line, column, variable, setting, message }
    }
}

/// The text without blanks at either end, copied only if it has some.
fn trimmed(text: String) -> String {
    let inner = text.trim();
    if inner.len() == text.len() { text } else { inner.to_owned() }
}

/// The tag at a position, for an error.
fn quote(source: &str, line: usize, column: usize) -> String {
    let text = source.split('\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let start =
        text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(idx, _)| idx);
    let end = text[start..].find("}}").map_or(text.len(), |len| start + len + 2);
    text[start..end].chars().take(QUOTE_MAX).collect()
}

/// Output that refuses to grow beyond [`OUTPUT_MAX`].
struct Bounded(String);

impl Output for Bounded {
    fn write(&mut self, text: &str) -> io::Result<()> {
        if OUTPUT_MAX < self.0.len() + text.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.push_str(text);
        Ok(())
    }
}
