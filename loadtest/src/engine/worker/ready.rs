//! Handles a connection whose socket is ready.

use std::mem::MaybeUninit;

use rustix::event::epoll::EventFlags;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{Gone, READ_BUFFER_BYTES, Worker};
use crate::clock;
use crate::engine::conn::Phase;
use crate::engine::connect::{proxy_header, write_request};
use crate::parse::Reached;
use crate::tls::Input;
use crate::websocket::{Key, accept};

impl Worker {
    pub(super) fn ready(&mut self, key: usize, flags: EventFlags, buffer: &mut [MaybeUninit<u8>]) {
        let Some(conn) = self.conns.get(key) else {
            return;
        };
        if conn.phase == Phase::Connecting {
            if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                let error = rustix::net::sockopt::socket_error(&conn.fd);
                let error = error
                    .map_or_else(Some, Result::err)
                    .unwrap_or(Errno::CONNRESET);
                return self.gone(key, Gone::Because(format!("connect: {error}")));
            }
            if !flags.contains(EventFlags::OUT) {
                return;
            }
            if let Err(reason) = self.ask(key) {
                return self.gone(key, Gone::Because(reason));
            }
        }
        if flags.contains(EventFlags::OUT) {
            self.send_unsent(key);
        }
        let ending = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if self.conns[key].phase == Phase::Deaf {
            if self.hearing && self.discard(key, buffer) {
                self.gone(key, Gone::Dropped);
            }
            return;
        }
        if (ending || flags.contains(EventFlags::IN))
            && let Err(reason) = self.read(key, ending, buffer)
        {
            self.gone(key, Gone::Because(reason));
        }
    }

    /// Discards the bytes of a client that never reads; returns true if its stream has ended. The end only
    /// shows up after the bytes that did not fit into the kernel's buffer.
    pub(super) fn discard(&self, key: usize, buffer: &mut [MaybeUninit<u8>]) -> bool {
        let fd = &self.conns[key].fd;
        loop {
            match recv(fd, &mut *buffer, RecvFlags::empty()) {
                Ok((([], _), _)) => return true,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Sends the request, or begins the TLS handshake before it.
    fn ask(&mut self, key: usize) -> Result<(), String> {
        let conn = &mut self.conns[key];
        self.request.clear();
        self.outgoing.clear();
        let last_id = conn.last_offset().and_then(|offset| self.tally.id(offset));
        let node = self.target.nodes.get(conn.node);
        let websocket_key = node.way.messages.map(|dialect| {
            let websocket_key = Key::random();
            conn.expect_websocket(accept(websocket_key.as_str()), dialect);
            websocket_key
        });
        write_request(
            &mut self.request,
            &self.target,
            node,
            conn.number,
            last_id,
            websocket_key.as_ref(),
        );
        if self.target.proxy_protocol {
            let header = proxy_header(node.address, conn.number);
            self.outgoing.extend_from_slice(header.as_bytes());
        }
        let request = self.request.as_bytes();
        match self.links.as_mut().filter(|_| node.tls.is_some()) {
            Some(links) => links.start(key, conn.node, request, &mut self.outgoing)?,
            None => self.outgoing.extend_from_slice(request),
        }
        send_whole(&conn.fd, &self.outgoing)?;
        conn.phase = Phase::Asked;
        Ok(())
    }

    fn read(
        &mut self,
        key: usize,
        ending: bool,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<(), String> {
        loop {
            let bytes = match recv(&self.conns[key].fd, &mut *buffer, RecvFlags::empty()) {
                Ok(((bytes, _), _)) => bytes,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(format!("read: {error}")),
            };
            if bytes.is_empty() {
                let node = self.conns[key].node;
                let links = self.links.as_mut();
                return Err(match links.filter(|links| links.is_secure(node)) {
                    Some(links) => links.truncated(),
                    None => self.target.nodes.get(node).way.unfinished().to_owned(),
                });
            }
            let length = bytes.len();
            let read_on = self.take(key, bytes, clock::now_ns())?;
            // Edge-triggered: a short read has drained the socket, and later bytes cause a new edge.
            if !read_on || length < READ_BUFFER_BYTES && !ending {
                return Ok(());
            }
        }
    }

    /// Handles bytes that were read at `now_ns` and sends the replies that they require, even after an error.
    /// Returns true if reading should go on.
    fn take(&mut self, key: usize, bytes: &mut [u8], now_ns: u64) -> Result<bool, String> {
        let taken = self.take_in(key, bytes, now_ns);
        if !self.replies.is_empty() {
            self.reply(key);
        }
        // A stream may begin and end in one read. A rejected connection never begins.
        let conn = &self.conns[key];
        if taken.is_err() && conn.phase == Phase::Asked && conn.has_begun_messages() {
            self.begin(key);
        }
        taken
    }

    fn take_in(&mut self, key: usize, bytes: &mut [u8], now_ns: u64) -> Result<bool, String> {
        let mut input = Input(bytes);
        self.outgoing.clear();
        loop {
            let conn = &mut self.conns[key];
            let (target, scratch, tally) = (&self.target, &mut self.scratch, &mut self.tally);
            let replies = &mut self.replies;
            let node = conn.node;
            let mut feed = |bytes: &[u8]| conn.feed(bytes, now_ns, target, scratch, replies, tally);
            let links = self.links.as_mut();
            let Some(links) = links.filter(|links| links.is_secure(node)) else {
                let reached = feed(input.0).map_err(|malformed| malformed.to_string())?;
                return self.reached(key, reached);
            };
            let unfinished = target.nodes.get(node).way.unfinished();
            let outgoing = &mut self.outgoing;
            let Some(reached) = links.receive(key, &mut input, outgoing, unfinished, &mut feed)?
            else {
                break;
            };
            if !self.reached(key, reached)? {
                return Ok(false);
            }
        }
        if !self.outgoing.is_empty() {
            send_whole(&self.conns[key].fd, &self.outgoing)?;
        }
        Ok(true)
    }

    /// Notes the progress of a response; returns true if reading should go on.
    fn reached(&mut self, key: usize, reached: Reached) -> Result<bool, String> {
        let conn = &self.conns[key];
        match reached {
            Reached::Body if conn.phase == Phase::Asked => {
                self.begin(key);
                let conn = &mut self.conns[key];
                if self.limits.is_deaf(conn.number) {
                    conn.phase = Phase::Deaf;
                    self.end_link(key);
                    return Ok(false);
                }
                Ok(true)
            }
            Reached::Head | Reached::Body => Ok(true),
            Reached::End => Err("ended by the server".to_owned()),
        }
    }

    /// A stream has begun.
    fn begin(&mut self, key: usize) {
        self.in_flight -= 1;
        self.totals.open += 1;
        self.totals.opened += 1;
        let conn = &mut self.conns[key];
        conn.phase = Phase::Open;
        self.tally.on(conn.node).open += 1;
    }

    /// Drops the TLS state of a connection.
    pub(super) fn end_link(&mut self, key: usize) {
        if let Some(links) = &mut self.links {
            links.end(key);
        }
    }
}

/// A new socket's send buffer has room for everything that a client sends.
fn send_whole(fd: impl AsFd, bytes: &[u8]) -> Result<(), String> {
    match send(fd, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err("the request did not fit the send buffer".to_owned()),
        Err(error) => Err(format!("request: {error}")),
    }
}
