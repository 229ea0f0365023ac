// Replaces an open connection by another one without losing events. The second connection opens while the first is still
// open. Its events are held back until the first has delivered those that were under way.

import type { Attempt, AttemptSink } from './attempt.js';
import type { Environment } from './environment.js';
import type { StreamError } from './status.js';
import { Timer } from './timer.js';
import type { End, RawEvent } from './transport/transport.js';

/** How long both connections are open: longer than an event is under way. */
const OVERLAP_MS = 500;
/** At most this many events are held back, because a replay can be long. */
const MAX_HELD_EVENTS = 1_000;

export interface HandoverSink {
  /** It is time for the second connection to replace the first. */
  ready(): void;
  retry(milliseconds: number): void;
  failed(error: StreamError): void;
  /** The second connection failed. The first one is not affected. */
  ended(end: End): void;
}

export class Handover {
  readonly attempt: Attempt;
  readonly #overlap: Timer;
  readonly #held: RawEvent[] = [];
  readonly #brought: string[] = [];

  constructor(environment: Environment, sink: HandoverSink, make: (sink: AttemptSink) => Attempt) {
    this.#overlap = new Timer(environment);
    this.attempt = make({
      opened: () => { this.#overlap.set(OVERLAP_MS, () => { sink.ready(); }); },
      event: (event) => {
        this.#held.push(event);
        if (this.#held.length >= MAX_HELD_EVENTS) sink.ready();
      },
      retry: (milliseconds) => { sink.retry(milliseconds); },
      reconnecting: () => { this.#overlap.clear(); },
      failed: (error) => { sink.failed(error); },
      ended: (end) => {
        this.#overlap.clear();
        sink.ended(end);
      },
    });
  }

  /**
   * Must be called for each event of the first connection, because the second one delivers it as well. If it has no id,
   * only its content shows that.
   */
  brought(event: RawEvent): void {
    if (!event.id && this.#brought.length < MAX_HELD_EVENTS) this.#brought.push(contentOf(event));
  }

  /** Returns the second connection and the events that only it has delivered so far. It reports to `sink` from now on. */
  take(sink: AttemptSink): { attempt: Attempt; held: readonly RawEvent[] } {
    this.#overlap.clear();
    this.attempt.handTo(sink);
    const held = this.#held.filter((event) => {
      const twin = event.id ? -1 : this.#brought.indexOf(contentOf(event));
      if (twin !== -1) this.#brought.splice(twin, 1);
      return twin === -1;
    });
    return { attempt: this.attempt, held };
  }

  close(): void {
    this.#overlap.clear();
    this.attempt.close();
  }
}

function contentOf({ event, data }: RawEvent): string {
  return `${event}\n${data}`;
}
