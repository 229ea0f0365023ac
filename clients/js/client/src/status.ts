// The status of a stream, as an application sees it.

export type State =
  /** `connect()` was not called yet. */
  | 'idle'
  | 'connecting'
  | 'open'
  /** The next attempt is at `until`. */
  | 'waiting'
  | 'offline'
  /** The page is frozen, or was hidden for longer than `pauseHiddenAfter`. */
  | 'paused'
  /** `close()` was called, or there is no token. */
  | 'closed'
  /** Stopped: the server ended this session; only a new token starts the client again. */
  | 'logged-out'
  /** Stopped: the token was refused and there is no other. */
  | 'unauthorized'
  /** Stopped: a topic is not allowed. */
  | 'forbidden'
  /** Stopped: the user has too many streams and this was the oldest. */
  | 'evicted'
  /** Stopped: the server refused this stream for good (400, 404, ...). */
  | 'failed';

export type TransportName = 'eventsource' | 'fetch' | 'websocket';

export type ErrorCode =
  | 'unauthorized'
  | 'forbidden'
  | 'refused'
  | 'too-many-connections'
  | 'unavailable'
  | 'network'
  | 'timeout'
  | 'silent'
  | 'not-a-stream'
  | 'evicted'
  | 'too-large'
  | 'token'
  | 'storage';

/** A plain object, so that it can be sent between tabs. Never contains a token or a URL. */
export interface StreamError {
  readonly code: ErrorCode;
  readonly message: string;
  /** The HTTP status, if known. */
  readonly status?: number;
  /** The server's own words, such as `Too many connections`, if it sent any. */
  readonly reason?: string;
}

/** The status of the stream itself, without that of the page. */
export interface StreamStatus {
  readonly state: State;
  /** The transport in use, or of the current attempt. */
  readonly transport: TransportName | null;
  /** Attempts that have failed since the stream was last open. */
  readonly attempt: number;
  /** The time of the next attempt (milliseconds since 1970), in `waiting`. */
  readonly until: number | null;
  /** Why the stream is not open, or was not at the last attempt. */
  readonly error: StreamError | null;
}

export interface Status extends StreamStatus {
  /** Whether tabs share the stream. */
  readonly shared: boolean;
  /** Whether this tab holds the connection. */
  readonly leader: boolean;
}

export const IDLE: StreamStatus = { state: 'idle', transport: null, attempt: 0, until: null, error: null };

/** Returns true for states that only the application can end. */
export function isStopped(state: State): boolean {
  return ['closed', 'logged-out', 'unauthorized', 'forbidden', 'evicted', 'failed'].includes(state);
}
