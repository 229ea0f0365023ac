//! Tracks how much of the current TLS record has been read, so that no read goes beyond it, and a connection is not detached
//! in the middle of one.

/// The bytes of type, version and length (RFC 8446 §5.1).
const HEADER_BYTES: u8 = 5;

/// The position of the input within the current TLS record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Records {
    /// Bytes of the next record's header that have been read.
    header: u8,
    length: u16,
    /// Bytes of the record's body that are still to come.
    missing: u16,
    has_ciphertext: bool,
}

/// The type of an encrypted record (RFC 8446 §5.2).
const CIPHERTEXT: u8 = 23;

impl Records {
    /// Returns true if no record has been read only in part.
    pub(crate) fn is_between(self) -> bool {
        self.header == 0 && self.missing == 0
    }

    /// Returns true in the body of a record, between its first and its last byte.
    pub(crate) fn is_in_body(self) -> bool {
        self.missing > 0 && self.missing < self.length
    }

    /// Returns true if an encrypted record has begun.
    pub(crate) fn have_ciphertext(self) -> bool {
        self.has_ciphertext
    }

    /// The number of bytes that can be read without going beyond the current record or its header; at
    /// least one.
    pub(crate) fn readable_bytes(self) -> usize {
        if self.missing > 0 {
            usize::from(self.missing)
        } else {
            usize::from(HEADER_BYTES - self.header)
        }
    }

    /// Returns the position after these bytes.
    pub(crate) fn after(mut self, mut bytes: &[u8]) -> Self {
        loop {
            let body = usize::from(self.missing).min(bytes.len());
            self.missing -= u16::try_from(body).unwrap_or(self.missing);
            bytes = bytes.get(body..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                return self;
            };
            bytes = rest;
            self.has_ciphertext |= self.header == 0 && *byte == CIPHERTEXT;
            self.header += 1;
            // The length is in the header's last two bytes. Earlier bytes are shifted out.
            self.length = self.length << 8 | u16::from(*byte);
            if self.header == HEADER_BYTES {
                self.header = 0;
                self.missing = self.length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_end_of_a_record_is_found_however_it_is_split(
            bodies in prop::collection::vec(0usize..700, 0..8),
            reads in prop::collection::vec(1usize..400, 1..60),
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for body in bodies {
                let length = u16::try_from(body).unwrap().to_be_bytes();
                bytes.extend([23, 3, 3, length[0], length[1]]);
                bytes.resize(bytes.len() + body, 0x17);
                ends.push(bytes.len());
            }
            let (mut records, mut read) = (Records::default(), 0);
            for next in reads {
                let upto = (read + next).min(bytes.len());
                let until = read + records.readable_bytes();
                prop_assert!(until > read);
                let passed = ends.iter().any(|end| (read + 1..until).contains(end));
                prop_assert!(!passed, "an end between {} and {}", read, until);
                records = records.after(&bytes[read..upto]);
                read = upto;
                prop_assert_eq!(records.is_between(), ends.contains(&read), "at {}", read);
            }
        }
    }
}
