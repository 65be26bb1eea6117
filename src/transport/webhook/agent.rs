//! The HTTP client, put together from ureq and our own resolver and TLS.
//!
//! With `tcp`, the only file that uses `ureq::unversioned`, which may change in any release of ureq. It is
//! worth it: the resolver is where addresses are vetted, and the connector below dials just
//! those; own TLS trusts a private authority *beside* the public ones, and is set up once, not
//! for every connection.

use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    Transport, TransportAdapter, time,
};
use ureq::{Agent, Error, Proxy};

use crate::transport::webhook::endpoint;
use crate::transport::webhook::reach::Reach;
use crate::transport::webhook::tcp::TcpConnector;
use crate::transport::{Deadline, Trace};

/// Limit of a name look-up, and of a connection with its TLS handshake, within the deadline.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Limit of the wait for the body of a response whose status is known.
const BODY_LIMIT: Duration = Duration::from_secs(1);
/// How long an idle connection is kept: less than the five seconds after which many servers close
/// one, for a request that meets the close may or may not have arrived.
const IDLE_AGE: Duration = Duration::from_secs(4);
/// Two of these a connection. Larger ones cost memory and are not faster.
const BUFFER: usize = 16 << 10;

/// What agents are made of.
pub(super) struct Parts {
    pub(super) reach: Arc<Reach>,
    pub(super) proxy: Option<Proxy>,
    pub(super) trace: Trace,
    /// How long an idle connection is kept.
    pub(super) idle_age: Duration,
}

impl Parts {
    pub(super) fn new(reach: Arc<Reach>, proxy: Option<Proxy>, trace: Trace) -> Self {
        Self { reach, proxy, trace, idle_age: IDLE_AGE }
    }
}

/// Builds a client that keeps up to `idle_max` connections: no redirects, no proxy but the given
/// one, every status a response.
pub(super) fn build(parts: &Parts, tls: &Arc<ClientConfig>, idle_max: usize) -> Agent {
    let config = Config::builder()
        .user_agent(concat!("postrider/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(parts.proxy.clone())
        .timeout_resolve(Some(CONNECT_LIMIT))
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_recv_body(Some(BODY_LIMIT))
        .max_idle_connections(idle_max)
        .max_idle_connections_per_host(idle_max)
        .max_idle_age(parts.idle_age)
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .build();
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector { dns: Arc::clone(&parts.reach.dns) })
            .chain(Connected { trace: parts.trace.clone() })
            .chain(TlsConnector { config: Arc::clone(tls), trace: parts.trace.clone() });
    let resolver = VettedResolver { reach: Arc::clone(&parts.reach), trace: parts.trace.clone() };
    Agent::with_parts(config, connector, resolver)
}

/// Gives the connector vetted addresses only.
#[derive(Debug)]
struct VettedResolver {
    reach: Arc<Reach>,
    trace: Trace,
}

impl Resolver for VettedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let limit = Deadline::after((*timeout.after).min(CONNECT_LIMIT));
        let addresses = self
            .reach
            .addresses(endpoint::host(uri), limit)
            .map_err(|error| Error::Other(error.into()))?;
        self.trace.note("resolve", || format!("{}: {addresses:?}", endpoint::host(uri)));
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let mut found = self.empty();
        // As many as the array holds.
        for address in addresses.iter().take(16) {
            found.push(SocketAddr::new(*address, port));
        }
        Ok(found)
    }
}

/// Tells that there is a connection.
#[derive(Debug)]
struct Connected {
    trace: Trace,
}

impl<In: Transport> Connector<In> for Connected {
    type Out = In;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<In>, Error> {
        if chained.is_some() {
            self.trace.note("connect", || format!("connected to one of {:?}", &details.addrs[..]));
        }
        Ok(chained)
    }
}

/// Puts TLS around a connection where the URL asks for it.
struct TlsConnector {
    config: Arc<ClientConfig>,
    trace: Trace,
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let name = ServerName::try_from(endpoint::host(details.uri).to_owned())
            .map_err(|_| Error::Tls("the host is no name that a certificate can have"))?;
        let mut conn = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut sock = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        sock.set_timeout(left(details));
        conn.complete_io(&mut sock)?;
        self.trace.note_tls(&conn);
        let size = details.config.input_buffer_size();
        let buffers = LazyBuffers::new(size, details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(conn, sock) })))
    }
}

/// What TCP and proxy left of the time to connect.
fn left(details: &ConnectionDetails) -> NextTimeout {
    let mut timeout = details.timeout;
    if let (time::Duration::Exact(limit), time::Instant::Exact(start)) =
        (timeout.after, details.now)
    {
        timeout.after = time::Duration::Exact(limit.saturating_sub(start.elapsed()));
    }
    timeout
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let read = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(read);
        Ok(0 < read)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}
