//! The control socket: how `idlewild upgrade` reaches this process, and who may. Only the server's user and root can
//! start a program this way; the admin listener, where an API key is enough, has no such request.
//!
//! | module | one purpose |
//! |---|---|
//! | [`socket`] | the socket's place and rights |
//! | [`spare_name`] | the old process's socket gets its name back after an upgrade that failed |
//! | [`connections`] | accepts peers, checks who they are, and answers one request each |
//! | [`message`] | requests and answers, one JSON line each |
//! | [`upgrades`] | one upgrade at a time, whoever asks for it |

mod connections;
mod message;
mod socket;
mod spare_name;
mod upgrades;

pub(super) use connections::serve;
pub(crate) use message::{ControlAnswer, ControlRequest};
pub(super) use socket::{ControlSocket, NamedSocket, SocketClaim, SocketFile, of_config};
pub(super) use spare_name::SpareName;
pub(super) use upgrades::{UpgradeError, UpgradeProgress, UpgradeReport, Upgrader, Upgrades};
