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
use super::mute::Mute;
use super::notification::{log_failure, tell};
use crate::config::Endpoint;

/// Messages that wait for the supervisor; further ones are dropped. A process sends about four, besides
/// watchdog messages, and those repeat each other.
const MAX_WAITING: usize = 16;
/// Time after `drain_timeout` for closing the history and ending the process.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// What the supervisor's watchdog waits for.
const ALIVE: &str = "WATCHDOG=1";
/// Longest wait for unsent messages when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The supervisor that started this process, if it wants notifications.
pub(super) struct Supervisor {
    notifier: Option<Notifier>,
}

/// The thread that sends notifications.
struct Notifier {
    address: SocketAddr,
    messages: SyncSender<String>,
    /// Messages that wait while it is set are dropped, except [`ALIVE`].
    mute: Mute,
    /// Closed when everything is sent.
    done: Receiver<Infallible>,
}

impl Supervisor {
    /// Reads `NOTIFY_SOCKET`. Starts a thread, so call it before the shards start.
    pub(super) fn of_this_process() -> Self {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) => Self::at(&name),
            None => Self { notifier: None },
        }
    }

    /// The supervisor that listens at this address.
    fn at(name: &OsStr) -> Self {
        let (messages, waiting) = sync_channel(MAX_WAITING);
        let (sending, done) = sync_channel(0);
        let started = address(name).and_then(|address| {
            let of_thread = address.clone();
            let mute = Mute::at(address.clone());
            let mute_of_thread = mute.clone();
            let socket = UnixDatagram::unbound()?;
            let send = move || {
                let _sending: SyncSender<Infallible> = sending;
                send_all(&socket, &of_thread, &waiting, &mute_of_thread);
            };
            std::thread::Builder::new()
                .name("supervisor".into())
                .spawn(send)?;
            Ok((address, mute))
        });
        let notifier = match started {
            Ok((address, mute)) => Some(Notifier {
                address,
                messages,
                mute,
                done,
            }),
            Err(error) => {
                log_failure(&error);
                None
            }
        };
        Self { notifier }
    }

    /// The server is ready; units that are ordered after this one may start.
    pub(super) fn ready(&self, server: &Server) {
        self.notify(ready(server));
    }

    /// After an upgrade, in the new process: from now on, this process is the one whose end is the end of the service.
    /// The supervisor accepts that only from a process of the service, and with `NotifyAccess=all`, because the message
    /// does not come from the main process. Call it before the old process ends: until then, that process is the main
    /// one.
    ///
    /// This process inherits the old one's environment. `NOTIFY_SOCKET` and `WATCHDOG_USEC` apply to the whole service,
    /// so they are still right. `WATCHDOG_PID` names the old process, which has to remove it when it starts this one:
    /// with it, [`Supervisor::keep_alive`] would take the watchdog for another process's, and systemd would kill the
    /// service. Without the variable, whoever is started with `WATCHDOG_USEC` sends the messages.
    pub(super) fn taking_over(&self, server: &Server) {
        let pid = std::process::id();
        let message = format!("MAINPID={pid}\n{}", ready(server));
        // Not through the thread: the old process may end as soon as this returns.
        if let Some(notifier) = &self.notifier {
            tell(&notifier.address, &message);
        }
    }

    /// What the old process needs to fall silent before that.
    pub(super) fn mute(&self) -> Mute {
        let notifier = self.notifier.as_ref();
        notifier.map_or_else(Mute::default, |notifier| notifier.mute.clone())
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

    /// Sends a watchdog message four times per `WatchdogSec=`, unless `WATCHDOG_PID` names another process, each time that `probe` returns true.
    /// `probe` takes as long as its argument. Up to three failures in a row do no harm.
    pub(super) async fn keep_alive(&self, probe: impl AsyncFn(Duration) -> bool) -> Infallible {
        let Some(timeout) = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
        else {
            return std::future::pending().await;
        };
        loop {
            if probe(timeout / 4).await {
                self.notify(ALIVE.to_owned());
            } else {
                tracing::error!(
                    "a shard is stuck; skipping a message to the supervisor's watchdog"
                );
            }
        }
    }

    /// Waits until everything is sent, for at most [`FLUSH_TIMEOUT`].
    pub(super) fn finish(self) {
        if let Some(Notifier { messages, done, .. }) = self.notifier {
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

/// The message that the server is ready, and what `systemctl status` shows then.
fn ready(server: &Server) -> String {
    let plain = server.public_endpoints().iter().map(Endpoint::to_string);
    let tls = server
        .tls_endpoints()
        .iter()
        .map(|it| format!("{it} (TLS)"));
    let admin = server.admin_endpoints().iter().map(Endpoint::to_string);
    format!(
        "READY=1\nSTATUS=serving on {}, admin on {}",
        plain.chain(tls).collect::<Vec<_>>().join(", "),
        admin.collect::<Vec<_>>().join(", ")
    )
}

fn send_all(socket: &UnixDatagram, to: &SocketAddr, messages: &Receiver<String>, mute: &Mute) {
    let mut is_failing = false;
    for message in messages {
        if mute.is_set() && message != ALIVE {
            continue;
        }
        let sent = socket.send_to_addr(message.as_bytes(), to);
        if let (Err(error), false) = (&sent, is_failing) {
            log_failure(error);
        }
        is_failing = sent.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::{Config, Secret};
    use crate::server::PassedSockets;

    /// How long a test waits for a message before it fails.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A supervisor's socket, and the process's side of it.
    fn supervised() -> (tempfile::TempDir, UnixDatagram, Supervisor) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let supervisor = Supervisor::at(path.as_os_str());
        (directory, socket, supervisor)
    }

    fn hear(socket: &UnixDatagram) -> String {
        let mut message = [0; 4_096];
        let bytes = socket.recv(&mut message).expect("a message");
        String::from_utf8(message[..bytes].to_vec()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_that_takes_over_names_itself_and_is_ready() {
        let mut config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            admin_listen: vec!["127.0.0.1:0".parse().unwrap()],
            shards: 1,
            max_connections: 100,
            ..Config::default()
        };
        config.auth.secret = Secret::new("a secret of more than thirty-two bytes");
        let start = Server::start(&config, None, PassedSockets::default(), Clock::system());
        let server = start.await.unwrap();
        let (_directory, socket, supervisor) = supervised();
        supervisor.taking_over(&server);
        let own = format!("MAINPID={}\n", std::process::id());
        supervisor.ready(&server);
        let taken_over = hear(&socket);
        assert_eq!(taken_over.strip_prefix(&own), Some(&*hear(&socket)));
        server.drain().await;
    }

    #[test]
    fn a_process_that_has_fallen_silent_says_no_more_than_that_it_is_alive() {
        let (_directory, socket, supervisor) = supervised();
        supervisor.reloaded();
        assert_eq!(hear(&socket), "READY=1");
        supervisor.mute().set(true);
        supervisor.notify(ALIVE.to_owned());
        supervisor.stopping(Duration::from_secs(1));
        assert_eq!(hear(&socket), ALIVE);
        supervisor.mute().stay_main();
        let own = format!("MAINPID={}", std::process::id());
        assert_eq!(hear(&socket), own);
        // Returns when the thread has had all messages.
        supervisor.finish();
        socket.set_nonblocking(true).unwrap();
        let error = socket.recv(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
