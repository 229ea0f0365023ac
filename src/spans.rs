//! The spans that `[telemetry]` exports besides those of admin requests: the steps of the engine's work.
//! Clients and deliveries have no spans.
//!
//! The spans have a separate target. Without an exporter no layer enables it, so a span costs one flag
//! check. Log lines never show these spans, whatever the level.

use std::fmt::Display;

use tracing::Span;
use tracing::field::{Empty, display};

/// The target of these spans.
pub(crate) const TARGET: &str = "idlewild::spans";

/// A step of `$parent`. If that is not traced, neither is the step: only admin requests and flushes
/// begin a trace.
macro_rules! step {
    ($parent:expr, $name:literal $(, $field:ident = $value:expr)?) => {{
        let parent: &Span = $parent;
        if parent.is_none() {
            Span::none()
        } else {
            tracing::info_span!(
                target: TARGET,
                parent: parent,
                $name,
                $(idlewild.$field = $value,)?
                otel.status_description = Empty,
            )
        }
    }};
}

/// Publishing events, until the engine has accepted them.
pub(crate) fn publish(events: usize) -> Span {
    step!(&Span::current(), "publish", events = count(events))
}

/// Changing a user's session, until the engine has accepted it.
pub(crate) fn change_session() -> Span {
    step!(&Span::current(), "change session")
}

/// Logging a user out, until the engine has accepted it.
pub(crate) fn log_out() -> Span {
    step!(&Span::current(), "log out")
}

/// Dispatching a change, until it is in force in every shard.
pub(crate) fn dispatch() -> Span {
    step!(&Span::current(), "dispatch")
}

/// Appending events to the log in memory, including the wait for room.
pub(crate) fn append(events: usize) -> Span {
    step!(&Span::current(), "append", events = count(events))
}

/// Committing events to the store, for the request of span `of` among others.
pub(crate) fn commit(of: &Span, events: usize) -> Span {
    step!(of, "commit", events = count(events))
}

/// Flushing committed data to the disk, for all requests of the last second.
pub(crate) fn flush() -> Span {
    tracing::info_span!(
        target: TARGET,
        parent: None,
        "flush",
        otel.status_description = Empty,
    )
}

/// Marks a span as failed.
pub(crate) fn fail(span: &Span, error: &impl Display) {
    span.record("otel.status_description", display(error));
}

/// The collector reads only signed integers as numbers.
fn count(events: usize) -> i64 {
    i64::try_from(events).unwrap_or(i64::MAX)
}
