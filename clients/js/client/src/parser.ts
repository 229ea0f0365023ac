// Parses the bytes of an event stream, as the WHATWG HTML standard says ("9.2.6 Interpreting an event stream"). Keeps at
// most one event in memory.

/** One block of the stream. */
export interface ParsedEvent {
  readonly event: string;
  readonly data: string;
  /** The id in this block; `undefined` if it has none. */
  readonly id: string | undefined;
}

export interface ParserSink {
  event(event: ParsedEvent): void;
  /** A block without data is not an event, but its id counts. An empty id resets the last one. */
  position(id: string): void;
  /** A `retry:` field, in milliseconds. */
  retry(milliseconds: number): void;
  /** An event or a line was longer than the limit and is dropped. `id` is its id. */
  oversized(id: string | undefined): void;
}

/** The most characters that an event may have, so that memory is bounded. The server's limit is 64 KiB by default. */
export const MAX_EVENT_CHARS = 1024 * 1024;

export class EventStreamParser {
  readonly #sink: ParserSink;
  readonly #limit: number;
  // Removes the byte order mark, and keeps an incomplete character at the end of a chunk.
  readonly #decoder = new TextDecoder();
  #line = '';
  #skippingLine = false;
  #skipLineFeed = false;
  #data: string[] = [];
  #dataChars = 0;
  #event = '';
  #id: string | undefined;
  #oversized = false;

  constructor(sink: ParserSink, limit = MAX_EVENT_CHARS) {
    this.#sink = sink;
    this.#limit = limit;
  }

  push(bytes: Uint8Array): void {
    const text = this.#decoder.decode(bytes, { stream: true });
    let start = 0;
    if (this.#skipLineFeed && text !== '') {
      this.#skipLineFeed = false;
      if (text.startsWith('\n')) start = 1;
    }
    const ending = /\r\n|\r|\n/g;
    ending.lastIndex = start;
    for (let found = ending.exec(text); found !== null; found = ending.exec(text)) {
      this.#extendLine(text.slice(start, found.index));
      this.#endLine();
      start = ending.lastIndex;
      // A CR at the end of a chunk may be the first half of a CRLF.
      this.#skipLineFeed = found[0] === '\r' && start === text.length;
    }
    this.#extendLine(text.slice(start));
  }

  #extendLine(part: string): void {
    if (this.#skippingLine) return;
    if (this.#line.length + part.length > this.#limit) {
      this.#skippingLine = true;
      this.#line = '';
      this.#giveUpEvent();
    } else {
      this.#line += part;
    }
  }

  #endLine(): void {
    const line = this.#line;
    this.#line = '';
    if (this.#skippingLine) {
      this.#skippingLine = false;
      return;
    }
    if (line === '') {
      this.#dispatch();
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    this.#field(name, value);
  }

  #field(name: string, value: string): void {
    switch (name) {
      case 'data':
        this.#dataChars += value.length + 1;
        if (this.#dataChars > this.#limit) this.#giveUpEvent();
        if (!this.#oversized) this.#data.push(value);
        break;
      case 'event':
        this.#event = value;
        break;
      case 'id':
        if (!value.includes('\0')) this.#id = value;
        break;
      case 'retry':
        if (/^[0-9]+$/.test(value)) this.#sink.retry(Number(value));
        break;
    }
  }

  #giveUpEvent(): void {
    this.#oversized = true;
    this.#data = [];
  }

  #dispatch(): void {
    const { event, data } = { event: this.#event, data: this.#data };
    const [id, oversized] = [this.#id, this.#oversized];
    this.#id = undefined;
    this.#event = '';
    this.#data = [];
    this.#dataChars = 0;
    this.#oversized = false;
    if (oversized) {
      this.#sink.oversized(id);
    } else if (data.length > 0) {
      this.#sink.event({ event: event === '' ? 'message' : event, data: data.join('\n'), id });
    } else if (id !== undefined) {
      this.#sink.position(id);
    }
  }
}
