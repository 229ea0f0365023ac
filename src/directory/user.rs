//! One user: name, connections (oldest first), and what is remembered of their sessions.

use compact_str::CompactString;

use super::{ConnectionRef, Limit, NotAdmitted};
use crate::auth::IssuedAt;
use crate::config::OnLimit;

/// See the module's text. With one connection and no session to remember it is all there is.
#[derive(Debug)]
pub(super) struct User {
    name: CompactString,
    connections: Connections,
    standing: Option<Box<Standing>>,
}

// The directory's share of "one user each" on top of the 64-byte slot (docs/decisions.md).
const _: () = assert!(size_of::<User>() == 56);

/// Most users hold one connection; that one stands inline. The rest is boxed twice: a thin pointer
/// keeps the enum at 24 bytes, and few users have it.
#[allow(clippy::box_collection)]
#[derive(Debug)]
enum Connections {
    None,
    One(Connection),
    Many(Box<Vec<Connection>>),
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    session_hash: u64,
    key: u32,
    generation: u32,
    shard: u16,
    /// `session_hash` means something. A `bool`, so that [`Connections`] needs no tag of its own.
    has_session: bool,
}

/// What the last session change said. Kept without connections too: it refuses tokens.
#[derive(Debug)]
struct Standing {
    /// The session that the last change named; after a log-out the one that was logged out.
    current: Option<Box<str>>,
    /// Tokens that name no session are refused when issued until then (Unix milliseconds).
    unnamed_after_ms: u64,
    /// The same for tokens that do name one: a log-out refuses those too. 0 refuses none.
    named_after_ms: u64,
    /// No session is current, because the last change was a log-out.
    logged_out: bool,
}

impl User {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            connections: Connections::None,
            standing: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_offline(&self) -> bool {
        matches!(self.connections, Connections::None)
    }

    pub(super) fn is_forgettable(&self) -> bool {
        self.is_offline() && self.standing.is_none()
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = ConnectionRef> {
        self.slice().iter().map(Connection::at)
    }

    /// Whether a token of `session`, issued at `issued`, is still good.
    pub(super) fn allows(&self, session: Option<&str>, issued: Option<IssuedAt>) -> bool {
        let Some(standing) = &self.standing else {
            return true;
        };
        let issued_after = |moment_ms| issued.is_some_and(|issued| issued.is_after(moment_ms));
        match session {
            None => issued_after(standing.unnamed_after_ms),
            Some(session) => {
                let is_current =
                    standing.logged_out || standing.current.as_deref() == Some(session);
                is_current
                    && (standing.named_after_ms == 0 || issued_after(standing.named_after_ms))
            }
        }
    }

    /// Makes `keep` the only session, or none. A session that was logged out and is named again
    /// does not revive the tokens it had before.
    pub(super) fn change_session(&mut self, keep: Option<&str>, at_unix_ms: u64) {
        let last = self.standing.take();
        let was_logged_out_as = |session: &str| {
            last.as_ref()
                .filter(|last| last.current.as_deref() == Some(session))
                .map_or(0, |last| last.named_after_ms)
        };
        let standing = match keep {
            Some(session) => Standing {
                current: Some(session.into()),
                unnamed_after_ms: at_unix_ms,
                named_after_ms: was_logged_out_as(session),
                logged_out: false,
            },
            None => Standing {
                current: last.and_then(|last| last.current),
                unnamed_after_ms: at_unix_ms,
                named_after_ms: at_unix_ms,
                logged_out: true,
            },
        };
        self.standing = Some(Box::new(standing));
    }

    /// Sees to it that one more connection fits: takes out and returns the oldest, if that is
    /// the policy.
    pub(super) fn make_room(&mut self, limit: Limit) -> Result<Option<ConnectionRef>, NotAdmitted> {
        if self.slice().len() < limit.connections {
            return Ok(None);
        }
        match limit.on_limit {
            OnLimit::Reject => Err(NotAdmitted::Limit),
            OnLimit::EvictOldest => {
                let oldest = self.connections().next();
                if let Some(oldest) = oldest {
                    self.disconnect(oldest);
                }
                Ok(oldest)
            }
        }
    }

    pub(super) fn connect(&mut self, at: ConnectionRef, session_hash: Option<u64>) {
        let connection = Connection {
            session_hash: session_hash.unwrap_or_default(),
            key: at.key,
            generation: at.generation,
            shard: at.shard,
            has_session: session_hash.is_some(),
        };
        match &mut self.connections {
            Connections::None => self.connections = Connections::One(connection),
            Connections::One(first) => {
                self.connections = Connections::Many(Box::new(vec![*first, connection]));
            }
            Connections::Many(all) => all.push(connection),
        }
    }

    /// Takes one connection out; false where it is not there.
    pub(super) fn disconnect(&mut self, at: ConnectionRef) -> bool {
        let before = self.slice().len();
        self.retain(|connection| connection.at() != at);
        self.slice().len() < before
    }

    /// Takes out and returns all connections of another session than `keep`, or of none.
    pub(super) fn disconnect_others(&mut self, keep: Option<u64>) -> Vec<ConnectionRef> {
        let stays = |connection: &Connection| {
            keep.is_some_and(|keep| connection.has_session && connection.session_hash == keep)
        };
        let ended = self
            .slice()
            .iter()
            .filter(|connection| !stays(connection))
            .map(Connection::at)
            .collect();
        self.retain(stays);
        ended
    }

    fn slice(&self) -> &[Connection] {
        match &self.connections {
            Connections::None => &[],
            Connections::One(connection) => std::slice::from_ref(connection),
            Connections::Many(all) => all,
        }
    }

    fn retain(&mut self, mut stays: impl FnMut(&Connection) -> bool) {
        match &mut self.connections {
            Connections::None => {}
            Connections::One(connection) => {
                if !stays(connection) {
                    self.connections = Connections::None;
                }
            }
            Connections::Many(all) => {
                all.retain(stays);
                match all.as_slice() {
                    [] => self.connections = Connections::None,
                    [last] => self.connections = Connections::One(*last),
                    _ => {}
                }
            }
        }
    }
}

impl Connection {
    fn at(&self) -> ConnectionRef {
        ConnectionRef {
            shard: self.shard,
            key: self.key,
            generation: self.generation,
        }
    }
}
