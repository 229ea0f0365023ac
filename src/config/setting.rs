//! Reads values from TOML and writes them, with one implementation per type. A value that was read is
//! valid, so it is not checked again later.

use std::path::PathBuf;

use toml::Value;

use super::findings::Findings;

/// How the text of a variable or flag becomes a TOML value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The text is the value, whatever it looks like: a secret of digits stays text.
    Text,
    Integer,
    Float,
    Boolean,
    /// `a, b` or a TOML array.
    List,
}

impl Form {
    /// Converts `text` to a value of this form.
    pub(super) fn interpret(self, text: &str) -> Result<Value, String> {
        let trimmed = text.trim();
        match self {
            Self::Text => Ok(Value::String(text.to_owned())),
            Self::Integer => trimmed
                .parse()
                .map(Value::Integer)
                .map_err(|_| format!("`{text}` is not a whole number")),
            Self::Float => trimmed
                .parse()
                .map(Value::Float)
                .map_err(|_| format!("`{text}` is not a number")),
            Self::Boolean => trimmed
                .parse()
                .map(Value::Boolean)
                .map_err(|_| format!("`{text}` is neither true nor false")),
            Self::List => list(trimmed),
        }
    }
}

/// Parses `a, b` or `["a", "b"]`. Both brackets are required, since `[::1]:8000` is one address.
fn list(text: &str) -> Result<Value, String> {
    if text.starts_with('[') && text.ends_with(']') {
        return match text.parse() {
            Ok(list @ Value::Array(_)) => Ok(list),
            // The text may contain the hash of a key, so the error does not repeat it.
            _ => Err(
                "starts with [ but is not a TOML array (write [\"a\", \"b\"] or a,b)".to_owned(),
            ),
        };
    }
    let items = text.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty()).map(str::to_owned);
    Ok(Value::Array(items.map(Value::String).collect()))
}

/// A type of values, or a way to write them.
pub(crate) trait Setting {
    /// The type of the field.
    type Value;
    /// How the texts of variables and flags are read.
    const FORM: Form;
    /// Whether an error may repeat a text before it is read. It could be a secret, so a type has to say so.
    const IS_SHOWN: bool = false;

    /// Reads the value of `key`; `None` after an error, which is added to `findings`.
    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self::Value>;

    /// The value as written in a file. Secrets are not written.
    fn write(value: &Self::Value) -> Value;

    /// Returns true if this text means that an optional value is not set.
    fn is_unset(text: &str) -> bool {
        text.is_empty()
    }
}

/// The text of a value that is quoted in the file.
pub(super) fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        // A list or a table may contain a password, so it is not repeated.
        other @ (Value::Array(_) | Value::Table(_)) => {
            Err(format!("{}, write a text in quotes", shown(&other)))
        }
        other => Err(format!("{} (write \"{other}\")", shown(&other))),
    }
}

/// Describes a value of the wrong type. Lists and tables are not shown: they may contain a password.
pub(super) fn shown(value: &Value) -> String {
    let kind = value.type_str();
    match value {
        Value::Array(_) | Value::Table(_) => format!("is of type {kind}"),
        value => format!("`{value}` is of type {kind}"),
    }
}

/// The error about a value that is written without quotes, and how to write it.
fn unquoted(value: &Value, form: Form, expected: &str) -> String {
    let meant = value.as_str().and_then(|text| form.interpret(text).ok());
    match meant {
        Some(meant) => format!("{} (write {meant})", shown(value)),
        None => format!("{}, write {expected}", shown(value)),
    }
}

/// Implements [`Setting`] by `FromStr` and `Display`; with `shown`, errors may repeat any text.
macro_rules! text_setting {
    (shown $name:ty) => {
        $crate::config::setting::text_setting!(@impl $name, true);
    };
    ($($name:ty),+) => {
        $($crate::config::setting::text_setting!(@impl $name, false);)+
    };
    (@impl $name:ty, $is_shown:literal) => {
        impl $crate::config::setting::Setting for $name {
            type Value = Self;
            const FORM: $crate::config::setting::Form = $crate::config::setting::Form::Text;
            const IS_SHOWN: bool = $is_shown;

            fn read(
                value: toml::Value,
                key: &str,
                findings: &mut $crate::config::findings::Findings,
            ) -> Option<Self> {
                let text = $crate::config::setting::text(value);
                findings.note(key, text.and_then(|text| text.parse()))
            }

            fn write(value: &Self) -> toml::Value {
                toml::Value::String(value.to_string())
            }
        }
    };
}
pub(super) use text_setting;

