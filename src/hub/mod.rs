//! The domain: what happened, who is connected where, and who is allowed to do what. It knows
//! nothing about HTTP, SSE or sockets.
//!
//! [`Hub`] has the verbs; both HTTP services translate requests into them. A shard is the receiving
//! end of an [`Inbox`].
//!
//! | module | one purpose |
//! |---|---|
//! | [`hub`] | the parts, together |
//! | [`admission`] | who is let in, and the place they hold |
//! | [`publishing`] | events and session changes, stored and in force |
//! | [`presence`] | who is online, and ending their connections |
//! | [`room`] | connections that are gone give way to newcomers |
//! | [`dispatch`], [`outgoing`] | the log's entries on their way to the shards |
//! | [`inbox`] | what a shard is asked |
//! | [`connection`] | which connection it is |
//! | [`quota`], [`limits`], [`rejection`] | how many there may be, and why one is not let in |
//! | [`engine`] | what a store has to do, and what has to be one for all nodes |
//! | [`log`] | what happened |
//! | [`directory`] | who is connected where |

mod admission;
mod connection;
pub mod directory;
mod dispatch;
pub mod engine;
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
mod room;

pub use admission::{Newcomer, Place, Placed};
pub use connection::ConnectionId;
pub use hub::{Hub, Parts};
pub(crate) use inbox::{Command, Ending, Look, Recipients, Seen};
pub use inbox::{Description, Inbox};
pub use limits::{Limit, Limits};
pub use outgoing::{InFlight, Outgoing};
pub use publishing::LogOut;
pub use quota::{Permit, Permits, Quota};
pub use rejection::Rejection;
