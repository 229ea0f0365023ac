//! Passes the node to another process of the server, and takes it over from one.

use std::sync::Weak;

use tokio::sync::oneshot;

use super::attach::Known;
use super::engine::RedisEngine;
use super::run::Order;
use crate::engine::handover;
use crate::hub::engine::{
    Answer, Continued, EngineState, LocalNode, NotContinued, PortableEntry, PortableLog,
    PortableShared,
};
use crate::hub::log::{DispatchedLog, Entry};

impl Continued for RedisEngine {
    fn shared_log(&self) -> Option<&str> {
        Some(&self.core.settings.log_name)
    }

    fn expect_predecessor(&self, node: Weak<dyn LocalNode>) {
        self.core.asking.begin(node);
    }

    fn describe(&self, entry: &Entry) -> PortableEntry {
        handover::describe(&self.core.tail, entry)
    }

    fn describe_log(&self, log: &DispatchedLog) -> PortableLog {
        self.handover.lock().generation = Some(self.core.tail.log().generation());
        let mut log = handover::describe_log(log);
        let attached = self.core.attached.borrow().clone();
        log.shared = attached.map(|attached| PortableShared {
            epoch: attached.epoch.to_string(),
            run: attached.run.to_string(),
            places: self.core.places.valid_names(),
        });
        log
    }

    fn describe_retained(&self, entry: &Entry, left_ms: u64) -> PortableEntry {
        handover::describe_retained(&self.core.tail, entry, left_ms)
    }

    fn stop(&self) -> Answer<'_, Result<EngineState, NotContinued>> {
        Box::pin(async move {
            let refused = |why: &str| NotContinued(why.to_owned());
            let (reply, stopped) = oneshot::channel();
            let orders = self.orders.lock().clone();
            let orders = orders.ok_or_else(|| refused("the engine is closed"))?;
            self.handover.lock().is_stopped = true;
            orders
                .send(Order::Stop(reply))
                .map_err(|_| refused("the engine is closed"))?;
            let shared = stopped.await;
            let shared = shared.map_err(|_| refused("the engine is closed"))?;
            let shared = shared.ok_or_else(|| {
                refused("it has to write back what Redis has lost; try again in a moment")
            })?;
            let log = self.core.tail.log();
            if self.handover.lock().generation != Some(log.generation()) {
                return Err(refused("Redis has lost entries meanwhile; try again"));
            }
            Ok(EngineState {
                newest: log.newest_id().to_string(),
                // These are in Redis.
                tickets: Vec::new(),
                failures: Vec::new(),
                history: None,
                shared: Some(shared),
            })
        })
    }

    fn resume(&self) {
        self.core.places.end_passed_on();
        let is_stopped = std::mem::take(&mut self.handover.lock().is_stopped);
        if is_stopped && let Some(orders) = &*self.orders.lock() {
            // The engine may have been closed.
            let _ = orders.send(Order::Resume);
        }
    }

    fn leave(&self) {
        self.requests.lock().take();
        self.orders.lock().take();
    }

    fn begin(
        &self,
        log: &PortableLog,
        retained: &mut dyn Iterator<Item = PortableEntry>,
    ) -> Result<(), NotContinued> {
        let mut handover = self.handover.lock();
        handover.has_begun = true;
        handover.shared.clone_from(&log.shared);
        drop(handover);
        handover::begin(&self.core.tail, log, retained)
    }

    fn follow(&self, entry: &PortableEntry) -> Result<(), NotContinued> {
        handover::follow(&self.core.tail, entry)
    }

    fn go_on_alone(&self, _is_in_step: bool) -> Answer<'_, Result<(), NotContinued>> {
        Box::pin(async move {
            let (has_begun, shared) = {
                let mut handover = self.handover.lock();
                (handover.has_begun, handover.shared.take())
            };
            match shared {
                Some(shared) => self.continue_after(shared).await,
                None if has_begun => {
                    return Err(NotContinued("it had no connection to Redis".to_owned()));
                }
                // Nothing was handed over.
                None => self.start(Known::default()).await,
            }
            Ok(())
        })
    }

    fn take_over(&self, state: EngineState) -> Answer<'_, Result<(), NotContinued>> {
        Box::pin(async move {
            let shared = state.shared;
            let shared = shared.ok_or_else(|| NotContinued("it shares no log".to_owned()))?;
            self.continue_after(shared).await;
            Ok(())
        })
    }
}
