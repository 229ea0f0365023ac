//! A store of events and session changes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;

use super::continued::Continued;
use super::error::{EngineError, OpenError};
use super::local_node::LocalNode;
use super::promise::{Answer, Promise};
use super::register::Register;
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::log::Control;

/// Highest number of drafts that are published together: many per commit, and few enough that other requests
/// do not wait long.
pub(crate) const MAX_DRAFTS: usize = 256;

/// A store of events. A returned id means that the event was accepted and stored.
pub(crate) trait Engine: Send + Sync {
    /// The engine's name, for people.
    fn kind(&self) -> &'static str;

    /// Reads what is stored. Called once and before all other methods, when descriptors that are opened are no
    /// longer copied into the shards' tables. `node` answers the questions of other nodes; it is weak, because the node
    /// owns the engine.
    fn open(&self, node: Weak<dyn LocalNode>) -> Answer<'_, Result<(), OpenError>>;

    /// Stores up to [`MAX_DRAFTS`] events in order, and returns one answer per draft. A draft whose `source_id`
    /// was seen in the last ten minutes is not stored again; its answer is the first one's id.
    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>>;

    /// Stores a change of session, dated now, together with the event for the other devices.
    fn change_session(
        &self,
        change: SessionDraft,
        notice: Notice,
    ) -> Answer<'_, Result<EventId, EngineError>>;

    /// Passes a request through the log to every node, and returns the number of connections it has ended. The
    /// request is not stored, so a store that refuses events accepts it. It does not wait for room in the log,
    /// because operators end connections when a server is overloaded. It answers within seconds, even if the
    /// store is stuck.
    fn command(&self, control: Control) -> Answer<'_, Result<u64, EngineError>>;

    /// Returns whether events can be stored now.
    fn health(&self) -> EngineHealth;

    /// Returns true if this node knows what happened lately, so that it may admit clients. A node that has lost
    /// its store for long may not know who was logged out.
    fn is_current(&self) -> bool {
        true
    }

    /// This node's name among those that share the log. `None` if there is only this one.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Returns true if several nodes append to the same log. Then this node's memory may be behind it.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns true if an id tells when its entry was stored. Then a log-out covers everything up to its id's time, even
    /// if the clock was set back before it. An engine with other ids has to date changes with a time that never falls.
    fn has_times_in_ids(&self) -> bool {
        true
    }

    /// Waits until this node's log has the entry of this id, for at most a second or two: a client may come from a
    /// node that is a moment ahead of this one. Returns at once if no other node can be ahead.
    fn read_up_to(&self, id: EventId) -> Promise<'_, ()> {
        let _ = id;
        Promise::Now(())
    }

    /// Waits until every node has applied the session change that is stored under `id`, for at most a few seconds.
    /// This node has applied it.
    fn applied(&self, id: EventId) -> Promise<'_, Applied> {
        let _ = id;
        Promise::Now(Applied::default())
    }

    /// The nodes that share the log. Empty if there is only this one.
    fn nodes(&self) -> Promise<'_, Result<Vec<NodeStatus>, EngineError>> {
        Promise::Now(Ok(Vec::new()))
    }

    /// What the engine measures about its store; `None` if the store is this process.
    fn figures(&self) -> Option<EngineFigures> {
        None
    }

    /// The time that session changes are dated with, in Unix milliseconds. All nodes share it.
    fn unix_ms(&self) -> u64;

    /// The state that all nodes share.
    fn register(&self) -> &dyn Register;

    /// The engine as another process of the server can continue it; `None` if that is not possible.
    fn continued(&self) -> Option<&dyn Continued> {
        None
    }

    /// Writes everything that was accepted to the disk. Afterwards nothing is accepted.
    fn close(&self) -> Answer<'_, ()>;
}

/// The health of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EngineHealth {
    /// It stores events.
    Well,
    /// It does not store events; publishers get this reason.
    Failing(EngineError),
    /// The store of all nodes cannot be used, for this reason. Publishers wait for it to return, and then get
    /// [`EngineError::Away`].
    Away(Arc<str>),
}

impl EngineHealth {
    /// Returns true if events are stored.
    pub(crate) fn is_well(&self) -> bool {
        *self == Self::Well
    }
}

/// Where a session change is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The number of live nodes, this one included; 0 if the engine has only this one.
    pub(crate) of: usize,
    /// The names of live nodes that have not confirmed it in time.
    pub(crate) missing: Vec<String>,
}

/// One of the nodes that share the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeStatus {
    /// Its name, `engine.node`.
    pub(crate) name: String,
    /// True for the node that answers.
    pub(crate) is_self: bool,
    /// How long it has been running.
    pub(crate) age: Duration,
    /// How far it is behind the newest entry of the log. Zero if it has read everything.
    pub(crate) lag: Duration,
    /// The number of its streams.
    pub(crate) connections: u64,
    /// The number of users with at least one of them.
    pub(crate) users: u64,
    /// Its version of the server.
    pub(crate) version: String,
}

/// The outcome of a connection to the store, as compared with what this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The node has just started.
    Start,
    /// The log goes on where the node was.
    Resume,
    /// The node was away for longer than the log reaches back.
    Trimmed,
    /// The store has lost entries that the node knows.
    Forked,
    /// It is another log, for example because the store came back empty.
    NewLog,
}

impl Verdict {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 5] = [
        Self::Start,
        Self::Resume,
        Self::Trimmed,
        Self::Forked,
        Self::NewLog,
    ];

    /// The name in metrics and logs.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Resume => "resume",
            Self::Trimmed => "trimmed",
            Self::Forked => "forked",
            Self::NewLog => "new-log",
        }
    }
}

/// What an engine measures about the store of several nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct EngineFigures {
    /// How far this node is behind the log's newest entry.
    pub(crate) lag: Duration,
    /// How long ago the store was last heard of.
    pub(crate) beat_age: Duration,
    /// Connections to the store, by [`Verdict`].
    pub(crate) attached: [u64; Verdict::ALL.len()],
    /// Requests whose outcome was not known in time.
    pub(crate) unknown: u64,
    /// Live nodes, this one included.
    pub(crate) nodes: u64,
    /// Places that this node's own limit per user has decided about, because the store was away or slow.
    pub(crate) limited_here: u64,
    /// Users online, added up over the live nodes. A user on two nodes counts twice.
    pub(crate) users: u64,
    /// How far the store's clock is ahead of this machine's, in milliseconds.
    pub(crate) clock_offset_ms: i64,
}

/// The words of a `FORCE_LOGOUT` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Notice {
    /// For people.
    pub(crate) message: String,
    /// For programs.
    pub(crate) reason: String,
}

impl Notice {
    /// The data of the event, with the fields in the order of the contract.
    pub(crate) fn force_logout(&self) -> String {
        #[derive(Serialize)]
        struct Message<'a> {
            r#type: &'static str,
            data: &'a Notice,
        }
        let message = Message {
            r#type: "FORCE_LOGOUT",
            data: self,
        };
        serde_json::to_string(&message).expect("two strings serialise")
    }
}
