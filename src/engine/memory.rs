//! The default engine: this process's memory. What it accepted is gone with the process.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::sources::{SOURCE_ID_MS, SourceKey, Sources};
use crate::clock::Clock;
use crate::event::{Draft, EventId, SessionChange};
use crate::hub::engine::{Accepted, Answer, Engine, EngineError, Notice, OpenError};
use crate::hub::log::{Log, Record};
use crate::spans;

/// Longest wait for delivery to catch up before a publisher is told to come again.
pub(super) const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

/// An engine that keeps nothing beyond the process.
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

    fn publish_one(&self, draft: Draft) -> EventId {
        let Draft {
            to,
            name,
            data,
            source_id,
            persist,
        } = draft;
        let key = source_id.map(|source_id| SourceKey::new(&to, &source_id));
        let event = Record::Event {
            to,
            name,
            data: data.into(),
            persist,
        };
        let Some(key) = key else {
            return self.append(event);
        };
        let now_ms = self.clock.now_ms();
        // The lock spans the append: of two drafts with one id at once, one is stored.
        let mut sources = self.sources.lock();
        if let Some(id) = sources.find(key, now_ms) {
            return id;
        }
        let id = self.append(event);
        sources.remember(key, id, now_ms + SOURCE_ID_MS);
        id
    }

    fn append(&self, record: Record) -> EventId {
        self.log
            .append(self.clock.unix_ms(), self.clock.now_ms(), record)
    }
}

impl Engine for MemoryEngine {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn open(&self) -> Answer<'_, Result<(), OpenError>> {
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Accepted>> {
        Box::pin(async move {
            let _span = spans::append(drafts.len());
            let mut accepted = Vec::with_capacity(drafts.len());
            for draft in drafts {
                let room = wait_for_room(&self.log, &self.clock).await;
                accepted.push(room.map(|()| self.publish_one(draft)));
            }
            accepted
        })
    }

    fn change_session(&self, change: SessionChange, notice: Notice) -> Answer<'_, Accepted> {
        Box::pin(async move {
            let _span = spans::append(1);
            wait_for_room(&self.log, &self.clock).await?;
            let data = notice.force_logout().into();
            Ok(self.append(Record::Session { change, data }))
        })
    }

    fn ready(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {})
    }
}

/// Waits until the log takes more.
///
/// # Errors
/// [`EngineError::Behind`] where that takes too long.
pub(super) async fn wait_for_room(log: &Log, clock: &Clock) -> Result<(), EngineError> {
    tokio::select! {
        biased;
        () = log.room() => Ok(()),
        () = clock.sleep(ROOM_TIMEOUT) => Err(EngineError::Behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventName, Target};
    use crate::wire::Signal;

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
        let log = Arc::new(Log::new(
            16 << 20,
            Duration::from_secs(600),
            EventId::origin(1),
        ));
        (
            MemoryEngine::new(Arc::clone(&log), clock.clone()),
            log,
            clock,
        )
    }

    async fn publish(engine: &MemoryEngine, draft: Draft) -> Accepted {
        engine.publish(vec![draft]).await.remove(0)
    }

    #[tokio::test]
    async fn a_source_id_is_published_once_in_ten_minutes() {
        let (engine, log, clock) = engine();
        let first = publish(&engine, draft(Some("a"))).await.unwrap();
        let other = publish(&engine, draft(Some("b"))).await.unwrap();
        clock.advance(Duration::from_secs(600));
        assert_eq!(publish(&engine, draft(Some("a"))).await, Ok(first));
        assert_ne!(first, other);
        assert_eq!(log.retained().1, 2);
        clock.advance(Duration::from_secs(1));
        assert_ne!(publish(&engine, draft(Some("a"))).await, Ok(first));
    }

    #[tokio::test]
    async fn a_publisher_far_ahead_of_delivery_is_told_to_wait() {
        let (engine, log, clock) = engine();
        for _ in 0..crate::hub::log::MAX_UNDISPATCHED {
            publish(&engine, draft(None)).await.unwrap();
        }
        let held = tokio::spawn(async move { publish(&engine, draft(None)).await });
        tokio::task::yield_now().await;
        clock.advance(ROOM_TIMEOUT);
        assert_eq!(held.await.unwrap(), Err(EngineError::Behind));
        assert_eq!(
            log.retained().1,
            usize::try_from(crate::hub::log::MAX_UNDISPATCHED).unwrap()
        );
    }

    #[tokio::test]
    async fn an_event_that_is_not_kept_has_no_id() {
        let (engine, log, _) = engine();
        let mut fleeting = draft(None);
        fleeting.persist = false;
        publish(&engine, fleeting).await.unwrap();
        let entry = &log.next_batch(1).await[0];
        assert!(matches!(entry.signal(), Signal::Event(event) if event.id.is_none()));
    }
}