macro_rules! whole_number {
    ($($name:ty),+) => {$(
        impl Setting for $name {
            type Value = Self;
            const FORM: Form = Form::Integer;

            fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
                let most = Self::MAX;
                let read = match value {
                    Value::Integer(number) => Self::try_from(number)
                        .map_err(|_| format!("`{number}` is not between 0 and {most}")),
                    other => Err(unquoted(&other, Self::FORM, "a whole number")),
                };
                findings.note(key, read)
            }

            fn write(value: &Self) -> Value {
                Value::Integer(i64::try_from(*value).unwrap_or(i64::MAX))
            }
        }
    )+};
}
whole_number!(u32, usize);

impl Setting for f64 {
    type Value = Self;
    const FORM: Form = Form::Float;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        #[allow(clippy::cast_precision_loss)] // as every reader of TOML rounds it
        let number = match value {
            Value::Float(number) => Ok(number),
            Value::Integer(number) => Ok(number as Self),
            other => Err(unquoted(&other, Self::FORM, "a number")),
        };
        findings.note(key, number)
    }

    fn write(value: &Self) -> Value {
        Value::Float(*value)
    }
}

impl Setting for bool {
    type Value = Self;
    const FORM: Form = Form::Boolean;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        let read = match value {
            Value::Boolean(is_on) => Ok(is_on),
            other => Err(unquoted(&other, Self::FORM, "true or false")),
        };
        findings.note(key, read)
    }

    fn write(value: &Self) -> Value {
        Value::Boolean(*value)
    }
}

impl Setting for String {
    type Value = Self;
    const FORM: Form = Form::Text;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        findings.note(key, text(value))
    }

    fn write(value: &Self) -> Value {
        Value::String(value.clone())
    }
}

impl Setting for PathBuf {
    type Value = Self;
    const FORM: Form = Form::Text;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        findings.note(key, text(value)).map(Self::from)
    }

    fn write(value: &Self) -> Value {
        Value::String(value.display().to_string())
    }
}

/// An empty text means that the value is not set, so that a variable can unset a key of the file.
impl<S: Setting> Setting for Option<S> {
    type Value = Option<S::Value>;
    const FORM: Form = S::FORM;
    const IS_SHOWN: bool = S::IS_SHOWN;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self::Value> {
        match &value {
            Value::String(text) if S::is_unset(text) => Some(None),
            _ => S::read(value, key, findings).map(Some),
        }
    }

    fn write(value: &Self::Value) -> Value {
        value
            .as_ref()
            .map_or_else(|| Value::String(String::new()), S::write)
    }
}

/// An invalid item is left out and reported.
impl<S: Setting> Setting for Vec<S> {
    type Value = Vec<S::Value>;
    const FORM: Form = Form::List;
    const IS_SHOWN: bool = S::IS_SHOWN;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self::Value> {
        let items = match value {
            Value::Array(items) => items,
            Value::String(text) if S::IS_SHOWN => {
                let problem = format!("`{text}` is not a list (write [\"{text}\"])");
                return findings.note(key, Err(problem));
            }
            other => {
                // The value may contain a key or its hash, so the error does not repeat it.
                let problem = format!("is of type {}, write a list", other.type_str());
                return findings.note(key, Err(format!("{problem} ([\"a\", \"b\"])")));
            }
        };
        let items = (0..).zip(items);
        let mut read = |(index, item)| {
            let index: usize = index;
            S::read(item, &format!("{key}[{index}]"), findings)
        };
        Some(items.filter_map(&mut read).collect())
    }

    fn write(value: &Self::Value) -> Value {
        Value::Array(value.iter().map(S::write).collect())
    }
}

/// The fields of a list item that is a table. All are required; `example` is shown in errors.
pub(super) fn item<const COUNT: usize>(
    value: Value,
    key: &str,
    names: [&str; COUNT],
    example: &str,
    findings: &mut Findings,
) -> Option<[(String, Value); COUNT]> {
    let Value::Table(mut table) = value else {
        // The value may contain a key or its hash, so the error does not repeat it.
        findings.reject(key, format!("is not a table (write {example})"));
        return None;
    };
    let fields = names.map(|name| (name, table.remove(name)));
    for unknown in table.keys() {
        findings.reject(key, format!("has an unknown field `{unknown}` ({example})"));
    }
    for (name, field) in &fields {
        if field.is_none() {
            findings.reject(key, format!("has no field `{name}` ({example})"));
        }
    }
    if fields.iter().any(|(_, field)| field.is_none()) || !table.is_empty() {
        return None;
    }
    Some(fields.map(|(name, field)| {
        let field = field.unwrap_or_else(|| Value::String(String::new()));
        (format!("{key}.{name}"), field)
    }))
}
