//! A client's address: the socket's peer, or the address that a trusted proxy passes on.

use std::net::IpAddr;

use hyper::HeaderMap;

use crate::config::TrustedProxy;

/// The client's address, if a trusted proxy passes on one that is not the socket's peer.
///
/// `X-Forwarded-For` is read from its end, since each proxy appends the peer that it saw. The last
/// address that is not a trusted proxy is the client's. Addresses before it may be forged by the client.
pub(super) fn forwarded_for(
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    trusted: &[TrustedProxy],
) -> Option<IpAddr> {
    let is_trusted = |peer| trusted.iter().any(|proxy| proxy.covers(peer));
    if !is_trusted(peer) {
        return None;
    }
    let chain: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut client = None;
    for hop in chain.iter().rev() {
        // Entries before a malformed one cannot be trusted.
        let Some(address) = parse(hop) else { break };
        client = Some(address);
        if !is_trusted(Some(address)) {
            break;
        }
    }
    client
        .or_else(|| parse(headers.get("x-real-ip")?.to_str().ok()?))
        .filter(|client| Some(*client) != peer)
}

/// Parses an address as proxies write it, with or without a port or brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop
        .parse()
        .ok()
        .or_else(|| {
            hop.parse()
                .ok()
                .map(|socket: std::net::SocketAddr| socket.ip())
        })
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn client(peer: Option<&str>, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        let trusted: Vec<TrustedProxy> = trusted.iter().map(|p| p.parse().unwrap()).collect();
        let peer = peer.map(|peer| peer.parse().unwrap());
        forwarded_for(&headers, peer, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn only_a_trusted_peer_can_forward_an_address() {
        let trusted = ["127.0.0.1/32", "unix"];
        assert_eq!(client(Some("10.0.0.9"), &["1.2.3.4"], &trusted), None);
        assert_eq!(
            client(Some("127.0.0.1"), &["1.2.3.4"], &trusted),
            Some("1.2.3.4".into())
        );
        assert_eq!(client(None, &["1.2.3.4"], &trusted), Some("1.2.3.4".into()));
        assert_eq!(client(None, &["1.2.3.4"], &["127.0.0.1/32"]), None);
    }

    #[test]
    fn the_last_address_that_is_not_a_proxy_is_the_client() {
        let trusted = ["127.0.0.1/32", "10.0.0.0/8"];
        let chain = ["6.6.6.6, 1.2.3.4", "10.1.1.1:443"];
        assert_eq!(
            client(Some("127.0.0.1"), &chain, &trusted),
            Some("1.2.3.4".into())
        );
        assert_eq!(client(Some("127.0.0.1"), &["nonsense"], &trusted), None);
        assert_eq!(
            client(Some("127.0.0.1"), &["[2001:db8::1]"], &trusted),
            Some("2001:db8::1".into())
        );
    }

    proptest! {
        #[test]
        fn no_header_causes_a_panic(value in "[ -~]{0,60}") {
            let _ = client(Some("127.0.0.1"), &[&value], &["127.0.0.1/32"]);
        }
    }
}
