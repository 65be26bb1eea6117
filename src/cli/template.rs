//! `template`: saves, shows, checks, previews and deletes templates.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use postgres::Client;
use postrider::message::{Action, MailFields};
use postrider::render::{Template as Compiled, TemplateSource};
use postrider::store::TemplateRow;
use postrider::store::admin::templates::{self, Dedupe, NewTemplate, TemplateInfo};
use serde_json::json;

use super::Context;
use super::enqueue::pair;
use super::output::{Failed, Output, table};

mod preview;

#[derive(Debug, Subcommand)]
pub(super) enum Template {
    /// Saves a template, after checking it
    #[command(after_help = "Example: postrider template set build-failed \\
    --title 'Build of {{labels.project}} failed' --body-file build-failed.md \\
    --action 'View build={{base_url}}/builds/{{labels.build}}'")]
    Set(Set),
    /// Lists all templates
    #[command(after_help = "Example: postrider template list")]
    List,
    /// Shows one template
    #[command(after_help = "Example: postrider template show build-failed")]
    Show {
        /// Its name
        name: String,
    },
    /// Checks a saved template, or one given by --title and --body, without saving
    #[command(after_help = "Example: postrider template check --title 'Hi' --body-file body.md")]
    Check(Check),
    /// Renders a template with values of your choice, without sending
    #[command(
        after_help = "Example: postrider template preview build-failed --label project=engine --label step=link --label build=1843"
    )]
    Preview(preview::Preview),
    /// Deletes a template; its waiting messages end as permanent failures
    #[command(after_help = "Example: postrider template delete build-failed")]
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
struct Text {
    /// One line of Markdown with handlebars
    #[arg(long)]
    title: Option<String>,
    /// Markdown with handlebars
    #[arg(long, conflicts_with = "body_file")]
    body: Option<String>,
    /// File with the body
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// A button; both sides may use handlebars
    #[arg(long = "action", value_name = "LABEL=URL", value_parser = action)]
    actions: Vec<Action>,
    #[command(flatten)]
    mail: MailArgs,
}

#[derive(Debug, Args)]
struct MailArgs {
    /// Sender, `Name <address>` or an address; smtp.from unless given
    #[arg(long, value_name = "SENDER", help_heading = "E-mail")]
    from: Option<String>,
    /// Where answers go, in the same form
    #[arg(long, value_name = "SENDER", help_heading = "E-mail")]
    reply_to: Option<String>,
    /// https URL that unsubscribes by one POST (RFC 8058); may use handlebars
    #[arg(long, value_name = "URL", help_heading = "E-mail")]
    unsubscribe_url: Option<String>,
    /// Mails with the same key are one conversation; may use handlebars
    #[arg(long, value_name = "KEY", help_heading = "E-mail")]
    thread_key: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// Unique name
    name: String,
    #[command(flatten)]
    text: Text,
    /// Transport of its messages: smtp, webhook, inbox or one of your own; the default ones unless given
    #[arg(long)]
    method: Option<String>,
    /// Where its webhooks go: a URL, or the name of an endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// Heading in lists
    #[arg(long)]
    group: Option<String>,
    /// Only recipients get it who turned it on
    #[arg(long)]
    off_by_default: bool,
    /// Enqueues the same content for the same recipient once in this span; each time unless given
    #[arg(long, value_name = "SPAN")]
    dedupe: Option<Span>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Name of a saved template
    #[arg(required_unless_present = "title", conflicts_with_all = ["title", "body", "body_file", "actions", "from", "reply_to", "unsubscribe_url", "thread_key"])]
    name: Option<String>,
    #[command(flatten)]
    text: Text,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Span {
    /// A UTC day
    Day,
}

impl Template {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        match self {
            Self::Set(set) => set.run(context, output),
            Self::List => {
                let list = templates::list(&mut context.client()?, None)?;
                output.print(&list, |list| list_text(list))
            }
            Self::Show { name } => {
                let mut found = templates::list(&mut context.client()?, Some(&name))?;
                let template = found.pop().ok_or_else(|| unknown(&name))?;
                output.print(&template, show_text)
            }
            Self::Check(check) => check.run(context, output),
            Self::Preview(preview) => preview.run(context, output),
            Self::Delete { name } => {
                if !templates::delete(&mut context.client()?, &name)? {
                    return Err(unknown(&name));
                }
                output.print(&json!({"deleted": name}), |_| format!("deleted {name}"))
            }
        }
    }
}

