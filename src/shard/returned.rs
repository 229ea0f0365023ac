//! Streams that have ended as they should and whose sockets go back to HTTP, as the head of their
//! response promised: a client with a connection pool sends its next request there.
//!
//! What a socket brings along is all that the server cannot learn again: the client that a PROXY
//! header named, and the secrets of TLS.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::net::{Preface, Socket};
use crate::tls::{Alert, Secrets};

/// What a client may send after its request before it is closed: an EventSource sends nothing.
pub(super) const MAX_DISCARDED_BYTES: u16 = 8 * 1024;

/// What came before the first request of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// There was a PROXY header.
    pub(crate) proxy_header: bool,
    /// The client that it named.
    pub(crate) named: Option<IpAddr>,
}

/// A connection that was a stream, and whose last byte is out.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) fd: OwnedFd,
    pub(super) secrets: Option<Secrets>,
    pub(super) origin: Origin,
}

/// What is known of a connection that has been here before: nothing precedes its next request.
#[derive(Debug)]
pub(crate) struct Earlier {
    /// The client that a PROXY header named.
    pub(crate) named: Option<IpAddr>,
    /// The keys of its TLS.
    pub(crate) secrets: Option<Secrets>,
}

impl Returned {
    /// Puts the socket into the runtime whose context the caller is in.
    ///
    /// # Errors
    /// The peer is gone, or what the runtime says.
    pub(super) fn reopen(self) -> io::Result<(Socket, Preface, Earlier)> {
        let preface = Preface {
            proxy_header: self.origin.proxy_header,
            tls: self.secrets.is_some(),
        };
        let earlier = Earlier {
            named: self.origin.named,
            secrets: self.secrets,
        };
        let socket = Socket::from_fd(self.fd)?;
        Ok((socket, preface, earlier))
    }

    /// Closes the connection, which has no place among the handshakes.
    pub(super) fn close(mut self) {
        if let Some(secrets) = &mut self.secrets {
            let mut goodbye = Vec::new();
            secrets.seal_alert(Alert::CloseNotify, &mut goodbye);
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            // It may be gone, and then it needs no goodbye.
            let _ = send(&self.fd, &goodbye, flags);
        }
        let _ = shutdown(&self.fd, Shutdown::Write);
        // Over unread bytes the kernel would reset the connection, and its last bytes with it.
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
    fn a_connection_without_a_place_gets_its_goodbye_and_its_end_whatever_it_has_sent() {
        for is_tls in [false, true] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let (ours, mut theirs) = Secrets::pair(0);
            client.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
            let returned = Returned {
                fd: server.into(),
                secrets: is_tls.then_some(ours),
                origin: Origin::default(),
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
