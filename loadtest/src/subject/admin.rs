//! A small blocking HTTP client for publishing: one keep-alive connection, no retries.
//!
//! No request is repeated, because a second publish would be reported as a duplicate of the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::clock::Deadline;
use crate::parse::chunked::Dechunker;
use crate::parse::head::{Head, HeadParser};

/// Time limit for connecting, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was idle for longer is not reused: the server may be about to close it.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// A status whose response has no body, whatever its head says (RFC 9110, section 15.3.5).
const NO_CONTENT: u16 = 204;
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

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
            _ => self.connect()?,
        };
        let length = body.map_or_else(String::new, |body| {
            format!("Content-Length: {}\r\n", body.len())
        });
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}{length}\r\n",
            self.address
        );
        request += body.unwrap_or_default();
        stream
            .write_all(request.as_bytes())
            .with_context(|| format!("{method} {path}"))?;
        let (head, body) = answer(&mut stream).with_context(|| format!("{method} {path}"))?;
        let delimited = head.chunked || head.content_length.is_some() || head.status == NO_CONTENT;
        if !head.close && delimited {
            self.connection = Some((stream, Deadline::after(MAX_IDLE)));
        }
        Ok((head.status, body))
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)
            .with_context(|| format!("connecting to the admin listener {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(stream)
    }
}

fn answer(stream: &mut impl Read) -> Result<(Head, String)> {
    let mut parser = HeadParser::default();
    let mut head = None;
    let mut chunks = Dechunker::default();
    let mut body = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let length = stream.read(&mut buffer)?;
        let mut input = &buffer[..length];
        if head.is_none() {
            head = parser
                .feed(&mut input)
                .map_err(|malformed| anyhow::anyhow!("{malformed}"))?;
        }
        let done = match &head {
            None => false,
            Some(Head {
                status: NO_CONTENT, ..
            }) => true,
            Some(head) if head.chunked => {
                while let Some(bytes) = chunks
                    .next(&mut input)
                    .map_err(|malformed| anyhow::anyhow!("{malformed}"))?
                {
                    body.extend_from_slice(bytes);
                }
                chunks.ended()
            }
            Some(head) => {
                body.extend_from_slice(input);
                head.content_length
                    .map_or(length == 0, |length| body.len() >= length)
            }
        };
        ensure!(
            body.len() <= MAX_BODY_BYTES,
            "an answer of over {MAX_BODY_BYTES} bytes"
        );
        match head {
            Some(head) if done => return Ok((head, String::from_utf8_lossy(&body).into_owned())),
            _ if length == 0 => bail!("the connection ended within the answer"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one byte per read.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let Some((&first, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            into[0] = first;
            self.0 = rest;
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
            let (head, body) = answer(&mut Slow(bytes.as_bytes())).unwrap();
            assert_eq!((head.status, body.as_str()), (status, expected));
        }
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(answer(&mut Slow(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}")).is_err());
        assert!(answer(&mut Slow(b"HTTP/1.1 2")).is_err());
    }
}
