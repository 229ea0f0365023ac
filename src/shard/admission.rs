//! How a stream comes in: a place is reserved everywhere at once, then its socket takes it, or it is
//! given up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use compact_str::CompactString;

use super::inbox::{Command, Ending};
use super::returned::Origin;
use super::slot::{Kind, Tenant};
use super::table::SlotRef;
use super::{Shard, Shared};
use crate::auth::Identity;
use crate::directory::{ConnectionRef, Limit, NotAdmitted, UserHandle};
use crate::event::EventId;
use crate::log::{Gap, Newcomer, Replay};
use crate::metrics::Transport;
use crate::tls::Secrets;
use crate::topic::Topic;
use crate::wire::{Signal, Wire};

/// A stream that asks to be let in.
#[derive(Debug)]
pub struct Admission {
    /// Who it is; `None` for a test stream.
    pub identity: Option<Identity>,
    /// What it asked for, already checked.
    pub topics: Box<[Topic]>,
    /// How it is spoken to.
    pub wire: Wire,
    /// Whether its head promised that the connection goes on after the stream.
    pub keep_alive: bool,
    /// The id of the last event it has, as it says.
    pub last_event_id: Option<Box<str>>,
    /// The client's address, where a trusted proxy told it.
    pub forwarded_for: Option<std::net::IpAddr>,
    /// When its token ends (Unix seconds), where that ends the stream.
    pub expires_at_s: Option<u64>,
    /// The user's limit.
    pub limit: Limit,
    /// Streams held at once, over all shards.
    pub max_connections: usize,
    /// Test streams at once.
    pub max_test_streams: usize,
}

/// A place that is reserved everywhere but in the table; either [`Shard::join`] takes it or
/// [`Shard::give_up`] returns it.
#[derive(Debug)]
#[must_use]
pub struct Seat {
    tenant: SlotRef,
    user: UserHandle,
    kind: Kind,
    start: Start,
    admission: Admission,
}

/// Where in the log a client starts, and what it has missed; a test stream has none of it.
#[derive(Debug, Default)]
struct Start {
    id: Option<EventId>,
    gap: Option<Gap>,
    replay: Option<Replay>,
}

/// A connection that has left hyper, and rustls.
#[derive(Debug)]
pub struct Detached {
    pub(crate) fd: OwnedFd,
    /// Where it is encrypted.
    pub(crate) secrets: Option<Secrets>,
    /// What came before its first request.
    origin: Origin,
    /// Bytes that came behind its request were thrown away: what comes next may be the rest of a
    /// request, and nobody would know.
    lost_input: bool,
}

impl Detached {
    /// A connection that nothing is under way in.
    pub(crate) fn new(fd: OwnedFd, secrets: Option<Secrets>, lost_input: bool) -> Self {
        Self {
            fd,
            secrets,
            origin: Origin::default(),
            lost_input,
        }
    }

    /// The same, with what came before its first request. Some bytes may have been read and thrown
    /// away since.
    #[must_use]
    pub fn of(mut self, origin: Origin, lost_input: bool) -> Self {
        self.origin = origin;
        self.lost_input |= lost_input;
        self
    }
}

impl From<OwnedFd> for Detached {
    /// A connection without TLS.
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd, None, false)
    }
}

/// A stream that was not let in.
#[derive(Debug)]
pub struct Declined {
    /// Why.
    pub reason: NotSeated,
    /// Whose it would have been.
    pub user: Option<CompactString>,
    /// At the user's limit: to try again with, once there is room.
    pub again: Option<Box<Admission>>,
}

/// Why a stream was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSeated {
    /// The server is going down.
    Draining,
    /// The server holds all it may.
    Full,
    /// The session ended, or the token was issued before it did.
    Revoked,
    /// The user holds all they may.
    Limit,
}

#[cfg(test)]
impl Seat {
    /// Whether the client learns that what it missed is not all retained.
    pub(super) fn has_gap(&self) -> bool {
        self.start.gap.is_some()
    }
}

impl From<NotAdmitted> for NotSeated {
    fn from(reason: NotAdmitted) -> Self {
        match reason {
            NotAdmitted::Revoked => Self::Revoked,
            NotAdmitted::Limit => Self::Limit,
            NotAdmitted::Full => Self::Full,
        }
    }
}

impl Shared {
    /// Whether a stream would be let in now. Reserves nothing.
    ///
    /// # Errors
    /// [`NotSeated`]
    pub fn would_admit(&self, admission: &Admission) -> Result<(), NotSeated> {
        let is_full = |held: u64, most: usize| held >= most as u64;
        if is_full(self.metrics.held.value(), admission.max_connections) {
            return Err(NotSeated::Full);
        }
        let Some(identity) = &admission.identity else {
            let held = self.metrics.test_streams.value();
            return if is_full(held, admission.max_test_streams) {
                Err(NotSeated::Full)
            } else {
                Ok(())
            };
        };
        self.directory
            .would_admit(identity, admission.limit)
            .map_err(NotSeated::from)
    }
}

impl Admission {
    fn declined(self, reason: NotSeated) -> Declined {
        let user = self.identity.as_ref().map(|identity| identity.user.clone());
        let may_try_again = reason == NotSeated::Limit;
        Declined {
            reason,
            user,
            again: may_try_again.then(|| Box::new(self)),
        }
    }
}

