//! What the supervisor is told (`sd_notify(3)`), where there is one: `Type=notify` in a unit.
//!
//! A thread tells it, because its socket can be full: then the message waits, and the server does
//! not.

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

/// Messages that wait for the supervisor; one too many is lost. There are four in a life, and of
/// a watchdog's one more says nothing new.
const MAX_WAITING: usize = 16;
/// What a drain may take beyond `drain_timeout`: the history closes, the process ends.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// How long the end of the process waits for what is not told yet.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Whoever started this process and wants to know of it, if anybody does.
pub(super) struct Supervisor {
    teller: Option<Teller>,
}

/// The thread that tells.
struct Teller {
    messages: SyncSender<String>,
    /// Closed when all is told.
    done: Receiver<Infallible>,
}

impl Supervisor {
    /// As `NOTIFY_SOCKET` says. Starts a thread, so it has to come before the shards.
    pub(super) fn of_this_process() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self { teller: None };
        };
        let (messages, waiting) = sync_channel(MAX_WAITING);
        let (telling, done) = sync_channel(0);
        let started = address(&name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            let tell = move || {
                let _telling: SyncSender<Infallible> = telling;
                tell_all(&socket, &address, &waiting);
            };
            std::thread::Builder::new()
                .name("supervisor".into())
                .spawn(tell)
        });
        let teller = match started {
            Ok(_) => Some(Teller { messages, done }),
            Err(error) => {
                cannot_tell(&error);
                None
            }
        };
        Self { teller }
    }

    /// Serving: whoever was ordered after this unit may start.
    pub(super) fn ready(&self, server: &Server) {
        let plain = server.public_endpoints().iter().map(Endpoint::to_string);
        let tls = server
            .tls_endpoints()
            .iter()
            .map(|it| format!("{it} (TLS)"));
        let admin = server.admin_endpoints().iter().map(Endpoint::to_string);
        self.tell(format!(
            "READY=1\nSTATUS=serving on {}, admin on {}",
            plain.chain(tls).collect::<Vec<_>>().join(", "),
            admin.collect::<Vec<_>>().join(", ")
        ));
    }

    /// The configuration is being read again; [`Supervisor::reloaded`] has to follow.
    pub(super) fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now().map(|now| format!("\n{now}"));
        self.tell(format!("RELOADING=1{}", now.unwrap_or_default()));
    }

    /// Serving again, with the new configuration or the old.
    pub(super) fn reloaded(&self) {
        self.tell("READY=1".to_owned());
    }

    /// Draining, for at most this long.
    pub(super) fn stopping(&self, drain_timeout: Duration) {
        let most = drain_timeout.saturating_add(STOP_SLACK).as_micros();
        self.tell(format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={most}\nWATCHDOG=1\nSTATUS=draining"
        ));
    }

    /// Says four times in each `WatchdogSec=` that the process lives, as long as `is_alive`, which
    /// takes the time it is given, says so. Three in a row may fail.
    pub(super) async fn keep_alive(&self, is_alive: impl AsyncFn(Duration) -> bool) -> Infallible {
        let Some(timeout) = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
        else {
            return std::future::pending().await;
        };
        loop {
            if is_alive(timeout / 4).await {
                self.tell("WATCHDOG=1".to_owned());
            } else {
                tracing::error!("a shard takes no turns; the supervisor's watchdog is not told");
            }
        }
    }

    /// Waits until all is told, but not for long.
    pub(super) fn finish(self) {
        if let Some(Teller { messages, done }) = self.teller {
            drop(messages);
            // It ends by the thread's end, or is not worth a longer wait.
            let _ = done.recv_timeout(LAST_WORDS);
        }
    }

    fn tell(&self, message: String) {
        if let Some(teller) = &self.teller {
            // Full: see MAX_WAITING.
            let _ = teller.messages.try_send(message);
        }
    }
}

/// A path, or the name of an abstract socket after an `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other(
            "neither a path nor a name that begins with @",
        )),
    }
}

fn tell_all(socket: &UnixDatagram, to: &SocketAddr, messages: &Receiver<String>) {
    let mut is_failing = false;
    for message in messages {
        let told = socket.send_to_addr(message.as_bytes(), to);
        if let (Err(error), false) = (&told, is_failing) {
            cannot_tell(error);
        }
        is_failing = told.is_err();
    }
}

fn cannot_tell(error: &io::Error) {
    tracing::warn!(%error, "the supervisor cannot be told (NOTIFY_SOCKET)");
}
