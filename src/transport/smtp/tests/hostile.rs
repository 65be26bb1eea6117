//! Peers that do not play by the rules: whatever they do, and whenever, a delivery ends by
//! its deadline.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use super::*;

const LIMIT: Duration = Duration::from_millis(300);

/// What a relay may do in place of an answer.
pub(super) const ACTS: [&str; 7] = [
    "<silence>",
    "<drip>",
    "<flood>",
    "<close>",
    "<half-close>",
    "\u{0}\u{ff}garbage",
    "250-begun but not ended",
];

fn check(relay: &[Line; 6], command: &'static str, act: &'static str, verdict: &str) {
    let what = format!("{command} {act}");
    let failure = in_time(LIMIT, &what, || {
        let peer = Peer::play(&up_to(relay, command, act));
        let transport = smtp(&config(peer.port()));
        let failure = transport.deliver(&sample(), Deadline::after(LIMIT)).unwrap_err();
        assert!(transport.pool_is_empty(), "{what}");
        failure
    });
    assert_eq!(kind(&failure), verdict, "{what}: {failure}");
    if command == "." {
        assert_eq!(failure.code, "uncertain", "{act}");
    }
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
    let transport = smtp(&config(1));
    let mut mail =
        Mail::render(&sample(), &transport.branding, &transport.relay.sender, None).unwrap();
    // More than the buffers of both sockets hold.
    mail.data = vec![b'x'; 32 << 20];
    let failure = in_time(LIMIT, "body", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let transport = smtp(&config(listener.local_addr().unwrap().port()));
        thread::scope(|scope| {
            let send = || transport.send(&mail, Deadline::after(LIMIT)).unwrap_err();
            let delivery = scope.spawn(send);
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n").unwrap();
            delivery.join().unwrap()
        })
    });
    assert_eq!(failure, Failure::temporary("timeout", "message body: timed out").of_destination());
}

#[test]
fn many_deliveries_at_a_time_have_a_connection_each() {
    const MANY: usize = 100;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let transport = smtp(&config(listener.local_addr().unwrap().port()));
    thread::scope(|scope| {
        let deliver = || transport.deliver(&sample(), Deadline::after(LONG)).unwrap_err();
        let deliveries: Vec<_> = (0..MANY).map(|_| scope.spawn(deliver)).collect();
        let sockets: Vec<_> = (0..MANY).map(|_| listener.accept().unwrap()).collect();
        drop(sockets);
        for delivery in deliveries {
            assert_eq!(delivery.join().unwrap().code, "relay_unavailable");
        }
    });
}

#[test]
fn a_mail_whose_time_is_over_once_it_is_built_costs_an_attempt_and_says_so() {
    let failure = smtp(&config(1)).deliver(&sample(), Deadline::after(Duration::ZERO)).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("temporary", "timeout"));
}
