//! The way to the relay.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::transport::dns::{Answer, Dns, Lookup, LookupError, system_lookup};
use crate::transport::{Deadline, dial};

/// Where the relay is. Its last good addresses are used while DNS is out of order.
pub(super) struct Resolver {
    host: String,
    port: u16,
    dns: Dns,
    good: Mutex<Option<Arc<[IpAddr]>>>,
}

impl Resolver {
    /// For `host`, a name or an address.
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self::with_lookup(host, port, system_lookup)
    }

    fn with_lookup(host: &str, port: u16, lookup: impl Lookup) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { host, port, dns: Dns::new(lookup), good: Mutex::default() }
    }

    /// Connects to the first address that answers.
    pub(super) fn connect(&self, deadline: Deadline) -> io::Result<TcpStream> {
        let addresses = self.addresses(deadline).map_err(|err| match err {
            LookupError::TimedOut => io::Error::new(io::ErrorKind::TimedOut, err.to_string()),
            err => io::Error::other(err.to_string()),
        })?;
        let port = self.port;
        let addresses: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let socket = dial::connect(&addresses, deadline)?;
        socket.set_nodelay(true)?;
        self.dns.worked(&self.host, socket.peer_addr()?.ip());
        Ok(socket)
    }

    fn addresses(&self, deadline: Deadline) -> Answer {
        let answer = self.dns.addresses(&self.host, deadline);
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(addresses) = &answer {
            *good = Some(Arc::clone(addresses));
        }
        answer.or_else(|err| good.clone().ok_or(err))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_good_addresses_are_used_while_dns_is_out_of_order() {
        let broken = Arc::new(AtomicBool::new(true));
        let is_broken = Arc::clone(&broken);
        let resolver = Resolver::with_lookup("relay.example.com", 25, move |_: &str| {
            if is_broken.load(Ordering::SeqCst) {
                Err(io::Error::other("no such name"))
            } else {
                Ok(vec![IpAddr::from([127, 0, 0, 1])])
            }
        });
        let ask = || resolver.addresses(Deadline::after(Duration::from_secs(20)));
        assert!(ask().is_err(), "there are none yet");
        broken.store(false, Ordering::SeqCst);
        resolver.dns.age(Duration::from_hours(2));
        let good = ask().unwrap();
        broken.store(true, Ordering::SeqCst);
        resolver.dns.age(Duration::from_hours(2));
        assert_eq!(ask().unwrap(), good);
    }

    #[test]
    fn an_address_may_stand_in_brackets() {
        for host in ["127.0.0.1", "::1", "[::1]"] {
            let resolver = Resolver::with_lookup(host, 25, |_: &str| panic!("it is an address"));
            assert!(resolver.addresses(Deadline::after(Duration::from_secs(20))).is_ok(), "{host}");
        }
    }
}
