// The messages that tabs send each other.

import type { StreamError, StreamStatus } from '../status.js';
import type { RawEvent } from '../transport/transport.js';

export type FromLeader =
  /** This tab leads, and its stream is at `position`. Sent after the election, and as the answer to `hello` and `probe`. */
  | { readonly kind: 'leading'; readonly leader: string; readonly status: StreamStatus; readonly position: string | null }
  | { readonly kind: 'status'; readonly leader: string; readonly status: StreamStatus }
  /** `from` is the id after which the event's connection started. Older versions of this package do not send it. */
  | { readonly kind: 'event'; readonly leader: string; readonly event: RawEvent; readonly from?: string | null }
  | { readonly kind: 'error'; readonly leader: string; readonly error: StreamError };

export type FromFollower =
  /** A new tab asks who leads. */
  | { readonly kind: 'hello' }
  /** A tab has missed the events after this id, before it knew its leader. */
  | { readonly kind: 'rewind'; readonly lastEventId: string }
  /** Asks whether the leader is still there. */
  | { readonly kind: 'probe' }
  /** The tab listens to events with these names. */
  | { readonly kind: 'names'; readonly names: readonly string[] }
  /** The application of a follower asks for a new connection. */
  | { readonly kind: 'reconnect' }
  /** A tab became visible or its network is back: asks the leader to check the connection. */
  | { readonly kind: 'check' };

export type TabMessage = FromLeader | FromFollower;

export function isFromLeader(message: TabMessage): message is FromLeader {
  return 'leader' in message;
}
