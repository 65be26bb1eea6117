//! `endpoint`: keeps named webhook endpoints, their keys, headers and formats.
//!
//! A secret is printed once, when it is made. Of URLs only scheme, host and port are shown.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use postgres::Client;
use postrider::config::Secret;
use postrider::endpoint::{EndpointSettings, KEYS_MAX, StoredKey};
use postrider::store::admin::endpoints;
use postrider::transport::webhook::keep;
use postrider::vault::Vault;
use serde_json::json;

use super::Context;
use super::output::{Failed, Output};

mod set;
mod tls;
mod view;

use set::Set;
use view::View;

/// Longest time that a replaced key goes on signing.
const KEEP_MAX: Duration = Duration::from_hours(7 * 24);

#[derive(Debug, Subcommand)]
pub(super) enum Endpoint {
    /// Makes an endpoint, or changes what is given of one
    #[command(
        after_help = "Example: postrider endpoint set ops --url https://hooks.example.com/ops
Example: postrider endpoint set chat --url https://chat.example.com/T0/x --format slack
Example: postrider endpoint set crm --url https://crm.example.com/in --format template --template-file crm.json
Example: postrider endpoint set bank --url https://bank.example.com/in --ca-file ca.pem --cert-file us.pem --key-file us.key"
    )]
    Set(Box<Set>),
    /// Lists all endpoints
    #[command(after_help = "Example: postrider endpoint list")]
    List,
    /// Shows one endpoint, without its secrets
    #[command(after_help = "Example: postrider endpoint show ops")]
    Show {
        /// Its name
        name: String,
    },
    /// Lets an endpoint that was disabled have messages again
    #[command(after_help = "Example: postrider endpoint enable ops")]
    Enable {
        /// Its name
        name: String,
    },
    /// Disables an endpoint: its messages end as permanent failures until it is enabled
    #[command(after_help = "Example: postrider endpoint disable ops --reason 'moved to crm'")]
    Disable {
        /// Its name
        name: String,
        /// Why, for people
        #[arg(long, default_value = "disabled by an operator")]
        reason: String,
    },
    /// Makes a new signing secret; the old one signs along for a while
    #[command(after_help = "Example: postrider endpoint rotate-secret ops --keep 48h")]
    RotateSecret(Rotate),
    /// Encrypts the secrets that were stored before there was an encryption key
    #[command(after_help = "Example: postrider endpoint seal")]
    Seal {
        /// Name of an endpoint; else all
        name: Option<String>,
    },
    /// Deletes an endpoint; its waiting messages end as permanent failures
    #[command(after_help = "Example: postrider endpoint delete ops")]
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// Name of the endpoint
    name: String,
    /// How long the old secrets sign along, at most 7 days
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    keep: Duration,
    /// File with the new secret; else one is made
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Endpoint {
    pub(super) fn run(self, context: &Context, output: Output) -> Result<(), Failed> {
        let vault = Vault::new(context.config.webhook.encryption_key.as_ref()).map_err(usage)?;
        let mut client = context.client()?;
        match self {
            Self::Set(set) => set.run(&mut client, &vault, output),
            Self::List => {
                let list = endpoints::list(&mut client)?;
                output
                    .print(&list.iter().map(View::new).collect::<Vec<_>>(), |list| view::rows(list))
            }
            Self::Show { name } => {
                let endpoint = find(&mut client, &name)?;
                output.print(&View::new(&endpoint), View::text)
            }
            Self::Enable { name } => {
                known(&name, endpoints::set_disabled(&mut client, &name, None)?)?;
                output.print(&json!({"enabled": name}), |_| format!("endpoint {name} is enabled"))
            }
            Self::Disable { name, reason } => {
                known(&name, endpoints::set_disabled(&mut client, &name, Some(&reason))?)?;
                output.print(&json!({"disabled": name}), |_| format!("endpoint {name} is disabled"))
            }
            Self::RotateSecret(rotate) => rotate.run(&mut client, &vault, output),
            Self::Seal { name } => seal(&mut client, &vault, name.as_deref(), output),
            Self::Delete { name } => {
                known(&name, endpoints::delete(&mut client, &name)?)?;
                output.print(&json!({"deleted": name}), |_| format!("deleted {name}"))
            }
        }
    }
}

