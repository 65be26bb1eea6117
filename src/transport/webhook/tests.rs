//! Settings, and the guard at the moment of dialling.

use std::io::Write;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::config::AllowPrivate;
use crate::config::Secret;
use crate::endpoint::{EndpointSettings, Format};
use crate::message::{MailFields, MessageId, Recipient};
use crate::outcome::{Health, Verdict};
use crate::sink::http::{Reply, WebhookSink};

fn message(endpoint: Option<String>) -> Prepared {
    Prepared {
        id: MessageId(Uuid::from_u128(1)),
        notification_id: Uuid::from_u128(2),
        template_id: Uuid::from_u128(3),
        template_name: "welcome".into(),
        attempt: 1,
        recipient: Recipient { id: "u1".into(), ..Recipient::default() },
        endpoint,
        endpoint_settings: None,
        title: "Title".into(),
        body: "Body".into(),
        actions: Vec::new(),
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: json!({"_version": "1.2"}).into(),
        created_at: SystemTime::UNIX_EPOCH,
    }
}

fn deliver(webhook: &Webhook, endpoint: &str) -> Result<Receipt, Failure> {
    webhook.deliver(&message(Some(endpoint.into())), Deadline::after(Duration::from_secs(5)))
}

/// A transport whose resolver gives one answer after the other, the last one for ever, and a
/// listener on loopback that must see nobody.
fn guarded<const N: usize, const M: usize>(
    allow_private: AllowPrivate,
    answers: [[&'static str; N]; M],
) -> (Webhook, TcpListener, u16) {
    let asked = AtomicUsize::new(0);
    let config = WebhookConfig { allow_private, ..WebhookConfig::default() };
    let webhook = Webhook::with_lookup(&config, move |_: &str| {
        let turn = asked.fetch_add(1, SeqCst).min(M - 1);
        Ok(answers[turn].iter().map(|text| text.parse().unwrap()).collect())
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (webhook.unwrap(), listener, port)
}

/// The next connection, within ten seconds.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let deadline = Deadline::after(Duration::from_secs(10));
    while deadline.remaining().is_some() {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            return stream;
        }
        thread::yield_now();
    }
    panic!("nobody connected");
}

fn refused(failure: &Failure, verdict: &Verdict) {
    assert_eq!((failure.code.as_str(), &failure.verdict), ("blocked_address", verdict));
}

/// Of a name, which may lead elsewhere tomorrow.
const LATER: Verdict = Verdict::Temporary { retry_after: None };

#[test]
fn c25_a_forbidden_address_is_not_dialled_however_it_is_spelled() {
    let (webhook, listener, port) = guarded(AllowPrivate::No, [["127.0.0.1"]]);
    let hosts = ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0.0.0.0"];
    let more = ["[::1]", "[::ffff:127.0.0.1]", "[::]", "169.254.169.254", "[fd00:ec2::254]"];
    let names = ["localhost.", "localhost", "127.0.0.1.nip.example"];
    let try_all = |hosts: &[&str], verdict| {
        for host in hosts {
            refused(&deliver(&webhook, &format!("http://{host}:{port}/")).unwrap_err(), &verdict);
        }
    };
    try_all(&hosts, Verdict::Permanent);
    try_all(&more, Verdict::Permanent);
    try_all(&names, LATER);
    assert!(listener.accept().is_err());
}

#[test]
fn c25_a_name_with_one_forbidden_address_is_refused() {
    for answers in [[["203.0.113.5", "::1"]], [["8.8.8.8", "127.0.0.1"]]] {
        let (webhook, listener, port) = guarded(AllowPrivate::No, answers);
        refused(
            &deliver(&webhook, &format!("http://two.example.com:{port}/")).unwrap_err(),
            &LATER,
        );
        assert!(listener.accept().is_err());
    }
}

#[test]
fn a_url_that_cannot_be_requested_has_no_destination_and_spellings_of_one_host_share_it() {
    let webhook = Webhook::new(&WebhookConfig::default()).unwrap();
    let long = format!("http://example.com/{}", "a".repeat(4 << 20));
    for bad in [&long, "", "example.com", "http://user@example.com/", "http://exam ple.com/"] {
        assert_eq!(webhook.destination(Some(bad)), None);
    }
    for host in ["http://127.0.0.1:8080/a", "http://127.1:8080/b?c", "HTTP://2130706433:8080#d"] {
        assert_eq!(webhook.destination(Some(host)).as_deref(), Some("http://127.0.0.1:8080"));
    }
}

#[test]
fn c26_a_name_that_changes_its_address_is_dialled_where_it_was_vetted() {
    let allow = AllowPrivate::Networks(vec!["127.0.0.2".into()]);
    let (webhook, listener, port) = guarded(allow, [["127.0.0.2"], ["127.0.0.1"]]);
    let url = format!("http://rebind.example.com:{port}/");
    let pinned = TcpListener::bind(("127.0.0.2", port)).unwrap();
    thread::scope(|scope| {
        let delivery = scope.spawn(|| deliver(&webhook, &url));
        let mut stream = accept(&pinned);
        let mut head = [0; 64];
        stream.read_exact(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 204 \r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(delivery.join().unwrap().unwrap().code.unwrap(), "204");
    });
    // The next connection asks again, once the answer has aged, and is refused.
    webhook.reach.dns.age(Duration::from_mins(1));
    refused(&deliver(&webhook, &url).unwrap_err(), &LATER);
    assert!(listener.accept().is_err());
}

#[test]
fn c50_a_proxy_is_not_asked_for_a_forbidden_address() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://u:m4rk3r@{}", proxy.local_addr().unwrap());
    let config = WebhookConfig { proxy: Some(Secret::new(url)), ..WebhookConfig::default() };
    let webhook =
        Webhook::with_lookup(&config, |_: &str| Ok(vec![IpAddr::from([10, 0, 0, 1])])).unwrap();
    for (host, verdict) in [
        ("127.0.0.1", Verdict::Permanent),
        ("internal.example.com", LATER),
        ("10.1.2.3", Verdict::Permanent),
    ] {
        refused(&deliver(&webhook, &format!("http://{host}/")).unwrap_err(), &verdict);
    }
    assert!(proxy.accept().is_err());
    assert!(!format!("{webhook:?}").contains("m4rk3r"));
}

#[test]
fn a_proxy_whose_name_is_unknown_is_our_own_trouble() {
    let config = WebhookConfig {
        proxy: Some(Secret::new("http://u:m4rk3r@proxy.example.com:3128")),
        allow_private: AllowPrivate::All,
        ..WebhookConfig::default()
    };
    let webhook = Webhook::with_lookup(&config, |_: &str| Err(io::Error::other("no such host")));
    let failure = deliver(&webhook.unwrap(), "https://hooks.example.com/").unwrap_err();
    assert_eq!(failure.verdict, Verdict::Blocked { retry_after: None });
    assert_eq!(failure.reason, "cannot resolve the host of webhook.proxy: no such host");
}

#[test]
fn a_name_without_address_may_have_one_later() {
    let webhook = Webhook::with_lookup(&WebhookConfig::default(), |_: &str| {
        Err(io::Error::other("failed to lookup address information"))
    });
    let failure = deliver(&webhook.unwrap(), "https://gone.example.com/m4rk3r").unwrap_err();
    assert_eq!(failure.verdict, Verdict::Temporary { retry_after: None });
    assert_eq!(failure.code, "dns");
    assert_eq!(failure.reason, "https://gone.example.com: failed to lookup address information");
}

#[test]
fn a_message_without_endpoint_waits_for_the_setting() {
    let webhook = Webhook::new(&WebhookConfig::default()).unwrap();
    let failure = webhook.deliver(&message(None), Deadline::after(Duration::from_secs(1)));
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, "endpoint_missing");
    assert_eq!(failure.verdict, Verdict::Blocked { retry_after: None });
}

#[test]
fn c28_a_bad_url_fails_for_good_and_is_not_shown() {
    let webhook = Webhook::new(&WebhookConfig::default()).unwrap();
    let urls = ["ftp://h/m4rk3r", "http://u:m4rk3r@h/", "http://h/m4rk3r m4rk3r", "m4rk3r", ""];
    for url in urls {
        let failure = deliver(&webhook, url).unwrap_err();
        assert_eq!((failure.code.as_str(), &failure.verdict), ("bad_url", &Verdict::Permanent));
        assert!(!failure.reason.contains("m4rk3r"), "{}", failure.reason);
    }
}

#[test]
fn what_fails_before_the_far_end_is_reached_tells_nothing_of_it() {
    let webhook = Webhook::new(&WebhookConfig::default()).unwrap();
    let told = |message| {
        let failure = webhook.deliver(&message, Deadline::after(Duration::from_secs(5)));
        failure.unwrap_err().destination
    };
    let bad_template = EndpointSettings {
        format: Format::Template,
        template: Some("{{#if}}".into()),
        ..EndpointSettings::new("broken", "http://example.com/")
    };
    let bad_header = EndpointSettings {
        headers: [("host".to_owned(), "example.com".to_owned())].into(),
        ..EndpointSettings::new("forged", "http://example.com/")
    };
    for settings in [bad_template, bad_header] {
        let endpoint_settings = Some(Arc::new(settings));
        assert_eq!(told(Prepared { endpoint_settings, ..message(None) }), Health::Unknown);
    }
    for url in ["http://127.0.0.1:9/", "ftp://example.com/"] {
        assert_eq!(told(message(Some(url.into()))), Health::Unknown, "{url}");
    }
}

#[test]
fn a_passed_deadline_is_a_timeout_before_anything_is_sent() {
    let config = WebhookConfig { allow_private: AllowPrivate::All, ..WebhookConfig::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhook = Webhook::new(&config).unwrap();
    let failure = webhook.deliver(&message(Some(url)), Deadline::after(Duration::ZERO));
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, "timeout");
    assert!(failure.reason.contains("did not arrive"), "{}", failure.reason);
    assert!(listener.accept().is_err());
}

#[test]
fn c28_each_setting_that_cannot_be_used_is_named_and_not_shown() {
    let secret = |text: &str| Some(Secret::new(text));
    let path = std::env::temp_dir().join(format!("postrider-no-ca-{}.pem", std::process::id()));
    std::fs::write(&path, "m4rk3r").unwrap();
    let cases = [
        (
            "webhook.endpoint",
            WebhookConfig { endpoint: Some("ftp://h/m4rk3r".into()), ..WebhookConfig::default() },
        ),
        ("webhook.secret", WebhookConfig { secret: secret("m4rk3r"), ..WebhookConfig::default() }),
        ("webhook.secret", WebhookConfig { secret: secret(""), ..WebhookConfig::default() }),
        (
            "webhook.proxy",
            WebhookConfig {
                proxy: secret("socks5://u:m4rk3r@127.0.0.1"),
                ..WebhookConfig::default()
            },
        ),
        (
            "webhook.proxy",
            WebhookConfig { proxy: secret("not a url m4rk3r"), ..WebhookConfig::default() },
        ),
        (
            "webhook.allow_private: `10.0.0.0/99`",
            WebhookConfig {
                allow_private: AllowPrivate::Networks(vec!["10.0.0.0/99".into()]),
                ..WebhookConfig::default()
            },
        ),
        (
            "webhook.ca_file: /no/such/file: cannot be read",
            WebhookConfig { ca_file: Some("/no/such/file".into()), ..WebhookConfig::default() },
        ),
        (
            "webhook.ca_file",
            WebhookConfig { ca_file: Some(path.clone()), ..WebhookConfig::default() },
        ),
    ];
    for (setting, config) in cases {
        let error = Webhook::new(&config).unwrap_err().to_string();
        assert!(error.starts_with(setting), "{error}");
        assert!(!error.contains("m4rk3r"), "{error}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn connections_of_a_burst_are_closed_while_a_trickle_goes_on() {
    const BURST: usize = 64;
    let limit = Duration::from_secs(10);
    let (arrived, all_there) = (Mutex::new(0), Condvar::new());
    // No request of the burst is answered before all are there, so each has a connection.
    let sink = WebhookSink::start(move |request| {
        if request.path == "/burst" {
            let mut arrived = arrived.lock().unwrap();
            *arrived += 1;
            all_there.notify_all();
            drop(all_there.wait_timeout_while(arrived, limit, |arrived| *arrived < BURST));
        }
        Reply::status(204)
    });
    let (sink, config) = (sink.unwrap(), WebhookConfig::default());
    let mut webhook =
        Webhook::new(&WebhookConfig { allow_private: AllowPrivate::All, ..config }).unwrap();
    let parts = agent::Parts::new(Arc::clone(&webhook.reach), None, Trace::default());
    let parts = agent::Parts { idle_age: Duration::from_millis(200), ..parts };
    webhook.clients = Clients::new(parts, rustls::RootCertStore::empty(), None);

    thread::scope(|scope| {
        for _ in 0..BURST {
            scope.spawn(|| deliver(&webhook, &sink.url("/burst")).unwrap());
        }
    });
    let deadline = Deadline::after(limit);
    while BURST / 4 < sink.connections() {
        assert!(deadline.remaining().is_some(), "{} connections are open", sink.connections());
        deliver(&webhook, &sink.url("/trickle")).unwrap();
    }
}
