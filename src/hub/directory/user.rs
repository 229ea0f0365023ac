//! One user with connections: the name, and the connections, oldest first.

use super::name::Name;
use crate::chunked_slab::SlabPlace;
use crate::config::OnLimit;
use crate::hub::connection::ConnectionId;
use crate::hub::limits::Limit;
use crate::hub::rejection::Rejection;

/// A connected user. A user with one connection needs no other memory.
#[derive(Debug)]
pub(super) struct User {
    name: Name,
    connections: Connections,
}

// The directory's cost per connection, beside the 64-byte slot, if each has its own user (docs/decisions.md).
const _: () = assert!(size_of::<SlabPlace<User>>() == 40);

/// Most users hold one connection, which is stored inline. Several connections are boxed twice: the thin pointer
/// keeps the enum at 24 bytes, and few users need it.
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
    at: ConnectionId,
    /// When it began in an earlier process, in Unix seconds; [`BEGUN_HERE`] for one of this process.
    since_s: u32,
    /// True if `session_hash` is set. Because this is a `bool`, [`Connections`] needs no tag of its own.
    has_session: bool,
}

/// In [`Connection::since_s`]: later than all times. The order of the list is enough for those that began here.
const BEGUN_HERE: u32 = u32::MAX;

impl User {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: Name::new(name),
            connections: Connections::None,
        }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.is(name)
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn name_hash(&self, hasher: &ahash::RandomState) -> u64 {
        self.name.hash(hasher)
    }

    pub(super) fn is_offline(&self) -> bool {
        matches!(self.connections, Connections::None)
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.slice().iter().map(|connection| connection.at)
    }

    /// Returns true if [`User::make_room`] would make room.
    pub(super) fn has_room(&self, limit: Limit) -> bool {
        limit.on_limit == OnLimit::EvictOldest || self.slice().len() < limit.connections
    }

    /// Makes room for one more connection. If the policy is to evict, removes and returns the oldest ones.
    pub(super) fn make_room(&mut self, limit: Limit) -> Result<Vec<ConnectionId>, Rejection> {
        let too_many = (self.slice().len() + 1).saturating_sub(limit.connections);
        match limit.on_limit {
            OnLimit::Reject if too_many > 0 => Err(Rejection::Limit),
            OnLimit::Reject => Ok(Vec::new()),
            OnLimit::EvictOldest => {
                let oldest: Vec<ConnectionId> = self.connections().take(too_many).collect();
                self.retain(|connection| !oldest.contains(&connection.at));
                Ok(oldest)
            }
        }
    }

    pub(super) fn connect(&mut self, at: ConnectionId, session_hash: Option<u64>) {
        let connection = Connection {
            session_hash: session_hash.unwrap_or_default(),
            at,
            since_s: BEGUN_HERE,
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

    /// Adds a connection that began in an earlier process at `since_s`, in Unix seconds. Streams come shard by shard, so
    /// an older one may come later.
    pub(super) fn adopt(&mut self, at: ConnectionId, session_hash: Option<u64>, since_s: u32) {
        self.connect(at, session_hash);
        let all = match &mut self.connections {
            Connections::None => return,
            Connections::One(only) => std::slice::from_mut(only),
            Connections::Many(all) => all.as_mut_slice(),
        };
        if let Some((last, others)) = all.split_last_mut() {
            last.since_s = since_s;
            let place = others.partition_point(|other| other.since_s <= since_s);
            all[place..].rotate_right(1);
        }
    }

    /// Ends what is beyond the limit because of a connection that was adopted. Removes and returns it, or the oldest ones
    /// if the policy is to evict.
    pub(super) fn end_excess(&mut self, adopted: ConnectionId, limit: Limit) -> Vec<ConnectionId> {
        let excess = self.slice().len().saturating_sub(limit.connections);
        let ended: Vec<ConnectionId> = match limit.on_limit {
            OnLimit::Reject => std::iter::once(adopted).take(excess).collect(),
            OnLimit::EvictOldest => self.connections().take(excess).collect(),
        };
        self.retain(|connection| !ended.contains(&connection.at));
        ended
    }

    /// Removes a connection. Returns false if it is not there.
    pub(super) fn disconnect(&mut self, at: ConnectionId) -> bool {
        let mut was_there = false;
        self.retain(|connection| {
            let is_this = connection.at == at;
            was_there |= is_this;
            !is_this
        });
        was_there
    }

    /// Removes and returns all connections that do not belong to the session `keep`.
    pub(super) fn disconnect_others(&mut self, keep: Option<u64>) -> Vec<ConnectionId> {
        let stays = |connection: &Connection| {
            keep.is_some_and(|keep| connection.has_session && connection.session_hash == keep)
        };
        let ended = self
            .slice()
            .iter()
            .filter(|connection| !stays(connection))
            .map(|connection| connection.at)
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
