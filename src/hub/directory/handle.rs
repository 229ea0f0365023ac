//! The four bytes by which a slot refers to its user.

/// Locks of the directory. So many that two shards which admit at the same time rarely need the same one.
pub(crate) const STRIPES: usize = 256;
/// Bits of a [`UserHandle`] for the place inside a stripe.
const INDEX_BITS: u32 = 24;

/// Refers to an interned user. Valid as long as one of the user's connections is in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserHandle(u32);

impl UserHandle {
    /// No user. Test streams have it.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// Returns true if a user at this place of a stripe can have a handle.
    pub(super) fn reaches(index: usize) -> bool {
        index < (1 << INDEX_BITS) - 1
    }

    /// The handle of a user that is there.
    #[allow(clippy::cast_possible_truncation)] // `Stripe::intern` leaves out places that are too far
    pub(super) fn new(stripe: usize, index: usize) -> Self {
        debug_assert!(stripe < STRIPES && Self::reaches(index));
        Self((stripe << INDEX_BITS | index) as u32)
    }

    pub(super) fn parts(self) -> (usize, usize) {
        let mask = (1 << INDEX_BITS) - 1;
        ((self.0 >> INDEX_BITS) as usize, (self.0 & mask) as usize)
    }
}
