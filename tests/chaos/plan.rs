//! The plan: what happens when and to which client. It is derived from the seed before anything starts,
//! so a failure can be repeated as far as real sockets and two schedulers allow.

use std::ops::Range;
use std::sync::Arc;

use fastrand::Rng;

use super::common::book::{Book, Event, To};
use super::common::subscriber::Subscriber;

pub const CLIENTS: usize = 2_000;
/// The length of the virtual schedule.
pub const VIRTUAL_MS: u32 = 180_000;
/// Virtual milliseconds per real one.
pub const SPEED: u32 = 6;
/// Several, so that their requests share a commit, and a kill interrupts some of them.
pub const PUBLISHERS: usize = 4;

const USERS: u16 = 600;
const TOPICS: u8 = 20;
/// Separate publish requests; a batch counts as one.
const PUBLISHES: usize = 1_200;
/// Series of broadcasts without a pause, larger than the backlog of a client that does not read.
const BROADCAST_ROWS: usize = 5;
const BROADCASTS_IN_A_ROW: usize = 8;
/// Publish requests around each kill, so that it interrupts some of them.
const AROUND_A_KILL: usize = 40;
const CUTS: usize = 1_800;
/// Simultaneous cuts, in addition to one burst before each kill.
const BURSTS: usize = 4;
const CUT_IN_A_BURST: usize = CLIENTS / 10;
const STALLS: usize = 300;
const HALF_OPEN: usize = 150;
/// The server is killed at some time in each range.
const KILLS: [Range<u32>; 2] = [50_000..70_000, 110_000..130_000];
/// Time between a cut and a kill: as long as a client waits, so that clients are catching up then.
const BURST_BEFORE_A_KILL_MS: u32 = 1_200;

/// The plan of one run.
pub struct Plan {
    pub seed: u64,
    pub clients: Vec<Person>,
    /// All events. The first reaches every client before the schedule begins, so every client has an id to
    /// reconnect with. The last ends the run.
    pub book: Arc<Book>,
    /// All steps, by virtual millisecond.
    pub steps: Vec<(u32, Step)>,
}

/// The properties of one client.
pub struct Person {
    pub subscriber: Subscriber,
    /// Its kernel accepts only a few kilobytes, so the server soon notices when it stops reading.
    pub is_narrow: bool,
    /// Bytes per read: with small reads, a cut often hits an incomplete event.
    pub read_bytes: usize,
    /// Sends credential and last id in the query instead of the header.
    pub uses_query: bool,
}

pub enum Step {
    /// Publishes these events in one request.
    Publish {
        publisher: usize,
        events: Range<usize>,
    },
    Trouble {
        client: usize,
        trouble: Trouble,
    },
    Kill,
}

#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The client resets the connection.
    Reset,
    /// The client closes the connection, as when a browser tab closes.
    Close,
    /// The client does not read for this many virtual milliseconds.
    Stall(u32),
    /// From now on, neither end receives anything, as when a phone changes networks.
    HalfOpen,
}

/// A step whose events have no numbers yet.
enum Draft {
    Publish(Vec<Event>),
    Trouble(usize, Trouble),
    Kill,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let clients: Vec<Person> = (0..CLIENTS).map(|_| person(&mut random)).collect();
        let mut drafts = Vec::new();
        publishes(&mut random, &mut drafts);
        troubles(&mut random, &clients, &mut drafts);
        for within in KILLS {
            let at = random.u32(within);
            for _ in 0..AROUND_A_KILL {
                let events = request(&mut random);
                drafts.push((random.u32(at - 300..at + 60), Draft::Publish(events)));
            }
            burst(&mut random, at - BURST_BEFORE_A_KILL_MS, &mut drafts);
            drafts.push((at, Draft::Kill));
        }
        drafts.sort_by_key(|(at, _)| *at);

        let book = Book::new(&format!("chaos-{seed}"));
        book.add(vec![to_all(&mut random)]);
        let mut steps = Vec::with_capacity(drafts.len());
        for (at, draft) in drafts {
            let step = match draft {
                Draft::Publish(events) => Step::Publish {
                    publisher: random.usize(0..PUBLISHERS),
                    events: book.add(events),
                },
                Draft::Trouble(client, trouble) => Step::Trouble { client, trouble },
                Draft::Kill => Step::Kill,
            };
            steps.push((at, step));
        }
        book.add(vec![to_all(&mut random)]);
        Self {
            seed,
            clients,
            book: Arc::new(book),
            steps,
        }
    }

    /// The number of the event that ends the run.
    pub fn last(&self) -> usize {
        self.book.len() - 1
    }
}

