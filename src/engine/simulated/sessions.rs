//! Session changes. A row changes only together with the entry in the log, and only if it is still the one that the
//! change was computed from.

use std::collections::HashMap;
use std::sync::Arc;

use super::link::LinkLost;
use super::node::{Node, RETRY};
use super::place::Place;
use super::rows::SimulatedRow;
use super::store::FoundLog;
use crate::engine::reconcile::Included;
use crate::engine::record::Stored;
use crate::event::{EventId, SessionChange, SessionDraft};
use crate::hub::directory::Standing;
use crate::hub::engine::EngineError;

/// The outcome of one attempt.
enum SessionAttempt {
    Stored(Place),
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
        let names_it = |session| row.standing.names(session);
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

/// Loads all standings into the directory. Returns those that include changes which are still to be read.
pub(super) async fn load(node: &Node, run: u64) -> Result<Included, LinkLost> {
    let rows = node.link.read(run, |state| state.rows.all()).await?;
    let mut included = HashMap::new();
    for (user, row) in rows {
        let settled = node.tail.log().head();
        node.directory
            .restore(&user, row.standing, node.unix_ms(), settled);
        if row.place > node.seen() {
            included.insert(user, row.place.into());
        }
    }
    Ok(Included::new(included))
}

/// Writes back what this node remembers, into a store that may have lost it: the leases of the other nodes, so that
/// session changes wait for them; all standings; then the changes that the store lost, so that nodes which have not
/// seen them apply them.
pub(super) async fn write_back(
    node: &Node,
    found: &FoundLog,
    lost: &[(SessionChange, Box<str>)],
) -> Result<(), LinkLost> {
    let mut known: Vec<(String, SimulatedRow)> = Vec::new();
    let tag = format!("{}:{}", node.writer, node.number());
    node.directory.standings(|user, standing| {
        let row = SimulatedRow {
            place: found.newest,
            tag: tag.clone(),
            standing: standing.clone(),
        };
        known.push((user.to_string(), row));
    });
    let lost: Vec<(SessionChange, Arc<str>)> = lost
        .iter()
        .map(|(change, data)| {
            let entry = Stored::session(change, data).to_json();
            (change.clone(), entry.into())
        })
        .collect();
    let (peers, until_ms) = (node.peers(), node.member().until_ms);
    let written = node.link.write(Some(found.run), move |state| {
        for (name, member) in peers {
            state.members.adopt(&name, &member, until_ms);
        }
        let sequence = state.newest().sequence;
        for (user, row) in known {
            state.rows.adopt(&user, row, sequence);
        }
        for (change, entry) in lost {
            let user = change.user.as_str();
            // Adopted right before. Otherwise another node has changed or written it since.
            let adopted = state.rows.get(user).filter(|row| row.tag == tag);
            if let Some(row) = adopted {
                let again = |place| SimulatedRow { place, ..row };
                state.change_session(user, Some(&tag), &entry, again);
            }
        }
    });
    written.await
}
