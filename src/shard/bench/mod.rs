//! Access to the shard's internals for `benches/` and tests. Not part of the library.

mod rig;
mod setup;
mod solo;

pub use rig::Rig;
pub use setup::Setup;
pub use solo::Solo;
