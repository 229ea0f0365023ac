//! Handles the inbox's commands in order. A delivery walks its clients in slices, so that accepts, heartbeats
//! and closes continue during a broadcast. The next delivery waits for the previous one, so that every
//! client sees increasing ids.
//!
//! Consecutive deliveries for one client leave in one send: consecutive broadcasts share a walk of the
//! table, and consecutive unicasts are grouped by client.

#![allow(clippy::indexing_slicing)] // the walk's indices refer to its own lists

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::connection::{Connection, Passed};
use super::connections::Connections;
use super::heartbeat::{Served, UnderWay};
use super::parcel::{MAX_PARCEL_BYTES, MAX_PARCEL_ENTRIES, Parcel};
use super::slot::Stream;
use super::wheel::Tick;
use super::{answer, look};
use crate::event::Target;
use crate::hub::log::{Entry, Record};
use crate::hub::{Command, ConnectionId, Ending, Look, Outgoing, Recipients};
use crate::wire::End;

/// The most sends in one turn: about a millisecond, at 10–13 µs each on loopback. This and the next limit
/// are small in tests, so that they see interrupted deliveries.
const SLICE_SENDS: usize = if cfg!(test) { 2 } else { 96 };
/// The most slots visited in one turn. Most of them may be empty or not take the event.
const SLICE_SLOTS: u32 = if cfg!(test) { 2 } else { 8_192 };
/// Bytes whose compression takes as long as a send, about 12 µs. They count as one.
const COMPRESSED_BYTES_PER_SEND: usize = 640;
/// The size at which a group of unicasts takes no more of them. It bounds the cost of the sort.
const MAX_GROUPED: usize = 4_096;

/// The delivery in progress, and the commands that wait.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    queue: VecDeque<Command>,
    walk: Option<Walk>,
    /// The number of the hold during which nothing is carried out.
    hold: Option<u64>,
}

impl Deliveries {
    /// The state that heartbeats depend on.
    pub(super) fn under_way(&self) -> UnderWay {
        UnderWay {
            walks_since: self.walk.as_ref().map(|walk| walk.since),
            has_entries: self.walk.is_some() || self.queue.iter().any(Command::has_entry),
        }
    }

    /// Delivers one slice. Returns true if there is more to do.
    pub(super) fn run(&mut self, connections: &mut Connections, served: &mut Served) -> bool {
        if self.is_held(connections) {
            return false;
        }
        // Takes new commands only once all earlier ones are done.
        if self.walk.is_none() && self.queue.is_empty() {
            let inbox = connections.shared.hub.inbox(connections.number());
            inbox.take(&mut self.queue);
        }
        let mut budget = SLICE_SENDS;
        loop {
            if let Some(walk) = &mut self.walk {
                if !walk.advance(connections, &mut budget) {
                    return true;
                }
                for outgoing in &walk.entries {
                    finish(outgoing, connections, served);
                }
                self.walk = None;
            }
            if budget == 0 {
                return true;
            }
            let Some(command) = self.queue.pop_front() else {
                return false;
            };
            budget -= 1;
            if let Command::EndAll { from } = command {
                if let Some(from) = end_all_users(connections, from, &mut budget) {
                    self.queue.push_front(Command::EndAll { from });
                }
                continue;
            }
            if let Command::Hold { number, reply } = command {
                self.hold = Some(number);
                // If nobody waits any more, the hold is released soon.
                let _ = reply.send(());
                return false;
            }
            self.obey(command, connections, served);
        }
    }

    /// Returns true during a hold. No walk is in progress then.
    fn is_held(&mut self, connections: &Connections) -> bool {
        let inbox = connections.shared.hub.inbox(connections.number());
        self.hold = self.hold.filter(|number| !inbox.is_released(*number));
        self.hold.is_some()
    }

