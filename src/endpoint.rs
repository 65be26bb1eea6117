//! The settings of a named webhook endpoint. Plain data, and what must hold of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// Most signing keys that are live at a time.
pub const KEYS_MAX: usize = 10;
/// Most headers of an endpoint.
const HEADERS_MAX: usize = 32;
/// Longest header value, in octets.
const HEADER_VALUE_MAX: usize = 4096;
/// Headers that the transport writes, or that would change how the request is read.
const OWN_HEADERS: [&str; 16] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-message-id",
];

/// What is known of an endpoint. Secrets and header values are as stored, so maybe sealed
/// (see [`Vault`](crate::vault::Vault)).
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Unique name.
    pub name: String,
    /// Raised by every edit.
    pub version: i32,
    /// Where requests go. Often a secret in itself.
    pub url: String,
    /// What a request holds.
    pub format: Format,
    /// Handlebars that yield JSON, for [`Format::Template`].
    pub template: Option<String>,
    /// Signing keys, the current one first.
    pub secrets: Vec<StoredKey>,
    /// Additional headers.
    pub headers: BTreeMap<String, String>,
    /// Whether a 4xx that no retry can mend ends the message at once.
    pub fail_fast_4xx: bool,
    /// Most deliveries at a time; `None`: as the worker is configured.
    pub max_concurrent: Option<u32>,
    /// What its connections trust and show, beside the settings for all.
    pub tls: EndpointTls,
    /// Why it is disabled, if it is.
    pub disabled: Option<String>,
}

impl EndpointSettings {
    /// An enabled one with nothing but a URL.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: 0,
            url: url.into(),
            format: Format::Standard,
            template: None,
            secrets: Vec::new(),
            headers: BTreeMap::new(),
            fail_fast_4xx: false,
            max_concurrent: None,
            tls: EndpointTls::default(),
            disabled: None,
        }
    }

    /// The place in a [`Vault`](crate::vault::Vault) of a part of this endpoint. The origin of its URL is a
    /// part of it: who can write into the table, and no more, sends no secret to a host of their own.
    pub fn place(&self, part: &str) -> String {
        let origin = Url::parse(self.url.trim()).map(|url| url.origin().ascii_serialization());
        format!("endpoint/{}/{}/{part}", self.name, origin.unwrap_or_default())
    }
}

/// Neither the URL's path, nor a key, nor a header's value.
impl fmt::Debug for EndpointSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSettings")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("format", &self.format)
            .field("keys", &self.secrets.len())
            .field("headers", &self.headers.keys())
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

/// A signing key as stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// `whsec_...` or `whsk_...`, maybe sealed.
    pub key: String,
    /// When it ceases to sign, in Unix seconds; `None`: never.
    pub expires_at: Option<u64>,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// TLS settings of one endpoint.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EndpointTls {
    /// Authorities (PEM) trusted beside the public ones and those of `webhook.ca_file`.
    pub authorities: Option<String>,
    /// Shown to a peer that asks for a certificate.
    pub identity: Option<ClientIdentity>,
}

/// A client certificate and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM; the certificate itself first, then those that lead to its authority.
    pub certificate: String,
    /// PEM, sealed.
    pub key: String,
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Our own document, schema 1.1.
    Standard,
    /// The same in a `CloudEvents` 1.0 envelope, structured mode.
    CloudEvents,
    /// A message for a Slack incoming webhook.
    Slack,
    /// An adaptive card for a Microsoft Teams workflow.
    Teams,
    /// A message for a Discord webhook.
    Discord,
    /// What the endpoint's own template yields.
    Template,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Standard,
        Self::CloudEvents,
        Self::Slack,
        Self::Teams,
        Self::Discord,
        Self::Template,
    ];

    /// As it is stored and typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::CloudEvents => "cloudevents",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::Template => "template",
        }
    }

    /// Whether its receivers check signatures. Chat services do not.
    pub fn is_signed(self) -> bool {
        !matches!(self, Self::Slack | Self::Teams | Self::Discord)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = BadEndpointSetting;

    fn from_str(text: &str) -> Result<Self, BadEndpointSetting> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or(BadEndpointSetting::Format)
    }
}

/// Checks the name of an endpoint.
///
/// # Errors
///
/// [`BadEndpointSetting::Name`].
pub fn check_name(name: &str) -> Result<(), BadEndpointSetting> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = (1..=63).contains(&name.len()) && name.chars().all(fits);
    if good { Ok(()) } else { Err(BadEndpointSetting::Name) }
}

