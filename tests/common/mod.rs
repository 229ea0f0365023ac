//! Many clients and publishers of the real binary, and the check that no client missed or repeated an event.
//! `tests/chaos` uses it with one server, `tests/cluster` with several.
//!
//! | module | one purpose |
//! |---|---|
//! | [`book`] | all events of a run: what was published, accepted and received |
//! | [`subscriber`] | who wants which events |
//! | [`connection`], [`stream`] | a client's socket, and the parser of its stream |
//! | [`kernel`] | what the kernel knows of a connection |
//! | [`journal`] | what one client received |
//! | [`publisher`], [`admin`] | an application that repeats each event until it is accepted |
//! | [`real_time`] | the clock |
//! | [`check`] | compares what the clients received with what was accepted |

pub mod admin;
pub mod book;
pub mod check;
pub mod connection;
pub mod journal;
pub mod kernel;
pub mod publisher;
pub mod real_time;
pub mod stream;
pub mod subscriber;
