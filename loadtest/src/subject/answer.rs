//! Reads the answer to a request, piece by piece.

use anyhow::{Result, anyhow, bail, ensure};

use crate::parse::chunked::Dechunker;
use crate::parse::head::{Head, HeadParser};

/// A status whose response has no body, whatever its head says (RFC 9110, section 15.3.5).
const NO_CONTENT: u16 = 204;
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// An answer that is being received.
#[derive(Debug, Default)]
pub(super) struct Answer {
    parser: HeadParser,
    head: Option<Head>,
    chunks: Dechunker,
    body: Vec<u8>,
}

impl Answer {
    /// Takes what was received; nothing means that the connection has ended. Returns the answer once it is complete.
    pub(super) fn feed(&mut self, received: &[u8]) -> Result<Option<(Head, String)>> {
        let mut input = received;
        if self.head.is_none() {
            let head = self.parser.feed(&mut input);
            self.head = head.map_err(|malformed| anyhow!("{malformed}"))?;
        }
        let body = &mut self.body;
        let done = match &self.head {
            None => false,
            Some(Head {
                status: NO_CONTENT, ..
            }) => true,
            Some(head) if head.chunked => {
                while let Some(bytes) = self
                    .chunks
                    .next(&mut input)
                    .map_err(|malformed| anyhow!("{malformed}"))?
                {
                    body.extend_from_slice(bytes);
                }
                self.chunks.ended()
            }
            Some(head) => {
                body.extend_from_slice(input);
                head.content_length
                    .map_or(received.is_empty(), |length| body.len() >= length)
            }
        };
        ensure!(
            body.len() <= MAX_BODY_BYTES,
            "an answer of over {MAX_BODY_BYTES} bytes"
        );
        match self.head {
            Some(head) if done => Ok(Some((head, String::from_utf8_lossy(body).into_owned()))),
            _ if received.is_empty() => bail!("the connection ended within the answer"),
            _ => Ok(None),
        }
    }
}

/// Returns true if another request may be sent on the connection after this answer.
pub(super) fn leaves_open(head: &Head) -> bool {
    let delimited = head.chunked || head.content_length.is_some() || head.status == NO_CONTENT;
    !head.close && delimited
}
