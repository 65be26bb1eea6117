//! Webhook endpoints, as people keep them.

use postgres::Client;
use postgres::types::Json;

use super::{execute, query};
use crate::endpoint::EndpointSettings;
use crate::store::StoreError;
use crate::store::postgres::endpoint_settings;
use crate::store::typed::Param;

/// The endpoint of this name.
///
/// # Errors
///
/// If the database does not answer.
pub fn find(client: &mut Client, name: &str) -> Result<Option<EndpointSettings>, StoreError> {
    let rows = query(client, include_str!("../sql/endpoint.sql"), &[&name])?;
    rows.first().map(endpoint_settings).transpose()
}

/// All endpoints by name.
///
/// # Errors
///
/// If the database does not answer.
pub fn list(client: &mut Client) -> Result<Vec<EndpointSettings>, StoreError> {
    let rows = query(client, include_str!("../sql/list_endpoints.sql"), &[])?;
    rows.iter().map(endpoint_settings).collect()
}

/// Saves an endpoint that was checked, all but whether it is disabled; `false` if somebody
/// changed it after `endpoint.version` was read, or made it where the version is 0.
///
/// # Errors
///
/// If the database does not answer.
pub fn save(client: &mut Client, endpoint: &EndpointSettings) -> Result<bool, StoreError> {
    let (format, version) = (endpoint.format.name(), endpoint.version);
    let (secrets, headers) = (Json(&endpoint.secrets), Json(&endpoint.headers));
    let tls = &endpoint.tls;
    let (certificate, key) =
        tls.identity.as_ref().map(|it| (it.certificate.as_str(), it.key.as_str())).unzip();
    let most = endpoint.max_concurrent.map(|most| i32::try_from(most).unwrap_or(i32::MAX));
    let params: [&dyn Param; 12] = [
        &endpoint.name,
        &endpoint.url,
        &format,
        &endpoint.template,
        &secrets,
        &headers,
        &endpoint.fail_fast_4xx,
        &most,
        &tls.authorities,
        &certificate,
        &key,
        &version,
    ];
    Ok(0 < execute(client, include_str!("../sql/save_endpoint.sql"), &params)?)
}

/// Disables an endpoint for a reason, or enables it; `false` if there is none of this name.
///
/// # Errors
///
/// If the database does not answer.
pub fn set_disabled(
    client: &mut Client,
    name: &str,
    reason: Option<&str>,
) -> Result<bool, StoreError> {
    Ok(0 < execute(client, include_str!("../sql/disable_endpoint.sql"), &[&name, &reason])?)
}

/// Deletes an endpoint; `false` if there is none of this name. Its waiting messages end as
/// permanent failures.
///
/// # Errors
///
/// If the database does not answer.
pub fn delete(client: &mut Client, name: &str) -> Result<bool, StoreError> {
    Ok(0 < execute(client, "delete from postrider.endpoints where name = $1", &[&name])?)
}
