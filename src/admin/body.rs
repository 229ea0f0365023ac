//! A request's body, as far as the client sends it in time. Only the time that is spent waiting for
//! the client counts: what it has sent already is never late.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};

use super::answer::Problem;
use super::line::Line;
use crate::clock::Clock;

/// Longest wait for the next piece of a body.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longest wait for a whole body: a batch that is written as its events happen, line by line.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// See the module's text. While it is waited for, its connection counts as idle.
pub(super) struct Body {
    incoming: Incoming,
    line: Arc<Line>,
    clock: Clock,
    waited_ms: u64,
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
            waited_ms: 0,
            clock,
        }
    }

    /// The next piece, `None` at the end, if it has come already.
    pub(super) async fn arrived(&mut self) -> Poll<Result<Option<Bytes>, Unfinished>> {
        let next = {
            let mut data = pin!(data(&mut self.incoming));
            std::future::poll_fn(|cx| Poll::Ready(data.as_mut().poll(cx))).await
        };
        if matches!(next, Poll::Ready(Ok(None))) {
            self.line.set_unread(false);
        }
        next
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Unfinished> {
        if let Poll::Ready(next) = self.arrived().await {
            return next;
        }
        self.line.set_busy(false);
        let next = self.in_time().await;
        self.line.set_busy(true);
        if matches!(next, Ok(None)) {
            self.line.set_unread(false);
        }
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
        let begun_ms = self.clock.now_ms();
        let left = MAX_WAIT.saturating_sub(Duration::from_millis(self.waited_ms));
        let next = data(&mut self.incoming);
        let next = self.clock.within(left.min(MAX_PAUSE), next).await;
        self.waited_ms += self.clock.now_ms() - begun_ms;
        next.unwrap_or(Err(Unfinished::Late))
    }
}

/// The next piece of data, past frames without any.
async fn data(incoming: &mut Incoming) -> Result<Option<Bytes>, Unfinished> {
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(Unfinished::CutOff)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

impl From<Unfinished> for Problem {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::Late => Self::late("the body did not come in time"),
            Unfinished::CutOff(error) => Self::invalid(format!("the body was cut off: {error}")),
        }
    }
}
