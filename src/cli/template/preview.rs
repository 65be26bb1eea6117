//! `template preview`: what a template yields, without sending.

use std::time::SystemTime;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use postrider::message::{MessageId, Prepared, Recipient};
use postrider::render::{Context as RenderContext, mail};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{compile, find, source};
use crate::cli::Context;
use crate::cli::enqueue::{json_value, pair};
use crate::cli::output::{Failed, Output};

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
        let row = find(&mut context.client()?, &self.name)?;
        let (id, name) = (row.id, row.name.clone());
        let labels = self.labels.into_iter().map(|(key, value)| (key, value.into()));
        let payload = sample_payload(&name, id, &labels.collect(), self.data.as_ref());
        let branding = &context.config.branding;
        let now = Timestamp::now();
        let year = now.to_zoned_datetime(TimeZone::UTC).year();
        let rendered = compile(&source(row))?
            .render(&RenderContext { payload: &payload, branding, year })
            .map_err(|err| Failed::new(err.to_string()))?;
        let message = Prepared {
            id: MessageId(Uuid::nil()),
            notification_id: Uuid::nil(),
            template_id: id,
            template_name: name,
            attempt: 1,
            recipient: sample_recipient(),
            endpoint: None,
            title: rendered.title,
            body: rendered.body,
            actions: rendered.actions,
            mail: rendered.mail,
            targets: Vec::new(),
            payload,
            created_at: SystemTime::try_from(now).unwrap_or(SystemTime::UNIX_EPOCH),
        };
        let (subject, text) = (mail::subject(&message), mail::text(&message, branding));
        let html = mail::html(&message, branding);
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

fn sample_recipient() -> Recipient {
    Recipient {
        id: "preview".into(),
        email: Some("ada@example.com".into()),
        name: Some("Ada Lovelace".into()),
        username: Some("ada".into()),
    }
}

fn sample_payload(
    name: &str,
    id: Uuid,
    labels: &Map<String, Value>,
    data: Option<&Value>,
) -> Value {
    let recipient = sample_recipient();
    json!({
        "_version": "1.2", "notification_name": name, "notification_template_id": id,
        "user_id": recipient.id, "user_email": recipient.email, "user_name": recipient.name,
        "user_username": recipient.username, "actions": [], "labels": labels, "data": data,
        "targets": []
    })
}
