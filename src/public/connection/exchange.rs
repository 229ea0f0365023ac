//! Has hyper answer a request, and what follows it at once.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::connection::HttpConnection;
use super::handoff::Offer;
use super::head::MAX_HEAD_BYTES;
use super::io::Io;
use crate::public::answer::close_after;
use crate::public::requests::NextRequest;
use crate::public::router;
use crate::shard::{Seat, Shard};
use crate::shutdown::Waiter;

/// What follows an exchange.
pub(super) enum NextStep {
    /// The next request is waited for.
    Between,
    Closed,
    Seated(Box<Seat>, Vec<u8>),
    /// Another process continues the connection.
    PassedOn,
}

/// A connection that hyper has given back.
pub(super) struct Exchanged {
    pub(super) next: NextStep,
    pub(super) io: Io,
    /// Bytes that followed the last request.
    pub(super) unread: Bytes,
    /// The client has read every response, or there was none to read.
    pub(super) is_idle: bool,
}

/// Has hyper answer requests until the connection ends, becomes a stream, passes to another process, or has none left to
/// answer. Then hyper's buffers are freed.
pub(super) async fn exchange(
    connection: &Rc<HttpConnection>,
    io: Io,
    shutdown: &mut Waiter,
    shard: &RefCell<Shard>,
) -> Exchanged {
    let service = service_fn(|request| {
        connection.allow_half_close();
        Box::pin(connection.answer(request))
    });
    let mut http = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service);
    let answers_before = connection.answers.get();
    let mut answers_before_drain = None;
    let mut next_request = connection.public.requests.next();
    let next = loop {
        next_request.mark_unchanged();
        tokio::select! {
            biased;
            next = poll_fn(|cx| poll_http(&mut http, connection, answers_before, shard, cx)) => {
                break next;
            }
            // The sender is in `connection`.
            _ = next_request.changed() => {}
            () = shutdown.draining(), if answers_before_drain.is_none() => {
                answers_before_drain = Some(connection.answers.get());
                std::pin::Pin::new(&mut http).graceful_shutdown();
            }
        }
    };
    connection.end_request();
    let parts = http.into_parts();
    Exchanged {
        next,
        io: parts.io.into_inner(),
        unread: parts.read_buf,
        is_idle: answers_before_drain == Some(connection.answers.get()),
    }
}

/// Polls hyper. If a stream is offered and everything before it has been sent, seats the stream. Between two requests,
/// does what is due with the next one.
fn poll_http<S>(
    http: &mut http1::Connection<TokioIo<Io>, S>,
    connection: &HttpConnection,
    answers_before: u64,
    shard: &RefCell<Shard>,
    cx: &mut Context<'_>,
) -> Poll<NextStep>
where
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible, Future: Unpin> + Unpin,
{
    loop {
        match connection.begin_request() {
            NextRequest::Held => return Poll::Pending,
            NextRequest::PassedOn if connection.loose_ends.are_none() => {
                return Poll::Ready(connection.passed_on());
            }
            // In the middle of a TLS record, it stays.
            NextRequest::Answered | NextRequest::PassedOn => {}
        }
        if http.poll_without_shutdown(cx).is_ready() {
            return Poll::Ready(NextStep::Closed);
        }
        if connection.is_between_requests() {
            connection.end_request();
            if connection.public.requests.are_passed_on() {
                return Poll::Ready(connection.passed_on());
            }
            // hyper stays until it has skipped the rest of a body.
            if connection.answers.get() > answers_before && !connection.has_unread_body.get() {
                return Poll::Ready(NextStep::Between);
            }
        }
        // hyper tries to flush before it returns. If the socket is blocked, some output is left. hyper
        // then waits for the socket and wakes this task.
        if connection.loose_ends.is_blocked() {
            return Poll::Pending;
        }
        if !connection.allows_half_close.get() && connection.loose_ends.pass_held_eof() {
            continue;
        }
        // If only part of a TLS record was read, this task is woken as well, since hyper keeps reading to
        // detect the client's EOF.
        if !connection.loose_ends.are_none() {
            return Poll::Pending;
        }
        let Some(Offer { admission, head }) = connection.handoff.take() else {
            return Poll::Pending;
        };
        match shard.borrow_mut().admit(admission) {
            Ok(seat) => return Poll::Ready(NextStep::Seated(Box::new(seat), head)),
            Err(declined) => {
                if let Some(user) = &declined.user {
                    connection.public.hub.cancel(user);
                }
                connection.handoff.refuse(declined);
            }
        }
    }
}

impl HttpConnection {
    /// What happens to a connection between two requests if another process answers the next one.
    fn passed_on(&self) -> NextStep {
        if self.has_unread_body.get() {
            return NextStep::Closed;
        }
        NextStep::PassedOn
    }

    async fn answer(
        self: &Rc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.is_answering.set(true);
        // During a request, a proxy's connection is counted for the client that the request names.
        let client = self.remote(request.headers()).or(self.peer());
        self.handshake.set_address(client);
        let version = request.version();
        let mut response = router::answer(self, &mut request).await;
        self.has_unread_body.set(!request.body().is_end_stream());
        if self.handshake.is_over_share() {
            close_after(version, &mut response);
        }
        self.handshake.set_address(self.peer());
        self.answered_ms.set(self.public.hub.clock.now_ms());
        self.answers.set(self.answers.get() + 1);
        self.is_answering.set(false);
        // The driver waits until the response has been sent.
        self.forbid_half_close();
        Ok(response)
    }
}