    fn obey(&mut self, command: Command, connections: &mut Connections, served: &mut Served) {
        match command {
            Command::Deliver { outgoing, to } => {
                let since = connections.now();
                self.walk = Some(match to {
                    Recipients::Everyone => self.broadcast(outgoing, since),
                    Recipients::Subscribers => to_subscribers(outgoing, connections, since),
                    Recipients::Connections(ids) => self.group(outgoing, &ids, since),
                });
            }
            Command::End {
                connections: ids,
                end,
            } => end_all(&ids, &end, connections, served),
            Command::Look {
                connections: ids,
                look,
                reply,
            } => {
                let now = connections.now();
                let heartbeat = (look == Look::Heartbeat)
                    .then(|| served.heartbeat(connections, self.under_way(), now));
                // If the receiver is gone, the answer is dropped.
                let _ = reply.send(look::look(connections, &ids, heartbeat.as_ref()));
            }
            question => answer::answer(question, connections),
        }
    }

    /// Creates a walk for this broadcast and the broadcasts directly after it.
    fn broadcast(&mut self, first: Arc<Outgoing>, since: Tick) -> Walk {
        let mut bytes = first.entry().wire_bytes();
        let mut entries = vec![first];
        while let Some(Command::Deliver {
            outgoing,
            to: Recipients::Everyone,
        }) = self.queue.front()
        {
            bytes += outgoing.entry().wire_bytes();
            if bytes > MAX_PARCEL_BYTES || entries.len() == MAX_PARCEL_ENTRIES {
                break;
            }
            entries.push(Arc::clone(outgoing));
            self.queue.pop_front();
        }
        Walk {
            entries,
            over: Over::Everyone { next: 0 },
            since,
        }
    }

    /// Creates a walk for this unicast and the unicasts directly after it, grouped by client and in order.
    fn group(&mut self, first: Arc<Outgoing>, ids: &[ConnectionId], since: Tick) -> Walk {
        let mut pairs: Vec<(ConnectionId, usize)> = ids.iter().map(|id| (*id, 0)).collect();
        let mut entries = vec![first];
        while pairs.len() < MAX_GROUPED
            && let Some(Command::Deliver {
                outgoing,
                to: Recipients::Connections(ids),
            }) = self.queue.front()
        {
            pairs.extend(ids.iter().map(|id| (*id, entries.len())));
            entries.push(Arc::clone(outgoing));
            self.queue.pop_front();
        }
        pairs.sort_unstable();
        Walk {
            entries,
            over: Over::Grouped { pairs, next: 0 },
            since,
        }
    }
}

fn to_subscribers(outgoing: Arc<Outgoing>, connections: &Connections, since: Tick) -> Walk {
    let ids = match &outgoing.entry().record {
        Record::Event {
            to: Target::Topic(topic),
            ..
        } => connections.table.subscribers(topic).collect(),
        _ => Vec::new(),
    };
    Walk {
        entries: vec![outgoing],
        over: Over::Connections(ids),
        since,
    }
}

fn end_all(
    ids: &[ConnectionId],
    ending: &Ending,
    connections: &mut Connections,
    served: &mut Served,
) {
    let (end, outgoing) = match ending {
        Ending::LoggedOut(outgoing) => (End::LoggedOut, Some(outgoing)),
        Ending::Evicted => (End::Evicted, None),
        Ending::Disconnected => (End::Disconnected, None),
    };
    let entry = outgoing.map(|outgoing| outgoing.entry());
    for id in ids {
        let Some(connection) = connections.find(*id) else {
            continue;
        };
        let connection = match entry {
            Some(change) => connection.end_caught_up(change),
            None => Some(connection),
        };
        if let Some(connection) = connection {
            connection.end(end, entry.map(Arc::as_ref));
            if entry.is_some() {
                connections.metrics().delivered.increment();
            }
        }
    }
    if let Some(outgoing) = outgoing {
        finish(outgoing, connections, served);
    }
}

/// Ends the streams of users, beginning with the slot `from`. Returns where to continue. Streams that are admitted
/// meanwhile may end, too; their clients come back.
fn end_all_users(connections: &mut Connections, from: u32, budget: &mut usize) -> Option<u32> {
    let mut next = from;
    while next < connections.table.end() {
        if *budget == 0 {
            return Some(next);
        }
        if let Some(connection) = connections.get(next) {
            *budget -= 1;
            connection.end_resync();
        }
        next += 1;
    }
    None
}

