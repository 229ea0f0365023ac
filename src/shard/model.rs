//! Tests the log, the directory and two shards against a naive model. Clients join, read, stall, leave and
//! return at random, while events are published, sessions change and history is evicted. Every client has to
//! receive each event for it once and in order, or a reported gap.

mod checks;
mod device;
pub(super) mod frames;
pub(super) mod opener;
mod said;
mod speaker;
mod step;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use tokio::runtime::Runtime;

use super::bench::Setup;
use super::poller::Poller;
use super::*;
use crate::auth::Identity;
use crate::clock::Clock;
use crate::event::{EventId, EventName, SessionChange, Target, UserId};
use crate::hub::engine::LocalNode;
use crate::hub::log::Record;
use crate::topic::Topic;
use crate::wire::Wire;
use device::{Connection, Device, Happened, What};
use opener::Opener;
use said::Said;
use speaker::Speaker;
use step::{Step, step};

const SHARDS: u16 = 2;
const USERS: usize = 3;
const TOPICS: [&str; 2] = ["news", "orders/1"];
const SESSIONS: [&str; 2] = ["a", "b"];
/// Small, so that history is evicted and backlogs overflow.
const HISTORY_BYTES: usize = 30_000;
const HISTORY_AGE: Duration = Duration::from_secs(10);
const BACKLOG_BYTES: usize = 6_000;
/// Short, so that heartbeats are due during all other steps.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Long, so that clients may read slowly.
const STALL_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Reads of all that a client may have sent before it is looked at.
const READS: usize = 16;
/// A timer fires up to a tick late, and such a long time for an answer is counted in units of a few ticks.
const LATE: Duration = Duration::from_secs(1);
const ORIGIN: EventId = EventId {
    ms: 1_600_000_000_000,
    seq: 7,
};

/// The number of entries that a client with this last id has seen. `None` if the id belongs to no kept entry
/// and is not the log's first.
fn place_of(happened: &[Happened], id: EventId) -> Option<usize> {
    if id == ORIGIN {
        return Some(0);
    }
    let at = happened.iter().position(|other| other.id == id)?;
    happened[at].is_kept().then_some(at + 1)
}

fn user(n: usize) -> UserId {
    UserId::new(&n.to_string()).unwrap()
}

fn topic(n: usize) -> Topic {
    Topic::parse(TOPICS[n]).unwrap()
}

/// The user, session and topics of each device. They cover all combinations that could be confused.
fn devices() -> Vec<(usize, usize, Vec<usize>)> {
    vec![
        (0, 0, vec![]),
        (0, 1, vec![0]),
        (1, 0, vec![0, 1]),
        (1, 0, vec![1]),
        (1, 1, vec![]),
        (2, 0, vec![0, 1]),
    ]
}

struct World {
    // Declared before the runtime, so that their descriptors are deregistered first.
    shards: Vec<Shard>,
    shared: Shared,
    _runtime: Runtime,
    happened: Vec<Happened>,
    /// The current session of each user, if there is one. All other sessions are refused.
    current: [Option<usize>; USERS],
    devices: Vec<Device>,
    gaps_told: usize,
}

