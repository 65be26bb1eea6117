//! How much memory a delivery takes at its height: against peers that would fill it under 1 MiB,
//! and for a large payload little more than its text.
//!
//! Counts what the delivering thread allocates, which is where all of a delivery happens.

#![allow(clippy::unwrap_used)] // a test

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use postrider::config::{AllowPrivate, BrandingConfig, SmtpConfig, SmtpTls, WebhookConfig};
use postrider::message::{MailFields, MessageId, Prepared, Recipient};
use postrider::payload::Payload;
use postrider::render::{Context, TIME_MAX, Template, TemplateSource};
use postrider::transport::smtp::Smtp;
use postrider::transport::webhook::Webhook;
use postrider::transport::{Deadline, Transport};
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

#[path = "shared/counting.rs"]
mod counting;

use counting::Counting;

const MEMORY_MAX: isize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(2);
/// One to make what stays, one to measure.
const DELIVERIES: usize = 2;
const GREETING: &str = "220 relay.example.com\r\n";

thread_local! {
    /// Octets in use by this thread, and the most there were.
    static USE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

#[global_allocator]
static COUNTING: Counting = Counting(count);

fn count(octets: isize) {
    // A thread that is ending has no counter any more.
    let _ = USE.try_with(|cell| {
        let (now, most) = cell.get();
        cell.set((now + octets, most.max(now + octets)));
    });
}

/// The most memory that a second delivery takes; the first one makes what stays.
fn height(transport: &dyn Transport, message: &Prepared) -> isize {
    let deliver = || transport.deliver(message, Deadline::after(LIMIT));
    height_of(|| drop(deliver()))
}

/// The most memory that a second call takes.
fn height_of(call: impl Fn()) -> isize {
    call();
    let before = USE.get().0;
    USE.set((before, before));
    call();
    USE.get().1 - before
}

/// A document with this as its data.
fn document(data: &str) -> Payload {
    let text = format!(
        "{{\"data\": {data}, \"labels\": {{}}, \"actions\": [], \"user_id\": \"u\", \"_version\": \"1.2\"}}"
    );
    RawValue::from_string(text).unwrap().into()
}

/// A list of as many of these as fit into a mebibyte, and at most `count`.
fn list(item: &str, count: usize) -> String {
    let fit = ((1 << 20) - 256) / (item.len() + 2);
    format!("[{}]", vec![item; fit.min(count)].join(", "))
}

#[test]
fn a_large_payload_takes_twice_its_text_while_it_is_delivered() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let config = WebhookConfig { allow_private: AllowPrivate::All, ..WebhookConfig::default() };
    let webhook = Webhook::new(&config).unwrap();
    for data in
        [list("{\"a\": 0}", usize::MAX), list("0", usize::MAX), list("\"\\u0001\"", usize::MAX)]
    {
        let payload = document(&data);
        let size = payload.text().len().cast_signed();
        assert!(1_000_000 < size);
        let message = Prepared { payload, ..message(Some(url.clone())) };
        let sum = size + height(&webhook, &message);
        assert!(sum * 2 < (1 << 20) * 5, "{sum} bytes for {size}");
    }
}

#[test]
fn a_payload_takes_a_few_mebibytes_at_most_while_it_is_rendered() {
    let body = "{{#if data}}x{{/if}}".to_owned();
    let source = TemplateSource { title: "t".into(), body, ..TemplateSource::default() };
    let template = Template::compile(&source).unwrap();
    let branding = BrandingConfig::default();
    for (shape, data) in [
        ("small objects", list("{\"a\": 0}", 9_990)),
        ("objects of one long name", list(&format!("{{\"{}\": 0}}", "a".repeat(94)), 9_990)),
        ("numbers", list("0", 19_980)),
        ("long numbers", list(&"1".repeat(50), 19_980)),
        ("lists of one", list("[0]", 9_990)),
        ("escaped strings", list(&format!("\"{}\"", "\\n".repeat(25)), 19_980)),
        ("one string", format!("\"{}\"", "x".repeat(1 << 19).repeat(2).split_at(1_048_000).0)),
        ("one escaped string", format!("\"{}\"", "\\n".repeat(500_000))),
    ] {
        let payload = document(&data);
        let height = height_of(|| {
            let document = payload.read().unwrap();
            let context = Context { payload: &document, branding: &branding, year: 2026 };
            template.render(&context, Instant::now() + TIME_MAX).unwrap();
        });
        let size = payload.text().len().cast_signed();
        println!("{shape}: {size} bytes, {height} more to render");
        assert!(height < size + (2 << 20), "{shape}: {height} bytes for {size}");
    }
}

