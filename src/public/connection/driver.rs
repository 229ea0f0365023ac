//! Drives one public connection: polls hyper until the connection ends, is overdue, becomes a stream,
//! or passes to another process.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::connection::HttpConnection;
use super::encryption::{NotEncrypted, encrypt};
use super::farewell::linger;
use super::handoff::{Handoff, Offer};
use super::io::Io;
use super::sealed::Sealed;
use super::socket::{ClientSocket, LooseEnds};
use crate::clock::millis;
use crate::net::Socket;
use crate::net::proxy_header::{self, NoHeader};
use crate::public::answer::close_after;
use crate::public::requests::NextRequest;
use crate::public::router;
use crate::public::service::Public;
use crate::shard::{Accepted, Detached, Earlier, Seat, Shard, StartHandshake};
use crate::shutdown::Waiter;

/// The largest request head. It has room for a token of 8 KiB, cookies, and the headers that proxies add.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How a connection ends in hyper.
enum Outcome {
    Closed,
    Seated(Box<Seat>, Vec<u8>),
    /// Another process continues it.
    PassedOn,
}

impl Public {
    /// Returns the function that a shard's acceptor calls for each connection.
    pub fn start_handshake(self: Arc<Self>) -> StartHandshake {
        Box::new(move |accepted, shard| {
            let (public, shard) = (Arc::clone(&self), Rc::clone(shard));
            serve_or_spawn(serve(public, accepted, shard));
        })
    }
}

/// Serves a connection as far as that is possible at once. Most requests arrive before they are looked for, and most of
/// them ask for a stream, so most connections need no task. A task polls the others again, with a waker of its own.
fn serve_or_spawn(serving: impl Future<Output = ()> + 'static) {
    let mut serving = Box::pin(serving);
    let mut once = Context::from_waker(Waker::noop());
    if serving.as_mut().poll(&mut once).is_pending() {
        tokio::task::spawn_local(serving);
    }
}

/// Serves a connection until it ends or becomes a stream.
async fn serve(public: Arc<Public>, accepted: Accepted, shard: Rc<RefCell<Shard>>) {
    let Accepted {
        socket,
        handshake,
        preface,
        earlier,
    } = accepted;
    let loose_ends = Rc::new(if preface.tls {
        LooseEnds::of_tls()
    } else {
        LooseEnds::default()
    });
    let connection = Rc::new(HttpConnection {
        handoff: Handoff::default(),
        socket_peer: socket.peer_ip(),
        preface,
        proxied: Cell::new(None),
        // Counts from the accept, not from this task's first poll, which may be much later.
        answered_ms: Cell::new(handshake.since_ms()),
        handshake,
        loose_ends,
        allows_half_close: Cell::new(false),
        answers: Cell::new(u64::from(earlier.is_some())),
        farewell: RefCell::default(),
        is_refused: Cell::new(false),
        is_answering: Cell::new(false),
        has_unread_body: Cell::new(false),
        is_under_way: Cell::new(false),
        public,
    });
    // Several branches may be ready at once, but a connection is refused only once. Input from the client
    // is handled first.
    let given_up = tokio::select! {
        biased;
        () = connection.serve(socket, earlier, &shard) => None,
        () = connection.wait_until_overdue() => Some("No request in time"),
        () = connection.wait_for_eviction() => Some("Gave way to newer connections"),
    };
    // A connection that has received a response does not count as refused.
    if let Some(text) = given_up.filter(|_| connection.answers.get() == 0) {
        connection.refuse_handshake(text);
    }
}

async fn drive(
    connection: &Rc<HttpConnection>,
    io: Io,
    mut shutdown: Waiter,
    shard: &RefCell<Shard>,
) {
    let io = TokioIo::new(io);
    let service = service_fn(|request| {
        connection.allow_half_close();
        Box::pin(connection.answer(request))
    });
    let mut http = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, service);
    let mut answers_before_drain = None;
    let mut next_request = connection.public.requests.next();
    let outcome = loop {
        next_request.mark_unchanged();
        tokio::select! {
            biased;
            outcome = poll_fn(|cx| poll_http(&mut http, connection, shard, cx)) => {
                break outcome;
            }
            // The sender is in `connection`.
            _ = next_request.changed() => {}
            () = shutdown.draining(), if answers_before_drain.is_none() => {
                answers_before_drain = Some(connection.answers.get());
                Pin::new(&mut http).graceful_shutdown();
            }
        }
    };
    connection.end_request();
    connection.loose_ends.pass_eof();
    // Bytes that followed the request are dropped with hyper's buffer.
    let parts = http.into_parts();
    let mut io = parts.io.into_inner();
    match outcome {
        Outcome::Seated(seat, head) => {
            let lost_input = !parts.read_buf.is_empty();
            let detached = io
                .detach()
                .map(|detached| detached.of(connection.origin(), lost_input));
            detach(shard, detached, *seat, head);
        }
        Outcome::PassedOn => {
            // TLS may have something to send after the handshake.
            if io.flush().await.is_err() {
                return;
            }
            let unread = io.take_unread_content();
            match io.detach() {
                Ok(detached) if !detached.has_lost_input() => {
                    let detached = detached.of(connection.origin(), false);
                    let received = [parts.read_buf, unread].concat();
                    shard.borrow_mut().pass_on(detached, received.into());
                }
                // Its client sends more than a request at once.
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a connection is not passed on"),
            }
        }
        // No request was in progress, so there is no response that the client has yet to read.
        Outcome::Closed if answers_before_drain == Some(connection.answers.get()) => {
            connection.close_idle(io).await;
        }
        Outcome::Closed => {
            connection
                .close_after_response(io, &parts.read_buf, shutdown)
                .await;
        }
    }
}

