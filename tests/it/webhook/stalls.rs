//! Peers that try to hold a delivery thread: each must let go by the deadline.

use std::iter;
use std::net::Shutdown;

use postrider::config::Secret;
use postrider::sink::http::{Reply, Response, WebhookSink};

use super::*;
use crate::webhook::peer::{Line, Peer};

const LIMIT: Duration = Duration::from_millis(800);
const PAUSE: Duration = Duration::from_millis(100);

/// Delivers to a peer that follows a script, within [`LIMIT`].
fn against(script: impl FnMut(&mut Line<'_>) + Send + 'static) -> Result<Receipt, Failure> {
    let peer = Peer::start(script);
    deliver_within(&webhook(), &peer.url("/m4rk3r"), LIMIT)
}

fn timed_out(result: Result<Receipt, Failure>, hint: &str) {
    let failure = result.unwrap_err();
    assert_eq!((failure.code.as_str(), &failure.verdict), ("timeout", &RETRY), "{failure}");
    assert!(failure.reason.contains(hint), "{failure}");
    assert!(!failure.reason.contains("m4rk3r"), "{failure}");
}

#[test]
fn silence_ends_by_the_deadline() {
    let sink = WebhookSink::start(|_| Reply::Silent).unwrap();
    timed_out(deliver_within(&webhook(), &sink.url("/m4rk3r"), LIMIT), "may have arrived");
    timed_out(against(|line| while !line.ends_within(PAUSE) {}), "may have arrived");
}

#[test]
fn a_dripping_head_ends_by_the_deadline() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
    timed_out(
        against(move |line| {
            line.request();
            line.drip(head, PAUSE);
        }),
        "may have arrived",
    );
    let sink = WebhookSink::start(|_| Reply::Drip(Response::new(200))).unwrap();
    timed_out(deliver_within(&webhook(), &sink.url("/m4rk3r"), LIMIT), "may have arrived");
}

#[test]
fn a_receiver_that_does_not_take_the_body_ends_by_the_deadline() {
    let peer = Peer::start(|line| {
        socket2::SockRef::from(line.stream()).set_recv_buffer_size(2048).unwrap();
        while !line.ends_within(PAUSE) {}
    });
    // More than the sockets hold, and time enough to make it, also where that is slow.
    let limit = Duration::from_secs(3);
    let payload = json!({"data": "x".repeat(6 << 20)}).into();
    let message = Prepared { payload, ..message(peer.url("/m4rk3r")) };
    timed_out(deliver_message(&webhook(), &message, limit), "did not arrive");
}

#[test]
fn a_tls_handshake_that_stalls_or_drips_ends_by_the_deadline() {
    let https = |script: fn(&mut Line<'_>)| {
        let peer = Peer::start(script);
        let url = peer.url("/m4rk3r").replace("http:", "https:");
        timed_out(deliver_within(&webhook(), &url, LIMIT), "did not arrive");
    };
    https(|line| while !line.ends_within(PAUSE) {});
    https(|line| {
        // A handshake record of 4 KiB, octet by octet.
        line.drip([[22, 3, 3, 16, 0].as_slice(), &[2; 4096]].concat(), PAUSE);
    });
}

