//! A client's end of a connection: a TCP socket, with or without TLS on it.
//!
//! With TLS the handshake waits for the first read or write, so that a client may also be silent.
//! Like a socket, it may be written to by one thread while another reads.

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
    /// Goes out in one write with what is sent first, before any handshake.
    preface: Vec<u8>,
}

struct Session {
    connection: Mutex<ClientConnection>,
    /// Records that the socket has not taken yet. Held while they are sent: they have an order.
    records: Mutex<Vec<u8>>,
}

impl Socket {
    pub fn connect(address: Address) -> Self {
        let tcp = TcpStream::connect(address.tcp).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self::over(tcp, address.is_tls)
    }

    /// On a connection that is there.
    pub fn over(tcp: TcpStream, is_tls: bool) -> Self {
        let tls = is_tls.then(|| {
            let name = "localhost".try_into().unwrap();
            ClientConnection::new(Arc::clone(&CLIENT), name).unwrap()
        });
        Self::with(tcp, tls)
    }

    /// On a connection that is there, with a TLS of one's own.
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

    /// The socket itself, for its options and for what goes over it in plain.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Has these bytes precede all others, in one write with the next, and in plain.
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

    /// The client's side of TLS, where there is one.
    pub fn session(&self) -> MutexGuard<'_, ClientConnection> {
        self.tls.as_ref().expect("TLS").connection.lock()
    }

    /// Sends the session's pending records.
    pub fn send_pending(&mut self) -> io::Result<()> {
        let tls = self.tls.as_ref().expect("TLS");
        tls.send(&self.tcp, |_| Ok(()))
    }

    /// Seals bytes and keeps them from being sent.
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

    /// Returns true if a read would return now, with data or the end.
    pub fn is_readable(&mut self) -> bool {
        self.set_nonblocking(true);
        let is_readable = match &self.tls {
            None => !would_block(&self.tcp.peek(&mut [0])),
            Some(tls) => tls.is_readable(&self.tcp),
        };
        self.set_nonblocking(false);
        is_readable
    }

    /// Completes the handshake first, which needs a blocking socket.
    pub fn set_nonblocking(&mut self, nonblocking: bool) {
        self.handshake().unwrap();
        self.tcp.set_nonblocking(nonblocking).unwrap();
    }

    /// Closes the sending side; with TLS, both in TLS and in TCP.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.handshake()?;
        if let Some(tls) = &self.tls {
            tls.send(&self.tcp, |connection| {
                connection.send_close_notify();
                Ok(())
            })?;
        }
        match self.tcp.shutdown(Shutdown::Write) {
            // The server has closed at the first word.
            Err(error) if self.is_tls() && error.kind() == ErrorKind::NotConnected => Ok(()),
            shut => shut,
        }
    }

    /// Sends the preface, and with TLS shakes hands; does nothing when that is done.
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
    /// Sends what `write` makes of it, as far as the socket takes it.
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
            // It is sealed: the rest goes before whatever comes next.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(written),
            sent => sent.map(|()| written),
        }
    }

    /// Waits for more bytes, and opens what is whole of them. Others may write meanwhile.
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
            // The end is something, too, and it stays.
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
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.handshake()?;
        let Some(tls) = &self.tls else {
            return self.tcp.read(buffer);
        };
        loop {
            match tls.connection.lock().reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The end where it was announced, `UnexpectedEof` where it was not.
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
