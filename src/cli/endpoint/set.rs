//! `endpoint set`: makes an endpoint, or changes what is given of one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use postgres::Client;
use postrider::endpoint::{BadEndpointSetting, EndpointSettings, Format, StoredKey, check_name};
use postrider::store::admin::endpoints;
use postrider::transport::webhook::keep;
use postrider::vault::Vault;

use super::tls::TlsSettings;
use super::{fresh_secret, print_saved, read, save, usage};
use crate::cli::output::{Failed, Output};

#[derive(Debug, Args)]
pub(in crate::cli) struct Set {
    /// Unique name
    name: String,
    /// Where its requests go
    #[arg(long)]
    url: Option<String>,
    /// What its requests hold: standard, cloudevents, slack, teams, discord or template
    #[arg(long, value_parser = format)]
    format: Option<Format>,
    /// File with the template that yields its JSON, for --format template
    #[arg(long, value_name = "FILE")]
    template_file: Option<PathBuf>,
    /// A header of its own; process lists show it, so prefer --header-file for secrets
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// File with headers, one `NAME: VALUE` a line
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// Drops a header of its own
    #[arg(long = "remove-header", value_name = "NAME")]
    removed: Vec<String>,
    /// File with the signing secret of a new endpoint; else one is made
    #[arg(long, value_name = "FILE", conflicts_with = "no_secret")]
    secret_file: Option<PathBuf>,
    /// Makes no signing secret for a new endpoint
    #[arg(long)]
    no_secret: bool,
    /// Whether a 4xx that no retry can mend ends a message at once
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    fail_fast_4xx: Option<bool>,
    /// Most deliveries at a time; 0: as the worker is configured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=65_535))]
    max_concurrent: Option<u32>,
    #[command(flatten)]
    tls: TlsSettings,
}

impl Set {
    pub(super) fn run(
        self,
        client: &mut Client,
        vault: &Vault,
        output: Output,
    ) -> Result<(), Failed> {
        check_name(&self.name).map_err(usage)?;
        let found = endpoints::find(client, &self.name)?;
        let is_new = found.is_none();
        if !is_new && (self.secret_file.is_some() || self.no_secret) {
            let name = &self.name;
            return Err(Failed::usage(format!(
                "endpoint `{name}` is there already; `postrider endpoint rotate-secret {name}` replaces its secret"
            )));
        }
        let mut endpoint = found.unwrap_or_else(|| EndpointSettings::new(&self.name, ""));
        self.apply(&mut endpoint, vault)?;
        let mut secret = None;
        if is_new && !self.no_secret && (endpoint.format.is_signed() || self.secret_file.is_some())
        {
            let fresh = fresh_secret(self.secret_file.as_deref())?;
            let key = keep::seal_secret(&endpoint, vault, &fresh).map_err(usage)?;
            endpoint.secrets.push(StoredKey { key, expires_at: None });
            secret = self.secret_file.is_none().then_some(fresh);
        }
        save(client, &endpoint, vault)?;
        print_saved(&endpoint, if is_new { "made" } else { "changed" }, secret.as_ref(), output)
    }

    /// Puts what was given into the endpoint.
    fn apply(&self, endpoint: &mut EndpointSettings, vault: &Vault) -> Result<(), Failed> {
        let headers = self.all_headers()?;
        // What is replaced below needs not be opened.
        for name in self.removed.iter().map(|name| name.to_ascii_lowercase()) {
            endpoint.headers.remove(&name);
        }
        endpoint.headers.retain(|name, _| !headers.contains_key(name));
        match &self.url {
            Some(url) => keep::move_to(endpoint, vault, url.trim()).map_err(usage)?,
            None if endpoint.url.is_empty() => {
                return Err(Failed::usage("a new endpoint needs --url"));
            }
            None => (),
        }
        if let Some(format) = self.format {
            endpoint.format = format;
        }
        if let Some(path) = &self.template_file {
            endpoint.template = Some(read(path)?);
        }
        if endpoint.format != Format::Template {
            if self.template_file.is_some() {
                return Err(Failed::usage("--template-file needs --format template"));
            }
            endpoint.template = None;
        }
        for (name, value) in headers {
            let sealed = keep::seal_header(endpoint, vault, &name, &value);
            endpoint.headers.insert(name, sealed.map_err(usage)?);
        }
        self.tls.apply(endpoint, vault)?;
        endpoint.fail_fast_4xx = self.fail_fast_4xx.unwrap_or(endpoint.fail_fast_4xx);
        if let Some(most) = self.max_concurrent {
            endpoint.max_concurrent = Some(most).filter(|most| 0 < *most);
        }
        Ok(())
    }

    fn all_headers(&self) -> Result<BTreeMap<String, String>, Failed> {
        let mut headers: BTreeMap<_, _> = self.headers.iter().cloned().collect();
        if let Some(path) = &self.header_file {
            for (idx, line) in read(path)?.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let (name, value) = header(line).map_err(|why| {
                    Failed::usage(format!("{}, line {}: {why}", path.display(), idx + 1))
                })?;
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

fn format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|err: BadEndpointSetting| err.to_string())
}

/// Name, in lower case, and value.
fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as NAME: VALUE")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_is_written_in_http() {
        assert_eq!(header("X-Team: a: b ").unwrap(), ("x-team".into(), "a: b".into()));
        assert!(header("X-Team").is_err());
    }
}
