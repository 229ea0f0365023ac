// What every client of event streams should do, as tables: by the HTML standard (9.2), and covering what LaunchDarkly's
// public contract tests for such clients cover. Optional features that this client does not have are left out: POST and
// REPORT requests, headers of one's own, and reporting of comments.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { IdlewildClient, type ClientOptions, type StreamMessage } from '../../src/index.js';
import { pass, scene, settle, URL_OF_STREAM } from '../support/client.js';

const BOM = '\uFEFF';
const encoder = new TextEncoder();

/** An event as a listener receives it: name, data, and its own id. */
type Received = [event: string, data: string, id: string | null];

const message = (data: string, id: string | null = null): Received => ['message', data, id];

/** Delivers everything in chunks of this many bytes. */
const CHUNKS = [['at once', Infinity], ['byte by byte', 1], ['in chunks of two bytes', 2], ['in chunks of seven bytes', 7]] as const;

async function receive(chunks: readonly Uint8Array[], names: readonly string[]): Promise<Received[]> {
  const { world, client } = scene({ transport: 'fetch' });
  const received: Received[] = [];
  const listen = ({ event, raw, id }: StreamMessage) => received.push([event, raw, id]);
  for (const name of names) client.on(`event:${name}`, listen);
  client.connect();
  await settle();
  world.request.open();
  for (const chunk of chunks) world.request.sendBytes(chunk);
  await settle();
  client.close();
  return received;
}

function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  if (size === Infinity) return [bytes];
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size));
}

const PARSING: [what: string, stream: string, events: Received[]][] = [
  ['one line of data', 'data: Hi\n\n', [message('Hi')]],
  ['two events', 'data: Hi\n\ndata: there\n\n', [message('Hi'), message('there')]],
  ['two lines of data are one text', 'data: Hi\ndata:there\n\n', [message('Hi\nthere')]],
  ['an event with empty data', 'data:\n\n', [message('')]],
  ['`data` without a colon is empty data', 'data\n\ndata\ndata\n\n', [message(''), message('\n')]],
  ['an event without data is none', 'event: greeting\n\nid: abc\n\ndata: Hi\n\n', [message('Hi')]],
  ['an event with a name', 'event: greeting\ndata: Hi\n\n', [['greeting', 'Hi', null]]],
  ['a name counts for one event only', 'event: greeting\ndata: Hi\n\ndata: there\n\n', [['greeting', 'Hi', null], message('there')]],
  ['an empty name is the default one', 'event:\ndata: Hi\n\n', [message('Hi')]],
  ['the last of several names counts', 'event: a\nevent: greeting\ndata: Hi\n\n', [['greeting', 'Hi', null]]],
  ['an event with an id', 'id: abc\ndata: Hi\n\n', [message('Hi', 'abc')]],
  ['an event with everything', 'event: greeting\nid: abc\ndata: Hi\n\n', [['greeting', 'Hi', 'abc']]],
  ['the fields in another order', 'data: Hi\nid: abc\nevent: greeting\n\n', [['greeting', 'Hi', 'abc']]],
  ['an id with NUL is ignored', 'id: a\0c\ndata: Hi\n\n', [message('Hi')]],
  ['unknown fields are ignored', 'colour: blue\ndata: Hi\ndatum: x\nDATA: y\n data: z\n\n', [message('Hi')]],
  ['one space after the colon is not part of the value', 'event:greeting\ndata:Hi\n\n', [['greeting', 'Hi', null]]],
  ['further spaces are', 'event:  greeting\ndata:  Hi \n\n', [[' greeting', ' Hi ', null]]],
  ['a value may contain colons', 'data: a: b:c\n\ndata::\n\n', [message('a: b:c'), message(':')]],
  ['a comment before, in and after an event', ': a\ndata: Hi\n:b\ndata: there\n\n:\n', [message('Hi\nthere')]],
  ['characters of several bytes', 'data: €ö\u{1F426}豆\n\n', [message('€ö\u{1F426}豆')]],
  ['an event that the end of the stream cuts off is none', 'data: Hi\n\ndata: there\n', [message('Hi')]],
  ['many events, in order', Array.from({ length: 100 }, (_, n) => `data: ${n}\n\n`).join(''), Array.from({ length: 100 }, (_, n) => message(String(n)))],
  ['a byte order mark at the start is removed', `${BOM}data: Hi\n\n`, [message('Hi')]],
  ['… before a comment', `${BOM}: comment\ndata: Hi\n\n`, [message('Hi')]],
  ['… before an event with everything', `${BOM}event: greeting\nid: abc\ndata: Hi\ndata\n\n`, [['greeting', 'Hi\n', 'abc']]],
  ['… but only one', `${BOM}data: ${BOM}Hi\n\ndata: there\n\n`, [message(`${BOM}Hi`), message('there')]],
  ['… and no later one', `data: Hi\n\n${BOM}data: lost\n\ndata: ${BOM}there\n\n`, [message('Hi'), message(`${BOM}there`)]],
];

