//! An answer that is here, or will be.

use std::pin::Pin;

/// An answer that will come.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An answer that is here in one process, and takes a round trip where several share a store. What
/// is here costs no box.
#[must_use]
pub(crate) enum Promise<'a, T> {
    /// It is here.
    Now(T),
    /// It will come. Nothing is begun before the future is polled, and one that is dropped has taken
    /// nothing that it does not give back.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "one node has all answers; several nodes, and tests, have to wait"
        )
    )]
    Later(Answer<'a, T>),
}

impl<T> Promise<'_, T> {
    /// Waits for it, if it has to.
    pub(crate) async fn get(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}
