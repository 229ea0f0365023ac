//! States in the store how many connections each user has on this node, and asks there for places. A number is always
//! the whole number, not a difference, so what is lost or sent twice is mended by the next one.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, RedisError, ScriptInvocation, Value};

use super::pace::Pace;
use super::places::{Batch, PlaceRequest};
use crate::clock::millis;
use crate::config::{LimitScope, OnLimit};
use crate::engine::redis::core::{Attached, Core};
use crate::engine::redis::link::is_refusal;
use crate::engine::redis::loss::Loss;
use crate::engine::redis::{beat, nodes, scripts};
use crate::hub::Limit;
use crate::hub::directory::STRIPES;

/// Most users of one batch. The store takes some milliseconds for that many.
const MAX_BATCH: usize = 1_024;
/// Most users of one call of the script, which takes 0.2 ms for them.
const MAX_CALL: usize = 64;
/// How long the store keeps the numbers of a user; twice as long as [`RENEWAL`] takes for all users, and more.
const KEPT: Duration = Duration::from_secs(600);
/// Time between renewals of one part of the directory. All parts take four minutes.
const RENEWAL: Duration = Duration::from_secs(1);

/// One user's line in a batch.
struct Line {
    user: Arc<str>,
    held: usize,
    requests: Vec<PlaceRequest>,
}

impl Line {
    /// The limit by which the requests are decided.
    fn limit(&self) -> Option<Limit> {
        self.requests.last().map(|request| request.limit)
    }
}

/// States the numbers over one connection until it fails. All users come first: the store may have lost them.
pub(in crate::engine::redis) async fn run(
    core: &Core,
    attached: &Attached,
) -> Result<Infallible, Loss> {
    if core.settings.limit_scope == LimitScope::Node {
        // Without a limit of all nodes, nobody asks for the numbers.
        return std::future::pending().await;
    }
    let places = &core.places;
    // Numbers of a node that the others do not know would be taken for those of a dead one.
    beat::beat(core, attached).await?;
    let _service = places.serve();
    let pace = Pace::new().map_err(Loss::Timer)?;
    let mut all = 0..STRIPES;
    let mut next_renewal_ms = core.real.now_ms();
    let mut renewed = 0;
    let mut names: Vec<Box<str>> = Vec::new();
    loop {
        if names.is_empty() {
            if let Some(stripe) = all.next() {
                names = core.directory.users(stripe);
            } else {
                places.complete();
                let now_ms = core.real.now_ms();
                if now_ms >= next_renewal_ms {
                    next_renewal_ms = now_ms + millis(RENEWAL);
                    names = core.directory.users(renewed);
                    renewed = (renewed + 1) % STRIPES;
                }
            }
        }
        let mut batch = places.take(MAX_BATCH);
        add(&mut batch, &mut names);
        if batch.is_empty() {
            if all.is_empty() {
                tokio::select! {
                    () = places.filled() => {}
                    () = core.real.sleep_until(next_renewal_ms) => {}
                }
            }
            continue;
        }
        let requests = batch.iter().map(|(_, requests)| requests.len()).sum();
        pace.begin(requests).map_err(Loss::Timer)?;
        state(core, attached, batch).await?;
        places.settle();
        pace.rest().await.map_err(Loss::Timer)?;
    }
}

/// Adds users from `names` to a batch that has room. A user is in a batch once: a second line would state the number
/// from before the places that the first one asks for.
fn add(batch: &mut Batch, names: &mut Vec<Box<str>>) {
    let room = MAX_BATCH.saturating_sub(batch.len()).min(names.len());
    if room == 0 {
        return;
    }
    let there: HashSet<Arc<str>> = batch.iter().map(|(user, _)| Arc::clone(user)).collect();
    let more = names.drain(..room).filter(|user| !there.contains(&**user));
    batch.extend(more.map(|user| (user.into(), Vec::new())));
}

/// States the numbers of a batch, and answers its requests.
async fn state(core: &Core, attached: &Attached, batch: Batch) -> Result<(), Loss> {
    let former = core.places.former_names();
    let lines = with_numbers(core, batch);
    let answers = send(core, attached, &lines, &former).await;
    let mut full = Vec::new();
    for (line, answer) in lines.into_iter().zip(answers) {
        match granted(core, attached, answer)? {
            Some((granted, others)) if granted < line.requests.len() => {
                full.push((line, granted, others));
            }
            Some(_) => answer_line(core, line, None),
            None => {}
        }
    }
    if full.is_empty() {
        return Ok(());
    }
    // Nodes that are gone keep their numbers until somebody meets them.
    let valid = nodes::valid_places(core, attached).await?;
    let (mut again, mut gone) = (Vec::new(), BTreeSet::new());
    for (mut line, granted, others) in full {
        let dead: Vec<String> = others
            .into_iter()
            .filter(|name| !valid.contains(name))
            .collect();
        if dead.is_empty() {
            answer_line(core, line, Some(granted));
        } else {
            let rest = line.requests.split_off(granted);
            let user = line.user.clone();
            core.places.answer(&user, line.requests, granted);
            gone.extend(dead);
            again.push((user, rest));
        }
    }
    if again.is_empty() {
        return Ok(());
    }
    let gone: Vec<String> = gone.into_iter().collect();
    let lines = with_numbers(core, again);
    let answers = send(core, attached, &lines, &gone).await;
    for (line, answer) in lines.into_iter().zip(answers) {
        if let Some((granted, _)) = self::granted(core, attached, answer)? {
            answer_line(core, line, Some(granted));
        }
    }
    Ok(())
}

