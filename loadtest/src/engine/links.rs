//! The TLS state of a worker's connections. It is stored beside the slab of connections, with the same keys,
//! so that clients without TLS have none, and clients that send nothing have only one direction's.

use crate::parse::{Malformed, Reached};
use crate::tls::{Client, Fault, Input, Link, Sealer, Stopped, TlsCounts};

/// The TLS state of a worker's connections.
#[derive(Debug)]
pub(super) struct Links {
    /// By node. Nodes without TLS have none.
    clients: Vec<Option<Client>>,
    by_key: Vec<Option<Link>>,
    /// The keys of the clients' own records; only for WebSocket, whose clients answer pings.
    sealers: Option<Vec<Option<Sealer>>>,
    counts: TlsCounts,
}

impl Links {
    /// Reserves space for this number of connections. `answer` is true if clients send anything after their
    /// request.
    pub(super) fn new(clients: Vec<Option<Client>>, connections: usize, answer: bool) -> Self {
        Self {
            clients,
            by_key: Vec::with_capacity(connections),
            sealers: answer.then(|| Vec::with_capacity(connections)),
            counts: TlsCounts::default(),
        }
    }

    /// Returns true if connections to `node` use TLS.
    pub(super) fn is_secure(&self, node: u8) -> bool {
        self.clients[usize::from(node)].is_some()
    }

    /// Begins the handshake of a connection to `node`, which uses TLS, after which the request is sent. Appends the bytes to send to
    /// `outgoing`.
    pub(super) fn start(
        &mut self,
        key: usize,
        node: u8,
        request: &[u8],
        outgoing: &mut Vec<u8>,
    ) -> Result<(), String> {
        let client = self.clients[usize::from(node)].as_ref();
        let link = Link::start(client.expect("it uses TLS"), request, outgoing);
        let link = link.map_err(|fault| self.faulty(&fault))?;
        if self.by_key.len() <= key {
            self.by_key.resize_with(key + 1, || None);
        }
        self.by_key[key] = Some(link);
        Ok(())
    }

    /// Takes the next part of the response from bytes that were read; see [`Link::receive`]. `unfinished` is the
    /// reason for losing a stream whose connection was closed with `close_notify`.
    pub(super) fn receive(
        &mut self,
        key: usize,
        input: &mut Input<'_>,
        outgoing: &mut Vec<u8>,
        unfinished: &'static str,
        sink: &mut impl FnMut(&[u8]) -> Result<Reached, Malformed>,
    ) -> Result<Option<Reached>, String> {
        let Some(link) = &mut self.by_key[key] else {
            return Ok(None);
        };
        let mut sealer = None;
        let received = link.receive(input, outgoing, &mut self.counts, &mut sealer, sink);
        if let (Some(sealers), Some(_)) = (&mut self.sealers, &sealer) {
            if sealers.len() <= key {
                sealers.resize_with(key + 1, || None);
            }
            sealers[key] = sealer;
        }
        received.map_err(|stopped| match stopped {
            Stopped::Closed => unfinished.to_owned(),
            Stopped::Faulty(fault) => self.faulty(&fault),
            Stopped::Malformed(malformed) => malformed.to_string(),
        })
    }

    /// Appends `bytes`, as records, to `outgoing`. Appends nothing if the stream has not begun.
    pub(super) fn seal(&mut self, key: usize, bytes: &[u8], outgoing: &mut Vec<u8>) {
        let sealer = self.sealers.as_mut().and_then(|all| all.get_mut(key));
        if let Some(Some(sealer)) = sealer {
            sealer.seal(bytes, outgoing);
        }
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
        let sealer = self.sealers.as_mut().and_then(|all| all.get_mut(key));
        if let Some(sealer) = sealer {
            *sealer = None;
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
