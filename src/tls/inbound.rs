//! Opens what a client sends after its stream has left rustls, and notices when it ends the connection.

use std::ops::DerefMut;

use super::record::{Alert, Received, record_bytes};
use super::secrets::{ByCipher, TrafficKeys};

/// The meaning of a client's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsInput {
    /// Nothing so far that concerns a stream.
    Nothing,
    /// The client closes the connection.
    Close,
    /// The client reports an error.
    Failure,
    /// The client sent more than its budget.
    TooMuch,
    /// The bytes are invalid; the client gets this alert.
    Invalid(Alert),
    /// The client changes its keys, which this server does not follow.
    KeyUpdate,
}

impl<Short, Long> ByCipher<Short, Long>
where
    Short: DerefMut<Target = TrafficKeys<16>>,
    Long: DerefMut<Target = TrafficKeys<32>>,
{
    /// Opens the complete records at the start of `seen`, in place, until one decides the result, and passes
    /// their `content` on. They may have `budget` bytes in all. Returns the number of bytes taken and their
    /// meaning. The rest of `seen` is an incomplete record, and has to be passed again with the bytes that
    /// follow.
    pub(crate) fn receive(
        &mut self,
        seen: &mut [u8],
        budget: usize,
        mut content: impl FnMut(&[u8]),
    ) -> (usize, TlsInput) {
        let mut taken = 0;
        loop {
            let rest = seen.get_mut(taken..).unwrap_or_default();
            let bytes = match record_bytes(rest) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return (taken, TlsInput::Nothing),
                Err(alert) => return (taken, TlsInput::Invalid(alert)),
            };
            // Does not wait for the rest of a record that exceeds the budget.
            if taken + bytes > budget {
                return (taken, TlsInput::TooMuch);
            }
            let Some(record) = rest.get_mut(..bytes) else {
                return (taken, TlsInput::Nothing);
            };
            taken += bytes;
            let input = match self.open(record) {
                Ok(Received::Data(opened)) => {
                    content(opened);
                    continue;
                }
                Ok(Received::CloseNotify) => TlsInput::Close,
                Ok(Received::Failure) => TlsInput::Failure,
                Ok(Received::KeyUpdate { .. }) => TlsInput::KeyUpdate,
                Err(alert) => TlsInput::Invalid(alert),
            };
            return (taken, input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Secrets;
    use proptest::prelude::*;

    const BUDGET: usize = 8 * 1_024;

    /// A step of a client.
    #[derive(Clone, Debug)]
    enum Act {
        /// Sends a record of this type and content.
        Record(u8, Vec<u8>),
        /// Sends such a record with one bit of its body flipped.
        Tampered(Vec<u8>, usize),
        /// Sends the last record again.
        Replay,
        /// Sends bytes that are not a record.
        Bytes(Vec<u8>),
    }

    fn act() -> impl Strategy<Value = Act> {
        let content = || prop::collection::vec(any::<u8>(), 0..40);
        let typed = prop_oneof![Just(21u8), Just(22), Just(23), any::<u8>()];
        let short = prop_oneof![
            Just(vec![1, 0]),
            Just(vec![2, 40]),
            (0..3u8).prop_map(|asked| vec![24, 0, 0, 1, asked]),
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

    /// The expected meaning of a record that the client sent unchanged, and its content for a reader.
    fn meaning(typed: u8, content: &[u8]) -> (TlsInput, Vec<u8>) {
        // Zeros are padding: the type is the last other byte.
        let all: Vec<u8> = content.iter().copied().chain([typed]).collect();
        let end = all.iter().rposition(|byte| *byte != 0);
        let input = match end.map(|end| (all[end], &all[..end])) {
            Some((23, data)) => return (TlsInput::Nothing, data.to_vec()),
            Some((21, [_, 90])) => TlsInput::Nothing,
            Some((21, [_, 0])) => TlsInput::Close,
            Some((21, [_, _])) => TlsInput::Failure,
            Some((22, [24, 0, 0, 1, 0 | 1])) => TlsInput::KeyUpdate,
            _ => TlsInput::Invalid(Alert::UnexpectedMessage),
        };
        (input, Vec::new())
    }

    /// The bytes that a client sends, and what is expected of them.
    #[derive(Default)]
    struct Script {
        bytes: Vec<u8>,
        /// The content for a reader.
        content: Vec<u8>,
        /// Their meaning, if they decide anything.
        input: Option<TlsInput>,
    }

    fn script(acts: &[Act], client: &mut Secrets) -> Script {
        let mut script = Script::default();
        let mut last = Vec::new();
        for act in acts {
            let mut content = Vec::new();
            let (next, input) = match act {
                Act::Record(typed, data) => {
                    last = client.record(*typed, data);
                    let input;
                    (input, content) = meaning(*typed, data);
                    (last.clone(), input)
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
                        // The server waits for the rest of what looks like a record.
                        Ok(Some(length)) if script.bytes.len() + length > BUDGET => {
                            TlsInput::TooMuch
                        }
                        Ok(Some(length)) if garbage.len() >= length => {
                            TlsInput::Invalid(Alert::BadRecordMac)
                        }
                        Ok(_) => {
                            script.bytes.extend_from_slice(garbage);
                            return script;
                        }
                    };
                    (garbage.clone(), input)
                }
            };
            let is_too_much =
                script.bytes.len() + next.len() > BUDGET && !matches!(act, Act::Bytes(_));
            script.bytes.extend_from_slice(&next);
            if is_too_much {
                script.input = Some(TlsInput::TooMuch);
                return script;
            }
            script.content.append(&mut content);
            if input != TlsInput::Nothing {
                script.input = Some(input);
                return script;
            }
        }
        script
    }

    proptest! {
        /// To run ten million: `PROPTEST_CASES=10000000 cargo test --release --lib tls::inbound`.
        #[test]
        fn the_meaning_does_not_depend_on_how_bytes_are_split(
            cipher in 0usize..3,
            acts in prop::collection::vec(act(), 0..12),
            pieces in prop::collection::vec(1usize..900, 1..12),
        ) {
            let (mut server, mut client) = Secrets::pair(cipher);
            let Script { bytes, content, input: expected } = script(&acts, &mut client);
            let mut read = Vec::new();
            let (mut arrived, mut taken, mut input) = (0, 0, TlsInput::Nothing);
            let mut pieces = pieces.iter().cycle();
            while arrived < bytes.len() && input == TlsInput::Nothing {
                arrived = (arrived + pieces.next().unwrap()).min(bytes.len());
                // A copy, as with a peek: the kernel keeps the bytes until they are taken.
                let mut seen = bytes[taken..arrived].to_vec();
                let (more, now) = server.receive(&mut seen, BUDGET - taken, |content| {
                    read.extend_from_slice(content);
                });
                prop_assert!(more <= seen.len());
                (taken, input) = (taken + more, now);
            }
            prop_assert_eq!(input, expected.unwrap_or(TlsInput::Nothing));
            prop_assert_eq!(read, content);
        }
    }
}