impl World {
    fn new() -> Self {
        let clock = Clock::manual(1_700_000_000_000);
        let shared = shared(clock, SHARDS);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let context = runtime.enter();
        let shards = (0..SHARDS)
            .map(|number| Shard::new(number, shared.clone(), Poller::new().unwrap()))
            .collect();
        drop(context);
        let devices = devices()
            .into_iter()
            .map(|(user, session, topics)| Device {
                user,
                session,
                topics,
                last_id: None,
                seen: 0,
                was_worn: false,
                fleeting: Vec::new(),
                connection: None,
            })
            .collect();
        Self {
            shards,
            shared,
            _runtime: runtime,
            happened: Vec::new(),
            current: [None; USERS],
            devices,
            gaps_told: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Publish {
                to,
                bytes,
                is_kept,
                count,
            } => {
                for _ in 0..count {
                    self.publish(to.clone(), bytes, is_kept);
                }
            }
            Step::ChangeSession(user, keep) => self.change_session(user, keep),
            Step::Dispatch { in_place: false } => self.dispatch(),
            Step::Dispatch { in_place: true } => LocalNode::dispatch(&*self.shared.hub),
            Step::Connect {
                device,
                shard,
                forgets,
                is_full,
                answers_pings,
                is_mute,
            } => {
                if forgets {
                    self.devices[device].forget();
                }
                self.connect(device, shard, is_full, Speaker::new(answers_pings, is_mute));
            }
            Step::Leave(device) => self.devices[device].connection = None,
            Step::Say {
                device,
                input,
                is_half,
            } => {
                if let Some(connection) = &mut self.devices[device].connection
                    && let Some(speaker) = &mut connection.speaker
                {
                    let bytes = speaker.say(input, is_half);
                    connection.send(&bytes);
                }
            }
            Step::ChangeKeys(device) => self.change_keys(device),
            Step::HangUp(device) => {
                if let Some(connection) = &mut self.devices[device].connection
                    && let Some(speaker) = &mut connection.speaker
                {
                    let bytes = speaker.say(speaker::Input::Close, false);
                    connection.send(&bytes);
                    let _ = connection.socket.shutdown(Shutdown::Write);
                }
            }
            Step::Read(device, bytes) => {
                self.read(device, bytes);
            }
            Step::Sockets(shard) => {
                self.shards[shard].poll_sockets(&mut Vec::new());
            }
            Step::Deliver(shard) => {
                self.shards[shard].deliver();
            }
            Step::CatchUp(shard) => {
                self.shards[shard].run_catch_ups();
            }
            Step::Timers(shard) => {
                let now = self.shards[shard].connections.now();
                self.shards[shard].run_timers(now);
            }
            Step::Pass(ms) => {
                self.shared.clock.advance(Duration::from_millis(ms));
                self.shared.hub.log().expire(self.shared.clock.now_ms());
            }
        }
        self.close_returned();
    }

    /// Closes the connections that go back to HTTP, since this test has no HTTP. Each is closed once its
    /// socket has room for the goodbye. Returns true if some still wait for that.
    fn close_returned(&mut self) -> bool {
        let mut waits = false;
        for shard in &mut self.shards {
            for returned in shard.connections.take_returned() {
                let mut fds = [PollFd::new(&returned.fd, PollFlags::OUT)];
                let is_writable = poll(&mut fds, Some(&Timespec::default())).unwrap() > 0;
                if is_writable {
                    returned.close();
                } else {
                    waits = true;
                    shard.connections.exits.returned.push(returned);
                }
            }
        }
        waits
    }

    fn append(&mut self, what: What, record: Record) {
        let clock = &self.shared.clock;
        let log = self.shared.hub.log();
        let id = log.newest_id().next(clock.unix_ms());
        log.append(id, clock.now_ms(), record).unwrap();
        self.happened.push(Happened { id, what });
    }

    fn publish(&mut self, to: Target, bytes: usize, is_kept: bool) {
        // The number identifies a fleeting event, which has no id.
        let data = format!("{} {}", self.happened.len(), "d".repeat(bytes));
        let what = What::Event {
            to: to.clone(),
            is_kept,
        };
        let event = Record::Event {
            to,
            name: EventName::default(),
            data: data.into(),
            is_kept,
        };
        self.append(what, event);
    }

    /// Appends a session change and puts it into force in one step, as the response to a caller promises.
    fn change_session(&mut self, who: usize, keep: usize) {
        let change = SessionChange {
            user: user(who),
            keep: Some(SESSIONS[keep].into()),
            at_unix_ms: self.shared.clock.unix_ms(),
        };
        let session = Record::Session {
            change,
            data: "FORCE_LOGOUT".into(),
        };
        self.append(What::Session { user: who, keep }, session);
        self.dispatch();
        self.current[who] = Some(keep);
        for device in &mut self.devices {
            if let Some(connection) = &mut device.connection
                && device.user == who
                && device.session != keep
            {
                connection.over_at.get_or_insert(self.happened.len());
            }
        }
    }

    fn dispatch(&self) {
        let dispatch = pin!(self.shared.hub.dispatch());
        let mut context = Context::from_waker(Waker::noop());
        assert!(dispatch.poll(&mut context).is_pending());
    }

    /// The index of the oldest retained entry, or of the next entry if none is retained.
    fn oldest(&self) -> usize {
        let retained = self.shared.hub.log().retained().1;
        let kept = self.happened.iter().enumerate().rev();
        let mut kept = kept.filter(|(_, happened)| happened.is_kept());
        match retained {
            0 => self.happened.len(),
            retained => kept.nth(retained - 1).unwrap().0,
        }
    }

