//! A small blocking HTTP client for publishing: one keep-alive connection, no retries.
//!
//! No request is repeated, because a second publish would be reported as a duplicate of the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use super::answer::{self, Answer};
use crate::clock::Deadline;
use crate::parse::head::Head;

/// Time limit for connecting, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was idle for longer is not reused: the server may be about to close it.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// A connection to an admin listener.
#[derive(Debug)]
pub(super) struct Admin {
    address: SocketAddr,
    connection: Option<(TcpStream, Deadline)>,
}

impl Admin {
    /// A client that is not connected yet.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// The listener.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request with `headers` as lines; reads the whole response and returns its status and body.
    pub(super) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<&str>,
    ) -> Result<(u16, String)> {
        let mut stream = match self.connection.take() {
            Some((stream, fresh)) if !fresh.passed() => stream,
            _ => connect(self.address)?,
        };
        let request = request_text(self.address, method, path, headers, body);
        stream
            .write_all(request.as_bytes())
            .with_context(|| format!("{method} {path}"))?;
        let (head, body) = answer(&mut stream).with_context(|| format!("{method} {path}"))?;
        if answer::leaves_open(&head) {
            self.connection = Some((stream, Deadline::after(MAX_IDLE)));
        }
        Ok((head.status, body))
    }
}

/// Connects to an admin listener.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("connecting to the admin listener {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// A request with `headers` as lines.
pub(super) fn request_text(
    host: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<&str>,
) -> String {
    let length = body.map_or_else(String::new, |body| {
        format!("Content-Length: {}\r\n", body.len())
    });
    let body = body.unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n{body}")
}

fn answer(stream: &mut impl Read) -> Result<(Head, String)> {
    let mut answer = Answer::default();
    let mut buffer = [0; 8192];
    loop {
        let length = match stream.read(&mut buffer) {
            // With a timeout for reads, whatever stops the process for a moment does this (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        if let Some(answer) = answer.feed(&buffer[..length])? {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Is interrupted at every second read, and returns one byte at the others.
    struct Slow<'a> {
        rest: &'a [u8],
        is_interrupted: bool,
    }

    fn slow(rest: &[u8]) -> Slow<'_> {
        Slow {
            rest,
            is_interrupted: false,
        }
    }

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            let Some((&first, rest)) = self.rest.split_first() else {
                return Ok(0);
            };
            into[0] = first;
            self.rest = rest;
            Ok(1)
        }
    }

    #[test]
    fn responses_end_by_length_by_chunks_or_with_the_connection() {
        for (bytes, status, expected) in [
            (
                "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}",
                202,
                "{}",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                200,
                "{}",
            ),
            ("HTTP/1.1 204 No Content\r\n\r\nnever read", 204, ""),
            ("HTTP/1.0 503 No\r\n\r\ndraining", 503, "draining"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, ""),
        ] {
            let (head, body) = answer(&mut slow(bytes.as_bytes())).unwrap();
            assert_eq!((head.status, body.as_str()), (status, expected));
        }
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(answer(&mut slow(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}")).is_err());
        assert!(answer(&mut slow(b"HTTP/1.1 2")).is_err());
    }
}
