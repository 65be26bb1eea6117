//! Far ends that do not do what they should, on loopback.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use postrider::sink::http::{Reply, Request, Response, WebhookSink};

/// What is sent for an answer that is none.
const GARBAGE: [&[u8]; 5] = [
    b"\0\xff\xfe",
    b"HTTP/1.1 9999 \r\n\r\n",
    b"220 hello\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\ntransfer-encoding: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
];
const PATHS: [&str; 12] = [
    "silent", "drip", "close", "busy", "busy-odd", "headers", "large", "moved", "gone", "refused",
    "failed", "fine",
];

/// They run until this is dropped.
pub(crate) struct Peers {
    sink: WebhookSink,
    /// Takes connections into its backlog, and no more.
    deaf: TcpListener,
    babbler: Babbler,
}

impl Peers {
    pub(crate) fn start() -> Self {
        Self {
            sink: WebhookSink::start(answer).unwrap(),
            deaf: TcpListener::bind("127.0.0.1:0").unwrap(),
            babbler: Babbler::start(),
        }
    }

    /// Where they are.
    pub(crate) fn urls(&self) -> Vec<String> {
        let sink = self.sink.address();
        let mut urls: Vec<String> = PATHS.iter().map(|path| self.sink.url(path)).collect();
        urls.push(format!("http://{}/", self.deaf.local_addr().unwrap()));
        urls.push(format!("http://{}/", self.babbler.address));
        urls.push(format!("https://{sink}/"));
        urls.push(format!("http://0x7f000001:{}/fine", sink.port()));
        urls.push(format!("http://user:secret@{sink}/fine"));
        urls
    }
}

fn answer(request: &Request<'_>) -> Reply {
    let status = |status| Response::new(status);
    match request.path.trim_start_matches('/') {
        "silent" => Reply::Silent,
        "drip" => Reply::Drip(status(200)),
        "close" => Reply::Close,
        "busy" => status(429).header("retry-after", "999999999999").into(),
        "busy-odd" => status(503).header("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT").into(),
        "headers" => {
            (0..2_000).fold(status(200), |reply, nth| reply.header(&format!("x-{nth}"), "y")).into()
        }
        "large" => status(500).body(vec![b'x'; 4 << 20]).into(),
        "moved" => status(302).header("location", "http://127.0.0.1:1/").into(),
        "gone" => Reply::status(410),
        "refused" => status(400).body("\u{202e}\u{1}\r\nno").into(),
        "failed" => Reply::status(500),
        _ => Reply::status(200),
    }
}

/// Answers before it is asked, and not in HTTP.
struct Babbler {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Babbler {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, stopped) = (listener.local_addr().unwrap(), Arc::<AtomicBool>::default());
        let seen = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            for (nth, stream) in listener.incoming().enumerate() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hangs up is as good.
                let _ = stream.and_then(|mut it| it.write_all(GARBAGE[nth % GARBAGE.len()]));
            }
        });
        Self { address, stopped, thread: Some(thread) }
    }
}

impl Drop for Babbler {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}