/// Records that this shard is done with an entry. The last shard records how long the delivery took.
fn finish(outgoing: &Outgoing, connections: &Connections, served: &mut Served) {
    let (entry, shared) = (outgoing.entry(), &connections.shared);
    served.note(entry);
    if shared.hub.in_flight().finish(outgoing) {
        let took_ms = shared.clock.now_ms().saturating_sub(entry.accepted_ms);
        shared.metrics.delivery.observe(took_ms);
    }
}

/// Entries on their way to clients.
#[derive(Debug)]
struct Walk {
    entries: Vec<Arc<Outgoing>>,
    over: Over,
    since: Tick,
}

#[derive(Debug)]
enum Over {
    /// The whole table, from this key on.
    Everyone { next: u32 },
    /// These connections, starting with the last one.
    Connections(Vec<ConnectionId>),
    /// `(connection, index of the entry)`, sorted by connection, from `next` on.
    Grouped {
        pairs: Vec<(ConnectionId, usize)>,
        next: usize,
    },
}

impl Walk {
    /// Continues the walk. Returns true if it has reached its end.
    fn advance(&mut self, connections: &mut Connections, budget: &mut usize) -> bool {
        // One clock reading per slice, so all its writes are counted at the same tick.
        let now = connections.now();
        let entries: Vec<&Outgoing> = self.entries.iter().map(Arc::as_ref).collect();
        match &mut self.over {
            Over::Everyone { next } => {
                let parcel = Parcel::new(&entries);
                let stop = next
                    .saturating_add(SLICE_SLOTS)
                    .min(connections.table.end());
                while *next < stop && *budget > 0 {
                    let key = *next;
                    *next += 1;
                    deliver(connections, key, &entries, &parcel, now, budget);
                }
                charge(budget, parcel.compressed_bytes());
                *next >= connections.table.end()
            }
            Over::Connections(ids) => {
                let parcel = Parcel::new(&entries);
                while *budget > 0
                    && let Some(id) = ids.pop()
                {
                    // Another connection may use the slot by now.
                    if let Some(key) = connections.table.find(id) {
                        deliver(connections, key, &entries, &parcel, now, budget);
                    }
                }
                charge(budget, parcel.compressed_bytes());
                ids.is_empty()
            }
            Over::Grouped { pairs, next } => {
                while *budget > 0 && *next < pairs.len() {
                    let group = group_at(pairs, *next, &entries);
                    let id = pairs[*next].0;
                    *next = group.end;
                    *budget -= 1;
                    if let Some(connection) = connections.find(id) {
                        let group = &pairs[group];
                        if connection.slot().carrier.wire().has_checksum() {
                            let entries = group.iter().map(|(_, number)| entries[*number]);
                            charge(budget, entries.map(Outgoing::uncompressed_bytes).sum());
                        }
                        connection.deliver_group(group, &entries, now);
                    }
                }
                *next >= pairs.len()
            }
        }
    }
}

/// Counts what was compressed, so that large events do not make the turn long.
fn charge(budget: &mut usize, compressed_bytes: usize) {
    *budget = budget.saturating_sub(compressed_bytes / COMPRESSED_BYTES_PER_SEND);
}

/// Delivers the entries of a walk to the client in a slot. A client that joined between them, or is catching
/// up, gets only those that it takes.
#[inline]
fn deliver(
    connections: &mut Connections,
    key: u32,
    entries: &[&Outgoing],
    parcel: &Parcel<'_>,
    now: Tick,
    budget: &mut usize,
) {
    let Some(first) = entries.first() else {
        return;
    };
    let takes_all = |stream: &Stream| stream.takes_all_from(first.entry());
    match connections.pass_parcel(key, takes_all, parcel, now) {
        Passed::Sent => {
            *budget -= 1;
            connections.metrics().delivered.add(entries.len() as u64);
        }
        Passed::Gone => *budget -= 1,
        Passed::Empty => {}
        Passed::Refused => {
            if let Some(connection) = connections.get(key) {
                connection.deliver_some(entries, now, budget);
            }
        }
    }
}

