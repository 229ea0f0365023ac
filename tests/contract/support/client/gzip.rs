//! A compressed stream, decoded as it arrives.

use std::io::Write;

use flate2::write::GzDecoder;

/// Decodes a gzip stream.
pub(super) struct Inflater(GzDecoder<Vec<u8>>);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(GzDecoder::new(Vec::new()))
    }

    /// The text that becomes decodable with these bytes.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> String {
        self.0.write_all(bytes).expect("a gzip stream");
        self.0.flush().expect("a gzip stream");
        let text = std::mem::take(self.0.get_mut());
        String::from_utf8(text).expect("whole characters at the end of a chunk")
    }

    /// Checks that the stream has ended with the right length and checksum.
    pub(super) fn finish(&mut self) {
        self.0.try_finish().expect("the trailer");
    }
}