/// Polls hyper. If a stream is offered and everything before it has been sent, seats the stream. Between two requests,
/// does what is due with the next one.
fn poll_http<S>(
    http: &mut http1::Connection<TokioIo<Io>, S>,
    connection: &HttpConnection,
    shard: &RefCell<Shard>,
    cx: &mut Context<'_>,
) -> Poll<Outcome>
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
            return Poll::Ready(Outcome::Closed);
        }
        if connection.is_between_requests() {
            connection.end_request();
            if connection.public.requests.are_passed_on() {
                return Poll::Ready(connection.passed_on());
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
            Ok(seat) => return Poll::Ready(Outcome::Seated(Box::new(seat), head)),
            Err(declined) => {
                if let Some(user) = &declined.user {
                    connection.public.hub.cancel(user);
                }
                connection.handoff.refuse(declined);
            }
        }
    }
}

/// Moves the connection from the runtime into its slot.
fn detach(shard: &RefCell<Shard>, detached: io::Result<Detached>, seat: Seat, head: Vec<u8>) {
    let mut shard = shard.borrow_mut();
    match detached {
        Ok(detached) => {
            if let Err(error) = shard.join(seat, detached, head) {
                tracing::warn!(%error, "cannot add a stream to the epoll");
            }
        }
        Err(error) => {
            shard.give_up(seat);
            tracing::warn!(%error, "cannot detach a stream");
        }
    }
}

impl HttpConnection {
    /// Serves the connection until it ends.
    async fn serve(
        self: &Rc<Self>,
        socket: Socket,
        earlier: Option<Earlier>,
        shard: &RefCell<Shard>,
    ) {
        let mut shutdown = self.public.shutdown.waiter();
        let io = tokio::select! {
            biased;
            io = self.begin(socket, earlier) => io,
            // There is no request to finish yet.
            () = shutdown.draining() => return,
        };
        if let Some(io) = io {
            // Boxed, since it is large, and most connections that wait have not come to it.
            Box::pin(drive(self, io, shutdown, shard)).await;
        }
    }

    /// What happens to a connection between two requests if another process answers the next one.
    fn passed_on(&self) -> Outcome {
        if self.has_unread_body.get() {
            return Outcome::Closed;
        }
        Outcome::PassedOn
    }

    /// Reads what has to precede the first request: the PROXY header and the TLS handshake. Returns `None`
    /// if the peer has left or was refused.
    async fn begin(&self, mut socket: Socket, earlier: Option<Earlier>) -> Option<Io> {
        if let Some(Earlier {
            named,
            secrets,
            received,
        }) = earlier
        {
            self.proxied.set(named);
            let loose_ends = Rc::clone(&self.loose_ends);
            return Some(match secrets {
                None => Io::Plain(ClientSocket::after(received, socket, loose_ends)),
                Some(secrets) => {
                    let socket = ClientSocket::new(socket, loose_ends);
                    Io::Sealed(Box::new(Sealed::new(socket, secrets, received)))
                }
            });
        }
        if self.preface.proxy_header {
            match proxy_header::read(&mut socket).await {
                Ok(client) => {
                    self.proxied.set(client);
                    self.handshake.set_address(self.peer());
                }
                Err(NoHeader::Closed) => return None,
                Err(NoHeader::Malformed) => {
                    self.public.warn_missing_proxy_header(self.socket_peer);
                    self.refuse_handshake("No PROXY header");
                    return None;
                }
            }
        }
        let mut socket = ClientSocket::new(socket, Rc::clone(&self.loose_ends));
        socket.wait_for_input().await.ok()?;
        if !self.preface.tls {
            return Some(Io::Plain(socket));
        }
        let config = self.public.tls.as_ref()?.server_config();
        match Box::pin(encrypt(socket, config)).await {
            Ok(stream) => Some(Io::Tls(Box::new(stream))),
            Err(NotEncrypted::Closed) => None,
            Err(NotEncrypted::Refused(refusal, socket)) => {
                self.public.log_failed_handshake(refusal, self.peer());
                // Counted first, because the client may take long to read the alert.
                self.refuse_handshake(refusal.text());
                linger(socket).await;
                None
            }
        }
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

    /// Waits until the connection has to give way to newer ones. It is spared once if it has had no response
    /// yet and bytes from its client have just arrived: then the server was late, not the client.
    async fn wait_for_eviction(&self) {
        loop {
            let mut reads = 0;
            let mut evicted = pin!(self.handshake.evicted());
            poll_fn(|cx| {
                let asked = evicted.as_mut().poll(cx);
                if asked.is_pending() {
                    reads = self.loose_ends.reads();
                }
                asked
            })
            .await;
            // Lets the runtime poll the sockets and run the task that reads this one.
            tokio::task::yield_now().await;
            let is_late = self.loose_ends.reads() == reads || self.answers.get() > 0;
            if is_late || !self.handshake.stay() {
                return;
            }
        }
    }

    /// Waits until there has been no response for `handshake_timeout`.
    async fn wait_until_overdue(&self) {
        let clock = &self.public.hub.clock;
        loop {
            let due_ms = self.answered_ms.get() + millis(self.public.handshake_timeout);
            if clock.now_ms() >= due_ms {
                return;
            }
            clock.sleep_until(due_ms).await;
        }
    }
}
