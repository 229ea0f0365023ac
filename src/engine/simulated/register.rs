//! What must be one for all nodes: places, tickets and login failures. With `evict_oldest`, each node evicts its own.
//! Nodes cannot ask each other, so each knows only its own connections.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::link::LinkLost;
use super::node::Node;
use super::store::SimulatedState;
use crate::auth::failures::FailureKey;
use crate::auth::{Identity, Issued};
use crate::config::OnLimit;
use crate::event::Position;
use crate::hub::engine::{EngineError, Promise, Register};
use crate::hub::{Limit, Rejection};

/// How long the store may take to answer. Then the node's own limit decides.
const PATIENCE: Duration = Duration::from_millis(250);

/// The register of several nodes.
pub(super) struct SimulatedRegister {
    node: Arc<Node>,
    /// This node's places by user. The store has a copy.
    places: Mutex<HashMap<String, usize>>,
}

/// A place of a reservation that is under way: it is given back if whoever asked leaves.
struct HeldPlace<'a>(&'a SimulatedRegister, &'a str);

impl Drop for HeldPlace<'_> {
    fn drop(&mut self) {
        self.0.release(&self.1, 1);
    }
}

impl SimulatedRegister {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            places: Mutex::default(),
        }
    }

    /// Tells the store all places again: it may have lost them, or have missed some.
    pub(super) fn restate(&self) {
        let (name, places) = (&self.node.name, self.places.lock().clone());
        self.node.link.write_now(|state| {
            for held in state.places.values_mut() {
                held.remove(name);
            }
            for (user, held) in places {
                put(state, &user, name, held);
            }
        });
    }

    fn take(&self, user: &str) -> usize {
        let mut places = self.places.lock();
        let held = places.entry(user.to_owned()).or_default();
        *held += 1;
        *held
    }

    /// Changes something in the store, which answers soon or not at all.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut SimulatedState) -> T + Send + 'static,
    ) -> Result<T, LinkLost> {
        let node = &self.node;
        let run = node.attached.borrow().ok_or(LinkLost::Cut)?;
        let written = node.link.write(Some(run), change);
        let written = node.clock.within(PATIENCE, written).await;
        written.unwrap_or(Err(LinkLost::Silent))
    }
}

/// Notes how many places of a user a node holds.
fn put(state: &mut SimulatedState, user: &str, node: &str, held: usize) {
    let by_node = state.places.entry(user.to_owned()).or_default();
    match held {
        0 => by_node.remove(node),
        held => by_node.insert(node.to_owned(), held),
    };
    if by_node.is_empty() {
        state.places.remove(user);
    }
}

/// The user's places on other nodes that are alive.
fn elsewhere(state: &SimulatedState, user: &str, node: &str, unix_ms: u64) -> usize {
    let by_node = state.places.get(user).into_iter().flatten();
    by_node
        .filter(|(other, _)| *other != node && state.members.is_live(other, unix_ms))
        .map(|(_, held)| held)
        .sum()
}

/// An answer of the application is compared with positions in this node's log. Another node has others, so there the
/// answer counts as older than all changes.
fn carried(mut identity: Identity, from: &str, to: &str) -> Identity {
    if from != to
        && let Some(Issued::Answer(asked)) = &mut identity.issued
    {
        *asked = Position(0);
    }
    identity
}

impl Register for SimulatedRegister {
    fn reserve(&self, user: &str, limit: Limit) -> Promise<'_, Result<(), Rejection>> {
        let user = user.to_owned();
        Promise::Later(Box::pin(async move {
            let held = self.take(&user);
            let place = HeldPlace(self, &user);
            let (name, asked) = (self.node.name.clone(), user.clone());
            let unix_ms = self.node.clock.unix_ms();
            let reserved = self.write(move |state| {
                let others = elsewhere(state, &asked, &name, unix_ms);
                let fits = held + others <= limit.connections;
                if fits || limit.on_limit == OnLimit::EvictOldest {
                    put(state, &asked, &name, held);
                    return true;
                }
                false
            });
            if reserved.await == Ok(false) {
                return Err(Rejection::Limit);
            }
            std::mem::forget(place);
            Ok(())
        }))
    }

    fn has_place(&self, user: &str, limit: Limit) -> Promise<'_, bool> {
        let user = user.to_owned();
        Promise::Later(Box::pin(async move {
            let held = self.places.lock().get(&user).copied().unwrap_or_default();
            let (name, unix_ms) = (self.node.name.clone(), self.node.clock.unix_ms());
            let others = self.write(move |state| elsewhere(state, &user, &name, unix_ms));
            let others = others.await.unwrap_or_default();
            limit.on_limit == OnLimit::EvictOldest || held + others < limit.connections
        }))
    }

    /// A place counts from its reservation on.
    fn admitted(&self, _: &str) {}

    fn cancel(&self, user: &str) {
        self.release(&user, 1);
    }

    fn release(&self, user: &dyn fmt::Display, places: usize) {
        let user = user.to_string();
        let mut all = self.places.lock();
        let held = all.entry(user.clone()).or_default();
        *held = held.saturating_sub(places);
        let left = *held;
        if left == 0 {
            all.remove(&user);
        }
        // The next beat tells it if the link is not whole.
        let name = &self.node.name;
        self.node
            .link
            .write_now(|state| put(state, &user, name, left));
    }

    fn issue_ticket(
        &self,
        identity: Identity,
        ttl: Duration,
    ) -> Promise<'_, Result<String, EngineError>> {
        let name = self.node.name.clone();
        Promise::Later(Box::pin(async move {
            let issued = self.write(move |state| {
                let ticket = state.tickets.issue(identity, ttl);
                state.ticket_nodes.insert(ticket.clone(), name);
                ticket
            });
            issued.await.map_err(|_| EngineError::Away)
        }))
    }

    fn redeem_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        let (ticket, name) = (ticket.to_owned(), self.node.name.clone());
        Promise::Later(Box::pin(async move {
            let redeemed = self.write(move |state| {
                let from = state.ticket_nodes.remove(&ticket).unwrap_or_default();
                let identity = state.tickets.redeem(&ticket)?;
                Some(carried(identity, &from, &name))
            });
            redeemed.await.map_err(|_| EngineError::Away)
        }))
    }

    fn look_at_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        let (ticket, name) = (ticket.to_owned(), self.node.name.clone());
        Promise::Later(Box::pin(async move {
            let seen = self.write(move |state| {
                let from = state.ticket_nodes.get(&ticket)?.clone();
                let identity = state.tickets.look(&ticket)?;
                Some(carried(identity, &from, &name))
            });
            seen.await.map_err(|_| EngineError::Away)
        }))
    }

    fn begin_login(&self, keys: &[FailureKey]) -> Promise<'_, Result<bool, EngineError>> {
        let keys = keys.to_vec();
        Promise::Later(Box::pin(async move {
            let begun = self.write(move |state| state.failures.begin(&keys));
            begun.await.map_err(|_| EngineError::Away)
        }))
    }

    fn forgive_login(&self, keys: &[FailureKey]) -> Promise<'_, ()> {
        let keys = keys.to_vec();
        Promise::Later(Box::pin(async move {
            // A failure that stays counts for a minute.
            let _ = self
                .write(move |state| keys.iter().for_each(|key| state.failures.forget(*key)))
                .await;
        }))
    }

    fn sweep(&self) {
        self.node.link.write_now(|state| state.tickets.sweep());
    }
}
