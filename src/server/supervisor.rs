//! Notifies the supervisor, if there is one (`sd_notify(3)`, `Type=notify` in a unit).
//!
//! A thread of its own sends the notifications: if the supervisor's socket is full, the thread waits, not
//! the server.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use super::Server;
use crate::config::Endpoint;

/// Messages that wait for the supervisor; further ones are dropped. A process sends about four, besides
/// watchdog messages, and those repeat each other.
const MAX_WAITING: usize = 16;
/// Time after `drain_timeout` for closing the history and ending the process.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// Longest wait for unsent messages when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The supervisor that started this process, if it wants notifications.
pub(super) struct Supervisor {
    notifier: Option<Notifier>,
}

/// The thread that sends notifications.
struct Notifier {
    messages: SyncSender<String>,
    /// Closed when everything is sent.
    done: Receiver<Infallible>,
}

impl Supervisor {
    /// Reads `NOTIFY_SOCKET`. Starts a thread, so call it before the shards start.
    pub(super) fn of_this_process() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self { notifier: None };
        };
        let (messages, waiting) = sync_channel(MAX_WAITING);
        let (sending, done) = sync_channel(0);
        let started = address(&name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            let send = move || {
                let _sending: SyncSender<Infallible> = sending;
                send_all(&socket, &address, &waiting);
            };
            std::thread::Builder::new()
                .name("supervisor".into())
                .spawn(send)
        });
        let notifier = match started {
            Ok(_) => Some(Notifier { messages, done }),
            Err(error) => {
                log_failure(&error);
                None
            }
        };
        Self { notifier }
    }

    /// The server is ready; units that are ordered after this one may start.
    pub(super) fn ready(&self, server: &Server) {
        let plain = server.public_endpoints().iter().map(Endpoint::to_string);
        let tls = server
            .tls_endpoints()
            .iter()
            .map(|it| format!("{it} (TLS)"));
        let admin = server.admin_endpoints().iter().map(Endpoint::to_string);
        self.notify(format!(
            "READY=1\nSTATUS=serving on {}, admin on {}",
            plain.chain(tls).collect::<Vec<_>>().join(", "),
            admin.collect::<Vec<_>>().join(", ")
        ));
    }

    /// A reload has started; [`Supervisor::reloaded`] has to follow.
    pub(super) fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now().map(|now| format!("\n{now}"));
        self.notify(format!("RELOADING=1{}", now.unwrap_or_default()));
    }

    /// The reload has ended, with the new configuration or the old one.
    pub(super) fn reloaded(&self) {
        self.notify("READY=1".to_owned());
    }

    /// The drain has started and takes at most `drain_timeout`.
    pub(super) fn stopping(&self, drain_timeout: Duration) {
        let most = drain_timeout.saturating_add(STOP_SLACK).as_micros();
        self.notify(format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={most}\nWATCHDOG=1\nSTATUS=draining"
        ));
    }

    /// Sends a watchdog message four times per `WatchdogSec=`, each time that `probe` returns true.
    /// `probe` takes as long as its argument. Up to three failures in a row do no harm.
    pub(super) async fn keep_alive(&self, probe: impl AsyncFn(Duration) -> bool) -> Infallible {
        let Some(timeout) = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
        else {
            return std::future::pending().await;
        };
        loop {
            if probe(timeout / 4).await {
                self.notify("WATCHDOG=1".to_owned());
            } else {
                tracing::error!(
                    "a shard is stuck; skipping a message to the supervisor's watchdog"
                );
            }
        }
    }

    /// Waits until everything is sent, for at most [`FLUSH_TIMEOUT`].
    pub(super) fn finish(self) {
        if let Some(Notifier { messages, done }) = self.notifier {
            drop(messages);
            // Fails at once when the thread ends, or at the timeout.
            let _ = done.recv_timeout(FLUSH_TIMEOUT);
        }
    }

    fn notify(&self, message: String) {
        if let Some(notifier) = &self.notifier {
            // Dropped if the queue is full, see MAX_WAITING.
            let _ = notifier.messages.try_send(message);
        }
    }
}

/// Parses an address: a path, or `@` and the name of an abstract socket.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other(
            "neither a path nor a name that begins with @",
        )),
    }
}

fn send_all(socket: &UnixDatagram, to: &SocketAddr, messages: &Receiver<String>) {
    let mut is_failing = false;
    for message in messages {
        let sent = socket.send_to_addr(message.as_bytes(), to);
        if let (Err(error), false) = (&sent, is_failing) {
            log_failure(error);
        }
        is_failing = sent.is_err();
    }
}

fn log_failure(error: &io::Error) {
    tracing::warn!(%error, "cannot notify the supervisor (NOTIFY_SOCKET)");
}
