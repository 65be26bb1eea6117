//! Good messages: enqueued at a steady pace, and what became of each.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use postgres::{Client, NoTls};
use postrider::enqueue::{Enqueued, Notification, enqueue};
use postrider::message::Recipient;
use postrider::sink::http::{Reply, WebhookSink};
use postrider::sink::smtp::{Mail, SinkReply, SmtpSink, SmtpSinkOptions};
use uuid::Uuid;

use crate::ground::GOOD;

const METHODS: [&str; 3] = ["smtp", "webhook", "inbox"];

/// When each message arrived, as often as it did.
type Arrived = Arc<Mutex<HashMap<Uuid, Vec<Instant>>>>;

/// The far ends of good messages. Mails to others meet all kinds of answers.
pub(crate) struct Sinks {
    pub(crate) smtp: SmtpSink,
    webhook: WebhookSink,
    arrived: Arrived,
}

impl Sinks {
    pub(crate) fn start() -> Self {
        let arrived = Arrived::default();
        let (by_mail, by_hook) = (Arc::clone(&arrived), Arc::clone(&arrived));
        let options = SmtpSinkOptions {
            recipient: Box::new(recipient),
            mail: Box::new(move |mail| {
                note(&by_mail, mail_id(mail));
                SinkReply::accept()
            }),
            ..SmtpSinkOptions::default()
        };
        let webhook = WebhookSink::start(move |request| {
            note(&by_hook, request.header("webhook-id").and_then(|it| it.parse().ok()));
            Reply::status(200)
        });
        Self { smtp: SmtpSink::start(options).unwrap(), webhook: webhook.unwrap(), arrived }
    }

    /// When a message arrived.
    pub(crate) fn arrivals(&self, id: Uuid) -> Vec<Instant> {
        self.arrived.lock().unwrap().get(&id).cloned().unwrap_or_default()
    }
}

fn note(arrived: &Arrived, id: Option<Uuid>) {
    if let Some(id) = id {
        arrived.lock().unwrap().entry(id).or_default().push(Instant::now());
    }
}

fn mail_id(mail: &Mail) -> Option<Uuid> {
    let text = String::from_utf8_lossy(&mail.raw);
    let line = text.lines().find_map(|line| line.strip_prefix("Message-ID: <"))?;
    line.split_once('@')?.0.parse().ok()
}

fn recipient(address: &str) -> SinkReply {
    if address.ends_with("@example.com") {
        return SinkReply::accept();
    }
    match address.len() % 5 {
        0 => SinkReply::new(550, "5.1.1 \u{202e}nobody"),
        1 => SinkReply::new(451, "4.2.0 later"),
        2 => SinkReply::new(552, "5.2.2 x".repeat(50)),
        _ => SinkReply::accept(),
    }
}

/// A good message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Good {
    pub(crate) id: Uuid,
    pub(crate) method: &'static str,
    /// When its enqueue had committed.
    pub(crate) committed: Instant,
}

/// A running producer.
pub(crate) struct Producer {
    stop: Sender<Infallible>,
    thread: JoinHandle<Vec<Good>>,
}

impl Producer {
    pub(crate) fn start(url: String, rate: u32, sinks: &Sinks) -> Self {
        let (stop, stopped) = bounded(0);
        let endpoint = sinks.webhook.url("good");
        let thread = thread::spawn(move || produce(&url, rate, &endpoint, &stopped));
        Self { stop, thread }
    }

    /// Ends it, and tells what there is.
    pub(crate) fn stop(self) -> Vec<Good> {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

fn produce(url: &str, rate: u32, endpoint: &str, stop: &Receiver<Infallible>) -> Vec<Good> {
    let mut client = Client::connect(url, NoTls).unwrap();
    let (mut goods, began) = (Vec::new(), Instant::now());
    loop {
        let number = u32::try_from(goods.len()).unwrap();
        let due = began + Duration::from_secs(1) * number / rate;
        let pause = due.saturating_duration_since(Instant::now());
        if stop.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return goods;
        }
        let method = METHODS[goods.len() % METHODS.len()];
        let notification = notification(number, method, endpoint);
        let enqueued = enqueue(&mut client, &notification).unwrap();
        let committed = Instant::now();
        let Enqueued::Enqueued { messages, .. } = enqueued else { panic!("{enqueued:?}") };
        goods.push(Good { id: messages[0].0.0, method, committed });
    }
}

fn notification(number: u32, method: &str, endpoint: &str) -> Notification {
    let recipient = Recipient {
        id: format!("good-{number}"),
        email: Some(format!("good-{number}@example.com")),
        name: Some("Ada".into()),
        username: None,
    };
    Notification {
        methods: vec![method.into()],
        endpoint: Some(endpoint.into()),
        ..Notification::new(GOOD, recipient).with_label("number", number)
    }
}
