//! The new process's part of an upgrade.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::HandoverError;
use super::peer::Peer;
use super::protocol::{FORMAT, HandedOver, ToNew, ToOld};
use super::start::connection_to_old;
use crate::admin::{self, LastUpgrade, PassedConnection};
use crate::auth::keys::remote::FetchedKeys;
use crate::config::Config;
use crate::hub::engine::{Continued, PortableEntry};
use crate::hub::{Entering, Move};
use crate::metrics::UpgradeOutcome;
use crate::server::Server;
use crate::server::control::{SocketClaim, SocketFile};
use crate::server::inherited::Inherited;
use crate::tls::PortableTicketKeys;
use crate::version;

/// If this process was started by an upgrade, tells the old one why it does not start. For errors before
/// [`run`](fn@crate::server::run).
pub(crate) fn decline(reason: &str) {
    let Ok(Some(stream)) = connection_to_old() else {
        return;
    };
    let declined = ToOld::Declined {
        reason: reason.to_owned(),
    };
    let declining = async {
        Peer::new(stream)?.send(&declined, &[]).await?;
        Ok::<_, HandoverError>(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    if let Ok(runtime) = runtime {
        // Otherwise, the old process notices that this one ends.
        let _ = runtime.block_on(declining);
    }
}

/// The process that this one continues.
#[derive(Debug)]
pub(in crate::server) struct Predecessor {
    peer: Peer,
    /// Where its streams come from.
    streams: Vec<UnixStream>,
    /// The number of its streams.
    connections: u64,
    /// True once everything that it confirms is known here.
    is_in_step: bool,
    /// The directory of its history.
    history: Option<PathBuf>,
    /// The log that it shares with other nodes, and its name there.
    shared_log: Option<String>,
    node: Option<String>,
    control: Option<SocketFile>,
    ticket_keys: Option<PortableTicketKeys>,
    fetched_keys: Option<FetchedKeys>,
    version: String,
    /// The engine has everything, and its store.
    is_taken_over: bool,
}

impl Predecessor {
    /// The connection to the old process, if this one was started by it. Call this once, before any file is opened.
    ///
    /// # Errors
    /// The connection is missing.
    pub(in crate::server) fn of_this_process() -> io::Result<Option<UnixStream>> {
        connection_to_old()
    }

    /// Receives the sockets of the old process.
    ///
    /// # Errors
    /// [`HandoverError`]. The old process goes on.
    pub(in crate::server) async fn meet(
        stream: UnixStream,
    ) -> Result<(Self, Inherited), HandoverError> {
        let mut this = Self {
            peer: Peer::new(stream)?,
            streams: Vec::new(),
            connections: 0,
            is_in_step: false,
            history: None,
            shared_log: None,
            node: None,
            control: None,
            ticket_keys: None,
            fetched_keys: None,
            version: String::new(),
            is_taken_over: false,
        };
        let mut inherited = Inherited::default();
        match this.peer.receive().await?.0 {
            ToNew::Begin {
                format,
                connections,
                version,
                history,
                shared_log,
                node,
                control,
                ticket_keys,
                fetched_keys,
            } if format == FORMAT => {
                this.connections = connections;
                this.version = version;
                this.history = history;
                (this.shared_log, this.node) = (shared_log, node);
                this.control = control;
                this.ticket_keys = ticket_keys;
                this.fetched_keys = fetched_keys;
            }
            ToNew::Begin { format, .. } => {
                let error = HandoverError::Format {
                    ours: FORMAT,
                    theirs: format,
                };
                this.decline(error.to_string()).await;
                return Err(error);
            }
            _ => return Err(HandoverError::Unexpected),
        }
        loop {
            match this.peer.receive().await? {
                (ToNew::Listeners(name), sockets) => inherited.add(name, sockets),
                (ToNew::Start, _) => return Ok((this, inherited)),
                _ => return Err(HandoverError::Unexpected),
            }
        }
    }

    /// Which control socket this process may replace: no other server's.
    pub(in crate::server) fn socket_claim(&self) -> SocketClaim {
        self.control
            .map_or(SocketClaim::IfFree, SocketClaim::TakeOver)
    }

    /// The configuration with what this process has to have in common with the old one, if it does not say otherwise.
    pub(in crate::server) fn configured(&self, config: &Config) -> Config {
        let mut config = config.clone();
        if let Some(node) = &self.node
            && config.engine.node.is_empty()
        {
            config.engine.node.clone_from(node);
        }
        config
    }

    /// Tells the old process why this one does not start. The old one goes on.
    pub(in crate::server) async fn decline(&mut self, reason: String) {
        // If the old process is gone, nobody has to know.
        let _ = self.peer.send(&ToOld::Declined { reason }, &[]).await;
    }

    /// The engine that continues the old process's.
    ///
    /// # Errors
    /// The reason why a server that has started cannot take over.
    fn continued<'a>(&self, server: &'a Server) -> Result<&'a dyn Continued, HandoverError> {
        let most = server.hub.limits().connections;
        if self.connections > most as u64 {
            return Err(HandoverError::TooMany {
                connections: self.connections,
                most,
            });
        }
        let engine = server.hub.engine();
        let continued = engine
            .continued()
            .ok_or(HandoverError::Engine(engine.kind()))?;
        let (ours, theirs) = (continued.history(), self.history.as_deref());
        if !is_same_directory(ours, theirs) {
            let [ours, theirs] = [ours, theirs].map(place);
            return Err(HandoverError::History { ours, theirs });
        }
        let (ours, theirs) = (continued.shared_log(), self.shared_log.as_deref());
        if ours != theirs {
            let [ours, theirs] = [ours, theirs].map(|log| log.unwrap_or("memory").to_owned());
            return Err(HandoverError::SharedLog { ours, theirs });
        }
        Ok(continued)
    }

    /// Takes everything over from the old process, and begins to accept. If the old process is gone before the end,
    /// `server` serves what it has. Calls `become_main` before the old process ends.
    ///
    /// # Errors
    /// [`HandoverError`]. This process has to exit then, and the old one goes on.
    pub(in crate::server) async fn take_over(
        mut self,
        server: &Server,
        become_main: impl FnOnce(),
    ) -> Result<u64, HandoverError> {
        let continued = match self.continued(server) {
            Ok(continued) => continued,
            Err(error) => {
                self.decline(error.to_string()).await;
                return Err(error);
            }
        };
        if let Some(keys) = self.fetched_keys.take()
            && let Err(reason) = server.public.take_fetched_keys(&keys).await
        {
            let error = HandoverError::NoKeys(reason);
            self.decline(error.to_string()).await;
            return Err(error);
        }
        if let (Some(keys), Some(tls)) = (self.ticket_keys.take(), &server.tls) {
            tls.take_ticket_keys_over(keys);
        }
        let entering = Arc::clone(&server.entering);
        let ready = ToOld::Ready {
            pid: std::process::id(),
            version: version::full().clone(),
            shards: server.shard_count(),
        };
        self.peer.send(&ready, &[]).await?;
        let followed = self.follow(server, continued, &entering).await;
        match followed {
            Ok((admin_connections, moved)) => {
                server.admin.note_upgrade(LastUpgrade {
                    at_unix_ms: server.clock.unix_ms(),
                    from_version: self.version.clone(),
                    to_version: version::full(),
                    connections: moved.connections,
                    lost: moved.lost,
                    took_ms: moved.took_ms,
                    longest_pause_ms: moved.longest_pause_ms,
                });
                let upgrades = &server.hub.metrics.upgrades;
                for (outcome, count) in (0..UpgradeOutcome::ALL.len()).zip(moved.earlier) {
                    upgrades.at(outcome).add(count);
                }
                become_main();
                // Before anything is accepted: the old process could go on without knowing of it. If it has ended
                // meanwhile, this one serves all the same.
                let _ = self.peer.send(&ToOld::Serving, &[]).await;
                server.open();
                for connection in admin_connections {
                    if let Err(error) = admin::continue_connection(&server.admin, connection) {
                        tracing::warn!(%error, "an admin connection is closed");
                    }
                }
            }
            Err(HandoverError::Ended) => {
                tracing::warn!(
                    may_lack_events = !self.is_in_step,
                    "the old process is gone; going on with what it has handed over"
                );
                if !self.is_taken_over {
                    continued.go_on_alone(self.is_in_step).await?;
                }
                server.open();
                become_main();
            }
            Err(error) => return Err(error),
        }
        let upgrades = &server.hub.metrics.upgrades;
        upgrades.at(UpgradeOutcome::Done as usize).increment();
        let taken = entering.taken.load(Ordering::Relaxed);
        Ok(taken)
    }

    async fn follow(
        &mut self,
        server: &Server,
        continued: &dyn Continued,
        entering: &Arc<Entering>,
    ) -> Result<(Vec<PassedConnection>, HandedOver), HandoverError> {
        let mut log = None;
        let mut retained: Vec<Vec<PortableEntry>> = Vec::new();
        let mut admin_connections = Vec::new();
        let mut standings = Vec::new();
        loop {
            let (message, mut sockets) = self.peer.receive().await?;
            match message {
                ToNew::Log(beginning) => log = Some(beginning),
                ToNew::Retained(chunk) => retained.push(chunk),
                ToNew::Sources(sources) => continued.follow_sources(&sources)?,
                ToNew::Standings(mut chunk) => standings.append(&mut chunk),
                ToNew::Restore => {
                    let log = log.take().ok_or(HandoverError::Unexpected)?;
                    // Each is freed as soon as it is in the log.
                    let retained = std::mem::take(&mut retained);
                    continued.begin(&log, &mut retained.into_iter().flatten())?;
                    let settled = server.hub.log().head();
                    let directory = server.hub.directory();
                    let unix_ms = directory.time(&server.clock).unix_ms(&server.clock);
                    for (user, standing) in std::mem::take(&mut standings) {
                        directory.restore(&user, standing, unix_ms, settled);
                    }
                    self.take_streams(server, entering)?;
                    self.peer.send(&ToOld::Restored, &[]).await?;
                }
                ToNew::Entries(entries) => {
                    for entry in &entries {
                        continued.follow(entry)?;
                    }
                    let hub = &server.hub;
                    hub.log().all_dispatched().await;
                    if !hub.fence().await {
                        return Err(HandoverError::ShardsEnded);
                    }
                    self.peer.send(&ToOld::Taken, &[]).await?;
                }
                ToNew::InStep => self.is_in_step = true,
                ToNew::AdminConnection { received } => {
                    admin_connections.push(PassedConnection {
                        socket: sockets.pop().ok_or(HandoverError::Unexpected)?,
                        received: received.0.to_vec().into(),
                    });
                }
                ToNew::Finish(state) => {
                    continued.take_over(state).await?;
                    self.is_taken_over = true;
                    self.peer.send(&ToOld::TakenOver, &[]).await?;
                }
                ToNew::Commit(moved) => return Ok((admin_connections, moved)),
                ToNew::Streams => {
                    let streams = sockets.into_iter().map(UnixStream::from);
                    self.streams.extend(streams);
                }
                ToNew::Begin { .. } | ToNew::Listeners(_) | ToNew::Start => {
                    return Err(HandoverError::Unexpected);
                }
            }
        }
    }

    /// Lets the shards take streams.
    fn take_streams(&mut self, server: &Server, entering: &Arc<Entering>) -> io::Result<()> {
        for (number, stream) in self.streams.drain(..).enumerate() {
            let passages = server.shards.passages();
            entering.open_sockets.fetch_add(1, Ordering::Relaxed);
            passages.order_move(number, stream, Move::Enter(Arc::clone(entering)))?;
        }
        Ok(())
    }
}

/// Returns true if both processes keep their history in the same directory, or none.
fn is_same_directory(ours: Option<&Path>, theirs: Option<&Path>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return ours.is_none() && theirs.is_none();
    };
    let file = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    match (file(ours), file(theirs)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        // It was deleted, which the old process reports.
        _ => path::absolute(ours).is_ok_and(|ours| ours == theirs),
    }
}

/// Where a process keeps its events, for people.
fn place(history: Option<&Path>) -> String {
    history.map_or_else(
        || "in memory".to_owned(),
        |path| format!("in `{}`", path.display()),
    )
}
