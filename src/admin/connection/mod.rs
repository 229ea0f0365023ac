//! Admin connections: accepted, given a place, and served until they are closed.
//!
//! | module | one purpose |
//! |---|---|
//! | [`acceptor`] | accepts them |
//! | [`places`] | how many there may be, and which one makes room |
//! | [`serve`] | one of them, from its first request to its end |
//! | [`line`] | its state, as its requests and the places see it |

mod acceptor;
mod line;
mod places;
mod serve;

pub(crate) use acceptor::serve;
pub(super) use line::Line;
pub(super) use places::Places;