impl Rotate {
    fn run(self, client: &mut Client, vault: &Vault, output: Output) -> Result<(), Failed> {
        if KEEP_MAX < self.keep {
            return Err(Failed::usage("--keep: a replaced secret signs along for at most 7 days"));
        }
        let mut endpoint = find(client, &self.name)?;
        let fresh = fresh_secret(self.secret_file.as_deref())?;
        let key = keep::seal_secret(&endpoint, vault, &fresh).map_err(usage)?;
        retire(&mut endpoint.secrets, unix_seconds(), self.keep);
        endpoint.secrets.insert(0, StoredKey { key, expires_at: None });
        if KEYS_MAX < endpoint.secrets.len() {
            return Err(Failed::new(format!(
                "endpoint `{}` has {KEYS_MAX} live secrets already; --keep 0s drops the old ones",
                self.name
            )));
        }
        save(client, &endpoint, vault)?;
        let shown = self.secret_file.is_none().then_some(&fresh);
        print_saved(&endpoint, "rotated", shown, output)
    }
}

fn seal(
    client: &mut Client,
    vault: &Vault,
    name: Option<&str>,
    output: Output,
) -> Result<(), Failed> {
    let list = match name {
        Some(name) => vec![find(client, name)?],
        None => endpoints::list(client)?,
    };
    let mut sealed = Vec::new();
    for mut endpoint in list {
        let before = endpoint.clone();
        keep::seal_stored(&mut endpoint, vault)
            .map_err(|err| usage(format!("endpoint `{}`: {err}", endpoint.name)))?;
        if endpoint != before {
            save(client, &endpoint, vault)?;
            sealed.push(endpoint.name);
        }
    }
    output.print(&json!({"sealed": sealed}), |_| match sealed.len() {
        0 => "nothing was stored as it is".into(),
        _ => format!("encrypted the secrets of {}", sealed.join(", ")),
    })
}

/// Lets keys expire `keep` from now, or as soon as they would anyway, and drops those that have.
fn retire(keys: &mut Vec<StoredKey>, now: u64, keep: Duration) {
    let end = now.saturating_add(keep.as_secs());
    for key in keys.iter_mut() {
        key.expires_at = Some(key.expires_at.map_or(end, |at| at.min(end)));
    }
    keys.retain(|key| key.expires_at.is_none_or(|at| now < at));
}

fn save(client: &mut Client, endpoint: &EndpointSettings, vault: &Vault) -> Result<(), Failed> {
    keep::check(endpoint, vault).map_err(usage)?;
    if endpoints::save(client, endpoint)? {
        return Ok(());
    }
    let name = &endpoint.name;
    Err(Failed::new(format!("endpoint `{name}` was changed by somebody else meanwhile; try again")))
}

fn print_saved(
    endpoint: &EndpointSettings,
    what: &str,
    secret: Option<&Secret>,
    output: Output,
) -> Result<(), Failed> {
    let name = &endpoint.name;
    let mut value = json!({"name": name, "result": what, "format": endpoint.format});
    if let Some(secret) = secret {
        value["secret"] = secret.expose().into();
    }
    output.print(&value, |_| {
        let note = secret.map_or_else(String::new, |secret| {
            format!("\nsigning secret, shown this once: {}", secret.expose())
        });
        format!("endpoint {name} is {what}{note}")
    })
}

fn find(client: &mut Client, name: &str) -> Result<EndpointSettings, Failed> {
    endpoints::find(client, name)?.ok_or_else(|| unknown(name))
}

fn known(name: &str, found: bool) -> Result<(), Failed> {
    if found { Ok(()) } else { Err(unknown(name)) }
}

fn unknown(name: &str) -> Failed {
    Failed::new(format!("no endpoint is named `{name}`; see `postrider endpoint list`"))
}

fn fresh_secret(file: Option<&Path>) -> Result<Secret, Failed> {
    match file {
        Some(path) => read(path).map(|text| Secret::new(text.trim())),
        None => keep::new_secret().map_err(usage),
    }
}

fn read(path: &Path) -> Result<String, Failed> {
    std::fs::read_to_string(path).map_err(|err| Failed::new(format!("{}: {err}", path.display())))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn usage(err: impl std::fmt::Display) -> Failed {
    Failed::usage(err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, expires_at: Option<u64>) -> StoredKey {
        StoredKey { key: key.into(), expires_at }
    }

    #[test]
    fn replaced_keys_expire_after_the_pause_and_never_later_than_before() {
        let mut keys = vec![key("b", None), key("a", Some(150)), key("old", Some(90))];
        retire(&mut keys, 100, Duration::from_secs(200));
        assert_eq!(keys, [key("b", Some(300)), key("a", Some(150))]);
        retire(&mut keys, 100, Duration::ZERO);
        assert_eq!(keys, []);
    }
}
