//! Reads the store's log and appends it to this node's. The store is the queue: what does not fit here yet waits
//! there.
//!
//! It reads from the master at first, and goes over to a replica if one was found. If that cannot be read from, it goes
//! back to the master and reads on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::ask;
use super::core::{Attached, Core};
use super::entries::{StreamEntry, entries, streams};
use super::link::{BLOCK, Link};
use super::loss::Loss;
use super::placing::Placing;
use super::replica::{Replica, Replicas};
use crate::clock::millis;
use crate::event::EventId;

/// Longest silence of the store. Some node's beat passes every second, so a store without beats is stuck, or
/// takes no writes.
const MAX_SILENCE: Duration = Duration::from_secs(3);

/// Bytes that one read should return: enough to catch up quickly, and little enough that neither side holds much.
const READ_BYTES: usize = 1 << 20;
/// A node that reads again within this time keeps up. A read blocks for half of it.
const LATE: Duration = BLOCK.saturating_mul(2);

/// Fewest and most entries of one read.
const MIN_COUNT: usize = 16;
const MAX_COUNT: usize = 1_000;

/// The oldest that the newest beat may be on a replica, so that clients get events as soon as from the master. Beats are
/// a second apart, and arrive at once.
const MAX_LAG: Duration = Duration::from_secs(1);

/// First and longest time on the master after a replica could not be read from. Each attempt with a replica that is always
/// late makes events late for some seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a reader reads on with.
pub(super) struct Start {
    /// The connection to the master.
    pub(super) link: Link,
    /// Places what is read, from its last entry on.
    pub(super) placing: Placing,
    /// The newest question of another node when this one began to be waited for. It answers those after it.
    pub(super) asked: EventId,
}

