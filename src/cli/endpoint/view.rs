//! What is shown of an endpoint: nothing that is a secret.

use std::fmt::Write as _;

use postrider::endpoint::{EndpointSettings, Format, StoredKey};
use postrider::transport::webhook::keep;
use serde::Serialize;

use super::unix_seconds;
use crate::cli::output::table;

/// An endpoint without its secrets.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    name: &'a str,
    version: i32,
    url: String,
    format: Format,
    template: Option<&'a str>,
    headers: Vec<&'a str>,
    /// Of each live key, when it expires.
    keys: Vec<Option<u64>>,
    fail_fast_4xx: bool,
    max_concurrent: Option<u32>,
    has_authorities: bool,
    client_certificate: Option<String>,
    disabled: Option<&'a str>,
}

impl<'a> View<'a> {
    pub(super) fn new(endpoint: &'a EndpointSettings) -> Self {
        let now = unix_seconds();
        let live = |key: &&StoredKey| key.expires_at.is_none_or(|at| now < at);
        let certificate = endpoint.tls.identity.as_ref();
        Self {
            name: &endpoint.name,
            version: endpoint.version,
            url: keep::shown_url(&endpoint.url),
            format: endpoint.format,
            template: endpoint.template.as_deref(),
            headers: endpoint.headers.keys().map(String::as_str).collect(),
            keys: endpoint.secrets.iter().filter(live).map(|key| key.expires_at).collect(),
            fail_fast_4xx: endpoint.fail_fast_4xx,
            max_concurrent: endpoint.max_concurrent,
            has_authorities: endpoint.tls.authorities.is_some(),
            client_certificate: certificate.map(|it| keep::about_certificate(&it.certificate)),
            disabled: endpoint.disabled.as_deref(),
        }
    }

    fn state(&self) -> String {
        self.disabled.map_or_else(|| "enabled".into(), |why| format!("disabled: {why}"))
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{} (version {})\n{}\n", self.name, self.version, self.state());
        let most = self.max_concurrent.map_or_else(|| "default".into(), |most| most.to_string());
        let lines = [
            ("url", self.url.clone()),
            ("format", self.format.to_string()),
            ("headers", self.headers.join(", ")),
            ("signing keys", self.keys.len().to_string()),
            ("fail fast on 4xx", self.fail_fast_4xx.to_string()),
            ("deliveries at a time", most),
            ("authorities of its own", self.has_authorities.to_string()),
            ("client certificate", self.client_certificate.clone().unwrap_or_default()),
        ];
        for (what, value) in lines {
            writeln!(text, "{what}: {value}").expect("a String takes any text");
        }
        text + self.template.unwrap_or_default()
    }
}

pub(super) fn rows(list: &[View<'_>]) -> String {
    let row = |it: &View<'_>| {
        let (url, keys) = (it.url.clone(), it.keys.len().to_string());
        [it.name.to_owned(), url, it.format.to_string(), keys, it.state()]
    };
    table(["name", "url", "format", "keys", "state"], list.iter().map(row).collect())
}
