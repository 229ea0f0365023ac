//! What a client sends after its stream has left rustls: read only to tell an end from all else.

use super::record::{Alert, Received, record_bytes};
use super::secrets::Secrets;

/// What becomes of a client after what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsInput {
    /// Nothing that a stream listens to, so far.
    Nothing,
    /// It ends the connection.
    Close,
    /// It gives the connection up, or says that we are at fault.
    Failure,
    /// It sent more than it may.
    TooMuch,
    /// It is told why it is cut off.
    Invalid(Alert),
    /// It has new keys, which nobody here follows.
    KeyUpdate,
}

impl Secrets {
    /// Opens the whole records at the beginning of `seen`, in place, up to the first that decides
    /// something; `budget` bounds what they may be. Says how many bytes were taken: what is left of
    /// `seen` is the next record's, in part, and has to be seen again with the rest.
    pub(crate) fn receive(&mut self, seen: &mut [u8], budget: usize) -> (usize, TlsInput) {
        let mut taken = 0;
        loop {
            let rest = seen.get_mut(taken..).unwrap_or_default();
            let bytes = match record_bytes(rest) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return (taken, TlsInput::Nothing),
                Err(alert) => return (taken, TlsInput::Invalid(alert)),
            };
            // A record that would be too much is not waited for.
            if taken + bytes > budget {
                return (taken, TlsInput::TooMuch);
            }
            let Some(record) = rest.get_mut(..bytes) else {
                return (taken, TlsInput::Nothing);
            };
            taken += bytes;
            let input = match self.open(record) {
                Ok(Received::Data(_)) => continue,
                Ok(Received::CloseNotify) => TlsInput::Close,
                Ok(Received::Failure) => TlsInput::Failure,
                Ok(Received::KeyUpdate) => TlsInput::KeyUpdate,
                Err(alert) => TlsInput::Invalid(alert),
            };
            return (taken, input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: usize = 8 * 1_024;

    /// What a client may do next.
    #[derive(Clone, Debug)]
    enum Act {
        /// A record of this type and content.
        Record(u8, Vec<u8>),
        /// The same with a bit flipped, in its body.
        Tampered(Vec<u8>, usize),
        /// The last record once more.
        Replay,
        /// Bytes that are no record of anybody's.
        Bytes(Vec<u8>),
    }

    fn act() -> impl Strategy<Value = Act> {
        let content = || prop::collection::vec(any::<u8>(), 0..40);
        let typed = prop_oneof![Just(21u8), Just(22), Just(23), any::<u8>()];
        let short = prop_oneof![
            Just(vec![1, 0]),
            Just(vec![2, 40]),
            Just(vec![24, 0, 0, 1, 1]),
            content(),
        ];
        prop_oneof![
            12 => content().prop_map(|content| Act::Record(23, content)),
            4 => (typed, short).prop_map(|(typed, content)| Act::Record(typed, content)),
            2 => (content(), any::<usize>()).prop_map(|(content, bit)| Act::Tampered(content, bit)),
            1 => Just(Act::Replay),
            1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Act::Bytes),
            1 => (3_000usize..16_000).prop_map(|bytes| Act::Record(23, vec![7; bytes])),
        ]
    }

    /// What is said of a record that is as the client made it.
    fn meaning(typed: u8, content: &[u8]) -> TlsInput {
        // A type of zero is padding: the type is what stands before it.
        let all: Vec<u8> = content.iter().copied().chain([typed]).collect();
        let end = all.iter().rposition(|byte| *byte != 0);
        match end.map(|end| (all[end], &all[..end])) {
            Some((23, _) | (21, [_, 90])) => TlsInput::Nothing,
            Some((21, [_, 0])) => TlsInput::Close,
            Some((21, [_, _])) => TlsInput::Failure,
            Some((22, [24, ..])) => TlsInput::KeyUpdate,
            _ => TlsInput::Invalid(Alert::UnexpectedMessage),
        }
    }

    /// The bytes that a client sends, and what the last of them decide.
    fn script(acts: &[Act], client: &mut Secrets) -> (Vec<u8>, TlsInput) {
        let mut bytes = Vec::new();
        let mut last = Vec::new();
        for act in acts {
            let (next, input) = match act {
                Act::Record(typed, content) => {
                    last = client.record(*typed, content);
                    (last.clone(), meaning(*typed, content))
                }
                Act::Tampered(content, bit) => {
                    let mut record = client.record(23, content);
                    let bit = 40 + bit % (record.len() * 8 - 40);
                    record[bit / 8] ^= 1 << (bit % 8);
                    (record, TlsInput::Invalid(Alert::BadRecordMac))
                }
                Act::Replay if last.is_empty() => continue,
                Act::Replay => (last.clone(), TlsInput::Invalid(Alert::BadRecordMac)),
                Act::Bytes(garbage) => {
                    let input = match record_bytes(garbage) {
                        Err(alert) => TlsInput::Invalid(alert),
                        // It waits for the rest of what looks like one.
                        Ok(Some(length)) if bytes.len() + length > BUDGET => TlsInput::TooMuch,
                        Ok(Some(length)) if garbage.len() >= length => {
                            TlsInput::Invalid(Alert::BadRecordMac)
                        }
                        Ok(_) => return ([&bytes[..], garbage].concat(), TlsInput::Nothing),
                    };
                    (garbage.clone(), input)
                }
            };
            if bytes.len() + next.len() > BUDGET && !matches!(act, Act::Bytes(_)) {
                return ([bytes, next].concat(), TlsInput::TooMuch);
            }
            bytes.extend_from_slice(&next);
            if input != TlsInput::Nothing {
                return (bytes, input);
            }
        }
        (bytes, TlsInput::Nothing)
    }

    proptest! {
        /// Ten million of these: `PROPTEST_CASES=10000000 cargo test --release --lib tls::inbound`.
        #[test]
        fn a_client_is_understood_however_its_bytes_come(
            cipher in 0usize..3,
            acts in prop::collection::vec(act(), 0..12),
            pieces in prop::collection::vec(1usize..900, 1..12),
        ) {
            let (mut server, mut client) = Secrets::pair(cipher);
            let (bytes, expected) = script(&acts, &mut client);
            let (mut arrived, mut taken, mut input) = (0, 0, TlsInput::Nothing);
            let mut pieces = pieces.iter().cycle();
            while arrived < bytes.len() && input == TlsInput::Nothing {
                arrived = (arrived + pieces.next().unwrap()).min(bytes.len());
                // What is peeked at is a copy; the kernel keeps the bytes until they are taken.
                let mut seen = bytes[taken..arrived].to_vec();
                let (more, now) = server.receive(&mut seen, BUDGET - taken);
                prop_assert!(more <= seen.len());
                (taken, input) = (taken + more, now);
            }
            prop_assert_eq!(input, expected);
        }
    }
}
