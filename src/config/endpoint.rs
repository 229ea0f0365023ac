//! The address of a listener.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::setting::text_setting;

/// Longest path of a unix socket: `sun_path` has 108 bytes, including the final zero (unix(7)).
pub(super) const UNIX_PATH_MAX_BYTES: usize = 107;

/// The address of a listener: `127.0.0.1:8000` or `unix:/run/idlewild/public.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP address; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// A port of 127.0.0.1.
    pub(super) fn on_loopback(port: u16) -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(format!(
                    "`{text}` has no path (unix:/run/idlewild/public.sock)"
                ));
            }
            if path.contains('\0') {
                return Err("a socket's path holds no zero byte".to_owned());
            }
            if path.len() > UNIX_PATH_MAX_BYTES {
                return Err(format!(
                    "`{text}` has a path of {} bytes, a socket's holds at most {UNIX_PATH_MAX_BYTES} (choose a shorter one)",
                    path.len()
                ));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "`{text}` is not an address (127.0.0.1:8000, [::1]:8000 or unix:/path; names are not looked up)"
            )
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

text_setting!(shown Endpoint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_back_as_written() {
        for text in [
            "127.0.0.1:8000",
            "[::1]:0",
            "0.0.0.0:80",
            "unix:/run/a b.sock",
            "unix:x",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_rejected_with_its_text() {
        let long = format!("unix:/{}", "x".repeat(107));
        for text in [
            "",
            "8000",
            ":8000",
            "localhost:8000",
            "127.0.0.1",
            "1.2.3.4:99999",
            "unix:",
            &long,
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
