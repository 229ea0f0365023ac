// What a client tells its application about the stream.

export type State =
  /** `connect()` was not called yet. */
  | 'idle'
  | 'connecting'
  | 'open'
  /** The next attempt comes at `until`. */
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
  /** Stopped: the server does not know this stream (400, 404, ...). */
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

/** A plain object, so that it travels between tabs. Never holds a token or a URL. */
export interface StreamError {
  readonly code: ErrorCode;
  readonly message: string;
  /** The HTTP status, where one was seen. */
  readonly status?: number;
}

/** What the stream itself is doing, without what the page around it adds. */
export interface StreamStatus {
  readonly state: State;
  /** What carries the stream now, or is about to. */
  readonly transport: TransportName | null;
  /** Attempts that have failed since the stream was last open. */
  readonly attempt: number;
  /** When the next attempt comes (milliseconds since 1970), in `waiting`. */
  readonly until: number | null;
  /** Why the stream is not open, or was not before. */
  readonly error: StreamError | null;
}

export interface Status extends StreamStatus {
  /** Whether the stream is one that tabs share. */
  readonly shared: boolean;
  /** Whether this tab holds the connection. */
  readonly leader: boolean;
}

export const IDLE: StreamStatus = { state: 'idle', transport: null, attempt: 0, until: null, error: null };

/** States that end by the application's doing only. */
export function isStopped(state: State): boolean {
  return ['closed', 'logged-out', 'unauthorized', 'forbidden', 'evicted', 'failed'].includes(state);
}
