//! Peers that do not play by the rules: whatever they do, and whenever, a delivery ends by
//! its deadline.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use super::*;

const LIMIT: Duration = Duration::from_millis(300);
/// What may pass between a deadline and the return, on a busy machine.
const SLACK: Duration = Duration::from_millis(250);

const ACTS: [&str; 7] = [
    "<silence>",
    "<drip>",
    "<flood>",
    "<close>",
    "<half-close>",
    "\u{0}\u{ff}garbage",
    "250-begun but not ended",
];

fn check(relay: &[Line; 6], command: &'static str, act: &'static str, verdict: &str) {
    let peer = Peer::play(&up_to(relay, command, act));
    let transport = smtp(&config(peer.port()));
    let begun = Instant::now();
    let failure = transport.deliver(&sample(), Deadline::after(LIMIT)).unwrap_err();
    let took = begun.elapsed();
    assert!(took < LIMIT + SLACK, "{command} {act}: {took:?}");
    assert_eq!(kind(&failure), verdict, "{command} {act}: {failure}");
    if command == "." {
        assert_eq!(failure.code, "uncertain", "{act}");
    }
    assert!(transport.pool_is_empty(), "{command} {act}");
}

#[test]
fn no_peer_holds_a_delivery_beyond_its_deadline_at_any_phase() {
    thread::scope(|scope| {
        for (command, verdict) in [
            ("", "blocked"),
            ("EHLO", "blocked"),
            ("MAIL", "temporary"),
            ("RCPT", "temporary"),
            ("DATA", "temporary"),
            (".", "temporary"),
        ] {
            scope.spawn(move || {
                for act in ACTS {
                    check(&PLAIN_RELAY, command, act, verdict);
                    check(&PIPELINING_RELAY, command, act, verdict);
                }
            });
        }
    });
}

#[test]
fn a_relay_that_does_not_read_holds_a_delivery_no_longer_either() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let transport = smtp(&config(listener.local_addr().unwrap().port()));
    let mut mail =
        Mail::render(&sample(), &transport.branding, &transport.relay.from, None).unwrap();
    // More than the buffers of both sockets hold.
    mail.data = vec![b'x'; 32 << 20];
    let begun = Instant::now();
    let failure = thread::scope(|scope| {
        let delivery = scope.spawn(|| transport.send(&mail, Deadline::after(LIMIT)).unwrap_err());
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n").unwrap();
        delivery.join().unwrap()
    });
    assert!(begun.elapsed() < LIMIT + SLACK);
    assert_eq!(failure, Failure::temporary("timeout", "message body: timed out").of_destination());
}

#[test]
fn deliveries_wait_for_a_connection_no_longer_than_their_deadline() {
    let peer = Peer::play(&up_to(&PLAIN_RELAY, "", "<silence>"));
    let transport = smtp(&config(peer.port())).with_connections_max(1);
    thread::scope(|scope| {
        let failures: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let begun = Instant::now();
                    let failure = transport.deliver(&sample(), Deadline::after(LIMIT)).unwrap_err();
                    assert!(begun.elapsed() < LIMIT + SLACK);
                    failure.code
                })
            })
            .collect();
        let mut codes: Vec<_> = failures.into_iter().map(|it| it.join().unwrap()).collect();
        codes.sort();
        assert!(codes.contains(&"relay_busy".to_owned()), "{codes:?}");
        assert!(codes.contains(&"relay_unavailable".to_owned()), "{codes:?}");
    });
}
