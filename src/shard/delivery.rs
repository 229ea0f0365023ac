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
use super::inbox::{Command, Description, Inbox, Recipients};
use super::table::SlotRef;
use super::wheel::Tick;
use super::write::{MAX_PARCEL_BYTES, MAX_PARCEL_FRAMES, Parcel, peer};
use crate::event::Target;
use crate::frame::Frame;
use crate::log::{Entry, Record};
use crate::metrics::DisconnectReason;

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
    entries: Vec<Arc<Entry>>,
    over: Over,
    since: Tick,
}

#[derive(Debug)]
enum Over {
    /// The whole table, from this key on.
    Everyone { next: u32 },
    /// These tenants, from the back.
    Tenants(Vec<SlotRef>),
    /// `(tenant, index of the entry)`, sorted by tenant, from this place on.
    Grouped {
        pairs: Vec<(SlotRef, usize)>,
        next: usize,
    },
}

impl Shard {
    /// Delivers one slice; true where there is more to do.
    pub(super) fn deliver(&mut self) -> bool {
        self.deliveries.refill(self.shared.inbox(self.number));
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
            Command::Deliver { entry, to } => {
                self.deliveries.walk = Some(match to {
                    Recipients::Everyone => self.broadcast(entry),
                    Recipients::Subscribers => self.to_subscribers(entry),
                    Recipients::Tenants(tenants) => self.group(entry, &tenants),
                });
            }
            Command::End {
                tenants,
                frame,
                reason,
                entry,
            } => self.end_all(&tenants, frame.as_ref(), reason, entry.as_ref()),
            Command::Describe { tenants, reply } => {
                let descriptions = tenants
                    .iter()
                    .filter_map(|tenant| self.describe(*tenant))
                    .collect();
                // An asker who left needs no answer.
                let _ = reply.send(descriptions);
            }
            Command::Look {
                tenants,
                look,
                reply,
            } => {
                // An asker who left needs no answer, here and below.
                let _ = reply.send(self.look(&tenants, look));
            }
            Command::Drop { tenants, reply } => {
                let _ = reply.send(self.drop_silent(&tenants));
            }
            Command::Ping { reply } => {
                let _ = reply.send(());
            }
            Command::PingOthers { reply } => self.ping_others(reply),
        }
    }

    /// A walk for this broadcast and the ones right behind it.
    fn broadcast(&mut self, first: Arc<Entry>) -> Walk {
        let mut entries = vec![first];
        let mut bytes = entries[0].record.frame().len();
        while let Some(Command::Deliver {
            entry,
            to: Recipients::Everyone,
        }) = self.deliveries.queue.front()
        {
            bytes += entry.record.frame().len();
            if bytes > MAX_PARCEL_BYTES || entries.len() == MAX_PARCEL_FRAMES {
                break;
            }
            entries.push(Arc::clone(entry));
            self.deliveries.queue.pop_front();
        }
        self.walk(entries, Over::Everyone { next: 0 })
    }

    fn to_subscribers(&self, entry: Arc<Entry>) -> Walk {
        let tenants = match &entry.record {
            Record::Event {
                to: Target::Topic(topic),
                ..
            } => self.table.subscribers(topic).collect(),
            _ => Vec::new(),
        };
        self.walk(vec![entry], Over::Tenants(tenants))
    }

    /// A walk for this unicast and the ones right behind it, each client's together and in
    /// order.
    fn group(&mut self, first: Arc<Entry>, tenants: &[SlotRef]) -> Walk {
        let mut pairs: Vec<(SlotRef, usize)> = tenants.iter().map(|tenant| (*tenant, 0)).collect();
        let mut entries = vec![first];
        while pairs.len() < MAX_GROUPED
            && let Some(Command::Deliver {
                entry,
                to: Recipients::Tenants(tenants),
            }) = self.deliveries.queue.front()
        {
            pairs.extend(tenants.iter().map(|tenant| (*tenant, entries.len())));
            entries.push(Arc::clone(entry));
            self.deliveries.queue.pop_front();
        }
        pairs.sort_by_key(|(tenant, entry)| (tenant.key, tenant.generation, *entry));
        self.walk(entries, Over::Grouped { pairs, next: 0 })
    }

    fn walk(&self, entries: Vec<Arc<Entry>>, over: Over) -> Walk {
        Walk {
            entries,
            over,
            since: self.now(),
        }
    }

    /// Walks on; true when the walk is at its end.
    fn advance(&mut self, walk: &mut Walk, budget: &mut usize) -> bool {
        let frames: Vec<&Frame> = walk
            .entries
            .iter()
            .map(|entry| entry.record.frame())
            .collect();
        match &mut walk.over {
            Over::Everyone { next } => {
                let parcel = Parcel::new(&frames);
                let stop = next.saturating_add(SLICE_SLOTS).min(self.table.end());
                while *next < stop && *budget > 0 {
                    let key = *next;
                    *next += 1;
                    self.send_entries(key, &walk.entries, &frames, &parcel, budget);
                }
                *next >= self.table.end()
            }
            Over::Tenants(tenants) => {
                let parcel = Parcel::new(&frames);
                while *budget > 0
                    && let Some(tenant) = tenants.pop()
                {
                    // Another may have moved in, who did not ask.
                    if let Some(key) = self.table.find(tenant) {
                        self.send_entries(key, &walk.entries, &frames, &parcel, budget);
                    }
                }
                tenants.is_empty()
            }
            Over::Grouped { pairs, next } => {
                while *budget > 0 && *next < pairs.len() {
                    let group = group_at(pairs, *next, &frames);
                    *next = group.end;
                    *budget -= 1;
                    self.send_group(&pairs[group], &walk.entries, &frames);
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
        entries: &[Arc<Entry>],
        frames: &[&Frame],
        parcel: &Parcel<'_>,
        budget: &mut usize,
    ) {
        let (Some(slot), Some(first)) = (self.table.get(key), entries.first()) else {
            return;
        };
        if !slot.takes_all_from(first) {
            self.send_some(key, entries, frames, budget);
            return;
        }
        *budget -= 1;
        if self.send_parcel(key, parcel) {
            self.metrics().delivered.add(entries.len() as u64);
        }
    }

    /// Sends those of the entries that a slot takes.
    #[cold]
    fn send_some(
        &mut self,
        key: u32,
        entries: &[Arc<Entry>],
        frames: &[&Frame],
        budget: &mut usize,
    ) {
        let Some(slot) = self.table.get(key) else {
            return;
        };
        let wanted: Vec<&Frame> = entries
            .iter()
            .zip(frames)
            .filter(|(entry, _)| slot.takes(entry))
            .map(|(_, frame)| *frame)
            .collect();
        if wanted.is_empty() {
            return;
        }
        *budget -= 1;
        if self.send_parcel(key, &Parcel::new(&wanted)) {
            self.metrics().delivered.add(wanted.len() as u64);
        }
    }

    fn send_group(
        &mut self,
        group: &[(SlotRef, usize)],
        entries: &[Arc<Entry>],
        frames: &[&Frame],
    ) {
        let Some((tenant, _)) = group.first() else {
            return;
        };
        let Some(key) = self.table.find(*tenant) else {
            return;
        };
        let Some(slot) = self.table.get(key) else {
            return;
        };
        if let [(_, entry)] = group {
            // Most unicasts: one frame, and nothing to gather.
            if slot.takes(&entries[*entry]) && self.send_frame(key, frames[*entry]) {
                self.metrics().delivered.increment();
            }
            return;
        }
        let wanted: Vec<&Frame> = group
            .iter()
            .filter(|(_, entry)| slot.takes(&entries[*entry]))
            .map(|(_, entry)| frames[*entry])
            .collect();
        if !wanted.is_empty() && self.send_parcel(key, &Parcel::new(&wanted)) {
            self.metrics().delivered.add(wanted.len() as u64);
        }
    }

    fn end_all(
        &mut self,
        tenants: &[SlotRef],
        frame: Option<&Frame>,
        reason: DisconnectReason,
        entry: Option<&Arc<Entry>>,
    ) {
        for tenant in tenants {
            let Some(key) = self.table.find(*tenant) else {
                continue;
            };
            if entry.is_some_and(|change| self.end_caught_up(key, change)) {
                continue;
            }
            self.end(key, frame, reason);
            if entry.is_some() {
                self.metrics().delivered.increment();
            }
        }
        if let Some(entry) = entry {
            self.finish_entry(entry);
        }
    }

    fn finish_entries(&mut self, entries: &[Arc<Entry>]) {
        for entry in entries {
            self.finish_entry(entry);
        }
    }

    /// The last shard that is done with an entry notes how long it took.
    fn finish_entry(&mut self, entry: &Entry) {
        self.served.note(entry);
        if self.shared.log.finish_shard(entry) {
            let took_ms = self.shared.clock.now_ms().saturating_sub(entry.accepted_ms);
            self.shared.metrics.delivery.observe(took_ms);
        }
    }

    fn describe(&self, tenant: SlotRef) -> Option<Description> {
        let slot = self.table.get(self.table.find(tenant)?)?;
        let extra = slot.extra.as_deref();
        Some(Description {
            connection: self.connection(tenant),
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
            .inboxes
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

/// From `start`, what is for the same tenant and fits into one parcel.
fn group_at(pairs: &[(SlotRef, usize)], start: usize, frames: &[&Frame]) -> Range<usize> {
    let tenant = pairs[start].0;
    let mut bytes = 0;
    let len = pairs[start..]
        .iter()
        .take(MAX_PARCEL_FRAMES)
        .take_while(|(other, entry)| {
            bytes += frames[*entry].len();
            *other == tenant && bytes <= MAX_PARCEL_BYTES
        })
        .count();
    // A single frame larger than a parcel still leaves.
    start..start + len.max(1)
}
