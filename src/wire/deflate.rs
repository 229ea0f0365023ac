//! Deflate blocks (RFC 1951) that can be decoded at once, and that refer to nothing before them.
//!
//! So the same blocks fit into the stream of every client, whatever it has received, and the size of one event reveals
//! nothing about another.

use std::cell::RefCell;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

/// zlib's own default: higher levels save 1 % more of a JSON event of 4 KiB, and take half as long again.
const LEVEL: i32 = 6;
/// The largest window, because one event may have 64 KiB and more. Negative: without a zlib header.
const WINDOW_BITS: i32 = -15;

/// The most bytes of a stored block.
const STORED_MAX_BYTES: usize = u16::MAX as usize;
/// A stored block's header: no last block, stored, the rest of the byte unused; then the length and its complement.
const STORED_HEADER_BYTES: usize = 5;
/// An empty stored block, as a flush ends with. Go's decoder keeps what it has decoded until it meets one, or the end.
const FLUSH: [u8; STORED_HEADER_BYTES] = [0, 0, 0, 0xff, 0xff];
/// An empty last block.
pub(super) const LAST_BLOCK: [u8; 2] = [3, 0];

thread_local! {
    /// The compressor of a shard: 0.3 MB, allocated for its first compressed event.
    static COMPRESSOR: RefCell<Deflate> = RefCell::new(Deflate::new_with_config(DeflateConfig {
        level: LEVEL,
        window_bits: WINDOW_BITS,
        ..DeflateConfig::default()
    }));
}

/// Appends a text as it is, in blocks that end at a byte and can be decoded at once.
pub(super) fn push_stored(text: &[u8], out: &mut Vec<u8>) {
    for part in text.chunks(STORED_MAX_BYTES) {
        let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&FLUSH);
}

/// Appends a text, compressed if that makes it shorter, in blocks that end at a byte.
pub(super) fn push(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // Not more than the text as it is.
    out.resize(start + STORED_HEADER_BYTES + text.len() + FLUSH.len(), 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let len = COMPRESSOR.with_borrow_mut(|compressor| compress(compressor, text, room));
    out.truncate(start + len.unwrap_or(0));
    if len.is_none() {
        push_stored(text, out);
    }
}

/// The number of bytes that a text takes; `None` if `room` is too small.
fn compress(compressor: &mut Deflate, text: &[u8], room: &mut [u8]) -> Option<usize> {
    compressor.reset();
    // A sync flush ends at a byte, with everything decodable; a full flush would only clear a window that `reset`
    // clears anyway.
    let status = compressor.compress(text, room, DeflateFlush::SyncFlush);
    let len = usize::try_from(compressor.total_out()).ok()?;
    // A flush that has filled the room may not be complete.
    let is_whole = compressor.total_in() == text.len() as u64 && len < room.len();
    (status.is_ok() && is_whole).then_some(len)
}
