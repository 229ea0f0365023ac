//! Drives one public connection until it ends, is overdue, becomes a stream, or passes to another process: opens it, waits
//! for requests, and has hyper answer them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWriteExt;

use super::connection::HttpConnection;
use super::encryption::{NotEncrypted, encrypt};
use super::exchange::{Exchanged, NextStep, exchange};
use super::farewell::linger;
use super::handoff::Handoff;
use super::head::HeadSearch;
use super::io::Io;
use super::sealed::Sealed;
use super::socket::{ClientSocket, LooseEnds};
use super::transport::Transport;
use crate::clock::millis;
use crate::net::Socket;
use crate::net::proxy_header::{self, NoHeader};
use crate::public::service::Public;
use crate::shard::{Accepted, Detached, Earlier, Seat, Shard, StartHandshake};
use crate::shutdown::Waiter;

/// How far a connection is when it is taken up.
enum Opening {
    /// Something has to precede its first request.
    Begun(Socket),
    Done(Io),
}

/// What follows the wait for a request.
enum Next {
    /// hyper has something to do.
    Request,
    /// Another process answers it.
    PassedOn,
    /// The server drains, and there is no request to finish.
    Drained,
    /// The connection has failed.
    Failed,
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

/// Returns the work on a connection, until it ends or becomes a stream. Everything large in it is boxed, so that a
/// connection that waits is small.
fn serve(
    public: Arc<Public>,
    accepted: Accepted,
    shard: Rc<RefCell<Shard>>,
) -> impl Future<Output = ()> + 'static {
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
    // Boxed, since a future takes up twice what it is given.
    let opening = Box::new(match earlier {
        Some(earlier) => Opening::Done(connection.go_on(socket, earlier)),
        None if preface.tls || preface.proxy_header => Opening::Begun(socket),
        None => Opening::Done(connection.plain(socket)),
    });
    async move {
        // Several branches may be ready at once, but a connection is refused only once. Input from the client
        // is handled first.
        let given_up = tokio::select! {
            biased;
            () = connection.serve(opening, &shard) => None,
            () = connection.wait_until_overdue() => Some("No request in time"),
            () = connection.wait_for_eviction() => Some("Gave way to newer connections"),
        };
        // A connection that has received a response does not count as refused.
        if let Some(text) = given_up.filter(|_| connection.answers.get() == 0) {
            connection.refuse_handshake(text);
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
    async fn serve(self: &Rc<Self>, opening: Box<Opening>, shard: &RefCell<Shard>) {
        let mut shutdown = self.public.shutdown.waiter();
        let mut io = match *opening {
            Opening::Done(io) => Box::new(io),
            Opening::Begun(socket) => {
                let opened = tokio::select! {
                    biased;
                    opened = Box::pin(self.open(socket)) => opened,
                    // There is no request to finish yet.
                    () = shutdown.draining() => return,
                };
                let Some(io) = opened else { return };
                Box::new(io)
            }
        };
        loop {
            match self.wait_for_request(&mut io, &mut shutdown).await {
                Next::Request => {}
                Next::PassedOn => return Box::pin(self.pass_on(*io, shard)).await,
                Next::Drained => return Box::pin(self.close_idle(*io)).await,
                // With TLS, the reason may have to be sent.
                Next::Failed => {
                    let closed = self.close_after_response(*io, &[], &mut shutdown);
                    return Box::pin(closed).await;
                }
            }
            // Boxed, since it is large.
            let exchanged = Box::pin(exchange(self, *io, &mut shutdown, shard)).await;
            let Some(between) = self.follow(exchanged, &mut shutdown, shard).await else {
                return;
            };
            *io = between;
            // A client that sends many requests at once does not keep others waiting.
            tokio::task::yield_now().await;
        }
    }

    /// Does what follows an exchange. Returns the connection if it waits for the next request.
    async fn follow(
        &self,
        exchanged: Exchanged,
        shutdown: &mut Waiter,
        shard: &RefCell<Shard>,
    ) -> Option<Io> {
        let Exchanged {
            next,
            mut io,
            unread,
            is_idle,
        } = exchanged;
        match next {
            NextStep::Between => {
                io.put_back(&unread);
                return Some(io);
            }
            NextStep::Seated(seat, head) => {
                // Bytes that followed the request are dropped.
                let lost_input = !unread.is_empty() || io.has_unread_content();
                let detached = io.detach().map(|it| it.of(self.origin(), lost_input));
                detach(shard, detached, *seat, head);
            }
            NextStep::PassedOn => {
                io.put_back(&unread);
                Box::pin(self.pass_on(io, shard)).await;
            }
            // No request was in progress, so there is no response that the client has yet to read.
            NextStep::Closed if is_idle => Box::pin(self.close_idle(io)).await,
            NextStep::Closed => Box::pin(self.close_after_response(io, &unread, shutdown)).await,
        }
        None
    }

    fn plain(&self, socket: Socket) -> Io {
        let socket = ClientSocket::new(socket, Rc::clone(&self.loose_ends));
        Io::new(Transport::Plain(socket))
    }

    /// Continues a connection that has been a stream, or that another process has begun to serve.
    fn go_on(&self, socket: Socket, earlier: Earlier) -> Io {
        self.proxied.set(earlier.named);
        let socket = ClientSocket::new(socket, Rc::clone(&self.loose_ends));
        let mut io = Io::new(match earlier.secrets {
            None => Transport::Plain(socket),
            Some(secrets) => Transport::Sealed(Box::new(Sealed::new(socket, secrets, None))),
        });
        io.put_back(&earlier.received);
        io
    }

    /// Reads what has to precede the first request: the PROXY header and the TLS handshake. Returns `None`
    /// if the peer has left or was refused.
    async fn open(&self, mut socket: Socket) -> Option<Io> {
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
        if !self.preface.tls {
            return Some(self.plain(socket));
        }
        let mut socket = ClientSocket::new(socket, Rc::clone(&self.loose_ends));
        socket.wait_for_input().await.ok()?;
        let config = self.public.tls.as_ref()?.server_config();
        match encrypt(socket, config).await {
            Ok(sealed) => Some(Io::new(Transport::Sealed(sealed))),
            Err(NotEncrypted::Closed) => None,
            Err(NotEncrypted::Refused(refusal, socket)) => {
                self.public.log_failed_handshake(refusal, self.peer());
                // Counted first, because the client may take long to read the alert.
                self.refuse_handshake(refusal.text());
                Box::pin(linger(socket)).await;
                None
            }
        }
    }

    /// Waits until hyper has to see the next request.
    async fn wait_for_request(&self, io: &mut Io, shutdown: &mut Waiter) -> Next {
        let mut search = HeadSearch::default();
        let mut next_request = self.public.requests.next();
        let mut finishes = false;
        loop {
            next_request.mark_unchanged();
            tokio::select! {
                biased;
                next = poll_fn(|cx| self.poll_request(io, &mut search, cx)) => return next,
                // The sender is in `self`.
                _ = next_request.changed() => {}
                () = shutdown.draining(), if !finishes => {
                    // Only a first request that has begun is finished.
                    if self.answers.get() > 0 || !io.has_unread_content() {
                        return Next::Drained;
                    }
                    finishes = true;
                }
            }
        }
    }

    fn poll_request(
        &self,
        io: &mut Io,
        search: &mut HeadSearch,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        match io.poll_head(search, cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Next::Request),
            Poll::Ready(Err(_)) => Poll::Ready(Next::Failed),
            // In the middle of a TLS record, it stays.
            Poll::Pending if self.public.requests.are_passed_on() && self.loose_ends.are_none() => {
                Poll::Ready(Next::PassedOn)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Passes the connection to another process, with what has been received of its next request.
    async fn pass_on(&self, mut io: Io, shard: &RefCell<Shard>) {
        self.loose_ends.pass_eof();
        // TLS may still have something to send, such as the answer to new keys.
        if io.flush().await.is_err() {
            return;
        }
        let received = io.take_unread_content();
        match io.detach() {
            Ok(detached) if !detached.has_lost_input() => {
                let detached = detached.of(self.origin(), false);
                shard.borrow_mut().pass_on(detached, received);
            }
            // Its client sends more than a request at once.
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a connection is not passed on"),
        }
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
