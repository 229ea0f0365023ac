//! The shard's inner parts for `benches/` and tests; not part of the library.

mod rig;
mod setup;
mod solo;

pub use rig::Rig;
pub use setup::Setup;
pub use solo::Solo;
