//! The default engine. It keeps events in the log and nowhere else, so they are gone when the process ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::handover;
use super::local_register::LocalRegister;
use super::sequencer::{Sequenced, Sequencer};
use super::sources::Sources;
use super::tail::Tail;
use crate::clock::Clock;
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::engine::{
    Answer, Continued, Engine, EngineError, EngineHealth, EngineState, LocalNode, NotContinued,
    Notice, OpenError, PortableEntry, PortableLog, Register,
};
use crate::hub::log::{Control, DispatchedLog, Entry, Log, Record};
use crate::spans;

/// An engine without a store.
pub(crate) struct MemoryEngine {
    tail: Tail,
    /// Locked during each append, so that the ids in the log rise, and only one of two drafts with the same
    /// source id is appended.
    sequencer: Mutex<Sequencer>,
    register: LocalRegister,
    /// True once another process continues this engine. Changed under the sequencer's lock.
    is_stopped: AtomicBool,
}

impl MemoryEngine {
    /// An engine that appends to `log`.
    pub(crate) fn new(log: Arc<Log>, clock: Clock) -> Self {
        let sequencer = Sequencer::after(log.newest_id(), Sources::default(), clock.clone());
        Self {
            register: LocalRegister::new(clock.clone()),
            tail: Tail::new(log, clock),
            sequencer: Mutex::new(sequencer),
            is_stopped: AtomicBool::new(false),
        }
    }

    fn publish_one(&self, draft: Draft) -> Result<EventId, EngineError> {
        let mut sequencer = self.sequencer()?;
        Ok(match sequencer.event(&draft) {
            Sequenced::Known(id) => id,
            Sequenced::New(id) => {
                self.tail.append(id, draft.into());
                id
            }
        })
    }

    fn sequencer(&self) -> Result<MutexGuard<'_, Sequencer>, EngineError> {
        let sequencer = self.sequencer.lock();
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(EngineError::NotOpen);
        }
        Ok(sequencer)
    }
}

impl Engine for MemoryEngine {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn open(&self, _: Weak<dyn LocalNode>) -> Answer<'_, Result<(), OpenError>> {
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>> {
        Box::pin(async move {
            let _span = spans::append(drafts.len());
            let mut accepted = Vec::with_capacity(drafts.len());
            for draft in drafts {
                let room = self.tail.room().await;
                accepted.push(room.and_then(|()| self.publish_one(draft)));
            }
            accepted
        })
    }

    fn change_session(
        &self,
        change: SessionDraft,
        notice: Notice,
    ) -> Answer<'_, Result<EventId, EngineError>> {
        Box::pin(async move {
            let _span = spans::append(1);
            self.tail.room().await?;
            let mut sequencer = self.sequencer()?;
            let (id, change) = sequencer.session(change);
            let data = notice.force_logout().into();
            self.tail.append(id, Record::Session { change, data });
            Ok(id)
        })
    }

    fn command(&self, control: Control) -> Answer<'_, Result<u64, EngineError>> {
        Box::pin(self.tail.command(control, |control, receipt| {
            let mut sequencer = self.sequencer()?;
            let record = Record::Control { control, receipt };
            self.tail.append(sequencer.next_id(), record);
            Ok(())
        }))
    }

    fn health(&self) -> EngineHealth {
        EngineHealth::Well
    }

    fn unix_ms(&self) -> u64 {
        self.tail.unix_ms()
    }

    fn register(&self) -> &dyn Register {
        &self.register
    }

    fn continued(&self) -> Option<&dyn Continued> {
        Some(self)
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {})
    }
}

impl Continued for MemoryEngine {
    fn describe(&self, entry: &Entry) -> PortableEntry {
        handover::describe(&self.tail, entry)
    }

    fn describe_log(&self, log: &DispatchedLog) -> PortableLog {
        handover::describe_log(log)
    }

    fn describe_retained(&self, entry: &Entry, left_ms: u64) -> PortableEntry {
        handover::describe_retained(&self.tail, entry, left_ms)
    }

