//! Takes what the inbox holds, in order, and walks the clients it is for in slices, so that
//! accepts, heartbeats and closes go on beside a broadcast. The next delivery waits for the one
//! before, so that every client sees ids rise.
//!
//! Consecutive deliveries for one client leave in one send: neighbouring broadcasts walk the
//! table together, neighbouring unicasts are grouped by client.

#![allow(clippy::indexing_slicing)] // indices are places in the walk's own lists

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use compact_str::ToCompactString;

use super::Shard;
use super::wheel::Tick;
use super::write::{MAX_PARCEL_BYTES, MAX_PARCEL_ENTRIES, Parcel, peer};
use crate::event::Target;
use crate::hub::log::Record;
use crate::hub::{Command, ConnectionId, Description, Ending, Inbox, Outgoing, Recipients};
use crate::wire::End;

/// Sends in one turn: about a millisecond, 10–13 µs each on loopback. Few in tests, as below, so
/// that they see deliveries that are interrupted.
const SLICE_SENDS: usize = if cfg!(test) { 2 } else { 96 };
/// Slots looked at in one turn, most of which may be empty or not take the event.
const SLICE_SLOTS: u32 = if cfg!(test) { 2 } else { 8_192 };
/// Unicasts grouped together; bounds the sort.
const MAX_GROUPED: usize = 4_096;

/// What is being delivered and what waits.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    queue: VecDeque<Command>,
    walk: Option<Walk>,
}

impl Deliveries {
    /// Since when some clients may have entries that others do not have yet.
    pub(super) fn walks_since(&self) -> Option<Tick> {
        self.walk.as_ref().map(|walk| walk.since)
    }

    /// Whether an entry that was taken is not yet with all its clients.
    pub(super) fn have_entries(&self) -> bool {
        self.walk.is_some() || self.queue.iter().any(Command::has_entry)
    }

    /// Takes what waits in the inbox, once everything taken before is delivered.
    fn refill(&mut self, inbox: &Inbox) {
        if self.walk.is_none() && self.queue.is_empty() {
            inbox.take(&mut self.queue);
        }
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
    /// These connections, from the back.
    Connections(Vec<ConnectionId>),
    /// `(connection, index of the entry)`, sorted by connection, from this place on.
    Grouped {
        pairs: Vec<(ConnectionId, usize)>,
        next: usize,
    },
}

impl Shard {
    /// Delivers one slice; true where there is more to do.
    pub(super) fn deliver(&mut self) -> bool {
        self.deliveries.refill(self.shared.hub.inbox(self.number));
        let mut budget = SLICE_SENDS;
        loop {
            if let Some(mut walk) = self.deliveries.walk.take() {
                if !self.advance(&mut walk, &mut budget) {
                    self.deliveries.walk = Some(walk);
                    return true;
                }
                self.finish_entries(&walk.entries);
            }
            if budget == 0 {
                return true;
            }
            let Some(command) = self.deliveries.queue.pop_front() else {
                return false;
            };
            budget -= 1;
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Deliver { outgoing, to } => {
                self.deliveries.walk = Some(match to {
                    Recipients::Everyone => self.broadcast(outgoing),
                    Recipients::Subscribers => self.to_subscribers(outgoing),
                    Recipients::Connections(connections) => self.group(outgoing, &connections),
                });
            }
            Command::End { connections, end } => self.end_all(&connections, &end),
            Command::Describe { connections, reply } => {
                let descriptions = connections
                    .iter()
                    .filter_map(|connection| self.describe(*connection))
                    .collect();
                // An asker who left needs no answer.
                let _ = reply.send(descriptions);
            }
            Command::Look {
                connections,
                look,
                reply,
            } => {
                // An asker who left needs no answer, here and below.
                let _ = reply.send(self.look(&connections, look));
            }
            Command::Drop { connections, reply } => {
                let _ = reply.send(self.drop_silent(&connections));
            }
            Command::Ping { reply } => {
                let _ = reply.send(());
            }
            Command::PingOthers { reply } => self.ping_others(reply),
        }
    }

