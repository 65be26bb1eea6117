//! Where a host is, if it may be reached there.

use std::net::IpAddr;
use std::sync::Arc;

use crate::transport::Deadline;
use crate::transport::dns::{Dns, LookupError};
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
        let is_literal = host.parse::<IpAddr>().is_ok();
        let kind = if is_literal { Unreachable::Forbidden } else { Unreachable::Resolved };
        self.guard.vet(&addresses).map_err(kind)?;
        Ok(addresses)
    }
}

/// Why a host is not dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    /// It has no addresses.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is an address that may not be reached.
    #[error(transparent)]
    Forbidden(Forbidden),
    /// It has one at the moment, which a name server can mend.
    #[error("the name leads to an address of this network: {0}")]
    Resolved(Forbidden),
}
