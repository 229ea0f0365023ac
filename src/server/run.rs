//! The process around a server: runtime, signals, exit.

use std::cell::Cell;
use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control::{ControlSocket, SocketClaim, Upgrades};
use super::inherited::Inherited;
use super::listeners::GivenSockets;
use super::supervisor::Supervisor;
use super::telemetry::TraceExport;
use super::upgrade::{Predecessor, Program};
use super::{Dev, PassedSockets, Server, ServerError, control, logging};
use crate::clock::{Clock, millis};
use crate::config::{Config, ConfigSources, load, warnings};
use crate::metrics::ReloadOutcome;
use crate::sys;
use crate::version;

/// Threads of the control plane: admin, engine, signals. The shards have their own.
const CONTROL_THREADS: usize = 2;
/// Shortest time between two returns of a control thread's free memory to the kernel. Each takes some microseconds.
const COLLECT_INTERVAL: Duration = Duration::from_secs(2);

thread_local! {
    /// When this thread last returned its free memory.
    static COLLECTED_MS: Cell<u64> = const { Cell::new(0) };
}

/// Returns this thread's free memory to the kernel, but not too often. A storm of clients leaves some behind here if
/// the engine asks a store about each client.
fn collect_memory(clock: &Clock) {
    let now_ms = clock.now_ms();
    if now_ms.saturating_sub(COLLECTED_MS.get()) >= millis(COLLECT_INTERVAL) {
        COLLECTED_MS.set(now_ms);
        sys::collect_memory();
    }
}

/// Serves until SIGTERM or SIGINT. At SIGHUP, it reads `sources` again. Calls `welcome` when the server listens.
///
/// # Errors
/// [`ServerError`] if the server does not start, or an error of the operating system.
pub(crate) fn run(
    config: &Config,
    sources: &ConfigSources,
    dev: Option<Dev>,
    welcome: impl FnOnce(&Server),
) -> anyhow::Result<()> {
    let old = Predecessor::of_this_process().context("cannot take over from the old process")?;
    let passed = PassedSockets::to_this_process().map_err(ServerError::from)?;
    let program = Program::of_this_process().context("cannot find this program")?;
    let clock = Clock::system();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .on_thread_park({
            let clock = clock.clone();
            move || collect_memory(&clock)
        })
        .enable_all()
        .build()
        .context("cannot start the control runtime")?;
    // Before the shards start: its thread and sockets must be in the control side's descriptor table.
    let telemetry = config.telemetry.otlp_endpoint.as_ref().map(|collector| {
        let (traces, runtime) = (collector.traces().clone(), runtime.handle().clone());
        TraceExport::start(&config.telemetry, traces, clock.clone(), runtime)
    });
    let export = telemetry.as_ref().map(TraceExport::layer);
    let level = logging::init(config.log_level, config.log_format, export);
    let supervisor = Supervisor::of_this_process();
    let flush_by_ms = runtime.block_on(async {
        // Before the shards start: their descriptor tables must contain the signal pipe.
        let mut signals = Signals::new().context("cannot listen to signals")?;
        let (server, control) = match old {
            None => {
                let control = control::of_config(config, SocketClaim::IfFree)?;
                let server = Server::start(config, dev, passed, clock.clone()).await?;
                (server, control)
            }
            Some(old) => {
                let unneeded_by_shards = vec![old.as_raw_fd()];
                let given = |inherited| GivenSockets {
                    passed,
                    inherited,
                    unneeded_by_shards,
                };
                take_over(old, config, dev, given, &clock, &supervisor).await?
            }
        };
        // Before the log lines, since some programs wait for those and then read what is here.
        welcome(&server);
        log_start(&server, config);
        warn(sources, config);
        announce(&server, config, dev);
        supervisor.ready(&server);
        let mute = supervisor.mute();
        let socket = control.as_ref().map(|it| it.named().clone());
        let upgrader = server.upgrader(program, config.upgrade_timeout, mute, socket);
        let upgrades = Upgrades::new(Arc::new(upgrader), Arc::clone(server.metrics()));
        let probe = |time| server.probe_shards(time);
        tokio::select! {
            () = signals.obey_until_stop(&server, config, sources, &level, &supervisor, &upgrades) => {}
            served = control::serve(control.map(|it| it.listener), Arc::clone(&upgrades), clock.clone()) => {
                served.context("cannot serve the control socket")?;
                // The new process serves, and notifies the supervisor.
                tokio::select! {
                    () = server.finish_upgraded() => {}
                    never = signals.pass_reloads_on(&upgrades) => match never {},
                }
            }
            never = supervisor.keep_alive(probe) => match never {},
        };
        tracing::info!("draining");
        supervisor.stopping(config.drain_timeout);
        // Shards end during the drain and can no longer be probed; drain_timeout limits the time.
        let assume_alive = async |time| {
            clock.sleep(time).await;
            true
        };
        let end_by_ms = clock.now_ms() + millis(config.drain_timeout);
        let flush_by_ms = tokio::select! {
            () = server.drain() => {
                tracing::info!("drained");
                Some(end_by_ms)
            }
            () = signals.wait_for_stop() => {
                tracing::warn!("second signal; not waiting for the drain");
                None
            }
            never = supervisor.keep_alive(assume_alive) => match never {},
        };
        anyhow::Ok(flush_by_ms)
    })?;
    if let (Some(telemetry), Some(flush_by_ms)) = (telemetry, flush_by_ms) {
        let left_ms = flush_by_ms.saturating_sub(clock.now_ms());
        telemetry.flush(Duration::from_millis(left_ms));
    }
    supervisor.finish();
    // Shards that have not ended keep their threads; the process exits anyway.
    runtime.shutdown_background();
    Ok(())
}

