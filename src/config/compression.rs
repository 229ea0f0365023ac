//! `[compression]`: gzip for clients that ask for it.

use super::section::section;
use super::units::Size;

section! {
    /// `[compression]`: gzip for clients that ask for it.
    pub struct Compression {
        /// Whether streams are compressed for clients that send Accept-Encoding: gzip.
        pub enabled: bool = false;
        /// Smaller events are sent uncompressed within the gzip stream.
        pub min_bytes: usize as Size = 512;
    }
}
