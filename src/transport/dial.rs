//! Connects to the first address of a host that answers.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::transport::Deadline;

/// How long an address may take before the next one is tried (RFC 8305, 5).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Tries all addresses for a short time each; then those that have not refused again, for an equal
/// share of the time that is left. So one that is dead costs little, and one that is far away is found.
pub(super) fn connect(addresses: &[SocketAddr], limit: Deadline) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("the name has no address");
    let mut slow = Vec::new();
    let quick = if addresses.len() < 2 { &[] } else { addresses };
    for address in quick {
        match TcpStream::connect_timeout(address, left(limit)?.min(NEXT_AFTER)) {
            Ok(stream) => return Ok(stream),
            Err(err) if err.kind() == io::ErrorKind::TimedOut => slow.push(*address),
            Err(err) => failure = err,
        }
    }
    let again = if quick.is_empty() { addresses } else { &slow };
    for (idx, address) in again.iter().enumerate() {
        let shares = u32::try_from(again.len() - idx).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, left(limit)? / shares) {
            Ok(stream) => return Ok(stream),
            Err(err) => failure = err,
        }
    }
    Err(failure)
}

fn left(limit: Deadline) -> io::Result<Duration> {
    limit.remaining().ok_or_else(|| io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A listener whose queue is full, so that a connection to it takes for ever; and what fills it.
    fn dead() -> (Socket, Vec<Socket>, SocketAddr) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 8], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        };
        let filling = (0..3).map(fill).collect();
        (listener, filling, address.as_socket().unwrap())
    }

    fn alive() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.9:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_dead_address_costs_a_quarter_of_a_second() {
        let ((_dead, _filling, first), (_alive, second)) = (dead(), alive());
        let began = Instant::now();
        let stream = connect(&[first, second], Deadline::after(LONG)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), second);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn the_limit_holds_for_all_addresses_together() {
        let (_dead, _filling, address) = dead();
        for addresses in [&[address] as &[_], &[address; 4]] {
            let began = Instant::now();
            let err = connect(addresses, Deadline::after(Duration::from_millis(600))).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
        }
    }

    #[test]
    fn addresses_that_refuse_are_passed_over_and_not_asked_again() {
        let (listener, gone) = alive();
        drop(listener);
        let (_alive, second) = alive();
        assert!(connect(&[gone, second], Deadline::after(LONG)).is_ok());
        let err = connect(&[gone, gone], Deadline::after(LONG)).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect(&[], Deadline::after(LONG)).is_err());
    }
}
