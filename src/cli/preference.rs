//! `preference`: turns templates off and on for recipients.

use clap::{Subcommand, ValueEnum};
use postrider::store::admin::{self, Preference as Row};

use super::Context;
use super::output::{Failed, Output, table};

#[derive(Debug, Subcommand)]
pub(super) enum Preference {
    /// Turns a template off or on for a recipient
    #[command(after_help = "Example: postrider preference set ada build-failed off")]
    Set {
        /// Id of the recipient
        recipient: String,
        /// Name of the template
        template: String,
        /// Whether the recipient gets it
        state: State,
    },
    /// Lists preferences
    #[command(after_help = "Example: postrider preference list ada")]
    List {
        /// Id of the recipient; all of them unless given
        recipient: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum State {
    /// The recipient gets it
    On,
    /// The recipient does not get it
    Off,
}

impl Preference {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let mut client = context.client()?;
        match self {
            Self::Set { recipient, template, state } => {
                let disabled = state == State::Off;
                let row = Row { recipient_id: recipient, template, disabled };
                if !admin::set_preference(&mut client, &row)? {
                    let name = &row.template;
                    return Err(Failed::new(format!(
                        "no template is named `{name}`; see `postrider template list`"
                    )));
                }
                output.print(&row, |row| line(row).join(" "))
            }
            Self::List { recipient } => {
                let list = admin::preferences(&mut client, recipient.as_deref())?;
                output.print(&list, |list| {
                    table(["recipient", "template", "state"], list.iter().map(line).collect())
                })
            }
        }
    }
}

fn line(row: &Row) -> [String; 3] {
    let state = if row.disabled { "off" } else { "on" };
    [row.recipient_id.clone(), row.template.clone(), state.into()]
}
