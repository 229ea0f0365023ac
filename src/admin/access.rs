//! Who may ask: API keys.

use std::borrow::Cow;

use hyper::HeaderMap;

use super::api::answer::Problem;
use super::connection::Line;
use super::service::Admin;
use crate::request::bearer;

/// The name of the key that the request carries. A wrong one waits for its refusal, if its address
/// has sent many.
pub(super) async fn check_key(
    admin: &Admin,
    headers: &HeaderMap,
    line: &Line,
) -> Result<String, Problem> {
    let presented = presented_key(headers).ok_or_else(Problem::unauthorized)?;
    if let Some(name) = admin.keys.load().check(&presented) {
        return Ok(name.to_owned());
    }
    let clock = &admin.hub.clock;
    let delay = admin.wrong_keys.delay(line.peer(), clock.now_ms());
    let delay = delay.ok_or_else(Problem::throttled)?;
    line.set_busy(false);
    clock.sleep(delay).await;
    line.set_busy(true);
    Err(Problem::unauthorized())
}

/// The key that the request carries, good or not.
pub(super) fn presented_key(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    bearer(headers).filter(|key| !key.is_empty())
}
