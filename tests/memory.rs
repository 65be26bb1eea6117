//! How much memory a delivery takes at its height, against peers that would fill it: under 1 MiB.
//!
//! Counts what the delivering thread allocates, which is where all of a delivery happens.

#![allow(clippy::unwrap_used)] // a test

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use postrider::config::{AllowPrivate, BrandingConfig, SmtpConfig, SmtpTls, WebhookConfig};
use postrider::message::{MailFields, MessageId, Prepared, Recipient};
use postrider::transport::smtp::Smtp;
use postrider::transport::webhook::Webhook;
use postrider::transport::{Deadline, Transport};
use serde_json::json;
use uuid::Uuid;

const MEMORY_MAX: isize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(2);
/// One to make what stays, one to measure.
const DELIVERIES: usize = 2;
const GREETING: &str = "220 relay.example.com\r\n";

thread_local! {
    /// Octets in use by this thread, and the most there were.
    static USE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(octets: isize) {
    // A thread that is ending has no counter any more.
    let _ = USE.try_with(|cell| {
        let (now, most) = cell.get();
        cell.set((now + octets, most.max(now + octets)));
    });
}

// SAFETY: hands everything to the system's allocator, and counts beside it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most memory that a second delivery takes; the first one makes what stays.
fn height(transport: &dyn Transport, message: &Prepared) -> isize {
    let deliver = || transport.deliver(message, Deadline::after(LIMIT));
    let _ = deliver();
    let before = USE.get().0;
    USE.set((before, before));
    let _ = deliver();
    USE.get().1 - before
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
