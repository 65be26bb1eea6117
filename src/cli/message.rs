//! `message`: lists, shows, retries and cancels messages.

use clap::Subcommand;
use postrider::store::admin::messages::{self, Changed, MessageDetail, MessageInfo};
use serde_json::json;
use uuid::Uuid;

use super::Context;
use super::output::{Failed, Output, table};

/// Statuses that a message can have.
const STATUSES: [&str; 8] = [
    "pending",
    "leased",
    "temporary_failure",
    "sent",
    "permanent_failure",
    "inhibited",
    "cancelled",
    "expired",
];

#[derive(Debug, Subcommand)]
pub(super) enum Message {
    /// Lists messages, newest first
    #[command(after_help = "Example: postrider message list --status permanent_failure")]
    List {
        /// Only those of this status
        #[arg(long, value_parser = STATUSES)]
        status: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// Shows one message, its payload and its attempts
    #[command(after_help = "Example: postrider message show 01a211a9-c110-72d9-9aa2-07a9918537bf")]
    Show {
        /// Its id
        id: Uuid,
    },
    /// Makes a waiting message due now, or a failed one anew with all its attempts
    #[command(after_help = "Example: postrider message retry 01a211a9-c110-72d9-9aa2-07a9918537bf")]
    Retry {
        /// Its id
        id: Uuid,
    },
    /// Ends a waiting message undelivered
    #[command(
        after_help = "Example: postrider message cancel 01a211a9-c110-72d9-9aa2-07a9918537bf"
    )]
    Cancel {
        /// Its id
        id: Uuid,
    },
}

impl Message {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let mut client = context.client()?;
        match self {
            Self::List { status, limit } => {
                let list = messages::list(&mut client, status.as_deref(), limit)?;
                output.print(&list, |list| list_text(list))
            }
            Self::Show { id } => {
                let message = messages::show(&mut client, id)?.ok_or_else(|| unknown(id))?;
                output.print(&message, show_text)
            }
            Self::Retry { id } => {
                let changed = messages::retry(&mut client, id)?;
                changed_or(changed, id, "it is being delivered, or was sent")?;
                output.print(&json!({"id": id, "result": "due"}), |_| format!("{id} is due now"))
            }
            Self::Cancel { id } => {
                let changed = messages::cancel(&mut client, id)?;
                changed_or(changed, id, "it is being delivered, or finished")?;
                output
                    .print(&json!({"id": id, "result": "cancelled"}), |_| format!("cancelled {id}"))
            }
        }
    }
}

fn changed_or(changed: Changed, id: Uuid, refused: &str) -> Result<(), Failed> {
    match changed {
        Changed::Done => Ok(()),
        Changed::Unknown => Err(unknown(id)),
        Changed::Refused => Err(Failed::new(format!("message {id} is left as it is: {refused}"))),
    }
}

fn unknown(id: Uuid) -> Failed {
    Failed::new(format!("no message has the id {id}; see `postrider message list`"))
}

fn list_text(list: &[MessageInfo]) -> String {
    let row = |it: &MessageInfo| {
        let (id, reason) = (it.id.to_string(), it.reason.clone().unwrap_or_default());
        let (status, method) = (it.status.clone(), it.method.clone());
        [
            id,
            status,
            method,
            it.template.clone(),
            it.recipient_id.clone(),
            it.attempt.to_string(),
            reason,
        ]
    };
    let headings = ["id", "status", "method", "template", "recipient", "attempt", "reason"];
    table(headings, list.iter().map(row).collect())
}

fn show_text(it: &MessageDetail) -> String {
    let message = &it.message;
    let reason = message.reason.as_deref().unwrap_or("-");
    let due = message.due_at.as_deref().or(message.finished_at.as_deref()).unwrap_or("-");
    let rows = it.attempts.iter().map(|it| {
        let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
        [
            it.attempt.to_string(),
            it.outcome.clone(),
            text(&it.code),
            text(&it.detail),
            text(&it.finished_at),
        ]
    });
    let attempts = table(["attempt", "outcome", "code", "detail", "finished"], rows.collect());
    // What is too much for a message to be delivered is shown as it is stored.
    let payload = it.payload.to_value();
    let payload = payload.map_or_else(|_| it.payload.text().to_owned(), |it| format!("{it:#}"));
    format!(
        "{}\nstatus:    {}\nreason:    {reason}\nmethod:    {}\ntemplate:  {}\nrecipient: {}\n\
         created:   {}\ndue/done:  {due}\n\n{attempts}\npayload: {payload}\n",
        message.id,
        message.status,
        message.method,
        message.template,
        message.recipient_id,
        message.created_at,
    )
}
