//! An answer that is known now, or will be after a round trip.

use std::pin::Pin;

/// An answer that will be known later.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An answer that one node knows at once, and several nodes have to ask their store for. An answer that is known
/// is not boxed.
#[must_use]
pub(crate) enum Promise<'a, T> {
    /// The answer.
    Now(T),
    /// The answer will be known later. The future does nothing before it is polled. If it is dropped, it gives
    /// back what it has taken.
    Later(Answer<'a, T>),
}

impl<T> Promise<'_, T> {
    /// Waits for the answer if it is not known yet.
    pub(crate) async fn get(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}
