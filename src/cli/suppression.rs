//! `suppression`: addresses that no mail is sent to any more.

use clap::Subcommand;
use postrider::store::admin::suppressions::{self, Suppression as Row};
use serde_json::json;

use super::Context;
use super::output::{Failed, Output, table};

#[derive(Debug, Subcommand)]
pub(super) enum Suppression {
    /// Lists addresses that no mail is sent to, newest first
    #[command(after_help = "Example: postrider suppression list")]
    List {
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// Lets no more mail go to an address; its messages end as permanent failures
    #[command(after_help = "Example: postrider suppression add ada@example.com --reason complaint")]
    Add {
        /// The address
        #[arg(value_parser = address)]
        address: String,
        /// Why, for whoever lists it
        #[arg(long, default_value = "added by an operator")]
        reason: String,
    },
    /// Lets mail go to an address again
    #[command(after_help = "Example: postrider suppression remove ada@example.com")]
    Remove {
        /// The address
        #[arg(value_parser = address)]
        address: String,
    },
}

impl Suppression {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let mut client = context.client()?;
        match self {
            Self::List { limit } => {
                let list = suppressions::list(&mut client, limit)?;
                output.print(&list, |list| list_text(list))
            }
            Self::Add { address, reason } => {
                let added = suppressions::add(&mut client, &address, &reason)?;
                let state = if added { "added" } else { "known" };
                output.print(&json!({"address": address, "result": state}), |_| {
                    format!("no mail goes to {address}")
                })
            }
            Self::Remove { address } => {
                if !suppressions::remove(&mut client, &address)? {
                    return Err(Failed::new(format!(
                        "{address} is not suppressed; see `postrider suppression list`"
                    )));
                }
                output.print(&json!({"address": address, "result": "removed"}), |_| {
                    format!("mail goes to {address} again")
                })
            }
        }
    }
}

/// An address as it is compared.
fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let has_form = text.contains('@') && !text.contains(char::is_control);
    if has_form { Ok(text.to_lowercase()) } else { Err("this is no mail address".into()) }
}

fn list_text(list: &[Row]) -> String {
    let row =
        |it: &Row| [it.address.clone(), it.code.clone(), it.created_at.clone(), it.reason.clone()];
    table(["address", "code", "since", "reason"], list.iter().map(row).collect())
}