/** `/` stands for the end of a line. */
const LINES: [what: string, stream: string, events: Received[]][] = [
  ['one event', 'data: a//', [message('a')]],
  ['an event of one line and one of two', 'data: a//data: b/data: c//', [message('a'), message('b\nc')]],
  ['an empty first line', 'data:/data: b/data: c//', [message('\nb\nc')]],
  ['an empty line in the middle', 'data: a/data:/data: c//', [message('a\n\nc')]],
  ['an empty last line', 'data: a/data://', [message('a\n')]],
  ['further blank lines', '/data: a///data: b/////data: c//', [message('a'), message('b'), message('c')]],
];
const ENDINGS = [['LF', '\n'], ['CR', '\r'], ['CRLF', '\r\n']] as const;

describe('parsing', () => {
  beforeEach(() => { vi.useFakeTimers(); });
  afterEach(() => { vi.useRealTimers(); });
  const names = ['message', 'greeting', ' greeting'];

  describe.each(CHUNKS)('%s', (_, size) => {
    it.each(PARSING)('%s', async (_, stream, events) => {
      expect(await receive(cut(encoder.encode(stream), size), names)).toEqual(events);
    });

    describe.each(ENDINGS)('with %s at the end of lines', (_, ending) => {
      it.each(LINES)('%s', async (_, stream, events) => {
        expect(await receive(cut(encoder.encode(stream.replaceAll('/', ending)), size), names)).toEqual(events);
      });
    });
  });

  it('all three ends of lines in one stream, with a CRLF in two chunks', async () => {
    const chunks = ['data: a\r', '\ndata: b\r', '\n\r\ndata: c\n', '\rdata: d\r', '\r'];
    expect(await receive(chunks.map((chunk) => encoder.encode(chunk)), names)).toEqual([message('a\nb'), message('c'), message('d')]);
  });

  // Around the sizes of common buffers. The largest is just below the limit of this client.
  it.each([1, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193, 16_384, 65_535, 65_536, 65_537, 262_144, 1_048_500])(
    'an event of %i bytes',
    async (size) => {
      const data = 'x'.repeat(size);
      const [event, ...more] = await receive(cut(encoder.encode(`data: ${data}\n\n`), 16_384), names);
      expect(event?.[1] === data).toBe(true);
      expect(more).toEqual([]);
    },
  );
});

