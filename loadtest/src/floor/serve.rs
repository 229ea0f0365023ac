//! The floor's process: threads that accept, hold and send.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, ensure};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use rustix::time::Timespec;
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use super::beat::Beat;
use super::frames::{STREAM_HEAD, heartbeat};
use super::upgrades::Upgrades;
use super::whole::Whole;
use crate::transport::Transport;
use crate::{clock, sys, tls};

const LISTENER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;
const EVENTS_PER_WAIT: usize = 512;
/// Connections accepted before a thread checks its sockets again.
const ACCEPTS_PER_TURN: u32 = 64;
const BACKLOG: i32 = 4096;
const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// How often heartbeats are sent: the same interval as a tick of the server's wheel, for equal wake-ups.
const TICK_MS: u64 = 31;

#[derive(Debug, Clone)]
enum Command {
    Broadcast(Arc<[u8]>),
    Unicast { number: usize, frame: Arc<[u8]> },
    Heartbeats { period_ms: u64 },
}

/// Serves until stdin is closed. Writes the address to stdout as one line.
pub(crate) fn run(threads: u32, tls_whole: bool, transport: Transport) -> Result<()> {
    sys::raise_descriptor_limit();
    let config = tls_whole.then(tls::server_config).transpose()?;
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut handles = Vec::new();
    for index in 0..threads {
        let listener = listen(address)?;
        address = listener.local_addr()?;
        let (commands, inbox) = channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let held = Arc::new(AtomicUsize::new(0));
        let whole = config.clone().map(Whole::new);
        let thread = Thread::new(
            listener,
            inbox,
            Arc::clone(&wake),
            Arc::clone(&held),
            whole,
            transport,
        )?;
        std::thread::Builder::new()
            .name(format!("floor-{index}"))
            .spawn(move || thread.run())
            .context("starting a thread of the floor")?;
        handles.push(Handle {
            commands,
            wake,
            held,
        });
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{address}")?;
    stdout.flush()?;

    let mut stdin = std::io::stdin().lock();
    while let Some(command) = next_command(&mut stdin)? {
        if let Command::Unicast { number, frame } = command {
            // SO_REUSEPORT may leave a thread without connections.
            let holding = handles
                .iter()
                .filter(|handle| handle.held.load(Ordering::Relaxed) > 0);
            let holding: Vec<&Handle> = holding.collect();
            if let Some(handle) = holding.get(number % holding.len().max(1)) {
                let number = number / holding.len();
                handle.send(Command::Unicast { number, frame })?;
            }
        } else {
            for handle in &handles {
                handle.send(command.clone())?;
            }
        }
    }
    Ok(())
}

/// A thread as seen by the main thread.
#[derive(Debug)]
struct Handle {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    /// The number of connections as of its last pass.
    held: Arc<AtomicUsize>,
}

impl Handle {
    fn send(&self, command: Command) -> Result<()> {
        let sent = self.commands.send(command).ok();
        sent.context("a thread of the floor is gone")?;
        rustix::io::write(&self.wake, &1u64.to_ne_bytes())?;
        Ok(())
    }
}

fn next_command(input: &mut impl BufRead) -> Result<Option<Command>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let bad = || format!("no command: {line:?}");
    let mut words = line.split_ascii_whitespace();
    let verb = words.next().with_context(bad)?;
    let numbers: Vec<u64> = words
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(bad)?;
    let mut frame = |bytes: u64| -> Result<Arc<[u8]>> {
        let bytes = usize::try_from(bytes)?;
        ensure!(
            bytes <= MAX_FRAME_BYTES,
            "a frame of {bytes} bytes is over {MAX_FRAME_BYTES}"
        );
        let mut frame = vec![0; bytes];
        input.read_exact(&mut frame)?;
        Ok(frame.into())
    };
    Ok(Some(match (verb, numbers.as_slice()) {
        ("broadcast", &[bytes]) => Command::Broadcast(frame(bytes)?),
        ("unicast", &[number, bytes]) => Command::Unicast {
            number: usize::try_from(number)?,
            frame: frame(bytes)?,
        },
        ("heartbeats", &[period_ms]) => Command::Heartbeats { period_ms },
        _ => anyhow::bail!("{}", bad()),
    }))
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(
        Domain::IPV4,
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A thread: its listener, its sockets.
#[derive(Debug)]
struct Thread {
    epoll: OwnedFd,
    listener: TcpListener,
    inbox: Receiver<Command>,
    wake: Arc<OwnedFd>,
    held: Arc<AtomicUsize>,
    conns: Slab<Conn>,
    /// Their TLS state, if they use TLS.
    whole: Option<Whole>,
    /// Their handshakes, if they use WebSocket.
    upgrades: Option<Upgrades>,
    heartbeat: Vec<u8>,
    beat: Beat,
}

#[derive(Debug)]
struct Conn {
    fd: OwnedFd,
    /// Bytes of the request's final `\r\n\r\n` seen in a row; 4 means a stream.
    matched: u8,
}

impl Thread {
    fn new(
        listener: TcpListener,
        inbox: Receiver<Command>,
        wake: Arc<OwnedFd>,
        held: Arc<AtomicUsize>,
        whole: Option<Whole>,
        transport: Transport,
    ) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            inbox,
            wake,
            held,
            conns: Slab::new(),
            whole,
            upgrades: (transport == Transport::Ws).then(Upgrades::default),
            heartbeat: heartbeat(transport),
            beat: Beat::default(),
        })
    }

    fn run(mut self) {
        // The thread uses only its epoll, listener and eventfd, which exist already.
        if let Err(error) = sys::copy_descriptor_table() {
            panic!("a descriptor table of its own: {error}");
        }
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(TICK_MS * 1_000_000).expect("a constant"),
        };
        loop {
            events.clear();
            let timeout = self.beat.is_on().then_some(&tick);
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout,
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("epoll_wait on our own epoll: {error}"),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    WAKE => {
                        let _ = rustix::io::read(&self.wake, &mut [0; 8]); // EAGAIN: a wake-up already taken
                    }
                    key => self.read(usize::try_from(key).expect("our own key")),
                }
            }
            self.held.store(self.conns.len(), Ordering::Relaxed);
            while let Ok(command) = self.inbox.try_recv() {
                match command {
                    Command::Broadcast(frame) => self.broadcast(&frame),
                    Command::Unicast { number, frame } => self.unicast(number, &frame),
                    Command::Heartbeats { period_ms } => {
                        self.beat = Beat::new(period_ms, clock::now_ns());
                    }
                }
            }
            for _ in 0..self.beat.due(self.conns.len(), clock::now_ns()) {
                self.beat_next();
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let Ok(fd) = accept_with(&self.listener, flags) else {
                return;
            };
            let slot = self.conns.vacant_entry();
            let accepted = self.whole.as_mut().map(|whole| whole.accepted(slot.key()));
            if let Some(Err(_)) = accepted {
                continue; // the client counts missing events
            }
            let key = EventData::new_u64(slot.key() as u64);
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            if epoll::add(&self.epoll, &fd, key, interest).is_ok() {
                slot.insert(Conn { fd, matched: 0 });
            }
        }
    }

    fn read(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let mut buffer = [0; 4096];
        loop {
            let length = match recv(&conn.fd, &mut buffer, RecvFlags::empty()) {
                Ok((length @ 1.., _)) => length,
                Err(Errno::AGAIN) => break,
                Ok(_) | Err(_) => return self.closed(key),
            };
            let opened;
            let request = match &mut self.whole {
                None => &buffer[..length],
                Some(whole) => match whole.received(key, &conn.fd, &buffer[..length]) {
                    Ok(bytes) => {
                        opened = bytes;
                        &opened[..]
                    }
                    Err(_) => return self.closed(key), // the client counts missing events
                },
            };
            match &mut self.upgrades {
                None if conn.asks(request) => conn.send(key, &mut self.whole, STREAM_HEAD),
                Some(upgrades) if !conn.has_asked() => {
                    upgrades.collect(key, request);
                    let answer = conn.asks(request).then(|| upgrades.answer(key)).flatten();
                    if let Some(head) = answer {
                        conn.send(key, &mut self.whole, &head);
                    }
                }
                _ => {} // pongs, or an incomplete request
            }
        }
        if let Some(whole) = &mut self.whole {
            let _ = whole.flush(key, &conn.fd); // as in `Conn::send`
        }
    }

    fn closed(&mut self, key: usize) {
        self.conns.remove(key);
        if let Some(whole) = &mut self.whole {
            whole.closed(key);
        }
        if let Some(upgrades) = &mut self.upgrades {
            upgrades.closed(key);
        }
    }

    fn broadcast(&mut self, frame: &[u8]) {
        for (key, conn) in &self.conns {
            conn.send(key, &mut self.whole, frame);
        }
    }

    fn unicast(&mut self, number: usize, frame: &[u8]) {
        if let Some(key) = self.occupied(number) {
            self.conns[key].send(key, &mut self.whole, frame);
        }
    }

    /// The connection in slot `at`, or in the next occupied slot. A ramp fills slots densely, so it is near.
    fn occupied(&self, at: usize) -> Option<usize> {
        let slots = self.conns.capacity().max(1);
        let at = at % slots;
        let mut keys = (at..slots).chain(0..at);
        keys.find(|&key| self.conns.contains(key))
    }

    /// Sends a heartbeat to the next connection in turn.
    fn beat_next(&mut self) {
        let Some(key) = self.occupied(self.beat.turn) else {
            return;
        };
        self.conns[key].send(key, &mut self.whole, &self.heartbeat);
        self.beat.turn = key + 1;
    }
}

