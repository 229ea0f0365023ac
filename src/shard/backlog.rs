//! What one slow client still has to get: shared bytes, never copies.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::wheel::Tick;

/// Slices handed to one send: more are rarely taken by a socket that was full a moment ago.
const MAX_SLICES: usize = 16;

/// The bytes after a short write. Exists only while there are some.
#[derive(Debug)]
pub(crate) struct Backlog {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// When the socket last took something, or the client's end was written.
    progress: Tick,
}

impl Backlog {
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
            progress: now,
        }
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn progress(&self) -> Tick {
        self.progress
    }

    /// The first bytes, for one send.
    pub(crate) fn slices(&self) -> ([IoSlice<'_>; MAX_SLICES], usize) {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut used = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            used += 1;
        }
        (slices, used)
    }

    /// Whether [`Backlog::slices`] are all there is.
    pub(crate) fn fits_one_send(&self) -> bool {
        self.chunks.len() <= MAX_SLICES
    }

    /// Counts the time without progress from `now`.
    pub(crate) fn start_timeout(&mut self, now: Tick) {
        self.progress = now;
    }

    /// The socket took `sent` bytes.
    pub(crate) fn advance(&mut self, mut sent: usize) {
        self.bytes -= sent;
        while let Some(first) = self.chunks.front_mut() {
            if sent < first.len() {
                first.advance(sent);
                break;
            }
            sent -= first.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_leaves_once_and_in_order(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..40),
            takes in prop::collection::vec(0usize..120, 1..200),
        ) {
            let mut backlog = Backlog::new(Tick(0));
            for chunk in &chunks {
                backlog.push(Bytes::from(chunk.clone()));
            }
            let mut out = Vec::new();
            for take in takes {
                let (slices, used) = backlog.slices();
                let offered: Vec<u8> = slices[..used].iter().flat_map(|s| s.to_vec()).collect();
                let taken = take.min(offered.len());
                out.extend_from_slice(&offered[..taken]);
                backlog.advance(taken);
            }
            let all = chunks.concat();
            prop_assert_eq!(&out[..], &all[..out.len()]);
            prop_assert_eq!(backlog.bytes(), all.len() - out.len());
        }
    }
}