describe('reconnecting', () => {
  beforeEach(() => { vi.useFakeTimers(); });
  afterEach(() => { vi.useRealTimers(); });
  /** Longer than any pause without `Retry-After`. */
  const AFTER_ANY_PAUSE_MS = 60_000;

  async function open(options: Partial<ClientOptions> = {}) {
    const made = scene({ transport: 'fetch', heartbeatTimeout: 0, connectTimeout: 3_600_000, ...options });
    made.client.connect();
    await settle();
    return made;
  }

  it.each([
    ['none without an id', [], null],
    ['the id of the last event', ['id: a\ndata: 1\n\n', 'id: b\ndata: 2\n\n'], 'b'],
    ['the last id, even if later events have none', ['id: a\ndata: 1\n\n', 'data: 2\n\n', ': comment\n\n'], 'a'],
    ['none after an empty id', ['id: a\ndata: 1\n\n', 'id:\ndata: 2\n\n'], null],
    ['none after `id` without a colon', ['id: a\ndata: 1\n\n', 'id\ndata: 2\n\n'], null],
    ['the last id that has no NUL', ['id: a\ndata: 1\n\n', 'id: b\0\ndata: 2\n\n'], 'a'],
    ['the id of a block without data', ['id: a\ndata: 1\n\n', 'id: b\n\n'], 'b'],
    ['not the id of an event that was cut off', ['id: a\ndata: 1\n\n', 'id: b\ndata: 2\n'], 'a'],
  ])('sends as last event id: %s', async (_, blocks, id) => {
    const { world } = await open();
    world.request.open();
    for (const block of blocks) world.request.send(block);
    await settle();
    world.request.fails();
    await pass(AFTER_ANY_PAUSE_MS);
    expect(world.requests).toHaveLength(2);
    expect(world.request.headers.get('Last-Event-ID')).toBe(id);
  });

  it.each([
    ['the connection breaks', (request: Request) => { request.open(); request.fails(); }],
    ['the server ends the stream', (request: Request) => { request.open(); request.end(); }],
    ['the server cannot be reached', (request: Request) => { request.fails(); }],
    ['the response is not an event stream', (request: Request) => { request.open('text/html'); }],
    ...[408, 429, 500, 502, 503, 504].map((status) => [`the server answers ${status}`, (request: Request) => { request.refused(status); }] as const),
  ] as const)('tries again if %s', async (_, happen) => {
    const { world } = await open();
    happen(world.request);
    await pass(AFTER_ANY_PAUSE_MS);
    expect(world.requests.length).toBeGreaterThan(1);
  });

  it.each([204, 400, 401, 403, 404, 405, 410])('does not try again if the server answers %i', async (status) => {
    const { world } = await open();
    world.request.refused(status);
    await pass(600_000);
    expect(world.requests).toHaveLength(1);
  });

  it.each([
    ['waits as long as `retry:` says', 'retry: 1500\n\n', 1_500],
    ['takes the last `retry:`', 'retry: 900\nretry: 2500\n\ndata: x\n\n', 2_500],
    ['ignores a `retry:` that is not a number', 'retry: 1500\nretry: 9s\nretry: -1\nretry:\nretry: 1.5\n\n', 1_500],
  ])('%s', async (_, stream, milliseconds) => {
    const { world } = await open();
    world.request.open();
    world.request.send(stream);
    await settle();
    world.request.end();
    await pass(milliseconds - 1);
    expect(world.requests).toHaveLength(1);
    await pass(1);
    expect(world.requests).toHaveLength(2);
  });

  it('happens when the application asks for it', async () => {
    const { world, client, messages } = await open();
    world.request.open();
    client.reconnect();
    await settle();
    expect(world.requests).toHaveLength(2);
    expect(world.requests[0]?.aborted).toBe(true);
    world.request.open();
    world.request.send('data: again\n\n');
    await settle();
    expect(messages.map(({ data }) => data)).toEqual(['again']);
  });

  it('happens when nothing was received for too long; a comment is enough', async () => {
    const { world, errors } = await open({ heartbeatTimeout: 1_000 });
    world.request.open();
    await settle();
    await pass(900);
    world.request.send(':\n');
    await pass(900);
    expect(world.requests).toHaveLength(1);
    await pass(1_000);
    expect(errors.map(({ code }) => code)).toEqual(['silent']);
    expect(world.requests).toHaveLength(2);
  });

  it('does not happen after closing', async () => {
    const { world, client } = await open();
    world.request.open();
    client.close();
    await pass(600_000);
    expect(world.requests).toHaveLength(1);
  });
});

type Request = ReturnType<typeof scene>['world']['request'];

describe('HTTP', () => {
  let asked: IncomingMessage[];
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  const server = createServer((request, response) => {
    asked.push(request);
    answer(request, response);
  });
  let client: IdlewildClient;

  beforeEach(async () => {
    asked = [];
    answer = stream;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  function stream(_: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' }).write('data: Hi\n\n');
  }

  async function firstEvent(options: Partial<ClientOptions> = {}): Promise<StreamMessage> {
    const { port } = server.address() as AddressInfo;
    client = new IdlewildClient({ ...options, url: new URL(new URL(URL_OF_STREAM).pathname, `http://127.0.0.1:${port}`), transport: 'fetch' });
    const event = new Promise<StreamMessage>((resolve) => client.on('message', resolve));
    client.connect();
    return event;
  }

  it('is GET, for an event stream, from no cache, without an id', async () => {
    await firstEvent();
    expect(asked.map(({ method, headers }) => [method, headers.accept, headers['cache-control'], headers['last-event-id']])).toEqual([
      ['GET', 'text/event-stream', 'no-cache', undefined],
    ]);
  });

  it('sends the id that the application starts from', async () => {
    await firstEvent({ token: 'one', lastEventId: 'abc' });
    expect(asked[0]?.headers['last-event-id']).toBe('abc');
  });

  it.each([301, 302, 303, 307, 308])('follows a redirect with %i', async (status) => {
    answer = (request, response) => {
      if (request.url === '/elsewhere') stream(request, response);
      else response.writeHead(status, { Location: '/elsewhere' }).end();
    };
    expect((await firstEvent()).data).toBe('Hi');
    expect(asked.map(({ method, url }) => [method, url])).toEqual([['GET', new URL(URL_OF_STREAM).pathname], ['GET', '/elsewhere']]);
  });
});