    fn stop(&self) -> Answer<'_, Result<EngineState, NotContinued>> {
        Box::pin(async {
            let sequencer = self.sequencer.lock();
            self.is_stopped.store(true, Ordering::Relaxed);
            let (tickets, failures) = self.register.stop();
            Ok(EngineState {
                newest: sequencer.last_id().to_string(),
                sources: sequencer.describe_sources(),
                tickets,
                failures,
                history: None,
                shared: None,
            })
        })
    }

    fn resume(&self) {
        let _sequencer = self.sequencer.lock();
        self.register.resume();
        self.is_stopped.store(false, Ordering::Relaxed);
    }

    fn begin(
        &self,
        log: &PortableLog,
        retained: &mut dyn Iterator<Item = PortableEntry>,
    ) -> Result<(), NotContinued> {
        handover::begin(&self.tail, log, retained)
    }

    fn follow(&self, entry: &PortableEntry) -> Result<(), NotContinued> {
        handover::follow(&self.tail, entry)
    }

    fn go_on_alone(&self, is_in_step: bool) -> Answer<'_, Result<(), NotContinued>> {
        Box::pin(async move {
            let mut sequencer = self.sequencer.lock();
            sequencer.skip_past(self.tail.log().newest_id());
            if !is_in_step {
                let beginning = sequencer.next_id();
                self.tail.append(beginning, Record::Mark);
                self.tail.lose_before(beginning);
            }
            Ok(())
        })
    }

    fn take_over(&self, state: EngineState) -> Answer<'_, Result<(), NotContinued>> {
        Box::pin(async move {
            let mut sequencer = self.sequencer.lock();
            sequencer.skip_to(handover::id(&state.newest)?);
            sequencer.take_over_sources(&state.sources)?;
            self.register.take_over(state.tickets, state.failures);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tail::{COMMAND_TIMEOUT, MAX_COMMANDS, ROOM_TIMEOUT};
    use super::*;
    use crate::event::{EventName, Target, UserId};
    use crate::wire::Signal;

    fn draft(source_id: Option<&str>) -> Draft {
        Draft {
            to: Target::All,
            name: EventName::default(),
            data: "{}".into(),
            source_id: source_id.map(Into::into),
            is_kept: true,
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

    async fn publish(engine: &MemoryEngine, draft: Draft) -> Result<EventId, EngineError> {
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
    async fn a_publisher_far_ahead_of_delivery_is_refused() {
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

    fn disconnect() -> Control {
        Control::Disconnect {
            user: UserId::new("42").unwrap(),
        }
    }

    #[tokio::test]
    async fn a_command_passes_a_log_without_room_and_leaves_nothing_in_it() {
        let (engine, log, _) = engine();
        for _ in 0..crate::hub::log::MAX_UNDISPATCHED {
            publish(&engine, draft(None)).await.unwrap();
        }
        let before = (log.dispatched_cursor(), log.retained().1);
        let dispatcher = async {
            loop {
                for entry in log.next_batch(1_024).await {
                    if let Record::Control { control, receipt } = &entry.record {
                        // After everything that was published before it, and in no replay.
                        assert_eq!(before.1 as u64 + 1, entry.position.0);
                        assert!(*control == disconnect() && entry.is_fleeting());
                        receipt.give(3);
                    }
                    log.mark_dispatched(&entry, 0);
                }
            }
        };
        let ended = tokio::select! {
            ended = engine.command(disconnect()) => ended,
            () = dispatcher => unreachable!(),
        };
        assert_eq!(ended, Ok(3));
        assert_eq!(log.retained().1, before.1);
        // Its id is not the position of any client.
        let after = log.dispatched_cursor();
        assert!(before.0.id < after.id && after.id < log.newest_id());
    }

    #[tokio::test]
    async fn a_command_that_is_not_carried_out_times_out_and_the_number_under_way_is_bounded() {
        let (engine, log, clock) = engine();
        let engine = Arc::new(engine);
        let waiting: Vec<_> = (0..MAX_COMMANDS)
            .map(|_| {
                let engine = Arc::clone(&engine);
                tokio::spawn(async move { engine.command(disconnect()).await })
            })
            .collect();
        while log.head().0 < MAX_COMMANDS as u64 {
            tokio::task::yield_now().await;
        }
        assert_eq!(engine.command(disconnect()).await, Err(EngineError::Behind));
        clock.advance(COMMAND_TIMEOUT);
        for ended in waiting {
            assert_eq!(ended.await.unwrap(), Err(EngineError::Unknown));
        }
        // They are still in the log, and still count.
        assert_eq!(engine.command(disconnect()).await, Err(EngineError::Behind));
    }

    #[tokio::test]
    async fn an_event_that_is_not_kept_has_no_id() {
        let (engine, log, _) = engine();
        let mut fleeting = draft(None);
        fleeting.is_kept = false;
        publish(&engine, fleeting).await.unwrap();
        let entry = &log.next_batch(1).await[0];
        assert!(matches!(entry.signal(), Signal::Event(event) if event.id.is_none()));
    }
}