/// Checks the additional headers of an endpoint; values are those that will be sent.
///
/// # Errors
///
/// The first header that cannot be sent, by its name. Values are not shown.
pub fn check_headers<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), BadEndpointSetting> {
    for (idx, (name, value)) in headers.into_iter().enumerate() {
        if idx == HEADERS_MAX {
            return Err(BadEndpointSetting::ManyHeaders);
        }
        let token =
            |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
        if !(1..=128).contains(&name.len()) || !name.bytes().all(token) {
            return Err(BadEndpointSetting::HeaderName(name.chars().take(40).collect()));
        }
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&&*lower) || lower.starts_with("proxy-") {
            return Err(BadEndpointSetting::OwnHeader(lower));
        }
        let shown = |octet: u8| octet == b' ' || octet.is_ascii_graphic();
        let trimmed = value.trim() == value && !value.is_empty();
        if !trimmed || HEADER_VALUE_MAX < value.len() || !value.bytes().all(shown) {
            return Err(BadEndpointSetting::HeaderValue(lower));
        }
    }
    Ok(())
}

/// A setting of an endpoint that cannot be used. Shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpointSetting {
    /// The name.
    #[error("an endpoint's name has 1 to 63 ASCII letters, digits, `-`, `_` and `.`")]
    Name,
    /// The format.
    #[error("unknown format; there are standard, cloudevents, slack, teams, discord, template")]
    Format,
    /// Too many headers.
    #[error("an endpoint has at most {HEADERS_MAX} headers of its own")]
    ManyHeaders,
    /// The name of a header.
    #[error("header {0:?}: this is no name of a header")]
    HeaderName(String),
    /// A header that the transport writes.
    #[error("header {0}: Postrider or the connection sets it; leave it out")]
    OwnHeader(String),
    /// The value of a header.
    #[error(
        "header {0}: the value must be visible ASCII, without blanks around it, at most \
         {HEADER_VALUE_MAX} octets"
    )]
    HeaderValue(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_take_the_place_of_ours_nor_break_the_request() {
        let check = |name: &str, value: &str| check_headers([(name, value)]);
        for (name, value) in [("X-Team", "ops"), ("Authorization", "Bearer m4rk3r=")] {
            check(name, value).unwrap();
        }
        for name in ["Webhook-ID", "Host", "content-length", "Proxy-Authorization", "TE"] {
            let refused = check(name, "x").unwrap_err();
            assert_eq!(refused, BadEndpointSetting::OwnHeader(name.to_lowercase()));
        }
        for name in ["", "a b", "a:b", "é", "a\r\nb"] {
            assert!(matches!(check(name, "x"), Err(BadEndpointSetting::HeaderName(_))), "{name:?}");
        }
        for value in ["", " m4rk3r", "m4rk3r\r\nX-Evil: 1", "m4rk3r\0", "m4rk3ré"] {
            let refused = check("x-team", value).unwrap_err();
            assert_eq!(refused, BadEndpointSetting::HeaderValue("x-team".into()), "{value:?}");
            assert!(!refused.to_string().contains("m4rk3r"));
        }
        let many: Vec<String> = (0..=HEADERS_MAX).map(|no| format!("x-{no}")).collect();
        let refused = check_headers(many.iter().map(|name| (name.as_str(), "v"))).unwrap_err();
        assert_eq!(refused, BadEndpointSetting::ManyHeaders);
    }

    #[test]
    fn a_name_can_be_told_from_a_url_and_typed_in_a_shell() {
        for name in ["ops", "a.b-c_1"] {
            check_name(name).unwrap();
        }
        for name in ["", "a b", "http://x", "é", &"x".repeat(64)] {
            assert_eq!(check_name(name), Err(BadEndpointSetting::Name), "{name}");
        }
    }

    #[test]
    fn every_format_is_read_by_its_name() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("xml".parse::<Format>(), Err(BadEndpointSetting::Format));
    }

    #[test]
    fn nothing_that_prints_an_endpoint_shows_its_secrets() {
        let mut endpoint = EndpointSettings::new("ops", "https://example.com/m4rk3r");
        endpoint.secrets.push(StoredKey { key: "m4rk3r".into(), expires_at: None });
        endpoint.headers.insert("x".into(), "m4rk3r".into());
        assert!(!format!("{endpoint:?} {:?}", endpoint.secrets).contains("m4rk3r"));
    }
}
