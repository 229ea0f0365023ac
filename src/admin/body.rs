//! A request's body, as far as the client sends it in time.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};

use super::answer::Problem;
use super::line::Line;
use crate::clock::{Clock, millis};

/// Longest wait for the next piece of a body.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longest time for a whole body: a batch that is written as its events happen, line by line.
const MAX_TIME: Duration = Duration::from_secs(10 * 60);

/// See the module's text. While it is waited for, its connection counts as idle.
pub(super) struct Body {
    incoming: Incoming,
    line: Arc<Line>,
    clock: Clock,
    end_by_ms: u64,
}

/// Why the rest of a body does not come.
#[derive(Debug)]
pub(super) enum Unfinished {
    Late,
    CutOff(hyper::Error),
}

impl Body {
    pub(super) fn new(incoming: Incoming, line: &Arc<Line>, clock: Clock) -> Self {
        line.set_unread(!incoming.is_end_stream());
        Self {
            incoming,
            line: Arc::clone(line),
            end_by_ms: clock.now_ms() + millis(MAX_TIME),
            clock,
        }
    }

    /// The connection that it comes over.
    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Unfinished> {
        self.line.set_busy(false);
        let next = self.in_time().await;
        self.line.set_busy(true);
        next
    }

    /// The whole body, if it is not over the limit.
    pub(super) async fn whole(mut self, max_bytes: usize) -> Result<Bytes, Problem> {
        let is_too_large = |bytes: u64| bytes > max_bytes as u64;
        if is_too_large(self.incoming.size_hint().lower()) {
            return Err(Problem::too_large(max_bytes));
        }
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if is_too_large((whole.len() + piece.len()) as u64) {
                return Err(Problem::too_large(max_bytes));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    async fn in_time(&mut self) -> Result<Option<Bytes>, Unfinished> {
        let now_ms = self.clock.now_ms();
        let left = Duration::from_millis(self.end_by_ms.saturating_sub(now_ms)).min(MAX_PAUSE);
        let incoming = &mut self.incoming;
        let data = async {
            while let Some(frame) = incoming.frame().await {
                if let Ok(data) = frame.map_err(Unfinished::CutOff)?.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(None)
        };
        let next = self.clock.within(left, data).await;
        let next = next.unwrap_or(Err(Unfinished::Late));
        if matches!(next, Ok(None)) {
            self.line.set_unread(false);
        }
        next
    }
}

impl From<Unfinished> for Problem {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::Late => Self::late("the body did not come in time"),
            Unfinished::CutOff(error) => Self::invalid(format!("the body was cut off: {error}")),
        }
    }
}
