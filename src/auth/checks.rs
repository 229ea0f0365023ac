//! Checks signatures of public keys, on other threads than the shards': such a check takes up to
//! 0.3 ms a key, and anybody can send a token that needs one. Addresses take turns, so a flood of
//! forgeries from one of them delays the others by one check.
//!
//! The most likely key comes first, and its checks have turns of their own: a forgery costs as many
//! checks as there are keys, a good token mostly one, and does not wait for the forgeries' others.

use std::time::Duration;

use tokio::runtime::Handle;

use super::jwt::{Rejected, SignatureCheck, Signed};
use super::turns::{Bounds, Busy, Origin, Turn, Turns};
use crate::clock::Clock;

/// Checks that wait. Their clients wait with them, so `max_handshakes` bounds them, too.
const MAX_WAITING: usize = 4 * 1024;

/// Longest wait for a turn: past that a flood has the address's turns, and the client's place among
/// the handshakes is worth more to others.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// See the module's text.
#[derive(Debug)]
pub struct Checks {
    /// Turns for the most likely key.
    first: Turns,
    /// Turns for the others.
    rest: Turns,
    clock: Clock,
    control: Handle,
}

impl Checks {
    /// As many at once as half of the cores can do: the other half is for those that are let in.
    pub fn new(control: Handle, clock: Clock) -> Self {
        let bounds = Bounds {
            at_once: at_once(),
            at_once_each: at_once(),
            waiting: MAX_WAITING,
        };
        Self {
            first: Turns::new(bounds),
            rest: Turns::new(bounds),
            clock,
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
        let turn = self.take(&self.first, origin).await?;
        let (check, checked) = self
            .elsewhere(turn, move || {
                let checked = check.run_first(token);
                (check, checked)
            })
            .await?;
        let token = match checked {
            Ok(signed) => return Ok(Ok(signed)),
            Err(token) => token,
        };
        if !check.has_more() {
            return Ok(check.run_rest(token));
        }
        let turn = self.take(&self.rest, origin).await?;
        self.elsewhere(turn, move || check.run_rest(token)).await
    }

    async fn take(&self, turns: &Turns, origin: Origin) -> Result<Turn, Busy> {
        let turn = self.clock.within(MAX_WAIT, turns.take(origin)).await;
        turn.unwrap_or(Err(Busy))
    }

    /// Does the work on another thread, which ends the turn.
    async fn elsewhere<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        // A thread has the descriptor table of whoever starts it, and a shard's may be its own: so
        // it is the control runtime that asks for one.
        let working = self.control.spawn(async move {
            let working = tokio::task::spawn_blocking(move || {
                let done = work();
                drop(turn);
                done
            });
            working.await
        });
        match working.await {
            Ok(Ok(done)) => Ok(done),
            _ => Err(Busy),
        }
    }
}

fn at_once() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use jsonwebtoken::{EncodingKey, Header};
    use tokio::runtime::Runtime;

    use super::super::jwt::Verifier;
    use super::*;
    use crate::config::{self, Algorithm};

    const FORGED: &str = "eyJhbGciOiJFUzM4NCJ9.e30.AAAA";

    /// With two keys.
    fn verifier() -> Verifier {
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p384.pem");
        let verifier = Verifier::new(&config::Auth {
            algorithms: vec![Algorithm::ES384],
            public_keys: vec![pem.into(), pem.into()],
            ..config::Auth::default()
        });
        verifier.unwrap()
    }

    fn signed() -> String {
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p384.key.pem");
        let key = EncodingKey::from_ec_pem(&std::fs::read(pem).unwrap()).unwrap();
        let header = Header::new(jsonwebtoken::Algorithm::ES384);
        jsonwebtoken::encode(&header, &serde_json::json!({}), &key).unwrap()
    }

    /// A runtime whose tasks run when it is driven, and not before.
    fn control() -> Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.build().unwrap()
    }

    #[test]
    fn whoever_asks_does_nothing_but_wait() {
        let (control, verifier) = (control(), verifier());
        let checks = Checks::new(control.handle().clone(), Clock::manual(0));
        for (token, is_good) in [(signed(), true), (FORGED.to_owned(), false)] {
            let check = verifier.begin(&token).unwrap();
            let mut asking = pin!(checks.run(check, token, Origin::from(None)));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..10 {
                assert!(asking.as_mut().poll(&mut context).is_pending());
            }
            let checked = control.block_on(asking).unwrap();
            assert_eq!(checked.is_ok(), is_good);
        }
    }

    #[test]
    fn a_good_token_does_not_wait_for_the_further_keys_of_forgeries() {
        let (control, verifier) = (control(), verifier());
        let clock = Clock::manual(0);
        let checks = Checks::new(control.handle().clone(), clock.clone());
        let origin = Origin::from(None);
        let run = |token: String| checks.run(verifier.begin(&token).unwrap(), token, origin);
        control.block_on(async {
            let mut taken = Vec::new();
            for _ in 0..at_once() {
                taken.push(checks.rest.take(origin).await.unwrap());
            }
            assert!(run(signed()).await.unwrap().is_ok());
            let time_passes = async {
                loop {
                    clock.advance(MAX_WAIT);
                    tokio::task::yield_now().await;
                }
            };
            let forged = tokio::select! {
                forged = run(FORGED.to_owned()) => forged,
                () = time_passes => return,
            };
            assert_eq!(forged.err(), Some(Busy));
        });
    }
}
