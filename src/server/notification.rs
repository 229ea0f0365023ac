//! Tells the supervisor something at once, without the thread that sends the other notifications.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longest wait for room in the supervisor's socket.
const SEND_TIMEOUT: Duration = Duration::from_millis(500);

/// Sends a notification. A failure is logged. Waits for at most half a second.
pub(super) fn tell(to: &SocketAddr, message: &str) {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        socket.send_to_addr(message.as_bytes(), to)
    });
    if let Err(error) = sent {
        log_failure(&error);
    }
}

/// The supervisor does not get a notification.
pub(super) fn log_failure(error: &io::Error) {
    tracing::warn!(%error, "cannot notify the supervisor (NOTIFY_SOCKET)");
}
