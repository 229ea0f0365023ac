//! Serves one admin connection: answers its requests, then gives its client time to read the last
//! response.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;

use super::open_connections::OpenConnection;
use super::passing::PassedConnection;
use super::repoller::Repoller;
use crate::admin::routes;
use crate::admin::service::Admin;
use crate::net::Socket;

/// A connection's buffer: the largest request head, and the most that waits for a slow reader.
const BUFFER_BYTES: usize = 64 * 1024;
/// Longest wait for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that are still read after the last response. Closing a socket with unread input resets the
/// connection, and a client that is still writing would never see the response. This is enough for a
/// large batch; the response to a longer body may be lost.
const MAX_LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Longest time for reading them.
const LINGER_TIME: Duration = Duration::from_secs(30);
/// Longest wait for a client that has stopped writing.
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// Continues a connection that another process of the server has passed on.
///
/// # Errors
/// The runtime does not accept the socket.
pub(crate) fn continue_connection(admin: &Arc<Admin>, passed: PassedConnection) -> io::Result<()> {
    let socket = Socket::from_fd(passed.socket)?;
    // At the limit, another connection is closed for it, as for a new one.
    let (open, _) = admin.connections.add(socket.peer());
    tokio::spawn(serve_connection(
        Arc::clone(admin),
        socket,
        passed.received,
        open,
    ));
    Ok(())
}

/// Serves a connection to its end, or until it is aborted or passed on. `received` was read before.
pub(crate) async fn serve_connection(
    admin: Arc<Admin>,
    socket: Socket,
    received: Bytes,
    open: OpenConnection,
) {
    let connection = Arc::clone(open.connection());
    let serving = async {
        let Some(socket) = answer_all(&admin, socket, received, &open).await else {
            return;
        };
        connection.mark_done();
        let lingering = linger(socket, &admin);
        admin.hub.clock.within(LINGER_TIME, lingering).await;
    };
    tokio::select! {
        () = serving => {}
        () = connection.wait_until_aborted() => {
            tracing::debug!(peer = connection.peer().map(tracing::field::display), "admin connection aborted");
        }
    }
}

/// Answers all requests, then returns the socket. `None` if it was passed on.
async fn answer_all(
    admin: &Arc<Admin>,
    socket: Socket,
    received: Bytes,
    open: &OpenConnection,
) -> Option<Socket> {
    let service = service_fn(|request| {
        let (admin, connection) = (Arc::clone(admin), Arc::clone(open.connection()));
        Box::pin(async move {
            connection.set_busy(true);
            let response = routes::respond(&admin, request, &connection).await;
            connection.set_busy(false);
            Ok::<_, Infallible>(response)
        })
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // A client that shuts down its side after the request still waits for the response.
        .half_close(true)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(
            TokioIo::new(TrackedSocket {
                socket,
                received,
                open,
            }),
            service,
        );
    let repoller = Repoller::new();
    let mut poll_http =
        |cx: &mut Context<'_>| repoller.poll(cx, |cx| http.poll_without_shutdown(cx));
    let pass_on = {
        let mut served = poll_fn(&mut poll_http);
        tokio::select! {
            biased;
            ended = &mut served => {
                log_end(ended);
                None
            }
            to = admin.passing.begun() => Some(to),
        }
    };
    // From now on, it is passed on as soon as nothing is under way in either direction.
    let is_between_requests = pass_on.is_some()
        && poll_fn(|cx| match poll_http(cx) {
            Poll::Ready(ended) => {
                log_end(ended);
                Poll::Ready(false)
            }
            Poll::Pending if open.connection().is_between_requests() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        })
        .await;
    let parts = http.into_parts();
    let TrackedSocket {
        socket, received, ..
    } = parts.io.into_inner();
    let Some(to) = pass_on.filter(|_| is_between_requests) else {
        return Some(socket);
    };
    let received = if received.is_empty() {
        parts.read_buf
    } else {
        [parts.read_buf, received].concat().into()
    };
    let socket = socket.into_fd();
    pass(admin, to, PassedConnection { socket, received }).await;
    None
}

/// Passes a connection on. If it is too late for that, it waits for the outcome: this process serves it again, or closes
/// it because the other one serves.
async fn pass(
    admin: &Arc<Admin>,
    to: Option<UnboundedSender<PassedConnection>>,
    passed: PassedConnection,
) {
    let late = match to {
        Some(to) => match to.send(passed) {
            Ok(()) => return,
            Err(SendError(late)) => late,
        },
        None => passed,
    };
    if admin.passing.is_kept().await
        && let Err(error) = continue_connection(admin, late)
    {
        tracing::debug!(%error, "admin connection closed");
    }
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

/// Lets the client read the last response before the socket is closed.
async fn linger(mut socket: Socket, admin: &Admin) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut scratch = [0; 4_096];
    let mut read = 0;
    while read < MAX_LINGER_BYTES {
        let reading = socket.read(&mut scratch);
        match admin.hub.clock.within(LINGER_PAUSE, reading).await {
            Some(Ok(bytes)) if bytes > 0 => read += bytes,
            _ => return,
        }
    }
}

/// The largest response that is copied into one piece. For the kernel, `send` is cheaper than `writev` by more than the
/// copy costs, and most publishers get less than 200 bytes.
const SMALL_BYTES: usize = 512;

/// A socket that records activity and, during a stream, notices the client's end.
struct TrackedSocket<'a> {
    socket: Socket,
    /// Bytes that another process has read before.
    received: Bytes,
    open: &'a OpenConnection,
}

impl TrackedSocket<'_> {
    /// Fails once the client has closed its side. hyper does not read during a response. A stream is the
    /// last response, so other input is discarded.
    fn check_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut scratch = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buffer)? {
                Poll::Pending => return Ok(()),
                Poll::Ready(()) if buffer.filled().is_empty() => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Poll::Ready(()) => {}
            }
        }
    }

    fn record(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(bytes)) if bytes > 0) {
            self.open.record_activity();
        }
        written
    }
}

impl AsyncRead for TrackedSocket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.received.is_empty() {
            let taken = self.received.len().min(buffer.remaining());
            buffer.put_slice(&self.received.split_to(taken));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.open.record_activity();
        }
        read
    }
}

impl AsyncWrite for TrackedSocket<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.open.connection().set_flushed(false);
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.record(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.open.connection().set_flushed(false);
        let mut small = [0; SMALL_BYTES];
        let socket = Pin::new(&mut self.socket);
        let written = match joined(slices, &mut small) {
            Some(bytes) => socket.poll_write(cx, bytes),
            None => socket.poll_write_vectored(cx, slices),
        };
        self.record(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.open.connection().is_streaming() {
            self.check_for_end(cx)?;
        }
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        // hyper flushes when it has written everything.
        self.open.connection().set_flushed(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The slices in one piece, if they fit.
fn joined<'a>(slices: &[io::IoSlice<'_>], into: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut end = 0;
    for slice in slices {
        into.get_mut(end..end + slice.len())?.copy_from_slice(slice);
        end += slice.len();
    }
    into.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_joined_if_they_fit() {
        let mut into = [0; 4];
        let mut join = |texts: &[&str]| {
            let slices: Vec<_> = texts
                .iter()
                .map(|text| io::IoSlice::new(text.as_bytes()))
                .collect();
            joined(&slices, &mut into).map(<[u8]>::to_vec)
        };
        assert_eq!(join(&["ab", "", "cd"]).as_deref(), Some(&b"abcd"[..]));
        assert_eq!(join(&["ab", "cde"]), None);
        assert_eq!(join(&[]).as_deref(), Some(&b""[..]));
    }
}
