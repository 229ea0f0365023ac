//! Reserves places under the limit of all nodes.

use std::sync::Arc;

use super::elsewhere;
use super::places::{PATIENCE, PlaceAnswer};
use crate::config::OnLimit;
use crate::engine::redis::core::Core;
use crate::engine::redis::nodes;
use crate::event::UserId;
use crate::hub::engine::Located;
use crate::hub::{Limit, Rejection};

/// Connections that are ended for one newcomer. More are needed only if others come at the same time, or after the limit
/// was lowered.
const MAX_EVICTIONS: usize = 8;

/// Reserves a place for one more connection of `user`. If the store is away or slow, this node's own limit decides,
/// which the directory checks.
///
/// # Errors
/// [`Rejection::Limit`]
pub(super) async fn reserve(core: &Core, user: &Arc<str>, limit: Limit) -> Result<(), Rejection> {
    for _ in 0..MAX_EVICTIONS {
        match reserve_once(core, user, limit).await {
            Err(Rejection::Limit) if limit.on_limit == OnLimit::EvictOldest => {
                evict_oldest(core, user).await;
            }
            outcome => return outcome,
        }
    }
    reserve_once(core, user, limit).await
}

async fn reserve_once(core: &Core, user: &Arc<str>, limit: Limit) -> Result<(), Rejection> {
    let Some(answer) = core.places.ask(user, limit) else {
        return Ok(());
    };
    tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(PlaceAnswer::Granted(place)) => {
                place.take();
                Ok(())
            }
            Ok(PlaceAnswer::Full) => Err(Rejection::Limit),
            // The store is away or refuses.
            Err(_) => {
                core.places.decide_here(user);
                Ok(())
            }
        },
        () = core.real.sleep(PATIENCE) => {
            core.places.decide_here(user);
            Ok(())
        }
    }
}

/// Ends the oldest connection of a user to any node.
async fn evict_oldest(core: &Core, user: &str) {
    let (Some(node), Ok(user)) = (core.asking.node(), UserId::new(user)) else {
        return;
    };
    let (here, elsewhere) = tokio::join!(
        node.describe(&user),
        elsewhere::describe(core, user.clone())
    );
    let here = here.into_iter().map(|description| Located {
        node: None,
        description,
    });
    let all = here.chain(elsewhere.found);
    let Some(oldest) = all.min_by_key(|one| one.description.age_order()) else {
        return;
    };
    let connection = oldest.description.connection;
    match oldest.node {
        None => {
            node.evict(&user, connection);
        }
        Some(name) => elsewhere::evict(core, &name, &user, connection).await,
    }
}

/// Returns whether [`reserve`] would reserve a place now.
pub(super) async fn has_place(core: &Core, user: &str, limit: Limit) -> bool {
    if limit.on_limit == OnLimit::EvictOldest {
        return true;
    }
    let here = core.held(user);
    let elsewhere = held_elsewhere(core, user);
    let elsewhere = core.real.within(PATIENCE, elsewhere).await.flatten();
    if elsewhere.is_none() {
        core.places.count_decided_here();
    }
    here + elsewhere.unwrap_or(0) < limit.connections
}

/// The user's connections to other live nodes; `None` if the store does not tell.
async fn held_elsewhere(core: &Core, user: &str) -> Option<usize> {
    let attached = core.attached.borrow().clone()?;
    let mut ask = redis::cmd("HGETALL");
    ask.arg(core.keys.user(user));
    let counts: Vec<(String, usize)> = attached.spread.call(&ask).await.ok()?;
    let own = core.places.name();
    let valid = nodes::valid_places(core, &attached).await.ok()?;
    let others = counts
        .iter()
        .filter(|(name, _)| *name != own && valid.contains(name));
    Some(others.map(|(_, count)| count).sum())
}
