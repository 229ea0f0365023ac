//! The state of a connection that its requests and its driver share.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::HeaderMap;

use super::handoff::Handoff;
use super::socket::LooseEnds;
use crate::hub::engine::Promise;
use crate::metrics::RefusedReason;
use crate::net::{Handshake, Preface};
use crate::public::address::forwarded_for;
use crate::public::refusal::Refused;
use crate::public::requests::NextRequest;
use crate::public::service::Public;
use crate::refusals::RefusalNote;
use crate::shard::Origin;

/// A public connection while it speaks HTTP.
pub(crate) struct HttpConnection {
    pub(crate) public: Arc<Public>,
    pub(crate) handoff: Handoff,
    /// The socket's peer; `None` for a unix socket.
    pub(super) socket_peer: Option<IpAddr>,
    /// What has to precede the first request on this listener.
    pub(super) preface: Preface,
    /// The client that a PROXY header names.
    pub(super) proxied: Cell<Option<IpAddr>>,
    pub(super) handshake: Handshake,
    pub(super) loose_ends: Rc<LooseEnds>,
    /// A client that closes its side still gets its response.
    pub(super) allows_half_close: Cell<bool>,
    /// The time of the last response, or of the accept.
    pub(super) answered_ms: Cell<u64>,
    /// The number of responses.
    pub(super) answers: Cell<u64>,
    /// What follows the last response: the close frame of a WebSocket that is refused.
    pub(super) farewell: RefCell<Option<Vec<u8>>>,
    /// The connection was refused before its first request.
    pub(super) is_refused: Cell<bool>,
    /// A request is being answered.
    pub(super) is_answering: Cell<bool>,
    /// The last request was answered before its body was read. What follows may be the rest of that.
    pub(super) has_unread_body: Cell<bool>,
    /// It may have begun a request that has not ended.
    pub(super) is_under_way: Cell<bool>,
}

impl Drop for HttpConnection {
    /// If the driver did not take the offer, releases the place that was reserved for it.
    fn drop(&mut self) {
        self.end_request();
        let offer = self.handoff.take();
        if let Some(who) = offer.and_then(|offer| offer.admission.identity) {
            self.public.hub.cancel(&who.user);
        }
    }
}

impl HttpConnection {
    /// The peer that speaks HTTP: the client or the last proxy; `None` for a unix socket.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.proxied.get().or(self.socket_peer)
    }

    /// The origin of the connection, which it keeps when it returns from a stream to HTTP.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            proxy_header: self.preface.proxy_header,
            named: self.proxied.get(),
        }
    }

    /// Lets the next request begin, if this process answers it. Until [`HttpConnection::end_request`], one is under way.
    pub(super) fn begin_request(&self) -> NextRequest {
        if self.is_under_way.get() {
            return NextRequest::Answered;
        }
        let next = self.public.requests.begin();
        self.is_under_way.set(next == NextRequest::Answered);
        next
    }

    /// No request is under way any more.
    pub(super) fn end_request(&self) {
        if self.is_under_way.replace(false) {
            self.public.requests.end();
        }
    }

    /// Returns true if no request is being answered, and every response has been sent. A part of the next request may
    /// have been read.
    pub(super) fn is_between_requests(&self) -> bool {
        !self.is_answering.get() && self.farewell.borrow().is_none() && self.loose_ends.are_none()
    }

    /// The client's address, if it differs from the socket's peer.
    pub(crate) fn remote(&self, headers: &HeaderMap) -> Option<IpAddr> {
        // The balancer's own connection, such as a health check, forwards no client's address.
        if self.preface.proxy_header && self.proxied.get().is_none() {
            return None;
        }
        forwarded_for(headers, self.peer(), &self.public.trusted_proxies).or(self.proxied.get())
    }

    /// The client's address, as far as it is known.
    pub(crate) fn address(&self, headers: &HeaderMap) -> Option<IpAddr> {
        self.remote(headers).or(self.peer())
    }

    /// Counts and lists a connection that was refused before its first request. Does nothing if called again.
    pub(super) fn refuse_handshake(&self, text: &'static str) {
        if self.is_refused.replace(true) {
            return;
        }
        let reason = RefusedReason::Handshake;
        self.public.refused(reason, || RefusalNote {
            reason,
            text,
            status: None,
            remote: self.peer(),
            user: None,
        });
    }

    /// Counts a refused request for a stream, and lists it for the operator.
    pub(crate) fn refused(&self, refused: Refused, is_test: bool, headers: &HeaderMap) {
        // Test streams need no credential. Their refusals are counted separately so that anyone who causes
        // them cannot hide the refusals of users.
        let counted = if is_test {
            RefusedReason::Test
        } else {
            refused.reason.metric()
        };
        self.public
            .refused(counted, || refused.note(counted, self.address(headers)));
    }

    /// After the response, which switches to WebSocket, the client gets this close frame.
    pub(crate) fn close_with(&self, frame: Vec<u8>) {
        *self.farewell.borrow_mut() = Some(frame);
    }

    /// From now on, a client that closes its side still gets its response: its request is complete.
    pub(crate) fn allow_half_close(&self) {
        self.allows_half_close.set(true);
    }

    /// From now on, a client that closes its side counts as gone: its request is incomplete, or it is
    /// waiting for a stream.
    pub(crate) fn forbid_half_close(&self) {
        self.allows_half_close.set(false);
    }

    /// Runs a future. If the client closes its side meanwhile, it no longer wants the stream, and hyper drops
    /// the request.
    pub(crate) async fn run_until_closed<T>(&self, future: impl Future<Output = T>) -> T {
        self.forbid_half_close();
        let outcome = future.await;
        self.allow_half_close();
        outcome
    }

    /// Runs the server's own work on a request. Until it ends, the connection is protected from eviction.
    /// Must not be used to wait for the client.
    pub(crate) async fn run_protected<T>(&self, work: impl Future<Output = T>) -> T {
        self.handshake.working(work).await
    }

    /// Returns the register's answer, and waits for it if necessary.
    pub(crate) async fn answer_of<T>(&self, promise: Promise<'_, T>) -> T {
        match promise {
            Promise::Now(answer) => answer,
            Promise::Later(answer) => self.run_protected(answer).await,
        }
    }
}