impl Set {
    fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let source = self.text.source()?;
        compile(&source)?;
        let TemplateSource { title, body, actions, mail } = source;
        let template = NewTemplate {
            id: None,
            name: self.name,
            title,
            body,
            actions,
            mail,
            method: self.method,
            endpoint: self.endpoint,
            group: self.group,
            enabled_by_default: !self.off_by_default,
            dedupe: self.dedupe.map(|Span::Day| Dedupe::Day),
        };
        let row = templates::set(&mut context.client()?, &template)?;
        let value = json!({"id": row.id, "name": row.name, "version": row.version});
        output.print(&value, |_| format!("template {} is at version {}", row.name, row.version))
    }
}

impl Text {
    fn source(self) -> Result<TemplateSource, Failed> {
        let title = self.title.ok_or_else(|| Failed::usage("a template needs --title"))?;
        let body = match (self.body, self.body_file) {
            (Some(body), _) => body,
            (None, Some(path)) => std::fs::read_to_string(&path)
                .map_err(|err| Failed::new(format!("{}: {err}", path.display())))?,
            (None, None) => return Err(Failed::usage("a template needs --body or --body-file")),
        };
        let MailArgs { from, reply_to, unsubscribe_url, thread_key } = self.mail;
        let mail = MailFields { from_address: from, reply_to, unsubscribe_url, thread_key };
        Ok(TemplateSource { title, body, actions: self.actions, mail })
    }
}

impl Check {
    fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let source = match &self.name {
            Some(name) => find(&mut context.client()?, name)?.into(),
            None => self.text.source()?,
        };
        compile(&source)?;
        output.print(&json!({"ok": true}), |_| "template is fine".into())
    }
}

pub(super) fn find(client: &mut Client, name: &str) -> Result<TemplateRow, Failed> {
    templates::find(client, name)?.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Failed {
    Failed::new(format!("no template is named `{name}`; see `postrider template list`"))
}

pub(super) fn compile(source: &TemplateSource) -> Result<Compiled, Failed> {
    Compiled::compile(source).map_err(|err| Failed::new(err.to_string()))
}

fn action(text: &str) -> Result<Action, String> {
    let (label, url) = pair(text).map_err(|_| "write it as LABEL=URL".to_owned())?;
    Ok(Action { label, url })
}

fn list_text(list: &[TemplateInfo]) -> String {
    let row = |it: &TemplateInfo| {
        let method = it.method.clone().unwrap_or_else(|| "default".into());
        let default = if it.enabled_by_default { "on" } else { "off" };
        let group = it.group.clone().unwrap_or_default();
        [it.name.clone(), it.version.to_string(), group, method, default.into(), it.title.clone()]
    };
    let headings = ["name", "version", "group", "method", "default", "title"];
    table(headings, list.iter().map(row).collect())
}

fn show_text(it: &TemplateInfo) -> String {
    let mut text =
        format!("{} (version {}, id {})\ntitle: {}\n", it.name, it.version, it.id, it.title);
    for Action { label, url } in &it.actions {
        writeln!(text, "action: {label} = {url}").expect("a String takes any text");
    }
    let MailFields { from_address, reply_to, unsubscribe_url, thread_key } = &it.mail;
    let fields = [
        ("from", from_address),
        ("reply to", reply_to),
        ("unsubscribe", unsubscribe_url),
        ("thread", thread_key),
    ];
    for (name, value) in fields {
        let Some(value) = value else { continue };
        writeln!(text, "{name}: {value}").expect("a String takes any text");
    }
    if it.dedupe.is_some() {
        text += "dedupe: day\n";
    }
    text + "\n" + &it.body
}
