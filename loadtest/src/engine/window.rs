//! Which events of a run are counted.

/// The numbered events of a run, `first..first + count`. Any other event is foreign.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    pub(crate) first: u32,
    pub(crate) count: u32,
}
