//! Session changes. A row changes only together with the entry in the log, and only if it is still the one that the
//! change was computed from.

use std::collections::HashMap;
use std::sync::Arc;

use super::link::LinkLost;
use super::node::{Node, RETRY};
use super::place::StorePlace;
use super::rows::{SimulatedRow, logged_out_ms};
use super::store::{FoundStore, SimulatedState};
use crate::engine::reconcile::{Included, LostChange};
use crate::engine::record::Stored;
use crate::event::{EventId, SessionChange, SessionDraft};
use crate::hub::directory::{Rules, Standing};
use crate::hub::engine::EngineError;

/// Begins the tag of a row that was written back and not changed since.
const ADOPTED: &str = "adopted:";

/// The outcome of one attempt.
enum SessionAttempt {
    Stored(StorePlace),
    /// Another change came first.
    Overtaken,
}

/// Stores a change, dated with the store's time.
///
/// # Errors
/// [`EngineError`] after `deadline_ms`.
pub(super) async fn change(
    node: &Node,
    draft: SessionDraft,
    data: String,
    deadline_ms: u64,
) -> Result<EventId, EngineError> {
    let tag = format!("{}:{}", node.writer, node.number());
    // Only an attempt that was sent can have an unknown outcome.
    let mut was_sent = false;
    while let Some(run) = node.attached_by(deadline_ms).await {
        let attempt = attempt(node, run, &draft, &data, &tag, &mut was_sent);
        let outcome = tokio::select! {
            biased;
            outcome = attempt => outcome,
            () = node.clock.sleep_until(deadline_ms) => break,
        };
        match outcome {
            Ok(SessionAttempt::Stored(place)) => return Ok(place.into()),
            Ok(SessionAttempt::Overtaken) => {}
            Err(_) => node.clock.sleep(RETRY).await,
        }
        if node.clock.now_ms() >= deadline_ms {
            break;
        }
    }
    if was_sent {
        node.count_unknown();
        return Err(EngineError::Unknown);
    }
    Err(EngineError::Away)
}

async fn attempt(
    node: &Node,
    run: u64,
    draft: &SessionDraft,
    data: &str,
    tag: &str,
    was_sent: &mut bool,
) -> Result<SessionAttempt, LinkLost> {
    let user = draft.user.as_str().to_owned();
    let (asked, unix_ms) = (user.clone(), node.unix_ms());
    let date = node
        .link
        .write(Some(run), move |state| {
            (state.date(unix_ms), state.rows.get(&asked))
        })
        .await;
    let (at_unix_ms, before) = date?;
    if let Some(row) = &before {
        // The entry of a row that was written back is not in this log, so other nodes may not know the change.
        let names_it = |session| row.standing.names(session) && !row.tag.starts_with(ADOPTED);
        if row.tag == tag || draft.keep.as_deref().is_some_and(names_it) {
            return Ok(SessionAttempt::Stored(row.place));
        }
    }
    let change = SessionChange {
        user: draft.user.clone(),
        keep: draft.keep.clone(),
        at_unix_ms,
    };
    let before = before.map(|row| (row.tag, row.standing));
    let standing = before.as_ref().map(|(_, standing)| standing);
    // The date does not fall, so it covers what came before; an id is no time.
    let standing = Standing::after(&change, 0, standing, node.directory.rules());
    let entry: Arc<str> = Stored::session(&change, data).to_json().into();
    let tag = tag.to_owned();
    *was_sent = true;
    let stored = node.link.write(Some(run), move |state| {
        let row = |place| SimulatedRow {
            place,
            tag,
            standing,
        };
        let before = before.as_ref().map(|(tag, _)| &**tag);
        state.change_session(&user, before, &entry, row)
    });
    Ok(stored
        .await?
        .map_or(SessionAttempt::Overtaken, SessionAttempt::Stored))
}

/// All standings in the store. They include all changes up to the newest entry that was found.
pub(super) async fn rows(node: &Node, run: u64) -> Result<Vec<(String, SimulatedRow)>, LinkLost> {
    node.link.read(run, |state| state.rows.all()).await
}

/// Puts standings into the directory. Returns those that include changes which are still to be read.
pub(super) fn load(node: &Node, rows: Vec<(String, SimulatedRow)>) -> Included {
    let mut included = HashMap::new();
    for (user, row) in rows {
        let settled = node.tail.log().head();
        node.directory
            .restore(&user, row.standing, node.unix_ms(), settled);
        if row.place > node.seen() {
            included.insert(user, row.place.into());
        }
    }
    Included::new(included)
}

/// Writes back what this node remembers, into a store that may have lost it: the leases of the other nodes, so that
/// session changes wait for them; all standings; then the changes that the store lost, so that nodes which have not
/// seen them apply them. Returns the newest place after that.
pub(super) async fn write_back(
    node: &Node,
    found: &FoundStore,
    lost: &[LostChange],
) -> Result<StorePlace, LinkLost> {
    let mut known: Vec<(String, SimulatedRow)> = Vec::new();
    let tag = format!("{}:{}", node.writer, node.number());
    node.directory.standings(|user, standing| {
        let row = SimulatedRow {
            place: found.newest,
            tag: format!("{ADOPTED}{tag}"),
            standing: standing.clone(),
        };
        known.push((user.to_string(), row));
    });
    let lost = lost.to_vec();
    let (peers, until_ms) = (node.peers(), node.member().until_ms);
    let rules = node.directory.rules();
    let written = node.link.write(Some(found.run), move |state| {
        for (name, member) in peers {
            state.members.adopt(&name, &member, until_ms);
        }
        let sequence = state.newest().sequence;
        for (user, mine) in known {
            state.rows.adopt(&user, mine.clone(), sequence);
            let own = lost.iter().filter(|lost| lost.change.user.as_str() == user);
            repeat(state, &user, &mine, own, &tag, rules);
        }
        state.newest()
    });
    written.await
}

/// Appends a user's lost changes again, with their dates. `mine` is what they led to.
fn repeat<'a>(
    state: &mut SimulatedState,
    user: &str,
    mine: &SimulatedRow,
    lost: impl Iterator<Item = &'a LostChange>,
    tag: &str,
    rules: Rules,
) {
    let Some(row) = state.rows.get(user) else {
        return;
    };
    let is_mine = row.standing == mine.standing;
    if is_mine && !row.tag.starts_with(ADOPTED) && state.has(row.place) {
        // Another node has appended them.
        return;
    }
    for (n, LostChange { change, data }) in lost.enumerate() {
        let Some(row) = state.rows.get(user) else {
            return;
        };
        let mut change = change.clone();
        let mut standing = row.standing;
        if !is_mine {
            // A later change of a node that did not know of these has taken their place. It must not bring back what
            // a log-out revoked, so the user is logged out once more.
            if change.keep.is_some() || logged_out_ms(&standing) >= change.at_unix_ms {
                continue;
            }
            change.at_unix_ms = state.date(change.at_unix_ms);
            standing = Standing::after(&change, 0, Some(&standing), rules);
        }
        let entry = Stored::session(&change, data).to_json().into();
        let tag = format!("{tag}:{n}");
        let again = |place| SimulatedRow {
            place,
            tag,
            standing,
        };
        state.change_session(user, Some(&row.tag), &entry, again);
    }
}
