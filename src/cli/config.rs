//! `config check` and `config print`.

use clap::Subcommand;
use postrider::config::Config;
use postrider::worker::Worker;
use serde_json::json;

use super::output::{Failed, Output};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Checks the settings and the files they name, without a database
    #[command(after_help = "Example: postrider --config postrider.toml config check")]
    Check,
    /// Prints the settings in force and where each comes from, without secrets
    #[command(after_help = "Example: postrider config print --json")]
    Print,
}

impl ConfigCommand {
    pub(super) fn run(self, config: &Config, output: Output) -> Result<(), Failed> {
        match self {
            Self::Check => {
                Worker::new(config.clone())?.check_methods()?;
                output.print(&json!({"ok": true}), |_| "settings are fine".into())
            }
            Self::Print => output.print(&config.to_json(), |_| config.print()),
        }
    }
}
