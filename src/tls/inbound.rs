//! What a client sends after its stream has left rustls: records are opened, and an end told from
//! all else.

use super::record::{Alert, Received, record_bytes};
use super::secrets::Secrets;

/// What becomes of a client after what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing of TLS' own, so far.
    Stays,
    /// It ends the connection.
    Leaves,
    /// It gives the connection up, or says that we are at fault.
    Fails,
    /// It sent more than it may.
    Floods,
    /// It is told why it is cut off.
    Breaks(Alert),
    /// It has new keys, which nobody here follows.
    Renews,
}

impl Secrets {
    /// Opens the whole records at the beginning of `seen`, in place, up to the first that decides
    /// something, and gives out their `content`; `budget` bounds what they may be. Says how many bytes
    /// were taken: what is left of `seen` is the next record's, in part, and has to be seen again with
    /// the rest.
    pub(crate) fn receive(
        &mut self,
        seen: &mut [u8],
        budget: usize,
        mut content: impl FnMut(&[u8]),
    ) -> (usize, Verdict) {
        let mut taken = 0;
        loop {
            let rest = seen.get_mut(taken..).unwrap_or_default();
            let bytes = match record_bytes(rest) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return (taken, Verdict::Stays),
                Err(alert) => return (taken, Verdict::Breaks(alert)),
            };
            // A record that would be too much is not waited for.
            if taken + bytes > budget {
                return (taken, Verdict::Floods);
            }
            let Some(record) = rest.get_mut(..bytes) else {
                return (taken, Verdict::Stays);
            };
            taken += bytes;
            let verdict = match self.open(record) {
                Ok(Received::Data(opened)) => {
                    content(opened);
                    continue;
                }
                Ok(Received::CloseNotify) => Verdict::Leaves,
                Ok(Received::Failure) => Verdict::Fails,
                Ok(Received::KeyUpdate) => Verdict::Renews,
                Err(alert) => Verdict::Breaks(alert),
            };
            return (taken, verdict);
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

    /// What is said of a record that is as the client made it, and what is in it for a reader.
    fn meaning(typed: u8, content: &[u8]) -> (Verdict, Vec<u8>) {
        // A type of zero is padding: the type is what stands before it.
        let all: Vec<u8> = content.iter().copied().chain([typed]).collect();
        let end = all.iter().rposition(|byte| *byte != 0);
        let verdict = match end.map(|end| (all[end], &all[..end])) {
            Some((23, data)) => return (Verdict::Stays, data.to_vec()),
            Some((21, [_, 90])) => Verdict::Stays,
            Some((21, [_, 0])) => Verdict::Leaves,
            Some((21, [_, _])) => Verdict::Fails,
            Some((22, [24, ..])) => Verdict::Renews,
            _ => Verdict::Breaks(Alert::UnexpectedMessage),
        };
        (verdict, Vec::new())
    }

    /// What a client does.
    #[derive(Default)]
    struct Script {
        bytes: Vec<u8>,
        /// What a reader gets of them.
        content: Vec<u8>,
        /// What the last of them decide, if they decide anything.
        verdict: Option<Verdict>,
    }

    fn script(acts: &[Act], client: &mut Secrets) -> Script {
        let mut script = Script::default();
        let mut last = Vec::new();
        for act in acts {
            let mut content = Vec::new();
            let (next, verdict) = match act {
                Act::Record(typed, data) => {
                    last = client.record(*typed, data);
                    let verdict;
                    (verdict, content) = meaning(*typed, data);
                    (last.clone(), verdict)
                }
                Act::Tampered(content, bit) => {
                    let mut record = client.record(23, content);
                    let bit = 40 + bit % (record.len() * 8 - 40);
                    record[bit / 8] ^= 1 << (bit % 8);
                    (record, Verdict::Breaks(Alert::BadRecordMac))
                }
                Act::Replay if last.is_empty() => continue,
                Act::Replay => (last.clone(), Verdict::Breaks(Alert::BadRecordMac)),
                Act::Bytes(garbage) => {
                    let verdict = match record_bytes(garbage) {
                        Err(alert) => Verdict::Breaks(alert),
                        // It waits for the rest of what looks like one.
                        Ok(Some(length)) if script.bytes.len() + length > BUDGET => Verdict::Floods,
                        Ok(Some(length)) if garbage.len() >= length => {
                            Verdict::Breaks(Alert::BadRecordMac)
                        }
                        Ok(_) => {
                            script.bytes.extend_from_slice(garbage);
                            return script;
                        }
                    };
                    (garbage.clone(), verdict)
                }
            };
            let floods = script.bytes.len() + next.len() > BUDGET && !matches!(act, Act::Bytes(_));
            script.bytes.extend_from_slice(&next);
            if floods {
                script.verdict = Some(Verdict::Floods);
                return script;
            }
            script.content.append(&mut content);
            if verdict != Verdict::Stays {
                script.verdict = Some(verdict);
                return script;
            }
        }
        script
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
            let Script { bytes, content, verdict: expected } = script(&acts, &mut client);
            let mut read = Vec::new();
            let (mut arrived, mut taken, mut verdict) = (0, 0, Verdict::Stays);
            let mut pieces = pieces.iter().cycle();
            while arrived < bytes.len() && verdict == Verdict::Stays {
                arrived = (arrived + pieces.next().unwrap()).min(bytes.len());
                // What is peeked at is a copy; the kernel keeps the bytes until they are taken.
                let mut seen = bytes[taken..arrived].to_vec();
                let (more, now) = server.receive(&mut seen, BUDGET - taken, |content| {
                    read.extend_from_slice(content);
                });
                prop_assert!(more <= seen.len());
                (taken, verdict) = (taken + more, now);
            }
            prop_assert_eq!(verdict, expected.unwrap_or(Verdict::Stays));
            prop_assert_eq!(read, content);
        }
    }
}