impl Conn {
    /// Returns true if its request is complete.
    fn has_asked(&self) -> bool {
        self.matched == 4
    }

    /// Returns true if these bytes complete the request. Later input is ignored.
    fn asks(&mut self, bytes: &[u8]) -> bool {
        let asked = self.matched == 4;
        self.matched = bytes
            .iter()
            .fold(self.matched, |matched, &byte| match (matched, byte) {
                (4, _) => 4,
                (0 | 2, b'\r') | (1 | 3, b'\n') => matched + 1,
                (_, b'\r') => 1,
                _ => 0,
            });
        self.matched == 4 && !asked
    }

    fn send(&self, key: usize, whole: &mut Option<Whole>, frame: &[u8]) {
        // Errors and short sends are ignored here: the client counts missing events.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match whole {
            None => drop(send(&self.fd, frame, flags)),
            Some(whole) => drop(whole.send(key, &self.fd, frame)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_a_pipe_with_their_bytes() {
        let mut input = &b"heartbeats 5000\nbroadcast 5\nh\nllounicast 7 2\nhi"[..];
        assert!(matches!(
            next_command(&mut input),
            Ok(Some(Command::Heartbeats { period_ms: 5000 }))
        ));
        let Ok(Some(Command::Broadcast(frame))) = next_command(&mut input) else {
            panic!("no broadcast")
        };
        assert_eq!(&*frame, b"h\nllo");
        let Ok(Some(Command::Unicast { number: 7, frame })) = next_command(&mut input) else {
            panic!("no unicast")
        };
        assert_eq!(&*frame, b"hi");
        assert!(matches!(next_command(&mut input), Ok(None)));
        assert!(next_command(&mut &b"broadcast 99999999999\n"[..]).is_err());
        assert!(next_command(&mut &b"dance 1\n"[..]).is_err());
    }
}
