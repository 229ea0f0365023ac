//! Checks API keys.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::HeaderMap;

use super::api::response::ApiError;
use super::connection::AdminConnection;
use super::service::Admin;
use crate::request::bearer;

/// Returns the name of the request's key. If the address has sent many wrong keys, the refusal of
/// another one is delayed.
pub(super) async fn check_key(
    admin: &Admin,
    headers: &HeaderMap,
    connection: &AdminConnection,
) -> Result<Arc<str>, ApiError> {
    let presented = presented_key(headers).ok_or_else(ApiError::unauthorized)?;
    if let Some(name) = admin.keys.load().check(&presented) {
        return Ok(Arc::clone(name));
    }
    let clock = &admin.hub.clock;
    let delay = admin.wrong_keys.delay(connection.peer(), clock.now_ms());
    let delay = delay.ok_or_else(ApiError::throttled)?;
    connection.set_busy(false);
    clock.sleep(delay).await;
    connection.set_busy(true);
    Err(ApiError::unauthorized())
}

/// The request's key, valid or not.
pub(super) fn presented_key(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    bearer(headers).filter(|key| !key.is_empty())
}
