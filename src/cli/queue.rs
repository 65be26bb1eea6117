//! `migrate`, `pause`, `resume` and `stats`.

use clap::Args;
use postrider::store::admin;
use postrider::store::connect::Connector;
use postrider::store::migrate;
use serde::Serialize;

use super::Context;
use super::output::{Failed, Output, table};

#[derive(Serialize)]
struct Migrated {
    applied: Vec<&'static str>,
    version: i32,
}

#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Makes the roles `postrider_enqueue` and `postrider_worker`, too, for logins that shall do no more
    #[arg(long)]
    roles: bool,
}

impl Migrate {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let mut client = Connector::new(&context.config.database)?.connect_for_migration()?;
        let applied = migrate::migrate(&mut client)?;
        if self.roles {
            migrate::make_roles(&mut client)?;
        }
        admin::publish_defaults(&mut client, &context.config)?;
        let migrated = Migrated { applied, version: migrate::VERSION };
        output.print(&migrated, |it| match it.applied.len() {
            0 => format!("schema postrider is up to date at version {}", it.version),
            _ => format!("applied {}; schema is at version {}", it.applied.join(", "), it.version),
        })
    }
}

#[derive(Serialize)]
struct Paused {
    paused: bool,
}

pub(super) fn set_paused(context: &Context, paused: bool, output: Output) -> Result<(), Failed> {
    admin::set_paused(&mut context.client()?, paused)?;
    output.print(&Paused { paused }, |it| {
        if it.paused { "paused: nothing new is delivered" } else { "resumed" }.into()
    })
}

pub(super) fn stats(context: &Context, output: Output) -> Result<(), Failed> {
    let stats = admin::stats(&mut context.client()?)?;
    output.print(&stats, |stats| {
        let rows = stats.by_status.iter().map(|(name, n)| [name.clone(), n.to_string()]).collect();
        let oldest = stats.oldest_ready_seconds.map_or("none".into(), |age| format!("{age:.1} s"));
        format!(
            "{}\noldest ready: {oldest}\npaused: {}\nworkers: {}\n",
            table(["status", "messages"], rows),
            stats.paused,
            stats.workers
        )
    })
}
