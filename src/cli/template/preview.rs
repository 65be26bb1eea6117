//! `template preview`: what a template yields, without sending.

use clap::{Args, ValueEnum};
use postrider::render::mail::Texts;
use serde_json::{Value, json};

use super::find;
use crate::cli::Context;
use crate::cli::enqueue::{json_value, pair};
use crate::cli::output::{Failed, Output};
use crate::cli::sample::{Values, render};

#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// Name of the template
    name: String,
    /// A value for the template
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// More values for the template, as JSON
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    data: Option<Value>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Part::Text)]
    part: Part,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// Subject and plain text of the mail
    Text,
    /// HTML of the mail
    Html,
    /// Title and body as Markdown
    Markdown,
}

impl Preview {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let branding = &context.config.branding;
        let labels = self.labels.into_iter().map(|(key, value)| (key, value.into())).collect();
        let values = Values { labels, data: self.data };
        let message = render(find(&mut context.client()?, &self.name)?, branding, &values)?;
        let texts = Texts::of(&message);
        let (subject, text) = (texts.subject(), texts.text(branding));
        let html = texts.html(branding);
        let value = json!({
            "subject": subject, "text": text, "html": html, "title": message.title,
            "body": message.body, "actions": message.actions
        });
        output.print(&value, |_| match self.part {
            Part::Text => format!("Subject: {subject}\n\n{text}"),
            Part::Html => html,
            Part::Markdown => format!("{}\n\n{}", message.title, message.body),
        })
    }
}
