//! `inbox`: reads the in-app inbox as a recipient would.

use clap::Subcommand;
use postrider::store::admin::inbox::{self, Entry};
use serde_json::json;
use uuid::Uuid;

use super::Context;
use super::output::{Failed, Output, table};

#[derive(Debug, Subcommand)]
pub(super) enum Inbox {
    /// Lists a recipient's entries, newest first
    #[command(after_help = "Example: postrider inbox list ada --unread")]
    List {
        /// Id of the recipient
        recipient: String,
        /// Only those not yet read
        #[arg(long)]
        unread: bool,
        /// At most so many
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// Marks entries as read
    #[command(after_help = "Example: postrider inbox read ada --all")]
    Read {
        /// Id of the recipient
        recipient: String,
        /// Ids of the entries
        #[arg(required_unless_present = "all")]
        ids: Vec<Uuid>,
        /// All of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

impl Inbox {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let mut client = context.client()?;
        match self {
            Self::List { recipient, unread, limit } => {
                let list = inbox::list(&mut client, &recipient, unread, limit)?;
                output.print(&list, |list| list_text(list))
            }
            Self::Read { recipient, ids, all: _ } => {
                let read = inbox::mark_read(&mut client, &recipient, &ids)?;
                output.print(&json!({"read": read}), |_| format!("marked {read} as read"))
            }
        }
    }
}

fn list_text(list: &[Entry]) -> String {
    let row = |it: &Entry| {
        let mark = if it.read_at.is_some() { "read" } else { "unread" };
        [it.id.to_string(), mark.into(), it.created_at.clone(), it.title.clone()]
    };
    table(["id", "state", "created", "title"], list.iter().map(row).collect())
}
