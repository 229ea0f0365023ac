//! A compact form of a user's id. Most ids are integers from a database.

use std::fmt;

use compact_str::ToCompactString;

/// A user's id. Two names belong to the same user if and only if their texts are equal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A text that is a number in decimal form, without a sign or leading zeros.
    Number(u64),
    /// Any other text.
    Text(Box<str>),
}

const _: () = assert!(size_of::<Name>() == 16);

impl Name {
    pub(super) fn new(text: &str) -> Self {
        number(text).map_or_else(|| Self::Text(text.into()), Self::Number)
    }

    pub(super) fn is(&self, text: &str) -> bool {
        match self {
            Self::Number(own) => number(text) == Some(*own),
            Self::Text(own) => **own == *text,
        }
    }

    /// The hash of the text. It does not depend on the form.
    pub(super) fn hash(&self, hasher: &ahash::RandomState) -> u64 {
        match self {
            // A compact string holds 20 digits inline, so nothing is allocated.
            Self::Number(own) => hasher.hash_one(own.to_compact_string().as_str()),
            Self::Text(own) => hasher.hash_one(&**own),
        }
    }
}

/// Writes the text.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(own) => own.fmt(f),
            Self::Text(own) => own.fmt(f),
        }
    }
}

/// The number whose canonical decimal form is exactly `text`.
fn number(text: &str) -> Option<u64> {
    let is_canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_canonical)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_that_only_resembles_a_number_stays_a_text() {
        for text in ["007", "+7", "00", "", "18446744073709551616", "7 "] {
            assert_eq!(Name::new(text), Name::Text(text.into()));
        }
        assert_eq!(Name::new("0"), Name::Number(0));
    }

    proptest! {
        #[test]
        fn a_name_equals_its_own_text_only(a in "[0-9+]{0,4}|\\PC{0,30}", b in "[0-9+]{0,4}") {
            let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
            let name = Name::new(&a);
            prop_assert!(name.is(&a));
            prop_assert_eq!(name.is(&b), a == b);
            prop_assert_eq!(name.to_string(), a.as_str());
            prop_assert_eq!(name.hash(&hasher), hasher.hash_one(a.as_str()));
        }
    }
}
