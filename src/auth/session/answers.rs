//! What the application said a moment ago, and what it is being asked. Bounded: past
//! `max_kept`, the answer that would run out first goes. Questions are bounded by the clients that
//! wait for them.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use tokio::sync::watch;

use crate::event::Position;
use crate::expiring::Expiring;

/// What stands for a request's cookies.
pub(super) type SessionKey = [u8; 32];

/// What the application said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SessionAnswer {
    /// The session is this user's.
    SignedIn {
        user: CompactString,
        /// How far the log had come when the question was sent.
        asked: Position,
    },
    /// It is nobody's.
    Refused,
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered(SessionAnswer),
    Unknown,
    /// The address that was to be asked about was refused too often.
    NotAsked,
}

/// Where a question's end is told.
pub(super) type OutcomeSender = Arc<watch::Sender<Option<Outcome>>>;

/// What is known of a session.
#[derive(Debug)]
pub(super) enum Found {
    Kept(SessionAnswer),
    /// Somebody asks.
    Coming(watch::Receiver<Option<Outcome>>),
    /// Whoever gets this has to ask, and to settle or forget it.
    Unasked(OutcomeSender),
}

/// Recent answers of the application, and the questions under way. No key has both.
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

    /// What is known of `key`; a kept answer only if it has not run out and `holds`.
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

    /// Ends a question; its answer, if there is one, is kept until `end_ms`.
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

    /// As if nobody had ever asked.
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

    /// What is known, told as simply as possible: the oldest answer first.
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
                        // A stable sort: of two that run out together, the first settled goes first.
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