/// Reads each user's number at this moment. What changes from now on is pending again.
fn with_numbers(core: &Core, batch: Batch) -> Vec<Line> {
    let lines = batch.into_iter().map(|(user, requests)| Line {
        held: core.held(&user),
        user,
        requests,
    });
    lines.collect()
}

/// Sends the lines, many in one call. Returns what the store says about each.
async fn send(
    core: &Core,
    attached: &Attached,
    lines: &[Line],
    gone: &[String],
) -> Vec<Result<Value, RedisError>> {
    let name = core.places.name();
    let groups = grouped(lines, attached.spread.max_keys().min(MAX_CALL));
    let calls: Vec<ScriptInvocation<'_>> = groups
        .iter()
        .map(|group| {
            let limit = group.iter().find_map(Line::limit);
            let makes_room = limit.is_some_and(|limit| limit.on_limit == OnLimit::EvictOldest);
            let mut call = scripts::PLACES.prepare_invoke();
            call.arg(&name)
                .arg(millis(KEPT))
                .arg(limit.map_or(0, |limit| limit.connections))
                .arg(u8::from(makes_room))
                .arg(gone.len())
                .arg(gone);
            for line in *group {
                call.key(core.keys.user(&line.user));
                call.arg(line.held).arg(line.held + line.requests.len());
            }
            call
        })
        .collect();
    let answers = attached.spread.run_all(&scripts::PLACES, &calls).await;
    let of_group = |(group, answer): (&[Line], Result<Vec<Value>, RedisError>)| match answer {
        Ok(said) if said.len() == group.len() => said.into_iter().map(Ok).collect(),
        Ok(_) => vec![Err(too_few()); group.len()],
        Err(error) => vec![Err(error); group.len()],
    };
    groups.into_iter().zip(answers).flat_map(of_group).collect()
}

/// Splits the lines into groups of up to `most`, whose requests have the same limit. There is more than one limit only
/// just after the configuration was reloaded.
fn grouped(lines: &[Line], most: usize) -> Vec<&[Line]> {
    let mut groups = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let mut of_group = None;
        let differs = |line: &Line| {
            line.limit()
                .is_some_and(|limit| *of_group.get_or_insert(limit) != limit)
        };
        let end = rest.iter().take(most).position(differs);
        let (group, more) = rest.split_at(end.unwrap_or(rest.len().min(most)));
        groups.push(group);
        rest = more;
    }
    groups
}

fn too_few() -> RedisError {
    let kind = redis::ErrorKind::UnexpectedReturnType;
    (kind, "there are not as many answers as users").into()
}

/// How many places the store has granted, and the names of the other nodes if that is not all. `None` if it could not:
/// then the answer is left to this node.
fn granted(
    core: &Core,
    attached: &Attached,
    answer: Result<Value, RedisError>,
) -> Result<Option<(usize, Vec<String>)>, Loss> {
    match answer {
        Ok(Value::Int(granted)) => Ok(Some((usize::try_from(granted).unwrap_or(0), Vec::new()))),
        Ok(partly) => {
            let said = Vec::<String>::from_redis_value(partly).unwrap_or_default();
            let granted = said.first().and_then(|granted| granted.parse().ok());
            let others = said.into_iter().skip(1).step_by(2).collect();
            Ok(Some((granted.unwrap_or(0), others)))
        }
        // The requests are dropped with the line, and whoever asked decides.
        Err(error) if is_refusal(&error) || attached.spread.is_separate() => {
            if let Some(suppressed) = core.places.quiet().suppressed(core.real.now_ms()) {
                tracing::warn!(
                    %error,
                    suppressed,
                    "Redis does not count connections; each node applies the limit per user by itself"
                );
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Answers the requests of a line: `granted` of them, or all.
fn answer_line(core: &Core, line: Line, granted: Option<usize>) {
    let granted = granted.unwrap_or(line.requests.len());
    core.places.answer(&line.user, line.requests, granted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::engine::redis::register::Places;

    #[test]
    fn requests_with_another_limit_are_in_another_group() {
        let places = Places::new("node-1", Clock::manual(0));
        let _service = places.serve();
        let mut answers = Vec::new();
        let line = |connections: Option<usize>| {
            let user: Arc<str> = "42".into();
            let limit = connections.map(|connections| Limit {
                connections,
                on_limit: OnLimit::Reject,
            });
            // A request whose answer nobody waits for would be dropped.
            answers.push(limit.and_then(|limit| places.ask(&user, limit)));
            let asked = places.take(1).pop();
            let requests = asked.map(|(_, requests)| requests).unwrap_or_default();
            Line {
                user,
                held: 0,
                requests,
            }
        };
        let lines: Vec<Line> = [None, Some(5), None, Some(5), Some(6), None, None, None]
            .map(line)
            .into();
        let lengths = |most| -> Vec<usize> {
            let groups = grouped(&lines, most).into_iter();
            groups.map(<[Line]>::len).collect()
        };
        assert_eq!(lengths(usize::MAX), [4, 4]);
        assert_eq!(lengths(3), [3, 1, 3, 1]);
        assert_eq!(lengths(1), [1; 8]);
        assert!(grouped(&[], 3).is_empty());
    }

    #[test]
    fn a_user_is_in_a_batch_once() {
        let mut batch: Batch = vec![("42".into(), Vec::new())];
        let mut names: Vec<Box<str>> = vec!["41".into(), "42".into(), "43".into()];
        add(&mut batch, &mut names);
        let users: Vec<&str> = batch.iter().map(|(user, _)| &**user).collect();
        assert_eq!(users, ["42", "41", "43"]);
        assert!(names.is_empty());
    }
}
