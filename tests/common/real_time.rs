//! The clock of tests that run real processes.

use std::time::Duration;

use tokio::time::Instant;

pub fn now() -> Instant {
    #[allow(clippy::disallowed_methods)] // a real process in real time
    Instant::now()
}

pub async fn sleep(duration: Duration) {
    #[allow(clippy::disallowed_methods)] // a real process in real time
    tokio::time::sleep(duration).await;
}
