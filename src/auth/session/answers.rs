//! Recent answers of the application, and the questions in flight. At most `max_kept` answers are
//! kept; one more replaces the one that expires first. The clients that wait bound the questions.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use tokio::sync::watch;

use crate::event::Position;
use crate::expiring::Expiring;

/// Identifies the session of a request, without keeping its cookies.
pub(super) type SessionKey = [u8; 32];

/// An answer of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SessionAnswer {
    /// The session belongs to this user.
    SignedIn {
        user: CompactString,
        /// The log's position when the question was sent.
        asked: Position,
    },
    /// The session belongs to no user.
    Refused,
}

/// The outcome of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered(SessionAnswer),
    Unknown,
    /// The address had too many refusals, so its question was not sent.
    NotAsked,
}

/// Sends the outcome to the clients that wait.
pub(super) type OutcomeSender = Arc<watch::Sender<Option<Outcome>>>;

/// The state of a session in the cache.
#[derive(Debug)]
pub(super) enum Found {
    Kept(SessionAnswer),
    /// A question is in flight.
    Coming(watch::Receiver<Option<Outcome>>),
    /// The caller has to ask, and then to settle or forget the question.
    Unasked(OutcomeSender),
}

/// Recent answers of the application, and the questions in flight. No key has both.
#[derive(Debug)]
pub(super) struct Answers {
    coming: HashMap<SessionKey, OutcomeSender>,
    kept: Expiring<SessionKey, SessionAnswer>,
    max_kept: usize,
}

impl Answers {
    pub(super) fn new(max_kept: usize) -> Self {
        Self {
            coming: HashMap::new(),
            kept: Expiring::default(),
            max_kept,
        }
    }

    /// Looks up `key`. A kept answer counts only if it has not expired and `holds`.
    pub(super) fn find(
        &mut self,
        key: SessionKey,
        now_ms: u64,
        holds: impl FnOnce(&SessionAnswer) -> bool,
    ) -> Found {
        if let Some(outcome) = self.coming.get(&key) {
            return Found::Coming(outcome.subscribe());
        }
        if let Some(kept) = self.kept.get(key)
            && kept.expiry.at_ms > now_ms
            && holds(&kept.value)
        {
            return Found::Kept(kept.value.clone());
        }
        self.kept.remove(key);
        let outcome = OutcomeSender::default();
        self.coming.insert(key, Arc::clone(&outcome));
        Found::Unasked(outcome)
    }

    /// Ends a question. Its answer, if any, is kept until `end_ms`.
    pub(super) fn settle(
        &mut self,
        key: SessionKey,
        answer: Option<&SessionAnswer>,
        end_ms: u64,
        now_ms: u64,
    ) {
        self.forget(key);
        let room = self.max_kept - usize::from(answer.is_some());
        self.kept.make_room(room, now_ms);
        if let Some(answer) = answer {
            self.kept.insert(key, answer.clone(), end_ms);
        }
    }

    /// Removes question and answer.
    pub(super) fn forget(&mut self, key: SessionKey) {
        self.coming.remove(&key);
        self.kept.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEPT_MS: u64 = 5_000;
    const MAX_KEPT: usize = 3;

    fn key(number: u8) -> SessionKey {
        [number; 32]
    }

    fn signed_in(number: u8, asked_ms: u64) -> SessionAnswer {
        SessionAnswer::SignedIn {
            user: number.to_string().into(),
            asked: Position(asked_ms),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Find { number: u8, holds: bool },
        Settle { number: u8, is_answered: bool },
        GiveUp { number: u8 },
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = || 0..6_u8;
        prop_oneof![
            4 => (number(), prop::bool::weighted(0.9)).prop_map(|(number, holds)| Step::Find { number, holds }),
            4 => (number(), prop::bool::weighted(0.8)).prop_map(|(number, is_answered)| Step::Settle { number, is_answered }),
            1 => number().prop_map(|number| Step::GiveUp { number }),
            2 => (0..3_000_u64).prop_map(Step::Advance),
        ]
    }

    /// A naive model of the cache: the oldest answer first.
    #[derive(Default)]
    struct Model {
        asked: Vec<(u8, u64)>,
        kept: Vec<(u8, u64)>,
    }

    impl Model {
        fn is_asked(&self, number: u8) -> bool {
            self.asked.iter().any(|(other, _)| *other == number)
        }

        fn end_question(&mut self, number: u8) -> Option<u64> {
            let place = self.asked.iter().position(|(other, _)| *other == number)?;
            Some(self.asked.remove(place).1)
        }
    }

    proptest! {
        #[test]
        fn answers_are_kept_as_described(steps in prop::collection::vec(step(), 0..200)) {
            let mut answers = Answers::new(MAX_KEPT);
            let mut model = Model::default();
            let mut now_ms = 0;
            for step in steps {
                match step {
                    Step::Advance(ms) => now_ms += ms,
                    Step::Find { number, holds } => {
                        let found = answers.find(key(number), now_ms, |_| holds);
                        let kept = model.kept.iter().find(|(other, asked_ms)| {
                            *other == number && asked_ms + KEPT_MS > now_ms && holds
                        });
                        match found {
                            Found::Kept(answer) => {
                                prop_assert_eq!(Some(answer), kept.map(|(_, asked_ms)| signed_in(number, *asked_ms)));
                            }
                            Found::Coming(_) => prop_assert!(model.is_asked(number)),
                            Found::Unasked(_) => {
                                prop_assert!(kept.is_none() && !model.is_asked(number));
                                model.kept.retain(|(other, _)| *other != number);
                                model.asked.push((number, now_ms));
                            }
                        }
                    }
                    Step::Settle { number, is_answered } => {
                        let Some(asked_ms) = model.end_question(number) else { continue };
                        let answer = signed_in(number, asked_ms);
                        let answer = is_answered.then_some(&answer);
                        answers.settle(key(number), answer, asked_ms + KEPT_MS, now_ms);
                        model.kept.retain(|(_, asked_ms)| asked_ms + KEPT_MS > now_ms);
                        // A stable sort: of two that expire together, the first settled goes first.
                        model.kept.sort_by_key(|(_, asked_ms)| *asked_ms);
                        if is_answered {
                            let excess = (model.kept.len() + 1).saturating_sub(MAX_KEPT);
                            model.kept.drain(..excess);
                            model.kept.push((number, asked_ms));
                        }
                    }
                    Step::GiveUp { number } => {
                        if model.end_question(number).is_some() {
                            answers.forget(key(number));
                        }
                    }
                }
                prop_assert!(answers.kept.len() <= MAX_KEPT);
                prop_assert_eq!(answers.coming.len(), model.asked.len());
            }
        }
    }
}
