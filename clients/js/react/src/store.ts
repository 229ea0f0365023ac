// The state of the hook, kept outside of React so that renders always read one consistent state.

import type { IdlewildClient, Status, StreamMessage } from '@idlewild/client';
import { errorOf, type SSEError } from './sse-error.js';

export interface Snapshot {
  readonly isConnected: boolean;
  /** Data of the last event with the default name. */
  readonly lastMessage: unknown;
  /** Why the stream is not open; `null` while it is. */
  readonly error: SSEError | null;
  readonly status: Status;
}

const DISCONNECTED: Status = {
  state: 'closed',
  transport: null,
  attempt: 0,
  until: null,
  error: null,
  shared: false,
  leader: false,
};

/** The state without a client, and on a server. */
export const EMPTY: Snapshot = { isConnected: false, lastMessage: null, error: null, status: DISCONNECTED };

export class Store {
  #snapshot = EMPTY;
  readonly #listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly snapshot = (): Snapshot => this.#snapshot;

  /** Shows this client from now on; `null` when there is none. */
  show(client: IdlewildClient | null): void {
    this.#set(client === null ? EMPTY : { ...EMPTY, status: client.status });
    client?.on('status', (status) => {
      this.#set({ ...this.#snapshot, status, isConnected: status.state === 'open', error: errorOf(status) });
    });
    client?.on('message', (message: StreamMessage) => {
      this.#set({ ...this.#snapshot, lastMessage: message.data });
    });
  }

  #set(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const listener of [...this.#listeners]) listener();
  }
}
