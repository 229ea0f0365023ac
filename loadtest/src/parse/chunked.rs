//! Removes chunked transfer coding (RFC 9112 §7.1), byte by byte, with eight bytes of state.

use super::Malformed;

/// Longest chunk accepted; the server's largest event is 64 KiB.
const MAX_CHUNK_BYTES: u32 = 16 * 1024 * 1024;

/// Removes the framing of a chunked body.
#[derive(Debug, Default)]
pub(crate) struct Dechunker {
    state: State,
    /// In `Size` and `Extension` the size read so far; in `Data` the bytes still to come.
    bytes: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    SizeStart,
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    End,
}

impl Dechunker {
    /// Removes framing from `input` and returns the next run of body bytes. Call it until it returns `None`:
    /// then `input` is used up or the body has ended.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        while let Some(&byte) = input.first() {
            if self.state == State::Data {
                let here = input.len().min(self.bytes as usize);
                let (data, rest) = input.split_at(here);
                *input = rest;
                self.bytes -= u32::try_from(here).expect("no more than `bytes`");
                if self.bytes == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Some(data));
            }
            if self.state == State::End {
                return Ok(None);
            }
            self.state = self.framing(byte)?;
            *input = &input[1..];
        }
        Ok(None)
    }

    /// Returns true if the last chunk has been read completely.
    pub(crate) fn ended(&self) -> bool {
        self.state == State::End
    }

    fn framing(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::SizeStart, _) => {
                self.bytes = digit(byte)?;
                State::Size
            }
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size, b';' | b' ' | b'\t') => State::Extension,
            (State::Size, _) => {
                self.bytes = self.bytes * 16 + digit(byte)?;
                if self.bytes > MAX_CHUNK_BYTES {
                    return Err(Malformed::TooLong);
                }
                State::Size
            }
            (State::Extension, _) if byte != b'\n' => State::Extension,
            (State::SizeLf, b'\n') if self.bytes == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeStart,
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, _) if byte != b'\n' => State::Trailer,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::End,
            _ => return Err(Malformed::Chunk),
        })
    }
}

fn digit(byte: u8) -> Result<u32, Malformed> {
    char::from(byte).to_digit(16).ok_or(Malformed::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut input: &[u8]) -> Result<(Vec<u8>, bool), Malformed> {
        let mut chunks = Dechunker::default();
        let mut body = Vec::new();
        while let Some(bytes) = chunks.next(&mut input)? {
            body.extend_from_slice(bytes);
        }
        Ok((body, chunks.ended()))
    }

    #[test]
    fn sizes_extensions_and_trailers_are_removed() {
        let coded =
            b"5;a=b\r\nhello\r\n1F \r\n0123456789012345678901234567890\r\n0\r\nx: y\r\n\r\n";
        assert_eq!(
            decode(coded),
            Ok((b"hello0123456789012345678901234567890".to_vec(), true))
        );
    }

    #[test]
    fn invalid_framing_is_refused() {
        for bad in [
            &b"\r\n"[..],
            b"5\nhello",
            b"5\r\nhello0",
            b"x\r\n",
            b"-1\r\n",
            b"5;a\nhello",
        ] {
            assert_eq!(decode(bad), Err(Malformed::Chunk), "{}", bad.escape_ascii());
        }
        assert_eq!(decode(b"ffffffff\r\n"), Err(Malformed::TooLong));
    }
}
