// What the client takes from its surroundings where these are not a page: a worker, Node, React Native.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { defaultEnvironment } from '../../src/environment.js';
import { IdlewildClient, type ClientOptions } from '../../src/index.js';
import { settle } from '../support/client.js';
import { FakeEventSource, jwt } from '../support/world.js';

let urls: string[];

class RecordingSource extends FakeEventSource {
  constructor(url: string) {
    super(url);
    urls.push(url);
  }
}

class RecordingSocket extends EventTarget {
  constructor(url: string) {
    super();
    urls.push(url);
  }
  close(): void {
    // There is no connection.
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  urls = [];
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function connect(options: ClientOptions): Promise<IdlewildClient> {
  const client = new IdlewildClient(options);
  client.connect();
  await settle();
  return client;
}

describe('in a worker', () => {
  function inWorker(location: { href: string; origin: string }, onLine = true): EventTarget {
    const scope = new EventTarget();
    vi.stubGlobal('self', scope);
    vi.stubGlobal('location', location);
    vi.stubGlobal('navigator', { onLine });
    vi.stubGlobal('EventSource', RecordingSource);
    return scope;
  }

  it.each([
    ['a script', 'https://app.test/assets/worker.js?v=1', '/sse/test/', 'https://app.test/sse/test/'],
    ['a script', 'https://app.test/assets/worker.js', 'sse/test/', 'https://app.test/assets/sse/test/'],
    ['a blob', 'blob:https://app.test/0b7e', '/sse/test/', 'https://app.test/sse/test/'],
    ['a script', 'https://app.test/worker.js', 'https://api.test/sse/test/', 'https://api.test/sse/test/'],
  ])('that was made from %s, a URL is relative to %s: %s', async (_, href, url, expected) => {
    inWorker({ href, origin: 'https://app.test' });
    await connect({ url });
    expect(urls).toEqual([expected]);
  });

  it('a relative URL for tickets works, too', async () => {
    inWorker({ href: 'https://app.test/worker.js', origin: 'https://app.test' });
    const asked: string[] = [];
    vi.stubGlobal('fetch', (url: string) => {
      asked.push(url);
      return Promise.resolve(Response.json({ ticket: 't' }, { status: 201 }));
    });
    await connect({ url: '/events', token: 'one', auth: 'ticket', ticketUrl: '/tickets' });
    expect(asked).toEqual(['https://app.test/tickets']);
    expect(urls).toEqual(['https://app.test/events?ticket=t']);
  });

  it('that starts offline, the client connects when the network is back', async () => {
    const scope = inWorker({ href: 'https://app.test/worker.js', origin: 'https://app.test' }, false);
    const client = await connect({ url: '/sse/test/' });
    expect(client.status.state).toBe('offline');
    scope.dispatchEvent(new Event('online'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(urls).toHaveLength(1);
  });
});

describe('without a page or a worker', () => {
  it('a relative URL is refused, and the error says what to do', () => {
    expect(() => new IdlewildClient({ url: '/sse/test/', EventSource: RecordingSource })).toThrow(
      "url: '/sse/test/' is relative, but there is no page here; use an absolute URL",
    );
  });
});

/** React Native's URL class: it can be read, but takes no other URL and has no setters. */
class ReadOnlyUrl {
  readonly href: string;
  constructor(url: unknown) {
    if (typeof url !== 'string') throw new TypeError('url.includes is not a function');
    this.href = url;
  }
}

describe('in React Native', () => {
  const URL_OF_STREAM = 'https://api.test/api/v1/auth/sse/notifications/';

  beforeEach(() => {
    vi.stubGlobal('self', {});
    vi.stubGlobal('document', undefined);
    vi.stubGlobal('navigator', { product: 'ReactNative' });
    vi.stubGlobal('EventSource', undefined);
    vi.stubGlobal('TextDecoder', undefined);
    vi.stubGlobal('WebSocket', RecordingSocket);
    vi.stubGlobal('URL', ReadOnlyUrl);
  });

  it('its own fetch is refused, and the error names the ways out', () => {
    expect(() => new IdlewildClient({ url: URL_OF_STREAM })).toThrow(/React Native's does not.*'websocket'.*environment: \{ fetch \}/);
    expect(() => new IdlewildClient({ url: URL_OF_STREAM, transport: 'fetch' })).toThrow(/needs a fetch that streams/);
  });

  it('a fetch that streams is accepted', async () => {
    const fetch = vi.fn(() => new Promise<Response>(() => undefined));
    await connect({ url: URL_OF_STREAM, token: 'one', transport: 'fetch', environment: { fetch } });
    expect(fetch).toHaveBeenCalledExactlyOnceWith(URL_OF_STREAM, expect.anything());
  });

  it('the client connects by WebSocket, with the topics, the id and the token', async () => {
    await connect({ url: URL_OF_STREAM, token: 'a b', transport: 'websocket', topics: ['a/b', 'c'], lastEventId: '5-0' });
    expect(urls).toEqual(['wss://api.test/api/v1/auth/ws/notifications/?topic=a%2Fb&topic=c&token=a+b&last_event_id=5-0']);
  });

  it('it renews a token before it expires, although there may be no TextDecoder', async () => {
    const getToken = vi.fn(() => 'two');
    const token = jwt({ user_id: 'Zoë', exp: Date.now() / 1000 + 60 });
    await connect({ url: URL_OF_STREAM, token, getToken, transport: 'websocket' });
    await vi.advanceTimersByTimeAsync(45_000);
    expect(getToken).toHaveBeenCalledExactlyOnceWith({ reason: 'expiring' });
  });
});

describe('a fetch that ignores its signal once there is a response', () => {
  it('is closed all the same', async () => {
    let cancelled = false;
    const body = new ReadableStream({ cancel: () => { cancelled = true; } });
    const response = new Response(body, { headers: { 'Content-Type': 'text/event-stream' } });
    const client = await connect({
      url: 'https://api.test/sse/test/', transport: 'fetch', environment: { fetch: () => Promise.resolve(response) },
    });
    expect(client.status.state).toBe('open');
    client.close();
    expect(cancelled).toBe(true);
  });
});

describe('a fetch that returns only whole responses', () => {
  it('is an error that says so', async () => {
    const response = { status: 200, headers: new Headers({ 'Content-Type': 'text/event-stream' }) } as Response;
    const client = await connect({
      url: 'https://api.test/sse/test/', transport: 'fetch', environment: { fetch: () => Promise.resolve(response) },
    });
    expect(client.status.error).toEqual({
      code: 'not-a-stream', message: 'This fetch does not stream: the response has no body',
    });
  });
});

describe('the default environment', () => {
  it('ignores a `self` that is no event target', () => {
    vi.stubGlobal('self', {});
    expect(defaultEnvironment().window).toBeUndefined();
  });
});
