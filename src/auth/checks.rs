//! Checks public-key signatures on threads other than the shards'. Such a check takes up to 0.3 ms
//! per key, and anyone can send a token that needs one. The queue is fair between addresses, so a
//! flood of forgeries from one address delays the others by one check.
//!
//! The most likely key is tried first, in a lane of its own. A forgery costs one check per key. A
//! good token usually costs one, and does not wait for the further checks of forgeries.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::allowance::Allowance;
use super::fair_queue::{Busy, FairQueue, QueueLimits};
use super::jwt::{Rejected, SignatureCheck, Signed};
use crate::clock::Clock;
use crate::net::Network;

/// Limit of waiting checks. Their clients wait with them, so `max_handshakes` bounds them, too.
const MAX_WAITING: usize = 4 * 1024;

/// The same per address that sends forgeries. It is small, so that most of the places for handshakes
/// are left to others.
const MAX_WAITING_SUSPECT: usize = 64;

/// Burst of bad signatures per address; a tenth of it makes the address suspect.
const MAX_FORGERIES: u64 = 100;

/// Time until one bad signature is forgiven.
const FORGERY_MS: u64 = 100;

/// Longest wait in the queue. Past that, a flood uses the address's share, and others need the client's
/// place among the handshakes.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Niceness of the threads for the most likely key: a busy shard gets three times their share of a
/// core. Open streams come first.
const NICE_FIRST: i32 = 5;

/// The same for the other keys: a ninth of a busy shard's share. There are as many threads as cores.
/// So a flood of forgeries has to use up the whole machine before it delays good tokens of a less
/// likely key.
const NICE_REST: i32 = 10;

/// Threads that check signatures, behind fair queues.
#[derive(Debug)]
pub(crate) struct Checks {
    /// For the most likely key.
    first: Lane,
    /// For the others.
    rest: Lane,
    forgeries: Allowance,
    clock: Clock,
}

impl Checks {
    /// Starts the threads; they end when this is dropped.
    ///
    /// Call this before the shard threads start: a thread wakes these by the numbers in its own descriptor
    /// table.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            // The other half of the cores is for clients that are already connected.
            first: Lane::new((cores() / 2).max(1), NICE_FIRST),
            rest: Lane::new(cores(), NICE_REST),
            forgeries: Allowance::new(MAX_FORGERIES, FORGERY_MS),
            clock,
        }
    }

    /// Checks the signature of a token from `network`.
    ///
    /// # Errors
    /// The queue is full, or the check waited too long.
    pub(crate) async fn run(
        &self,
        check: SignatureCheck,
        token: String,
        network: Network,
    ) -> Result<Result<Signed<String>, Rejected>, Busy> {
        let work = move || {
            let checked = check.run_first(token);
            (check, checked)
        };
        let (check, checked) = self.work(&self.first, network, work).await?;
        let checked = match checked {
            Ok(signed) => Ok(signed),
            Err(token) if check.has_more() => {
                let work = move || check.run_rest(token);
                self.work(&self.rest, network, work).await?
            }
            Err(token) => check.run_rest(token),
        };
        if checked.is_err() {
            self.forgeries.take(network, self.clock.now_ms());
        }
        Ok(checked)
    }

    /// Runs `work` on a thread of the lane, after waiting in its queue.
    async fn work<T: Send + 'static>(
        &self,
        lane: &Lane,
        network: Network,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let reputation = self.forgeries.reputation(network, self.clock.now_ms());
        let grant = lane.queue.enter(network, reputation);
        let grant = self.clock.within(MAX_WAIT, grant).await.ok_or(Busy)??;
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            // The caller may have gone.
            let _ = answer.send(work());
            drop(grant);
        });
        lane.jobs.send(job).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads, and the queue in front of them.
#[derive(Debug)]
struct Lane {
    queue: FairQueue,
    /// Holds at most one job per thread: each job has a grant.
    jobs: mpsc::Sender<Job>,
}

impl Lane {
    fn new(threads: usize, nice: i32) -> Self {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let receiver = Arc::clone(&receiver);
            let thread = std::thread::Builder::new().name("signatures".to_owned());
            let spawned = thread.spawn(move || {
                // On Linux this affects the calling thread only. If it fails, checks get a larger share.
                let _ = rustix::process::nice(nice);
                // One thread waits for a job, the others for the lock.
                while let Ok(job) = { receiver.lock().recv() } {
                    job();
                }
            });
            if let Err(error) = spawned {
                // Without any thread, tokens with public keys get 503.
                tracing::error!(%error, "cannot start a thread that checks signatures");
            }
        }
        Self {
            queue: FairQueue::new(QueueLimits {
                at_once: threads,
                at_once_each: threads,
                waiting: MAX_WAITING,
                waiting_suspect: MAX_WAITING_SUSPECT,
            }),
            jobs,
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};

    use super::super::fair_queue::Reputation;
    use super::super::jwt::Verifier;
    use super::*;
    use crate::config::{self, Algorithm, InputFile};

    const FORGED: &str = "eyJhbGciOiJFUzM4NCJ9.e30.AAAA";

    /// Has two keys.
    fn verifier() -> Verifier {
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p384.pem");
        let verifier = Verifier::new(&config::Auth {
            algorithms: vec![Algorithm::ES384],
            public_keys: vec![InputFile::read(pem).unwrap(); 2],
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

    #[test]
    fn signatures_are_checked_on_another_thread() {
        let verifier = verifier();
        let checks = Checks::new(Clock::manual(0));
        let network = Network::of(None);
        for (token, is_good) in [(signed(), true), (FORGED.to_owned(), false)] {
            let work = || std::thread::current().id();
            let worked_by = block_on(checks.work(&checks.first, network, work)).unwrap();
            assert_ne!(worked_by, std::thread::current().id());
            let check = verifier.begin(&token).unwrap();
            let checked = block_on(checks.run(check, token, network)).unwrap();
            assert_eq!(checked.is_ok(), is_good);
        }
    }

    #[test]
    fn a_good_token_does_not_wait_for_the_further_keys_of_forgeries() {
        let verifier = verifier();
        let clock = Clock::manual(0);
        let checks = Checks::new(clock.clone());
        let network = Network::of(None);
        let run = |token: String| checks.run(verifier.begin(&token).unwrap(), token, network);
        block_on(async {
            let mut taken = Vec::new();
            for _ in 0..cores() {
                taken.push(
                    checks
                        .rest
                        .queue
                        .enter(network, Reputation::Good)
                        .await
                        .unwrap(),
                );
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

    #[test]
    fn an_address_that_sends_forgeries_becomes_suspect() {
        let verifier = verifier();
        let checks = Checks::new(Clock::manual(0));
        let network = Network::of(None);
        let run = |token: String| {
            let check = verifier.begin(&token).unwrap();
            block_on(checks.run(check, token, network)).unwrap()
        };
        for _ in 0..20 {
            assert!(run(signed()).is_ok());
        }
        assert_eq!(checks.forgeries.reputation(network, 0), Reputation::Good);
        for _ in 0..20 {
            assert!(run(FORGED.to_owned()).is_err());
        }
        assert_eq!(checks.forgeries.reputation(network, 0), Reputation::Suspect);
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.build().unwrap().block_on(future)
    }
}