fn person(random: &mut Rng) -> Person {
    let topics = random.usize(0..=3);
    Person {
        subscriber: Subscriber {
            user: random.u16(0..USERS),
            topics: random.choose_multiple(0..TOPICS, topics),
        },
        is_narrow: random.u8(0..4) == 0,
        read_bytes: [700, 4 * 1024, 16 * 1024][random.usize(0..3)],
        uses_query: random.bool(),
    }
}

fn publishes(random: &mut Rng, drafts: &mut Vec<(u32, Draft)>) {
    for _ in 0..PUBLISHES {
        let events = request(random);
        drafts.push((random.u32(0..VIRTUAL_MS), Draft::Publish(events)));
    }
    for _ in 0..BROADCAST_ROWS {
        let at = random.u32(0..VIRTUAL_MS);
        for _ in 0..BROADCASTS_IN_A_ROW {
            drafts.push((at, Draft::Publish(vec![to_all(random)])));
        }
    }
}

fn troubles(random: &mut Rng, clients: &[Person], drafts: &mut Vec<(u32, Draft)>) {
    let mut add = |random: &mut Rng, client: usize, trouble: Trouble| {
        drafts.push((random.u32(0..VIRTUAL_MS), Draft::Trouble(client, trouble)));
    };
    for _ in 0..CUTS {
        let (client, cut) = (random.usize(0..CLIENTS), cut(random));
        add(random, client, cut);
    }
    let narrow: Vec<usize> = (0..CLIENTS).filter(|n| clients[*n].is_narrow).collect();
    for _ in 0..STALLS {
        // Half of the stalls last longer than the server's timeout.
        let stall = Trouble::Stall(random.u32(2_000..26_000));
        let client = match random.u8(0..5) {
            0 => random.usize(0..CLIENTS),
            _ => narrow[random.usize(0..narrow.len())],
        };
        add(random, client, stall);
    }
    for _ in 0..HALF_OPEN {
        let client = random.usize(0..CLIENTS);
        add(random, client, Trouble::HalfOpen);
    }
    for _ in 0..BURSTS {
        let at = random.u32(0..VIRTUAL_MS);
        burst(random, at, drafts);
    }
}

fn burst(random: &mut Rng, at: u32, drafts: &mut Vec<(u32, Draft)>) {
    for client in random.choose_multiple(0..CLIENTS, CUT_IN_A_BURST) {
        drafts.push((at, Draft::Trouble(client, cut(random))));
    }
}

fn cut(random: &mut Rng) -> Trouble {
    if random.bool() {
        Trouble::Reset
    } else {
        Trouble::Close
    }
}

/// One event, or a batch of events.
fn request(random: &mut Rng) -> Vec<Event> {
    if random.u8(0..8) > 0 {
        let mut event = event(random);
        event.persist = random.u8(0..25) > 0;
        return vec![event];
    }
    (0..random.usize(2..=16)).map(|_| event(random)).collect()
}

fn event(random: &mut Rng) -> Event {
    let to = match random.u8(0..10) {
        0..4 => To::User(random.u16(0..USERS)),
        4..6 => {
            let users = random.usize(2..=20);
            To::Users(random.choose_multiple(0..USERS, users))
        }
        _ => To::Topic(random.u8(0..TOPICS)),
    };
    Event {
        to,
        data: text(random),
        persist: true,
    }
}

fn to_all(random: &mut Rng) -> Event {
    Event {
        to: To::All,
        data: text(random),
        persist: true,
    }
}

/// 100 bytes to 4 KiB. Some contain line feeds, which become several `data:` lines.
fn text(random: &mut Rng) -> String {
    let has_lines = random.u8(0..5) == 0;
    (0..random.usize(100..4_000))
        .map(|_| match random.u8(0..64) {
            0 if has_lines => '\n',
            1..8 => ' ',
            _ => random.lowercase(),
        })
        .collect()
}
