//! URLs that a webhook is sent to: what is accepted, and what may be shown of one.
//!
//! A webhook's URL is often its own password, so errors show scheme, host and port only.

use std::fmt;

use ureq::http::Uri;
use url::Url;

use crate::config::Secret;

#[cfg(test)]
mod tests;

/// Shortest part of a URL that is taken for a secret when a peer repeats it.
const SECRET_MIN: usize = 6;
/// Longest URL, and longest host name, in bytes (RFC 1035, 2.3.4).
const URL_MAX: usize = 2048;
const HOST_MAX: usize = 253;

/// A URL that can be requested.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// Without user name, password and fragment; the host in A-labels.
    pub(super) uri: Uri,
    /// Header values that a peer must not be quoted with.
    hidden: Vec<Secret>,
}

impl Endpoint {
    /// Reads a URL as written by a person: blanks around it do not matter, nor does the case of
    /// scheme and host. What a browser would guess (a missing scheme, an inner blank) is refused.
    pub(super) fn parse(text: &str) -> Result<Self, BadEndpoint> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadEndpoint::Empty);
        }
        if URL_MAX < text.len() {
            return Err(BadEndpoint::Long);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(BadEndpoint::Blank);
        }
        let (scheme, _) = text.split_once("://").ok_or(BadEndpoint::Scheme)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(BadEndpoint::Scheme);
        }
        let url = Url::parse(text).map_err(BadEndpoint::Syntax)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadEndpoint::Userinfo);
        }
        if url.host_str().is_some_and(|host| HOST_MAX < host.len()) {
            return Err(BadEndpoint::LongHost);
        }
        // Which drops the fragment.
        let uri = Uri::try_from(String::from(url)).map_err(|_| BadEndpoint::Uri)?;
        Ok(Self { uri, hidden: Vec::new() })
    }

    /// The same, which also hides these values.
    pub(super) fn hiding(self, values: impl IntoIterator<Item = Secret>) -> Self {
        Self { hidden: values.into_iter().collect(), ..self }
    }

    /// What may be shown of it.
    pub(super) fn origin(&self) -> String {
        origin(&self.uri)
    }

    /// Host as a resolver takes it: a name, or an address without brackets.
    pub(super) fn host(&self) -> &str {
        host(&self.uri)
    }

    /// `text` of the peer without the parts of this URL and the header values that it repeats, as
    /// error pages do.
    pub(super) fn redact(&self, text: &str) -> String {
        let path = self.uri.path_and_query().map_or("", |path| path.as_str());
        let words = self.hidden.iter().flat_map(|value| value.expose().split(' '));
        let parts = path.split(['/', '?', '&', '=', ';']).chain(words);
        let parts = parts.filter(|part| SECRET_MIN <= part.len());
        parts.fold(text.to_owned(), |text, part| text.replace(part, "..."))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

/// Scheme, host and port of a URL, which may be shown.
pub(super) fn origin(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let public = authority.rsplit_once('@').map_or(authority, |(_, public)| public);
    format!("{}://{public}", uri.scheme_str().unwrap_or_default())
}

/// The same of a text, if it is a URL that can be requested. Any other is worth no memory: its
/// deliveries fail at once.
pub(super) fn origin_of(text: &str) -> Option<String> {
    Endpoint::parse(text).ok().map(|endpoint| endpoint.origin())
}

/// Host of a URL, an address without brackets.
pub(super) fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Why a text is no endpoint. Shows nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Nothing there.
    #[error("the URL is empty")]
    Empty,
    /// Longer than any receiver needs.
    #[error("the URL is longer than {URL_MAX} bytes")]
    Long,
    /// No name in DNS is as long.
    #[error("the host name of the URL is longer than {HOST_MAX} bytes")]
    LongHost,
    /// A blank, a control character or a backslash inside.
    #[error("the URL has a blank, a control character or a backslash; write it as %20, %09, %5C")]
    Blank,
    /// Not a web address.
    #[error("the URL must start with http:// or https://")]
    Scheme,
    /// Not a URL.
    #[error("the URL cannot be read: {0}")]
    Syntax(#[source] url::ParseError),
    /// Credentials in the URL end up in logs; receivers check the signature instead.
    #[error("the URL holds a user name or password; remove it, and check the signature instead")]
    Userinfo,
    /// A URL with characters that HTTP does not carry.
    #[error("the URL has characters that HTTP does not carry; percent-encode them")]
    Uri,
}
