//! The subject and the two bodies of a mail.

use std::sync::LazyLock;

use handlebars::Handlebars;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::{escape, markdown};
use crate::config::BrandingConfig;
use crate::message::{Action, Prepared, Recipient};

mod inline;

#[cfg(test)]
mod tests;

/// Longest subject, in characters. Mail clients show less.
const SUBJECT_MAX: usize = 2000;
/// Longest body of the HTML part that keeps its form, in bytes. Mail programs cut far shorter ones.
const HTML_MAX: usize = 1 << 20;
/// Length of the preview that mail clients show beside the subject, in characters.
const PREVIEW_MAX: usize = 120;

/// A message with its texts freed of Markdown, once for all parts of a mail.
#[derive(Debug)]
pub struct Texts<'a> {
    message: &'a Prepared,
    subject: String,
    body: String,
}

impl<'a> Texts<'a> {
    /// The texts of a message.
    pub fn of(message: &'a Prepared) -> Self {
        Self { message, subject: subject(message), body: markdown::to_plain(&message.body) }
    }

    /// The title as plain text on one line without control characters, at most 2,000 characters;
    /// the template's name where the title is empty.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The text part: greeting, body, one line for each action, footer.
    pub fn text(&self, branding: &BrandingConfig) -> String {
        let action = |action: &Action| format!("{}: {}", escape::line(&action.label), action.url);
        let actions: Vec<_> = self.message.actions.iter().map(action).collect();
        // A line of "-- " begins a signature, which clients show faint or hide (RFC 3676, 4.3).
        let footer = format!("-- \n{}\n{}", escape::line(&branding.app_name), branding.base_url);
        let (greeting, actions) = (greeting(&self.message.recipient), actions.join("\n"));
        let mut blocks = vec![&*greeting, &*self.body, &*actions, footer.trim_end()];
        blocks.retain(|block| !block.is_empty());
        blocks.join("\n\n") + "\n"
    }

    /// The HTML part: logo, subject, greeting, body, one button for each action, footer.
    ///
    /// Tables and inlined styles, since mail clients know little else; colours for a dark
    /// background where a client asks for them. All values are escaped.
    ///
    /// # Panics
    ///
    /// Never: the wrapper is part of the program.
    pub fn html(&self, branding: &BrandingConfig) -> String {
        let message = self.message;
        let year = Timestamp::try_from(message.created_at)
            .map(|at| at.to_zoned_datetime(TimeZone::UTC).year().to_string())
            .unwrap_or_default();
        let mut data = json!({
            "subject": self.subject,
            "preview": shorten(&escape::line(&self.body), PREVIEW_MAX),
            "greeting": greeting(&message.recipient),
            "actions": message.actions,
            "app_name": branding.app_name,
            "base_url": web_url(&branding.base_url),
            "logo_url": branding.logo_url.as_deref().and_then(web_url),
            "year": year,
        });
        // Moved, as it may be long; so is all of it into the context.
        data["body"] = self.body_html().into();
        let rendered = WRAPPER.render_with_context("mail", &data.into());
        rendered.expect("the wrapper names only what is given to it")
    }

    /// The body as HTML; as its plain text, where marks make its HTML too long.
    fn body_html(&self) -> String {
        let html = markdown::to_html_within(&self.message.body, HTML_MAX);
        let styled = html.and_then(|html| inline::styled(&html, HTML_MAX));
        styled.unwrap_or_else(|| {
            let text = self.body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            format!("<p style=\"margin:0 0 16px;white-space:pre-wrap\">{text}</p>")
        })
    }
}

static WRAPPER: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry
        .register_template_string("mail", include_str!("mail/wrapper.html"))
        .expect("the wrapper is part of the program, and the tests render it");
    registry
});

fn subject(message: &Prepared) -> String {
    let title = escape::line(&markdown::to_plain(&message.title));
    let subject =
        if title.trim().is_empty() { escape::line(&message.template_name) } else { title };
    shorten(subject.trim(), SUBJECT_MAX)
}

fn web_url(url: &str) -> Option<&str> {
    escape::is_web_url(url).then_some(url)
}

fn greeting(recipient: &Recipient) -> String {
    let names = [&recipient.name, &recipient.username];
    let names = names.into_iter().flatten().map(|name| escape::line(name).trim().to_owned());
    match names.into_iter().find(|name| !name.is_empty()) {
        Some(name) => format!("Hi {name},"),
        None => "Hello,".into(),
    }
}

/// Cut to `max` characters, with an ellipsis where something is missing.
fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max - 1).collect();
    format!("{}…", kept.trim_end())
}
