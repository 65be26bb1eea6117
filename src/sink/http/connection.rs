//! One connection of the sink: requests in, replies out, every wait limited.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::message::MessageId;
use crate::sink::http::{Arrivals, Handler, Reply, Response};

/// Longest wait for a request, its next octets, or the peer to take ours.
const IDLE_LIMIT: Duration = Duration::from_mins(1);
/// Largest head.
const HEAD_MAX: usize = 64 << 10;
/// Most header fields.
const HEADERS_MAX: usize = 64;
/// Largest body.
const BODY_MAX: usize = 4 << 20;
/// Pace of [`Reply::Drip`].
const DRIP: Duration = Duration::from_secs(1);

/// A request that has arrived whole.
#[derive(Debug)]
pub struct Request<'a> {
    /// Such as `POST`.
    pub method: &'a str,
    /// Path and query, as sent.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
    headers: &'a [httparse::Header<'a>],
}

impl Request<'_> {
    /// Value of the first header of this name, in any case; `None` also where it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(self.headers, name)
    }

    /// Names and values of all headers, in the order of the wire.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.headers.iter().map(|header| (header.name, String::from_utf8_lossy(header.value)))
    }

    fn message_id(&self) -> Option<MessageId> {
        self.header("x-message-id").and_then(|text| text.parse().ok()).map(MessageId)
    }
}

fn find<'a>(headers: &'a [httparse::Header<'_>], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    header.and_then(|header| std::str::from_utf8(header.value).ok())
}

/// Serves one connection until the peer closes it, breaks the rules, or waits too long.
pub(super) fn serve(
    mut stream: &TcpStream,
    handler: &Handler,
    arrivals: &Arrivals,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_LIMIT))?;
    stream.set_write_timeout(Some(IDLE_LIMIT))?;
    let mut input = Vec::with_capacity(8 << 10);
    loop {
        // Only looked at again when it has grown to this: what the last look said is missing.
        let mut wanted = 1;
        let used = loop {
            if wanted <= input.len() {
                match answer(&input, handler, arrivals) {
                    Step::Read(octets) => wanted = octets,
                    Step::Reply { reply, used, close } => {
                        carry_out(stream, reply)?;
                        if close {
                            return Ok(());
                        }
                        break used;
                    }
                    Step::Refuse(status) => return carry_out(stream, Reply::status(status)),
                }
            }
            if read_more(&mut stream, &mut input, wanted)? == 0 {
                return Ok(());
            }
        };
        input.drain(..used);
    }
}

/// What the octets read so far ask for.
enum Step {
    /// More octets, until there are this many.
    Read(usize),
    /// An answer. The request took `used` octets.
    Reply { reply: Reply, used: usize, close: bool },
    /// A status that ends the connection.
    Refuse(u16),
}

fn answer(input: &[u8], handler: &Handler, arrivals: &Arrivals) -> Step {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let start = match head.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() < HEAD_MAX => {
            return Step::Read(input.len() + 1);
        }
        Ok(httparse::Status::Partial) => return Step::Refuse(431),
        Err(_) => return Step::Refuse(400),
    };
    if find(head.headers, "transfer-encoding").is_some() {
        return Step::Refuse(411);
    }
    let length = match find(head.headers, "content-length").map(str::parse::<usize>) {
        None => 0,
        Some(Ok(length)) if length <= BODY_MAX => length,
        Some(Ok(_)) => return Step::Refuse(413),
        Some(Err(_)) => return Step::Refuse(400),
    };
    let used = start + length;
    let Some(body) = input.get(start..used) else { return Step::Read(used) };
    let request = Request {
        method: head.method.unwrap_or_default(),
        path: head.path.unwrap_or_default(),
        body,
        headers: head.headers,
    };
    let close = request.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    arrivals.record(request.message_id());
    Step::Reply { reply: handler(&request), used, close }
}

/// Reads once, as much as `wanted` misses or a little more. Zero at the end.
fn read_more(stream: &mut &TcpStream, input: &mut Vec<u8>, wanted: usize) -> io::Result<usize> {
    let filled = input.len();
    let room = wanted.saturating_sub(filled).clamp(4 << 10, 256 << 10);
    input.resize(filled + room, 0);
    let read = stream.read(&mut input[filled..]);
    input.truncate(filled + read.as_ref().copied().unwrap_or(0));
    read
}

fn carry_out(mut stream: &TcpStream, reply: Reply) -> io::Result<()> {
    match reply {
        Reply::Full(response) => stream.write_all(&response.encode()),
        Reply::Drip(response) => drip(stream, &response),
        Reply::Silent => {
            while !ended_within(stream, IDLE_LIMIT)? {}
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Reply::Close => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

fn drip(mut stream: &TcpStream, response: &Response) -> io::Result<()> {
    for octet in response.encode() {
        stream.write_all(&[octet])?;
        if ended_within(stream, DRIP)? {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
    stream.set_read_timeout(Some(IDLE_LIMIT))
}

/// Waits for the peer, or the sink, to close the connection. What the peer says meanwhile is
/// dropped.
fn ended_within(mut stream: &TcpStream, limit: Duration) -> io::Result<bool> {
    stream.set_read_timeout(Some(limit))?;
    match stream.read(&mut [0; 256]) {
        Ok(read) => Ok(read == 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error),
    }
}
