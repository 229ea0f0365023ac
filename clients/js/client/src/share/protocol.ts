// What tabs say to each other on their channel.

import type { StreamError, StreamStatus } from '../status.js';
import type { RawEvent } from '../transport/transport.js';

export type FromLeader =
  /** "I lead, and have come to `position`": said on election and in answer to `hello` and `probe`. */
  | { readonly kind: 'leading'; readonly leader: string; readonly status: StreamStatus; readonly position: string | null }
  | { readonly kind: 'status'; readonly leader: string; readonly status: StreamStatus }
  /** `from` is the id after which the connection began that has brought it; a tab of an older version does not say. */
  | { readonly kind: 'event'; readonly leader: string; readonly event: RawEvent; readonly from?: string | null }
  | { readonly kind: 'error'; readonly leader: string; readonly error: StreamError };

export type FromFollower =
  /** A tab that listens from now on: who leads? */
  | { readonly kind: 'hello' }
  /** A tab that has missed what came after this id, before it heard of its leader. */
  | { readonly kind: 'rewind'; readonly lastEventId: string }
  /** "Is anybody there?" */
  | { readonly kind: 'probe' }
  /** Events of these names are wanted. */
  | { readonly kind: 'names'; readonly names: readonly string[] }
  /** The application of a follower asks for a new connection. */
  | { readonly kind: 'reconnect' }
  /** A follower's page came to the front or its network came back: is the stream alive? */
  | { readonly kind: 'check' };

export type TabMessage = FromLeader | FromFollower;

export function isFromLeader(message: TabMessage): message is FromLeader {
  return 'leader' in message;
}
