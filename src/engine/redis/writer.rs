//! Appends to the store: all requests that wait leave in one numbered group. If a response is lost, the same number
//! is asked for again, so each group is appended once.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use redis::RedisError;
use tokio::sync::mpsc;

use super::core::{Attached, Core};
use super::loss::Loss;
use super::request::AppendRequest;
use super::scripts;
use crate::clock::{Clock, millis};
use crate::engine::sources::SOURCE_ID_MS;
use crate::event::EventId;
use crate::hub::engine::EngineError;
use crate::quiet::Quiet;

/// Longest time until a publisher gets an answer. Then the outcome of what was sent counts as unknown.
pub(super) const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Most requests of one group, and most bytes, except for a single larger request. The script takes some
/// milliseconds for that much, and meanwhile the store does nothing else.
const MAX_REQUESTS: usize = 1_024;
const MAX_BYTES: usize = 1 << 20;

/// A store that refuses may be asked a thousand times a second, so not each refusal is a line of the log. A process has
/// one store.
static LINES: LazyLock<(Clock, Quiet)> =
    LazyLock::new(|| (Clock::system(), Quiet::new(Duration::from_secs(10))));

/// How long one `WAIT` blocks the connection.
const WAIT_SLICE: Duration = Duration::from_millis(500);

/// The requests that wait, and the group that was sent but not answered. It outlives connections.
pub(super) struct Queue {
    requests: mpsc::UnboundedReceiver<AppendRequest>,
    /// A request that did not fit into the group before.
    next: Option<AppendRequest>,
    group: Option<Group>,
}

struct Group {
    number: u64,
    requests: Vec<AppendRequest>,
    /// When its publishers have all got an answer, on the machine's clock.
    expires_ms: u64,
}

impl Queue {
    /// What the sender's side hands over is bounded by the shares of the requests.
    pub(super) fn new(requests: mpsc::UnboundedReceiver<AppendRequest>) -> Self {
        Self {
            requests,
            next: None,
            group: None,
        }
    }

    /// Waits for requests, and takes as many as fit into one group.
    async fn fill(&mut self, core: &Core) -> Option<()> {
        let first = match self.next.take() {
            Some(request) => request,
            None => self.requests.recv().await?,
        };
        let mut bytes = first.bytes();
        let mut requests = vec![first];
        while requests.len() < MAX_REQUESTS
            && let Ok(request) = self.requests.try_recv()
        {
            bytes += request.bytes();
            if bytes > MAX_BYTES {
                self.next = Some(request);
                break;
            }
            requests.push(request);
        }
        requests.retain(|request| request.fate.send());
        if !requests.is_empty() {
            self.group = Some(Group {
                number: core.number(),
                requests,
                expires_ms: core.real.now_ms() + millis(PUBLISH_TIMEOUT),
            });
        }
        Some(())
    }
}

/// Appends groups over one connection until it fails. The group that was not answered stays in the queue.
pub(super) async fn run(
    core: &Core,
    attached: &Attached,
    queue: &mut Queue,
) -> Result<Infallible, Loss> {
    loop {
        while queue.group.is_none() {
            if queue.fill(core).await.is_none() {
                // The engine was closed, and all requests are answered.
                core.drained.notify_one();
                std::future::pending::<()>().await;
            }
        }
        let Some(group) = &queue.group else { continue };
        let answer = append(core, attached, group).await;
        let answer = match answer {
            Ok(ids) => Ok(ids),
            Err(error) => Err(refused(&error).ok_or(error)?),
        };
        if let Some(group) = queue.group.take() {
            answer_all(core, group, answer);
        }
    }
}

fn answer_all(core: &Core, group: Group, answer: Result<Option<Vec<EventId>>, EngineError>) {
    let mut ids = match answer {
        Ok(Some(ids)) => ids.into_iter(),
        Ok(None) => {
            core.state.count_unknown();
            return fail_all(group, EngineError::Unknown);
        }
        Err(error) => return fail_all(group, error),
    };
    for request in group.requests {
        let own: Vec<EventId> = ids.by_ref().take(request.entries.len()).collect();
        // A caller that has left needs no answer, here and below.
        let _ = request.reply.send(Ok(own));
    }
}

fn fail_all(group: Group, error: EngineError) {
    for request in group.requests {
        let _ = request.reply.send(Err(error));
    }
}

/// Appends a group. `None` if its outcome was not known in time; then it is appended now or never.
async fn append(
    core: &Core,
    attached: &Attached,
    group: &Group,
) -> Result<Option<Vec<EventId>>, RedisError> {
    let is_late = core.real.now_ms() >= group.expires_ms;
    let mut link = attached.write.clone();
    let keys = &core.keys;
    let mut call = scripts::PUBLISH.prepare_invoke();
    call.key(&keys.log)
        .key(&keys.meta)
        .key(keys.writer(&core.writer));
    call.arg(&*attached.epoch)
        .arg(group.number)
        .arg(core.clock.shift_ms())
        .arg(millis(core.settings.keep))
        .arg(SOURCE_ID_MS);
    // Lua counts from 1, and three keys come before the publishers' ids.
    let mut key_count = 3;
    if !is_late {
        for entry in group.requests.iter().flat_map(|request| &request.entries) {
            let index = match entry.source {
                Some(source) => {
                    call.key(keys.source(source));
                    key_count += 1;
                    key_count
                }
                None => 0,
            };
            call.arg(index).arg(&entry.json);
        }
    }
    let ids: String = call.invoke_async(link.connection()).await?;
    if is_late || !wait_for_replicas(core, attached, group.expires_ms).await? {
        return Ok(None);
    }
    let ids: Option<Vec<EventId>> = ids.split(' ').map(|id| id.parse().ok()).collect();
    let expected = group.requests.iter().map(|request| request.entries.len());
    ids.filter(|ids| ids.len() == expected.sum::<usize>())
        .map(Some)
        .ok_or_else(|| (redis::ErrorKind::Parse, "no ids of the group").into())
}

/// Waits until `engine.replicas` replicas have what the connection wrote. Returns false at `expires_ms`.
pub(super) async fn wait_for_replicas(
    core: &Core,
    attached: &Attached,
    expires_ms: u64,
) -> Result<bool, RedisError> {
    let enough = core.settings.replicas;
    if enough == 0 {
        return Ok(true);
    }
    let mut link = attached.write.clone();
    loop {
        let mut wait = redis::cmd("WAIT");
        wait.arg(enough).arg(millis(WAIT_SLICE));
        let reached: u32 = link.call(&wait).await?;
        if reached >= enough {
            return Ok(true);
        }
        if core.real.now_ms() >= expires_ms {
            return Ok(false);
        }
    }
}

/// The reason if the server refused to write, but is otherwise as before. Nothing was written then.
pub(super) fn refused(error: &RedisError) -> Option<EngineError> {
    let refusal = match error.code()? {
        "OOM" => EngineError::StoreFull,
        "MISCONF" | "NOREPLICAS" | "NOPERM" => EngineError::StoreRefused,
        _ => return None,
    };
    let (clock, lines) = &*LINES;
    if let Some(suppressed) = lines.suppressed(clock.now_ms()) {
        tracing::warn!(%error, suppressed, "Redis refused to write");
    }
    Some(refusal)
}
