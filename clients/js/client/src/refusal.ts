// Decides what the end of a connection means for the next attempt.

import type { ErrorCode, State, StreamError } from './status.js';
import type { End } from './transport/transport.js';

export type Verdict =
  /** Try again after a while. */
  | { readonly next: 'wait'; readonly error: StreamError | null; readonly retryAfterMs: number | null }
  /** Try again almost at once. */
  | { readonly next: 'soon'; readonly error: StreamError | null }
  /** Try again with a transport that sees the status. */
  | { readonly next: 'probe' }
  /** The token was refused. */
  | { readonly next: 'renew'; readonly reason: string }
  | { readonly next: 'stop'; readonly state: State; readonly error: StreamError | null };

/** 4xx statuses that are temporary. Every other one is a mistake in the application, and trying again does not help. */
const PASSING_4XX = new Set([408, 425, 429]);

export function judge(end: End): Verdict {
  switch (end.kind) {
    case 'unseen':
      return { next: 'probe' };
    case 'ended':
      return { next: 'wait', error: null, retryAfterMs: null };
    case 'logged-out':
      return { next: 'stop', state: 'logged-out', error: null };
    case 'broken': {
      const error = { code: end.code, message: end.message };
      return end.code === 'silent' ? { next: 'soon', error } : { next: 'wait', error, retryAfterMs: null };
    }
    case 'refused':
      return judgeStatus(end.status, end.reason, end.retryAfterMs);
  }
}

function judgeStatus(status: number, reason: string, retryAfterMs: number | null): Verdict {
  if (status === 401) return { next: 'renew', reason };
  if (status === 403) return { next: 'stop', state: 'forbidden', error: refusal('forbidden', status, reason) };
  if (status === 429) return { next: 'wait', error: refusal('too-many-connections', status, reason), retryAfterMs };
  const final = status === 204 || (status >= 400 && status < 500 && !PASSING_4XX.has(status));
  if (final) return { next: 'stop', state: 'failed', error: refusal('refused', status, reason) };
  return { next: 'wait', error: refusal('unavailable', status, reason), retryAfterMs };
}

export function refusal(code: ErrorCode, status: number, reason: string): StreamError {
  const message = `The server answered ${status}`;
  return reason === '' ? { code, status, message } : { code, status, message: `${message} (${reason})`, reason };
}
