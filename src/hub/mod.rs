//! The domain: what happened, who is connected where, and who is allowed to do what. It knows nothing about HTTP,
//! SSE or sockets.
//!
//! The methods of [`Hub`] are the domain's verbs, and both HTTP services translate requests into them. Each shard
//! is the receiving end of an [`Inbox`].
//!
//! | module | one purpose |
//! |---|---|
//! | [`hub`] | the hub and its parts |
//! | [`admission`] | admitting clients, and the places that they hold |
//! | [`publishing`] | storing events and session changes, and waiting until a change is in force |
//! | [`presence`] | listing and ending a user's connections |
//! | [`ended`] | how many connections the latest session changes have ended |
//! | [`dead_connections`] | dead connections give way to newcomers |
//! | [`dispatch`], [`dispatcher`], [`outgoing`] | the log's entries on their way to the shards |
//! | [`compression`] | which events are compressed |
//! | [`handover`], [`tap`] | handing the hub over to another process; what the dispatcher does for it |
//! | [`inbox`] | requests to a shard |
//! | [`connection`] | the id of a connection |
//! | [`quota`], [`limits`], [`rejection`] | limits on streams, and the reasons for not admitting a client |
//! | [`engine`] | the interface of a store, and the state that all nodes share |
//! | [`log`] | what happened |
//! | [`directory`] | who is connected where |

mod admission;
mod compression;
mod connection;
mod dead_connections;
pub mod directory;
mod dispatch;
mod dispatcher;
mod ended;
pub(crate) mod engine;
mod handover;
#[allow(clippy::module_inception)] // what the folder is about
mod hub;
mod inbox;
mod limits;
pub mod log;
mod outgoing;
mod presence;
mod publishing;
mod quota;
mod rejection;
mod tap;

pub(crate) use admission::{Newcomer, Place, Placed};
pub(crate) use compression::EventCompression;
pub use connection::ConnectionId;
pub use hub::Hub;
pub(crate) use hub::Parts;
pub(crate) use inbox::{
    Command, Description, Ending, Entering, Inbox, Leaving, Look, Move, Recipients, Seen, SlotPart,
};
pub use limits::Limit;
pub(crate) use limits::Limits;
pub(crate) use outgoing::Outgoing;
pub(crate) use publishing::{Changed, LogOut, LogOutOutcome};
pub(crate) use quota::Permits;
pub use quota::Quota;
pub use rejection::Rejection;
