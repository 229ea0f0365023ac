//! Opening a connection: when it may start, its socket, its request.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Credential, Target};
use crate::{clock, sys};

/// When the next connect may start.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the unit belongs in the name")]
pub(super) struct Pace {
    interval_ns: u64,
    /// How far behind the pace may be and still catch up: the time a thread sleeps between turns.
    slack_ns: u64,
    next_ns: u64,
}

impl Pace {
    /// One connect every `interval` (zero: no bound), asked for about once a `turn`.
    pub(super) fn new(interval: Duration, turn: Duration) -> Self {
        let interval_ns = clock::duration_ns(interval);
        Self {
            interval_ns,
            slack_ns: clock::duration_ns(turn).max(interval_ns),
            next_ns: 0,
        }
    }

    /// Whether a connect may start now; counts it when it may. A pause is not caught up on.
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

/// A socket on its way to `to`. Its close is an RST, so that a run leaves no TIME_WAIT behind.
pub(super) fn connect(to: SocketAddr, from: Ipv4Addr) -> Result<OwnedFd> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    if to.is_ipv4() && to.ip().is_loopback() {
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

pub(super) fn write_request(request: &mut String, target: &Target, number: u32) {
    let Target {
        host,
        path,
        credential,
        ..
    } = target;
    let mut write =
        |text: std::fmt::Arguments<'_>| request.write_fmt(text).expect("a String takes all");
    write(format_args!("GET {path}"));
    if let Credential::Query(minter) = credential {
        let joint = if path.contains('?') { '&' } else { '?' };
        write(format_args!("{joint}token={}", minter.mint(number)));
    }
    write(format_args!(
        " HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n"
    ));
    if let Credential::Header(minter) = credential {
        write(format_args!(
            "Authorization: Bearer {}\r\n",
            minter.mint(number)
        ));
    }
    write(format_args!("\r\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Minter;

    fn request(credential: Credential, path: &str) -> String {
        let target = Target {
            address: ([127, 0, 0, 1], 1).into(),
            host: "localhost".to_owned(),
            path: path.to_owned(),
            credential,
        };
        let mut request = String::new();
        write_request(&mut request, &target, 1);
        request
    }

    #[test]
    fn the_token_stands_where_it_was_asked_for() {
        let minter = Minter::new(b"secret", 10, Duration::from_secs(60));
        let query = request(Credential::Query(minter.clone()), "/sse");
        assert!(
            query.starts_with("GET /sse?token=ey") && !query.contains("Authorization"),
            "{query}"
        );
        let joined = request(Credential::Query(minter.clone()), "/sse?topic=a");
        assert!(joined.starts_with("GET /sse?topic=a&token=ey"), "{joined}");
        let header = request(Credential::Header(minter), "/sse");
        assert!(
            header.contains("\r\nAuthorization: Bearer ey") && header.ends_with("\r\n\r\n"),
            "{header}"
        );
        assert!(
            request(Credential::None, "/sse")
                .starts_with("GET /sse HTTP/1.1\r\nHost: localhost\r\n")
        );
    }

    #[test]
    fn the_pace_spreads_connects_and_makes_up_no_pause() {
        let mut pace = Pace::new(Duration::from_secs(1), Duration::from_millis(2));
        assert!(pace.may_open());
        let opened = (0..10).filter(|_| pace.may_open()).count();
        assert!(opened <= 1, "{opened} at once after a long pause");
    }
}
