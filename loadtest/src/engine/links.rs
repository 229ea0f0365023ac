//! The TLS state of a worker's connections. It is stored beside the slab of connections, with the same keys,
//! so that clients without TLS have none.

use super::UNFINISHED;
use crate::parse::{Malformed, Reached};
use crate::tls::{Client, Fault, Input, Link, Stopped, TlsCounts};

/// The TLS state of a worker's connections.
#[derive(Debug)]
pub(super) struct Links {
    client: Client,
    by_key: Vec<Option<Link>>,
    counts: TlsCounts,
}

impl Links {
    /// Reserves space for this number of connections.
    pub(super) fn new(client: Client, connections: usize) -> Self {
        Self {
            client,
            by_key: Vec::with_capacity(connections),
            counts: TlsCounts::default(),
        }
    }

    /// Begins the handshake of a connection, after which the request is sent. Appends the bytes to send to
    /// `outgoing`.
    pub(super) fn start(
        &mut self,
        key: usize,
        request: &[u8],
        outgoing: &mut Vec<u8>,
    ) -> Result<(), String> {
        let link = Link::start(&self.client, request, outgoing);
        let link = link.map_err(|fault| self.faulty(&fault))?;
        if self.by_key.len() <= key {
            self.by_key.resize_with(key + 1, || None);
        }
        self.by_key[key] = Some(link);
        Ok(())
    }

    /// Takes the next part of the response from bytes that were read; see [`Link::receive`].
    pub(super) fn receive(
        &mut self,
        key: usize,
        input: &mut Input<'_>,
        outgoing: &mut Vec<u8>,
        sink: &mut impl FnMut(&[u8]) -> Result<Reached, Malformed>,
    ) -> Result<Option<Reached>, String> {
        let Some(link) = &mut self.by_key[key] else {
            return Ok(None);
        };
        let received = link.receive(input, outgoing, &mut self.counts, sink);
        received.map_err(|stopped| match stopped {
            Stopped::Closed => UNFINISHED.to_owned(),
            Stopped::Faulty(fault) => self.faulty(&fault),
            Stopped::Malformed(malformed) => malformed.to_string(),
        })
    }

    /// The connection ended without `close_notify`.
    pub(super) fn truncated(&mut self) -> String {
        self.faulty(&Fault::Truncated)
    }

    /// The connection is no longer read.
    pub(super) fn end(&mut self, key: usize) {
        if let Some(link) = self.by_key.get_mut(key) {
            *link = None;
        }
    }

    pub(super) fn counts(&self) -> TlsCounts {
        self.counts
    }

    fn faulty(&mut self, fault: &Fault) -> String {
        self.counts.faults += 1;
        fault.to_string()
    }
}
