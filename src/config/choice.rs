//! Settings with a fixed set of names as values.

/// Declares such a type: each variant with its name in the file.
macro_rules! choice {
    (
        $(#[$about:meta])+
        pub enum $choice:ident {
            $($(#[$doc:meta])* $variant:ident = $name:literal,)+
        }
    ) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $choice {
            $($(#[$doc])* $variant,)+
        }

        impl $choice {
            /// All variants.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in the file.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $choice {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let names = || Self::ALL.iter().map(|choice| choice.as_str());
                let found = Self::ALL.iter().find(|choice| choice.as_str() == text);
                found.copied().ok_or_else(|| $crate::config::choice::unknown(text, names()))
            }
        }

        $crate::config::setting::text_setting!(shown $choice);
    };
}
pub(super) use choice;

/// The error about a `text` that is none of the `names`.
pub(super) fn unknown<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let names = match names.as_slice() {
        [one, other] => format!("{one} or {other}"),
        names => format!("one of {}", names.join(", ")),
    };
    format!("`{text}` is unknown, expected {names}")
}
