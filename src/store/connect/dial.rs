//! From a socket to a stream: asks the server for TLS, and shakes hands.
//!
//! The client knows less about TLS than we need, and calls nobody where there is none. So it is
//! told that TLS begins at once, and hands every socket to [`Dialer`], which does the asking.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use postgres::Socket;
use postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::patience::Patience;
use super::stream::{Stream, Wire};
use crate::config::DatabaseTls;

/// Length, then the code of `SSLRequest`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Makes the stream of each connection.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) mode: DatabaseTls,
    /// TLS from the first octet (`sslnegotiation=direct`).
    pub(super) direct: bool,
    pub(super) tls: MakeRustlsConnect,
    /// Limit of a handshake, and of each wait until the login is done.
    pub(super) startup: Duration,
    /// Limit of the wait for an answer from then on.
    pub(super) answer: Duration,
}

impl MakeTlsConnect<Socket> for Dialer {
    type Stream = Stream;
    type TlsConnect = Dial;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Dial> {
        Ok(Dial { dialer: self.clone(), host: host.to_owned() })
    }
}

/// One connection in the making.
pub(super) struct Dial {
    dialer: Dialer,
    host: String,
}

impl TlsConnect<Socket> for Dial {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let limit = self.dialer.startup;
            let patience = Patience::new(limit, self.dialer.answer);
            let wire = tokio::time::timeout(limit, self.shake_hands(socket)).await;
            let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer to the greeting");
            Ok(Stream::new(wire.map_err(|_| late())??, patience))
        })
    }
}

impl Dial {
    async fn shake_hands(self, mut socket: Socket) -> io::Result<Wire> {
        let Self { mut dialer, host } = self;
        if dialer.mode == DatabaseTls::Disable {
            return Ok(Wire::Plain(socket));
        }
        if !dialer.direct && !offers_tls(&mut socket).await? {
            return match dialer.mode {
                DatabaseTls::Prefer => Ok(Wire::Plain(socket)),
                _ => Err(io::Error::other("the server offers no TLS; see database.tls")),
            };
        }
        let connect =
            <MakeRustlsConnect as MakeTlsConnect<Socket>>::make_tls_connect(&mut dialer.tls, &host)
                .map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(connect.connect(socket).await?)))
    }
}

async fn offers_tls(socket: &mut Socket) -> io::Result<bool> {
    socket.write_all(&SSL_REQUEST).await?;
    let mut answer = [0];
    // No more than this octet: what follows in clear is nobody's to take for a part of the session.
    socket.read_exact(&mut answer).await?;
    match answer[0] {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(io::Error::other("the server does not know how to answer a request for TLS")),
    }
}