impl Shard {
    /// Reserves a place for a stream: in the count of all, under the user's session and limit,
    /// and at a position of the log.
    ///
    /// # Errors
    /// [`Declined`]; nothing is then reserved.
    pub fn admit(&mut self, admission: Admission) -> Result<Seat, Declined> {
        if self.drain.is_some() {
            return Err(admission.declined(NotSeated::Draining));
        }
        self.prepare_heartbeats();
        let Some(tenant) = self.table.vacancy() else {
            return Err(admission.declined(NotSeated::Full));
        };
        let metrics = &self.shared.metrics;
        if !metrics.held.reserve(admission.max_connections as u64) {
            return Err(admission.declined(NotSeated::Full));
        }
        let Some(identity) = &admission.identity else {
            if !metrics
                .test_streams
                .reserve(admission.max_test_streams as u64)
            {
                metrics.held.sub(1);
                return Err(admission.declined(NotSeated::Full));
            }
            return Ok(Seat {
                tenant,
                user: UserHandle::NONE,
                kind: Kind::Test,
                start: Start::default(),
                admission,
            });
        };
        let connection = self.connection(tenant);
        let join = |settled| {
            self.shared.log.join(&Newcomer {
                user: &identity.user,
                session: identity.session.as_deref(),
                topics: &admission.topics,
                last_event_id: admission.last_event_id.as_deref(),
                settled,
            })
        };
        match self
            .shared
            .directory
            .admit(identity, connection, admission.limit, join)
        {
            Ok((admitted, joined)) => {
                for oldest in admitted.evicted {
                    self.evict(oldest);
                }
                Ok(Seat {
                    tenant,
                    user: admitted.user,
                    kind: Kind::Notifications {
                        joined: joined.position,
                    },
                    start: Start {
                        id: Some(joined.id),
                        gap: joined.gap,
                        replay: joined.replay,
                    },
                    admission,
                })
            }
            Err(reason) => {
                metrics.held.sub(1);
                Err(admission.declined(reason.into()))
            }
        }
    }

    /// Puts a socket into its place and writes `head` (status line and header), the first frame,
    /// and what the client missed to it.
    ///
    /// # Errors
    /// What epoll says; the place is then given up.
    pub fn join(&mut self, seat: Seat, detached: Detached, mut head: Vec<u8>) -> io::Result<()> {
        let Detached {
            fd,
            secrets,
            origin,
            lost_input,
        } = detached;
        if let Err(error) = self.poller.add(fd.as_fd(), seat.tenant) {
            self.give_up(seat);
            return Err(error);
        }
        let now = self.now();
        let unix_s = self.shared.clock.unix_ms() / 1_000;
        let admission = seat.admission;
        let tenant = Tenant {
            user: seat.user,
            wire: admission.wire,
            kind: seat.kind,
            expires_at_s: admission.expires_at_s,
            topics: admission.topics,
            session: admission.identity.and_then(|identity| identity.session),
            forwarded_for: admission.forwarded_for,
        };
        let is_test = matches!(seat.kind, Kind::Test);
        let SlotRef { key, .. } = self.table.insert(fd, tenant, now, unix_s);
        if let Some(slot) = self.table.get_mut(key) {
            if let Some(secrets) = secrets {
                slot.set_secrets(secrets);
            }
            if origin.proxy_header {
                slot.set_named(origin.named);
            }
            if admission.keep_alive && !lost_input {
                slot.set_keeps_alive();
            }
        }
        let transport = if is_test {
            Transport::Test
        } else {
            Transport::Sse
        };
        let metrics = self.metrics();
        metrics.connections.at(transport as usize).add(1);
        metrics.connects.at(transport as usize).increment();
        let Start { id, gap, replay } = seat.start;
        if is_test {
            self.write_head(key, &head);
            self.send_test_message(key);
        } else {
            let known = id.filter(|_| gap.is_none());
            let opened = Signal::Opened {
                position: known,
                retry_ms: self.draw_retry_ms(),
            };
            admission.wire.encode(&opened, &mut head);
            self.write_head(key, &head);
        }
        if let (Some(id), Some(gap), Some(last_event_id)) = (id, gap, &admission.last_event_id) {
            self.send_gap(key, id, last_event_id, gap);
        }
        if let Some(replay) = replay {
            self.start_catch_up(key, replay);
        }
        self.arm(key);
        Ok(())
    }

    /// Returns a place that nobody takes.
    #[allow(clippy::needless_pass_by_value)] // a seat is used up once
    pub fn give_up(&mut self, seat: Seat) {
        // It stood in the directory for a moment: what was sent there must not reach the next one.
        self.table.skip_generation();
        let metrics = &self.shared.metrics;
        metrics.held.sub(1);
        match seat.kind {
            Kind::Test => metrics.test_streams.sub(1),
            Kind::Notifications { .. } => {
                let connection = self.connection(seat.tenant);
                self.shared.directory.remove(seat.user, connection);
            }
        }
    }

    fn evict(&self, oldest: ConnectionRef) {
        if let Some(inbox) = self.shared.inboxes.get(usize::from(oldest.shard)) {
            inbox.push(Command::End {
                tenants: vec![SlotRef {
                    key: oldest.key,
                    generation: oldest.generation,
                }],
                end: Ending::Evicted,
            });
        }
    }
}
