//! What a request is made of beside its message: URL, keys, headers, format.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Secret;
use crate::endpoint::{BadEndpointSetting, EndpointSettings, Format, check_headers};
use crate::gate::Gate;
use crate::outcome::Failure;
use crate::render::{JsonTemplate, TemplateError};
use crate::transport::webhook::endpoint::{BadEndpoint, Endpoint};
use crate::transport::webhook::secured::Secured;
use crate::transport::webhook::sign::{BadSecret, Signer};
use crate::transport::webhook::tls::BadPem;
use crate::vault::{Vault, VaultError};

/// Most targets that are kept.
const TARGETS_MAX: usize = 1024;
/// Longest pause of an endpoint that asks for one: an operator has named it, or a message its URL.
const NAMED_PAUSE_MAX: Duration = Duration::from_hours(24);
const URL_PAUSE_MAX: Duration = Duration::from_mins(5);

/// Where a request goes, ready for use.
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) signer: Option<Arc<Signer>>,
    pub(super) headers: HeaderMap,
    pub(super) layout: Layout,
    pub(super) fail_fast_4xx: bool,
    /// Longest pause that it gets when it asks.
    pub(super) pause_max: Duration,
    /// TLS of its own.
    pub(super) secured: Option<Secured>,
    pub(super) gate: Gate,
}

/// A format, with its template where it has one.
pub(super) enum Layout {
    Known(Format),
    Template(Box<JsonTemplate>),
}

impl Target {
    /// A URL without settings of its own.
    pub(super) fn plain(endpoint: Endpoint, signer: Option<Arc<Signer>>) -> Self {
        Self {
            endpoint,
            signer,
            headers: HeaderMap::new(),
            layout: Layout::Known(Format::Standard),
            fail_fast_4xx: false,
            pause_max: URL_PAUSE_MAX,
            secured: None,
            gate: Gate::new(None),
        }
    }

    /// A named endpoint. One that has no keys signs with `default`, where its format is signed.
    pub(super) fn new(
        settings: &EndpointSettings,
        vault: &Vault,
        default: Option<&Arc<Signer>>,
    ) -> Result<Self, EndpointFault> {
        let mut signer = Signer::default();
        for stored in &settings.secrets {
            let key = vault.open(&stored.key, &settings.place(SECRET_PART));
            signer.push(&key.map_err(EndpointFault::SealedSecret)?, stored.expires_at)?;
        }
        let default = default.filter(|_| settings.format.is_signed()).cloned();
        let signer = if signer.is_empty() { default } else { Some(Arc::new(signer)) };
        let (headers, values) = headers(settings, vault)?;
        let layout = match (settings.format, &settings.template) {
            (Format::Template, Some(source)) => {
                Layout::Template(Box::new(JsonTemplate::compile(source)?))
            }
            (Format::Template, None) => return Err(EndpointFault::NoTemplate),
            (format, _) => Layout::Known(format),
        };
        let endpoint = Endpoint::parse(&settings.url)?;
        let secured = Secured::new(settings, vault)?;
        if secured.is_some() && endpoint.uri.scheme_str() != Some("https") {
            return Err(EndpointFault::NoTls);
        }
        Ok(Self {
            endpoint: endpoint.hiding(values),
            signer,
            headers,
            layout,
            fail_fast_4xx: settings.fail_fast_4xx,
            pause_max: NAMED_PAUSE_MAX,
            secured,
            gate: Gate::new(settings.max_concurrent),
        })
    }
}

fn headers(
    settings: &EndpointSettings,
    vault: &Vault,
) -> Result<(HeaderMap, Vec<Secret>), EndpointFault> {
    let (mut headers, mut values) = (HeaderMap::new(), Vec::new());
    for (name, stored) in &settings.headers {
        let sealed = |fault| EndpointFault::SealedHeader(name.clone(), fault);
        let value = vault.open(stored, &settings.place(&header_part(name))).map_err(sealed)?;
        check_headers([(name.as_str(), value.expose())])?;
        let bad = || BadEndpointSetting::HeaderValue(name.clone());
        let key = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
        headers.insert(key, HeaderValue::try_from(value.expose()).map_err(|_| bad())?);
        values.push(value);
    }
    Ok((headers, values))
}

/// The part of an endpoint, for a [`Vault`], that its signing secrets are.
pub(super) const SECRET_PART: &str = "secret";

/// The part of an endpoint, for a [`Vault`], that a header is.
pub(super) fn header_part(name: &str) -> String {
    format!("header/{name}")
}

/// Targets of named endpoints by name, each of the version that was asked for last.
#[derive(Default)]
pub(super) struct Targets(Mutex<HashMap<String, (i32, Arc<Target>)>>);

impl Targets {
    /// The target that was kept, else what `build` makes.
    pub(super) fn get(
        &self,
        settings: &EndpointSettings,
        build: impl FnOnce() -> Result<Target, EndpointFault>,
    ) -> Result<Arc<Target>, EndpointFault> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, target)) = lock().get(&settings.name)
            && *version == settings.version
        {
            return Ok(Arc::clone(target));
        }
        // Unlocked meanwhile: a template may take milliseconds to compile.
        let target = Arc::new(build()?);
        let mut known = lock();
        if TARGETS_MAX <= known.len() {
            known.clear();
        }
        known.insert(settings.name.clone(), (settings.version, Arc::clone(&target)));
        Ok(target)
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Targets")
    }
}

/// A setting of a named endpoint that cannot be used. Shows no secret.
#[derive(Debug, thiserror::Error)]
pub enum EndpointFault {
    /// The URL.
    #[error(transparent)]
    Url(#[from] BadEndpoint),
    /// A signing secret.
    #[error("signing secret: {0}")]
    Secret(#[from] BadSecret),
    /// A signing secret that cannot be opened.
    #[error("its signing secret {0}")]
    SealedSecret(#[source] VaultError),
    /// A header that cannot be opened.
    #[error("its header {0} {1}")]
    SealedHeader(String, #[source] VaultError),
    /// Authorities of its own.
    #[error("its authorities: the file {0}")]
    Authorities(#[source] BadPem),
    /// The client certificate.
    #[error("its client certificate: the file {0}")]
    Certificate(#[source] BadPem),
    /// The key of the client certificate.
    #[error(
        "its client key: the file has no private key that can be used; it must be PEM, without a passphrase"
    )]
    Key,
    /// The key of the client certificate, which cannot be opened.
    #[error("its client key {0}")]
    SealedKey(#[source] VaultError),
    /// Certificate and key.
    #[error("its client certificate and client key do not belong together")]
    Mismatch,
    /// TLS settings for a connection without TLS.
    #[error("certificates need a URL that begins with https")]
    NoTls,
    /// A header or the format.
    #[error(transparent)]
    Setting(#[from] BadEndpointSetting),
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No template where the format needs one.
    #[error("format template needs a template")]
    NoTemplate,
}

impl EndpointFault {
    /// What it means for a message to the endpoint `name`.
    pub(super) fn failure(&self, name: &str) -> Failure {
        let reason = format!("endpoint `{name}`: {self}");
        match self {
            Self::SealedSecret(_) | Self::SealedHeader(..) | Self::SealedKey(_) => {
                Failure::blocked("encryption_key", reason)
            }
            Self::Url(_) => Failure::permanent("bad_url", reason),
            _ => Failure::permanent("bad_endpoint", reason),
        }
    }
}
