//! `enqueue`: one notification from flags, or many from JSON Lines.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Timestamp;
use postgres::Client;
use postrider::config::duration;
use postrider::enqueue::{self, Enqueued, Notification};
use postrider::message::Recipient;
use postrider::store::admin;
use serde::Serialize;
use serde_json::{Value, json};

use super::Context;
use super::output::{Failed, Output};

pub(super) const EXAMPLES: &str = "\
Example: postrider enqueue build-failed --to ada@example.com --label project=engine --label step=link --label build=1843
Example: postrider enqueue --from notifications.jsonl
Example: producer | postrider enqueue --from - --json";

/// Lines enqueued in one transaction.
const CHUNK: usize = 500;

#[derive(Debug, Args)]
pub(super) struct Enqueue {
    /// Name of the template
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    template: Option<String>,
    /// JSON Lines, one notification a line; - for standard input
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    /// E-mail address of the recipient
    #[arg(long, value_name = "EMAIL")]
    to: Option<String>,
    /// Your own id of the recipient; the address unless given
    #[arg(long, value_name = "ID")]
    recipient_id: Option<String>,
    /// Display name of the recipient
    #[arg(long)]
    name: Option<String>,
    /// User name of the recipient
    #[arg(long)]
    username: Option<String>,
    /// A value for the template
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// More values for the template, as JSON
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    data: Option<Value>,
    /// Id of an object involved
    #[arg(long = "target", value_name = "ID")]
    targets: Vec<String>,
    /// Transport: smtp, webhook, inbox or one of your own; repeat it for more; those of the template
    /// or the default ones unless given
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<String>,
    /// Where a webhook goes: a URL, or the name of an endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// Not before this time, RFC 3339
    #[arg(long = "at", value_name = "TIME", value_parser = time)]
    schedule_at: Option<SystemTime>,
    /// Not delivered after this span
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expires_in: Option<Duration>,
    /// 0 (urgent) goes first, 3 (bulk) last
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    priority: u8,
    /// Key that makes a second one for the same template and recipient a duplicate; empty: none
    #[arg(long, value_name = "KEY")]
    dedupe_key: Option<String>,
}

impl Enqueue {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let mut client = context.client()?;
        admin::publish_defaults(&mut client, &context.config)?;
        match self.from.as_deref() {
            None => one(&mut client, &self.notification()?, output),
            Some("-") => many(&mut client, io::stdin().lock(), output),
            Some(path) => {
                let file = File::open(path).map_err(|err| Failed::new(format!("{path}: {err}")))?;
                many(&mut client, BufReader::new(file), output)
            }
        }
    }

    fn notification(self) -> Result<Notification, Failed> {
        let id = self.recipient_id.or_else(|| self.to.clone());
        let id = id.ok_or_else(|| Failed::usage("name a recipient: --to or --recipient-id"))?;
        let recipient = Recipient { id, email: self.to, name: self.name, username: self.username };
        let end = |span| SystemTime::now().checked_add(span);
        let expires_at = self.expires_in.map(|span| end(span).ok_or(span)).transpose();
        let expires_at = expires_at.map_err(|_| Failed::usage("--expires-in is too long"))?;
        Ok(Notification {
            template: self.template.unwrap_or_default(),
            recipient,
            labels: self.labels.into_iter().map(|(key, value)| (key, value.into())).collect(),
            data: self.data,
            targets: self.targets,
            created_by: "cli".into(),
            methods: self.methods,
            priority: self.priority,
            schedule_at: self.schedule_at,
            expires_at,
            dedupe_key: self.dedupe_key,
            endpoint: self.endpoint,
            max_attempts: None,
        })
    }
}

fn one(client: &mut Client, notification: &Notification, output: Output) -> Result<(), Failed> {
    let enqueued =
        enqueue::enqueue(client, notification).map_err(|err| Failed::new(err.to_string()))?;
    let value = match &enqueued {
        Enqueued::Enqueued { notification_id, messages } => {
            let messages: Vec<Value> =
                messages.iter().map(|(id, method)| json!({"id": id, "method": method})).collect();
            json!({"result": "enqueued", "notification_id": notification_id, "messages": messages})
        }
        Enqueued::Duplicate { notification_id } => {
            json!({"result": "duplicate", "notification_id": notification_id, "messages": []})
        }
        Enqueued::Disabled => {
            json!({"result": "disabled", "notification_id": null, "messages": []})
        }
    };
    output.print(&value, |_| match &enqueued {
        Enqueued::Enqueued { messages, .. } => {
            let line = |(id, method): &(_, String)| format!("enqueued {id} {method}");
            messages.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Enqueued::Duplicate { notification_id: Some(id) } => {
            format!("duplicate of notification {id}: nothing enqueued")
        }
        Enqueued::Duplicate { .. } => "duplicate: nothing enqueued".into(),
        Enqueued::Disabled => "disabled: the recipient does not want it; nothing enqueued".into(),
    })
}

/// What came of a file.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) enqueued: usize,
    pub(super) duplicate: usize,
    pub(super) disabled: usize,
    pub(super) failed: Vec<FailedLine>,
}

