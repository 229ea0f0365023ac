//! Hosts and ports in a URL, read and written.

use std::net::Ipv6Addr;

/// Reads addresses with commas between them.
pub(super) fn hosts_and_ports(
    text: &str,
    default_port: u16,
) -> Result<Vec<(Box<str>, u16)>, String> {
    let all = text.split(',');
    all.map(|one| host_and_port(one, default_port)).collect()
}

/// Reads `host`, `host:port`, `[::1]` or `[::1]:port`.
pub(super) fn host_and_port(text: &str, default_port: u16) -> Result<(Box<str>, u16), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("has a [ without ]")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("has no IPv6 address between the brackets".to_owned());
        }
        (host, port)
    } else {
        let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        // Other characters are a mistake, and `_` is common in the names of containers.
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if host.is_empty() {
            return Err("names no host".to_owned());
        }
        if !host.chars().all(is_allowed) {
            return Err("has an invalid host".to_owned());
        }
        (host, port)
    };
    let port = match port {
        "" => default_port,
        port => {
            let number = port.strip_prefix(':').and_then(digits);
            let number = number.and_then(|number| number.parse().ok());
            let number = number.filter(|number| *number != 0);
            number.ok_or("has an invalid port (IPv6 addresses need brackets)")?
        }
    };
    Ok((host.into(), port))
}

/// `text`, if it has only digits: `parse` would accept a sign.
pub(super) fn digits(text: &str) -> Option<&str> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text)
}

/// Writes addresses with commas between them.
pub(super) fn addresses(all: &[(Box<str>, u16)]) -> String {
    let all = all.iter().map(|(host, port)| address(host, *port));
    all.collect::<Vec<_>>().join(",")
}

/// Writes `host:port` or `[::1]:port`.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