/// Reads on over one connection after another, until the one to the master fails. Takes a replica when there is one.
pub(super) async fn run(
    core: &Arc<Core>,
    attached: &Arc<Attached>,
    start: Start,
    mut replicas: Replicas,
) -> Result<Infallible, Loss> {
    let mut reader = Reader {
        core,
        attached,
        placing: start.placing,
        asked: start.asked,
        beat: EventId::default(),
        count: MIN_COUNT,
    };
    let mut source = Source::Master(start.link);
    let mut pause = FIRST_PAUSE;
    replicas.want_after(Duration::ZERO);
    loop {
        let began_ms = core.real.now_ms();
        let loss = match reader.read_from(&mut source, &mut replicas).await {
            Ok(replica) => {
                tracing::info!(server = %replica.address, "reading the log from a replica");
                source = Source::Replica(replica);
                continue;
            }
            Err(loss) => loss,
        };
        let Source::Replica(replica) = source else {
            return Err(loss);
        };
        tracing::warn!(
            server = %replica.address,
            error = %loss,
            "a replica cannot be read from; reading from the master"
        );
        source = Source::Master(attached.open_reader(&core.settings).await?);
        if core.real.now_ms() - began_ms > millis(LONGEST_PAUSE) {
            pause = FIRST_PAUSE;
        }
        replicas.want_after(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The server that is read from.
enum Source {
    Master(Link),
    Replica(Replica),
}

impl Source {
    /// Sends commands that read from the log, and returns their responses.
    async fn read(&mut self, commands: Pipeline) -> Result<Vec<Value>, Loss> {
        match self {
            Self::Master(link) => Ok(commands.query_async(link.connection()).await?),
            Self::Replica(replica) => replica.read(commands).await,
        }
    }
}

/// Where the node is in the store's log.
struct Reader<'a> {
    core: &'a Arc<Core>,
    attached: &'a Arc<Attached>,
    placing: Placing,
    asked: EventId,
    beat: EventId,
    /// Entries that the next read takes at most.
    count: usize,
}

impl Reader<'_> {
    /// Reads on over one connection, until it fails or a replica is found for the master.
    async fn read_from(
        &mut self,
        source: &mut Source,
        replicas: &mut Replicas,
    ) -> Result<Replica, Loss> {
        let core = self.core;
        let mut heard_ms = core.real.now_ms();
        // The log may have been trimmed since it was compared, or while this node is behind.
        let mut is_behind = true;
        let mut began_ms = heard_ms;
        loop {
            // Time for which this node is behind is not silence of the store.
            let waited_ms = core.real.now_ms();
            is_behind |= wait_for_room(core).await;
            let waited_until_ms = core.real.now_ms();
            heard_ms += waited_until_ms - waited_ms;
            is_behind |= waited_until_ms - began_ms > millis(LATE);
            began_ms = waited_until_ms;
            if let Source::Master(_) = source
                && let Some(replica) = replicas.take()
            {
                return Ok(replica);
            }

            // A replica may have loaded everything anew since the last read, which takes no time here.
            is_behind |= matches!(source, Source::Replica(_));
            let response = self.read(source, is_behind).await?;
            is_behind = false;
            let taken = self.take(response)?;
            if taken.has_beat {
                heard_ms = core.real.now_ms();
                if let Source::Replica(_) = source {
                    self.check_lag()?;
                }
            }
            is_behind |= taken.is_full;
            let silent_ms = core.real.now_ms().saturating_sub(heard_ms);
            if silent_ms > millis(MAX_SILENCE) {
                return Err(Loss::Silent(MAX_SILENCE.as_secs()));
            }
            // Each read wakes the store and this node, so entries that follow closely are read together.
            if taken.has_entries && !core.settings.linger.is_zero() {
                core.real.sleep(core.settings.linger).await;
            }
        }
    }

    /// Waits for the next entries. With `is_behind`, makes sure that nothing after the last one was trimmed before.
    async fn read(&self, source: &mut Source, is_behind: bool) -> Result<Value, Loss> {
        let keys = &self.core.keys;
        let last = self.core.state.seen();
        let mut commands = Pipeline::new();
        commands.cmd("XREAD");
        commands.arg("COUNT").arg(self.count);
        commands.arg("BLOCK").arg(millis(BLOCK));
        commands
            .arg("STREAMS")
            .arg(&keys.log)
            .arg(&keys.beat)
            .arg(&keys.ask);
        for id in [last, self.beat, self.asked] {
            commands.arg(id.to_string());
        }
        if is_behind {
            commands.cmd("XRANGE");
            commands.arg(&keys.log).arg(&["-", "+", "COUNT", "1"]);
        }
        let mut responses = source.read(commands).await?.into_iter();
        let mut next = || responses.next().unwrap_or(Value::Nil);
        let response = next();
        if !is_behind {
            return Ok(response);
        }
        let first = entries(next())?.first().map(|entry| entry.id);
        // A node that has just begun anew is right before the first entry.
        if first.is_some_and(|first| first <= last || first.before() == last) {
            return Ok(response);
        }
        Err(Loss::Trimmed)
    }

    /// Takes what a read returned.
    fn take(&mut self, response: Value) -> Result<Taken, Loss> {
        let core = self.core;
        let mut taken = Taken::default();
        for (stream, entries) in streams(response)? {
            if stream == core.keys.beat.as_bytes() {
                if let Some(newest) = entries.last() {
                    self.beat = newest.id;
                    taken.has_beat = true;
                    core.state.contact();
                }
                continue;
            }
            if stream == core.keys.ask.as_bytes() {
                for question in &entries {
                    self.asked = question.id;
                    ask::answer(core, self.attached, question);
                }
                continue;
            }
            taken.has_entries |= !entries.is_empty();
            taken.is_full |= entries.len() >= self.count;
            self.count = next_count(&entries);
            for entry in entries {
                self.placing.place(core, self.attached, &entry)?;
            }
        }
        Ok(taken)
    }

    /// Fails if the newest beat is old.
    fn check_lag(&self) -> Result<(), Loss> {
        let lag_ms = self.core.store_unix_ms().saturating_sub(self.beat.ms);
        if lag_ms > millis(MAX_LAG) {
            return Err(Loss::Lagging(lag_ms));
        }
        Ok(())
    }
}

/// What a read brought.
#[derive(Default)]
struct Taken {
    has_entries: bool,
    has_beat: bool,
    /// There may be more already.
    is_full: bool,
}

/// Waits until there is room in this node's log. Returns true if there was none.
async fn wait_for_room(core: &Core) -> bool {
    let log = core.tail.log();
    tokio::select! {
        biased;
        () = log.room() => return false,
        () = std::future::ready(()) => {}
    }
    log.room().await;
    true
}

/// As many entries as make up [`READ_BYTES`], if they are as large as the last ones.
fn next_count(entries: &[StreamEntry]) -> usize {
    let bytes: usize = entries.iter().map(|entry| entry.value.len()).sum();
    let mean = bytes / entries.len().max(1);
    (READ_BYTES / mean.max(1)).clamp(MIN_COUNT, MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_size(bytes: usize, count: usize) -> Vec<StreamEntry> {
        (0..count)
            .map(|_| StreamEntry {
                id: EventId::default(),
                value: vec![b'x'; bytes],
            })
            .collect()
    }

    #[test]
    fn large_entries_are_read_in_small_numbers() {
        assert_eq!(next_count(&of_size(300, 10)), MAX_COUNT);
        assert_eq!(next_count(&of_size(4 * 1_024, 10)), 256);
        assert_eq!(next_count(&of_size(1 << 20, 2)), MIN_COUNT);
        assert_eq!(next_count(&[]), MAX_COUNT);
    }
}
