//! What is published when: open loop, fixed before the first event goes out.
//!
//! Event `i` is due at `start + after_ns` whatever became of those before it, and its payload says so.

use anyhow::Result;

use crate::clock;
use crate::engine::Window;
use crate::progress::Stage;
use crate::subject::{Audience, Subject};

/// The first event's distance from the start of the timetable.
const LEAD_NS: u64 = 100_000_000;

/// A look at the server takes some milliseconds: one in such a pause delays no event.
const PAUSE_NS: u64 = 100_000_000;

/// Events in the order they are due.
#[derive(Clone, Debug, Default)]
pub(super) struct Timetable(Vec<Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    after_ns: u64,
    to: Audience,
}

impl Timetable {
    /// `events` to all, `rate` a second.
    pub(super) fn broadcasts(events: u32, rate: f64) -> Self {
        Self(entries(events, rate, |_| Audience::All).collect())
    }

    /// `events` to one user each, `rate` a second.
    pub(super) fn unicasts(events: u32, rate: f64, users: u32) -> Self {
        Self(
            entries(events, rate, |index| {
                Audience::User(scattered(index, users))
            })
            .collect(),
        )
    }

    /// Those of both in one.
    pub(super) fn merged(self, other: Self) -> Self {
        let mut all = [self.0, other.0].concat();
        all.sort_by_key(|entry| entry.after_ns);
        Self(all)
    }

    /// Events in it.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("made of counts of that size")
    }

    /// How many clients each event is for, when `reading` clients read, numbered from 0.
    pub(super) fn recipients(&self, subject: &Subject, reading: u32) -> Vec<u32> {
        let users = subject.target().users;
        let recipients = self.0.iter().map(|entry| match entry.to {
            Audience::All => reading,
            Audience::User(_) if subject.is_floor() => 1,
            Audience::User(user) => connections_of(user, users, reading),
        });
        recipients.collect()
    }

    /// Publishes all, numbered from the window's first; returns the most that one began late. `watch` is
    /// called in the pauses that are long enough for it.
    pub(super) fn publish(
        &self,
        subject: &mut Subject,
        window: Window,
        watch: &mut dyn FnMut(),
    ) -> Result<u64> {
        let mut stage = Stage::new("publishing", self.0.len() as u64);
        let mut publisher = self.begin(window);
        while let Some(due_ns) = publisher.due_ns() {
            while clock::now_ns() + 2 * PAUSE_NS < due_ns {
                watch();
                clock::sleep_until_ns(due_ns.min(clock::now_ns() + PAUSE_NS));
            }
            clock::sleep_until_ns(due_ns);
            publisher.publish_due(subject)?;
            stage.at(u64::from(publisher.next));
        }
        Ok(publisher.late_ns)
    }

    /// Starts the timetable now, to be published by calls of [`Publishing::publish_due`].
    pub(super) fn begin(&self, window: Window) -> Publishing<'_> {
        Publishing {
            entries: &self.0,
            window,
            start_ns: clock::now_ns() + LEAD_NS,
            next: 0,
            late_ns: 0,
        }
    }
}

/// A timetable under way.
#[derive(Debug)]
pub(super) struct Publishing<'a> {
    entries: &'a [Entry],
    window: Window,
    start_ns: u64,
    next: u32,
    /// The most that an event began behind its time.
    pub(super) late_ns: u64,
}

impl Publishing<'_> {
    /// When the next event is due; `None` when all are out.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let entry = self.entries.get(self.next as usize)?;
        Some(self.start_ns + entry.after_ns)
    }

    /// Publishes what is due by now.
    pub(super) fn publish_due(&mut self, subject: &mut Subject) -> Result<()> {
        while let Some(due_ns) = self.due_ns() {
            let now_ns = clock::now_ns();
            if now_ns < due_ns {
                return Ok(());
            }
            self.late_ns = self.late_ns.max(now_ns - due_ns);
            let to = self.entries[self.next as usize].to;
            subject.publish(self.window.first + self.next, due_ns, to)?;
            self.next += 1;
        }
        Ok(())
    }
}

fn entries(events: u32, rate: f64, to: impl Fn(u32) -> Audience) -> impl Iterator<Item = Entry> {
    (0..events).map(move |index| Entry {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and within a run's nanoseconds"
        )]
        after_ns: (f64::from(index) * 1e9 / rate) as u64,
        to: to(index),
    })
}

/// The user of the `index`th unicast: not the next one's neighbour, every one in the long run.
fn scattered(index: u32, users: u32) -> u32 {
    // Knuth's multiplicative constant, a prime, so that it has no factor in common with `users`.
    let place = u64::from(index) * 2_654_435_761 % u64::from(users.max(1));
    u32::try_from(place).expect("less than users")
}

/// Connections of `user` when the first `connections` numbers belong to `users` in turn.
fn connections_of(user: u32, users: u32, connections: u32) -> u32 {
    connections / users + u32::from(user < connections % users)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_merged_timetable_is_in_order_and_whole() {
        let table = Timetable::broadcasts(3, 1.0).merged(Timetable::unicasts(25, 10.0, 7));
        assert_eq!(table.len(), 28);
        assert!(
            table
                .0
                .windows(2)
                .all(|pair| pair[0].after_ns <= pair[1].after_ns)
        );
        let last = table.0.last().unwrap();
        assert_eq!(
            (last.after_ns, last.to),
            (2_400_000_000, Audience::User(scattered(24, 7)))
        );
    }

    #[test]
    fn every_user_has_its_turn() {
        for users in [1, 2, 7, 1_000, 4_096] {
            let seen: BTreeSet<u32> = (0..users).map(|index| scattered(index, users)).collect();
            assert_eq!(seen.len(), users as usize);
        }
    }

    #[test]
    fn connections_belong_to_users_in_turn() {
        let counts: Vec<u32> = (0..4).map(|user| connections_of(user, 4, 10)).collect();
        assert_eq!(counts, [3, 3, 2, 2]);
    }
}
