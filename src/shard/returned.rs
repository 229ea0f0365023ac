//! Sockets that go back to HTTP after their stream has ended normally, as the response head promised. A
//! client with a connection pool sends its next request there.
//!
//! A socket keeps only the state that the server cannot obtain again: the client that a PROXY header named,
//! and the TLS secrets.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::net::{Preface, Socket};
use crate::tls::{Alert, Secrets};

/// The most bytes that a client may send during a stream before it is closed. An EventSource sends none.
pub(super) const MAX_DISCARDED_BYTES: u16 = 8 * 1024;

/// What preceded the first request of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// There was a PROXY header.
    pub(crate) proxy_header: bool,
    /// The client that it named.
    pub(crate) named: Option<IpAddr>,
}

/// A connection whose stream has ended and whose last byte has been sent.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) fd: OwnedFd,
    pub(super) secrets: Option<Secrets>,
    pub(super) origin: Origin,
    /// It comes from another process.
    pub(super) is_taken_in: bool,
    /// The beginning of its next request, if another process has read that.
    pub(super) received: Bytes,
}

/// The state of a connection that has been a stream. Nothing has to precede its next request.
#[derive(Debug)]
pub(crate) struct Earlier {
    /// The client that a PROXY header named.
    pub(crate) named: Option<IpAddr>,
    /// Its TLS secrets.
    pub(crate) secrets: Option<Secrets>,
    /// The beginning of its next request, if another process has read it.
    pub(crate) received: Bytes,
}

impl Returned {
    /// Takes the connection back to HTTP.
    ///
    /// # Errors
    /// If the peer is gone.
    pub(super) fn reopen(self) -> io::Result<(Socket, Preface, Earlier)> {
        let preface = Preface {
            proxy_header: self.origin.proxy_header,
            tls: self.secrets.is_some(),
        };
        let earlier = Earlier {
            named: self.origin.named,
            secrets: self.secrets,
            received: self.received,
        };
        let socket = Socket::from_fd(self.fd)?;
        Ok((socket, preface, earlier))
    }

    /// Closes the connection if there is no room for another handshake.
    pub(super) fn close(mut self) {
        if let Some(secrets) = &mut self.secrets {
            let mut goodbye = Vec::new();
            secrets.seal_alert(Alert::CloseNotify, &mut goodbye);
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            // An error is ignored: a peer that is gone needs no alert.
            let _ = send(&self.fd, &goodbye, flags);
        }
        let _ = shutdown(&self.fd, Shutdown::Write);
        // Closing with unread input would reset the connection, and the client could lose its last bytes.
        let mut scratch = [0; MAX_DISCARDED_BYTES as usize];
        let _ = recv(&self.fd, &mut scratch, RecvFlags::DONTWAIT);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    const ALERT: u8 = 21;

    #[test]
    fn a_connection_that_is_closed_gets_its_close_notify_and_fin_even_with_unread_input() {
        for is_tls in [false, true] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let (ours, mut theirs) = Secrets::pair(0);
            client.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
            let returned = Returned {
                fd: server.into(),
                secrets: is_tls.then_some(ours),
                origin: Origin::default(),
                is_taken_in: false,
                received: Bytes::new(),
            };
            returned.close();
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).unwrap();
            if is_tls {
                let (typed, content) = theirs.decrypt(&mut bytes).unwrap();
                assert_eq!((typed, content), (ALERT, [1, 0].as_slice()));
            } else {
                assert!(bytes.is_empty());
            }
        }
    }
}
