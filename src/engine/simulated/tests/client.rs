//! A client of the model, and what it has received.

use crate::auth::{Identity, Issued, IssuedAt};
use crate::event::{EventId, Position, Target, UserId};
use crate::hub::log::{Entry, Record, Replay};
use crate::hub::{ConnectionId, Placed};

use super::step::SESSIONS;

pub(super) struct Client {
    pub(super) user: usize,
    pub(super) session: usize,
    /// When its token was issued.
    pub(super) issued_ms: u64,
    /// The newest id that it knows.
    pub(super) last: Option<EventId>,
    /// It has to have everything after this id, or to be told of a gap.
    pub(super) owed: EventId,
    /// The ids that it received since then.
    pub(super) has: Vec<EventId>,
    pub(super) gaps: usize,
    pub(super) stream: Option<ClientStream>,
}

pub(super) struct ClientStream {
    pub(super) node: usize,
    pub(super) connection: ConnectionId,
    /// Later entries are live; `None` during a replay.
    pub(super) joined: Option<Position>,
    pub(super) replay: Option<Replay>,
    /// Gives the place back.
    _place: crate::hub::Place,
}

impl Client {
    pub(super) fn new(user: usize, session: usize, issued_ms: u64) -> Self {
        Self {
            user,
            session,
            issued_ms,
            last: None,
            owed: EventId::default(),
            has: Vec::new(),
            gaps: 0,
            stream: None,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        identity(self.user, self.session, self.issued_ms)
    }

    /// A node has admitted it.
    pub(super) fn join(&mut self, node: usize, placed: Placed) {
        let Placed { place, joined } = placed;
        if joined.gap.is_some() {
            self.gaps += 1;
        } else {
            let is_its_own = self.last.is_none_or(|last| last == joined.id);
            assert!(is_its_own, "{:?} became {}", self.last, joined.id);
        }
        if joined.gap.is_some() || self.last.is_none() {
            self.owed = joined.id;
            self.has.clear();
        }
        self.last = Some(joined.id);
        self.stream = Some(ClientStream {
            node,
            connection: place.connection(),
            joined: joined.replay.is_none().then_some(joined.position),
            replay: joined.replay,
            _place: place,
        });
    }

    /// It gets an entry.
    pub(super) fn receive(&mut self, entry: &Entry) {
        assert!(is_for(entry, self.user), "an event of another user");
        if !entry.is_fleeting() {
            self.advance(entry.id, true);
            self.has.push(entry.id);
        }
    }

    /// It learns of a newer position.
    pub(super) fn advance(&mut self, id: EventId, is_event: bool) {
        let last = self.last.expect("it has joined");
        assert!(
            last < id || !is_event && last == id,
            "the position falls from {last} to {id}"
        );
        self.last = Some(id);
    }

    /// Returns true if it is connected to this node with this connection.
    pub(super) fn is(&self, node: usize, connection: ConnectionId) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|it| it.node == node && it.connection == connection)
    }

    pub(super) fn is_at(&self, node: usize) -> bool {
        self.stream.as_ref().is_some_and(|it| it.node == node)
    }
}

pub(super) fn identity(user: usize, session: usize, issued_ms: u64) -> Identity {
    Identity {
        user: user.to_string().into(),
        session: Some(SESSIONS[session].into()),
        issued: Some(Issued::Token(IssuedAt::from_unix_ms(issued_ms))),
        expires_at: Identity::NO_END,
        topics: Box::default(),
    }
}

pub(super) fn user_id(user: usize) -> UserId {
    UserId::new(&user.to_string()).unwrap()
}

fn is_for(entry: &Entry, user: usize) -> bool {
    match &entry.record {
        Record::Event { to, .. } => match to {
            Target::All => true,
            Target::User(to) => *to == user_id(user),
            _ => false,
        },
        _ => false,
    }
}