    /// A walk for this broadcast and the ones right behind it.
    fn broadcast(&mut self, first: Arc<Outgoing>) -> Walk {
        let mut entries = vec![first];
        let mut bytes = entries[0].entry().wire_bytes();
        while let Some(Command::Deliver {
            outgoing,
            to: Recipients::Everyone,
        }) = self.deliveries.queue.front()
        {
            bytes += outgoing.entry().wire_bytes();
            if bytes > MAX_PARCEL_BYTES || entries.len() == MAX_PARCEL_ENTRIES {
                break;
            }
            entries.push(Arc::clone(outgoing));
            self.deliveries.queue.pop_front();
        }
        self.walk(entries, Over::Everyone { next: 0 })
    }

    fn to_subscribers(&self, outgoing: Arc<Outgoing>) -> Walk {
        let connections = match &outgoing.entry().record {
            Record::Event {
                to: Target::Topic(topic),
                ..
            } => self.table.subscribers(topic).collect(),
            _ => Vec::new(),
        };
        self.walk(vec![outgoing], Over::Connections(connections))
    }

    /// A walk for this unicast and the ones right behind it, each client's together and in
    /// order.
    fn group(&mut self, first: Arc<Outgoing>, connections: &[ConnectionId]) -> Walk {
        let mut pairs: Vec<(ConnectionId, usize)> = connections
            .iter()
            .map(|connection| (*connection, 0))
            .collect();
        let mut entries = vec![first];
        while pairs.len() < MAX_GROUPED
            && let Some(Command::Deliver {
                outgoing,
                to: Recipients::Connections(connections),
            }) = self.deliveries.queue.front()
        {
            pairs.extend(
                connections
                    .iter()
                    .map(|connection| (*connection, entries.len())),
            );
            entries.push(Arc::clone(outgoing));
            self.deliveries.queue.pop_front();
        }
        pairs.sort_unstable();
        self.walk(entries, Over::Grouped { pairs, next: 0 })
    }

    fn walk(&self, entries: Vec<Arc<Outgoing>>, over: Over) -> Walk {
        Walk {
            entries,
            over,
            since: self.now(),
        }
    }

    /// Walks on; true when the walk is at its end.
    fn advance(&mut self, walk: &mut Walk, budget: &mut usize) -> bool {
        let entries: Vec<&Outgoing> = walk.entries.iter().map(Arc::as_ref).collect();
        match &mut walk.over {
            Over::Everyone { next } => {
                let parcel = Parcel::new(&entries);
                let stop = next.saturating_add(SLICE_SLOTS).min(self.table.end());
                while *next < stop && *budget > 0 {
                    let key = *next;
                    *next += 1;
                    self.send_entries(key, &entries, &parcel, budget);
                }
                *next >= self.table.end()
            }
            Over::Connections(connections) => {
                let parcel = Parcel::new(&entries);
                while *budget > 0
                    && let Some(connection) = connections.pop()
                {
                    // Another may have moved in, who did not ask.
                    if let Some(key) = self.table.find(connection) {
                        self.send_entries(key, &entries, &parcel, budget);
                    }
                }
                connections.is_empty()
            }
            Over::Grouped { pairs, next } => {
                while *budget > 0 && *next < pairs.len() {
                    let group = group_at(pairs, *next, &entries);
                    *next = group.end;
                    *budget -= 1;
                    self.send_group(&pairs[group], &entries);
                }
                *next >= pairs.len()
            }
        }
    }

    /// Sends the entries of a walk to one slot: all in one parcel, or, to a client that joined
    /// in between or catches up, those it takes.
    fn send_entries(
        &mut self,
        key: u32,
        entries: &[&Outgoing],
        parcel: &Parcel<'_>,
        budget: &mut usize,
    ) {
        let (Some(slot), Some(first)) = (self.table.get(key), entries.first()) else {
            return;
        };
        if !slot.takes_all_from(first.entry()) {
            self.send_some(key, entries, budget);
            return;
        }
        *budget -= 1;
        if self.send_parcel(key, parcel) {
            self.metrics().delivered.add(entries.len() as u64);
        }
    }

