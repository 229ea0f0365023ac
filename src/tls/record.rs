//! Records of TLS 1.3 (RFC 8446 §5). They are sealed into a buffer that the shard's clients share, and
//! opened in place.

#![allow(clippy::indexing_slicing)] // places in a buffer that was just measured

use std::ops::DerefMut;

use aws_lc_rs::aead::Aad;

use super::secrets::{ByCipher, TrafficKeys};

/// Largest content of a record (RFC 8446 §5.1).
pub(crate) const MAX_CONTENT_BYTES: usize = 1 << 14;
/// Largest overhead of encryption (§5.2).
const MAX_EXPANSION_BYTES: usize = 256;
/// Type, version and length (§5.1).
pub(crate) const HEADER_BYTES: usize = 5;
/// The same for all three ciphers.
const TAG_BYTES: usize = 16;

/// Records carry the version of TLS 1.2 (§5.1).
const LEGACY_VERSION: [u8; 2] = [3, 3];
/// Content types (§5.1). Encrypted records always have type data on the outside (§5.2).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// The only handshake message that a client may send after the handshake (§4.6.3).
const KEY_UPDATE: u8 = 24;
/// A client's warning that it is about to close (§6.1); treated as no data.
const USER_CANCELED: u8 = 90;

/// Why a connection ends, as sent to the peer (RFC 8446 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alert {
    CloseNotify = 0,
    UnexpectedMessage = 10,
    BadRecordMac = 20,
    RecordOverflow = 22,
}

/// The content of a client's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// Application data, perhaps empty. Streams ignore it.
    Data(&'a [u8]),
    /// The client closes the connection.
    CloseNotify,
    /// The client reports an error.
    Failure,
    /// The client uses new keys from here on.
    KeyUpdate {
        /// It asks the server to do the same.
        is_requested: bool,
    },
}

/// The length of the record that begins here, including its header; `None` if the header is incomplete.
///
/// # Errors
/// The alert to send, if no record of an established connection can begin like this.
pub(crate) fn record_bytes(start: &[u8]) -> Result<Option<usize>, Alert> {
    if start.first().is_some_and(|outer| *outer != DATA) {
        return Err(Alert::UnexpectedMessage);
    }
    let Some(header) = start.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [.., high, low] = *header;
    let bytes = usize::from(u16::from_be_bytes([high, low]));
    if bytes > MAX_CONTENT_BYTES + MAX_EXPANSION_BYTES {
        return Err(Alert::RecordOverflow);
    }
    Ok(Some(HEADER_BYTES + bytes))
}

impl<Short, Long> ByCipher<Short, Long>
where
    Short: DerefMut<Target = TrafficKeys<16>>,
    Long: DerefMut<Target = TrafficKeys<32>>,
{
    /// Seals `parts` and appends them to `out` in as few records as possible, joined across their bounds.
    pub(crate) fn seal<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) {
        let mut start = begin(out);
        for mut part in parts {
            while !part.is_empty() {
                let room = MAX_CONTENT_BYTES - content_bytes(start, out);
                if room == 0 {
                    self.finish(DATA, start, out);
                    start = begin(out);
                    continue;
                }
                let (now, later) = part.split_at(room.min(part.len()));
                out.extend_from_slice(now);
                part = later;
            }
        }
        if content_bytes(start, out) > 0 {
            self.finish(DATA, start, out);
        } else {
            out.truncate(start);
        }
    }

    /// Seals an alert and appends it to `out`.
    pub(crate) fn seal_alert(&mut self, alert: Alert, out: &mut Vec<u8>) {
        const WARNING: u8 = 1;
        const FATAL: u8 = 2;
        let level = match alert {
            Alert::CloseNotify => WARNING,
            _ => FATAL,
        };
        let start = begin(out);
        out.extend_from_slice(&[level, alert as u8]);
        self.finish(ALERT, start, out);
    }

    /// Seals the announcement of new keys for what is sent, and appends it to `out`. It asks for none in return.
    pub(crate) fn seal_key_update(&mut self, out: &mut Vec<u8>) {
        let start = begin(out);
        out.extend_from_slice(&[KEY_UPDATE, 0, 0, 1, 0]);
        self.finish(HANDSHAKE, start, out);
    }

    #[allow(clippy::cast_possible_truncation, clippy::expect_used)] // a record's length is bounded
    fn finish(&mut self, typed: u8, start: usize, out: &mut Vec<u8>) {
        out.push(typed);
        let body = start + HEADER_BYTES;
        let length = (out.len() - body + TAG_BYTES) as u16;
        let [high, low] = length.to_be_bytes();
        let [major, minor] = LEGACY_VERSION;
        let header = [DATA, major, minor, high, low];
        out[start..body].copy_from_slice(&header);
        let mut cipher = self.sending();
        let nonce = cipher.next_nonce();
        let tag = cipher
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[body..])
            .expect("a record is shorter than a cipher's limit");
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens a complete record in place.
    ///
    /// # Errors
    /// The alert to send. Nothing more can be received after that.
    pub(crate) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<Received<'a>, Alert> {
        const CLOSE_NOTIFY: u8 = Alert::CloseNotify as u8;
        match self.decrypt(record)? {
            (DATA, content) => Ok(Received::Data(content)),
            (ALERT, [_, USER_CANCELED]) => Ok(Received::Data(&[])),
            (ALERT, [_, CLOSE_NOTIFY]) => Ok(Received::CloseNotify),
            (ALERT, [_, _]) => Ok(Received::Failure),
            (HANDSHAKE, [KEY_UPDATE, 0, 0, 1, asked @ (0 | 1)]) => Ok(Received::KeyUpdate {
                is_requested: *asked == 1,
            }),
            _ => Err(Alert::UnexpectedMessage),
        }
    }

    /// The type and the content of a record.
    pub(crate) fn decrypt<'a>(&mut self, record: &'a mut [u8]) -> Result<(u8, &'a [u8]), Alert> {
        let (header, body) = record
            .split_first_chunk_mut::<HEADER_BYTES>()
            .ok_or(Alert::UnexpectedMessage)?;
        let mut cipher = self.receiving();
        let nonce = cipher.next_nonce();
        let inner = cipher
            .key
            .open_in_place(nonce, Aad::from(*header), body)
            .map_err(|_| Alert::BadRecordMac)?;
        if inner.len() > MAX_CONTENT_BYTES + 1 {
            return Err(Alert::RecordOverflow);
        }
        // The type follows the content, and zeros may follow the type (§5.4).
        let padding = inner.iter().rev().take_while(|byte| **byte == 0).count();
        inner[..inner.len() - padding]
            .split_last()
            .map(|(typed, content)| (*typed, content))
            .ok_or(Alert::UnexpectedMessage)
    }
}

/// Reserves space for a record's header, and returns where it starts.
fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    start
}

fn content_bytes(start: usize, out: &[u8]) -> usize {
    out.len() - start - HEADER_BYTES
}

#[cfg(test)]
impl super::Secrets {
    /// A record of any type.
    pub(crate) fn record(&mut self, typed: u8, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = begin(&mut out);
        out.extend_from_slice(content);
        self.finish(typed, start, &mut out);
        out
    }
}

#[cfg(test)]
mod tests;
