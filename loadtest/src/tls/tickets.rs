//! The tickets that resume sessions, shared by all clients.
//!
//! A ticket is used once. Each handshake brings at least one, so a store of as many as there may be handshakes
//! under way lets every client after the first ones come by a ticket, and a whole crowd return by them.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Tickets of one server.
#[derive(Debug)]
pub(super) struct Tickets {
    kept: Mutex<VecDeque<Tls13ClientSessionValue>>,
    most: usize,
}

impl Tickets {
    /// Room for `most` of them.
    pub(super) fn new(most: usize) -> Self {
        Self {
            kept: Mutex::default(),
            most,
        }
    }
}

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut kept = self.kept.lock();
        if kept.len() == self.most {
            kept.pop_front();
        }
        kept.push_back(ticket);
    }

    /// The newest: it is the last to expire.
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.lock().pop_back()
    }

    // A server that does not take the first group says so in each handshake, as it does to a new client.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    // TLS 1.2 is not spoken.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}
