//! Nodes, clients and requests under way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::super::link::Faults;
use super::super::place::StorePlace;
use super::super::store::SimulatedStore;
use super::client::{Client, identity, user_id};
use super::server::Server;
use super::step::{CLIENTS, NODES, SESSIONS, Step, USERS};
use crate::clock::Clock;
use crate::event::{Draft, EventId, EventName, Target};
use crate::hub::engine::Engine as _;
use crate::hub::log::{PieceLimit, Progress};
use crate::hub::{ConnectionId, Hub, LogOut, Newcomer};

/// Polls of all tasks that are enough for anything that does not wait for a fault or for time.
const MANY: usize = 300;
/// Polls that are enough for beats.
const FEW: usize = 30;
/// The leeway of tokens, and a second.
const GRACE_MS: u64 = 6_000;
/// Nodes beat every second.
const BEAT_MS: u64 = 500;

pub(super) struct World {
    clock: Clock,
    store: Arc<SimulatedStore>,
    servers: Vec<Server>,
    clients: Vec<Client>,
    answers: Arc<Mutex<Answers>>,
    /// Requests under way.
    requests: Vec<JoinHandle<()>>,
    /// Entries that the store lost or dropped.
    lost: BTreeSet<EventId>,
    published: usize,
    /// Nothing was lost or dropped, and no link had a fault. A node that is behind does not know a client's last id.
    is_whole: bool,
    /// Entries were dropped. A change that was lost and written back may be among them before all have read it.
    is_trimmed: bool,
    /// How often the store lost or dropped something.
    losses: usize,
    // Dropped last.
    runtime: Runtime,
}

/// What requests were answered.
#[derive(Default)]
struct Answers {
    accepted: Vec<EventId>,
    /// Streams of a node that was behind are about to end all together.
    is_trimmed: bool,
    is_blurred: bool,
    /// Changes of each user that have begun, and that are under way.
    begun: [usize; USERS],
    under_way: [usize; USERS],
    /// Tokens of each user that were issued up to this time are revoked.
    revoked_ms: [u64; USERS],
    /// The session of each connection to a node, and when its token was issued.
    opened: HashMap<(usize, ConnectionId), (usize, u64)>,
}

