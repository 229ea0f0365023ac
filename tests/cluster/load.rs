//! Clients and publishers on several nodes, and the check at the end: the frame of every scenario.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clients::{Clients, Experience};
use crate::common::book::{Book, Event, Fate, Id, To};
use crate::common::check::{Report, Rules, check};
use crate::common::journal::Journal;
use crate::common::publisher::Published;
use crate::common::real_time::now;
use crate::common::subscriber::Subscriber;
use crate::node::Node;
use crate::publishers::{Audience, Publishers};
use crate::support::{PATIENCE, eventually};

/// The stream with all entries, with the default prefix.
pub const LOG_KEY: &str = "idlewild:{log}";
/// Topics of each client.
const TOPICS_PER_CLIENT: usize = 2;
const POLL: Duration = Duration::from_millis(5);

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub clients: usize,
    pub publishers: usize,
    pub audience: Audience,
    /// Events per second of all publishers.
    pub events: u64,
    /// Hops per second of all clients.
    pub hops: u64,
}

/// Enough to meet a race, and little enough for two cores.
impl Default for Size {
    fn default() -> Self {
        Self {
            clients: 120,
            publishers: 3,
            audience: Audience {
                users: 60,
                topics: 10,
            },
            events: 300,
            hops: 100,
        }
    }
}

pub struct Load {
    pub book: Arc<Book>,
    pub clients: Clients,
    pub publishers: Publishers,
    size: Size,
}

/// What happened under the load.
pub struct Outcome {
    pub book: Arc<Book>,
    pub journals: Vec<Journal>,
    pub published: Vec<Published>,
    pub experience: Experience,
}

impl Load {
    /// Connects the clients to these nodes; then publishing and hopping begins.
    pub fn start(nodes: &[Node], size: Size) -> Self {
        let load = Self::prepare(nodes, size);
        load.go();
        load
    }

    /// The same, but nothing is published and nobody hops before [`Self::go`].
    pub fn prepare(nodes: &[Node], size: Size) -> Self {
        let book = Arc::new(Book::new("cluster"));
        let public: Vec<_> = nodes.iter().map(|node| node.public).collect();
        let admin: Vec<_> = nodes.iter().map(|node| node.admin).collect();
        let Audience { users, topics } = size.audience;
        let subscriber = |_| Subscriber {
            user: fastrand::u16(0..users),
            topics: fastrand::choose_multiple(0..topics, TOPICS_PER_CLIENT),
        };
        let subscribers: Vec<Subscriber> = (0..size.clients).map(subscriber).collect();
        let clients = Clients::connect(&public, &book, &subscribers);
        let publishers = Publishers::start(size.publishers, &admin, &book, size.audience);
        Self {
            book,
            clients,
            publishers,
            size,
        }
    }

    /// Publishing and hopping begins, or begins again.
    pub fn go(&self) {
        self.publishers.rate(self.size.events);
        self.clients.hop_often(self.size.hops);
    }

    /// Publishing and hopping ends until [`Self::go`]. An event may still be on its way.
    pub fn pause(&self) {
        self.publishers.rate(0);
        self.clients.hop_often(0);
    }

    /// Waits until this many more events have been accepted.
    #[track_caller]
    pub fn wait_for_events(&self, more: usize) {
        wait_for("events are accepted", more, || self.book.accepted());
    }

    /// Waits until clients have hopped this many more times.
    #[track_caller]
    pub fn wait_for_hops(&self, more: usize) {
        wait_for("hops", more, || self.clients.experience().hops);
    }

    /// Publishes an event for everybody and waits until every client has it, as long as clients receive events.
    pub fn reach_everybody(&self) -> Published {
        let to_all = Event {
            to: To::All,
            data: "for everybody".to_owned(),
            persist: true,
        };
        let number = self.book.add(vec![to_all]).start;
        self.clients.await_event(number);
        let published = self.publishers.publish_to_all(number);
        // If it does not reach everybody, the check says whom it did not reach.
        let everybody = self.clients.len();
        let mut progress = (0, 0);
        let mut deadline = now() + PATIENCE;
        while progress.0 < everybody && now() < deadline {
            std::thread::sleep(POLL);
            // What the clients had not received before comes first.
            let received = self.clients.experience().events;
            let after = (self.clients.have_awaited(), received);
            if after != progress {
                (progress, deadline) = (after, now() + PATIENCE);
            }
        }
        published
    }

    /// Stops publishing and hopping, waits until every client has a last event, and ends all clients. The nodes have
    /// to accept events again.
    pub fn finish(mut self) -> Outcome {
        self.clients.hop_often(0);
        let mut published = self.publishers.stop();
        published.push(self.reach_everybody());
        Outcome {
            experience: self.clients.experience(),
            journals: self.clients.finish(),
            book: self.book,
            published,
        }
    }
}

/// Waits until a count has risen by `more`; fails if it stands still.
#[track_caller]
fn wait_for(what: &str, more: usize, count: impl Fn() -> usize) {
    const STEP: usize = 10;
    let (start, mut waited) = (count(), 0);
    while waited < more {
        waited = (waited + STEP).min(more);
        eventually(&format!("{waited} of {more} more {what}"), || {
            count() >= start + waited
        });
    }
}

impl Outcome {
    /// Fails unless every client has each accepted event once and in order, or was told of a gap.
    #[track_caller]
    pub fn check(&self, rules: &Rules) -> Report {
        let journals: Vec<&Journal> = self.journals.iter().collect();
        let report = check(&self.book, &journals, &self.published, rules);
        assert!(
            report.failures.is_empty(),
            "{:?}, {} gaps\n{}",
            self.experience,
            report.gaps,
            report.failures
        );
        report
    }

    /// The same, and nobody was told of a gap.
    #[track_caller]
    pub fn check_without_gaps(&self) {
        let report = self.check(&Rules::default());
        let told = self.journals.iter().find(|journal| journal.gaps() > 0);
        assert_eq!(
            report.gaps,
            0,
            "{:?}; one of the clients:\n{}",
            self.experience,
            told.map_or("", Journal::story)
        );
    }

    /// The same, and the store has every event that was accepted. Clients may have received others.
    #[track_caller]
    pub fn check_nothing_lost(&self, entries: &HashSet<Id>) {
        let Rules { lost, .. } = self.lost(entries);
        assert!(lost.is_empty(), "{} events are lost: {lost:?}", lost.len());
        self.check(&Rules {
            may_fork: true,
            lost,
        });
    }

    /// The rules for a store that has only these entries left.
    pub fn lost(&self, entries: &HashSet<Id>) -> Rules {
        let fates = self.book.fates();
        let ids = fates.iter().filter_map(Fate::id);
        Rules {
            may_fork: true,
            lost: ids.filter(|id| !entries.contains(id)).collect(),
        }
    }
}