/// Starts a server that continues the old process's, and replaces its control socket.
async fn take_over(
    old: UnixStream,
    config: &Config,
    dev: Option<Dev>,
    given: impl FnOnce(Inherited) -> GivenSockets,
    clock: &Clock,
    supervisor: &Supervisor,
) -> anyhow::Result<(Server, Option<ControlSocket>)> {
    let (mut old, inherited) = Predecessor::meet(old).await?;
    // Its name among the nodes may be one that the old process has made up.
    let config = old.configured(config);
    let server = match Server::start_closed(&config, dev, given(inherited), clock.clone()).await {
        Ok(server) => server,
        Err(error) => {
            old.decline(error.lines().join("; ")).await;
            return Err(error.into());
        }
    };
    let claim = old.socket_claim();
    let mut control = None;
    // Before the old process answers its caller, who may ask for the next upgrade at once.
    let become_main = || {
        supervisor.taking_over(&server);
        // Too late to decline: this process has the clients.
        control = control::of_config(&config, claim).unwrap_or_else(|error| {
            tracing::error!(%error, "no control socket");
            None
        });
    };
    let connections = old.take_over(&server, become_main).await?;
    tracing::info!(connections, "took over from the old process");
    Ok((server, control))
}

/// Logs what has started, for whoever reads the log later.
fn log_start(server: &Server, config: &Config) {
    let history = config.history.path.as_ref();
    tracing::info!(
        version = version::full(),
        pid = std::process::id(),
        engine = server.engine(),
        history = history.map(|path| tracing::field::display(path.display())),
        history_max_bytes = config.history.max_bytes,
        shards = server.shard_count(),
        max_connections = config.max_connections,
        max_connections_per_user = config.max_connections_per_user,
        max_handshakes = config.max_handshakes,
        nofile = server.nofile(),
        "started"
    );
}

fn announce(server: &Server, config: &Config, dev: Option<Dev>) {
    for endpoint in server.public_endpoints() {
        tracing::info!(%endpoint, base_path = %config.base_path, "public listener");
    }
    for endpoint in server.tls_endpoints() {
        tracing::info!(%endpoint, base_path = %config.base_path, "public TLS listener");
    }
    for endpoint in server.admin_endpoints() {
        tracing::info!(%endpoint, "admin listener");
    }
    if let Some(endpoint) = &config.telemetry.otlp_endpoint {
        tracing::info!(%endpoint, "traces are exported");
    }
    let has_users = config.login.users_file.is_some();
    if dev.is_some_and(|dev| !dev.has_user) && !has_users {
        tracing::info!(
            "--dev: no development user, because keys for tokens are configured (`idlewild token --user 1` prints a token)"
        );
    }
}

fn warn(sources: &ConfigSources, config: &Config) {
    for line in warnings(sources, config) {
        tracing::warn!("{line}");
    }
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
    /// Without a handler, these two would end the process.
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    async fn wait_for_stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Reloads at every SIGHUP and upgrades at SIGUSR2, until SIGTERM or SIGINT.
    async fn obey_until_stop(
        &mut self,
        server: &Server,
        config: &Config,
        sources: &ConfigSources,
        level: &logging::Level,
        supervisor: &Supervisor,
        upgrades: &Arc<Upgrades>,
    ) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => {
                    supervisor.reloading();
                    reload(server, config, sources, level);
                    supervisor.reloaded();
                    upgrades.pass_reload_on();
                }
                _ = self.user_1.recv() => tracing::info!("SIGUSR1 has no meaning; ignored"),
                // Nobody waits for it. The log has the progress and the result.
                _ = self.user_2.recv() => drop(upgrades.begin(None)),
            }
        }
    }

    /// Passes every SIGHUP on to the new process. A supervisor may not know yet that it is the main process.
    async fn pass_reloads_on(&mut self, upgrades: &Upgrades) -> Infallible {
        loop {
            // The runtime delivers signals for as long as it lives.
            let _ = self.hangup.recv().await;
            upgrades.pass_reload_on();
        }
    }
}

/// Reads the configuration again and applies it. An invalid configuration changes nothing.
fn reload(server: &Server, started_with: &Config, sources: &ConfigSources, level: &logging::Level) {
    let applied = apply(server, started_with, sources);
    server.count_reload(match applied {
        Ok(_) => ReloadOutcome::Applied,
        Err(_) => ReloadOutcome::Refused,
    });
    match applied {
        Ok(config) => {
            level.set(config.log_level);
            warn(sources, &config);
            tracing::info!("reloaded");
        }
        Err(errors) => {
            for error in errors.lines() {
                tracing::error!(%error, "not reloaded");
            }
        }
    }
}

/// Applies the configuration as it is now, and returns it.
fn apply(
    server: &Server,
    started_with: &Config,
    sources: &ConfigSources,
) -> Result<Config, ServerError> {
    let mut config = load(sources)?;
    // The size of the tables is fixed at start.
    if config.max_connections > started_with.max_connections {
        tracing::warn!(
            asked = config.max_connections,
            kept = started_with.max_connections,
            "max_connections can only be lowered without a restart"
        );
        config.max_connections = started_with.max_connections;
    }
    server.reload(&config)?;
    Ok(config)
}
