// A fake environment for one tab: EventSource and fetch controlled by the test, and a page that can go offline or hide.

import type { Environment } from '../../src/environment.js';

const encoder = new TextEncoder();

export class FakeEventSource extends EventTarget {
  readyState = 0;
  lastEventId = '';
  constructor(readonly url: string, readonly init: { withCredentials?: boolean } = {}) {
    super();
  }

  get query(): URLSearchParams {
    return new URL(this.url).searchParams;
  }

  open(): void {
    this.readyState = 1;
    this.dispatchEvent(new Event('open'));
  }

  send(event: string, data: unknown, id?: string): void {
    // Also when it is closed, because a client must not rely on every EventSource to stop then.
    if (id !== undefined) this.lastEventId = id;
    const text = typeof data === 'string' ? data : JSON.stringify(data);
    this.dispatchEvent(Object.assign(new Event(event), { data: text, lastEventId: this.lastEventId }));
  }

  /** The connection breaks; the browser opens another. */
  breaks(): void {
    this.readyState = 0;
    this.dispatchEvent(new Event('error'));
  }

  /** The server sends the reason and ends the stream. For the browser, the connection just breaks. */
  ends(event: string): void {
    this.send(event, {});
    this.breaks();
  }

  /** The server answered with something other than 200. */
  refused(): void {
    this.readyState = 2;
    this.dispatchEvent(new Event('error'));
  }

  close(): void {
    this.readyState = 2;
  }
}

export class FakeRequest {
  readonly #answer: (response: Response) => void;
  readonly #fail: (error: Error) => void;
  readonly response: Promise<Response>;
  cancelled = false;
  #body: ReadableStreamDefaultController<Uint8Array> | null = null;
  readonly url: URL;
  readonly headers: Headers;

  constructor(url: string, readonly init: RequestInit) {
    this.url = new URL(url);
    this.headers = new Headers(init.headers);
    let answer: (response: Response) => void = () => undefined;
    let fail: (error: Error) => void = () => undefined;
    this.response = new Promise((resolve, reject) => {
      answer = resolve;
      fail = reject;
    });
    this.#answer = answer;
    this.#fail = fail;
    init.signal?.addEventListener('abort', () => { this.fails(); });
  }

  get aborted(): boolean {
    return this.init.signal?.aborted === true;
  }

  open(contentType = 'text/event-stream'): void {
    const body = new ReadableStream<Uint8Array>({ 
      start: (controller) => { this.#body = controller; },
      cancel: () => { this.cancelled = true; },
    });
    this.#answer(new Response(body, { headers: { 'Content-Type': contentType } }));
  }

  send(text: string): void {
    this.sendBytes(encoder.encode(text));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#body?.enqueue(bytes);
  }

  end(): void {
    this.#body?.close();
  }

  refused(status: number, headers: Record<string, string> = {}, body = 'event: error\ndata: {"error": "no"}\n\n'): void {
    this.#answer(new Response(status === 204 ? null : body, { status, headers }));
  }

  json(body: unknown, status = 201): void {
    this.#answer(new Response(JSON.stringify(body), { status }));
  }

  fails(): void {
    this.#fail(new TypeError('failed to fetch'));
    try {
      this.#body?.error(new TypeError('network error'));
    } catch {
      // It had already ended.
    }
  }
}

export class FakeDocument extends EventTarget {
  visibilityState = 'visible';

  show(state: 'visible' | 'hidden'): void {
    this.visibilityState = state;
    this.dispatchEvent(new Event('visibilitychange'));
  }
}

export class World {
  readonly sources: FakeEventSource[] = [];
  readonly requests: FakeRequest[] = [];
  readonly window = new EventTarget();
  readonly document = new FakeDocument();
  onLine = true;
  readonly environment: Partial<Environment>;

  constructor() {
    const { sources, requests } = this;
    this.environment = {
      EventSource: class extends FakeEventSource {
        constructor(url: string, init?: { withCredentials?: boolean }) {
          super(url, init);
          sources.push(this);
        }
      },
      fetch: ((url: string, init: RequestInit) => {
        const request = new FakeRequest(url, init);
        requests.push(request);
        return request.response;
      }),
      window: this.window,
      document: this.document,
      baseUrl: 'https://app.test/page',
      onLine: () => this.onLine,
      random: () => 0.5,
      locks: undefined,
      BroadcastChannel: undefined,
    };
  }

  get source(): FakeEventSource {
    return last(this.sources, 'EventSource');
  }

  get request(): FakeRequest {
    return last(this.requests, 'request');
  }

  goesOffline(): void {
    this.onLine = false;
    this.window.dispatchEvent(new Event('offline'));
  }

  comesOnline(): void {
    this.onLine = true;
    this.window.dispatchEvent(new Event('online'));
  }
}

function last<Item>(items: readonly Item[], what: string): Item {
  const item = items.at(-1);
  if (item === undefined) throw new Error(`no ${what} was made`);
  return item;
}

/** A JWT with the parts that a client reads. */
export function jwt(claims: Record<string, unknown>): string {
  const payload = Buffer.from(JSON.stringify(claims)).toString('base64').replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return `e30.${payload}.signature`;
}
