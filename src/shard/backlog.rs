//! The bytes that a slow client has not received yet. They are shared, not copied, where possible.
//!
//! Its limits are checked elsewhere: the size when bytes are added (`Outbox::keep`), the stall by the timers.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::wheel::Tick;
use crate::wire::Piece;

/// The most slices in one send. A socket that was full a moment ago rarely takes more.
const MAX_SLICES: usize = 16;

/// Bytes that wait to be sent, and the size of the memory that they keep allocated.
#[derive(Debug)]
pub(crate) struct UnsentBytes {
    bytes: Bytes,
    /// The size of the allocation that the bytes belong to. It stays as long as one of them waits.
    pinned: usize,
}

impl UnsentBytes {
    /// Shares the bytes of a piece from `sent` on.
    pub(crate) fn of_piece(piece: &Piece<'_>, sent: usize) -> Self {
        Self {
            bytes: piece.share(sent),
            pinned: piece.allocated(),
        }
    }

    /// Copies `rest`.
    pub(crate) fn copy(rest: &[u8]) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(rest),
            pinned: rest.len(),
        }
    }
}

/// The bytes that are left after a short write. A client has a backlog only while some are left.
#[derive(Debug)]
pub(crate) struct Backlog {
    chunks: VecDeque<UnsentBytes>,
    bytes: usize,
    pinned: usize,
    /// The time when the socket last took bytes, or when the end of the stream was written.
    progress: Tick,
}

impl Backlog {
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
            pinned: 0,
            progress: now,
        }
    }

    pub(crate) fn push(&mut self, chunk: UnsentBytes) {
        if !chunk.bytes.is_empty() {
            self.bytes += chunk.bytes.len();
            self.pinned += chunk.pinned;
            self.chunks.push_back(chunk);
        }
    }

    /// The number of bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of bytes that stay allocated for them.
    pub(crate) fn pinned(&self) -> usize {
        self.pinned
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn progress(&self) -> Tick {
        self.progress
    }

    /// Returns the first bytes, as many as one send takes.
    pub(crate) fn slices(&self) -> ([IoSlice<'_>; MAX_SLICES], usize) {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut used = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes);
            used += 1;
        }
        (slices, used)
    }

    /// Returns true if [`Backlog::slices`] returns everything.
    pub(crate) fn fits_one_send(&self) -> bool {
        self.chunks.len() <= MAX_SLICES
    }

    /// A copy of the bytes.
    pub(crate) fn copy(&self) -> Vec<u8> {
        let chunks = self.chunks.iter();
        chunks
            .flat_map(|chunk| chunk.bytes.iter().copied())
            .collect()
    }

    /// Measures the time without progress from `now` on.
    pub(crate) fn start_timeout(&mut self, now: Tick) {
        self.progress = now;
    }

    /// Removes the first `sent` bytes, which the socket has taken.
    pub(crate) fn advance(&mut self, mut sent: usize) {
        self.bytes -= sent;
        while let Some(first) = self.chunks.front_mut() {
            if sent < first.bytes.len() {
                first.bytes.advance(sent);
                break;
            }
            sent -= first.bytes.len();
            self.pinned -= first.pinned;
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Encoded, Signal, Wire};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_leaves_once_and_in_order(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..40),
            takes in prop::collection::vec(0usize..120, 1..200),
        ) {
            let mut backlog = Backlog::new(Tick(0));
            for chunk in &chunks {
                backlog.push(UnsentBytes::copy(chunk));
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
            // A chunk stays allocated as a whole until its last byte is sent.
            let mut rest = backlog.bytes();
            let waiting = chunks.iter().rev().take_while(|chunk| {
                let waits = rest > 0;
                rest = rest.saturating_sub(chunk.len());
                waits
            });
            prop_assert_eq!(backlog.pinned(), waiting.map(Vec::len).sum::<usize>());
        }
    }

    #[test]
    fn the_rest_of_an_event_pins_all_of_it() {
        let (encoded, line) = (Encoded::default(), "x".repeat(10_000));
        let mut backlog = Backlog::new(Tick(0));
        let mut allocated = 0;
        for wire in [Wire::SseChunked, Wire::SseRaw] {
            let piece = encoded.get(wire, || Signal::TestLine(&line));
            backlog.push(UnsentBytes::of_piece(&piece, piece.len() - 10));
            allocated = piece.allocated();
        }
        backlog.push(UnsentBytes::copy(b"0\r\n\r\n"));
        assert_eq!((backlog.bytes(), backlog.pinned()), (25, 2 * allocated + 5));
        backlog.advance(9);
        assert_eq!((backlog.bytes(), backlog.pinned()), (16, 2 * allocated + 5));
        backlog.advance(11);
        assert_eq!((backlog.bytes(), backlog.pinned()), (5, 5));
        backlog.advance(5);
        assert!(backlog.is_empty());
    }
}
