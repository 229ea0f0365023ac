//! The frames of recent replays, compressed. After a restart or a cut, many clients have missed the same events at the
//! same time. Compressing a frame takes as long as sending it, so it is done once for all of them.

#![allow(clippy::indexing_slicing)] // the index is the remainder of a division by the length

use crate::event::{Position, Target};
use crate::hub::EventCompression;
use crate::hub::log::{Entry, Record};
use crate::wire::Deflated;

/// Frames at most: some pieces of a replay. Clients that catch up take turns, piece by piece.
const MAX_FRAMES: usize = 256;
/// Bytes of all frames at most: as many of 8 KiB, which is large for a compressed event.
const MAX_BYTES: usize = 2 << 20;

/// Compressed frames by the positions of their entries in the log.
#[derive(Debug, Default)]
pub(super) struct RecentFrames {
    /// Empty, or [`MAX_FRAMES`] places. A position has one place.
    places: Box<[Option<(Position, Deflated)>]>,
    bytes: usize,
}

impl RecentFrames {
    /// The frame of an entry, if several clients may want it and compressing it is worth the memory.
    pub(super) fn of(&mut self, entry: &Entry, compression: EventCompression) -> Option<&Deflated> {
        let is_for_many = match &entry.record {
            Record::Event { to, .. } => !matches!(to, Target::User(_)),
            _ => false,
        };
        if !is_for_many || entry.wire_bytes() < compression.min_bytes() {
            return None;
        }
        if self.places.is_empty() || self.bytes > MAX_BYTES {
            self.places = (0..MAX_FRAMES).map(|_| None).collect();
            self.bytes = 0;
        }
        let place = usize::try_from(entry.position.0 % MAX_FRAMES as u64).unwrap_or(0);
        let place = &mut self.places[place];
        if place.as_ref().is_none_or(|(of, _)| *of != entry.position) {
            let frame = Deflated::new(&entry.signal(), compression.min_bytes());
            self.bytes += frame.bytes().len();
            if let Some((_, before)) = place.replace((entry.position, frame)) {
                self.bytes -= before.bytes().len();
            }
        }
        place.as_ref().map(|(_, frame)| frame)
    }

    /// Frees all memory.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::Compression;
    use crate::event::{EventId, EventName};
    use crate::hub::log::Log;

    fn entries(count: usize, bytes: usize) -> Vec<Arc<Entry>> {
        let log = Log::new(1 << 30, Duration::from_secs(600), EventId::origin(1));
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..count {
            let data: String = (0..bytes).map(|_| random.alphanumeric()).collect();
            let record = Record::Event {
                to: Target::All,
                name: EventName::default(),
                data: data.into(),
                is_kept: true,
            };
            log.append(log.newest_id().next(1_000), 0, record).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let mut entries = Vec::new();
            while entries.len() < count {
                entries.extend(log.next_batch(count).await);
            }
            entries
        })
    }

    fn compression() -> EventCompression {
        EventCompression::of(&Compression {
            enabled: true,
            ..Compression::default()
        })
    }

    #[test]
    fn a_frame_is_compressed_once_and_never_another_entrys() {
        let mut recent = RecentFrames::default();
        let entries = entries(MAX_FRAMES + 3, 1_000);
        for _ in 0..2 {
            for entry in &entries {
                let fresh = Deflated::new(&entry.signal(), compression().min_bytes());
                let frame = recent.of(entry, compression()).unwrap().bytes().clone();
                assert_eq!(&frame, fresh.bytes());
                let again = recent.of(entry, compression()).unwrap();
                assert_eq!(again.bytes().as_ptr(), frame.as_ptr());
            }
        }
        assert!(
            recent
                .of(&self::entries(1, 100)[0], compression())
                .is_none()
        );
    }

    #[test]
    fn the_frames_are_bounded_and_freed() {
        let mut recent = RecentFrames::default();
        for entry in &entries(100, 60_000) {
            let frame = recent.of(entry, compression()).unwrap().bytes().len();
            assert!(recent.bytes <= MAX_BYTES + frame);
            let kept = recent.places.iter().flatten();
            let kept: usize = kept.map(|(_, frame)| frame.bytes().len()).sum();
            assert_eq!(recent.bytes, kept);
        }
        recent.release();
        assert!(recent.places.is_empty());
    }
}
