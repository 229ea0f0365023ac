//! The timetable of a run's events: open loop, and fixed before the first event is published.
//!
//! Event `i` is due at `start + after_ns`, whatever happened to those before it. Its payload has that time.

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::clock;
use crate::engine::{Limits, Window};
use crate::progress::Stage;
use crate::subject::{Answers, Audience, Numbered, OpenLoop, Subject};

/// Time from the start of the timetable to the first event.
const LEAD_NS: u64 = 100_000_000;

/// Answers are recorded up to a minute; longer ones count as a minute.
const MAX_ANSWER_NS: u64 = 60_000_000_000;

/// A sample of the server takes some milliseconds. In a pause of this length, it delays no event.
const PAUSE_NS: u64 = 100_000_000;

/// Events in the order in which they are due.
#[derive(Clone, Debug, Default)]
pub(super) struct Timetable(Vec<Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    after_ns: u64,
    to: Audience,
}

impl Timetable {
    /// `events` to all clients, `rate` per second.
    pub(super) fn broadcasts(events: u32, rate: f64) -> Self {
        Self(entries(events, rate, |_| Audience::All).collect())
    }

    /// `events` to one user each, `rate` per second.
    pub(super) fn unicasts(events: u32, rate: f64, users: u32) -> Self {
        Self(
            entries(events, rate, |index| {
                Audience::User(scattered(index, users))
            })
            .collect(),
        )
    }

    /// `events` to one of `users` users without connections each, `rate` per second.
    pub(super) fn to_nobody(events: u32, rate: f64, users: u32) -> Self {
        Self(
            entries(events, rate, |index| {
                Audience::Nobody(scattered(index, users))
            })
            .collect(),
        )
    }

    /// Merges two timetables.
    pub(super) fn merged(self, other: Self) -> Self {
        let mut all = [self.0, other.0].concat();
        all.sort_by_key(|entry| entry.after_ns);
        Self(all)
    }

    /// The number of events.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("made of counts of that size")
    }

    /// The number of clients that read each event, if `open` clients are connected, numbered from 0.
    pub(super) fn recipients(&self, subject: &Subject, limits: &Limits, open: u32) -> Vec<u32> {
        let users = subject.target().users;
        let recipients = self.0.iter().map(|entry| match entry.to {
            Audience::All => limits.reading(open),
            Audience::Nobody(_) => 0,
            Audience::User(_) if subject.is_floor() => 1,
            Audience::User(user) => readers_of(user, users, limits, open),
        });
        recipients.collect()
    }

    /// Publishes all events, with the numbers of the window. `watch` is called in the pauses that are long enough.
    pub(super) fn publish(
        &self,
        subject: &mut Subject,
        window: Window,
        watch: &mut dyn FnMut(),
    ) -> Result<Punctuality> {
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
        Ok(publisher.punctuality)
    }

    /// Publishes all events without waiting for their answers, with the numbers of the window. Returns when the first was
    /// due, and the answers.
    pub(super) fn publish_open(
        &self,
        mut publisher: OpenLoop<'_>,
        window: Window,
    ) -> Result<(u64, Answers)> {
        let mut stage = Stage::new("publishing", self.0.len() as u64);
        let mut publishing = self.begin(window);
        while let Some(due_ns) = publishing.due_ns() {
            publisher.run_until(due_ns)?;
            for event in publishing.due(clock::now_ns(), usize::MAX) {
                publisher.push(event);
                publishing.next += 1;
            }
            stage.at(u64::from(publishing.next));
        }
        Ok((publishing.start_ns, publisher.finish()?))
    }

    /// Starts the timetable now. The caller publishes with [`Publishing::publish_due`].
    pub(super) fn begin(&self, window: Window) -> Publishing<'_> {
        Publishing {
            entries: &self.0,
            window,
            start_ns: clock::now_ns() + LEAD_NS,
            next: 0,
            punctuality: Punctuality::new(),
        }
    }
}

/// A timetable in progress.
#[derive(Debug)]
pub(super) struct Publishing<'a> {
    entries: &'a [Entry],
    window: Window,
    start_ns: u64,
    next: u32,
    pub(super) punctuality: Punctuality,
}

/// How closely the publisher kept to its timetable.
#[derive(Clone, Debug)]
pub(super) struct Punctuality {
    /// The longest delay of an event.
    pub(super) late_ns: u64,
    /// From a publish request to its answer.
    pub(super) answer_ns: Histogram<u64>,
}

