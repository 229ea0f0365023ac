//! A worker's TLS: what each of its connections holds of it, beside the slab of connections and by the same keys, so
//! that clients without TLS hold nothing of it, and clients that say nothing only half.

use crate::parse::{Malformed, Reached};
use crate::tls::{Client, Counts, Fault, Input, Link, Sealer, Stopped};

/// The TLS of a worker's connections.
#[derive(Debug)]
pub(super) struct Links {
    client: Client,
    by_key: Vec<Option<Link>>,
    /// What they seal with, where they answer their server.
    sealers: Option<Vec<Option<Sealer>>>,
    /// Why a stream is lost whose connection was closed in form.
    unfinished: &'static str,
    counts: Counts,
}

impl Links {
    /// Room for so many connections, and whether they `answer` their server within the stream. `unfinished` is why
    /// a stream is lost whose connection was closed in form.
    pub(super) fn new(
        client: Client,
        connections: usize,
        answer: bool,
        unfinished: &'static str,
    ) -> Self {
        Self {
            client,
            by_key: Vec::with_capacity(connections),
            sealers: answer.then(|| Vec::with_capacity(connections)),
            unfinished,
            counts: Counts::default(),
        }
    }

    /// Begins the handshake of a connection, with the request that follows it; what is to be sent is added to
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

    /// Takes the next part of the response off what was read of a connection; see [`Link::receive`].
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
        let mut sealer = None;
        let received = link.receive(input, outgoing, &mut self.counts, &mut sealer, sink);
        if let (Some(sealers), Some(_)) = (&mut self.sealers, &sealer) {
            if sealers.len() <= key {
                sealers.resize_with(key + 1, || None);
            }
            sealers[key] = sealer;
        }
        received.map_err(|stopped| match stopped {
            Stopped::Closed => self.unfinished.to_owned(),
            Stopped::Faulty(fault) => self.faulty(&fault),
            Stopped::Malformed(malformed) => malformed.to_string(),
        })
    }

    /// Adds the records that say `bytes` to `outgoing`; nothing where the connection's stream has not begun.
    pub(super) fn seal(&mut self, key: usize, bytes: &[u8], outgoing: &mut Vec<u8>) {
        let sealer = self.sealers.as_mut().and_then(|all| all.get_mut(key));
        if let Some(Some(sealer)) = sealer {
            sealer.seal(bytes, outgoing);
        }
    }

    /// The connection has ended without a word.
    pub(super) fn truncated(&mut self) -> String {
        self.faulty(&Fault::Truncated)
    }

    /// Nothing more is read of the connection.
    pub(super) fn end(&mut self, key: usize) {
        if let Some(link) = self.by_key.get_mut(key) {
            *link = None;
        }
        let sealer = self.sealers.as_mut().and_then(|all| all.get_mut(key));
        if let Some(sealer) = sealer {
            *sealer = None;
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn faulty(&mut self, fault: &Fault) -> String {
        self.counts.faults += 1;
        fault.to_string()
    }
}
