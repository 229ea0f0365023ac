// Goes over from one open connection to another without a gap: the second is opened beside the first, what it brings
// is held back until the first has surely delivered what was under way in it, and then takes its place.

import type { Attempt, AttemptSink } from './attempt.js';
import type { Environment } from './environment.js';
import type { StreamError } from './status.js';
import { Timer } from './timer.js';
import type { End, RawEvent } from './transport/transport.js';

/** How long both connections run beside each other: more than an event is under way. */
const OVERLAP_MS = 500;
/** A long replay is not held back whole. */
const MAX_HELD_EVENTS = 1_000;

export interface HandoverSink {
  /** The second connection is to take the first one's place now. */
  ready(): void;
  retry(milliseconds: number): void;
  failed(error: StreamError): void;
  /** The second connection was not to be had; the first is as it was. */
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

  /** The first connection has brought this, which the second brings, too; without an id nobody else would notice. */
  brought(event: RawEvent): void {
    if (!event.id && this.#brought.length < MAX_HELD_EVENTS) this.#brought.push(contentOf(event));
  }

  /** The connection and what it alone has brought until now; it reports to `sink` from here on. */
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