impl Punctuality {
    /// Nothing has been published yet.
    pub(super) fn new() -> Self {
        Self {
            late_ns: 0,
            answer_ns: Histogram::new_with_bounds(1_000, MAX_ANSWER_NS, 3)
                .expect("the bounds are constants"),
        }
    }

    /// Adds that of other events.
    pub(super) fn add(&mut self, other: &Self) -> Result<()> {
        self.late_ns = self.late_ns.max(other.late_ns);
        Ok(self.answer_ns.add(&other.answer_ns)?)
    }
}

impl Publishing<'_> {
    /// When the next event is due; `None` after the last.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let entry = self.entries.get(self.next as usize)?;
        Some(self.start_ns + entry.after_ns)
    }

    /// Publishes the events due by now.
    pub(super) fn publish_due(&mut self, subject: &mut Subject) -> Result<()> {
        while let Some(due_ns) = self.due_ns() {
            let now_ns = clock::now_ns();
            if now_ns < due_ns {
                return Ok(());
            }
            let punctuality = &mut self.punctuality;
            punctuality.late_ns = punctuality.late_ns.max(now_ns - due_ns);
            let events = self.due(now_ns, subject.batch());
            let asked_ns = clock::now_ns();
            subject.publish(&events)?;
            let answered_ns = clock::now_ns();
            self.punctuality
                .answer_ns
                .saturating_record(answered_ns - asked_ns);
            self.next += u32::try_from(events.len()).expect("a batch of at most 10,000");
        }
        Ok(())
    }

    /// The next events that are due at `now_ns`, at most this many.
    fn due(&self, now_ns: u64, most: usize) -> Vec<Numbered> {
        let left = (self.window.first + self.next..).zip(&self.entries[self.next as usize..]);
        let events = left.map(|(n, entry)| Numbered {
            n,
            scheduled_ns: self.start_ns + entry.after_ns,
            to: entry.to,
        });
        let due = events.take_while(|event| event.scheduled_ns <= now_ns);
        due.take(most).collect()
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

/// The user of the `index`th unicast. Consecutive users are not neighbours, and in the long run all occur.
fn scattered(index: u32, users: u32) -> u32 {
    // Knuth's multiplicative constant. It is prime, so it has no common factor with `users`.
    let place = u64::from(index) * 2_654_435_761 % u64::from(users.max(1));
    u32::try_from(place).expect("less than users")
}

/// The number of connections of `user` that read, if the first `open` numbers belong to `users` in turn.
fn readers_of(user: u32, users: u32, limits: &Limits, open: u32) -> u32 {
    let numbers = (user..open).step_by(users.max(1) as usize);
    let readers = numbers.filter(|&number| !limits.is_deaf(number)).count();
    u32::try_from(readers).expect("at most all connections")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_merged_timetable_is_complete_and_in_order() {
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
    fn a_batch_has_the_events_that_are_due_in_order_up_to_its_size() {
        let table = Timetable::broadcasts(10, 1_000.0);
        let window = Window {
            first: 70,
            count: 10,
        };
        let mut publishing = table.begin(window);
        publishing.start_ns = 0;
        let numbers = |publishing: &Publishing<'_>, now_ms: u64, most| {
            let due = publishing.due(now_ms * 1_000_000, most);
            due.iter().map(|event| event.n).collect::<Vec<u32>>()
        };
        assert_eq!(numbers(&publishing, 3, 100), [70, 71, 72, 73]);
        assert_eq!(numbers(&publishing, 3, 2), [70, 71]);
        publishing.next = 8;
        assert_eq!(numbers(&publishing, 50, 100), [78, 79]);
        assert_eq!(publishing.due(50_000_000, 1)[0].scheduled_ns, 8_000_000);
    }

    #[test]
    fn every_user_has_its_turn() {
        for users in [1, 2, 7, 1_000, 4_096] {
            let seen: BTreeSet<u32> = (0..users).map(|index| scattered(index, users)).collect();
            assert_eq!(seen.len(), users as usize);
        }
    }

    #[test]
    fn connections_belong_to_users_in_turn_and_some_never_read() {
        let counts = |deaf_per_cent| -> Vec<u32> {
            let limits = Limits::reading_but(deaf_per_cent);
            let readers = (0..4).map(|user| readers_of(user, 4, &limits, 10));
            readers.collect()
        };
        assert_eq!(counts(0), [3, 3, 2, 2]);
        // Connection 9 of user 1.
        assert_eq!(counts(10), [3, 2, 2, 2]);
    }
}
