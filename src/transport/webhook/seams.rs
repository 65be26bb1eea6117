//! Ways into the parts, for benches and fuzz targets only. Not part of the interface.

use std::time::{Duration, SystemTime};

use super::body;
use super::endpoint::Endpoint;
use super::sign::Signer;
use super::target::Layout;
use super::{classify, retry_after};
use crate::config::{BrandingConfig, Secret};
use crate::endpoint::Format;
use crate::message::Prepared;
use crate::transport::Deadline;

/// The wait that a response asks for.
pub fn wait(text: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    retry_after::wait(text, date, now)
}

/// What of a URL may be shown.
pub fn origin(url: &str) -> Option<String> {
    Endpoint::parse(url).ok().map(|endpoint| endpoint.origin())
}

/// What is kept of the body of a refusal.
pub fn excerpt(url: &str, body: &[u8]) -> Option<String> {
    classify::excerpt(&Endpoint::parse(url).ok()?, body)
}

/// The body in a format.
pub fn encode(format: Format, message: &Prepared) -> Option<Vec<u8>> {
    let (branding, soon) = (BrandingConfig::default(), Deadline::after(Duration::from_secs(1)));
    let encoded = body::encode(&Layout::Known(format), message, &branding, soon);
    encoded.ok().map(|encoded| encoded.octets)
}

/// A signer of bodies with these secrets.
pub fn signer(secrets: &str) -> Option<impl Fn(&str, u64, &[u8]) -> String> {
    let signer = Signer::new(&Secret::new(secrets)).ok()?;
    Some(move |id: &str, timestamp, body: &[u8]| signer.signatures(id, timestamp, body))
}
