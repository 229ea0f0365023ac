//! What tells a row, a line or a mark that was stored from one that the disk altered.

use sha2::{Digest, Sha256};

/// The first 64 bits of a SHA-256 over `parts`, each with its length, so that nothing moves
/// unnoticed from one part to the next. `kind` keeps a row of one table from passing for another's.
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
