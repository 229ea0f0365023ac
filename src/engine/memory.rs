//! The default engine. It keeps events in the log and nowhere else, so they are gone when the process ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::handover;
use super::local_register::LocalRegister;
use super::sequencer::{Sequenced, Sequencer};
use super::sources::{SOURCE_ID_MS, SourceKey, Sources};
use super::tail::Tail;
use crate::clock::Clock;
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::engine::{
    Answer, Continued, Engine, EngineError, EngineHealth, EngineState, LocalNode, NotContinued,
    Notice, OpenError, PortableEntry, PortableLog, PortableSource, Register,
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
                self.tail.append_silently(id, draft.into());
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

/// Entries that are being appended together. They are dispatched when it is dropped, also if the publisher has left.
struct Group<'a>(&'a MemoryEngine);

impl Group<'_> {
    /// Waits for room for another one.
    async fn room(&self) -> Result<(), EngineError> {
        let tail = &self.0.tail;
        if tail.log().has_room() {
            return Ok(());
        }
        // Room is made by dispatching those that were appended so far.
        tail.dispatch();
        tail.room().await
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.0.tail.dispatch();
    }
}

impl Engine for MemoryEngine {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn open(&self, node: Weak<dyn LocalNode>) -> Answer<'_, Result<(), OpenError>> {
        self.tail.belongs_to(node);
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>> {
        Box::pin(async move {
            let _span = spans::append(drafts.len());
            let group = Group(self);
            let mut accepted = Vec::with_capacity(drafts.len());
            for draft in drafts {
                let room = group.room().await;
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
    fn expect_predecessor(&self, node: Weak<dyn LocalNode>) {
        self.tail.belongs_to(node);
    }

    fn sources(&self, up_to: EventId) -> Vec<PortableSource> {
        // Described without the lock, for which publishers wait.
        let remembered = self.sequencer.lock().remembered_sources();
        let describe = |(key, id, left_ms): (SourceKey, EventId, u64)| PortableSource {
            key: key.to_text(),
            id: id.to_string(),
            left_ms,
        };
        let known = remembered.into_iter().filter(|(_, id, _)| *id <= up_to);
        known.map(describe).collect()
    }

    fn follow_sources(&self, sources: &[PortableSource]) -> Result<(), NotContinued> {
        let mut sequencer = self.sequencer.lock();
        for source in sources {
            sequencer.follow_source(&source.key, handover::id(&source.id)?, source.left_ms);
        }
        Ok(())
    }

    fn describe(&self, entry: &Entry) -> PortableEntry {
        let source = self.sequencer.lock().source_of(entry.id);
        PortableEntry {
            source: source.map(SourceKey::to_text),
            ..handover::describe(&self.tail, entry)
        }
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
        handover::follow(&self.tail, entry)?;
        if let Some(source) = &entry.source {
            let left_ms = SOURCE_ID_MS.saturating_sub(entry.age_ms);
            let mut sequencer = self.sequencer.lock();
            sequencer.follow_source(source, handover::id(&entry.id)?, left_ms);
        }
        Ok(())
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
            self.register.take_over(state.tickets, state.failures);
            Ok(())
        })
    }
}

#[cfg(test)]
#[path = "memory/tests.rs"]
mod tests;
