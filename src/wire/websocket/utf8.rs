//! Checks byte by byte that text is UTF-8 (RFC 3629).

#![allow(clippy::indexing_slicing)] // a character that is incomplete has at most three bytes

use serde::{Deserialize, Serialize};

/// Most bytes of an incomplete character.
const MAX_STARTED_BYTES: usize = 3;

/// The incomplete character at the end of a text so far, if there is one.
///
/// The standard library distinguishes incomplete characters from invalid ones. So this needs only four
/// bytes of state, no table and no crate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Utf8 {
    started: [u8; MAX_STARTED_BYTES],
    started_bytes: u8,
}

/// The text is not UTF-8.
#[derive(Debug)]
pub(super) struct NotUtf8;

impl Utf8 {
    /// Takes the text's next byte. Fails at the first byte that no further bytes can make valid.
    pub(super) fn push(&mut self, byte: u8) -> Result<(), NotUtf8> {
        let before = usize::from(self.started_bytes);
        let mut character = [0; MAX_STARTED_BYTES + 1];
        character[..before].copy_from_slice(&self.started[..before]);
        character[before] = byte;
        let [started @ .., _] = character;
        *self = match str::from_utf8(&character[..=before]) {
            Ok(_) => Self::default(),
            Err(error) if error.error_len().is_none() => Self {
                started,
                started_bytes: self.started_bytes + 1,
            },
            Err(_) => return Err(NotUtf8),
        };
        Ok(())
    }

    /// Returns true if the text may end here.
    pub(super) fn is_complete(self) -> bool {
        self.started_bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The number of bytes that are taken before one is invalid.
    fn taken(bytes: &[u8]) -> (usize, Utf8) {
        let mut utf8 = Utf8::default();
        let wrong = bytes.iter().position(|byte| utf8.push(*byte).is_err());
        (wrong.unwrap_or(bytes.len()), utf8)
    }

    #[test]
    fn every_character_is_taken() {
        let all: String = ('\0'..=char::MAX).collect();
        let (bytes, utf8) = taken(all.as_bytes());
        assert_eq!(bytes, all.len());
        assert!(utf8.is_complete());
    }

    /// Compares incomplete and invalid sequences of three bytes with the standard library.
    #[test]
    fn a_byte_is_wrong_as_soon_as_nothing_can_make_it_right() {
        let interesting = [
            0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1,
            0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff,
        ];
        for first in interesting {
            for second in interesting {
                for third in interesting {
                    let bytes = [first, second, third];
                    let can_go_on = |len: &usize| match str::from_utf8(&bytes[..*len]) {
                        Ok(_) => true,
                        Err(error) => error.error_len().is_none(),
                    };
                    let right = (1..=3).take_while(can_go_on).last().unwrap_or(0);
                    let (taken, utf8) = taken(&bytes);
                    assert_eq!(taken, right, "{bytes:x?}");
                    if taken == 3 {
                        assert_eq!(utf8.is_complete(), str::from_utf8(&bytes).is_ok());
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_text_is_what_the_standard_library_calls_one(bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            "\\PC{0,6}".prop_map(String::into_bytes),
        ]) {
            let (taken, utf8) = taken(&bytes);
            let is_text = taken == bytes.len() && utf8.is_complete();
            prop_assert_eq!(is_text, str::from_utf8(&bytes).is_ok());
        }
    }
}
