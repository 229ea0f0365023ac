// What a transport is: one connection that reports what it carries. Whether to connect again is not its business.

import type { Environment } from '../environment.js';
import type { ErrorCode } from '../status.js';
import { setQuery } from '../url.js';

/** One event as it came; what its name means is decided elsewhere. */
export interface RawEvent {
  readonly event: string;
  readonly data: string;
  /** The id that this event carried, `undefined` where it had none; an empty one takes the last id back. */
  readonly id: string | undefined;
}

/** Why a connection is over. */
export type End =
  /** The server answered with something other than a stream. */
  | { readonly kind: 'refused'; readonly status: number; readonly retryAfterMs: number | null; readonly reason: string }
  /** The browser's EventSource gave up and does not say why. */
  | { readonly kind: 'unseen' }
  /** The server ended the stream. */
  | { readonly kind: 'ended' }
  /** The server ended the session. */
  | { readonly kind: 'logged-out' }
  | { readonly kind: 'broken'; readonly code: ErrorCode; readonly message: string };

/** Called by a transport; nothing comes after `ended`, nor after the connection was closed. */
export interface ConnectionSink {
  opened(): void;
  event(event: RawEvent): void;
  /** Bytes came that are no event. */
  activity(): void;
  retry(milliseconds: number): void;
  /** An event was too large and is left out; its id counts as seen. */
  oversized(id: string | undefined): void;
  /** The transport has lost its connection and makes a new one by itself. */
  reconnecting(): void;
  ended(end: End): void;
}

export interface Connection {
  close(): void;
  /** Events of this name are wanted from now on. */
  listen(name: string): void;
}

export interface ConnectionRequest {
  /** With the credential in it, where it goes into the URL. */
  readonly url: string;
  /** For the Authorization header. */
  readonly bearer: string | null;
  readonly lastEventId: string | null;
  readonly withCredentials: boolean;
  /** Whether the same URL may be connected to again: a ticket works once. */
  readonly reusable: boolean;
  /** Events that an EventSource has to listen for by name. */
  readonly names: ReadonlySet<string>;
}

export type Transport = (request: ConnectionRequest, sink: ConnectionSink, environment: Environment) => Connection;

/** The id goes into the query, where it needs no CORS preflight. */
export function withLastEventId({ url, lastEventId }: ConnectionRequest): string {
  return lastEventId === null ? url : setQuery(url, 'last_event_id', lastEventId);
}
