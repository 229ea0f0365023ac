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
use crate::public::service::Public;
use crate::refusals::RefusalNote;
use crate::shard::Origin;

/// A public connection while it speaks HTTP.
pub(crate) struct HttpConnection {
    pub(crate) public: Arc<Public>,
    pub(crate) handoff: Handoff,
    /// The socket's peer; `None` for a unix socket.
    pub(super) socket_peer: Option<IpAddr>,
    /// What the listener requires before the first request.
    pub(super) preface: Preface,
    /// The client that a PROXY header names.
    pub(super) proxied: Cell<Option<IpAddr>>,
    pub(super) handshake: Handshake,
    pub(super) loose_ends: Rc<LooseEnds>,
    /// The client still gets its response if it closes its side.
    pub(super) holds_end: Cell<bool>,
    /// When the connection was accepted, or last received a response.
    pub(super) answered_ms: Cell<u64>,
    pub(super) answers: Cell<u64>,
    /// What follows the last response: the close frame of a WebSocket that is refused.
    pub(super) farewell: RefCell<Option<Vec<u8>>>,
    /// It was refused before its first request.
    pub(super) is_refused: Cell<bool>,
}

impl Drop for HttpConnection {
    /// Releases the place that was reserved for an offer that the driver did not take.
    fn drop(&mut self) {
        let offer = self.handoff.take();
        if let Some(who) = offer.and_then(|offer| offer.admission.identity) {
            self.public.hub.release(&who.user);
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

    /// The client's address, if it differs from the socket's peer.
    pub(crate) fn remote(&self, headers: &HeaderMap) -> Option<IpAddr> {
        // A connection of the balancer's own, such as a health check: it has set no headers.
        if self.preface.proxy_header && self.proxied.get().is_none() {
            return None;
        }
        forwarded_for(headers, self.peer(), &self.public.trusted_proxies).or(self.proxied.get())
    }

    /// The client's address, as far as it is known.
    pub(crate) fn address(&self, headers: &HeaderMap) -> Option<IpAddr> {
        self.remote(headers).or(self.peer())
    }

    /// Counts a connection that was refused before its first request, once, and lists it.
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

    /// Counts a request for a stream that was refused, and lists it for the operator.
    pub(crate) fn refused(&self, refused: Refused, is_test: bool, headers: &HeaderMap) {
        // A test stream needs no credential, so its refusals must not hide or outnumber those of
        // users.
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

    /// From now on a client that closes its side still gets its response: its request is complete.
    pub(crate) fn hold_end(&self) {
        self.holds_end.set(true);
    }

    /// From now on a client that closes its side has left: its request is incomplete, or it waits for
    /// a stream.
    pub(crate) fn pass_end(&self) {
        self.holds_end.set(false);
    }

    /// Waits for the server's own work on a request. Meanwhile the connection cannot be evicted. Must
    /// not be used to wait for the client.
    pub(crate) async fn working<T>(&self, work: impl Future<Output = T>) -> T {
        self.handshake.working(work).await
    }

    /// Waits for an answer of the register, if it is not here yet.
    pub(crate) async fn answer_of<T>(&self, promise: Promise<'_, T>) -> T {
        match promise {
            Promise::Now(answer) => answer,
            Promise::Later(answer) => self.working(answer).await,
        }
    }
}
