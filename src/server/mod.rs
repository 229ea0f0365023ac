//! Connects all parts: start, reload, drain.
//!
//! Every descriptor that another thread may use by number is created before the first shard thread
//! starts (see `shard::thread`): listeners, runtimes, and the control runtime's signal pipe.
//!
//! | module | one purpose |
//! |---|---|
//! | [`server`] | start, reload and drain |
//! | [`engine`], [`shards`] | which engine is used, and the hub over it; what the shards are started with |
//! | [`sweep`] | what is done once a second |
//! | [`run`](mod@run) | the process: runtime, signals, exit |
//! | [`prepared`] | reads the files that the configuration names, before anything listens |
//! | [`listeners`], [`passed_sockets`] | sockets that are bound here, or passed by a supervisor |
//! | [`upgrade`], [`inherited`] | another process continues this one, or this one another |
//! | [`control`] | the control socket, and upgrades that are asked for there |
//! | [`supervisor`], [`notification`], [`mute`] | notifies the supervisor; one notification at once; whether it does |
//! | [`logging`], [`telemetry`] | writes log lines; exports spans |
//! | [`error`], [`dev`] | errors at start and reload; options of development mode |

mod control;
mod dev;
mod engine;
mod error;
mod inherited;
mod listeners;
mod logging;
mod mute;
mod notification;
mod passed_sockets;
mod prepared;
mod run;
#[allow(clippy::module_inception)] // the main file of this folder
mod server;
mod shards;
mod supervisor;
mod sweep;
mod telemetry;
mod upgrade;

pub(crate) use control::{ControlAnswer, ControlRequest};
pub use dev::Dev;
pub(crate) use error::ServerError;
pub use passed_sockets::PassedSockets;
pub(crate) use prepared::Prepared;
pub(crate) use run::run;
pub use server::Server;
pub(crate) use upgrade::decline;
