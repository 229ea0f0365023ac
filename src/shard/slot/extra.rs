//! The state that few connections have, in a box beside the slot. Carrier and stream share one box, because
//! the slot has room for only one pointer. For a client with TLS and nothing else, it points to the keys themselves.

use std::net::{IpAddr, Ipv6Addr};

use super::inbound::Inbound;
use crate::hub::log::Replay;
use crate::shard::audience::Subscription;
use crate::shard::backlog::Backlog;
use crate::shard::wheel::Tick;
use crate::sys::{Either, EitherBox};
use crate::tls::{Secrets, SecretsMut, SecretsRef, TrafficKeys};

/// The box, if there is one.
#[derive(Debug)]
pub(super) struct Aside(EitherBox<Extra, ShortKeys>);

/// The keys of the usual cipher, which take one cache line.
type ShortKeys = TrafficKeys<16>;

/// The state that few connections have. A client with a session or topics needs a cache line in all.
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// Of the carrier: the secrets that its bytes are sealed with.
    secrets: Option<Secrets>,
    names: Option<Box<Names>>,
    rare: Option<Box<Rare>>,
}

const _: () = assert!(size_of::<Extra>() == 32 && size_of::<Names>() == 32);

/// What a stream is for. Lasts as long as the stream.
#[derive(Debug, Default)]
struct Names {
    /// Its topics, by their numbers in the table.
    subscriptions: Box<[Subscription]>,
    session: Option<Box<str>>,
}

/// What hardly any connection has.
#[derive(Debug, Default)]
struct Rare {
    addresses: Option<Box<Addresses>>,
    pending: Option<Box<Pending>>,
}

/// Addresses of a client behind a proxy that do not fit into the four bytes of the slot.
#[derive(Debug, Default)]
struct Addresses {
    /// Of the stream: the client that the request named, if it has an IPv6 address.
    forwarded_v6: Option<Ipv6Addr>,
    /// Of the carrier: the client that the PROXY header named, if the request named another.
    named: Option<IpAddr>,
}

/// What waits, in either direction.
#[derive(Debug, Default)]
struct Pending {
    /// Of the carrier: bytes that its socket has not taken yet.
    backlog: Option<Backlog>,
    /// Of the carrier: the state of a WebSocket client's reader.
    inbound: Option<Inbound>,
    /// Of the stream: the rest of its replay.
    replay: Option<Replay>,
}

impl Extra {
    /// Returns the box that a stream needs at its beginning, if it needs one.
    #[inline] // as Slot::new
    pub(super) fn new(
        subscriptions: Box<[Subscription]>,
        session: Option<Box<str>>,
        forwarded_v6: Option<Ipv6Addr>,
    ) -> Option<Box<Self>> {
        let is_nameless = subscriptions.is_empty() && session.is_none();
        if is_nameless && forwarded_v6.is_none() {
            return None;
        }
        let names = (!is_nameless).then(|| {
            Box::new(Names {
                subscriptions,
                session,
            })
        });
        let rare = forwarded_v6.map(|address| {
            let addresses = Addresses {
                forwarded_v6: Some(address),
                named: None,
            };
            Box::new(Rare {
                addresses: Some(Box::new(addresses)),
                pending: None,
            })
        });
        Some(Box::new(Self {
            secrets: None,
            names,
            rare,
        }))
    }
}

impl Rare {
    fn is_needed(&self) -> bool {
        self.addresses.is_some() || self.pending.is_some()
    }
}

impl Pending {
    fn is_needed(&self) -> bool {
        self.backlog.is_some() || self.inbound.is_some() || self.replay.is_some()
    }
}

/// For the carrier.
impl Aside {
    pub(super) fn secrets(&self) -> Option<SecretsRef<'_>> {
        match self.0.get()? {
            Either::First(extra) => extra.secrets.as_ref().map(Secrets::as_ref),
            Either::Second(keys) => Some(SecretsRef::Aes128(keys)),
        }
    }

    pub(super) fn secrets_mut(&mut self) -> Option<SecretsMut<'_>> {
        match self.0.get_mut()? {
            Either::First(extra) => extra.secrets.as_mut().map(Secrets::as_mut),
            Either::Second(keys) => Some(SecretsMut::Aes128(keys)),
        }
    }

    pub(super) fn set_secrets(&mut self, secrets: Secrets) {
        match secrets {
            Secrets::Aes128(keys) if self.0.is_none() => self.0 = EitherBox::second(keys),
            secrets => self.extra_or_new().secrets = Some(secrets),
        }
    }

    pub(super) fn into_secrets(mut self) -> Option<Secrets> {
        match self.0.take()? {
            Either::First(extra) => extra.secrets,
            Either::Second(keys) => Some(Secrets::Aes128(keys)),
        }
    }

    pub(super) fn backlog(&self) -> Option<&Backlog> {
        self.pending()?.backlog.as_ref()
    }

    pub(super) fn backlog_mut(&mut self) -> Option<&mut Backlog> {
        self.pending_mut()?.backlog.as_mut()
    }

    pub(super) fn backlog_or_new(&mut self, now: Tick) -> &mut Backlog {
        let pending = self.pending_or_new();
        pending.backlog.get_or_insert_with(|| Backlog::new(now))
    }

    pub(super) fn drop_backlog(&mut self) {
        if let Some(pending) = self.pending_mut() {
            pending.backlog = None;
        }
        self.drop_unneeded();
    }

    /// Takes the state of the reader out, to be put back.
    pub(super) fn take_inbound(&mut self) -> Inbound {
        let pending = self.pending_mut();
        let inbound = pending.and_then(|pending| pending.inbound.take());
        inbound.unwrap_or_default()
    }

    /// Puts the state of the reader back, if there is one.
    pub(super) fn put_inbound(&mut self, inbound: Option<Inbound>) {
        if inbound.is_some() {
            self.pending_or_new().inbound = inbound;
        } else {
            self.drop_unneeded();
        }
    }

    pub(super) fn inbound(&self) -> Option<&Inbound> {
        self.pending()?.inbound.as_ref()
    }

    pub(super) fn named(&self) -> Option<IpAddr> {
        self.addresses()?.named
    }

    pub(super) fn set_named(&mut self, named: IpAddr) {
        let addresses = &mut self.rare_or_new().addresses;
        addresses.get_or_insert_default().named = Some(named);
    }
}

