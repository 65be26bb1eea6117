//! Templates and what they become: Markdown, plain text, HTML.
//!
//! A template is handlebars over the payload document of a message; its title and body are
//! Markdown, its actions are buttons. Nothing here has a socket or a file, and a clock only ends
//! what takes too long: the same input gives the same output.
//!
//! # Invariants
//!
//! - A value reaches the output only through the escaping of the place where it lands
//!   (`escape`), so it adds no markup, no link, no header and no scheme.
//! - What is refused, is refused when a template is compiled, as far as it can be known there
//!   (`check`); a template that compiles cannot exhaust the stack.
//! - Work, output and time of a render are bounded (`budget`, `run`).

mod budget;
mod cache;
mod check;
mod escape;
mod fields;
mod functions;
mod json;
pub mod mail;
pub mod markdown;
mod part;
mod program;
mod root;
mod run;
pub mod samples;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use cache::Cache;
pub use json::JsonTemplate;

use crate::config::BrandingConfig;
use crate::message::{Action, MailFields};
use crate::outcome::Failure;
use crate::payload::Value;
use crate::store::TemplateRow;
use budget::Budget;
use escape::Place;
use fields::MailParts;
use part::Part;
use root::Root;

/// Longest that the render of a message takes. A usual one takes some microseconds.
pub const TIME_MAX: Duration = Duration::from_secs(2);

/// Most actions of a template.
const ACTIONS_MAX: usize = 10;

/// A template as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateSource {
    /// Handlebars that gives one line of Markdown.
    pub title: String,
    /// Handlebars that gives Markdown.
    pub body: String,
    /// Handlebars that gives the text of a button, and a URL.
    pub actions: Vec<Action>,
    /// What it says about its mails.
    pub mail: MailFields,
}

impl From<TemplateRow> for TemplateSource {
    fn from(row: TemplateRow) -> Self {
        let TemplateRow { title, body, actions, mail, .. } = row;
        Self { title, body, actions, mail }
    }
}

/// A template that is ready to render.
#[derive(Debug)]
pub struct Template {
    title: Part,
    body: Part,
    actions: Vec<(Part, Part)>,
    mail: MailParts,
}

/// What a render reads.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Payload document of the message. Its fields are reached by their names
    /// (`{{user_name}}`, `{{labels.x}}`, `{{data.y}}`); a label also by its own name, where
    /// the document has no field of that name.
    pub payload: &'a Value<'a>,
    /// What `base_url`, `app_name` and `logo_url` say.
    pub branding: &'a BrandingConfig,
    /// What `current_year` says.
    pub year: i16,
}

/// A rendered template. Values in title and body are escaped for Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Markdown.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// Plain labels, and http, https or mailto URLs.
    pub actions: Vec<Action>,
    /// Plain text, and an https URL.
    pub mail: MailFields,
}

/// Why a template is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {part}, line {line}, column {column}: {message}")]
pub struct TemplateError {
    /// `title`, `body`, `actions[0].label`, `actions[0].url`, ...
    pub part: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong and what to do, in one line.
    pub message: String,
}

/// Why a template does not render with the data of this message. It holds text of the template
/// and names, no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {part}, line {line}, column {column}: {message}")]
pub struct RenderError {
    /// As in [`TemplateError`].
    pub part: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The variable that is missing.
    pub variable: Option<String>,
    /// Whose trouble it is.
    pub kind: RenderErrorKind,
    /// What is wrong and what to do, in one line.
    pub message: String,
}

/// Whose trouble a [`RenderError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderErrorKind {
    /// The template's or the data's: the same data never renders.
    Data,
    /// Our own: a setting is missing, such as `branding.base_url`.
    Setting(&'static str),
    /// The time was over. Another time it may do.
    Timeout,
}

impl RenderError {
    /// What it means for the message.
    pub(crate) fn failure(&self) -> Failure {
        match self.kind {
            RenderErrorKind::Data => Failure::permanent("render", self.to_string()),
            RenderErrorKind::Setting(_) => Failure::blocked("setting", self.to_string()),
            RenderErrorKind::Timeout => Failure::temporary("render_timeout", self.to_string()),
        }
    }
}

impl Template {
    /// Checks and compiles a template. Takes milliseconds; limits on sizes and tags see to it.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong. The same source always gives the same answer.
    pub fn compile(source: &TemplateSource) -> Result<Self, TemplateError> {
        if ACTIONS_MAX < source.actions.len() {
            return Err(TemplateError {
                part: format!("actions[{ACTIONS_MAX}]"),
                line: 1,
                column: 1,
                message: format!("a template has at most {ACTIONS_MAX} actions; remove some"),
            });
        }
        let action = |(idx, action): (usize, &Action)| {
            let label =
                Part::compile(format!("actions[{idx}].label"), &action.label, Place::Label)?;
            let url = Part::compile(format!("actions[{idx}].url"), &action.url, Place::Url)?;
            Ok((label, url))
        };
        Ok(Self {
            title: Part::compile("title".into(), &source.title, Place::Markdown)?,
            body: Part::compile("body".into(), &source.body, Place::Markdown)?,
            actions: source.actions.iter().enumerate().map(action).collect::<Result<_, _>>()?,
            mail: MailParts::compile(&source.mail)?,
        })
    }

    /// Renders all parts, or none, and ends soon after the deadline at the latest.
    ///
    /// # Errors
    ///
    /// A missing variable, a value that a helper cannot use, an action without a usable URL,
    /// too much work or output; or no time left ([`RenderError::kind`]).
    pub fn render(
        &self,
        context: &Context<'_>,
        deadline: Instant,
    ) -> Result<Rendered, RenderError> {
        let (root, budget) = (&Root::new(*context), &Budget::until(deadline));
        let action = |(label, url): &(Part, Part)| {
            let text = label.render(root, budget)?;
            let url = url.render(root, budget).and_then(|text| {
                escape::finish_url(&text).map_err(|message| url.error_at_start(message))
            })?;
            let label = if text.is_empty() { url.clone() } else { text };
            Ok(Action { label, url })
        };
        Ok(Rendered {
            title: self.title.render(root, budget)?,
            body: self.body.render(root, budget)?,
            actions: self.actions.iter().map(action).collect::<Result<_, _>>()?,
            mail: self.mail.render(root, budget)?,
        })
    }
}
