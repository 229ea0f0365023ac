//! Checksums of rows, lines and marks. They reveal what the disk altered.

use sha2::{Digest, Sha256};

/// The first 64 bits of a SHA-256 over `parts`. Each part is hashed with its length, so that a byte that
/// moves from one part to the next is noticed. With `kind`, a row of one table cannot pass for a row of
/// another.
pub(super) fn checksum(kind: &str, parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in [kind.as_bytes()].iter().chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_altered_or_moved_has_another_checksum() {
        let sum = checksum("event", &[b"ab", b"c"]);
        assert_eq!(sum, checksum("event", &[b"ab", b"c"]));
        assert_ne!(sum, checksum("event", &[b"ab", b"d"]));
        assert_ne!(sum, checksum("event", &[b"a", b"bc"]));
        assert_ne!(sum, checksum("source", &[b"ab", b"c"]));
    }
}
