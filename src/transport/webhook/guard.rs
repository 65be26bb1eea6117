//! The rule about addresses: which ones a webhook may reach. Pure.
//!
//! Judges addresses after name resolution, never the spelling of a host, so `127.1`, a name in
//! DNS and an IPv4-mapped literal are one and the same to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::config::AllowPrivate;

#[cfg(test)]
mod tests;

/// IPv4 that is not public unicast (RFC 6890 and the IANA special-purpose registry).
const SPECIAL_V4: [Network; 16] = [
    Network::v4([0, 0, 0, 0], 8),        // this network, unspecified
    Network::v4([10, 0, 0, 0], 8),       // private
    Network::v4([100, 64, 0, 0], 10),    // carrier-grade NAT
    Network::v4([127, 0, 0, 0], 8),      // loopback
    Network::v4([168, 63, 129, 16], 32), // a cloud's metadata service behind a public number
    Network::v4([169, 254, 0, 0], 16),   // link-local, metadata services
    Network::v4([172, 16, 0, 0], 12),    // private
    Network::v4([192, 0, 0, 0], 24),     // protocol assignments
    Network::v4([192, 0, 2, 0], 24),     // documentation
    Network::v4([192, 88, 99, 0], 24),   // 6to4 relays
    Network::v4([192, 168, 0, 0], 16),   // private
    Network::v4([198, 18, 0, 0], 15),    // benchmarks
    Network::v4([198, 51, 100, 0], 24),  // documentation
    Network::v4([203, 0, 113, 0], 24),   // documentation
    Network::v4([224, 0, 0, 0], 4),      // multicast
    Network::v4([240, 0, 0, 0], 4),      // reserved, broadcast
];

/// All public IPv6 unicast. What lies outside is loopback, local, multicast or NAT64.
const GLOBAL_V6: Network = Network::v6([0x2000, 0, 0], 3);

/// Parts of [`GLOBAL_V6`] that are not public, or that carry an IPv4 address unseen.
const SPECIAL_V6: [Network; 4] = [
    Network::v6([0x2001, 0, 0], 23),     // protocol assignments, Teredo
    Network::v6([0x2001, 0xdb8, 0], 32), // documentation
    Network::v6([0x2002, 0, 0], 16),     // 6to4
    Network::v6([0x3fff, 0, 0], 20),     // documentation
];

/// What `webhook.allow_private` permits, ready for use.
#[derive(Debug, Clone)]
pub(super) enum Guard {
    Open,
    Public { except: Vec<Network> },
}

impl Guard {
    /// Reads the setting.
    pub(super) fn new(allow: &AllowPrivate) -> Result<Self, BadNetwork> {
        Ok(match allow {
            AllowPrivate::All => Self::Open,
            AllowPrivate::No => Self::Public { except: Vec::new() },
            AllowPrivate::Networks(list) => Self::Public {
                except: list.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            },
        })
    }

    /// Refuses a host if any of its addresses is forbidden: a name that mixes public and private
    /// addresses is either broken or an attack.
    pub(super) fn vet(&self, addresses: &[IpAddr]) -> Result<(), Forbidden> {
        let Self::Public { except } = self else { return Ok(()) };
        let forbidden = |address: &IpAddr| {
            let address = address.to_canonical();
            !is_public(address) && !except.iter().any(|network| network.contains(address))
        };
        addresses.iter().copied().find(forbidden).map_or(Ok(()), |address| Err(Forbidden(address)))
    }
}

fn is_public(address: IpAddr) -> bool {
    let special: &[Network] = match address {
        IpAddr::V4(_) => &SPECIAL_V4,
        IpAddr::V6(_) if !GLOBAL_V6.contains(address) => return false,
        IpAddr::V6(_) => &SPECIAL_V6,
    };
    !special.iter().any(|network| network.contains(address))
}

/// An address that may not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a public address; webhook.allow_private can permit it")]
pub(super) struct Forbidden(pub(super) IpAddr);

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network: write 10.1.0.0/16, fd00::/8 or an address")]
pub struct BadNetwork(String);

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    base: IpAddr,
    prefix: u32,
}

impl Network {
    const fn v4([a, b, c, d]: [u8; 4], prefix: u32) -> Self {
        Self { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    const fn v6([a, b, c]: [u16; 3], prefix: u32) -> Self {
        Self { base: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), prefix }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    /// `base/prefix`, or one address.
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let text = text.trim();
        let bad = || BadNetwork(text.to_owned());
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| bad())?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) => digits.parse().ok().filter(|&p| p <= longest).ok_or_else(bad)?,
            None => longest,
        };
        Ok(Self { base, prefix })
    }
}
