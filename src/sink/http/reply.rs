//! What a handler can answer.

use std::fmt::Write;

/// How the sink behaves towards one request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers.
    Full(Response),
    /// Answers an octet a second, head and all.
    Drip(Response),
    /// Never answers: holds the connection until the peer goes or the sink stops.
    Silent,
    /// Closes the connection without an answer.
    Close,
}

impl Reply {
    /// An answer with this status and no body.
    pub fn status(status: u16) -> Self {
        Self::Full(Response::new(status))
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Full(response)
    }
}

/// An HTTP response. `Content-Length` is added when it is sent.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Response {
    /// A response without headers and body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: String::new(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        write!(self.headers, "{name}: {value}\r\n").expect("a String takes any text");
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The octets on the wire.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { status, headers, body } = self;
        // Responses to which HTTP allows no body have no length either (RFC 9110, 8.6).
        let length = match status {
            100..=199 | 204 | 304 => String::new(),
            _ => format!("content-length: {}\r\n", body.len()),
        };
        let mut octets = format!("HTTP/1.1 {status} \r\n{headers}{length}\r\n").into_bytes();
        octets.extend_from_slice(body);
        octets
    }
}
