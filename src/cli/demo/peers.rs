//! The far ends of the demo: an SMTP sink and a webhook sink that write down what arrives.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use postrider::sink::http::{Reply, Request, Response, WebhookSink};
use postrider::sink::smtp::{Mail, SinkReply, SmtpSink, SmtpSinkOptions};

/// The one mailbox that does not exist.
const REFUSED: &str = "nobody@refused.example.com";
/// How often the flaky endpoint fails each message before it takes it.
const FLAKY_FAILURES: usize = 2;

pub(super) struct Peers {
    smtp: SmtpSink,
    http: WebhookSink,
}

impl Peers {
    /// Starts both on loopback; arrivals go to `mails/` and `webhooks/` in `dir`.
    pub(super) fn start(dir: &Path) -> io::Result<Self> {
        let (mails, requests) = (dir.join("mails"), dir.join("webhooks"));
        fs::create_dir_all(&mails)?;
        fs::create_dir_all(&requests)?;
        let count = AtomicUsize::new(0);
        let options = SmtpSinkOptions {
            recipient: Box::new(|address| match address {
                REFUSED => SinkReply::new(550, "5.1.1 no such mailbox here"),
                _ => SinkReply::accept(),
            }),
            mail: Box::new(move |mail| take_mail(&mails, &count, mail)),
            ..SmtpSinkOptions::default()
        };
        let failures = Mutex::new(HashMap::new());
        let count = AtomicUsize::new(0);
        let http = WebhookSink::start(move |request| {
            let reply = answer(&failures, request);
            if matches!(&reply, Reply::Full(_)) {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                // The demo shows what could be written; the answer does not depend on it.
                let _ = fs::write(requests.join(format!("{number:04}.http")), dump(request));
            }
            reply
        })?;
        Ok(Self { smtp: SmtpSink::start(options)?, http })
    }

    pub(super) fn smtp(&self) -> SocketAddr {
        self.smtp.addr()
    }

    /// The default endpoint.
    pub(super) fn webhook(&self) -> String {
        self.http.url("/hook")
    }

    /// The endpoints that the input names.
    pub(super) fn endpoints(&self) -> [(&'static str, String); 2] {
        [("flaky", self.http.url("/flaky")), ("silent", self.http.url("/silent"))]
    }
}

fn take_mail(dir: &Path, count: &AtomicUsize, mail: &Mail) -> SinkReply {
    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
    match fs::write(dir.join(format!("{number:04}.eml")), &mail.raw) {
        Ok(()) => SinkReply::accept(),
        Err(err) => SinkReply::new(452, format!("4.3.1 cannot store it: {err}")),
    }
}

fn answer(failures: &Mutex<HashMap<String, usize>>, request: &Request<'_>) -> Reply {
    match request.path {
        "/silent" => Reply::Silent,
        "/flaky" => {
            let id = request.header("webhook-id").unwrap_or_default().to_owned();
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            let failed = failures.entry(id).or_insert(0);
            if *failed < FLAKY_FAILURES {
                *failed += 1;
                Response::new(503).body("warming up").into()
            } else {
                Reply::status(204)
            }
        }
        _ => Reply::status(204),
    }
}

fn dump(request: &Request<'_>) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in request.headers() {
        write!(head, "{name}: {value}\r\n").expect("a String takes any text");
    }
    head.push_str("\r\n");
    [head.as_bytes(), request.body].concat()
}
