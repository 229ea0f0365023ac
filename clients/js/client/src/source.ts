// What a client gets its events from: a stream of its own, or one that it shares with other tabs.

import type { Status, StreamError } from './status.js';
import type { RawEvent } from './transport/transport.js';

export interface Source {
  start(): void;
  /** Gives the connection up; `start` takes it up where the client is by then. */
  stop(): void;
  /** Connects anew, also from a state that has stopped. */
  reconnect(): void;
  /** Looks at once whether the connection is alive, and tries at once if an attempt is waiting. */
  check(): void;
  /** Events of this name are wanted. */
  listen(name: string): void;
  /** There is a new token: goes over to it. */
  tokenChanged(): void;
}

export interface SourceSink {
  status(status: Status): void;
  event(event: RawEvent): void;
  error(error: StreamError): void;
  /** The last id that this tab has seen. */
  lastEventId(): string | null;
  /** This tab listens to a stream that has come to this id; what came before is not meant for it. */
  joined(position: string | null): void;
  /** The browser does not let this page share. */
  cannotShare(): void;
  /** Names of events that this tab listens to. */
  names(): ReadonlySet<string>;
}
