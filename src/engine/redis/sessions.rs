//! Session changes. A user's standing in the store changes only together with the entry in the log, and only if it
//! is still the one that the change was computed from.

use std::collections::HashMap;
use std::time::Duration;

use redis::RedisError;

use super::core::{Attached, Core};
use super::scripts;
use super::writer::{refused, wait_for_replicas};
use crate::engine::record::Stored;
use crate::event::{EventId, SessionChange, SessionDraft};
use crate::hub::directory::Standing;
use crate::hub::engine::EngineError;

/// Time until a change whose connection was lost is tried on the next one.
const RETRY: Duration = Duration::from_millis(20);
/// Rows that are read or written at once.
const ROWS: usize = 1_000;

/// A user's standing in the store.
#[derive(Debug)]
pub(super) struct UserRow {
    pub(super) user: String,
    /// The id of the last change's entry.
    id: EventId,
    /// Who made the change, and their number for it; see also [`super::write_back`].
    pub(super) tag: String,
    pub(super) standing: Standing,
    /// As it is stored.
    pub(super) text: String,
}

impl UserRow {
    /// `None` for a row that this version cannot read.
    pub(super) fn parse(user: String, text: String) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        Some(Self {
            user,
            id: parts.next()?.parse().ok()?,
            tag: parts.next()?.to_owned(),
            standing: serde_json::from_str(parts.next()?).ok()?,
            text,
        })
    }
}

/// The outcome of one attempt.
pub(super) enum Attempt {
    Stored(EventId),
    /// Another change came first.
    Overtaken,
}

/// Stores a change, dated with the store's time.
///
/// # Errors
/// [`EngineError`] after `deadline_ms`, or if the store refuses.
pub(super) async fn change(
    core: &Core,
    draft: SessionDraft,
    data: String,
    deadline_ms: u64,
) -> Result<EventId, EngineError> {
    let tag = format!("{}:{}", core.writer, core.number());
    // Only an attempt that was sent can have an unknown outcome.
    let mut was_sent = false;
    while core.real.now_ms() < deadline_ms {
        let Some(attached) = core.attached_by(deadline_ms).await else {
            break;
        };
        let attempt = attempt(core, &attached, &draft, &data, &tag, &mut was_sent);
        match attempt.await {
            Ok(Attempt::Stored(id)) => {
                return match wait_for_replicas(core, &attached, deadline_ms).await {
                    Ok(true) => Ok(id),
                    Ok(false) => break,
                    // The row is found by its tag on the next connection.
                    Err(_) => continue,
                };
            }
            Ok(Attempt::Overtaken) => {}
            Err(error) => {
                if let Some(refused) = refused(&error) {
                    return Err(refused);
                }
                // These connections are given up; the next ones are waited for.
                core.real.sleep(RETRY).await;
            }
        }
    }
    if was_sent {
        core.state.count_unknown();
        return Err(EngineError::Unknown);
    }
    Err(EngineError::Away)
}

async fn attempt(
    core: &Core,
    attached: &Attached,
    draft: &SessionDraft,
    data: &str,
    tag: &str,
    was_sent: &mut bool,
) -> Result<Attempt, RedisError> {
    let user = draft.user.as_str();
    let mut link = attached.write.clone();
    let mut ask = redis::pipe();
    ask.hget(&core.keys.standings, user);
    ask.cmd("TIME");
    ask.cmd("XREVRANGE")
        .arg(&core.keys.log)
        .arg(&["+", "-", "COUNT", "1"]);
    let (row, (seconds, micros), newest): (Option<String>, (u64, u64), redis::Value) =
        ask.query_async(link.connection()).await?;
    let text = row.unwrap_or_default();
    let before = UserRow::parse(user.to_owned(), text.clone());
    if let Some(row) = &before {
        let names_it = draft
            .keep
            .as_deref()
            .is_some_and(|session| row.standing.names(session));
        if row.tag == tag || names_it {
            return Ok(Attempt::Stored(row.id));
        }
    }
    let now_ms = seconds * 1_000 + micros / 1_000;
    let at_unix_ms = now_ms.saturating_add_signed(core.clock.shift_ms());
    let newest = super::entries::entries(newest)?;
    let log_ms = newest.first().map_or(0, |entry| entry.id.ms);
    let change = SessionChange {
        user: draft.user.clone(),
        keep: draft.keep.clone(),
        at_unix_ms,
    };
    let rules = core.directory.rules();
    let standing = before.map(|row| row.standing);
    let standing = Standing::after(&change, log_ms, standing.as_ref(), rules);
    let entry = Stored::session(&change, data).to_json();
    *was_sent = true;
    store(core, attached, user, &text, tag, &standing, &entry).await
}

/// Stores a standing and the entry of its change, if the user's row is still `before`. It gets `tag`.
pub(super) async fn store(
    core: &Core,
    attached: &Attached,
    user: &str,
    before: &str,
    tag: &str,
    standing: &Standing,
    entry: &str,
) -> Result<Attempt, RedisError> {
    let mut call = scripts::SESSION.prepare_invoke();
    call.key(&core.keys.log)
        .key(&core.keys.meta)
        .key(&core.keys.standings);
    call.arg(&*attached.epoch)
        .arg(core.clock.shift_ms())
        .arg(user)
        .arg(before)
        .arg(tag)
        .arg(to_json(standing))
        .arg(entry);
    let mut link = attached.write.clone();
    // 1 and the id, or 0 alone.
    let answer: Vec<String> = call.invoke_async(link.connection()).await?;
    Ok(match answer.get(1) {
        Some(id) => Attempt::Stored(id.parse().map_err(|_| not_an_id())?),
        None => Attempt::Overtaken,
    })
}

/// Some of the standings in the store: about `count` from `cursor` on. Returns where to continue, which is 0 at the
/// end.
pub(super) async fn scan(
    core: &Core,
    attached: &Attached,
    cursor: u64,
    count: usize,
) -> Result<(u64, Vec<UserRow>), RedisError> {
    let mut scan = redis::cmd("HSCAN");
    scan.arg(&core.keys.standings)
        .arg(cursor)
        .arg("COUNT")
        .arg(count);
    let (next, rows): (u64, Vec<(String, String)>) = attached.ask.clone().call(&scan).await?;
    let read = |(user, text): (String, String)| {
        let row = UserRow::parse(user, text);
        if row.is_none() {
            tracing::warn!("a user's standing in Redis cannot be read, and is skipped");
        }
        row
    };
    Ok((next, rows.into_iter().filter_map(read).collect()))
}

/// Loads all standings into the directory. Returns those that include changes after `read`, with the id of the last
/// one.
pub(super) async fn load(
    core: &Core,
    attached: &Attached,
    read: EventId,
) -> Result<HashMap<String, EventId>, RedisError> {
    let mut included = HashMap::new();
    let mut cursor: u64 = 0;
    loop {
        let (next, rows) = scan(core, attached, cursor, ROWS).await?;
        for row in rows {
            let settled = core.tail.log().head();
            core.directory
                .restore(&row.user, row.standing, core.unix_ms(), settled);
            if row.id > read {
                included.insert(row.user, row.id);
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(included);
        }
    }
}

/// The standing as it is stored.
pub(super) fn to_json(standing: &Standing) -> String {
    serde_json::to_string(standing).expect("texts and numbers serialise")
}

fn not_an_id() -> RedisError {
    (redis::ErrorKind::Parse, "not an id").into()
}
