//! Opens connections: pacing, socket, request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{AuthStyle, Node, Target};
use crate::websocket::Key;
use crate::{clock, sys};

/// Paces the connects.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the unit belongs in the name")]
pub(super) struct Pace {
    interval_ns: u64,
    /// How far connects may lag behind and still catch up: the time that a thread sleeps between passes.
    slack_ns: u64,
    next_ns: u64,
}

impl Pace {
    /// One connect per `interval` (zero: no limit); called about once per `turn`.
    pub(super) fn new(interval: Duration, turn: Duration) -> Self {
        let interval_ns = clock::duration_ns(interval);
        Self {
            interval_ns,
            slack_ns: clock::duration_ns(turn).max(interval_ns),
            next_ns: 0,
        }
    }

    /// Returns true if a connect may start now, and counts it. A pause is not caught up on.
    pub(super) fn may_open(&mut self) -> bool {
        if self.interval_ns == 0 {
            return true;
        }
        let now_ns = clock::now_ns();
        if now_ns < self.next_ns {
            return false;
        }
        self.next_ns = self.next_ns.max(now_ns.saturating_sub(self.slack_ns)) + self.interval_ns;
        true
    }
}

/// Opens a socket to `to`. It closes with an RST, so that a run leaves no TIME_WAIT behind.
pub(super) fn connect(
    to: SocketAddr,
    from: Option<IpAddr>,
    receive_buffer: Option<usize>,
) -> Result<OwnedFd> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?; // before the connect, which tells the peer the window
    }
    if let Some(from) = from {
        sys::bind_address_no_port(&socket)?;
        socket.bind(&SockAddr::from(SocketAddr::from((from, 0))))?;
    }
    match socket.connect(&SockAddr::from(to)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(socket.into())
}

/// Writes the request of connection `number` to `node`; `last_id` resumes its stream. With a `key` the request asks
/// for a WebSocket.
pub(super) fn write_request(
    request: &mut String,
    target: &Target,
    node: &Node,
    number: u32,
    last_id: Option<&str>,
    key: Option<&Key>,
) {
    let token = |request: &mut String| {
        if let Some(tokens) = &target.tokens {
            tokens.write(number, request);
        }
    };
    // If a token file names no users, the numbers of its lines stand for them.
    let user = || {
        let named = target.user(number);
        named.unwrap_or_else(|| (number % target.users).to_string())
    };
    request.push_str("GET ");
    let way = &node.way;
    way.path.write_for(number, user, request);
    let mut separator = if way.path.has_query() { '&' } else { '?' };
    if target.auth == AuthStyle::Query && target.tokens.is_some() {
        request.push(separator);
        separator = '&';
        request.push_str("token=");
        token(request);
    }
    if let (Some(_), Some(id)) = (key, last_id) {
        // Browsers cannot set headers of a WebSocket request.
        request.push(separator);
        request.push_str("last_event_id=");
        request.extend(utf8_percent_encode(id, NON_ALPHANUMERIC));
    }
    request.extend([" HTTP/1.1\r\nHost: ", &node.address.to_string(), "\r\n"]);
    match key {
        None => request.push_str("Accept: text/event-stream\r\n"),
        Some(key) => request.extend([
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
            key.as_str(),
            "\r\n",
        ]),
    }
    if target.auth == AuthStyle::Header && target.tokens.is_some() {
        request.push_str("Authorization: Bearer ");
        token(request);
        request.push_str("\r\n");
    }
    for (name, value) in &way.headers {
        request.extend([name, ": "]);
        value.write_for(number, user, request);
        request.push_str("\r\n");
    }
    if let (None, Some(id)) = (key, last_id) {
        request.extend(["Last-Event-ID: ", id, "\r\n"]);
    }
    request.push_str("\r\n");
}

