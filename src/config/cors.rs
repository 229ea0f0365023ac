//! `[cors]`: which pages may read.

use super::names::FieldName;
use super::origin::AllowedOrigin;
use super::section::section;

section! {
    /// `[cors]`: which pages may read.
    pub struct Cors {
        /// Exact origins, or "*" (not with credentials).
        pub origins: Vec<AllowedOrigin> = vec![AllowedOrigin::Any];
        /// Whether pages may send cookies; the origin is then echoed, never "*" or "null".
        pub credentials: bool = false;
        /// Request headers allowed besides the usual ones (docs/clients.md).
        pub headers: Vec<FieldName> = Vec::new();
    }
}
