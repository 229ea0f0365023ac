//! Reads the store's log and appends it to this node's. The store is the queue: what does not fit here yet waits
//! there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::ask;
use super::core::{Attached, Core};
use super::entries::{StreamEntry, entries, streams};
use super::link::{BLOCK, Link};
use super::loss::Loss;
use super::placing::Placing;
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

/// Reads on from `placing`'s last entry and from the question `asked`, over one connection, until it fails.
pub(super) async fn run(
    core: &Arc<Core>,
    attached: &Arc<Attached>,
    mut link: Link,
    mut placing: Placing,
    mut asked: EventId,
) -> Result<Infallible, Loss> {
    let mut beat = EventId::default();
    let mut heard_ms = core.real.now_ms();
    let mut count = MIN_COUNT;
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

        let last = core.state.seen();
        let command = read(core, [last, beat, asked], count);
        let response = if is_behind {
            read_on(core, &mut link, &command, last).await?
        } else {
            link.call(&command).await?
        };
        is_behind = false;
        let read_ms = core.real.now_ms();
        let mut has_entries = false;
        for (stream, entries) in streams(response)? {
            if stream == core.keys.beat.as_bytes() {
                if let Some(newest) = entries.last() {
                    beat = newest.id;
                    heard_ms = read_ms;
                    core.state.contact();
                }
                continue;
            }
            if stream == core.keys.ask.as_bytes() {
                for question in &entries {
                    asked = question.id;
                    ask::answer(core, attached, question);
                }
                continue;
            }
            has_entries |= !entries.is_empty();
            is_behind |= entries.len() >= count;
            count = next_count(&entries);
            for entry in entries {
                placing.place(core, attached, &entry)?;
            }
        }
        let silent_ms = core.real.now_ms().saturating_sub(heard_ms);
        if silent_ms > millis(MAX_SILENCE) {
            return Err(Loss::Silent(MAX_SILENCE.as_secs()));
        }
        // Each read wakes the store and this node, so entries that follow closely are read together.
        if has_entries && !core.settings.linger.is_zero() {
            core.real.sleep(core.settings.linger).await;
        }
    }
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

fn read(core: &Core, [last, beat, asked]: [EventId; 3], count: usize) -> Cmd {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(count);
    command.arg("BLOCK").arg(millis(BLOCK));
    command
        .arg("STREAMS")
        .arg(&core.keys.log)
        .arg(&core.keys.beat)
        .arg(&core.keys.ask);
    for id in [last, beat, asked] {
        command.arg(id.to_string());
    }
    command
}

/// Sends a read, and makes sure that nothing after `last` was trimmed before: then the log begins there, or earlier.
async fn read_on(
    core: &Core,
    link: &mut Link,
    command: &Cmd,
    last: EventId,
) -> Result<Value, Loss> {
    let mut both = redis::pipe();
    both.add_command(command.clone());
    both.cmd("XRANGE")
        .arg(&core.keys.log)
        .arg(&["-", "+", "COUNT", "1"]);
    let (response, first): (Value, Value) = both.query_async(link.connection()).await?;
    let first = entries(first)?.first().map(|entry| entry.id);
    // A node that has just begun anew is right before the first entry.
    if first.is_some_and(|first| first <= last || first.before() == last) {
        return Ok(response);
    }
    Err(Loss::Trimmed)
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
