//! Reads a request's body, with limits on the time that the client may take. Only time spent waiting for
//! the client counts: bytes that have already arrived are never late.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};

use super::response::ApiError;
use crate::admin::connection::AdminConnection;
use crate::clock::Clock;

/// Longest wait for the next piece of a body.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longest total wait for a body. A publisher may write a batch line by line, as its events happen.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// A request's body, read piece by piece. While the server waits for a piece, the connection counts as
/// idle.
pub(crate) struct Body {
    incoming: Incoming,
    connection: Arc<AdminConnection>,
    clock: Clock,
    waited_ms: u64,
}

/// The reason why the rest of a body does not arrive.
#[derive(Debug)]
pub(crate) enum Unfinished {
    Late,
    CutOff(hyper::Error),
}

impl Body {
    pub(crate) fn new(incoming: Incoming, connection: &Arc<AdminConnection>, clock: Clock) -> Self {
        connection.set_unread(!incoming.is_end_stream());
        Self {
            incoming,
            connection: Arc::clone(connection),
            waited_ms: 0,
            clock,
        }
    }

    /// Returns the next piece without waiting for the client; `None` at the end.
    pub(crate) async fn next_if_ready(&mut self) -> Poll<Result<Option<Bytes>, Unfinished>> {
        let next = {
            let mut data = pin!(data(&mut self.incoming));
            std::future::poll_fn(|cx| Poll::Ready(data.as_mut().poll(cx))).await
        };
        if matches!(next, Poll::Ready(Ok(None))) {
            self.connection.set_unread(false);
        }
        next
    }

    /// Waits for the next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Unfinished> {
        if let Poll::Ready(next) = self.next_if_ready().await {
            return next;
        }
        self.connection.set_busy(false);
        let next = self.in_time().await;
        self.connection.set_busy(true);
        if matches!(next, Ok(None)) {
            self.connection.set_unread(false);
        }
        next
    }

    /// Reads the whole body, unless it is larger than `max_bytes`.
    pub(crate) async fn whole(mut self, max_bytes: usize) -> Result<Bytes, ApiError> {
        let is_too_large = |bytes: u64| bytes > max_bytes as u64;
        if is_too_large(self.incoming.size_hint().lower()) {
            return Err(ApiError::too_large(max_bytes));
        }
        // A small body comes in one piece, which needs no copy.
        let first = self.next().await?.unwrap_or_default();
        if self.incoming.is_end_stream() {
            self.connection.set_unread(false);
            return Ok(first);
        }
        if is_too_large(first.len() as u64) {
            return Err(ApiError::too_large(max_bytes));
        }
        let mut whole = first.to_vec();
        while let Some(piece) = self.next().await? {
            if is_too_large((whole.len() + piece.len()) as u64) {
                return Err(ApiError::too_large(max_bytes));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    async fn in_time(&mut self) -> Result<Option<Bytes>, Unfinished> {
        let begun_ms = self.clock.now_ms();
        let left = MAX_WAIT.saturating_sub(Duration::from_millis(self.waited_ms));
        let next = data(&mut self.incoming);
        let next = self.clock.within(left.min(MAX_PAUSE), next).await;
        self.waited_ms += self.clock.now_ms() - begun_ms;
        next.unwrap_or(Err(Unfinished::Late))
    }
}

/// The next piece of data; skips frames without data.
async fn data(incoming: &mut Incoming) -> Result<Option<Bytes>, Unfinished> {
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(Unfinished::CutOff)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

impl From<Unfinished> for ApiError {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::Late => Self::late("the body did not come in time"),
            Unfinished::CutOff(error) => Self::invalid(format!("the body was cut off: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Empty;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;

    use super::*;

    /// A body of `bytes` bytes, of which nothing has been sent, and its client.
    async fn begin(clock: &Clock, bytes: usize) -> (Body, DuplexStream) {
        let (mut client, server) = tokio::io::duplex(1_024);
        let (sender, mut requests) = mpsc::channel(1);
        let service = service_fn(move |request: Request<Incoming>| {
            let sender = sender.clone();
            async move {
                sender.send(request.into_body()).await.unwrap();
                std::future::pending::<()>().await;
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
        let head = format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {bytes}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let incoming = requests.recv().await.unwrap();
        let connection = Arc::new(AdminConnection::new(None, 0, 0));
        (Body::new(incoming, &connection, clock.clone()), client)
    }

    #[tokio::test]
    async fn bytes_that_have_arrived_are_not_late_however_long_the_engine_took() {
        let clock = Clock::manual(0);
        let (mut body, mut client) = begin(&clock, 4).await;
        client.write_all(b"ab").await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), "ab");
        client.write_all(b"cd").await.unwrap();
        clock.advance(MAX_WAIT * 2);
        assert_eq!(body.next().await.unwrap().unwrap(), "cd");
        assert!(body.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_pause_is_counted_from_when_the_server_starts_to_wait() {
        let clock = Clock::manual(0);
        let (mut body, mut client) = begin(&clock, 1).await;
        assert!(body.next_if_ready().await.is_pending());
        clock.advance(MAX_PAUSE * 2);
        let (next, ()) = tokio::join!(body.next(), async {
            clock.advance(MAX_PAUSE / 2);
            client.write_all(b"a").await.unwrap();
        });
        assert_eq!(next.unwrap().unwrap(), "a");
    }

    #[tokio::test]
    async fn a_client_that_sends_byte_by_byte_has_ten_minutes() {
        let clock = Clock::manual(0);
        let (mut body, mut client) = begin(&clock, 100).await;
        let pause = Duration::from_secs(29);
        let mut waited = Duration::ZERO;
        while waited + pause < MAX_WAIT {
            let (next, ()) = tokio::join!(body.next(), async {
                clock.advance(pause);
                waited += pause;
                // First, the body has to notice that time has passed.
                tokio::task::yield_now().await;
                client.write_all(b"a").await.unwrap();
            });
            assert_eq!(next.unwrap().unwrap(), "a");
        }
        let late = async { tokio::join!(body.next(), async { clock.advance(pause) }).0 };
        // Real time: without the bound, nothing ends the wait.
        let next = tokio::time::timeout(Duration::from_secs(20), late).await;
        let next = next.expect("the wait ends");
        assert!(matches!(next, Err(Unfinished::Late)));
    }
}
