// A stream that only this tab uses.

import type { Credentials } from './credentials.js';
import type { Settings } from './options.js';
import type { Source, SourceSink } from './source.js';
import { Stream } from './stream.js';

export class OwnSource implements Source {
  readonly #stream: Stream;
  readonly #sink: SourceSink;

  constructor(settings: Settings, credentials: Credentials, sink: SourceSink) {
    this.#sink = sink;
    this.#stream = new Stream(settings, credentials, {
      ...sink,
      status: (status) => { sink.status({ ...status, shared: false, leader: false }); },
    });
  }

  start(): void {
    this.#stream.start(this.#sink.lastEventId());
  }

  stop(): void {
    this.#stream.stop();
  }

  reconnect(): void {
    this.#stream.reconnect();
  }

  check(): void {
    this.#stream.check();
  }

  listen(name: string): void {
    this.#stream.listen(name);
  }

  tokenChanged(): void {
    this.#stream.tokenChanged();
  }
}
