//! Login failures, counted over all nodes.
//!
//! The keys of one attempt are counted in one step, so they share a slot. Redis drops each of them a minute after
//! its last failure. What bounds their number is what bounds the attempts: each one that is counted has its password
//! checked.

use std::sync::Arc;

use redis::Script;

use super::patience;
use crate::auth::failures::{FailureKey, MAX_FAILURES, WINDOW_MS};
use crate::engine::redis::core::Core;
use crate::engine::redis::scripts;
use crate::hub::engine::{EngineError, Promise};

/// The login failures of all nodes.
pub(super) struct SharedFailures {
    core: Arc<Core>,
}

impl SharedFailures {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// See [`Register::begin_login`](crate::hub::engine::Register::begin_login).
    pub(super) fn begin(&self, keys: &[FailureKey]) -> Promise<'_, Result<bool, EngineError>> {
        let mut call = self.call(&scripts::BEGIN_LOGIN, keys);
        call.arg(self.core.clock.shift_ms())
            .arg(MAX_FAILURES)
            .arg(WINDOW_MS);
        Promise::Later(Box::pin(async move {
            patience::ask(&self.core, |spread| async move { spread.run(&call).await }).await
        }))
    }

    /// See [`Register::forgive_login`](crate::hub::engine::Register::forgive_login). If the store is away, the
    /// attempt counts as failed for a minute.
    pub(super) fn forgive(&self, keys: &[FailureKey]) -> Promise<'_, ()> {
        let call = self.call(&scripts::FORGIVE_LOGIN, keys);
        Promise::Later(Box::pin(async move {
            let forgiven =
                patience::ask(
                    &self.core,
                    |spread| async move { spread.run::<()>(&call).await },
                );
            if let Err(error) = forgiven.await {
                tracing::debug!(%error, "a login that succeeded counts as failed");
            }
        }))
    }

    fn call(
        &self,
        script: &'static Script,
        keys: &[FailureKey],
    ) -> redis::ScriptInvocation<'static> {
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(self.core.keys.failures(*key));
        }
        call
    }
}
