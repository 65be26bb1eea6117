//! What does a mail cost beside the network: its text, its signature, and the session?
//!
//! One connection, reused, to the sink on loopback. A delivery is everything from the prepared
//! message to the relay's last reply: the mail alone shows how much of it is rendering, the rest is the
//! session; and the bare exchange, the same octets and replies without any thought, what the network costs.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use postrider::config::{BrandingConfig, DkimConfig, SmtpConfig, SmtpTls};
use postrider::message::{Action, MailFields, MessageId, Prepared, Recipient};
use postrider::sink::smtp::{SmtpSink, SmtpSinkOptions};
use postrider::transport::smtp::{Smtp, seams};
use postrider::transport::{Deadline, Transport};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use uuid::Uuid;

const SENDER: &str = "notify@example.com";
const LIMIT: Duration = Duration::from_secs(20);
const PARAGRAPH: &str =
    "The workspace **analytical-engine** was deleted, since nobody used it.\n\n";
/// Paragraphs of the body.
const SIZES: [usize; 2] = [4, 400];

fn message(paragraphs: usize) -> Prepared {
    Prepared {
        id: MessageId(Uuid::now_v7()),
        notification_id: Uuid::now_v7(),
        template_id: Uuid::now_v7(),
        template_name: "Workspace deleted".into(),
        attempt: 1,
        recipient: Recipient {
            id: "1".into(),
            email: Some("ada@example.com".into()),
            name: Some("Ada Lovelace".into()),
            username: None,
        },
        endpoint: None,
        endpoint_settings: None,
        title: "Workspace **analytical-engine** deleted".into(),
        body: PARAGRAPH.repeat(paragraphs),
        actions: vec![Action { label: "Open".into(), url: "https://example.com/w".into() }],
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: serde_json::Value::Null.into(),
        created_at: SystemTime::now(),
    }
}

/// An Ed25519 key in a file that is gone at the end.
struct KeyFile(PathBuf);

impl KeyFile {
    fn ed25519() -> Self {
        let path = std::env::temp_dir().join(format!("postrider-bench-{}.pem", Uuid::new_v4()));
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
        let text = STANDARD.encode(key.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        fs::write(&path, pem).expect("the temporary directory takes files");
        Self(path)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // Nothing to do about one that stays.
    }
}

/// A transport to the sink; with a key, one that signs.
fn transport(sink: &SmtpSink, key_file: Option<PathBuf>) -> Smtp {
    let signs = key_file.is_some();
    let config = SmtpConfig {
        host: Some("127.0.0.1".into()),
        port: sink.addr().port(),
        tls: Some(SmtpTls::None),
        from: Some(SENDER.into()),
        dkim: DkimConfig {
            domain: signs.then(|| "example.com".into()),
            selector: signs.then(|| "s1".into()),
            key_file,
        },
        ..SmtpConfig::default()
    };
    Smtp::new(&config, &BrandingConfig::default()).expect("good settings")
}

/// A connection that has said EHLO.
struct Exchange {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Exchange {
    fn open(sink: &SmtpSink) -> Self {
        let stream = TcpStream::connect(sink.addr()).expect("the sink listens");
        stream.set_nodelay(true).expect("a socket");
        let mut exchange = Self { stream: BufReader::new(stream), line: String::new() };
        exchange.reply();
        exchange.send(b"EHLO client.example.com\r\n", 1);
        exchange
    }

    fn send(&mut self, octets: &[u8], replies: usize) {
        self.stream.get_mut().write_all(octets).expect("the sink reads");
        (0..replies).for_each(|_| self.reply());
    }

    /// Reads up to the last line of a reply (RFC 5321, 4.2.1).
    fn reply(&mut self) {
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line).expect("the sink answers");
            if self.line.as_bytes().get(3) == Some(&b' ') {
                return;
            }
        }
    }

    fn mail(&mut self, data: &[u8]) {
        self.send(
            b"RSET\r\nMAIL FROM:<notify@example.com>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n",
            4,
        );
        self.send(data, 1);
    }
}

fn smtp(criterion: &mut Criterion) {
    let sink = SmtpSink::start(SmtpSinkOptions::default()).expect("the sink starts");
    let rsa = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/dkim-rsa.pem");
    let ed25519 = KeyFile::ed25519();
    let transports = [
        ("unsigned", transport(&sink, None)),
        ("ed25519", transport(&sink, Some(ed25519.0.clone()))),
        ("rsa 2048", transport(&sink, Some(rsa))),
    ];
    for paragraphs in SIZES {
        let message = message(paragraphs);
        let mut group = criterion.benchmark_group(format!("{} octets", message.body.len()));
        group.throughput(Throughput::Elements(1)).sample_size(20);
        let mail = || seams::mail(&message, SENDER).expect("two good addresses");
        group.bench_function("mail alone", |bencher| bencher.iter(|| black_box(mail())));
        let (mut exchange, data) = (Exchange::open(&sink), mail());
        group.bench_function("bare exchange", |bencher| {
            bencher.iter(|| exchange.mail(&data));
        });
        for (name, transport) in &transports {
            group.bench_function(BenchmarkId::new("delivery", name), |bencher| {
                bencher.iter(|| transport.deliver(&message, Deadline::after(LIMIT)).expect("sent"));
            });
        }
    }
}

criterion_group!(benches, smtp);
criterion_main!(benches);
