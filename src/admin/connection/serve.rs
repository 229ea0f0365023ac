//! Serves one admin connection: its requests, and then the time that its client takes to read the
//! last answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::places::Place;
use crate::admin::routes;
use crate::admin::service::Admin;
use crate::net::Socket;

/// A connection's buffer: the largest head it may send, and what waits for a slow reader in it.
const BUFFER_BYTES: usize = 64 * 1024;
/// Longest wait for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What is still read after the last answer. Closing over unread input resets the connection, and a
/// client that is still writing would never see the answer. Enough for a large batch; what is longer
/// may still lose its answer.
const MAX_LINGER_BYTES: usize = 64 * 1024 * 1024;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(30);
/// Longest wait for a client that does not go on writing.
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// Serves to the end, or until the connection is cut.
pub(crate) async fn serve_connection(admin: Arc<Admin>, socket: Socket, place: Place) {
    let line = Arc::clone(place.line());
    let serving = async {
        let io = answer_all(&admin, socket, &place).await;
        place.line().is_done();
        let lingering = linger(io, &admin);
        admin.hub.clock.within(LINGER_TIME, lingering).await;
    };
    tokio::select! {
        () = serving => {}
        () = line.is_cut() => tracing::debug!(peer = ?line.peer(), "admin connection cut"),
    }
}

/// Answers requests; returns the socket when there is nothing more to answer.
async fn answer_all(admin: &Arc<Admin>, socket: Socket, place: &Place) -> Socket {
    let line = place.line();
    let service = service_fn(|request| {
        let (admin, line) = (Arc::clone(admin), Arc::clone(line));
        Box::pin(async move {
            line.set_busy(true);
            let answer = routes::answer(&admin, request, &line).await;
            line.set_busy(false);
            Ok::<_, Infallible>(answer)
        })
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // A client that ends its side behind its request still waits for the answer.
        .half_close(true)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Noted { socket, place }), service);
    if let Err(error) = poll_fn(|cx| http.poll_without_shutdown(cx)).await {
        tracing::debug!(%error, "admin connection ended");
    }
    http.into_parts().io.into_inner().socket
}

/// Lets the client read the last answer before the socket is closed.
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

/// A socket that notes when bytes come or go, and under a stream the client's end.
struct Noted<'a> {
    socket: Socket,
    place: &'a Place,
}

impl Noted<'_> {
    /// An error once the client has ended. hyper does not read while it answers; under a stream
    /// whatever else comes is dropped, for the stream is the last answer.
    fn find_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
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

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(bytes)) if bytes > 0) {
            self.place.moved();
        }
        written
    }
}

impl AsyncRead for Noted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.place.moved();
        }
        read
    }
}

impl AsyncWrite for Noted<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.place.line().is_streaming() {
            self.find_end(cx)?;
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
