//! What carries a connection's content: a client's socket, with or without TLS.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;
use rustls::ServerConnection;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::sealed::Sealed;
use super::socket::{ClientSocket, LooseEnds};
use crate::shard::Detached;
use crate::tls::Secrets;

/// A client's socket, and what encrypts its content. A read returns at most one TLS record.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(ClientSocket),
    Tls(Box<TlsStream<ClientSocket>>),
    /// TLS on a connection that has been a stream before.
    Sealed(Box<Sealed>),
}

impl Transport {
    /// Takes the content that has been received and that nobody has read: at most a TLS record.
    pub(super) fn take_unread_content(&mut self) -> Bytes {
        match self {
            Self::Plain(_) => Bytes::new(),
            // A handshake may read the record after it.
            Self::Tls(stream) => {
                let mut reader = stream.get_mut().1.reader();
                let mut content = Vec::new();
                let mut part = [0; 1_024];
                // Without more content, reading would block.
                while let Ok(bytes @ 1..) = reader.read(&mut part) {
                    content.extend_from_slice(part.get(..bytes).unwrap_or_default());
                }
                content.into()
            }
            Self::Sealed(sealed) => sealed.take_unread_content(),
        }
    }

    /// Takes the connection out of the runtime, and its secrets out of rustls. All output must have been
    /// sent.
    ///
    /// # Errors
    /// Errors of the runtime or of rustls.
    pub(super) fn detach(self) -> io::Result<Detached> {
        let (socket, secrets, lost_input) = match self {
            Self::Plain(socket) => (socket, None, false),
            Self::Sealed(sealed) => {
                let (socket, secrets, lost_input) = sealed.detach()?;
                (socket, Some(secrets), lost_input)
            }
            Self::Tls(stream) => {
                let (socket, mut connection) = stream.into_inner();
                answer_key_update(&mut connection)?;
                let extracted = connection
                    .dangerous_extract_secrets()
                    .map_err(io::Error::other)?;
                let secrets = Secrets::new(&extracted)
                    .ok_or_else(|| io::Error::other("rustls agreed on another cipher"))?;
                (socket, Some(secrets), false)
            }
        };
        let lost_input = lost_input || socket.has_unread_input();
        Ok(Detached::new(socket.into_fd(), secrets, lost_input))
    }
}

/// Makes rustls answer a client's key update, which it defers until something is written. The answer
/// renews the server's keys as well, so the client has to receive it.
fn answer_key_update(connection: &mut ServerConnection) -> io::Result<()> {
    connection.writer().write(&[]).map(drop)
}

/// Evaluates an expression with the stream of whichever variant it is.
macro_rules! on_stream {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io.get_mut() {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
            Transport::Sealed($stream) => $call,
        }
    };
}

impl Transport {
    pub(super) fn loose_ends(&self) -> &LooseEnds {
        match self {
            Self::Plain(socket) => socket.loose_ends(),
            Self::Sealed(stream) => stream.socket().loose_ends(),
            Self::Tls(stream) => stream.get_ref().0.loose_ends(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Sealed(stream) => Pin::new(stream).poll_read(cx, buf),
            // One record at a time. If the reader stopped in the middle of a second record, the rest would
            // stay in rustls, and the connection could not be detached.
            Self::Tls(stream) => {
                let mut stream = Pin::new(stream.as_mut());
                let content = ready!(stream.as_mut().poll_fill_buf(cx))?;
                let bytes = content.len().min(buf.remaining());
                buf.put_slice(content.get(..bytes).unwrap_or_default());
                stream.consume(bytes);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Sealed(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => {
                answer_key_update(stream.get_mut().1)?;
                Pin::new(stream).poll_flush(cx)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
