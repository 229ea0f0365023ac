//! Admits streams. First a place is reserved in all tables but the shard's own. Then a socket takes the
//! place, or the place is given up.

use std::io;

use compact_str::CompactString;

use super::connection::{Connection, Gone};
use super::detached::Detached;
use super::shard::Shard;
use super::slot::{Kind, Opening};
use crate::auth::Identity;
use crate::event::EventId;
use crate::hub::log::{Gap, Replay};
use crate::hub::{Newcomer, Place, Placed, Rejection};
use crate::topic::Topic;
use crate::wire::websocket::CloseCode;
use crate::wire::{Signal, Wire};

/// A request for a stream that was checked but not admitted yet.
#[derive(Debug)]
pub struct Admission {
    /// The identity of the client; `None` for a test stream.
    pub identity: Option<Identity>,
    /// The requested topics, all of them allowed.
    pub topics: Box<[Topic]>,
    /// The encoding of the stream.
    pub wire: Wire,
    /// True if the response head promises to keep the connection open after the stream.
    pub keep_alive: bool,
    /// The id of the last event that the client has received, as the client sent it.
    pub last_event_id: Option<Box<str>>,
    /// The client's address, if a trusted proxy named it.
    pub forwarded_for: Option<std::net::IpAddr>,
    /// The time at which the token expires (Unix seconds), if that ends the stream.
    pub expires_at_s: Option<u64>,
}

/// A place that is reserved everywhere except in the shard's table. [`Shard::join`] takes it;
/// [`Shard::give_up`] returns it.
#[derive(Debug)]
#[must_use]
pub struct Seat {
    place: Place,
    kind: Kind,
    start: Start,
    admission: Admission,
}

/// The position in the log at which a client starts, and the events that it has missed. Empty for a test
/// stream.
#[derive(Debug, Default)]
struct Start {
    id: Option<EventId>,
    gap: Option<Gap>,
    replay: Option<Replay>,
}

/// A stream that was not admitted.
#[derive(Debug)]
pub struct Declined {
    /// The reason.
    pub(crate) reason: Rejection,
    /// The user; `None` for a test stream.
    pub(crate) user: Option<CompactString>,
    /// Only at the user's limit: the request, to be tried again once there is room.
    pub(crate) again: Option<Box<Admission>>,
}

#[cfg(test)]
impl Admission {
    /// The request for a test stream.
    pub(super) fn of_test_stream() -> Self {
        Self {
            identity: None,
            topics: Box::default(),
            wire: Wire::SseChunked,
            keep_alive: true,
            last_event_id: None,
            forwarded_for: None,
            expires_at_s: None,
        }
    }

    /// The request for a stream of this user.
    pub(super) fn of_user(user: &str) -> Self {
        let identity = Identity {
            user: user.into(),
            session: None,
            issued: None,
            expires_at: u64::MAX,
            topics: Box::default(),
        };
        Self {
            identity: Some(identity),
            ..Self::of_test_stream()
        }
    }
}

#[cfg(test)]
impl Seat {
    /// Returns true if the client receives a gap.
    pub(super) fn has_gap(&self) -> bool {
        self.start.gap.is_some()
    }
}

impl Admission {
    /// Declines the request for this reason.
    pub(crate) fn declined(self, reason: Rejection) -> Declined {
        let user = self.identity.as_ref().map(|identity| identity.user.clone());
        let may_try_again = reason == Rejection::Limit;
        Declined {
            reason,
            user,
            again: may_try_again.then(|| Box::new(self)),
        }
    }
}

impl Shard {
    /// Reserves a place for a stream: in the count of all streams, under the user's session and limit,
    /// and at a position of the log.
    ///
    /// # Errors
    /// [`Declined`]. Nothing is reserved then.
    pub fn admit(&mut self, admission: Admission) -> Result<Seat, Declined> {
        let (place, kind, start) = match self.take_place(&admission) {
            Ok(reserved) => reserved,
            Err(reason) => return Err(admission.declined(reason)),
        };
        Ok(Seat {
            place,
            kind,
            start,
            admission,
        })
    }

