//! The stream under a connection: in clear or in TLS, and never silent for too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use postgres::Socket;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::patience::Patience;

type Tls = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// What the octets go by.
pub(super) enum Wire {
    Plain(Socket),
    Tls(Box<Tls>),
}

/// A wire, and patience with who is at its other end.
pub(super) struct Stream {
    wire: Wire,
    patience: Patience,
}

impl Stream {
    pub(super) fn new(wire: Wire, patience: Patience) -> Self {
        Self { wire, patience }
    }

    /// Waits with the wire, but not for ever.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut Wire, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match poll(&mut self.wire, context) {
            Poll::Pending => self.patience.poll(context),
            ready @ Poll::Ready(_) => ready,
        }
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.wire {
            Wire::Plain(_) => ChannelBinding::none(),
            Wire::Tls(tls) => tls.channel_binding(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.bounded(context, |wire, context| match wire {
            Wire::Plain(socket) => Pin::new(socket).poll_read(context, buf),
            Wire::Tls(tls) => Pin::new(tls).poll_read(context, buf),
        });
        self.patience.heard(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.patience.asked();
        self.bounded(context, |wire, context| match wire {
            Wire::Plain(socket) => Pin::new(socket).poll_write(context, octets),
            Wire::Tls(tls) => Pin::new(tls).poll_write(context, octets),
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.bounded(context, |wire, context| match wire {
            Wire::Plain(socket) => Pin::new(socket).poll_flush(context),
            Wire::Tls(tls) => Pin::new(tls).poll_flush(context),
        });
        // The client reads before it writes, so nothing would wake it for an answer that does
        // not come, were the timer not started here.
        match self.patience.poll(context) {
            late @ Poll::Ready(_) if flushed.is_ready() => late,
            _ => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bounded(context, |wire, context| match wire {
            Wire::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Wire::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        })
    }
}
