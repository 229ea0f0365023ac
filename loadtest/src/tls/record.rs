//! Splits a byte stream into records, without copying complete ones.
//!
//! The bytes of an incomplete record are kept on the heap until the rest arrives.

use super::Fault;

/// Type, version and length.
pub(super) const HEADER_BYTES: usize = 5;
/// The type of every encrypted record, and of the application data in it (RFC 8446, appendix B.1).
pub(super) const APPLICATION_DATA: u8 = 23;
/// RFC 8446, section 5.2: content of at most 2^14 bytes, plus at most 256 bytes of encryption.
pub(super) const MAX_CONTENT_BYTES: usize = 1 << 14;
const MAX_BODY_BYTES: usize = MAX_CONTENT_BYTES + 256;

/// Splits a byte stream into records.
#[derive(Debug, Default)]
pub(super) struct Records {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
}

/// Bytes that were read and not yet taken.
#[derive(Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a mut [u8]);

/// A record with its header.
#[derive(Debug)]
pub(super) enum Record<'a> {
    /// In place.
    InPlace(&'a mut [u8]),
    /// Assembled on the heap.
    Joined(Vec<u8>),
}

impl Records {
    /// Takes the next complete record from `input`; `None` if `input` is used up without one.
    pub(super) fn next<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<Record<'a>>, Fault> {
        if self.partial.is_none() {
            if let Some(length) = whole(input.0)?.filter(|&length| length <= input.0.len()) {
                return Ok(Some(Record::InPlace(input.take(length))));
            }
            if input.0.is_empty() {
                return Ok(None);
            }
        }
        let mut partial = self.partial.take().unwrap_or_default();
        partial.fill(HEADER_BYTES, input);
        if let Some(length) = whole(&partial.bytes)? {
            partial.fill(length, input);
            if partial.bytes.len() == length {
                return Ok(Some(Record::Joined(partial.bytes)));
            }
        }
        self.partial = Some(partial);
        Ok(None)
    }
}

impl Partial {
    /// Takes the missing bytes up to `length` from `input`, as far as available.
    fn fill(&mut self, length: usize, input: &mut Input<'_>) {
        let missing = length.saturating_sub(self.bytes.len()).min(input.0.len());
        self.bytes.extend_from_slice(input.take(missing));
    }
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> &'a mut [u8] {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut(length);
        self.0 = rest;
        taken
    }
}

impl Record<'_> {
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

/// The length of a record including its header; `None` if the header is incomplete.
fn whole(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let Some(&[_, _, _, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let body = usize::from(u16::from_be_bytes([high, low]));
    if body > MAX_BODY_BYTES {
        return Err(Fault::TooLong);
    }
    Ok(Some(HEADER_BYTES + body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[23, 3, 3, length[0], length[1]], body].concat()
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_split_the_records_are_the_same(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..12),
            pieces in proptest::collection::vec(1usize..30, 1..60),
        ) {
            let expected: Vec<Vec<u8>> = bodies.iter().map(|body| record(body)).collect();
            let mut stream = expected.concat();
            let (mut records, mut found) = (Records::default(), Vec::new());
            let mut rest = Input(&mut stream);
            for piece in pieces.into_iter().cycle() {
                if rest.0.is_empty() {
                    break;
                }
                let piece = piece.min(rest.0.len());
                let mut input = Input(rest.take(piece));
                while let Some(mut record) = records.next(&mut input).unwrap() {
                    found.push(record.bytes().to_vec());
                }
                prop_assert!(input.0.is_empty());
            }
            prop_assert_eq!(found, expected);
            prop_assert!(records.partial.is_none(), "nothing is kept between records");
        }
    }

    #[test]
    fn an_invalid_length_is_refused_before_its_bytes_arrive() {
        let (mut records, mut stream) = (Records::default(), [23, 3, 3, 0x41, 0x01]);
        let (first, second) = stream.split_at_mut(3);
        assert!(matches!(records.next(&mut Input(first)), Ok(None)));
        assert_eq!(
            records.next(&mut Input(second)).unwrap_err(),
            Fault::TooLong
        );
    }
}
