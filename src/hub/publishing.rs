//! Publishing: events and session changes are stored by the engine. A session change is confirmed when it is in
//! force.

use std::time::Duration;

use tracing::Instrument as _;

use super::engine::{Applied, EngineError, Notice};
use super::hub::Hub;
use crate::event::{Draft, EventId, SessionDraft, Target, UserId};
use crate::metrics::PublishedTo;
use crate::spans;

/// How long a change that is stored may take to be in force here.
const IN_FORCE_TIMEOUT: Duration = Duration::from_secs(2);

/// A session change that is in force here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The id of its entry in the log.
    pub(crate) id: EventId,
    /// Where else it is in force.
    pub(crate) applied: Applied,
}

/// A log-out that is in force here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogOutOutcome {
    /// The change of session.
    pub(crate) changed: Changed,
    /// How many connections it has ended on all nodes.
    pub(crate) ended: usize,
    /// The names of the nodes that have not said how many.
    pub(crate) silent: Vec<String>,
}

/// The message of a log-out to the clients whose connections it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogOut {
    /// For people.
    pub(crate) message: String,
    /// For programs.
    pub(crate) reason: String,
}

impl Default for LogOut {
    fn default() -> Self {
        Self {
            message: "You have been logged out.".to_owned(),
            reason: "logout".to_owned(),
        }
    }
}

impl Hub {
    /// Stores events in order, and returns one answer per event. Delivery follows.
    pub(crate) async fn publish(&self, drafts: Vec<Draft>) -> Vec<Result<EventId, EngineError>> {
        let to: Vec<PublishedTo> = drafts.iter().map(|draft| label(&draft.to)).collect();
        let span = spans::publish(drafts.len());
        let answers = self.engine.publish(drafts).instrument(span.clone()).await;
        self.until_forwarded().await;
        if let Some(error) = answers.iter().find_map(|answer| answer.as_ref().err()) {
            spans::fail(&span, error);
        }
        for (to, answer) in to.into_iter().zip(&answers) {
            if answer.is_ok() {
                self.metrics.published.at(to as usize).increment();
            }
        }
        answers
    }

    /// Makes a session the user's only one. When this returns, the credentials of other sessions are rejected, and
    /// their streams are about to end, with `message` if there is one. [`Changed::applied`] tells on which other
    /// nodes.
    ///
    /// # Errors
    /// [`EngineError`]. Nothing has changed then, except perhaps with [`EngineError::Unknown`].
    pub(crate) async fn change_session(
        &self,
        user: UserId,
        session: &str,
        message: Option<String>,
    ) -> Result<Changed, EngineError> {
        // Another node may have changed it, unknown to this one yet. Then the engine decides.
        if !self.engine.is_shared() && self.directory.is_current(user.as_str(), session) {
            // No session ends, so no client gets a FORCE_LOGOUT.
            return Ok(Changed {
                id: self.log.newest_id(),
                applied: Applied::default(),
            });
        }
        let message =
            message.unwrap_or_else(|| "You have been logged in from another device.".to_owned());
        let notice = Notice {
            message,
            reason: "new_login".to_owned(),
        };
        let change = SessionDraft {
            user,
            keep: Some(session.into()),
        };
        self.change(change, notice, spans::change_session()).await
    }

    /// Ends all sessions of a user, in the way that [`Hub::change_session`] ends all but one.
    ///
    /// # Errors
    /// [`EngineError`]. Nothing has changed then, except perhaps with [`EngineError::Unknown`].
    pub(crate) async fn log_out(
        &self,
        user: UserId,
        words: LogOut,
    ) -> Result<LogOutOutcome, EngineError> {
        let notice = Notice {
            message: words.message,
            reason: words.reason,
        };
        let change = SessionDraft { user, keep: None };
        let changed = self.change(change, notice, spans::log_out()).await?;
        let elsewhere = self.register().ended_elsewhere(changed.id).get().await;
        Ok(LogOutOutcome {
            ended: elsewhere.found + self.ended.by(changed.id).unwrap_or(0),
            silent: elsewhere.silent,
            changed,
        })
    }

    async fn change(
        &self,
        change: SessionDraft,
        notice: Notice,
        span: tracing::Span,
    ) -> Result<Changed, EngineError> {
        let generation = self.log.generation();
        let changed = self
            .engine
            .change_session(change, notice)
            .instrument(span.clone())
            .await;
        let id = changed.inspect_err(|error| spans::fail(&span, error))?;
        drop(span);
        // False if the store lost its newest entries, and this one may be among them. Nothing arrives while the
        // store cannot be reached.
        let dispatched = async || {
            let dispatched = self.log.dispatched(id, generation);
            self.clock.within(IN_FORCE_TIMEOUT, dispatched).await == Some(true)
        };
        if !dispatched().instrument(spans::dispatch()).await {
            return Err(EngineError::Unknown);
        }
        let applied = self.engine.applied(id).get().await;
        // If the store has lost the entry meanwhile, the other nodes may be further in another log, without it.
        if !dispatched().await {
            return Err(EngineError::Unknown);
        }
        self.until_forwarded().await;
        Ok(Changed { id, applied })
    }
}

fn label(target: &Target) -> PublishedTo {
    match target {
        Target::User(_) => PublishedTo::User,
        Target::Users(_) => PublishedTo::Users,
        Target::Topic(_) => PublishedTo::Topic,
        Target::All => PublishedTo::All,
    }
}
