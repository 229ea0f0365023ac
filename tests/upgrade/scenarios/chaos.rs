//! Many upgrades under load, and in each, one of the two processes is killed at a random moment.
//!
//! `UPGRADE_CHAOS_ROUNDS=200 UPGRADE_CHAOS_SEED=3 cargo test --test upgrade chaos -- --nocapture`

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use crate::clients::{TRANSPORTS, address, token};
use crate::common::admin::Admin;
use crate::server::{Server, is_running};
use crate::support::{API_KEY, Client, NOTIFICATIONS, Stream, eventually};

/// Upgrades in each run of the tests.
const ROUNDS: u64 = 12;
const SEED: u64 = 1;
const CLIENTS: usize = 24;
/// An upgrade of so few clients usually takes less in a debug build, so that some kills come after it.
const LONGEST_MS: u64 = 150;
/// Descriptors that a process may have at one moment and not at another: answers under way, and sockets that are
/// about to be closed.
const SPARE_DESCRIPTORS: usize = 16;

#[test]
fn chaos_nobody_misses_an_event_whichever_process_is_killed() {
    let rounds = variable("UPGRADE_CHAOS_ROUNDS").unwrap_or(ROUNDS);
    let seed = variable("UPGRADE_CHAOS_SEED").unwrap_or(SEED);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = Server::start("");
    let empty = descriptors(server.pid());
    let publisher = Publisher::start(server.admin);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| Person::new(number, &server))
        .collect();
    let mut summary = Summary::default();
    for round in 0..rounds {
        let victim = if random.bool() {
            Victim::Old
        } else {
            Victim::New
        };
        let before = server.log().matches("may_lack_events=true").count();
        let after = Duration::from_micros(random.u64(0..LONGEST_MS * 1_000));
        let end = upgrade_and_kill(&mut server, victim, after);
        if end == End::Neither {
            server = Server::start("");
            *publisher.shared.admin.lock() = server.admin;
        }
        let marker = format!("marker {round}");
        server.publish(&format!(r#"{{"to":{{"all":true}},"data":"{marker}"}}"#));
        let what = format!(
            "seed {seed}, round {round}: {victim:?} killed after {after:?}, {end:?} served on"
        );
        let served = server.admin("GET", "/v1/stats", "").json()["connections"].as_u64();
        let served = usize::try_from(served.unwrap()).unwrap();
        let mut stayed = 0;
        for client in &mut clients {
            stayed += usize::from(client.read_up_to(&marker, &server, &what));
        }
        for client in &mut clients {
            // The memory engine's log ends with its process, unless another has it already.
            let is_in_step = server.log().matches("may_lack_events=true").count() == before;
            let may_lose = end == End::Neither || !is_in_step;
            client.check(may_lose, &what);
        }
        // Nobody was disconnected whom the survivor could serve.
        assert_eq!(served, stayed, "{what}");
        eventually("all descriptors are closed", || {
            descriptors(server.pid()) <= empty + CLIENTS + SPARE_DESCRIPTORS
        });
        summary.count(end, stayed);
    }
    let published = publisher.finish();
    assert!(published > 0);
    println!("{rounds} rounds, seed {seed}: {summary:?}, {published} events");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// The process to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Old,
    New,
}

/// The process that serves afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Old,
    New,
    /// The one that was killed had everything, and the other had ended; or it was too early for both.
    Neither,
}

#[derive(Debug, Default)]
struct Summary {
    old: usize,
    new: usize,
    neither: usize,
    /// Streams that stayed open.
    stayed: usize,
}

impl Summary {
    fn count(&mut self, end: End, stayed: usize) {
        match end {
            End::Old => self.old += 1,
            End::New => self.new += 1,
            End::Neither => self.neither += 1,
        }
        self.stayed += stayed;
    }
}

/// Begins an upgrade, kills one process, and waits until it is clear which one serves.
fn upgrade_and_kill(server: &mut Server, victim: Victim, after: Duration) -> End {
    const TOOK_OVER: &str = "took over from the old process";
    let (old, before) = (server.pid(), server.newest());
    let took_over = server.log().matches(TOOK_OVER).count();
    server.begin_upgrade();
    eventually("the new process is ready", || server.newest() != before);
    // The test has no business with the exact moment, only with many of them.
    std::thread::sleep(after);
    let new = server.newest().unwrap();
    let killed = match victim {
        Victim::Old => old,
        Victim::New => new,
    };
    // It may have ended by itself.
    let _ = kill_process(killed, Signal::KILL);
    server.wait_for_end(killed);
    let mut end = None;
    eventually("one process serves, or none is left", || {
        server.reap();
        let log = server.log();
        let failed = log.matches("not upgraded").count();
        end = if failed > server.failed {
            server.failed = failed;
            Some(End::Old)
        } else if is_running(old) {
            None
        } else if !is_running(new) {
            Some(End::Neither)
        } else {
            (log.matches(TOOK_OVER).count() > took_over).then_some(End::New)
        };
        end.is_some()
    });
    let end = end.unwrap();
    if end == End::New {
        server.follow(new);
    }
    end
}

