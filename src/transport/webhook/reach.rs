//! Where a host is, if it may be reached there.

use std::net::IpAddr;
use std::sync::Arc;

use crate::transport::Deadline;
use crate::transport::webhook::dns::{Dns, LookupError};
use crate::transport::webhook::guard::{Forbidden, Guard};

/// Resolver and guard together, so that no address is used that was not vetted.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) dns: Arc<Dns>,
    pub(super) guard: Guard,
}

impl Reach {
    /// Addresses of a host, all of them permitted. Waits until `limit`.
    pub(super) fn addresses(
        &self,
        host: &str,
        limit: Deadline,
    ) -> Result<Arc<[IpAddr]>, Unreachable> {
        let addresses = self.dns.addresses(host, limit)?;
        self.guard.vet(&addresses)?;
        Ok(addresses)
    }
}

/// Why a host is not dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    /// It has no addresses.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It has one that may not be reached.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}
