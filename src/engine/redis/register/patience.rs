//! How long a request of the register waits for the store, and which error it gets.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;

use crate::clock::millis;
use crate::engine::redis::core::Core;
use crate::engine::redis::spread::Spread;
use crate::engine::redis::writer;
use crate::hub::engine::EngineError;

/// Longest wait of a client for the store: as long as a publisher waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends a request to the store.
///
/// # Errors
/// [`EngineError::Away`] if no answer comes in time. The request may have been carried out, so it must be one that
/// may be given up at any moment.
pub(super) async fn ask<T, F>(
    core: &Arc<Core>,
    request: impl FnOnce(Spread) -> F,
) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, RedisError>>,
{
    let answer = async {
        let deadline_ms = core.real.now_ms() + millis(PATIENCE);
        let attached = core.attached_by(deadline_ms).await?;
        Some(request(attached.spread.clone()).await)
    };
    match core.real.within(PATIENCE, answer).await.flatten() {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(writer::refused(&error).unwrap_or(EngineError::Away)),
        None => Err(EngineError::Away),
    }
}