    /// A WebSocket client with TLS has new keys, which the server does not follow.
    fn change_keys(&mut self, n: usize) {
        const HANDSHAKE: u8 = 22;
        const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 1];
        if let Some(connection) = &mut self.devices[n].connection
            && connection.opener.is_some()
            && let Some(speaker) = &mut connection.speaker
        {
            let rest = speaker.answer();
            speaker.end_with(1001);
            connection.send(&rest);
            connection.send_record(HANDSHAKE, &KEY_UPDATE);
        }
    }

    fn connect(&mut self, n: usize, shard: usize, is_full: bool, speaker: Speaker) {
        // Every third device comes over WebSocket.
        let speaker = (n % 3 == 2).then_some(speaker);
        let wire = if speaker.is_some() {
            Wire::WebSocket
        } else {
            Wire::SseChunked
        };
        let oldest = self.oldest();
        let device = &mut self.devices[n];
        device.connection = None;
        let identity = Identity {
            user: device.user.to_string().into(),
            session: Some(SESSIONS[device.session].into()),
            issued: None,
            expires_at: u64::MAX,
            topics: Box::default(),
        };
        let admission = Admission {
            identity: Some(identity),
            topics: device.topics.iter().map(|n| topic(*n)).collect(),
            wire,
            // True for some devices with TLS and some without.
            keep_alive: n < 4 && wire != Wire::WebSocket,
            last_event_id: device.last_id.map(|id| id.to_string().into()),
            forwarded_for: None,
            expires_at_s: None,
        };
        let shard = &mut self.shards[shard];
        let seat = shard.admit(admission);
        let is_told_of_a_gap = seat.as_ref().is_ok_and(Seat::has_gap);
        let is_current = self.current[device.user].is_none_or(|current| current == device.session);
        assert_eq!(seat.is_ok(), is_current, "device {n}");
        let Ok(seat) = seat else { return };
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&server, 4_096).unwrap();
        if is_full {
            server.set_nonblocking(true).unwrap();
            while (&server).write(&[b'.'; 512]).is_ok() {}
        }
        // Every other device uses TLS, each with a different cipher.
        let (secrets, opener) = (n % 2 == 1).then(|| Opener::pair(n / 2)).unzip();
        let detached = Detached::new(server.into(), secrets, false);
        shard
            .join(seat, detached, b"HEAD\r\n\r\n".to_vec())
            .unwrap();
        if let Some(last) = device.last_id {
            let place = place_of(&self.happened, last);
            if is_told_of_a_gap {
                // A client that lacks no evicted entry must not get a gap.
                let is_known = place.is_some_and(|place| {
                    let mut gone = self.happened[..oldest].iter().skip(place);
                    !gone.any(Happened::is_kept)
                });
                assert!(!is_known, "device {n} got a needless gap at {last}");
            } else {
                let place = place.expect("an unknown id without a gap");
                let missing = device.first_missing(&self.happened, place..oldest);
                assert_eq!(missing, None, "device {n} did not get a gap");
            }
        } else {
            device.seen = self.happened.len();
        }
        self.gaps_told += usize::from(is_told_of_a_gap);
        device.connection = Some(Connection {
            socket: client,
            opener,
            speaker,
            received: Vec::new(),
            has_head: false,
            has_gap: false,
            over_at: None,
            is_logged_out: false,
            is_complete: false,
            is_over: false,
            has_begun: false,
            joined_at: self.happened.len(),
        });
    }

    /// Reads and checks what has arrived. Returns the number of bytes.
    fn read(&mut self, n: usize, bytes: usize) -> usize {
        let oldest = self.oldest();
        let device = &mut self.devices[n];
        let Some(connection) = &mut device.connection else {
            return 0;
        };
        let mut buffer = vec![0; bytes];
        let read = match connection.socket.read(&mut buffer) {
            Ok(read) => {
                connection.is_over = read == 0;
                read
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        };
        connection.receive(&buffer[..read]);
        let all: Vec<Said> = std::iter::from_fn(|| connection.next_said()).collect();
        for said in all {
            device.check(said, &self.happened, oldest);
        }
        if let Some(connection) = &device.connection
            && connection.is_over
            && !connection.is_kept_after_its_end()
        {
            if connection.speaker.is_none() || connection.is_logged_out {
                assert_eq!(connection.is_complete, connection.is_logged_out);
            }
            if let Some(opener) = &connection.opener {
                assert!(
                    !connection.is_complete || opener.is_told,
                    "an end without close_notify"
                );
            }
            device.was_worn = connection.is_worn();
            device.connection = None;
        }
        read
    }

    /// Runs until nothing is in progress any more.
    fn settle(&mut self) {
        self.dispatch();
        let mut patience = 2_000;
        // A shard looks into its inbox when it has nothing else to deliver.
        let mut quiet = 0;
        loop {
            let mut is_busy = false;
            for shard in &mut self.shards {
                // What is read later makes the socket ready once more.
                for _ in 0..READS {
                    is_busy |= shard.poll_sockets(&mut Vec::new());
                }
                is_busy |= shard.deliver();
                is_busy |= shard.run_catch_ups();
            }
            is_busy |= self.close_returned();
            for device in 0..self.devices.len() {
                is_busy |= self.read(device, 64 * 1_024) > 0;
            }
            // A concurrent test may copy the descriptor table. The copy keeps a socket that was closed here, at
            // either end, open for a moment.
            let waits = !self.is_settled() && patience > 0;
            quiet = if is_busy { 0 } else { quiet + 1 };
            if quiet > 1 && !waits {
                return;
            }
            if quiet > 1 {
                patience -= 1;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// The number of streams in the shards' tables that have not ended.
    fn live(&self) -> usize {
        let tables = self.shards.iter().map(|shard| &shard.connections.table);
        let slots = tables.flat_map(|table| (0..table.end()).filter_map(|key| table.get(key)));
        slots.filter(|slot| !slot.stream.is_ended()).count()
    }

    /// The number of streams in the shards' tables.
    fn in_tables(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    /// The number of connections of devices that have not received an end.
    fn held(&self) -> usize {
        self.connections()
            .filter(|it| !it.is_complete && !it.is_over)
            .count()
    }

    /// Returns true if both sides know of each other's ends, as far as clients close at all.
    fn is_settled(&self) -> bool {
        let connections = self.connections();
        let kept = connections.filter(|it| it.is_kept_after_its_end()).count();
        self.live() == self.held() && self.in_tables() <= self.live() + kept
    }

    fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.devices.iter().filter_map(|it| it.connection.as_ref())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_client_has_what_the_model_says(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
        world.check_fleeting();
        world.check_deadlines();
        world.check();
    }
}

#[test]
fn connected_clients_get_a_fleeting_event_once() {
    let mut world = World::new();
    for device in 0..world.devices.len() {
        world.connect(
            device,
            device % usize::from(SHARDS),
            false,
            Speaker::new(true, false),
        );
    }
    world.publish(Target::All, 10, false);
    world.publish(Target::User(user(1)), 10, false);
    world.settle();
    for device in &world.devices {
        let expected = if device.user == 1 {
            vec![0, 1]
        } else {
            vec![0]
        };
        assert_eq!(device.fleeting, expected);
    }
}

#[test]
fn a_client_does_not_get_a_fleeting_event_again_from_a_slower_shard() {
    const DEVICE: usize = 0;
    for has_missed in [false, true] {
        let mut world = World::new();
        world.connect(DEVICE, 0, false, Speaker::new(true, false));
        world.publish(Target::All, 10, true);
        world.publish(Target::All, 10, false);
        world.dispatch();
        while world.shards[0].deliver() {}
        world.read(DEVICE, 64 * 1_024);
        assert_eq!(world.devices[DEVICE].fleeting, [1]);
        if has_missed {
            world.publish(Target::All, 10, true);
        }
        world.connect(DEVICE, 1, false, Speaker::new(true, false));
        // Those that are published later come, whether the shard is behind or not.
        world.publish(Target::All, 10, false);
        world.settle();
        world.publish(Target::All, 10, false);
        world.settle();
        let later = if has_missed { 3 } else { 2 };
        assert_eq!(world.devices[DEVICE].fleeting, [1, later, later + 1]);
        assert!(world.shards[1].connections.newcomers.is_empty());
    }
}

/// Shared state of shards, with room for a test's clients.
pub(super) fn shared(clock: Clock, shards: u16) -> Shared {
    let setup = Setup {
        clock,
        shards,
        history_bytes: HISTORY_BYTES,
        history_age: HISTORY_AGE,
        origin: ORIGIN,
        per_user: 64,
        heartbeat: HEARTBEAT,
        stall_timeout: STALL_TIMEOUT,
        max_backlog_bytes: BACKLOG_BYTES,
        ..Setup::default()
    };
    setup.shared()
}
