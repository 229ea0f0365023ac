// Where a client gets its events from: its own stream, or one that it shares with other tabs.

import type { Status, StreamError } from './status.js';
import type { RawEvent } from './transport/transport.js';

export interface Source {
  start(): void;
  /** Closes the connection. `start` resumes from the client's position. */
  stop(): void;
  /** Connects again, also after the stream has stopped by itself. */
  reconnect(): void;
  /** Checks now whether the connection is alive. If the next attempt is waiting, makes it now. */
  check(): void;
  /** Delivers events with this name, too. */
  listen(name: string): void;
  /** Switches to the new token. */
  tokenChanged(): void;
}

export interface SourceSink {
  status(status: Status): void;
  event(event: RawEvent): void;
  error(error: StreamError): void;
  /** The last id that this tab has received. */
  lastEventId(): string | null;
  /** This tab follows a stream that is at this position, and does not want earlier events. */
  joined(position: string | null): void;
  /** The browser does not let this page share. */
  cannotShare(): void;
  /** Names of events that this tab listens to. */
  names(): ReadonlySet<string>;
}
