//! One-time tickets: a client exchanges its token for a ticket, so that the credential in a URL (and
//! in the access logs on the way) is worthless half a minute later.
//!
//! A ticket is 256 random bits, of which only half of the SHA-256 is kept. So neither a memory dump
//! nor the timing of a lookup reveals a usable ticket. The table is bounded by bytes, because a token
//! may contain 8 KiB of topics. When it is full, the tickets that expire first give way: clients use
//! their tickets at once, so these will not be used any more. A user's own oldest tickets give way
//! first, so displacing other users' tickets takes at least a hundred accounts.
//!
//! Every operation costs O(log n) in the number of tickets, and the table frees memory as it empties.
//!
//! | module | one purpose |
//! |---|---|
//! | [`tickets`] | the table of unused tickets |
//! | [`portable`] | tickets as they are described to another process |

mod portable;
mod tickets;

pub(crate) use portable::PortableTicket;
pub use tickets::{MAX_BYTES, Tickets};
pub(crate) use tickets::{MAX_BYTES_PER_USER, MAX_TICKETS_PER_USER};
