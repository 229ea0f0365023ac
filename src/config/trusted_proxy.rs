//! The peers whose forwarding headers are trusted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::setting::text_setting;

/// A peer whose forwarding headers are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// An address range such as `10.0.0.0/8`. A single address is a range of one.
    Net {
        /// First address of the range.
        network: IpAddr,
        /// The number of leading bits that are compared.
        prefix: u8,
    },
    /// Any peer on a unix socket.
    Unix,
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let refused = || format!("`{text}` is not a peer (10.0.0.0/8, ::1 or unix)");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            // `parse` would accept `+8`.
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

impl TrustedProxy {
    /// 127.0.0.1 and unix sockets: proxies on the same machine.
    pub(super) fn on_this_machine() -> Vec<Self> {
        let loopback = Self::Net {
            network: Ipv4Addr::LOCALHOST.into(),
            prefix: 32,
        };
        vec![loopback, Self::Unix]
    }

    /// Returns true if this covers a connection's peer; `None` is the peer of a unix socket.
    pub fn covers(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Unix, None) => true,
            (Self::Net { network, prefix }, Some(peer)) => {
                let peer = peer.to_canonical();
                peer.is_ipv4() == network.is_ipv4() && masked(peer, *prefix) == *network
            }
            _ => false,
        }
    }
}

/// Clears all but the first `prefix` bits of `address`.
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

text_setting!(TrustedProxy);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn anything_else_is_rejected_with_its_text() {
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