impl World {
    pub(super) fn new() -> Self {
        // The store's gaps and names are random; the same steps give the same ones.
        fastrand::seed(7);
        let clock = Clock::manual(1_700_000_000_000);
        let store = SimulatedStore::new(clock.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let servers: Vec<Server> = (0..NODES)
            .map(|number| Server::new(number, &store, &clock))
            .collect();
        runtime.block_on(async {
            for server in &servers {
                server.start().await;
            }
            // They learn of each other.
            yields(MANY).await;
        });
        let now_ms = clock.unix_ms();
        Self {
            clients: (0..CLIENTS)
                .map(|n| Client::new(n % USERS, n / USERS % SESSIONS.len(), now_ms))
                .collect(),
            clock,
            store,
            servers,
            answers: Arc::default(),
            requests: Vec::new(),
            lost: BTreeSet::new(),
            published: 0,
            is_whole: true,
            is_trimmed: false,
            losses: 0,
            runtime,
        }
    }

    pub(super) fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish { node, to, source } => self.publish(node, to, source),
            Step::Change { node, user, keep } => self.change(node, user, keep),
            Step::Disconnect { node, user } => {
                let hub = Arc::clone(&self.servers[node].hub);
                self.request(async move {
                    let _ = hub.disconnect(user_id(user)).await;
                });
            }
            Step::LogIn { client, node } => {
                self.clients[client].issued_ms = self.servers[node].hub.unix_ms();
            }
            Step::Connect { client, node } => self.connect(client, node),
            Step::Leave(client) => self.clients[client].stream = None,
            Step::Deliver { node, most } => {
                self.servers[node].deliver(most, &mut self.clients);
            }
            Step::Take(most) => {
                self.replay(most);
            }
            Step::Beat(node) => self.servers[node].beat(&mut self.clients),
            Step::Run(polls) => self.run(polls),
            Step::Pass(ms) => self.pass(ms),
            Step::Skew(ms) => self.store.change(|state| state.skew_ms = ms),
            Step::Fault { node, faults } => {
                self.is_whole = false;
                self.servers[node].engine.link().set(faults);
            }
            Step::Heal(node) => self.servers[node].engine.link().set(Faults::default()),
            Step::RollBack(lost) => self.lose(|state| state.roll_back(lost)),
            Step::Empty => self.lose(super::super::store::SimulatedState::empty),
            Step::Trim(left) => {
                self.is_trimmed = true;
                self.answers.lock().is_trimmed = true;
                self.lose(|state| state.trim(left));
            }
        }
    }

    /// Lets time pass, in steps so short that no node misses its beats.
    fn pass(&mut self, ms: u64) {
        let mut left_ms = ms;
        while left_ms > 0 {
            let step_ms = left_ms.min(BEAT_MS);
            self.clock.advance(Duration::from_millis(step_ms));
            left_ms -= step_ms;
            if left_ms > 0 {
                self.run(FEW);
            }
        }
    }

    /// The store changes its log.
    fn lose(&mut self, change: impl FnOnce(&mut super::super::store::SimulatedState)) {
        self.losses += 1;
        // A lost change that was written back may be dropped before all nodes have read it. Then only events count.
        if self.is_trimmed && self.losses > 1 {
            self.answers.lock().is_blurred = true;
        }
        let before = self.ids();
        self.store.change(change);
        let after = self.ids();
        self.is_whole = false;
        self.lost
            .extend(before.into_iter().filter(|id| !after.contains(id)));
    }

    fn ids(&self) -> Vec<EventId> {
        self.store.look(|state| {
            let log = state.log().iter();
            log.map(|entry| entry.place.into()).collect()
        })
    }

    fn request(&mut self, request: impl Future<Output = ()> + Send + 'static) {
        self.requests.push(self.runtime.spawn(request));
    }

    fn run(&self, polls: usize) {
        self.runtime.block_on(yields(polls));
    }

    /// Waits for something for many polls, and then gives up.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                answer = future => Some(answer),
                () = yields(MANY) => None,
            }
        })
    }

    fn publish(&mut self, node: usize, to: Option<usize>, source: Option<u8>) {
        let draft = Draft {
            to: to.map_or(Target::All, |user| Target::User(user_id(user))),
            name: EventName::default(),
            data: self.published.to_string(),
            source_id: source.map(|id| id.to_string().into()),
            is_kept: !self.published.is_multiple_of(7),
        };
        self.published += 1;
        let (hub, answers) = (
            Arc::clone(&self.servers[node].hub),
            Arc::clone(&self.answers),
        );
        self.request(async move {
            if let [Ok(id)] = *hub.publish(vec![draft]).await {
                answers.lock().accepted.push(id);
            }
        });
    }

    fn change(&mut self, node: usize, user: usize, keep: Option<usize>) {
        let hubs: Vec<Arc<Hub>> = self.servers.iter().map(|it| Arc::clone(&it.hub)).collect();
        let (answers, store) = (Arc::clone(&self.answers), Arc::clone(&self.store));
        let (number, is_alone) = {
            let mut answers = answers.lock();
            answers.begun[user] += 1;
            answers.under_way[user] += 1;
            (answers.begun[user], answers.under_way[user] == 1)
        };
        let before_ms = hubs[node].unix_ms();
        self.request(async move {
            let hub = &hubs[node];
            let changed = if let Some(keep) = keep {
                hub.change_session(user_id(user), SESSIONS[keep], None)
                    .await
            } else {
                let log_out = hub.log_out(user_id(user), LogOut::default()).await;
                log_out.map(|outcome| outcome.changed)
            };
            let mut answers = answers.lock();
            answers.under_way[user] -= 1;
            let Ok(changed) = changed else { return };
            if keep.is_none() {
                let revoked_ms = &mut answers.revoked_ms[user];
                *revoked_ms = before_ms.max(*revoked_ms);
            }
            if answers.is_blurred || !is_alone || number != answers.begun[user] {
                // Another change may be in force by now.
                return;
            }
            let live = store.look(|state| state.members.live(store.unix_ms()));
            for (other, hub) in hubs.iter().enumerate() {
                let name = format!("node-{other}");
                if changed.applied.missing.contains(&name) {
                    continue;
                }
                for session in (0..SESSIONS.len()).filter(|session| keep != Some(*session)) {
                    let old = identity(user, session, before_ms);
                    let is_admitted = hub.engine().is_current() && hub.allows(&old);
                    assert!(!is_admitted, "{name} admits the old session {session}");
                }
                if !answers.is_trimmed && live.iter().any(|(live, _)| *live == name) {
                    hub.directory().connections(&user.to_string(), |open| {
                        let (session, issued_ms) = answers.opened[&(other, open)];
                        let is_old = keep != Some(session) && issued_ms <= before_ms;
                        assert!(!is_old, "{name} has a stream of the old session {session}");
                    });
                }
            }
        });
    }

    fn connect(&mut self, client: usize, node: usize) {
        self.clients[client].stream = None;
        let identity = self.clients[client].identity();
        let last = self.clients[client].last.map(|id| id.to_string());
        let hub = Arc::clone(&self.servers[node].hub);
        self.wait(hub.read_up_to(last.as_deref()).get());
        if !matches!(self.wait(hub.reserve(&identity).get()), Some(Ok(()))) {
            return;
        }
        let newcomer = Newcomer {
            identity: &identity,
            topics: &[],
            last_event_id: last.as_deref(),
        };
        let connection = self.servers[node].next_connection();
        match hub.admit(newcomer, connection) {
            Ok(placed) => {
                let has_gap = placed.joined.gap.is_some();
                assert!(!has_gap || !self.is_whole, "a gap, but nothing was lost");
                let who = &mut self.clients[client];
                let opened = (who.session, who.issued_ms);
                let mut answers = self.answers.lock();
                answers.opened.insert((node, connection), opened);
                who.join(node, placed);
            }
            Err(_) => hub.cancel(&identity.user),
        }
    }

    /// Clients take what they missed. Returns true if there was any.
    fn replay(&mut self, most: usize) -> bool {
        let mut took = false;
        for client in &mut self.clients {
            let Some(stream) = &mut client.stream else {
                continue;
            };
            let Some(replay) = &mut stream.replay else {
                continue;
            };
            took = true;
            let log = self.servers[stream.node].hub.log();
            let limit = PieceLimit {
                entries: most,
                bytes: usize::MAX,
            };
            let mut piece = Vec::new();
            match log.replay(replay, limit, &mut piece) {
                Progress::More => {}
                Progress::CaughtUp(position) => {
                    (stream.joined, stream.replay) = (Some(position), None);
                }
                // It comes back.
                Progress::Lost | Progress::Moved | Progress::Ended(_) => client.stream = None,
            }
            for entry in piece {
                client.receive(&entry);
            }
        }
        took
    }

    /// Repairs everything, and lets it come to its end.
    pub(super) fn settle(&mut self) {
        for server in &self.servers {
            server.engine.link().set(Faults::default());
        }
        for _ in 0..5 {
            self.run(MANY);
            self.clock.advance(Duration::from_secs(1));
        }
        self.run(MANY);
        while self.drain() {}
        // Revocations that were lost are in force again everywhere.
        for n in 0..CLIENTS {
            let is_open = self.clients[n].stream.is_some();
            if !is_open {
                self.connect(n, n % NODES);
            }
        }
        while self.drain() {}
    }

    fn drain(&mut self) -> bool {
        self.run(MANY);
        let mut is_busy = self.replay(100);
        for server in &mut self.servers {
            is_busy |= server.deliver(100, &mut self.clients);
        }
        is_busy
    }

    pub(super) fn check(&mut self) {
        for request in std::mem::take(&mut self.requests) {
            assert!(request.is_finished(), "a request without an answer");
            self.runtime.block_on(request).unwrap();
        }
        let newest: StorePlace = self.store.look(super::super::store::SimulatedState::newest);
        for server in &self.servers {
            assert!(server.engine.health().is_well());
            assert_eq!(server.hub.log().newest_id(), newest.into());
        }
        let ids = self.ids();
        let answers = self.answers.lock();
        for id in &answers.accepted {
            let is_there = ids.contains(id) || self.lost.contains(id);
            assert!(is_there, "{id} was accepted, and is gone");
        }
        self.check_events();
        for client in &self.clients {
            let identity = client.identity();
            let allowed: Vec<bool> = self
                .servers
                .iter()
                .map(|server| server.hub.allows(&identity))
                .collect();
            // After a loss, a later change may have taken the place of one that some nodes have not seen. So they may
            // differ about a session until the user's next change, but not about what a log-out revoked.
            let is_agreed = allowed.iter().all(|it| *it == allowed[0]);
            assert!(
                is_agreed || !self.lost.is_empty(),
                "{identity:?}: {allowed:?}"
            );
            // A token from right before a log-out is good again if its session is named after it.
            let until_ms = answers.revoked_ms[client.user].saturating_sub(GRACE_MS);
            let is_revoked = client.issued_ms < until_ms && !self.is_trimmed;
            assert!(
                !is_revoked || !allowed.contains(&true),
                "a revoked token is good again: {identity:?} {allowed:?}"
            );
        }
    }

    /// Each client has each event that is left, once and in order.
    fn check_events(&self) {
        use crate::engine::record::{Stored, To};
        let log = self.store.look(|state| state.log().to_vec());
        let mut data = BTreeSet::new();
        for entry in &log {
            let stored = Stored::from_json(&entry.json).unwrap();
            let Stored::Event {
                to,
                data: own,
                persist,
                ..
            } = stored
            else {
                continue;
            };
            assert!(data.insert(own.to_string()), "{own} is stored twice");
            let id = EventId::from(entry.place);
            for (n, client) in self.clients.iter().enumerate() {
                let is_mine = match &to {
                    To::All => true,
                    To::User(user) => **user == *client.user.to_string(),
                    _ => false,
                };
                let is_owed = client.stream.is_some() && client.owed < id && persist && is_mine;
                let has_it = client.has.contains(&id);
                assert!(has_it || !is_owed, "client {n} misses {id}");
            }
        }
    }
}

/// Lets all other tasks be polled so many times.
async fn yields(polls: usize) {
    for _ in 0..polls {
        tokio::task::yield_now().await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Places are given back before the nodes end.
        for client in &mut self.clients {
            client.stream = None;
        }
        self.run(MANY);
    }
}