/// The header of connection `number` in version 1 of HAProxy's PROXY protocol. The client's address is in
/// the range that RFC 2544 reserves for benchmarks.
pub(super) fn proxy_header(to: SocketAddr, number: u32) -> String {
    const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
    const COUNT: u32 = 1 << 17;
    let client = Ipv4Addr::from_bits(FIRST.to_bits() + number % COUNT);
    // The protocol requires two addresses of the same family. The balancer's own address does not matter.
    let port = to.port();
    format!("PROXY TCP4 {client} {FIRST} 50000 {port}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Nodes, Origin, Way};
    use crate::template::{OF_CLIENT, Template};
    use crate::token::{Minter, Tokens};

    fn request(auth: AuthStyle, path: &str, last_id: Option<&str>) -> String {
        request_with(None, auth, path, last_id)
    }

    fn request_with(
        key: Option<&Key>,
        auth: AuthStyle,
        path: &str,
        last_id: Option<&str>,
    ) -> String {
        let way = Way {
            path: Template::parse(path, OF_CLIENT).unwrap(),
            messages: None,
            headers: vec![(
                "X-User".to_owned(),
                Template::parse("u${user}", OF_CLIENT).unwrap(),
            )],
        };
        let node = Node {
            address: ([127, 0, 0, 1], 1).into(),
            way,
            tls: None,
        };
        let target = Target {
            nodes: Nodes::single(node.clone()),
            auth,
            proxy_protocol: false,
            tokens: Some(Tokens::Minted(Minter::new(
                b"secret",
                10,
                Duration::from_secs(60),
            ))),
            users: 10,
            origin: Origin::Loopback,
        };
        let mut request = String::new();
        write_request(&mut request, &target, &node, 11, last_id, key);
        request
    }

    #[test]
    fn the_token_is_sent_in_the_configured_place() {
        let query = request(AuthStyle::Query, "/sse", None);
        assert!(
            query.starts_with("GET /sse?token=ey") && !query.contains("Authorization"),
            "{query}"
        );
        let joined = request(AuthStyle::Query, "/sse?topic=a", None);
        assert!(joined.starts_with("GET /sse?topic=a&token=ey"), "{joined}");
        let header = request(AuthStyle::Header, "/sse", None);
        assert!(
            header.contains("\r\nAuthorization: Bearer ey") && header.ends_with("\r\n\r\n"),
            "{header}"
        );
        let none = request(AuthStyle::None, "/s/${user}/${number}", None);
        assert!(
            none.starts_with("GET /s/1/11 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
                && none.contains("\r\nX-User: u1\r\n"),
            "{none}"
        );
    }

    #[test]
    fn a_stream_is_resumed_at_its_last_id() {
        let resumed = request(AuthStyle::None, "/sse", Some("17-3"));
        assert!(
            resumed.ends_with("\r\nLast-Event-ID: 17-3\r\n\r\n"),
            "{resumed}"
        );
        assert!(!request(AuthStyle::None, "/sse", None).contains("Last-Event-ID"));
    }

    #[test]
    fn a_websocket_request_looks_like_a_browsers() {
        let key = Key::random();
        let asked = |auth, last_id| request_with(Some(&key), auth, "/ws", last_id);
        let first = asked(AuthStyle::None, None);
        for line in [
            "GET /ws HTTP/1.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            &format!("Sec-WebSocket-Key: {}", key.as_str()),
        ] {
            assert!(first.lines().any(|its| its == line), "{line}: {first}");
        }
        assert!(!first.contains("Accept:") && first.ends_with("\r\n\r\n"));
        let resumed = asked(AuthStyle::None, Some("17-3"));
        assert!(resumed.starts_with("GET /ws?last_event_id=17%2D3 HTTP/1.1\r\n"));
        assert!(!resumed.contains("Last-Event-ID"), "{resumed}");
        let with_token = asked(AuthStyle::Query, Some("17-3"));
        let (line, _) = with_token.split_once(" HTTP/1.1").unwrap();
        assert!(line.starts_with("GET /ws?token=ey") && line.ends_with("&last_event_id=17%2D3"));
    }

    #[test]
    fn a_proxy_header_has_an_address_of_the_benchmark_range() {
        let to = ([127, 0, 0, 1], 80).into();
        let header = proxy_header(to, 131_073);
        assert_eq!(header, "PROXY TCP4 198.18.0.1 198.18.0.0 50000 80\r\n");
        let header = proxy_header(to, 131_071);
        assert!(header.starts_with("PROXY TCP4 198.19.255.255 "), "{header}");
    }

    #[test]
    fn the_pace_spreads_connects_and_does_not_catch_up_on_a_pause() {
        let mut pace = Pace::new(Duration::from_secs(1), Duration::from_millis(2));
        assert!(pace.may_open());
        let opened = (0..10).filter(|_| pace.may_open()).count();
        assert!(opened <= 1, "{opened} at once after a long pause");
    }
}
