//! Nodes on a store with faults.

mod client;
mod model;
mod server;
mod step;
mod world;
