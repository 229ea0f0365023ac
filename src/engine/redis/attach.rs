//! Compares this node's log with the store's after each connection, and brings both together.

use std::sync::Arc;

use redis::RedisError;

use super::core::{Attached, Core};
use super::entries::{StreamEntry, entries};
use super::link::{Link, Purpose, ServerAddress};
use super::loss::Loss;
use super::placing::{Placing, past_record};
use super::reader::Start;
use super::spread::Spread;
use super::write_back::WriteBack;
use super::{ask, beat, scripts, sessions};
use crate::engine::reconcile::{self, CommonSearch, Included};
use crate::engine::record::Stored;
use crate::event::EventId;
use crate::hub::engine::{PortableShared, Verdict};
use crate::hub::log::Entry;

/// The format of the entries. A change that older versions cannot ignore gets another number.
const FORMAT: &str = "1";
/// Entries that are read at once when the log is filled.
const ENTRIES: usize = 1_000;

/// What a node knows of the store, from one connection to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    epoch: Option<Box<str>>,
    run: Box<str>,
    /// No other process can be running as this node: this one goes on where that one has stopped.
    pub(super) has_name: bool,
    /// What has to be written back. It outlives a connection that fails while that is done.
    owed: Option<WriteBack>,
}

impl Known {
    /// Returns true if the node was attached before.
    pub(super) fn has_log(&self) -> bool {
        self.epoch.is_some()
    }

    /// What another process of this node knew.
    pub(super) fn of(shared: &PortableShared) -> Self {
        Self {
            epoch: Some(shared.epoch.as_str().into()),
            run: shared.run.as_str().into(),
            has_name: true,
            owed: None,
        }
    }

    /// Describes it for another process of this node; `None` if that is not possible: no log was reached yet, or this
    /// process has to write something back. `seen` is the newest entry that was read.
    pub(super) fn describe(
        &mut self,
        seen: EventId,
        places: Vec<String>,
    ) -> Option<PortableShared> {
        WriteBack::settle(&mut self.owed, seen);
        let epoch = self.epoch.as_deref().filter(|_| self.owed.is_none())?;
        Some(PortableShared {
            epoch: epoch.to_owned(),
            run: self.run.to_string(),
            places,
        })
    }
}

/// The connections, and where to read on.
pub(super) struct Ready {
    pub(super) attached: Arc<Attached>,
    pub(super) start: Start,
    /// The server is another process than before, so other nodes may still be attached to the old one.
    pub(super) is_new_server: bool,
}

/// What the store has.
struct Found {
    verdict: Verdict,
    first: EventId,
    newest: EventId,
}

/// Connects to `address` and brings this node's log and the store's together.
pub(super) async fn attach(
    core: &Core,
    address: &ServerAddress,
    known: &mut Known,
) -> Result<Ready, Loss> {
    let open = |purpose| Link::open(address, purpose, &core.settings);
    let (mut ask, mut write, mut read, spread) = tokio::try_join!(
        open(Purpose::Ask),
        open(Purpose::Write),
        open(Purpose::Read),
        Spread::open(address, &core.settings)
    )?;
    let (found, epoch, run) = compare(core, &mut ask, known).await?;
    // A process that has had the name defends it with its beats.
    if !known.has_log() {
        beat::check_name(core, &mut ask).await?;
    }
    for link in [&mut write, &mut read] {
        if !link.is_to(&run).await? {
            return Err(Loss::TwoServers);
        }
    }
    let attached = Attached {
        address: address.clone(),
        epoch,
        run,
        write,
        ask,
        spread,
    };
    // From the first beat on, the other nodes wait for this one: for its answers, and until it has applied session
    // changes. So that comes before it reads what there is, and before it admits anybody.
    let asked = ask::newest(core, &attached).await?;
    beat::begin(core, &attached, known.has_name).await?;
    known.has_name = false;
    WriteBack::settle(&mut known.owed, core.state.seen());
    let placing = bring_together(core, &attached, &found, &mut known.owed).await?;
    if let Some(owed) = &mut known.owed {
        owed.run(core, &attached, found.newest).await?;
    }
    let is_new_server = known.epoch.is_some() && known.run != attached.run;
    known.epoch = Some(attached.epoch.clone());
    known.run = attached.run.clone();
    tracing::info!(
        server = %address,
        verdict = found.verdict.label(),
        newest = %found.newest,
        "attached to the log in Redis"
    );
    core.state.attached(found.verdict);
    core.places.rename();
    Ok(Ready {
        attached: Arc::new(attached),
        start: Start {
            link: read,
            placing,
            asked,
        },
        is_new_server,
    })
}

async fn compare(
    core: &Core,
    ask: &mut Link,
    known: &Known,
) -> Result<(Found, Box<str>, Box<str>), Loss> {
    let seen = core.state.seen();
    let mut call = scripts::ATTACH.prepare_invoke();
    call.key(&core.keys.log).key(&core.keys.meta);
    let fresh = format!("{:016x}", fastrand::u64(..));
    call.arg(FORMAT)
        .arg(fresh)
        .arg(known.epoch.as_deref().unwrap_or_default())
        .arg(seen.ms)
        .arg(seen.seq)
        .arg(core.clock.shift_ms())
        .arg(EventId::origin(1).seq);
    let asked_ms = core.real.unix_ms();
    let answer: Vec<String> = call.invoke_async(ask.connection()).await?;
    let [verdict, epoch, run, first, newest, now, policy] = &*answer else {
        return Err(unexpected("of its length").into());
    };
    let verdict = Verdict::ALL.into_iter().find(|it| it.label() == verdict);
    let now_ms: u64 = now.parse().map_err(|_| unexpected("of its time"))?;
    let store_ms = now_ms.saturating_add_signed(-core.clock.shift_ms());
    core.state.set_time(store_ms, asked_ms);
    if policy.starts_with("allkeys-") {
        tracing::warn!(
            policy = &**policy,
            "Redis may evict the whole log when its memory is used up; set maxmemory-policy to noeviction"
        );
    }
    let found = Found {
        verdict: verdict.ok_or_else(|| unexpected("of its verdict"))?,
        first: first.parse().map_err(|_| unexpected("of its first id"))?,
        newest: newest.parse().map_err(|_| unexpected("of its newest id"))?,
    };
    Ok((found, epoch.as_str().into(), run.as_str().into()))
}

