//! Makes room for a newcomer whose user has reached the limit: connections that are already dead give way.
//!
//! A client that reconnects at once may arrive before the shard has noticed the end of its last connection.
//! After a network change, the server does not learn of that end at all. So before a newcomer is refused:
//!
//! 1. Connections that the kernel knows to be closed are closed ([`Command::Look`]).
//! 2. If there are none, all get a heartbeat. Those whose kernel has not acknowledged it after [`PATIENCE`] are
//!    closed. This is done only once in a while per user ([`Questions`]). Further newcomers wait for the outcome.
//!
//! A `HEAD` request is answered by the same rules, but connections that do not answer stay open, because only a
//! stream takes their place.
//!
//! Behind a proxy, the kernel that answers is the proxy's. So a connection that the proxy keeps open does not give
//! way, even if its client is gone.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::connection::ConnectionId;
use super::directory::{Silent, SingleFlight};
use super::hub::Hub;
use super::inbox::{Command, Inbox, Look, Seen};
use super::presence::by_shard;
use crate::clock::{millis, real_sleep};

/// How long a kernel may take to acknowledge a heartbeat: several round trips on a slow network.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most connections that are looked at for one newcomer, the oldest ones. It bounds the cost of a refusal if the
/// limit is high.
const MAX_LOOKED_AT: usize = 64;
/// The first pause between looks for an acknowledgement. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Where dead connections give way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    This,
    All,
}

struct Looked {
    seen: Vec<Seen>,
    /// True if some of them were gone, or the user is below the limit.
    has_room: bool,
}

impl Hub {
    /// Closes the user's connections that are gone, on all nodes. Returns true if the newcomer should try again.
    pub(crate) async fn close_dead(&self, user: &str) -> bool {
        self.close_dead_on(user, Nodes::All).await
    }

    /// The same for a newcomer to another node, which asks all nodes itself.
    pub(super) async fn close_dead_here(&self, user: &str) -> bool {
        self.close_dead_on(user, Nodes::This).await
    }

    async fn close_dead_on(&self, user: &str, nodes: Nodes) -> bool {
        if self.look(user, Look::Only).await.has_room {
            return true;
        }
        let now_ms = self.clock.now_ms();
        match self.directory.questions().enter(user, now_ms) {
            SingleFlight::Ask(_question) if nodes == Nodes::All => {
                let elsewhere = self.register().close_dead_elsewhere(user).get();
                let (here, elsewhere) = tokio::join!(self.drop_silent(user), elsewhere);
                here || elsewhere
            }
            SingleFlight::Ask(_question) => self.drop_silent(user).await,
            SingleFlight::Wait(outcome) => {
                // Connections that a `HEAD` request has left open are closed without another question. Otherwise,
                // repeated `HEAD` requests could keep streams waiting.
                self.close_all(&outcome_of(outcome).await).await;
                true
            }
            SingleFlight::Asked => false,
        }
    }

    /// Returns true if there would be room after [`Hub::close_dead`]. Closes only connections that the kernel knows to be
    /// closed.
    pub(crate) async fn has_room_without_dead(&self, user: &str) -> bool {
        self.look(user, Look::Only).await;
        if self.has_room(user).await {
            return true;
        }
        let now_ms = self.clock.now_ms();
        match self.directory.questions().enter(user, now_ms) {
            SingleFlight::Ask(question) => {
                let silent = self.silent(user).await.unwrap_or_default();
                let is_enough = self.count_here(user) < self.user_limit() + silent.len();
                let has_room = !silent.is_empty() || self.has_room(user).await;
                question.send_replace(silent.into());
                is_enough && has_room
            }
            SingleFlight::Wait(outcome) => {
                !outcome_of(outcome).await.is_empty() || self.has_room(user).await
            }
            SingleFlight::Asked => false,
        }
    }

    /// Closes the connections that do not answer a heartbeat. Returns true if there is room then.
    async fn drop_silent(&self, user: &str) -> bool {
        let Some(silent) = self.silent(user).await else {
            return true;
        };
        self.close_all(&silent).await;
        // Closed now, or gone by themselves in the meantime.
        !silent.is_empty()
    }

    /// Closes connections.
    async fn close_all(&self, silent: &[ConnectionId]) {
        let closed = self.every(silent, |connections, reply| Command::Drop {
            connections,
            reply,
        });
        closed.await;
    }

    /// Returns the connections whose kernel does not acknowledge a heartbeat in time; `None` if there is room
    /// anyway.
    async fn silent(&self, user: &str) -> Option<Vec<ConnectionId>> {
        let until_ms = self.clock.now_ms() + millis(PATIENCE);
        let Looked { seen, has_room } = self.look(user, Look::Heartbeat).await;
        let mut silent = seen;
        let mut has_room = has_room;
        let mut pause = FIRST_PAUSE;
        let mut is_over = false;
        while !has_room && !is_over {
            silent.retain(|one| one.is_silent_since(one));
            if silent.is_empty() {
                return Some(Vec::new());
            }
            tokio::select! {
                biased;
                () = self.clock.sleep_until(until_ms) => is_over = true,
                // Acknowledgements arrive in real time, whatever clock the server uses.
                () = real_sleep(pause) => pause *= 2,
            }
            let now = self.look(user, Look::Only).await;
            has_room = now.has_room;
            silent.retain(|before| {
                let now = now
                    .seen
                    .iter()
                    .find(|now| now.connection == before.connection);
                now.is_some_and(|now| now.is_silent_since(before))
            });
        }
        (!has_room).then(|| silent.iter().map(|one| one.connection).collect())
    }

    async fn look(&self, user: &str, look: Look) -> Looked {
        let mut connections = Vec::new();
        self.directory.connections(user, |connection| {
            if connections.len() < MAX_LOOKED_AT {
                connections.push(connection);
            }
        });
        let seen: Vec<Seen> = self
            .every(&connections, |connections, reply| Command::Look {
                connections,
                look,
                reply,
            })
            .await;
        Looked {
            // The shard may have noticed the end of a connection itself, after the newcomer was rejected.
            has_room: seen.len() < connections.len() || self.has_room(user).await,
            seen,
        }
    }

    /// Returns true if the user is below the limit, here and over all nodes.
    async fn has_room(&self, user: &str) -> bool {
        let limit = self.limits().per_user;
        self.count_here(user) < limit.connections
            && self.register().has_place(user, limit).get().await
    }

    /// Sends a command to each shard that owns some of the connections, and collects the answers.
    async fn every<T>(
        &self,
        connections: &[ConnectionId],
        command: impl Fn(Vec<ConnectionId>, oneshot::Sender<Vec<T>>) -> Command,
    ) -> Vec<T> {
        let asked = by_shard(self.inboxes.iter(), connections);
        let answers: Vec<_> = asked
            .into_iter()
            .map(|(inbox, connections): (&Inbox, _)| {
                let (reply, answer) = oneshot::channel();
                inbox.push(command(connections, reply));
                answer
            })
            .collect();
        let mut all = Vec::new();
        for answer in answers {
            // A shard that has ended holds nothing.
            all.extend(answer.await.unwrap_or_default());
        }
        all
    }

    fn user_limit(&self) -> usize {
        self.limits().per_user.connections
    }
}

/// Waits until another caller's question is over. Returns the silent connections that this caller has left open.
async fn outcome_of(mut outcome: watch::Receiver<Silent>) -> Silent {
    // When the sender is dropped, the outcome is final.
    while outcome.changed().await.is_ok() {}
    outcome.borrow().clone()
}
