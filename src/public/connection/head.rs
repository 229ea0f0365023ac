//! Finds out when hyper has something to do with the beginning of a request.

use httparse::{EMPTY_HEADER, Request};
use memchr::memchr_iter;

/// The largest request head. It has room for a token of 8 KiB, cookies, and the headers that proxies add.
pub(super) const MAX_HEAD_BYTES: usize = 32 * 1_024;
/// hyper's default for the number of header fields.
const MAX_FIELDS: usize = 100;

/// The search for the end of a request's head in what has been received so far.
#[derive(Debug, Default)]
pub(super) struct HeadSearch {
    /// There is no end in this many bytes.
    searched: usize,
}

impl HeadSearch {
    /// Returns true once hyper has something to do with these bytes, which begin with those of the last call: they contain
    /// a whole head, are too many for one, or begin with none. hyper parses them itself, and answers what is wrong with them.
    pub(super) fn is_over(&mut self, received: &[u8]) -> bool {
        let before = std::mem::replace(&mut self.searched, received.len());
        received.len() >= MAX_HEAD_BYTES
            || has_blank_line(received, before)
            // Like hyper, looks at the fields only once: a client that sends them byte by byte must not cost a parse for each.
            || (before == 0 && !received.is_empty() && !begins_a_head(received))
    }
}

/// Returns true if a blank line ends behind the first `searched` bytes. It may be one that hyper does not accept as the end.
fn has_blank_line(received: &[u8], searched: usize) -> bool {
    // The end of most requests.
    if received.ends_with(b"\r\n\r\n") && received.len() > searched {
        return true;
    }
    // A blank line may have begun in the last two bytes.
    let unseen = received.get(searched.saturating_sub(2)..);
    let unseen = unseen.unwrap_or_default();
    memchr_iter(b'\n', unseen).any(|at| {
        let rest = unseen.get(at + 1..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

/// Returns false if no continuation can make this a head.
fn begins_a_head(received: &[u8]) -> bool {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    Request::new(&mut fields).parse(received).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The number of bytes of `sent` that have to arrive until hyper has something to do, if they arrive one by one.
    fn needed(sent: &[u8]) -> Option<usize> {
        let mut search = HeadSearch::default();
        (0..=sent.len()).find(|&bytes| search.is_over(&sent[..bytes]))
    }

    #[test]
    fn a_head_is_over_at_its_blank_line() {
        for (sent, bytes) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n", Some(27)),
            ("GET / HTTP/1.1\nHost: a\n\n", Some(24)),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b", None),
            ("", None),
        ] {
            assert_eq!(needed(sent.as_bytes()), bytes, "{sent:?}");
            let at_once = HeadSearch::default().is_over(sent.as_bytes());
            assert_eq!(at_once, bytes.is_some(), "{sent:?}");
        }
    }

    #[test]
    fn hyper_answers_at_once_what_is_no_head() {
        for sent in [
            b"\x16\x03\x01\x02\x00\x01".as_slice(),
            b"GET / HTTP/1.1\r\nno field\r\n",
            b"GET / HTTP/9.9\r\n",
        ] {
            assert!(HeadSearch::default().is_over(sent), "{sent:?}");
        }
    }

    #[test]
    fn hyper_answers_a_head_that_is_too_long() {
        let mut sent = b"GET / HTTP/1.1\r\nHost: ".to_vec();
        sent.resize(MAX_HEAD_BYTES + 1, b'a');
        assert_eq!(needed(&sent), Some(MAX_HEAD_BYTES));
    }

    proptest! {
        #[test]
        fn the_end_is_found_however_the_bytes_arrive(
            text in "GET / HTTP/1\\.1\r\n[a\r\n]{0,40}",
            parts in prop::collection::vec(1_usize..9, 60),
        ) {
            let sent = text.as_bytes();
            let ends = |bytes: &[u8]| {
                [b"\n\r\n".as_slice(), b"\n\n"]
                    .iter()
                    .any(|end| bytes.windows(end.len()).any(|window| window == *end))
            };
            // The first part is the whole first line, which has no fields yet.
            let mut search = HeadSearch::default();
            let mut arrived = 16;
            prop_assert!(!search.is_over(&sent[..arrived]));
            for part in parts {
                arrived = (arrived + part).min(sent.len());
                let is_over = search.is_over(&sent[..arrived]);
                prop_assert_eq!(is_over, ends(&sent[..arrived]), "{} bytes", arrived);
                if is_over {
                    break;
                }
            }
        }
    }
}
