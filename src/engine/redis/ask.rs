//! Nodes ask each other about their users. Questions are in a stream beside the log, which every node reads together
//! with the log, so they take no connection of their own.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use serde::de::DeserializeOwned;

use super::answers::{self, Gathered};
use super::core::{Attached, Core};
use super::entries::{StreamEntry, entries};
use super::questions::{Question, StoredDescription, StoredQuestion, user};
use super::{nodes, scripts};
use crate::clock::millis;
use crate::event::EventId;
use crate::hub::ConnectionId;
use crate::hub::engine::{Elsewhere, LocalNode};

/// Questions that the store keeps. All nodes read one within milliseconds, except for a node that is far behind.
const KEPT_QUESTIONS: usize = 256;
/// Longest time that an answer takes: as long as a node asks for.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(3);

/// Asks the other nodes, and waits for all their answers, for the first that `is_enough`, or for `patience`. Returns
/// the answers with the nodes' names.
pub(super) async fn ask<T: DeserializeOwned>(
    core: &Core,
    question: Question,
    patience: Duration,
    is_enough: impl Fn(&T) -> bool,
) -> Elsewhere<Vec<(String, T)>> {
    let deadline_ms = core.real.now_ms() + millis(patience);
    let nobody = || Elsewhere {
        found: Vec::new(),
        silent: core.state.others(&core.settings.node),
    };
    let Some(_share) = core.real.within(patience, core.asking.share()).await else {
        return nobody();
    };
    let Some(attached) = core.attached_by(deadline_ms).await else {
        return nobody();
    };
    let number = core.number();
    let asked = core.real.within(patience, async {
        let others = others(core, &attached).await?;
        if !others.is_empty() {
            let until_ms = core.store_unix_ms() + millis(patience);
            put(core, &attached, number, until_ms, question).await?;
        }
        Ok::<_, RedisError>(others)
    });
    let Some(Ok(others)) = asked.await else {
        return nobody();
    };
    if others.is_empty() {
        return Elsewhere::default();
    }
    let key = core.keys.answers(&core.writer, number);
    let read = |json: &String| serde_json::from_str::<T>(json).ok();
    let is_enough = |answers: &[(String, String)]| {
        let mut answers = answers.iter().filter_map(|(_, json)| read(json));
        answers.any(|answer| is_enough(&answer))
    };
    let Gathered { answers, missing } =
        answers::gather::<String>(core, &key, &others, deadline_ms, is_enough).await;
    let mut all = Elsewhere {
        found: Vec::new(),
        silent: missing.unwrap_or(others),
    };
    for (node, json) in answers {
        match read(&json) {
            Some(answer) => all.found.push((node, answer)),
            // A later version answers in another way.
            None => all.silent.push(node),
        }
    }
    all
}

/// The names of the other live nodes.
async fn others(core: &Core, attached: &Attached) -> Result<Vec<String>, RedisError> {
    let live = nodes::live(core, attached).await?;
    let names = live.into_iter().map(|node| node.name);
    Ok(names.filter(|name| *name != core.settings.node).collect())
}

async fn put(
    core: &Core,
    attached: &Attached,
    number: u64,
    until_ms: u64,
    ask: Question,
) -> Result<(), RedisError> {
    let question = StoredQuestion {
        by: core.writer.clone(),
        number,
        until_ms,
        ask,
    };
    let mut call = scripts::ASK.prepare_invoke();
    call.key(&core.keys.ask)
        .arg(KEPT_QUESTIONS)
        .arg(question.to_json());
    call.invoke_async(attached.ask.clone().connection()).await
}

/// The id of the newest question: this node answers those after it.
pub(super) async fn newest(core: &Core, attached: &Attached) -> Result<EventId, RedisError> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(&core.keys.ask).arg("+").arg("-");
    command.arg("COUNT").arg(1);
    let newest = entries(attached.ask.clone().call(&command).await?)?;
    Ok(newest
        .first()
        .map_or_else(EventId::default, |entry| entry.id))
}

/// Answers a question of another node, unless too many are being answered. Does not wait for it.
pub(super) fn answer(core: &Arc<Core>, attached: &Arc<Attached>, entry: &StreamEntry) {
    let Some(question) = StoredQuestion::from_json(&entry.value) else {
        tracing::debug!(id = %entry.id, "a question of another node is not understood");
        return;
    };
    let left_ms = question.until_ms.saturating_sub(core.store_unix_ms());
    if question.by == core.writer || left_ms == 0 {
        return;
    }
    let Some((node, share)) = core.asking.answerer() else {
        tracing::debug!("too many questions of other nodes at once");
        return;
    };
    let (core, attached) = (Arc::clone(core), Arc::clone(attached));
    tokio::spawn(async move {
        let left = Duration::from_millis(left_ms).min(MAX_ANSWER_TIME);
        let answered = core
            .real
            .within(left, answer_of(&core, &*node, question.ask))
            .await;
        drop(node);
        if let Some(Some(json)) = answered {
            let key = core.keys.answers(&question.by, question.number);
            answers::answer(&core, &attached, &key, json).await;
        }
        drop(share);
    });
}

/// The answer as JSON. `None` if the question names no user, or a change that this node does not know.
async fn answer_of(core: &Core, node: &dyn LocalNode, question: Question) -> Option<String> {
    let json = match question {
        Question::Describe(name) => {
            let descriptions = node.describe(&user(&name)?).await;
            let stored = descriptions.into_iter().map(StoredDescription::from);
            serde_json::to_string(&stored.collect::<Vec<_>>())
        }
        Question::Count(names) => {
            let users: Option<Vec<_>> = names.iter().map(|name| user(name)).collect();
            serde_json::to_string(&node.count(&users?))
        }
        Question::Ended(id) => serde_json::to_string(&node.ended_by(id.parse().ok()?)?),
        Question::Evict {
            node: name,
            user: of_user,
            connection,
        } => {
            let is_here = name == core.settings.node;
            let connection = ConnectionId::from_bits(connection);
            let has_ended = is_here && node.evict(&user(&of_user)?, connection);
            core.places.stated().await;
            serde_json::to_string(&has_ended)
        }
        Question::Room(name) => {
            let has_room = node.close_dead(user(&name)?.as_str()).await;
            core.places.stated().await;
            serde_json::to_string(&has_room)
        }
    };
    json.ok()
}