type Act = fn(&mut Line<'_>);

/// What a peer may do at any point.
const ACTS: [(&str, Act); 6] = [
    ("silence", |line| line.hold()),
    ("drip", |line| while line.drip("2", PAUSE) {}),
    ("flood", |line| while line.send([b'2'; 8192]) {}),
    ("half-close", |line| {
        line.stream().shutdown(Shutdown::Write).unwrap();
        line.hold();
    }),
    ("garbage", |line| {
        line.send(b"\0\xff garbage\r\n\r\n");
        line.hold();
    }),
    ("close", |_| ()),
];

#[test]
fn no_peer_holds_a_delivery_beyond_its_deadline_at_any_point() {
    let points: [(&str, &str, &[&str]); 6] = [
        ("connection", "http", &[]),
        ("handshake", "https", &[]),
        ("status", "http", &[""]),
        ("head", "http", &["HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 No\r\nx: "]),
        ("body", "http", &["HTTP/1.1 503 No\r\ncontent-length: 9000000\r\n\r\n"]),
        ("chunks", "http", &["HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n"]),
    ];
    std::thread::scope(|scope| {
        for (point, scheme, said) in points {
            scope.spawn(move || {
                for (kind, act) in ACTS {
                    let peer = Peer::start(move |line| {
                        for text in said {
                            line.request();
                            line.send(text);
                        }
                        act(line);
                    });
                    let url = peer.url("/m4rk3r").replace("http:", &format!("{scheme}:"));
                    let failure = deliver_within(&webhook(), &url, LIMIT).unwrap_err();
                    assert_eq!(failure.verdict, RETRY, "{kind} at {point}: {failure}");
                    assert!(!failure.reason.contains("m4rk3r"), "{kind} at {point}: {failure}");
                }
            });
        }
    });
}

#[test]
fn no_proxy_holds_a_delivery_beyond_its_deadline() {
    for (kind, act) in ACTS {
        let peer = Peer::start(act);
        let proxy = Some(Secret::new(peer.url("")));
        let webhook = Webhook::new(&WebhookConfig { proxy, ..config() }).unwrap();
        let url = "https://hooks.example.com/m4rk3r";
        let failure = deliver_within(&webhook, url, LIMIT).unwrap_err();
        assert_ne!(failure.verdict, Verdict::Permanent, "{kind}: {failure}");
        assert!(!failure.reason.contains("m4rk3r"), "{kind}: {failure}");
    }
}

#[test]
fn c41_a_200_is_sent_soon_though_its_body_never_ends() {
    let endless: [fn(&mut Line<'_>); 2] = [
        |line| {
            line.send("HTTP/1.1 200 OK\r\n\r\n");
            line.hold();
        },
        |line| {
            line.send("HTTP/1.1 200 OK\r\n\r\n");
            while line.drip("x", PAUSE) {}
        },
    ];
    for script in endless {
        let start = Instant::now();
        let peer = Peer::start(move |line| {
            line.request();
            script(line);
        });
        deliver_within(&webhook(), &peer.url("/"), Duration::from_secs(10)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[test]
fn c41_of_a_body_without_end_only_the_beginning_is_read() {
    let endless: [fn(&mut Line<'_>) -> usize; 3] = [
        |line| {
            line.send("HTTP/1.1 200 OK\r\n\r\n");
            iter::repeat_with(|| line.send([b'x'; 8192])).take_while(|sent| *sent).count()
        },
        |line| {
            line.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let chunk = format!("2000\r\n{}\r\n", "x".repeat(8192));
            iter::repeat_with(|| line.send(&chunk)).take_while(|sent| *sent).count()
        },
        |line| {
            // Not asked for, and so not unpacked: a bomb is what it is, some octets.
            line.send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n");
            iter::repeat_with(|| line.send([0x1f; 8192])).take_while(|sent| *sent).count()
        },
    ];
    for script in endless {
        let sent = Log::default();
        let record = Arc::clone(&sent);
        let peer = Peer::start(move |line| {
            line.request();
            record.lock().unwrap().push(script(line) * 8192);
        });
        deliver_within(&webhook(), &peer.url("/"), Duration::from_secs(10)).unwrap();
        peer.connections();
        // What the sockets hold, and a little more.
        assert!(sent.lock().unwrap()[0] < 16 << 20, "{sent:?}");
    }
}

#[test]
fn an_endless_explanation_of_a_failure_is_cut() {
    let start = Instant::now();
    let failure = deliver_within(
        &webhook(),
        &Peer::start(|line| {
            line.request();
            line.send("HTTP/1.1 500 No\r\n\r\nbroken ");
            while line.drip("x", PAUSE) {}
        })
        .url("/"),
        Duration::from_secs(10),
    )
    .unwrap_err();
    assert!(failure.reason.contains("broken x"), "{failure}");
    assert!(start.elapsed() < Duration::from_secs(2));
}
