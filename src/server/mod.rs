//! Wires the parts: start, reload, drain.
//!
//! Everything that another thread may touch by descriptor number is made before the first shard
//! thread starts (see `shard::thread`): listeners, runtimes, and the control runtime's signal
//! pipe.
//!
//! | module | one purpose |
//! |---|---|
//! | [`server`] | start, reload and drain |
//! | [`run`](mod@run) | the process around it: its runtime, its signals, its exit |
//! | [`prepared`] | what the configuration names, before anything listens |
//! | [`listeners`], [`passed`] | sockets that are bound here, or by a supervisor |
//! | [`supervisor`] | what the supervisor is told |
//! | [`logging`], [`telemetry`] | where log lines and spans go |
//! | [`error`], [`dev`] | why a server does not start; what `--dev` brings |

mod dev;
mod error;
mod listeners;
mod logging;
mod passed;
mod prepared;
mod run;
#[allow(clippy::module_inception)] // what the folder is about
mod server;
mod supervisor;
mod telemetry;

pub use dev::Dev;
pub(crate) use error::ServerError;
pub use passed::Passed;
pub(crate) use prepared::Prepared;
pub(crate) use run::run;
pub use server::Server;
