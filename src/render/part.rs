//! One compiled text of a template: its title, its body, a label or a URL.

use super::budget::{Budget, Spent};
use super::check::{self, Fault};
use super::escape::{self, Place};
use super::markdown;
use super::program::Program;
use super::root::Root;
use super::run::{OUTPUT_MAX, Run, Stop};
use super::{RenderError, RenderErrorKind, TemplateError};

/// Longest piece of a template that an error quotes, in characters.
const QUOTE_MAX: usize = 80;

/// A compiled text and its source, which errors quote.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    place: Place,
    source: String,
    program: Program,
}

impl Part {
    /// Checks and compiles. `name` is the part as errors call it.
    pub(crate) fn compile(name: String, source: &str, place: Place) -> Result<Self, TemplateError> {
        match check::compile(source, place) {
            Ok(program) => Ok(Self { name, place, source: source.into(), program }),
            Err(Fault { line, column, message }) => {
                Err(TemplateError { part: name, line, column, message })
            }
        }
    }

    /// Renders with the escaping of the part's place; blanks at either end are removed.
    pub(crate) fn render(&self, root: &Root<'_>, budget: &Budget) -> Result<String, RenderError> {
        self.run(&Run { root, budget, place: self.place, is_lenient: false })
    }

    /// The same where values that are missing are empty.
    pub(crate) fn render_leniently(
        &self,
        root: &Root<'_>,
        budget: &Budget,
    ) -> Result<String, RenderError> {
        self.run(&Run { root, budget, place: self.place, is_lenient: true })
    }

    fn run(&self, run: &Run<'_>) -> Result<String, RenderError> {
        let text = run.text(&self.program);
        let text = trimmed(text.map_err(|(stop, line, column)| self.error(stop, line, column))?);
        if self.place != Place::Markdown {
            return Ok(text);
        }
        if !markdown::is_soon_read(&text) {
            let message = "its lists and quotes nest too deep; put less of them into one line";
            return Err(self.error_at_start(message.into()));
        }
        run.budget.check_time().map_err(|spent| self.error(spent.into(), 1, 1))?;
        Ok(escape::finish_code(text))
    }

    /// An error of the part as a whole.
    pub(crate) fn error_at_start(&self, message: String) -> RenderError {
        let kind = RenderErrorKind::Data;
        RenderError { part: self.name.clone(), line: 1, column: 1, variable: None, kind, message }
    }

    fn error(&self, stop: Stop, line: usize, column: usize) -> RenderError {
        let tag = quote(&self.source, line, column);
        let (mut variable, mut kind) = (None, RenderErrorKind::Data);
        let message = match stop {
            Stop::Missing(Some(name)) => {
                let message =
                    format!("the message has no {name:?} for {tag}; correct the name or supply it");
                variable = Some(name);
                message
            }
            Stop::Missing(None) => {
                format!("the message has nothing for {tag}; correct the name or supply it")
            }
            Stop::Argument(helper, idx) => {
                let nth = idx + 1;
                format!("{helper} has no value {nth} in {tag}; correct the name or supply it")
            }
            Stop::Index(name) => {
                format!("{tag} takes {name:?} from a list; use a number, or {{{{#each}}}}")
            }
            Stop::TooLong => {
                let limit = OUTPUT_MAX / 1024;
                format!("the text is longer than {limit} KiB; put less data into the message")
            }
            Stop::Setting(name) => {
                kind = RenderErrorKind::Setting(name);
                format!("{tag}: {name} is not set; set it in the configuration")
            }
            Stop::Refused(why) => format!("{tag}: {why}"),
            Stop::Spent(Spent::Work) => format!(
                "{tag}: too much work, as of loops within loops; put less data into the message"
            ),
            Stop::Spent(Spent::Time) => {
                kind = RenderErrorKind::Timeout;
                format!("{tag}: the time to render is over; simplify the template or its data")
            }
        };
        RenderError { part: self.name.clone(), line, column, variable, kind, message }
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
