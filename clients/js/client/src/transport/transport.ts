// The interface of the transports: one connection that reports what it receives. It does not decide about the next one.

import type { Environment } from '../environment.js';
import type { ErrorCode } from '../status.js';
import { setQuery } from '../url.js';

/** An event as it was received. */
export interface RawEvent {
  readonly event: string;
  readonly data: string;
  /** The event's own id; `undefined` if it has none. An empty one resets the last id. */
  readonly id: string | undefined;
}

/** Why a connection has ended. */
export type End =
  /** The server answered with something other than a stream. */
  | { readonly kind: 'refused'; readonly status: number; readonly retryAfterMs: number | null; readonly reason: string }
  /** The browser's EventSource gave up. It does not say why. */
  | { readonly kind: 'unseen' }
  /** The server ended the stream. */
  | { readonly kind: 'ended' }
  /** The server ended the session. */
  | { readonly kind: 'logged-out' }
  | { readonly kind: 'broken'; readonly code: ErrorCode; readonly message: string };

/** Called by a transport. Nothing is called after `ended`, or after the connection was closed. */
export interface ConnectionSink {
  opened(): void;
  event(event: RawEvent): void;
  /** Bytes arrived, perhaps not a whole event. */
  activity(): void;
  retry(milliseconds: number): void;
  /** An event was too large and is dropped. Its id counts. */
  oversized(id: string | undefined): void;
  /** The transport has lost its connection and opens a new one by itself. */
  reconnecting(): void;
  ended(end: End): void;
}

export interface Connection {
  close(): void;
  /** Delivers events with this name, too. */
  listen(name: string): void;
}

export interface ConnectionRequest {
  /** Contains the credential, if that goes into the URL. */
  readonly url: string;
  /** For the Authorization header. */
  readonly bearer: string | null;
  readonly lastEventId: string | null;
  readonly withCredentials: boolean;
  /** Whether the URL works more than once. A ticket does not. */
  readonly reusable: boolean;
  /** The names of the events that an EventSource has to listen to. */
  readonly names: ReadonlySet<string>;
}

export type Transport = (request: ConnectionRequest, sink: ConnectionSink, environment: Environment) => Connection;

/** The id goes into the query, where it needs no CORS preflight. */
export function withLastEventId({ url, lastEventId }: ConnectionRequest): string {
  return lastEventId === null ? url : setQuery(url, 'last_event_id', lastEventId);
}
