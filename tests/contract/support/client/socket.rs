//! A client's end of a connection: a TCP socket, with or without TLS.
//!
//! With TLS, the handshake starts with the first read or write, so a client may also stay silent.
//! Like a socket, it can be written to on one thread while another thread reads.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, LazyLock};

use parking_lot::{Mutex, MutexGuard};
use rustls::{ClientConfig, ClientConnection};

use crate::support::PATIENCE;
use crate::support::transport::{self, Address};

static CLIENT: LazyLock<Arc<ClientConfig>> =
    LazyLock::new(|| Arc::new(transport::certificate().client()));

pub struct Socket {
    tcp: TcpStream,
    tls: Option<Arc<Session>>,
    /// Bytes for the first write, before any handshake.
    preface: Vec<u8>,
}

struct Session {
    connection: Mutex<ClientConnection>,
    /// Records that the socket has not taken yet. Locked during sends, because their order matters.
    records: Mutex<Vec<u8>>,
}

impl Socket {
    pub fn connect(address: Address) -> Self {
        let tcp = TcpStream::connect(address.tcp).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self::over(tcp, address.is_tls)
    }

    /// Wraps an existing connection.
    pub fn over(tcp: TcpStream, is_tls: bool) -> Self {
        let tls = is_tls.then(|| {
            let name = "localhost".try_into().unwrap();
            ClientConnection::new(Arc::clone(&CLIENT), name).unwrap()
        });
        Self::with(tcp, tls)
    }

    /// Wraps an existing connection, with the caller's TLS session.
    pub fn with(tcp: TcpStream, tls: Option<ClientConnection>) -> Self {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = |connection| {
            Arc::new(Session {
                connection: Mutex::new(connection),
                records: Mutex::default(),
            })
        };
        Self {
            tcp,
            tls: tls.map(session),
            preface: Vec::new(),
        }
    }

    /// The socket itself, for its options and for unencrypted bytes.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Sends these bytes unencrypted before all others, together with the next write.
    pub fn begin_with(&mut self, preface: &[u8]) {
        self.preface = preface.to_vec();
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            tcp: self.tcp.try_clone()?,
            tls: self.tls.clone(),
            preface: self.preface.clone(),
        })
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Closes the connection, over TLS without `close_notify`. The FIN has left when this returns. Dropping
    /// is not enough for that: a process that another test is just starting holds a copy of the descriptor
    /// until its `exec`.
    pub fn close(self) {
        // The server may have closed first.
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    /// Closes the connection with a RST, which has left when this returns.
    pub fn reset(self) {
        rustix::net::connect_unspec(&self.tcp).unwrap();
    }

    /// The client's TLS session, if it has one.
    pub fn session(&self) -> MutexGuard<'_, ClientConnection> {
        self.tls.as_ref().expect("TLS").connection.lock()
    }

    /// Sends what the TLS session wants to send.
    pub fn send_pending(&mut self) -> io::Result<()> {
        let tls = self.tls.as_ref().expect("TLS");
        tls.send(&self.tcp, |_| Ok(()))
    }

    /// Seals bytes without sending them.
    pub fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.handshake().unwrap();
        let mut session = self.session();
        session.writer().write_all(bytes).unwrap();
        let mut records = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Returns true if a read would return something now, including the end.
    pub fn is_readable(&mut self) -> bool {
        self.set_nonblocking(true);
        let is_readable = match &self.tls {
            None => !would_block(&self.tcp.peek(&mut [0])),
            Some(tls) => tls.is_readable(&self.tcp),
        };
        self.set_nonblocking(false);
        is_readable
    }

    /// Completes the handshake first, which blocks.
    pub fn set_nonblocking(&mut self, nonblocking: bool) {
        self.handshake().unwrap();
        self.tcp.set_nonblocking(nonblocking).unwrap();
    }

    /// Shuts down the sending side, after a `close_notify` over TLS.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.handshake()?;
        if let Some(tls) = &self.tls {
            tls.send(&self.tcp, |connection| {
                connection.send_close_notify();
                Ok(())
            })?;
        }
        match self.tcp.shutdown(Shutdown::Write) {
            // The server may have closed after the first bytes.
            Err(error) if self.is_tls() && error.kind() == ErrorKind::NotConnected => Ok(()),
            shut => shut,
        }
    }

    /// Sends the preface and, over TLS, completes the handshake. Does nothing if that is done.
    pub fn handshake(&mut self) -> io::Result<()> {
        let Some(tls) = &self.tls else {
            let preface = std::mem::take(&mut self.preface);
            return self.tcp.write_all(&preface);
        };
        let mut connection = tls.connection.lock();
        if !connection.is_handshaking() {
            return Ok(());
        }
        let mut first = std::mem::take(&mut self.preface);
        connection.write_tls(&mut first)?;
        self.tcp.write_all(&first)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut self.tcp)?;
        }
        Ok(())
    }
}

impl Session {
    /// Sends what `write` produces, as far as the socket takes it.
    fn send<T>(
        &self,
        mut tcp: &TcpStream,
        write: impl FnOnce(&mut ClientConnection) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut records = self.records.lock();
        write_pending(&mut tcp, &mut records)?;
        let written = {
            let mut connection = self.connection.lock();
            let written = write(&mut connection)?;
            while connection.wants_write() {
                connection.write_tls(&mut *records)?;
            }
            written
        };
        match write_pending(&mut tcp, &mut records) {
            // These bytes are sealed, so the rest has to be sent before anything else.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(written),
            sent => sent.map(|()| written),
        }
    }

    /// Waits for more bytes, and decrypts complete records. Other threads may write meanwhile.
    fn receive(&self, mut tcp: &TcpStream) -> io::Result<()> {
        tcp.peek(&mut [0])?;
        let mut connection = self.connection.lock();
        connection.read_tls(&mut tcp)?;
        let opened = connection.process_new_packets();
        opened.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(())
    }

    fn is_readable(&self, tcp: &TcpStream) -> bool {
        loop {
            let mut connection = self.connection.lock();
            let Ok(state) = connection.process_new_packets() else {
                return true;
            };
            if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
                return true;
            }
            drop(connection);
            // The end counts as readable, and it stays so.
            let mut next = [0];
            if matches!(tcp.peek(&mut next), Ok(0)) {
                return true;
            }
            match self.receive(tcp) {
                Ok(()) => {}
                received => return !would_block(&received),
            }
        }
    }
}

impl Read for Socket {
    /// Goes on if it is interrupted: with a timeout for reads, whatever stops the process for a moment, such as a debugger,
    /// does that (signal(7)).
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read_once(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Socket {
    fn read_once(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.handshake()?;
        let Some(tls) = &self.tls else {
            return self.tcp.read(buffer);
        };
        loop {
            match tls.connection.lock().reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // A clean end, or `UnexpectedEof` without `close_notify`.
                read => return read,
            }
            tls.receive(&self.tcp)?;
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tls.is_none() && !self.preface.is_empty() {
            self.preface.extend_from_slice(bytes);
            self.handshake()?;
            return Ok(bytes.len());
        }
        self.handshake()?;
        match &self.tls {
            None => self.tcp.write(bytes),
            Some(tls) => tls.send(&self.tcp, |connection| connection.writer().write(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.tls {
            None => self.tcp.flush(),
            Some(tls) => write_pending(&mut &self.tcp, &mut tls.records.lock()),
        }
    }
}

fn write_pending(tcp: &mut &TcpStream, records: &mut Vec<u8>) -> io::Result<()> {
    while !records.is_empty() {
        match tcp.write(records) {
            Ok(written) => drop(records.drain(..written)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
