//! The TLS of one connection: rustls until the response has begun, then one key.

use std::io::{Read, Write};

use rustls::{ClientConnection, HandshakeKind};

use super::keys::Keys;
use super::record::{APPLICATION_DATA, Input, Records};
use super::{Client, Counts, Fault, Sealer};
use crate::parse::{Malformed, Reached};

/// Kinds of records (RFC 8446, appendix B.1) and of a handshake message in them (appendix B.3).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const NEW_SESSION_TICKET: u8 = 4;
const CLOSE_NOTIFY: u8 = 0;

/// What the client holds for the TLS of a connection. The assertion below is the module's promise.
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
    /// It has whole records only, so that it never holds half of one when it is given up.
    Handshake(Box<ClientConnection>),
    Stream(Keys),
    /// Nothing more is read of it.
    Spent,
}

/// Why a connection cannot be read on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stopped {
    /// The server said that it has ended it.
    Closed,
    Faulty(Fault),
    /// What the records held is not an event stream.
    Malformed(Malformed),
}

impl Link {
    /// Begins a handshake, at whose end `request` goes out. What is to be sent is added to `outgoing`.
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

    /// Takes records off what was read, up to the next that holds a part of the response; that goes to `sink`, which
    /// says how far the response has come. `None` when no such record is whole. What is to be sent is added to
    /// `outgoing`; what seals anything after that is put into `sealer` when the response begins.
    pub(crate) fn receive(
        &mut self,
        input: &mut Input<'_>,
        outgoing: &mut Vec<u8>,
        counts: &mut Counts,
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

    /// Keeps of rustls what opens the records to come, and hands out what seals.
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

/// Gives rustls a whole record; what of the response was in it.
fn shake_hands(
    tls: &mut ClientConnection,
    mut record: &[u8],
    outgoing: &mut Vec<u8>,
    counts: &mut Counts,
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

/// What a record of the stream holds for the response: nothing where it is a ticket.
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

/// A server sends tickets when it likes, and they are of no use here any more. Anything else would ask for an answer.
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
