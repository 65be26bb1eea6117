//! Times as RFC 3339 in JSON.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

#[expect(clippy::ref_option, reason = "serde calls it so")]
pub(super) fn serialize<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let time = time.map(Timestamp::try_from).transpose().map_err(ser::Error::custom)?;
    time.map(|time| time.to_string()).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SystemTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let time: Timestamp = text.parse().map_err(de::Error::custom)?;
    SystemTime::try_from(time).map(Some).map_err(de::Error::custom)
}
