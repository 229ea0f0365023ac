//! The user and the password in a URL.

use percent_encoding::percent_decode_str;

use crate::config::secret::Secret;

/// What a URL has before its last `@`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct UrlLogin {
    pub(super) user: Option<Box<str>>,
    pub(super) password: Option<Secret>,
}

impl UrlLogin {
    /// Splits `rest` at its last `@`, so that a password may contain one, or a `/`. Neither a host nor
    /// what follows it can.
    pub(super) fn split(rest: &str) -> Result<(Self, &str), String> {
        let Some((login, place)) = rest.rsplit_once('@') else {
            return Ok((Self::default(), rest));
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (login, None),
        };
        let password = match password {
            Some(text) => Some(Secret::new(&text).ok_or("has an empty password")?),
            None if user.is_empty() => return Err("has nothing before the @".to_owned()),
            None => None,
        };
        let user = decoded(user)?;
        let user = (!user.is_empty()).then(|| user.into());
        Ok((Self { user, password }, place))
    }

    /// Returns true if the URL has a user or a password.
    pub(super) fn is_given(&self) -> bool {
        self.user.is_some() || self.password.is_some()
    }
}

/// Decodes `%40` and the like. A `%` that begins no such code is an error: it is not clear what it means.
fn decoded(text: &str) -> Result<String, String> {
    let is_code = |after: &str| {
        let code = after.as_bytes().get(..2);
        code.is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_code) {
        return Err("has a % that begins no percent-encoded byte; write %25".to_owned());
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "has a user or password that is not UTF-8")?;
    Ok(decoded.into_owned())
}
