//! What few connections have, in a box beside the slot: one for the carrier and its stream together,
//! because the slot has room for one pointer, and the box is a cache line.

use std::net::{IpAddr, Ipv6Addr};

use crate::hub::log::Replay;
use crate::shard::audience::Subscription;
use crate::shard::backlog::Backlog;
use crate::shard::wheel::Tick;
use crate::tls::Secrets;

/// The box, where there is one.
#[derive(Debug)]
pub(super) struct Aside(pub(super) Option<Box<Extra>>);

/// What few connections have.
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// The carrier's: what its bytes are sealed with.
    secrets: Option<Secrets>,
    /// The stream's: the topics it gets, by the table's numbers.
    subscriptions: Box<[Subscription]>,
    /// The stream's.
    session: Option<Box<str>>,
    addresses: Option<Box<Addresses>>,
    behind: Option<Box<Behind>>,
}

const _: () = assert!(
    size_of::<Extra>() == 64,
    "what few connections have is one cache line more"
);

/// Addresses of a client behind a proxy, where one of four bytes is not all there is to know.
#[derive(Debug, Default)]
struct Addresses {
    /// The stream's: the client that the request named, where it has an IPv6 address.
    forwarded_v6: Option<Ipv6Addr>,
    /// The carrier's: the client that the PROXY header named, where the request named another.
    named: Option<IpAddr>,
}

/// Why a client is not up to date.
#[derive(Debug, Default)]
struct Behind {
    /// The carrier's: what its socket has not taken yet.
    backlog: Option<Backlog>,
    /// The stream's: what it still has to get of what it missed.
    replay: Option<Replay>,
}

impl Extra {
    /// What a stream begins with; `None` if it needs no box for that.
    #[inline] // as Slot::new
    pub(super) fn new(
        subscriptions: Box<[Subscription]>,
        session: Option<Box<str>>,
        forwarded_v6: Option<Ipv6Addr>,
    ) -> Option<Box<Self>> {
        let is_plain = subscriptions.is_empty() && session.is_none() && forwarded_v6.is_none();
        (!is_plain).then(|| {
            Box::new(Self {
                secrets: None,
                subscriptions,
                session,
                addresses: forwarded_v6.map(|address| {
                    Box::new(Addresses {
                        forwarded_v6: Some(address),
                        named: None,
                    })
                }),
                behind: None,
            })
        })
    }

    fn is_needed(&self) -> bool {
        !self.subscriptions.is_empty()
            || self.session.is_some()
            || self.addresses.is_some()
            || self.secrets.is_some()
            || self.behind.is_some()
    }
}

impl Behind {
    fn is_needed(&self) -> bool {
        self.backlog.is_some() || self.replay.is_some()
    }
}

/// The carrier's.
impl Aside {
    pub(super) fn secrets(&self) -> Option<&Secrets> {
        self.0.as_deref()?.secrets.as_ref()
    }

    pub(super) fn secrets_mut(&mut self) -> Option<&mut Secrets> {
        self.0.as_deref_mut()?.secrets.as_mut()
    }

    pub(super) fn set_secrets(&mut self, secrets: Secrets) {
        self.0.get_or_insert_default().secrets = Some(secrets);
    }

    pub(super) fn into_secrets(self) -> Option<Secrets> {
        self.0?.secrets
    }

    pub(super) fn backlog(&self) -> Option<&Backlog> {
        self.0.as_deref()?.behind.as_deref()?.backlog.as_ref()
    }

    pub(super) fn backlog_mut(&mut self) -> Option<&mut Backlog> {
        self.behind_mut()?.backlog.as_mut()
    }

    pub(super) fn backlog_or_new(&mut self, now: Tick) -> &mut Backlog {
        let behind = self.behind_or_new();
        behind.backlog.get_or_insert_with(|| Backlog::new(now))
    }

    pub(super) fn drop_backlog(&mut self) {
        if let Some(behind) = self.behind_mut() {
            behind.backlog = None;
        }
        self.drop_unneeded();
    }

    pub(super) fn named(&self) -> Option<IpAddr> {
        self.addresses()?.named
    }

    pub(super) fn set_named(&mut self, named: IpAddr) {
        let extra = self.0.get_or_insert_default();
        extra.addresses.get_or_insert_default().named = Some(named);
    }
}

/// The stream's.
impl Aside {
    pub(super) fn subscriptions(&self) -> &[Subscription] {
        self.0.as_deref().map_or(&[], |extra| &extra.subscriptions)
    }

    pub(super) fn subscriptions_mut(&mut self) -> &mut [Subscription] {
        self.0
            .as_deref_mut()
            .map_or(&mut [], |extra| &mut extra.subscriptions)
    }

    pub(super) fn session(&self) -> Option<&str> {
        self.0.as_deref()?.session.as_deref()
    }

    pub(super) fn forwarded_v6(&self) -> Option<Ipv6Addr> {
        self.addresses()?.forwarded_v6
    }

    pub(super) fn replay_mut(&mut self) -> Option<&mut Replay> {
        self.behind_mut()?.replay.as_mut()
    }

    pub(super) fn set_replay(&mut self, replay: Replay) {
        self.behind_or_new().replay = Some(replay);
    }

    pub(super) fn drop_replay(&mut self) {
        if let Some(behind) = self.behind_mut() {
            behind.replay = None;
        }
        self.drop_unneeded();
    }
}

impl Aside {
    fn addresses(&self) -> Option<&Addresses> {
        self.0.as_deref()?.addresses.as_deref()
    }

    fn behind_mut(&mut self) -> Option<&mut Behind> {
        self.0.as_deref_mut()?.behind.as_deref_mut()
    }

    fn behind_or_new(&mut self) -> &mut Behind {
        let extra = self.0.get_or_insert_default();
        extra.behind.get_or_insert_default()
    }

    /// Whether anything is still under way.
    #[cfg(test)]
    pub(super) fn is_behind(&self) -> bool {
        self.0.as_ref().is_some_and(|it| it.behind.is_some())
    }

    fn drop_unneeded(&mut self) {
        if let Some(extra) = &mut self.0
            && extra.behind.as_ref().is_some_and(|it| !it.is_needed())
        {
            extra.behind = None;
        }
        if self.0.as_ref().is_some_and(|extra| !extra.is_needed()) {
            self.0 = None;
        }
    }
}