/// For the stream.
impl Aside {
    #[inline]
    pub(super) fn subscriptions(&self) -> &[Subscription] {
        self.names().map_or(&[], |names| &names.subscriptions)
    }

    pub(super) fn subscriptions_mut(&mut self) -> &mut [Subscription] {
        let names = self
            .extra_mut()
            .and_then(|extra| extra.names.as_deref_mut());
        names.map_or(&mut [], |names| &mut names.subscriptions)
    }

    pub(super) fn session(&self) -> Option<&str> {
        self.names()?.session.as_deref()
    }

    pub(super) fn forwarded_v6(&self) -> Option<Ipv6Addr> {
        self.addresses()?.forwarded_v6
    }

    pub(super) fn replay_mut(&mut self) -> Option<&mut Replay> {
        self.pending_mut()?.replay.as_mut()
    }

    pub(super) fn set_replay(&mut self, replay: Replay) {
        self.pending_or_new().replay = Some(replay);
    }

    pub(super) fn drop_replay(&mut self) {
        if let Some(pending) = self.pending_mut() {
            pending.replay = None;
        }
        self.drop_unneeded();
    }
}

impl Aside {
    pub(super) fn new(extra: Option<Box<Extra>>) -> Self {
        Self(extra.map_or(EitherBox::NONE, EitherBox::first))
    }

    /// Returns true if there is no box.
    #[cfg(test)]
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    fn extra(&self) -> Option<&Extra> {
        match self.0.get()? {
            Either::First(extra) => Some(extra),
            Either::Second(_) => None,
        }
    }

    fn extra_or_new(&mut self) -> &mut Extra {
        self.0.make_first(|keys| {
            Box::new(Extra {
                secrets: keys.map(Secrets::Aes128),
                ..Extra::default()
            })
        })
    }

    fn extra_mut(&mut self) -> Option<&mut Extra> {
        match self.0.get_mut()? {
            Either::First(extra) => Some(extra),
            Either::Second(_) => None,
        }
    }

    #[inline]
    fn names(&self) -> Option<&Names> {
        self.extra()?.names.as_deref()
    }

    fn addresses(&self) -> Option<&Addresses> {
        self.extra()?.rare.as_deref()?.addresses.as_deref()
    }

    fn pending(&self) -> Option<&Pending> {
        self.extra()?.rare.as_deref()?.pending.as_deref()
    }

    fn pending_mut(&mut self) -> Option<&mut Pending> {
        let rare = self.extra_mut()?.rare.as_deref_mut()?;
        rare.pending.as_deref_mut()
    }

    fn rare_or_new(&mut self) -> &mut Rare {
        self.extra_or_new().rare.get_or_insert_default()
    }

    fn pending_or_new(&mut self) -> &mut Pending {
        self.rare_or_new().pending.get_or_insert_default()
    }

    /// Returns true if anything is still under way to the client.
    #[cfg(test)]
    pub(super) fn is_behind(&self) -> bool {
        self.pending()
            .is_some_and(|it| it.backlog.is_some() || it.replay.is_some())
    }

    /// Drops what is empty, down to the keys alone.
    fn drop_unneeded(&mut self) {
        let Some(extra) = self.extra_mut() else {
            return;
        };
        if let Some(rare) = &mut extra.rare {
            if rare.pending.as_ref().is_some_and(|it| !it.is_needed()) {
                rare.pending = None;
            }
            if !rare.is_needed() {
                extra.rare = None;
            }
        }
        if extra.names.is_some() || extra.rare.is_some() {
            return;
        }
        match extra.secrets.take() {
            None => self.0 = EitherBox::NONE,
            Some(Secrets::Aes128(keys)) => self.0 = EitherBox::second(keys),
            long => extra.secrets = long,
        }
    }
}
