//! A node of the model: a hub on the engine, with a shard that the model plays.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::super::engine::{SimulatedEngine, SimulatedParts};
use super::super::store::SimulatedStore;
use super::client::Client;
use crate::clock::Clock;
use crate::config::OnLimit;
use crate::event::EventId;
use crate::hub::directory::{Directory, Rules};
use crate::hub::engine::Engine as _;
use crate::hub::engine::LocalNode;
use crate::hub::log::{Cursor, Log};
use crate::hub::{
    Command, ConnectionId, Ending, EventCompression, Hub, Limit, Limits, Outgoing, Parts, Quota,
    Recipients,
};
use crate::metrics::Metrics;

pub(super) const MAX_STALE: Duration = Duration::from_secs(30);
const HISTORY: Duration = Duration::from_secs(86_400);

pub(super) struct Server {
    pub(super) number: usize,
    pub(super) hub: Arc<Hub>,
    pub(super) engine: Arc<SimulatedEngine>,
    commands: VecDeque<Command>,
    /// The position up to which all its clients have been served.
    served: Option<Cursor>,
    connections: u32,
}

impl Server {
    pub(super) fn new(number: usize, store: &Arc<SimulatedStore>, clock: &Clock) -> Self {
        let log = Arc::new(Log::new(64 << 20, HISTORY, EventId::origin(1)));
        let directory = Arc::new(Directory::new(Rules::of(&crate::config::Auth::default())));
        let streams: Arc<Quota> = Arc::default();
        let parts = SimulatedParts {
            log: Arc::clone(&log),
            directory: Arc::clone(&directory),
            streams: Arc::clone(&streams),
            clock: clock.clone(),
        };
        let name = format!("node-{number}");
        let engine = SimulatedEngine::new(&name, MAX_STALE, Arc::clone(store), parts);
        let engine = Arc::new(engine);
        let hub = Hub::new(Parts {
            clock: clock.clone(),
            metrics: Arc::new(Metrics::new(1)),
            log,
            directory,
            engine: Arc::clone(&engine) as _,
            limits: Limits {
                connections: 100,
                test_streams: 1,
                per_user: Limit {
                    connections: 100,
                    on_limit: OnLimit::Reject,
                },
            },
            streams,
            compression: EventCompression::OFF,
        });
        Self {
            number,
            hub,
            engine,
            commands: VecDeque::new(),
            served: None,
            connections: 0,
        }
    }

    /// Opens the engine and begins to dispatch, in a runtime.
    pub(super) async fn start(&self) {
        let node: Arc<dyn LocalNode> = self.hub.clone();
        self.engine.open(Arc::downgrade(&node)).await.unwrap();
        let hub = Arc::clone(&self.hub);
        tokio::spawn(async move { hub.dispatch().await });
    }

    pub(super) fn next_connection(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId::new(0, self.connections, 1)
    }

    /// Does up to `most` of the shard's commands. Returns true if there were any.
    pub(super) fn deliver(&mut self, most: usize, clients: &mut [Client]) -> bool {
        if self.commands.is_empty() {
            self.hub.inbox(0).take(&mut self.commands);
        }
        let most = most.min(self.commands.len());
        for command in self.commands.drain(..most).collect::<Vec<_>>() {
            self.carry_out(command, clients);
        }
        most > 0
    }

    fn carry_out(&mut self, command: Command, clients: &mut [Client]) {
        match command {
            Command::Deliver { outgoing, to } => {
                let entry = outgoing.entry();
                for client in clients.iter_mut() {
                    let Some(stream) = client.stream.as_ref() else {
                        continue;
                    };
                    let is_recipient = match &to {
                        Recipients::Everyone => true,
                        Recipients::Subscribers => false,
                        Recipients::Connections(some) => some.contains(&stream.connection),
                    };
                    let is_live = stream.joined.is_some_and(|joined| joined < entry.position);
                    if stream.node == self.number && is_recipient && is_live {
                        client.receive(entry);
                    }
                }
                self.finish(&outgoing);
            }
            Command::End { connections, end } => {
                for client in clients.iter_mut() {
                    if connections.iter().any(|it| client.is(self.number, *it)) {
                        client.stream = None;
                    }
                }
                if let Ending::LoggedOut(outgoing) = end {
                    self.finish(&outgoing);
                }
            }
            Command::EndAll { .. } => {
                for client in clients.iter_mut().filter(|it| it.is_at(self.number)) {
                    client.stream = None;
                }
            }
            command => panic!("{command:?}"),
        }
    }

    fn finish(&mut self, outgoing: &Outgoing) {
        let entry = outgoing.entry();
        if !entry.is_fleeting() {
            self.served = Some(Cursor {
                position: entry.position,
                id: entry.id,
            });
        }
        self.hub.in_flight().finish(outgoing);
    }

    /// Tells its clients their position, as a shard's heartbeat does.
    pub(super) fn beat(&mut self, clients: &mut [Client]) {
        let log = self.hub.log();
        let is_known = |served: Cursor| served.position >= log.dispatched_position();
        let has_entries = self.commands.iter().any(Command::has_entry);
        if !self.served.is_some_and(is_known) && !has_entries {
            let cursor = log.dispatched_cursor();
            if !self.hub.inbox(0).has_entries() {
                self.served = Some(cursor);
            }
        }
        let Some(served) = self.served else { return };
        for client in clients.iter_mut().filter(|it| it.is_at(self.number)) {
            let joined = client.stream.as_ref().and_then(|it| it.joined);
            if joined.is_some_and(|joined| joined <= served.position) {
                client.advance(served.id, false);
            }
        }
    }
}
