//! What is known of a connection before anybody has read from it.

mod network;

pub use network::Network;