/// A peer that says its first lines, each after something was heard, and then floods. Ends with
/// its owner.
struct Flood {
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(first: &'static [&'static str], greets: bool, flood: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = thread::spawn(move || {
            for stream in listener.incoming().take(DELIVERIES) {
                // A client that hangs up is what is wanted.
                let _ = serve(stream.unwrap(), first, greets, flood);
            }
        });
        Self { port, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for _ in 0..DELIVERIES {
            let _ = TcpStream::connect(("127.0.0.1", self.port));
        }
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(mut stream: TcpStream, first: &[&str], greets: bool, flood: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    for (idx, line) in first.iter().enumerate() {
        if !greets || 0 < idx {
            let _ = stream.read(&mut [0; 16 << 10])?;
        }
        stream.write_all(line.as_bytes())?;
    }
    for _ in 0..4096 {
        stream.write_all(flood)?;
    }
    Ok(())
}

fn message(endpoint: Option<String>) -> Prepared {
    Prepared {
        id: MessageId(Uuid::now_v7()),
        notification_id: Uuid::now_v7(),
        template_id: Uuid::now_v7(),
        template_name: "welcome".into(),
        attempt: 1,
        recipient: Recipient {
            id: "bob".into(),
            email: Some("bob@example.com".into()),
            ..Recipient::default()
        },
        endpoint,
        endpoint_settings: None,
        title: "Hello".into(),
        body: "The **engine** was stopped.\n\n".repeat(100),
        actions: Vec::new(),
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: json!({"_version": "1.2", "labels": {"name": "x".repeat(4000)}}).into(),
        created_at: SystemTime::now(),
    }
}

#[test]
fn no_relay_makes_a_delivery_take_a_mebibyte() {
    let scripts: [&'static [&'static str]; 4] = [
        &[""],
        &[GREETING, "250-relay.example.com\r\n"],
        &[GREETING, "250 relay.example.com\r\n", "250-x "],
        &[GREETING, "250 a\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250-"],
    ];
    for script in scripts {
        for flood in [&[b'2'; 16 << 10][..], b"250-x\r\n250-y\r\n250-z\r\n", b"250 x\r\n"] {
            let peer = Flood::start(script, true, flood);
            let config = SmtpConfig {
                host: Some("127.0.0.1".into()),
                port: peer.port,
                tls: Some(SmtpTls::None),
                from: Some("notify@example.com".into()),
                ..SmtpConfig::default()
            };
            let smtp = Smtp::new(&config, &BrandingConfig::default()).unwrap();
            let height = height(&smtp, &message(None));
            assert!(height < MEMORY_MAX, "{script:?}: {height} octets");
        }
    }
}

#[test]
fn no_receiver_makes_a_delivery_take_a_mebibyte() {
    let config = WebhookConfig { allow_private: AllowPrivate::All, ..WebhookConfig::default() };
    let scripts: [&'static [&'static str]; 5] = [
        &[""],
        &["HTTP/1.1 200 OK\r\nx: "],
        &["HTTP/1.1 200 OK\r\n\r\n"],
        &["HTTP/1.1 503 No\r\ncontent-length: 900000000\r\n\r\n"],
        &["HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n"],
    ];
    for script in scripts {
        for flood in [&[b'2'; 16 << 10][..], b"x: y\r\nx: y\r\nx: y\r\nx: y\r\n"] {
            let peer = Flood::start(script, false, flood);
            let url = format!("http://127.0.0.1:{}/", peer.port);
            let webhook = Webhook::new(&config).unwrap();
            let height = height(&webhook, &message(Some(url)));
            assert!(height < MEMORY_MAX, "{script:?}: {height} octets");
        }
    }
}