    fn take_place(&mut self, admission: &Admission) -> Result<(Place, Kind, Start), Rejection> {
        if self.drain.is_some() {
            return Err(Rejection::Draining);
        }
        self.served
            .prepare(&self.connections, || self.deliveries.under_way());
        let connection = self.connections.table.vacancy().ok_or(Rejection::Full)?;
        let hub = &self.connections.shared.hub;
        let Some(identity) = &admission.identity else {
            let place = hub.admit_test_stream(connection)?;
            return Ok((place, Kind::Test, Start::default()));
        };
        let newcomer = Newcomer {
            identity,
            topics: &admission.topics,
            last_event_id: admission.last_event_id.as_deref(),
        };
        let Placed { place, joined } = hub.admit(newcomer, connection)?;
        let kind = Kind::Notifications {
            joined: joined.position,
        };
        let start = Start {
            id: Some(joined.id),
            gap: joined.gap,
            replay: joined.replay,
        };
        Ok((place, kind, start))
    }

    /// Puts a socket into its place. Sends `head` (status line and header fields), the first signal, and
    /// the events that the client has missed.
    ///
    /// # Errors
    /// If epoll does not accept the socket. The place is given up then.
    pub fn join(&mut self, seat: Seat, detached: Detached, head: Vec<u8>) -> io::Result<()> {
        let Seat {
            place,
            kind,
            start,
            admission,
        } = seat;
        let (wire, last_event_id) = (admission.wire, admission.last_event_id);
        let opening = Opening {
            user: place.user(),
            wire,
            kind,
            expires_at_s: admission.expires_at_s,
            topics: admission.topics,
            session: admission.identity.and_then(|identity| identity.session),
            forwarded_for: admission.forwarded_for,
        };
        let retry_ms = self.connections.draw_retry_ms();
        let has_lost_frames = wire.has_closing_handshake() && detached.lost_input;
        let key = self
            .connections
            .insert(place, detached, opening, admission.keep_alive)?;
        if let Kind::Notifications { joined } = kind
            && self.served_position().is_none_or(|served| served < joined)
        {
            self.connections.newcomers.add(key, joined);
        }
        let transport = self.connections.table.at(key).transport();
        let connects = &self.connections.metrics().connects;
        connects.at(transport as usize).increment();
        let connection = Connection::new(&mut self.connections, key);
        let there = match kind {
            Kind::Test => connection
                .send_head(head, None)
                .and_then(Connection::send_test_message),
            Kind::Notifications { .. } => {
                let opened = Signal::Opened {
                    position: start.id.filter(|_| start.gap.is_none()),
                    retry_ms,
                };
                connection.send_head(head, Some(&opened))
            }
        };
        match there {
            // A WebSocket client has to wait for the response before it sends frames (RFC 6455 §4.1).
            Ok(connection) if has_lost_frames => {
                connection.fail(CloseCode::ProtocolError);
            }
            Ok(connection) => connection.begin(start, last_event_id.as_deref()),
            Err(Gone) => {}
        }
        Ok(())
    }

    /// Gives up a place that was reserved but not used.
    pub(crate) fn give_up(&mut self, seat: Seat) {
        self.connections.give_up(seat.place);
    }
}

impl Connection<'_> {
    /// Sends the gap, if there is one, and starts the replay.
    fn begin(mut self, start: Start, last_event_id: Option<&str>) {
        self.arm();
        if let (Some(id), Some(gap), Some(last_event_id)) = (start.id, start.gap, last_event_id) {
            let Ok(connection) = self.send_gap(id, last_event_id, gap) else {
                return;
            };
            self = connection;
        }
        if let Some(replay) = start.replay {
            self.start_catch_up(replay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::shard::model::shared;
    use crate::shard::poller::Poller;

    #[tokio::test]
    async fn a_place_that_is_not_used_is_free_again_and_its_id_is_not_given_twice() {
        let shared = shared(Clock::manual(0), 1);
        let mut shard = Shard::new(0, shared.clone(), Poller::new().unwrap());
        let held = || {
            let mut ids = Vec::new();
            let directory = shared.hub.directory();
            directory.connections("42", |id| ids.push(id));
            (ids, shared.hub.streams().used())
        };
        let seat = shard.admit(Admission::of_user("42")).unwrap();
        let (first, used) = held();
        assert_eq!((first.len(), used), (1, 1));
        shard.give_up(seat);
        assert_eq!(held(), (Vec::new(), 0));

        let seat = shard.admit(Admission::of_user("42")).unwrap();
        let (second, _) = held();
        // epoll does not accept a file.
        let detached = Detached::new(tempfile::tempfile().unwrap().into(), None, false);
        assert!(shard.join(seat, detached, Vec::new()).is_err());
        assert_eq!((held(), shard.len()), ((Vec::new(), 0), 0));

        let _seat = shard.admit(Admission::of_user("42")).unwrap();
        let (third, _) = held();
        assert!(first != second && second != third && first != third);
    }
}
