//! Declares a section of the file once, with [`section!`]. Each field defines its key, variable, flag,
//! default, and its lines in docs/configuration.md and in `idlewild check`.

use toml::{Table, Value};

use super::findings::Findings;
use super::setting::{Form, Setting};

/// A key, as declared by its field.
#[derive(Debug)]
pub(crate) struct ConfigKey {
    pub(crate) name: &'static str,
    /// The lines of the field's comment.
    pub(super) doc: &'static [&'static str],
    /// The placeholder of the flag's value in the help; `None` if there is no flag.
    pub(crate) flag: Option<&'static str>,
    pub(crate) form: Form,
    /// Whether an error may repeat its text ([`Setting::IS_SHOWN`]).
    pub(super) is_shown: bool,
}

impl ConfigKey {
    /// The first paragraph of the comment, on one line and without its final full stop.
    pub(crate) fn summary(&self) -> String {
        let lines = self.doc.iter().map(|line| line.trim());
        let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        paragraph.join(" ").trim_end_matches('.').to_owned()
    }
}

/// A table of the file: the root or a section.
pub(crate) trait Section: Sized {
    /// Its own keys.
    const KEYS: &'static [ConfigKey];
    /// Its sections, with their keys.
    const SECTIONS: &'static [(&'static str, &'static [ConfigKey])];

    /// Reads `table`, with defaults for missing keys. `prefix` precedes the names of keys.
    fn read(table: Table, prefix: &str, findings: &mut Findings) -> Self;

    /// The values of [`Section::KEYS`], as written in a file.
    fn values(&self) -> Vec<Value>;

    /// The values of each of [`Section::SECTIONS`].
    fn values_of_sections(&self) -> Vec<Vec<Value>>;
}

/// Reads the key `name` of `table`; `None` if it is missing or invalid.
pub(super) fn field<S: Setting>(
    table: &mut Table,
    prefix: &str,
    name: &str,
    findings: &mut Findings,
    check: impl Fn(&S::Value) -> Result<(), String>,
) -> Option<S::Value> {
    let key = format!("{prefix}{name}");
    let value = S::read(table.remove(name)?, &key, findings)?;
    if !findings.are_sound(&[&key]) {
        // Items were left out. An empty list may not be empty in the file, so it is not checked.
        return Some(value);
    }
    let checked = check(&value).map(|()| value);
    findings.note(&key, checked)
}

/// Reads the section `name` of `table`.
pub(super) fn subsection<S: Section>(
    table: &mut Table,
    prefix: &str,
    name: &str,
    findings: &mut Findings,
) -> S {
    let inner = match table.remove(name) {
        Some(Value::Table(inner)) => inner,
        // The layers allow only tables here.
        _ => Table::new(),
    };
    S::read(inner, &format!("{prefix}{name}."), findings)
}

/// Declares a section of the file:
///
/// ```text
/// section! {
///     /// `[name]`: its topic.
///     pub struct Name {
///         /// What the key does. The first paragraph is in docs/configuration.md.
///         pub key: Type = default;
///         /// The type of the field and the way it is written may differ; a check of the value
///         /// alone, and (at the top of the file) a flag of `idlewild serve`, are optional.
///         pub other_bytes: usize as Size = 64 * 1024, check at_least(1), flag "SIZE";
///     }
///     sections {
///         /// `[inner]`
///         pub inner: Inner,
///     }
/// }
/// ```
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $section:ident {
            $(
                $(#[doc = $doc:literal])+
                pub $key:ident: $value:ty $(as $written:ty)? = $default:expr
                    $(, check $check:expr)? $(, flag $flag:literal)?;
            )*
        }
        $(sections {
            $(
                $(#[doc = $sub_doc:literal])+
                pub $sub:ident: $sub_section:ty,
            )*
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $section {
            $($(#[doc = $doc])+ pub $key: $value,)*
            $($($(#[doc = $sub_doc])+ pub $sub: $sub_section,)*)?
        }

        impl Default for $section {
            fn default() -> Self {
                Self {
                    $($key: $default,)*
                    $($($sub: Default::default(),)*)?
                }
            }
        }

        impl $crate::config::section::Section for $section {
            const KEYS: &'static [$crate::config::section::ConfigKey] = &[
                $($crate::config::section::ConfigKey {
                    name: stringify!($key),
                    doc: &[$($doc),+],
                    flag: $crate::config::section::section!(@flag $($flag)?),
                    form: <$crate::config::section::section!(@written $value $(, $written)?)
                        as $crate::config::setting::Setting>::FORM,
                    is_shown: <$crate::config::section::section!(@written $value $(, $written)?)
                        as $crate::config::setting::Setting>::IS_SHOWN,
                },)*
            ];
            const SECTIONS: &'static [(&'static str, &'static [$crate::config::section::ConfigKey])] = &[
                $($((
                    stringify!($sub),
                    <$sub_section as $crate::config::section::Section>::KEYS,
                ),)*)?
            ];

            fn read(
                mut table: toml::Table,
                prefix: &str,
                findings: &mut $crate::config::findings::Findings,
            ) -> Self {
                Self {
                    $($key: $crate::config::section::field::<
                        $crate::config::section::section!(@written $value $(, $written)?)
                    >(
                        &mut table,
                        prefix,
                        stringify!($key),
                        findings,
                        $crate::config::section::section!(@check $($check)?),
                    )
                    .unwrap_or_else(|| $default),)*
                    $($($sub: $crate::config::section::subsection(
                        &mut table,
                        prefix,
                        stringify!($sub),
                        findings,
                    ),)*)?
                }
            }

            fn values(&self) -> Vec<toml::Value> {
                vec![
                    $(<$crate::config::section::section!(@written $value $(, $written)?)
                        as $crate::config::setting::Setting>::write(&self.$key),)*
                ]
            }

            fn values_of_sections(&self) -> Vec<Vec<toml::Value>> {
                vec![
                    $($($crate::config::section::Section::values(&self.$sub),)*)?
                ]
            }
        }
    };
    (@written $value:ty) => { $value };
    (@written $value:ty, $written:ty) => { $written };
    (@flag) => { None };
    (@flag $flag:literal) => { Some($flag) };
    (@check) => { |_| Ok(()) };
    (@check $check:expr) => { $check };
}
pub(super) use section;
