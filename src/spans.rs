//! The spans that `[telemetry]` exports, apart from the admin request's own: what the engine does
//! for a request, by step. None is ever made for a client or a delivery.
//!
//! They have a target of their own. Where nothing is exported no layer wants it, so that a span
//! costs a look at its callsite's flag; and no log line shows one, whatever the level.

use std::fmt::Display;

use tracing::Span;
use tracing::field::{Empty, display};

/// Their target.
pub(crate) const TARGET: &str = "idlewild::spans";

/// A step of `$parent`; none where that is not traced, so that nothing begins a trace but an admin
/// request, and the disk.
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

/// Handing events to the engine, until they are accepted.
pub(crate) fn publish(events: usize) -> Span {
    step!(&Span::current(), "publish", events = count(events))
}

/// Changing a user's session, until that is accepted.
pub(crate) fn change_session() -> Span {
    step!(&Span::current(), "change session")
}

/// Logging a user out, until that is accepted.
pub(crate) fn log_out() -> Span {
    step!(&Span::current(), "log out")
}

/// From accepted to in force in every shard.
pub(crate) fn dispatch() -> Span {
    step!(&Span::current(), "dispatch")
}

/// Putting events into the log in memory, waiting for room in it included.
pub(crate) fn append(events: usize) -> Span {
    step!(&Span::current(), "append", events = count(events))
}

/// Writing a commit of so many events, of which `of` asked for some.
pub(crate) fn commit(of: &Span, events: usize) -> Span {
    step!(of, "commit", events = count(events))
}

/// Flushing what was committed to the disk, for whoever wrote in the last second.
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