    /// Sends those of the entries that a slot takes.
    #[cold]
    fn send_some(&mut self, key: u32, entries: &[&Outgoing], budget: &mut usize) {
        let Some(slot) = self.table.get(key) else {
            return;
        };
        let takes = |outgoing: &&Outgoing| slot.takes(outgoing.entry());
        let wanted: Vec<&Outgoing> = entries.iter().copied().filter(takes).collect();
        if wanted.is_empty() {
            return;
        }
        *budget -= 1;
        if self.send_parcel(key, &Parcel::new(&wanted)) {
            self.metrics().delivered.add(wanted.len() as u64);
        }
    }

    fn send_group(&mut self, group: &[(ConnectionId, usize)], entries: &[&Outgoing]) {
        let Some((connection, _)) = group.first() else {
            return;
        };
        let Some(key) = self.table.find(*connection) else {
            return;
        };
        let Some(slot) = self.table.get(key) else {
            return;
        };
        if let [(_, number)] = group {
            // Most unicasts: one event, and nothing to gather.
            let outgoing = entries[*number];
            if slot.takes(outgoing.entry()) && self.send_shared(key, |wire| outgoing.piece(wire)) {
                self.metrics().delivered.increment();
            }
            return;
        }
        let wanted: Vec<&Outgoing> = group
            .iter()
            .map(|(_, number)| entries[*number])
            .filter(|outgoing| slot.takes(outgoing.entry()))
            .collect();
        if !wanted.is_empty() && self.send_parcel(key, &Parcel::new(&wanted)) {
            self.metrics().delivered.add(wanted.len() as u64);
        }
    }

    fn end_all(&mut self, connections: &[ConnectionId], ending: &Ending) {
        let (end, outgoing) = match ending {
            Ending::LoggedOut(outgoing) => (End::LoggedOut, Some(outgoing)),
            Ending::Evicted => (End::Evicted, None),
            Ending::Disconnected => (End::Disconnected, None),
        };
        let entry = outgoing.map(|outgoing| outgoing.entry());
        for connection in connections {
            let Some(key) = self.table.find(*connection) else {
                continue;
            };
            if entry.is_some_and(|change| self.end_caught_up(key, change)) {
                continue;
            }
            self.end(key, end, entry.map(Arc::as_ref));
            if entry.is_some() {
                self.metrics().delivered.increment();
            }
        }
        if let Some(outgoing) = outgoing {
            self.finish_entry(outgoing);
        }
    }

    fn finish_entries(&mut self, entries: &[Arc<Outgoing>]) {
        for entry in entries {
            self.finish_entry(entry);
        }
    }

    /// The last shard that is done with an entry notes how long it took.
    fn finish_entry(&mut self, outgoing: &Outgoing) {
        let entry = outgoing.entry();
        self.served.note(entry);
        if self.shared.hub.in_flight().finish(outgoing) {
            let took_ms = self.shared.clock.now_ms().saturating_sub(entry.accepted_ms);
            self.shared.metrics.delivery.observe(took_ms);
        }
    }

    fn describe(&self, connection: ConnectionId) -> Option<Description> {
        let slot = self.table.get(self.table.find(connection)?)?;
        let extra = slot.extra.as_deref();
        Some(Description {
            connection,
            since_s: slot.since_s,
            transport: slot.transport(),
            remote: slot
                .forwarded_for()
                .or_else(|| peer(std::os::fd::AsFd::as_fd(&slot.fd))),
            session: extra.and_then(|extra| extra.session.clone()),
            topics: self
                .table
                .topics(slot)
                .map(|topic| topic.as_str().to_compact_string())
                .collect(),
        })
    }

    fn ping_others(&self, reply: tokio::sync::oneshot::Sender<()>) {
        let answers: Vec<_> = self
            .shared
            .hub
            .inboxes()
            .iter()
            .map(|inbox| {
                let (reply, answer) = tokio::sync::oneshot::channel();
                inbox.push(Command::Ping { reply });
                answer
            })
            .collect();
        tokio::task::spawn_local(async move {
            for answer in answers {
                if answer.await.is_err() {
                    return;
                }
            }
            let _ = reply.send(());
        });
    }
}

/// From `start`, what is for the same connection and fits into one parcel.
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
    // A single entry larger than a parcel still leaves.
    start..start + len.max(1)
}
