//! The default engine: this process's memory. What it accepted is gone with the process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{Appending, Engine, EngineError, Notice};
use crate::clock::Clock;
use crate::event::{Draft, EventId, EventName, SessionChange};
use crate::frame::Frame;
use crate::log::{Log, Record};

/// How long a publisher's own id is remembered (API.md, `POST /v1/events`).
const SOURCE_ID_MS: u64 = 10 * 60 * 1_000;
/// Most ids remembered, about 32 MiB of short ones; beyond it the oldest are forgotten early.
const MAX_SOURCE_IDS: usize = 262_144;
/// Longest wait for delivery to catch up before a publisher is told to come again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module's text.
pub struct MemoryEngine {
    log: Arc<Log>,
    clock: Clock,
    sources: Mutex<Sources>,
}

impl MemoryEngine {
    /// An engine that appends to `log`.
    pub fn new(log: Arc<Log>, clock: Clock) -> Self {
        Self {
            log,
            clock,
            sources: Mutex::default(),
        }
    }

    async fn wait_for_room(&self) -> Result<(), EngineError> {
        tokio::select! {
            biased;
            () = self.log.room() => Ok(()),
            () = self.clock.sleep(ROOM_TIMEOUT) => Err(EngineError::Behind),
        }
    }

    fn append(&self, record: impl FnOnce(EventId) -> Record) -> EventId {
        self.log
            .append(self.clock.unix_ms(), self.clock.now_ms(), record)
    }
}

impl Engine for MemoryEngine {
    fn publish(&self, draft: Draft) -> Appending<'_> {
        Box::pin(async move {
            self.wait_for_room().await?;
            let Draft {
                to,
                name,
                data,
                source_id,
                persist,
            } = draft;
            let append = || {
                self.append(|id| Record::Event {
                    to,
                    frame: Frame::event(persist.then_some(id), name.as_str(), &data),
                    persist,
                })
            };
            Ok(match source_id {
                None => append(),
                // The lock spans the append: of two drafts with one id at once, one is stored.
                Some(source_id) => {
                    self.sources
                        .lock()
                        .first(source_id, self.clock.now_ms(), append)
                }
            })
        })
    }

    fn change_session(&self, change: SessionChange, notice: Notice) -> Appending<'_> {
        Box::pin(async move {
            self.wait_for_room().await?;
            let data = notice.force_logout();
            Ok(self.append(|id| Record::Session {
                change,
                frame: Frame::event(Some(id), EventName::default().as_str(), &data),
            }))
        })
    }

    fn ready(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// The publishers' own ids of the last ten minutes.
#[derive(Default)]
struct Sources {
    ids: HashMap<CompactString, EventId, ahash::RandomState>,
    by_age: VecDeque<(u64, CompactString)>,
}

impl Sources {
    fn first(
        &mut self,
        source_id: CompactString,
        now_ms: u64,
        append: impl FnOnce() -> EventId,
    ) -> EventId {
        self.forget(now_ms);
        if let Some(id) = self.ids.get(&source_id) {
            return *id;
        }
        let id = append();
        self.ids.insert(source_id.clone(), id);
        self.by_age.push_back((now_ms, source_id));
        id
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((seen_ms, _)) = self.by_age.front() {
            if now_ms - seen_ms <= SOURCE_ID_MS && self.by_age.len() < MAX_SOURCE_IDS {
                break;
            }
            if let Some((_, source_id)) = self.by_age.pop_front() {
                self.ids.remove(&source_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Target;

    fn draft(source_id: Option<&str>) -> Draft {
        Draft {
            to: Target::All,
            name: EventName::default(),
            data: "{}".into(),
            source_id: source_id.map(Into::into),
            persist: true,
        }
    }

    fn engine() -> (MemoryEngine, Arc<Log>, Clock) {
        let clock = Clock::manual(1_000_000);
        let log = Arc::new(Log::new(16 << 20, Duration::from_secs(600)));
        (
            MemoryEngine::new(Arc::clone(&log), clock.clone()),
            log,
            clock,
        )
    }

    #[tokio::test]
    async fn a_source_id_is_published_once_in_ten_minutes() {
        let (engine, log, clock) = engine();
        let first = engine.publish(draft(Some("a"))).await.unwrap();
        let other = engine.publish(draft(Some("b"))).await.unwrap();
        clock.advance(Duration::from_secs(600));
        assert_eq!(engine.publish(draft(Some("a"))).await, Ok(first));
        assert_ne!(first, other);
        assert_eq!(log.retained().1, 2);
        clock.advance(Duration::from_secs(1));
        assert_ne!(engine.publish(draft(Some("a"))).await, Ok(first));
    }

    #[tokio::test]
    async fn a_publisher_far_ahead_of_delivery_is_told_to_wait() {
        let (engine, log, clock) = engine();
        for _ in 0..crate::log::MAX_UNDISPATCHED {
            engine.publish(draft(None)).await.unwrap();
        }
        let held = tokio::spawn(async move { engine.publish(draft(None)).await });
        tokio::task::yield_now().await;
        clock.advance(ROOM_TIMEOUT);
        assert_eq!(held.await.unwrap(), Err(EngineError::Behind));
        assert_eq!(
            log.retained().1,
            usize::try_from(crate::log::MAX_UNDISPATCHED).unwrap()
        );
    }

    #[tokio::test]
    async fn an_event_that_is_not_kept_has_no_id_line() {
        let (engine, log, _) = engine();
        let mut fleeting = draft(None);
        fleeting.persist = false;
        engine.publish(fleeting).await.unwrap();
        let entry = &log.next_batch(1).await[0];
        let text = entry.record.frame().bytes(crate::frame::Framing::Raw);
        assert!(text.starts_with(b"event: message\n"));
    }
}
