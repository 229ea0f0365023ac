//! [`Endpoint`] and [`TrustedProxy`] as text: what is read is valid, what is written reads back.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use super::{Endpoint, TrustedProxy};

/// Longest path of a unix socket: `sun_path` holds 108 bytes with the closing zero (unix(7)).
const UNIX_PATH_MAX_BYTES: usize = 107;

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
                "`{text}` is no address (127.0.0.1:8000, [::1]:8000 or unix:/path; names are not looked up)"
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

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let refused = || format!("`{text}` is no peer (10.0.0.0/8, ::1 or unix)");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            // `parse` would let `+8` pass.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| refused())?
            }
            Some(_) => return Err(refused()),
        };
        if prefix > bits {
            return Err(format!(
                "`{text}` counts {prefix} bits, the address has {bits} (/{bits} is that one address)"
            ));
        }
        let network = masked(address, prefix);
        if network != address {
            return Err(format!(
                "`{text}` has bits set beyond /{prefix} (the range is {network}/{prefix})"
            ));
        }
        Ok(Self::Net { network, prefix })
    }
}

/// `address` with all but its first `prefix` bits cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix))
                .unwrap_or_default();
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix))
                .unwrap_or_default();
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net { network, prefix } => write!(f, "{network}/{prefix}"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for TrustedProxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn what_is_no_endpoint_is_refused_with_its_text() {
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

    #[test]
    fn a_bare_address_is_a_range_of_one() {
        for (text, written) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("::1", "::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("unix", "unix"),
        ] {
            assert_eq!(text.parse::<TrustedProxy>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_no_peer_is_refused_with_its_text() {
        for text in [
            "",
            "unix:",
            "nginx",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/x",
            "10.1.0.0/8",
            "10.0.0.0/999",
        ] {
            let error = text.parse::<TrustedProxy>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_masked_range_reads_back(bits: u128, prefix in 0_u8..=128) {
            let range = TrustedProxy::Net { network: masked(Ipv6Addr::from_bits(bits).into(), prefix), prefix };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }
}