/// Acts on the verdict. Afterwards this node's log is the store's, up to the newest entry that was seen. Adds what the
/// store has lost to `owed`.
async fn bring_together(
    core: &Core,
    attached: &Attached,
    found: &Found,
    owed: &mut Option<WriteBack>,
) -> Result<Placing, RedisError> {
    match found.verdict {
        Verdict::Start => {
            refill(core, attached, found).await?;
            load(core, attached).await
        }
        Verdict::Resume => Ok(Placing::default()),
        Verdict::Trimmed => {
            // What the streams have missed is not known any more. Their clients come back, and are told of a gap
            // where there is one.
            core.tail.restart_before(found.first).await;
            core.state.set_seen(found.first.before());
            // What the store has would replace what this node knows.
            if let Some(owed) = owed {
                owed.run(core, attached, found.newest).await?;
            }
            load(core, attached).await
        }
        Verdict::Forked => {
            let common = newest_common(core, attached).await?;
            let lost = match common {
                Some(common) => {
                    core.state.set_seen(common);
                    core.tail.truncate_after(common)
                }
                None => forget(core, found).await,
            };
            owe(core, found, owed, &lost);
            Ok(Placing::default())
        }
        Verdict::NewLog => {
            let lost = forget(core, found).await;
            owe(core, found, owed, &lost);
            Ok(Placing::default())
        }
    }
}

/// Drops this node's log: the store's has nothing in common with it.
async fn forget(core: &Core, found: &Found) -> Vec<Arc<Entry>> {
    let lost = reconcile::forget(&core.tail, found.first).await;
    core.state.set_seen(found.first.before());
    lost
}

fn owe(core: &Core, found: &Found, owed: &mut Option<WriteBack>, lost: &[Arc<Entry>]) {
    WriteBack::owe(owed, core.number(), reconcile::lost_changes(lost));
    tracing::warn!(
        verdict = found.verdict.label(),
        lost = lost.len(),
        "the log in Redis lacks entries that this node has; clients that have them get replay_gap"
    );
}

/// Loads the standings. They may include changes that are still to be read.
async fn load(core: &Core, attached: &Attached) -> Result<Placing, RedisError> {
    let included = sessions::load(core, attached, core.state.seen()).await?;
    Ok(Placing::new(Included::new(included)))
}

/// Fills this node's log with the store's, up to the newest entry that was there when the node attached. They count
/// as dispatched.
async fn refill(core: &Core, attached: &Attached, found: &Found) -> Result<(), RedisError> {
    let mut link = attached.ask.clone();
    let mut from = "-".to_owned();
    let mut is_first = true;
    loop {
        let some = range(core, &mut link, &from, "+", ENTRIES).await?;
        let Some(last) = some.last().map(|entry| entry.id) else {
            return Ok(());
        };
        for entry in some {
            if is_first {
                // An earlier attempt may have filled a part. An origin is the position of clients that came before
                // the first event. Any other first entry had something before it, which is gone.
                core.tail.reset(if is_origin(&entry) {
                    entry.id
                } else {
                    entry.id.before()
                });
                core.state.set_seen(entry.id.before());
            }
            if entry.id > found.newest {
                return Ok(());
            }
            if !(is_first && is_origin(&entry))
                && let Some(record) = past_record(&entry)
            {
                let age_ms = core.unix_ms().saturating_sub(entry.id.ms);
                let age = std::time::Duration::from_millis(age_ms);
                core.tail.restore(entry.id, age, record);
            }
            is_first = false;
            core.state.set_seen(entry.id);
        }
        from = format!("({last}");
    }
}

/// The newest entry that is retained here and is in the store's log, too.
async fn newest_common(core: &Core, attached: &Attached) -> Result<Option<EventId>, RedisError> {
    let mut link = attached.ask.clone();
    let first = range(core, &mut link, "-", "+", 1).await?;
    let first = first.first().map(|entry| entry.id);
    let mut search = CommonSearch::new(core.tail.log().retained_ids(), first);
    while let Some(id) = search.question() {
        let id = id.to_string();
        let found = range(core, &mut link, &id, &id, 1).await?;
        search.answer(!found.is_empty());
    }
    Ok(search.common())
}

async fn range(
    core: &Core,
    link: &mut Link,
    from: &str,
    to: &str,
    count: usize,
) -> Result<Vec<StreamEntry>, RedisError> {
    let mut command = redis::cmd("XRANGE");
    command.arg(&core.keys.log).arg(from).arg(to);
    command.arg("COUNT").arg(count);
    entries(link.call(&command).await?)
}

fn is_origin(entry: &StreamEntry) -> bool {
    let json = std::str::from_utf8(&entry.value).unwrap_or_default();
    matches!(Stored::from_json(json), Ok(Stored::Origin {}))
}

fn unexpected(of: &'static str) -> RedisError {
    (
        redis::ErrorKind::UnexpectedReturnType,
        "the script's answer is not as expected",
        of.to_owned(),
    )
        .into()
}
