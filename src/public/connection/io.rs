//! The IO that hyper uses. Before hyper gets it, the head of a request is collected here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::HeadSearch;
use super::socket::poll_receive;
use super::transport::Transport;
use crate::shard::Detached;

/// A connection's transport, and the content that was received before hyper read it.
#[derive(Debug)]
pub(super) struct Io {
    unread: Vec<u8>,
    /// hyper has taken this many bytes of `unread`.
    taken: usize,
    transport: Transport,
}

impl Io {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            unread: Vec::new(),
            taken: 0,
            transport,
        }
    }

    /// `content` was received before what has not been read yet.
    pub(super) fn put_back(&mut self, content: &[u8]) {
        self.unread = [content, &self.take_unread_content()].concat();
    }

    /// Receives until hyper has something to do: the head of a request is complete, or will never be. A connection that
    /// waits here has none of hyper's buffers.
    ///
    /// # Errors
    /// Receiving fails.
    pub(super) fn poll_head(
        &mut self,
        search: &mut HeadSearch,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !search.is_over(&self.unread) {
            let received = poll_receive(&mut self.transport, &mut self.unread, cx);
            if ready!(received)? == 0 {
                // hyper will find the end, too.
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Returns true if content was received that hyper has not read.
    pub(super) fn has_unread_content(&self) -> bool {
        self.taken < self.unread.len()
    }

    /// Takes the content that has been received and that nobody has read.
    pub(super) fn take_unread_content(&mut self) -> Bytes {
        let mut content = Bytes::from(std::mem::take(&mut self.unread));
        content.advance(std::mem::take(&mut self.taken));
        let below = self.transport.take_unread_content();
        if below.is_empty() {
            return content;
        }
        [content, below].concat().into()
    }

    /// Takes the connection out of the runtime. All output must have been sent.
    ///
    /// # Errors
    /// A TLS record is incomplete.
    pub(super) fn detach(self) -> io::Result<Detached> {
        self.transport.detach()
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_unread_content() {
            this.take_into(buf);
            return Poll::Ready(Ok(()));
        }
        let (space, before) = (buf.remaining(), buf.filled().len());
        ready!(Pin::new(&mut this.transport).poll_read(cx, buf))?;
        let is_eof = space > 0 && buf.filled().len() == before;
        if is_eof && this.transport.loose_ends().hold_back_eof() {
            // The driver makes hyper read again once hyper may see the EOF.
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Io {
    fn take_into(&mut self, buf: &mut ReadBuf<'_>) {
        let content = self.unread.get(self.taken..).unwrap_or_default();
        let bytes = content.len().min(buf.remaining());
        buf.put_slice(content.get(..bytes).unwrap_or_default());
        self.taken += bytes;
        if !self.has_unread_content() {
            self.unread = Vec::new();
            self.taken = 0;
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
