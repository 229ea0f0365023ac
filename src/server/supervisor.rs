//! What the supervisor is told (`sd_notify(3)`), where there is one: `Type=notify` in a unit.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;

use super::Server;
use crate::config::Endpoint;

/// What a drain may take beyond `drain_timeout`: the history closes, the process ends.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// Serving: whoever was ordered after this unit may start.
pub(super) fn ready(server: &Server) {
    let list = |endpoints: &[Endpoint]| {
        let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        endpoints.join(", ")
    };
    let status = format!(
        "serving on {}, admin on {}",
        list(server.public_endpoints()),
        list(server.admin_endpoints())
    );
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The configuration is being read again; [`reloaded`] has to follow.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Serving again, with the new configuration or the old.
pub(super) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// Draining, for at most this long.
pub(super) fn stopping(drain_timeout: Duration) {
    let most = drain_timeout.saturating_add(STOP_SLACK).as_micros();
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(u32::try_from(most).unwrap_or(u32::MAX)),
        NotifyState::Status("draining"),
    ]);
}

/// Says at half of `WatchdogSec=` that the process lives, as long as `is_alive`, which takes the
/// time it is given, says so.
pub(super) async fn keep_alive(is_alive: impl AsyncFn(Duration) -> bool) -> Infallible {
    let Some(timeout) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        if is_alive(timeout / 2).await {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a shard takes no turns; the supervisor's watchdog will end this");
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor cannot be told (NOTIFY_SOCKET)");
    }
}
