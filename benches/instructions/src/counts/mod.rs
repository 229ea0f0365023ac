//! The counts, one file per part of the server.

pub mod admission;
pub mod delivery;
pub mod encode;
pub mod handshake;
pub mod jwt;
pub mod replay;
pub mod shard;
