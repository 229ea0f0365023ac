//! Checks signatures of public keys, on other threads than the shards': such a check takes up to
//! 0.3 ms a key, and anybody can send a token that needs one. Addresses take turns, so a flood of
//! forgeries from one of them delays the others by one check.

use tokio::runtime::Handle;

use super::jwt::{Rejected, SignatureCheck, Signed};
use super::turns::{Bounds, Busy, Origin, Turns};

/// Checks that wait. Their clients wait with them, so `max_handshakes` bounds them, too.
const MAX_WAITING: usize = 4 * 1024;

/// See the module's text.
#[derive(Debug)]
pub struct Checks {
    turns: Turns,
    control: Handle,
}

impl Checks {
    /// As many at once as half of the cores can do: the other half is for those that are let in.
    pub fn new(control: Handle) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let at_once = (cores / 2).max(1);
        let bounds = Bounds {
            at_once,
            at_once_each: at_once,
            waiting: MAX_WAITING,
        };
        Self {
            turns: Turns::new(bounds),
            control,
        }
    }

    /// Checks the signature of a token that came from `origin`.
    ///
    /// # Errors
    /// Too many wait, or the server ends.
    pub async fn run(
        &self,
        check: SignatureCheck,
        token: String,
        origin: Origin,
    ) -> Result<Result<Signed<String>, Rejected>, Busy> {
        let turn = self.turns.take(origin).await?;
        // A thread has the descriptor table of whoever starts it, and a shard's may be its own: so
        // it is the control runtime that asks for one.
        let checking = self.control.spawn(async move {
            let checking = tokio::task::spawn_blocking(move || {
                let checked = check.run(token);
                drop(turn);
                checked
            });
            checking.await
        });
        match checking.await {
            Ok(Ok(checked)) => Ok(checked),
            _ => Err(Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::super::jwt::Verifier;
    use super::*;
    use crate::config::{self, Algorithm};

    const TOKEN: &str = "eyJhbGciOiJFUzM4NCJ9.e30.AAAA";

    fn check() -> SignatureCheck {
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p384.pem");
        let verifier = Verifier::new(&config::Auth {
            algorithms: vec![Algorithm::ES384],
            public_keys: vec![pem.into()],
            ..config::Auth::default()
        });
        verifier.unwrap().begin(TOKEN).unwrap()
    }

    #[test]
    fn whoever_asks_does_nothing_but_wait() {
        // Its tasks run when it is driven, and not before.
        let control = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let checks = Checks::new(control.handle().clone());
        let mut asking = pin!(checks.run(check(), TOKEN.to_owned(), Origin::from(None)));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10 {
            assert!(asking.as_mut().poll(&mut context).is_pending());
        }
        let checked = control.block_on(asking).unwrap();
        assert_eq!(checked.err(), Some(Rejected::Signature));
    }
}
