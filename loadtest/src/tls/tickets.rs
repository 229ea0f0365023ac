//! Session tickets, shared by all clients.
//!
//! A ticket is used once. Each handshake returns at least one. So a store for as many tickets as there may be
//! handshakes in flight lets all clients but the first ones resume, even after a cut of all streams.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// The session tickets of one server.
#[derive(Debug)]
pub(super) struct Tickets {
    kept: Mutex<VecDeque<Tls13ClientSessionValue>>,
    most: usize,
}

impl Tickets {
    /// Stores up to `most` tickets.
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

    /// The newest, which expires last.
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.lock().pop_back()
    }

    // A server that does not accept the first group asks for another in each handshake, also with new
    // clients.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    // TLS 1.2 is not used.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}