/// The number of a process's open descriptors.
fn descriptors(pid: Pid) -> usize {
    let path = format!("/proc/{}/fd", pid.as_raw_nonzero());
    fs::read_dir(path).map_or(0, Iterator::count)
}

/// A client like EventSource, with a user of its own.
struct Person {
    number: usize,
    stream: Stream,
    last_id: String,
    /// The numbers of its events.
    seen: Vec<usize>,
    /// True if it received a gap.
    has_gap: bool,
}

impl Person {
    fn new(number: usize, server: &Server) -> Self {
        let stream = connect(number, server, "");
        let mut this = Self {
            number,
            stream,
            last_id: String::new(),
            seen: Vec::new(),
            has_gap: false,
        };
        this.stream.begin();
        this.last_id.clone_from(&this.stream.position);
        this
    }

    /// Reads up to this event, reconnecting if the stream ends. Returns true if it did not.
    fn read_up_to(&mut self, marker: &str, server: &Server, what: &str) -> bool {
        let mut stayed = true;
        for _ in 0..3 {
            while let Some(frame) = self.stream.next() {
                if self.take(&frame, marker) {
                    return stayed;
                }
            }
            stayed = false;
            self.stream = connect(self.number, server, &self.last_id);
            assert_eq!(self.stream.status, 200, "{what}: {}", self.stream.head);
        }
        panic!(
            "{what}: client {} is disconnected again and again",
            self.number
        );
    }

    /// Takes a frame; returns true if it is this event.
    fn take(&mut self, frame: &str, marker: &str) -> bool {
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            id.clone_into(&mut self.last_id);
        }
        match (field("event: "), field("data: ")) {
            (Some("replay_gap"), _) => self.has_gap = true,
            (Some("message"), Some(data)) if data == marker => return true,
            (Some("message"), Some(data)) => self.seen.extend(data.parse::<usize>()),
            _ => {}
        }
        false
    }

    /// Checks that it has each event once and in order. If events may be lost, so may what was remembered of their
    /// publishers' ids: then it may have one twice, or a gap.
    fn check(&mut self, may_lose: bool, what: &str) {
        let seen = std::mem::take(&mut self.seen);
        let name = format!("{what}: client {}: {seen:?}", self.number);
        assert!(!self.has_gap || may_lose, "nothing was lost: {name}");
        for pair in seen.windows(2) {
            let is_next = pair[1] == pair[0] + 1;
            let is_again = pair[1] == pair[0] && may_lose;
            assert!(is_next || is_again || self.has_gap, "{pair:?} {name}");
        }
        if !may_lose {
            // The next round begins with the next event.
            self.seen.extend(seen.last());
        }
        self.has_gap = false;
    }
}

fn connect(number: usize, server: &Server, last_id: &str) -> Stream {
    let address = address(server.addresses, TRANSPORTS[number % TRANSPORTS.len()]);
    let token = token(&number.to_string(), None, &[]);
    let path = format!("{NOTIFICATIONS}?token={token}&last_event_id={last_id}");
    Client::connect(address).open(&path)
}

/// Publishes numbered events for all users in turn. An event without an answer is sent again.
struct Publisher {
    shared: Arc<Shared>,
    thread: JoinHandle<usize>,
}

struct Shared {
    admin: Mutex<SocketAddr>,
    is_over: AtomicBool,
}

impl Publisher {
    fn start(admin: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            admin: Mutex::new(admin),
            is_over: AtomicBool::new(false),
        });
        let its = Arc::clone(&shared);
        Self {
            shared,
            thread: std::thread::spawn(move || its.publish()),
        }
    }

    /// Returns the number of events for each user.
    fn finish(self) -> usize {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl Shared {
    fn publish(&self) -> usize {
        let mut address = *self.admin.lock();
        let mut admin = Admin::new(address, API_KEY);
        for number in 0.. {
            for user in 0..CLIENTS {
                let event = format!(
                    r#"{{"to":{{"user":"{user}"}},"data":"{number}","id":"{user}-{number}"}}"#
                );
                loop {
                    if self.is_over.load(Ordering::Relaxed) {
                        return number;
                    }
                    if let Ok(answer) = admin.request("POST", "/v1/events", &event) {
                        assert_eq!(answer.status, 202, "{}", answer.body);
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                    let now = *self.admin.lock();
                    if now != address {
                        address = now;
                        admin = Admin::new(address, API_KEY);
                    }
                }
            }
        }
        unreachable!("the numbers do not end")
    }
}