#[derive(Debug, Serialize)]
pub(super) struct FailedLine {
    line: usize,
    error: String,
}

impl Summary {
    fn count(&mut self, enqueued: &Enqueued) {
        *match enqueued {
            Enqueued::Enqueued { .. } => &mut self.enqueued,
            Enqueued::Duplicate { .. } => &mut self.duplicate,
            Enqueued::Disabled => &mut self.disabled,
        } += 1;
    }

    fn fail(&mut self, line: usize, error: &dyn Display) {
        self.failed.push(FailedLine { line, error: error.to_string() });
    }
}

fn many(client: &mut Client, lines: impl BufRead, output: Output) -> Result<(), Failed> {
    let mut summary = Summary::default();
    let mut chunk = Vec::with_capacity(CHUNK);
    for (number, line) in (1..).zip(lines.split(b'\n')) {
        match line.map_err(|err| err.to_string()).and_then(|line| read(&line)) {
            Ok(None) => (),
            Ok(Some(notification)) => chunk.push((number, notification)),
            Err(error) => summary.fail(number, &error),
        }
        if chunk.len() == CHUNK {
            enqueue_chunk(client, &chunk, &mut summary);
            chunk.clear();
        }
    }
    enqueue_chunk(client, &chunk, &mut summary);
    summary.failed.sort_by_key(|failed| failed.line);
    output.print(&summary, |it| {
        let line = |it: &FailedLine| format!("line {}: {}", it.line, it.error);
        let failed = it.failed.iter().map(line).collect::<Vec<_>>().join("\n");
        format!(
            "enqueued {}, duplicate {}, disabled {}, failed {}\n{failed}",
            it.enqueued,
            it.duplicate,
            it.disabled,
            it.failed.len()
        )
    })?;
    match summary.failed.len() {
        0 => Ok(()),
        n => Err(Failed::new(format!("{n} of the lines could not be enqueued"))),
    }
}

/// A line of a file; `None` where it is blank.
fn read(line: &[u8]) -> Result<Option<Notification>, String> {
    let text = str::from_utf8(line).map_err(|err| format!("not UTF-8: {err}"))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    parse(text).map(Some).map_err(|err| {
        // There is one line, and the summary says which.
        let text = err.to_string();
        text.rsplit_once(" at line 1 column ")
            .map_or(text.clone(), |(what, column)| format!("{what} at column {column}"))
    })
}

/// A line as a notification. `expect` says what a demo or a test expects of it; it is no part
/// of the notification.
pub(super) fn parse(line: &str) -> Result<Notification, serde_json::Error> {
    let mut value: Value = serde_json::from_str(line)?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("expect");
    }
    serde_json::from_value(value)
}

/// Enqueues a chunk at once; if that fails, line by line, so that a bad line costs only itself.
fn enqueue_chunk(client: &mut Client, chunk: &[(usize, Notification)], summary: &mut Summary) {
    let notifications: Vec<Notification> = chunk.iter().map(|(_, it)| it.clone()).collect();
    if let Ok(results) = enqueue::enqueue_many(client, &notifications) {
        for result in &results {
            summary.count(result);
        }
        return;
    }
    for (line, notification) in chunk {
        match enqueue::enqueue(client, notification) {
            Ok(result) => summary.count(&result),
            Err(error) => summary.fail(*line, &error),
        }
    }
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as KEY=VALUE".into())
}

pub(super) fn json_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|err| format!("not JSON: {err}"))
}

fn time(text: &str) -> Result<SystemTime, String> {
    let time: Timestamp =
        text.parse().map_err(|err| format!("write it like 2030-01-31T12:00:00Z ({err})"))?;
    SystemTime::try_from(time).map_err(|err| err.to_string())
}
