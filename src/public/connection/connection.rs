//! A connection, as its requests and its driver see it.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::HeaderMap;

use super::handoff::Handoff;
use super::socket::LooseEnds;
use crate::metrics::RefusedReason;
use crate::net::{Handshake, Preface};
use crate::public::address::forwarded_for;
use crate::public::refusal::Refused;
use crate::public::service::Public;
use crate::refusals::RefusalNote;
use crate::shard::Origin;

/// One connection, as its requests see it.
pub(crate) struct HttpConnection {
    pub(crate) public: Arc<Public>,
    pub(crate) handoff: Handoff,
    /// The socket's peer; `None` for a unix socket.
    pub(super) socket_peer: Option<IpAddr>,
    /// What had to come before any request.
    pub(super) preface: Preface,
    /// The client that a PROXY header names.
    pub(super) proxied: Cell<Option<IpAddr>>,
    pub(super) handshake: Handshake,
    pub(super) loose_ends: Rc<LooseEnds>,
    /// Its client may close its side and gets its answer all the same.
    pub(super) holds_end: Cell<bool>,
    /// When the connection came or was last answered.
    pub(super) answered_ms: Cell<u64>,
    pub(super) answers: Cell<u64>,
    /// It was refused before it could ask for anything.
    pub(super) is_refused: Cell<bool>,
}

impl Drop for HttpConnection {
    /// Gives the place back that was reserved for an offer which nobody took.
    fn drop(&mut self) {
        let offer = self.handoff.take();
        if let Some(who) = offer.and_then(|offer| offer.admission.identity) {
            self.public.hub.release(&who.user);
        }
    }
}

impl HttpConnection {
    /// Who speaks HTTP here: the client or the last proxy before us; `None` for a unix socket.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.proxied.get().or(self.socket_peer)
    }

    /// What came before its first request, to be known when the stream has ended.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            proxy_header: self.preface.proxy_header,
            named: self.proxied.get(),
        }
    }

    /// The client, where it is another than the socket's peer.
    pub(crate) fn remote(&self, headers: &HeaderMap) -> Option<IpAddr> {
        // The balancer's own address, trusted or not, has put nothing into the headers.
        if self.preface.proxy_header && self.proxied.get().is_none() {
            return None;
        }
        forwarded_for(headers, self.peer(), &self.public.trusted_proxies).or(self.proxied.get())
    }

    /// Where the client is, as far as is known.
    pub(crate) fn address(&self, headers: &HeaderMap) -> Option<IpAddr> {
        self.remote(headers).or(self.peer())
    }

    /// Counts a connection that did not come so far as to ask for anything, once, and lists it.
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
        // Nobody has to say who they are for a test stream, so its refusals must not hide or
        // outnumber those of users.
        let counted = if is_test {
            RefusedReason::Test
        } else {
            refused.reason.metric()
        };
        self.public
            .refused(counted, || refused.note(counted, self.address(headers)));
    }

    /// A client that closes its side from now on gets its answer all the same: its request is here.
    pub(crate) fn hold_end(&self) {
        self.holds_end.set(true);
    }

    /// A client that closes its side has gone: it has not sent all of its request, or waits for a
    /// stream.
    pub(crate) fn pass_end(&self) {
        self.holds_end.set(false);
    }

    /// Waits for what the server has to do for the request, which protects the connection from
    /// having to give way. Never for the client.
    pub(crate) async fn working<T>(&self, work: impl Future<Output = T>) -> T {
        self.handshake.working(work).await
    }
}
