//! A buffer that leaves no copy of its content behind.

use std::io;

use zeroize::Zeroizing;

/// Bytes that are wiped when dropped, and wherever they were before the buffer grew.
#[derive(Debug, Default)]
pub(crate) struct WipedBytes(pub(crate) Zeroizing<Vec<u8>>);

impl WipedBytes {
    /// Appends bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            // A vector that grows by itself frees its old memory as it is.
            let mut larger = Vec::with_capacity(needed.max(2 * self.0.capacity()));
            larger.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// The value cannot be written as JSON.
    pub(crate) fn json(value: &impl serde::Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Self::default();
        serde_json::to_writer(&mut bytes, value)?;
        Ok(bytes.0)
    }
}

impl io::Write for WipedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_only_by_itself() {
        let mut bytes = WipedBytes::default();
        let mut expected = Vec::new();
        for number in 0..=u8::MAX {
            let piece = vec![number; usize::from(number) * 7 % 100];
            let room = bytes.0.capacity();
            bytes.extend(&piece);
            expected.extend_from_slice(&piece);
            assert!(bytes.0.capacity() == room || bytes.0.capacity() >= 2 * room);
        }
        assert_eq!(*bytes.0, expected);
    }

    #[test]
    fn json_is_as_usual() {
        let value = vec!["a".repeat(1_000), "b".to_owned()];
        let json = WipedBytes::json(&value).unwrap();
        assert_eq!(*json, serde_json::to_vec(&value).unwrap());
    }
}