impl Connection<'_> {
    /// Returns true if the stream takes this entry, and did not come after it if the entry is fleeting.
    fn takes(&self, entry: &Entry) -> bool {
        let came_after = || self.all.newcomers.came_after(self.key, entry.position);
        self.slot().stream.takes(entry) && !(entry.is_fleeting() && came_after())
    }

    #[cold]
    fn deliver_some(self, entries: &[&Outgoing], now: Tick, budget: &mut usize) {
        let takes = |outgoing: &&Outgoing| self.takes(outgoing.entry());
        let wanted: Vec<&Outgoing> = entries.iter().copied().filter(takes).collect();
        if wanted.is_empty() {
            return;
        }
        *budget -= 1;
        self.deliver_all(&wanted, now);
    }

    /// Delivers one client's events of a walk.
    fn deliver_group(self, group: &[(ConnectionId, usize)], entries: &[&Outgoing], now: Tick) {
        if let [(_, number)] = group {
            // The usual case: one event, so there is nothing to collect.
            let outgoing = entries[*number];
            if self.takes(outgoing.entry())
                && let Ok(this) = self.send_shared(|wire| outgoing.piece(wire), now)
            {
                this.metrics().delivered.increment();
            }
            return;
        }
        let wanted: Vec<&Outgoing> = group
            .iter()
            .map(|(_, number)| entries[*number])
            .filter(|outgoing| self.takes(outgoing.entry()))
            .collect();
        if !wanted.is_empty() {
            self.deliver_all(&wanted, now);
        }
    }

    fn deliver_all(self, wanted: &[&Outgoing], now: Tick) {
        if let Ok(this) = self.send_parcel(&Parcel::new(wanted), now) {
            this.metrics().delivered.add(wanted.len() as u64);
        }
    }
}

