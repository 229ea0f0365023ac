//! Origins of pages for CORS. Browsers send `scheme://host[:port]` in lower case, and origins are
//! compared byte by byte, so a value that could never match is rejected.

use std::fmt;
use std::str::FromStr;

use super::setting::text_setting;

/// An origin whose pages may read responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`: all origins.
    Any,
    /// One origin.
    Exact(Box<str>),
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(origin: &str) -> Result<Self, String> {
        let rejected = |what: &str| Err(format!("`{origin}` {what} (https://app.example or *)"));
        if origin == "*" {
            return Ok(Self::Any);
        }
        let Some((scheme, host)) = origin.split_once("://") else {
            return rejected("is not an origin, scheme://host[:port]");
        };
        let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !scheme_ok || host.is_empty() {
            return rejected("is not an origin, scheme://host[:port]");
        }
        if host.contains(['/', '?', '#']) {
            return rejected("has a path, an origin ends with its host or port");
        }
        if host.contains(|c: char| "@*\\".contains(c) || !c.is_ascii_graphic()) {
            return rejected("has a host that no browser sends");
        }
        if origin.contains(|c: char| c.is_ascii_uppercase()) {
            return rejected("has upper case letters, browsers send lower case");
        }
        // Colons inside brackets belong to an IPv6 address.
        let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
        if let Some((name, port)) = after_address.rsplit_once(':') {
            let bracketed = host.len() > after_address.len();
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            if !digits || port.parse::<u16>().is_err() || (name.is_empty() && !bracketed) {
                return rejected("has no host or an invalid port");
            }
            if matches!((scheme, port), ("http", "80") | ("https", "443")) {
                return rejected("names its scheme's own port, which browsers leave out");
            }
        }
        Ok(Self::Exact(origin.into()))
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(origin) => f.write_str(origin),
        }
    }
}

text_setting!(AllowedOrigin);
