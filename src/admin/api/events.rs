//! Publishes one event, or a batch of one event per line.

use std::task::Poll;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::body::{Body, Unfinished};
use super::draft::parse_draft;
use super::response::{ApiError, ApiResponse, json};
use crate::admin::service::Admin;
use crate::event::Draft;
use crate::hub::engine::{EngineError, MAX_DRAFTS};
use crate::text::without_byte_order_mark;

/// Lines in one batch; part of the API.
const MAX_BATCH_LINES: usize = 10_000;
/// Bytes of an event's JSON besides its data: name, id and users.
const ENVELOPE_BYTES: usize = 512 * 1024;
/// Bytes of a batch's lines that are published together. A larger line is published by itself.
const MAX_GROUP_BYTES: usize = 1 << 20;
/// Errors that a batch's response lists. Further ones are left out.
const MAX_LISTED_ERRORS: usize = 1_000;

/// The answer to an event.
#[derive(Serialize)]
struct Accepted {
    id: String,
}

#[derive(Serialize)]
struct LineError {
    line: usize,
    message: String,
}

/// `POST /v1/events`
pub(crate) async fn publish(admin: &Admin, body: Body) -> Result<ApiResponse, ApiError> {
    let body = body.whole(max_event_bytes(admin)).await?;
    let draft = parse_draft(without_byte_order_mark(&body), admin.max_publish_bytes())?;
    let results = admin.hub.publish(vec![draft]).await;
    let [id] = <[_; 1]>::try_from(results).unwrap_or([Err(EngineError::NotStored)]);
    let id = id?.to_string();
    Ok(json(StatusCode::ACCEPTED, &Accepted { id }))
}

/// `POST /v1/events/batch`. Reads lines as they arrive, so a whole batch is never in memory.
pub(crate) async fn publish_batch(admin: &Admin, mut body: Body) -> Result<ApiResponse, ApiError> {
    let mut batch = Batch::default();
    let mut pending: Vec<u8> = Vec::new();
    loop {
        let next = match body.next_if_ready().await {
            Poll::Ready(next) => next,
            Poll::Pending => {
                // The client writes slowly: publish what has arrived before waiting for more.
                batch.publish(admin).await;
                body.next().await
            }
        };
        match next {
            Ok(None) => break,
            Ok(Some(data)) => batch.take(admin, &mut pending, &data).await,
            Err(unfinished) => {
                batch.publish(admin).await;
                let lines = batch.lines;
                return Err(match unfinished {
                    Unfinished::Late => ApiError::late(format!(
                        "the rest of the batch did not come in time; {lines} lines were read"
                    )),
                    Unfinished::CutOff(error) => ApiError::invalid(format!(
                        "the body was cut off after {lines} lines: {error}"
                    )),
                });
            }
        }
    }
    // A final newline ends the last line and does not begin another.
    if !pending.is_empty() || batch.is_skipping {
        batch.line(admin, &pending).await;
    }
    batch.publish(admin).await;
    if let Some(failure) = batch.failure.take() {
        if batch.accepted == 0 {
            return Err(failure);
        }
        // The batch gets 202, so `routes` does not log the failure.
        let (route, clock) = ("/v1/events/batch", &admin.hub.clock);
        admin
            .refused_requests
            .note(&failure, &Method::POST, Some(route), None, clock);
    }
    batch.errors.sort_by_key(|error| error.line);
    Ok(json(
        StatusCode::ACCEPTED,
        &json!({
            "accepted": batch.accepted,
            "errors": batch.errors,
        }),
    ))
}

#[derive(Default)]
struct Batch {
    lines: usize,
    accepted: usize,
    errors: Vec<LineError>,
    /// Why the engine has not stored some events. If it may have stored one of them, that is the reason.
    failure: Option<ApiError>,
    /// The current line is too long; the rest of it is skipped.
    is_skipping: bool,
    /// Drafts that are published together next.
    drafts: Vec<Draft>,
    /// The line number of each draft.
    numbers: Vec<usize>,
    draft_bytes: usize,
}

impl Batch {
    async fn take(&mut self, admin: &Admin, pending: &mut Vec<u8>, data: &Bytes) {
        let mut rest = data.as_ref();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            self.push(admin, pending, line);
            let line = std::mem::take(pending);
            self.line(admin, &line).await;
            rest = after.get(1..).unwrap_or_default();
        }
        self.push(admin, pending, rest);
    }

    fn push(&mut self, admin: &Admin, pending: &mut Vec<u8>, bytes: &[u8]) {
        if self.is_skipping {
            return;
        }
        pending.extend_from_slice(bytes);
        if pending.len() > max_event_bytes(admin) {
            pending.clear();
            self.is_skipping = true;
        }
    }

    async fn line(&mut self, admin: &Admin, line: &[u8]) {
        let was_skipped = std::mem::take(&mut self.is_skipping);
        self.lines += 1;
        let line = match self.lines {
            1 => without_byte_order_mark(line),
            _ => line,
        };
        if !was_skipped && line.trim_ascii().is_empty() {
            // Empty lines count, so that line numbers in errors match those of an editor.
            return;
        }
        let draft = if self.lines > MAX_BATCH_LINES {
            Err(ApiError::invalid(format!(
                "a batch has at most {MAX_BATCH_LINES} lines"
            )))
        } else if was_skipped {
            Err(ApiError::too_large(max_event_bytes(admin)))
        } else {
            parse_draft(line, admin.max_publish_bytes())
        };
        match draft {
            Ok(draft) => {
                self.draft_bytes += line.len();
                self.drafts.push(draft);
                self.numbers.push(self.lines);
                if self.drafts.len() == MAX_DRAFTS || self.draft_bytes >= MAX_GROUP_BYTES {
                    self.publish(admin).await;
                }
            }
            Err(error) => self.note(self.lines, &error),
        }
    }

    async fn publish(&mut self, admin: &Admin) {
        self.draft_bytes = 0;
        let drafts = std::mem::take(&mut self.drafts);
        let numbers = std::mem::take(&mut self.numbers);
        if drafts.is_empty() {
            return;
        }
        let results = admin.hub.publish(drafts).await;
        for (line, result) in numbers.into_iter().zip(results) {
            match result {
                Ok(_) => self.accepted += 1,
                Err(error) => {
                    let may_be_stored = matches!(error, EngineError::Unknown);
                    let error = error.into();
                    self.note(line, &error);
                    if may_be_stored || self.failure.is_none() {
                        self.failure = Some(error);
                    }
                }
            }
        }
    }

    fn note(&mut self, line: usize, error: &ApiError) {
        if self.errors.len() < MAX_LISTED_ERRORS {
            self.errors.push(LineError {
                line,
                message: error.message().to_owned(),
            });
        }
    }
}

fn max_event_bytes(admin: &Admin) -> usize {
    // An escape in JSON takes up to six bytes for one (`\u0041`).
    admin.max_publish_bytes() * 6 + ENVELOPE_BYTES
}
