//! Admission: admits clients, and holds their places until they are given up or a shard takes them over.

use std::fmt::Display;
use std::sync::Arc;

use super::connection::ConnectionId;
use super::directory::UserHandle;
use super::engine::Promise;
use super::hub::Hub;
use super::inbox::{Command, Ending};
use super::log::{JoinRequest, Joined};
use super::quota::Permit;
use super::rejection::Rejection;
use crate::auth::Identity;
use crate::topic::Topic;

/// A client that asks for a stream. Its request has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer<'a> {
    /// What the client's credential proves.
    pub(crate) identity: &'a Identity,
    /// The topics that the client subscribes to.
    pub(crate) topics: &'a [Topic],
    /// The id of the last event that the client has, as the client sent it.
    pub(crate) last_event_id: Option<&'a str>,
}

/// A client that was admitted.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The client's place.
    pub(crate) place: Place,
    /// The client's position in the log, and what it missed.
    pub(crate) joined: Joined,
}

/// A place under all limits and in the directory. It is given up when dropped, unless a shard has taken it over.
#[derive(Debug)]
#[must_use]
pub(crate) struct Place {
    hub: Arc<Hub>,
    user: UserHandle,
    connection: ConnectionId,
    permits: Option<StreamPermits>,
}

/// The permits that a stream holds.
#[derive(Debug)]
pub(crate) struct StreamPermits {
    /// A permit of the quota of all streams.
    pub(crate) stream: Permit,
    /// A permit of the quota of test streams.
    pub(crate) test_stream: Option<Permit>,
}

impl Hub {
    /// Reserves a place for a client under the limit of all nodes, before the client is admitted. If it is not
    /// admitted, the caller [cancels](Hub::cancel) the reservation. Otherwise the place is held until the connection
    /// [leaves](Hub::leave) or is ended.
    pub(crate) fn reserve(&self, identity: &Identity) -> Promise<'_, Result<(), Rejection>> {
        let limit = self.limits().per_user;
        match self.register().reserve(&identity.user, limit) {
            // With `evict_oldest`, a reservation may end another connection.
            Promise::Later(_) if !self.allows(identity) => Promise::Now(Err(Rejection::Revoked)),
            reserved => reserved,
        }
    }

    /// Waits until this node has read the last event of a client that comes from another node. Otherwise that event
    /// would be unknown here, and the client would be told of a gap.
    pub(crate) fn read_up_to(&self, last_event_id: Option<&str>) -> Promise<'_, ()> {
        match last_event_id.and_then(|id| id.parse().ok()) {
            Some(id) if self.engine.is_shared() => self.engine.read_up_to(id),
            _ => Promise::Now(()),
        }
    }

    /// Returns whether [`Hub::reserve`] would reserve a place now. Reserves nothing.
    pub(crate) fn has_place(&self, identity: &Identity) -> Promise<'_, bool> {
        let limit = self.limits().per_user;
        self.register().has_place(&identity.user, limit)
    }

    /// Gives back a place that was reserved for a client.
    pub(crate) fn cancel(&self, user: &str) {
        self.register().cancel(user);
    }

    /// Gives back the places of connections that have left the directory.
    pub(super) fn release_places(&self, user: &str, places: usize) {
        if places > 0 {
            self.register().release(&user, places);
        }
    }

    /// Removes a connection from the directory, and gives its place back. Returns false if that was done before.
    pub(crate) fn leave(&self, user: UserHandle, connection: ConnectionId) -> bool {
        let release = |name: &dyn Display| self.register().release(name, 1);
        self.directory.remove(user, connection, &release)
    }

    /// Admits a client if the server's limit, the user's session and the user's limit allow it. The client
    /// joins the log in the same step. Older connections may be evicted.
    ///
    /// # Errors
    /// [`Rejection`]; nothing has changed then.
    pub(crate) fn admit(
        self: &Arc<Self>,
        newcomer: Newcomer<'_>,
        connection: ConnectionId,
    ) -> Result<Placed, Rejection> {
        if !self.engine.is_current() {
            return Err(Rejection::Stale);
        }
        let limits = self.limits();
        let stream = self.streams.acquire(limits.connections);
        let stream = stream.ok_or(Rejection::Full)?;
        let Newcomer {
            identity,
            topics,
            last_event_id,
        } = newcomer;
        let join = |settled| {
            self.register().admitted(&identity.user);
            self.log.join(&JoinRequest {
                user: &identity.user,
                session: identity.session.as_deref(),
                topics,
                last_event_id,
                settled,
            })
        };
        let (admitted, joined) =
            self.directory
                .admit(identity, connection, limits.per_user, join)?;
        self.release_places(&identity.user, admitted.evicted.len());
        for oldest in admitted.evicted {
            self.end_evicted(oldest);
        }
        let permits = StreamPermits {
            stream,
            test_stream: None,
        };
        Ok(Placed {
            place: self.place(admitted.user, connection, permits),
            joined,
        })
    }

    /// Admits a test stream, which belongs to no user.
    ///
    /// # Errors
    /// [`Rejection::Full`]
    pub(crate) fn admit_test_stream(
        self: &Arc<Self>,
        connection: ConnectionId,
    ) -> Result<Place, Rejection> {
        let limits = self.limits();
        let stream = self.streams.acquire(limits.connections);
        let test_stream = self.test_streams.acquire(limits.test_streams);
        let permits = StreamPermits {
            stream: stream.ok_or(Rejection::Full)?,
            test_stream: Some(test_stream.ok_or(Rejection::Full)?),
        };
        Ok(self.place(UserHandle::NONE, connection, permits))
    }

    /// Returns whether a client would be admitted now, apart from the limit of all nodes. `None` stands for a test
    /// stream. Reserves nothing.
    ///
    /// # Errors
    /// [`Rejection`]
    pub(crate) fn would_admit(&self, identity: Option<&Identity>) -> Result<(), Rejection> {
        let limits = self.limits();
        if self.streams.used() >= limits.connections as u64 {
            return Err(Rejection::Full);
        }
        match identity {
            Some(_) if !self.engine.is_current() => Err(Rejection::Stale),
            Some(identity) => self.directory.would_admit(identity, limits.per_user),
            None if self.test_streams.used() >= limits.test_streams as u64 => Err(Rejection::Full),
            None => Ok(()),
        }
    }

    /// Returns true if a credential of this identity is still good.
    pub(crate) fn allows(&self, identity: &Identity) -> bool {
        self.directory.allows(identity)
    }

    /// Ends a connection that has left the directory to make room for a newer one.
    pub(super) fn end_evicted(&self, connection: ConnectionId) {
        self.inbox(connection.shard()).push(Command::End {
            connections: vec![connection],
            end: Ending::Evicted,
        });
    }

    pub(super) fn place(
        self: &Arc<Self>,
        user: UserHandle,
        connection: ConnectionId,
        permits: StreamPermits,
    ) -> Place {
        Place {
            hub: Arc::clone(self),
            user,
            connection,
            permits: Some(permits),
        }
    }
}

impl Place {
    /// The user that has the place.
    pub(crate) fn user(&self) -> UserHandle {
        self.user
    }

    /// The connection that has the place.
    pub(crate) fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Hands the place over to a shard, which removes the connection from the directory when it ends.
    pub(crate) fn take(mut self) -> Option<StreamPermits> {
        self.permits.take()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.permits.is_some() && self.user != UserHandle::NONE {
            self.hub.leave(self.user, self.connection);
        }
    }
}
