// The hook's `error`: the client's error with a text for the user.

import type { ErrorCode, Status } from '@idlewild/client';

export interface SSEError {
  /** What happened, for code: `too-many-connections` (429), `unauthorized`, `network`, … */
  readonly code: ErrorCode | 'offline' | 'logged-out';
  /** A short text for the user. */
  readonly message: string;
  /** The HTTP status, if known. */
  readonly status?: number;
  /** The server's own words, if it sent any. */
  readonly reason?: string;
}

const CONNECTION_ERROR = 'Connection error';

const MESSAGES: Readonly<Record<SSEError['code'], string>> = {
  unauthorized: 'Authentication required',
  token: 'Authentication required',
  forbidden: 'Topic not allowed',
  'too-many-connections': 'Too many connections',
  evicted: 'Too many connections',
  refused: 'Connection refused',
  unavailable: 'Server unavailable',
  network: CONNECTION_ERROR,
  timeout: CONNECTION_ERROR,
  silent: CONNECTION_ERROR,
  'not-a-stream': CONNECTION_ERROR,
  'too-large': CONNECTION_ERROR,
  storage: CONNECTION_ERROR,
  offline: 'Offline',
  'logged-out': 'Logged out',
};

export function errorOf({ state, error }: Status): SSEError | null {
  if (state === 'offline' || state === 'logged-out') return { code: state, message: MESSAGES[state] };
  return error === null ? null : { ...error, message: MESSAGES[error.code] };
}
