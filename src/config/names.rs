//! Names and paths that are valid in HTTP heads.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::setting::text_setting;

/// Declares a type of text that has passed a check.
macro_rules! checked_text {
    ($(#[doc = $doc:literal])+ $name:ident, $check:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(Box<str>);

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                $check(text).map(|text| Self(text.into()))
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_setting!($name);
    };
}

checked_text! {
    /// The name of a cookie.
    CookieName, cookie_name
}

impl CookieName {
    /// For defaults.
    pub(super) fn of(name: &'static str) -> Self {
        debug_assert!(cookie_name(name).is_ok());
        Self(name.into())
    }
}

checked_text! {
    /// The name of a request header, with its case as configured.
    FieldName, field_name
}

checked_text! {
    /// The prefix of the public routes: empty, or `/` and more without a `/` at the end.
    BasePath, base_path
}

impl BasePath {
    /// For defaults.
    pub(super) fn of(path: &'static str) -> Self {
        debug_assert!(base_path(path).is_ok());
        Self(path.into())
    }
}

fn cookie_name(name: &str) -> Result<&str, String> {
    if !is_token(name) {
        return Err(format!(
            "`{name}` is not a cookie name: letters, digits, - and _ (access_token, sessionid)"
        ));
    }
    Ok(name)
}

fn field_name(name: &str) -> Result<&str, String> {
    if name == "*" || !is_token(name) {
        return Err(format!(
            "`{name}` is not the name of a header (X-Tenant; `*` does not cover Authorization, name each)"
        ));
    }
    Ok(name)
}

/// `token` of RFC 9110 §5.6.2, which RFC 6265 uses for cookie names, too.
fn is_token(text: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn base_path(path: &str) -> Result<&str, String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let rejected = |what: &str| Err(format!("`{path}` {what} (/api/v1/auth)"));
    if path.is_empty() {
        return Ok(path);
    }
    if !path.starts_with('/') {
        return rejected("does not start with /");
    }
    if path.ends_with('/') || path.contains("//") {
        return rejected("has an empty segment");
    }
    let is_odd = |c: char| "?#".contains(c) || c.is_whitespace() || c.is_control();
    if path.contains(is_odd) {
        return rejected("has a ?, # or space, which no path of a request has");
    }
    Ok(path)
}
