//! TLS for the floor: a whole rustls connection per client, as in a server that does not take it apart.
//!
//! They are stored beside the slab of connections, with the same keys, so that the plain floor has none.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustls::{ServerConfig, ServerConnection};

/// The TLS connections of a thread.
#[derive(Debug)]
pub(super) struct Whole {
    config: Arc<ServerConfig>,
    by_key: Vec<Option<Box<ServerConnection>>>,
}

impl Whole {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            config,
            by_key: Vec::new(),
        }
    }

    /// Adds a connection that was just accepted.
    pub(super) fn accepted(&mut self, key: usize) -> Result<(), rustls::Error> {
        let tls = ServerConnection::new(Arc::clone(&self.config))?;
        if self.by_key.len() <= key {
            self.by_key.resize_with(key + 1, || None);
        }
        self.by_key[key] = Some(Box::new(tls));
        Ok(())
    }

    /// Takes bytes that were read, sends TLS's own responses, and returns the decrypted content.
    pub(super) fn received(
        &mut self,
        key: usize,
        fd: &OwnedFd,
        mut input: &[u8],
    ) -> Result<Vec<u8>> {
        let tls = self.of(key)?;
        let mut plaintext = Vec::new();
        while !input.is_empty() {
            tls.read_tls(&mut input)?;
            let state = tls.process_new_packets()?;
            let start = plaintext.len();
            plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut plaintext[start..])?;
        }
        flush(tls, fd)?;
        Ok(plaintext)
    }

    /// Sends `frame`. Bytes that the socket does not take stay in rustls.
    pub(super) fn send(&mut self, key: usize, fd: &OwnedFd, frame: &[u8]) -> Result<()> {
        let tls = self.of(key)?;
        tls.writer().write_all(frame)?;
        flush(tls, fd)
    }

    /// Sends bytes that are waiting.
    pub(super) fn flush(&mut self, key: usize, fd: &OwnedFd) -> Result<()> {
        flush(self.of(key)?, fd)
    }

    /// Removes a connection.
    pub(super) fn closed(&mut self, key: usize) {
        if let Some(tls) = self.by_key.get_mut(key) {
            *tls = None;
        }
    }

    fn of(&mut self, key: usize) -> Result<&mut ServerConnection> {
        let tls = self.by_key.get_mut(key).and_then(Option::as_deref_mut);
        tls.context("a connection without its TLS")
    }
}

fn flush(tls: &mut ServerConnection, fd: &OwnedFd) -> Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut Socket(fd)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Socket<'a>(&'a OwnedFd);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send(self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map_err(Errno::into)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