/// The range from `start` that is for one connection and fits into one parcel.
fn group_at(pairs: &[(ConnectionId, usize)], start: usize, entries: &[&Outgoing]) -> Range<usize> {
    let connection = pairs[start].0;
    let mut bytes = 0;
    let len = pairs[start..]
        .iter()
        .take(MAX_PARCEL_ENTRIES)
        .take_while(|(other, number)| {
            bytes += entries[*number].entry().wire_bytes();
            *other == connection && bytes <= MAX_PARCEL_BYTES
        })
        .count();
    // An entry that is larger than a parcel is sent on its own.
    start..start + len.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Compression;
    use crate::event::{EventId, EventName};
    use crate::hub::log::Log;
    use crate::metrics::DisconnectReason;
    use crate::shard::Admission;
    use crate::shard::bench::Setup;
    use crate::shard::model::shared;
    use crate::shard::poller::Poller;
    use crate::shard::shard::Shard;
    use crate::wire::Wire;

    /// Sends of a slice, more than any test needs.
    const BUDGET: usize = 1_000;

    /// A shard that compresses large events, with one stream of this wire, and the client's socket.
    fn shard_with(wire: Wire) -> (Shard, UnixStream) {
        let setup = Setup {
            compression: Compression {
                enabled: true,
                ..Compression::default()
            },
            ..Setup::default()
        };
        let mut shard = Shard::new(0, setup.shared(), Poller::new().unwrap());
        let admission = Admission {
            wire,
            ..Admission::of_user("42")
        };
        let seat = shard.admit(admission).unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        let detached = OwnedFd::from(server).into();
        shard.join(seat, detached, b"HEAD".to_vec()).unwrap();
        (shard, client)
    }

    /// An event with a text of as many bytes, on its way to a single shard.
    async fn outgoing(shard: &Shard, bytes: usize) -> Arc<Outgoing> {
        let log = Log::new(1 << 20, Duration::from_secs(600), EventId::origin(1));
        let event = Record::Event {
            to: Target::All,
            name: EventName::default(),
            data: "d".repeat(bytes).into(),
            is_kept: true,
        };
        log.append(log.newest_id().next(1_000), 0, event).unwrap();
        let entry = log.next_batch(1).await.remove(0);
        shard.connections.shared.hub.in_flight().begin(&entry, 1)
    }

    /// Sends that a delivery of such an event to the client counts as.
    async fn sends(wire: Wire, bytes: usize, over: impl FnOnce(ConnectionId) -> Over) -> usize {
        let (mut shard, _client) = shard_with(wire);
        let id = shard.connections.table.id(0).unwrap();
        let mut walk = Walk {
            entries: vec![outgoing(&shard, bytes).await],
            over: over(id),
            since: shard.connections.now(),
        };
        let mut budget = BUDGET;
        assert!(walk.advance(&mut shard.connections, &mut budget));
        let delivered = &shard.connections.shared.metrics;
        assert_eq!(delivered.sum(|shard| shard.delivered.value()), 1);
        BUDGET - budget
    }

    #[tokio::test]
    async fn what_a_slice_compresses_counts_as_sends() {
        const LARGE: usize = 20 * COMPRESSED_BYTES_PER_SEND;
        const SMALL: usize = 100;
        let walks: [fn(ConnectionId) -> Over; 3] = [
            |_| Over::Everyone { next: 0 },
            |id| Over::Connections(vec![id]),
            |id| Over::Grouped {
                pairs: vec![(id, 0)],
                next: 0,
            },
        ];
        for over in walks {
            assert_eq!(sends(Wire::SseChunked, LARGE, over).await, 1);
            assert_eq!(sends(Wire::SseGzip, SMALL, over).await, 1);
            assert_eq!(sends(Wire::SseGzip, LARGE, over).await, 1 + 20);
        }
    }

    /// Connects a client of this user.
    fn join(shard: &mut Shard, user: &str) -> UnixStream {
        let seat = shard.admit(Admission::of_user(user)).unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        let detached = OwnedFd::from(server).into();
        shard.join(seat, detached, b"HEAD".to_vec()).unwrap();
        client
    }

    #[tokio::test]
    async fn no_stream_gets_an_event_after_those_that_it_has_missed() {
        const STREAMS: u64 = 8;
        let shared = shared(Clock::manual(1_700_000_000_000), 1);
        let mut shard = Shard::new(0, shared.clone(), Poller::new().unwrap());
        let users = (0..STREAMS).map(|user| user.to_string());
        let clients: Vec<UnixStream> = users.map(|user| join(&mut shard, &user)).collect();
        let later = Record::Event {
            to: Target::All,
            name: EventName::default(),
            data: "later".into(),
            is_kept: true,
        };
        let log = shared.hub.log();
        for record in [Record::Resync, later] {
            let id = log.newest_id().next(shared.clock.unix_ms());
            log.append(id, shared.clock.now_ms(), record).unwrap();
        }
        let dispatch = pin!(shared.hub.dispatch());
        let mut context = Context::from_waker(Waker::noop());
        assert!(dispatch.poll(&mut context).is_pending());
        let mut turns = 1;
        while shard.deliver() {
            turns += 1;
        }
        assert!(turns > 1, "the streams end in one turn");
        let disconnects = &shared.metrics.shards[0].disconnects;
        let resynced = disconnects.at(DisconnectReason::Resync as usize).value();
        assert_eq!((shard.len(), resynced), (0, STREAMS));
        // Closes the connections, which would go back to HTTP.
        drop(shard);
        let [mut first_delays, mut delays] = [(); 2].map(|()| HashSet::new());
        for mut client in clients {
            let mut received = String::new();
            client.read_to_string(&mut received).unwrap();
            assert!(!received.contains("later"), "{received}");
            let (_, first) = received.split_once("retry: ").unwrap();
            first_delays.insert(first.lines().next().unwrap().to_owned());
            let (_, last) = received.rsplit_once("retry: ").unwrap();
            delays.insert(last.lines().next().unwrap().to_owned());
        }
        // They come back at different times, as they would if the server had crashed.
        assert!(delays.len() > 1, "{delays:?}");
        assert!(first_delays.len() > 1, "{first_delays:?}");
    }
}
