//! TLS of one connection: rustls until the response has begun, then only a key.

use std::io::{Read, Write};

use rustls::{ClientConnection, HandshakeKind};

use super::keys::Keys;
use super::record::{APPLICATION_DATA, Input, Records};
use super::{Client, Fault, Sealer, TlsCounts};
use crate::parse::{Malformed, Reached};

/// Record types (RFC 8446, appendix B.1) and handshake message types (appendix B.3).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const NEW_SESSION_TICKET: u8 = 4;
const CLOSE_NOTIFY: u8 = 0;

/// The client's TLS state of a connection. The assertion below limits its size.
#[derive(Debug)]
pub(crate) struct Link {
    records: Records,
    state: State,
}

const _: () = assert!(
    size_of::<Option<Link>>() <= 64,
    "the TLS of a connection is to cost the client a cache line"
);

#[derive(Debug)]
enum State {
    /// It gets only whole records, so that it holds no partial one when it is taken apart.
    Handshake(Box<ClientConnection>),
    Stream(Keys),
    /// The connection is no longer read.
    Spent,
}

/// Why a connection can no longer be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stopped {
    /// The server closed the connection.
    Closed,
    Faulty(Fault),
    /// The content of the records is not an event stream.
    Malformed(Malformed),
}

impl Link {
    /// Begins a handshake, after which `request` is sent. Appends the bytes to send to `outgoing`.
    pub(crate) fn start(
        client: &Client,
        request: &[u8],
        outgoing: &mut Vec<u8>,
    ) -> Result<Self, Fault> {
        let mut tls = Box::new(client.connect()?);
        tls.set_buffer_limit(None); // the request's length is the limit
        tls.writer()
            .write_all(request)
            .expect("without a limit it takes all");
        flush(&mut tls, outgoing);
        Ok(Self {
            records: Records::default(),
            state: State::Handshake(tls),
        })
    }

    /// Takes records from bytes that were read, up to the next with a part of the response. That part goes to
    /// `sink`, which returns the progress of the response. `None` if no such record is complete. Appends the
    /// bytes to send to `outgoing`. When the response begins, the keys for later records of the client are put
    /// into `sealer`.
    pub(crate) fn receive(
        &mut self,
        input: &mut Input<'_>,
        outgoing: &mut Vec<u8>,
        counts: &mut TlsCounts,
        sealer: &mut Option<Sealer>,
        sink: &mut impl FnMut(&[u8]) -> Result<Reached, Malformed>,
    ) -> Result<Option<Reached>, Stopped> {
        while let Some(mut record) = self.records.next(input)? {
            let record = record.bytes();
            match &mut self.state {
                State::Handshake(tls) => {
                    let response = shake_hands(tls, record, outgoing, counts)?;
                    if !response.is_empty() {
                        *sealer = self.detach()?;
                        return Ok(Some(sink(&response)?));
                    }
                }
                State::Stream(keys) => {
                    let response = content(keys, record)?;
                    if !response.is_empty() {
                        return Ok(Some(sink(response)?));
                    }
                }
                State::Spent => return Err(Stopped::Closed),
            }
        }
        Ok(None)
    }

    /// Keeps only the key for the server's records to come, and returns that of the client's.
    fn detach(&mut self) -> Result<Option<Sealer>, Fault> {
        let State::Handshake(tls) = std::mem::replace(&mut self.state, State::Spent) else {
            return Ok(None);
        };
        let secrets = tls.dangerous_extract_secrets()?;
        let (next, opening) = secrets.rx;
        self.state = State::Stream(Keys::new(next, &opening)?);
        let (next, sealing) = secrets.tx;
        Ok(Some(Sealer::new(next, &sealing)?))
    }
}

/// Passes a whole record to rustls; returns the part of the response in it.
fn shake_hands(
    tls: &mut ClientConnection,
    mut record: &[u8],
    outgoing: &mut Vec<u8>,
    counts: &mut TlsCounts,
) -> Result<Vec<u8>, Stopped> {
    let began_handshaking = tls.is_handshaking();
    let mut response = Vec::new();
    while !record.is_empty() {
        tls.read_tls(&mut record)
            .map_err(|error| Fault::Handshake(rustls::Error::General(error.to_string())))?;
        let state = tls.process_new_packets().map_err(Fault::Handshake)?;
        let start = response.len();
        response.resize(start + state.plaintext_bytes_to_read(), 0);
        tls.reader()
            .read_exact(&mut response[start..])
            .expect("rustls has said how much there is");
        if state.peer_has_closed() {
            return Err(Stopped::Closed);
        }
    }
    if began_handshaking && !tls.is_handshaking() {
        match tls.handshake_kind() {
            Some(HandshakeKind::Resumed) => counts.resumed += 1,
            _ => counts.full += 1,
        }
    }
    flush(tls, outgoing);
    Ok(response)
}

fn flush(tls: &mut ClientConnection, outgoing: &mut Vec<u8>) {
    while tls.wants_write() {
        tls.write_tls(outgoing).expect("a Vec takes all");
    }
}

/// The part of the response in a record; nothing if it is a session ticket.
fn content<'a>(keys: &mut Keys, record: &'a mut [u8]) -> Result<&'a [u8], Stopped> {
    let kind = record.first().copied().unwrap_or_default();
    if kind != APPLICATION_DATA {
        return Err(Fault::Unexpected(kind).into());
    }
    match keys.open(record)? {
        (APPLICATION_DATA, bytes) => Ok(bytes),
        (HANDSHAKE, messages) => tickets_only(messages).map(|()| &[][..]),
        (ALERT, &[_, CLOSE_NOTIFY]) => Err(Stopped::Closed),
        (ALERT, &[_, number]) => Err(Fault::Alert(number).into()),
        (kind, _) => Err(Fault::Unexpected(kind).into()),
    }
}

/// A server may send tickets at any time; they are ignored here. Other messages would require a response.
fn tickets_only(mut messages: &[u8]) -> Result<(), Stopped> {
    while let [kind, high, middle, low, rest @ ..] = messages {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        match rest.get(length..) {
            Some(rest) if *kind == NEW_SESSION_TICKET => messages = rest,
            _ => return Err(Fault::Message(*kind).into()),
        }
    }
    if messages.is_empty() {
        Ok(())
    } else {
        Err(Fault::Unexpected(HANDSHAKE).into())
    }
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Faulty(fault)
    }
}

impl From<Malformed> for Stopped {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
