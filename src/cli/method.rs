//! `method`: names of transports that an enqueue may name.

use clap::Subcommand;
use postrider::store::admin::methods;
use serde_json::json;

use super::Context;
use super::output::{Failed, Output};

#[derive(Debug, Subcommand)]
pub(super) enum Method {
    /// Adds one before the first worker that has it runs
    #[command(after_help = "Example: postrider method add sms")]
    Add {
        /// Lower-case letters, digits, - and _
        name: String,
    },
    /// Lists them
    #[command(after_help = "Example: postrider method list")]
    List,
}

impl Method {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let mut client = context.client()?;
        match self {
            Self::Add { name } => {
                methods::add(&mut client, &[&name])?;
                output.print(&json!({"added": name}), |_| format!("method {name} is known"))
            }
            Self::List => {
                let list = methods::list(&mut client)?;
                output.print(&list, |list| list.join("\n"))
            }
        }
    }
}
