// The id from which the client resumes: that of the last event, heartbeat or gap.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ClientOptions } from '../../src/index.js';
import { openScene, pass, scene, settle, type Scene } from '../support/client.js';
import { jwt } from '../support/world.js';

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

/** The server's first block. */
const firstBlock = (position: string) => `id: ${position}\nretry: 2000\nevent: heartbeat\ndata: {}\n\n`;

/** A transport, and the actions of a test on its connection. */
interface Way {
  readonly options: Partial<ClientOptions>;
  /** Opens the pending connection, with this position in its first block. */
  begin(scene: Scene, position: string): Promise<void>;
  cut(scene: Scene): void;
  /** The last id that the pending connection sends. */
  sent(scene: Scene): string | null;
}

const traded = new WeakSet();
async function tradeTicket({ world }: Scene): Promise<void> {
  const { request } = world;
  if (request.init.method !== 'POST' || traded.has(request)) return;
  traded.add(request);
  request.json({ ticket: `ticket-${world.requests.length}`, expires_in: 30 });
  await settle();
}

const byEventSource = (auth: 'query' | 'ticket'): Way => ({
  options: { auth },
  async begin(made, position) {
    if (auth === 'ticket') await tradeTicket(made);
    made.world.source.open();
    made.world.source.send('heartbeat', {}, position);
  },
  // The browser would reconnect by itself with its own last id; here it does not.
  cut({ world }) { world.source.breaks(); },
  sent: ({ world }) => world.source.query.get('last_event_id'),
});

const byFetch = (auth: 'query' | 'header' | 'ticket'): Way => ({
  options: { transport: 'fetch', auth },
  async begin(made, position) {
    if (auth === 'ticket') await tradeTicket(made);
    made.world.request.open();
    await settle();
    made.world.request.send(firstBlock(position));
    await settle();
  },
  cut({ world }) { world.request.fails(); },
  sent: ({ world }) => (auth === 'header' ? world.request.headers.get('Last-Event-ID') : world.request.url.searchParams.get('last_event_id')),
});

const WAYS: [string, Way][] = [
  ['EventSource and the query', byEventSource('query')],
  ['EventSource and a ticket', byEventSource('ticket')],
  ['fetch and a header', byFetch('header')],
  ['fetch and the query', byFetch('query')],
  ['fetch and a ticket', byFetch('ticket')],
];

describe.each(WAYS)('with %s', (_name, way) => {
  const begin = async (options: Partial<ClientOptions> = {}) => {
    const made = scene({ ...way.options, ...options });
    made.client.connect();
    await settle();
    await way.begin(made, '7-0');
    return made;
  };
  const askedAfterCut = async (made: Scene) => {
    const { sources, requests } = made.world;
    const before = sources.length + requests.length;
    way.cut(made);
    for (let second = 0; second < 60 && sources.length + requests.length === before; second += 1) await pass(1_000);
    return askedAfter(made);
  };
  const askedAfter = async (made: Scene) => {
    if (way.options.auth === 'ticket') await tradeTicket(made);
    return way.sent(made);
  };

  it('a client that is disconnected before its first event resumes from the position of the first block', async () => {
    const made = await begin();
    expect(made.client.lastEventId).toBe('7-0');
    expect(made.messages).toEqual([]);
    expect(await askedAfterCut(made)).toBe('7-0');
  });

  it('so does a client with a new token', async () => {
    const made = await begin();
    made.client.setToken('two');
    await settle();
    expect(await askedAfter(made)).toBe('7-0');
    await way.begin(made, '7-0');
    await pass(500);
    expect(await askedAfterCut(made)).toBe('7-0');
  });
});

describe('a heartbeat', () => {
  it('moves the last id, is saved to the storage, and is not a message', async () => {
    const saved: string[] = [];
    const storage = { load: () => null, save: (id: string) => { saved.push(id); } };
    const { world, client, messages } = await openScene({ storage });
    const beats: unknown[] = [];
    client.on('heartbeat', ({ id }) => beats.push(id));
    world.source.send('heartbeat', {}, '7-0');
    world.source.send('heartbeat', {}, '7-0');
    world.source.send('heartbeat', {}, '9-0');
    world.source.send('message', 1, '9-1');
    world.source.send('heartbeat', {});
    expect(client.lastEventId).toBe('9-1');
    expect(saved).toEqual(['7-0', '9-0', '9-1']);
    expect(beats).toEqual(['7-0', null, '9-0', null]);
    expect(messages.map(({ data }) => data)).toEqual([1]);
  });

  it('that repeats a position is still delivered', async () => {
    const { world, client } = scene({ transport: 'fetch', lastEventId: '7-0' });
    let beats = 0;
    client.on('heartbeat', () => { beats += 1; });
    client.connect();
    await settle();
    world.request.open();
    await settle();
    for (let beat = 0; beat < 3; beat += 1) world.request.send('id: 7-0\nevent: heartbeat\ndata: {}\n\n');
    await settle();
    expect(beats).toBe(3);
    expect(client.lastEventId).toBe('7-0');
  });
});

describe('an empty id', () => {
  it('resets the last id: the next connection starts without one', async () => {
    let stored: string | null = null;
    const storage = { load: () => stored, save: (id: string) => { stored = id; } };
    const { world, client, messages } = scene({ transport: 'fetch', lastEventId: '4-0', storage });
    client.connect();
    await settle();
    world.request.open();
    await settle();
    world.request.send('id: 5-0\ndata: 1\n\nid:\ndata: 2\n\n');
    await settle();
    expect(client.lastEventId).toBeNull();
    expect(stored).toBe('');
    expect(messages.map(({ id }) => id)).toEqual(['5-0', null]);
    world.request.end();
    await pass(4_000);
    expect(world.request.headers.has('Last-Event-ID')).toBe(false);
    const again = scene({ storage });
    expect(again.client.lastEventId).toBeNull();
  });

  it('counts in a block without data, too', async () => {
    const { world, client } = scene({ transport: 'fetch', auth: 'query' });
    client.connect();
    await settle();
    world.request.open();
    await settle();
    world.request.send('id: 5-0\n\n');
    await settle();
    expect(client.lastEventId).toBe('5-0');
    world.request.send('id\n\n');
    await settle();
    expect(client.lastEventId).toBeNull();
    world.request.end();
    await pass(4_000);
    expect(world.request.url.searchParams.has('last_event_id')).toBe(false);
  });

  it('of an EventSource is not undone by the id in its URL', async () => {
    const { world, client } = await openScene({ lastEventId: '4-0' });
    world.source.send('message', 1, '5-0');
    world.source.send('message', 2, '');
    expect(client.lastEventId).toBeNull();
    const [first] = world.sources;
    world.source.breaks();
    expect(first?.readyState).toBe(2);
    await pass(4_000);
    expect(world.sources).toHaveLength(2);
    expect(world.source.query.has('last_event_id')).toBe(false);
  });
});

describe('a replay gap', () => {
  it('starts at its own position, even if that is before the last id', async () => {
    const { world, client, messages } = await openScene({ lastEventId: '9-0' });
    const gaps: unknown[] = [];
    client.on('replay-gap', (gap) => gaps.push(gap));
    world.source.send('heartbeat', {});
    world.source.send('replay_gap', { last_event_id: '9-0', oldest: '2-0' }, '1-9');
    expect(client.lastEventId).toBe('1-9');
    world.source.send('message', 'a', '2-0');
    expect(gaps).toEqual([{ lastEventId: '9-0', oldest: '2-0' }]);
    expect(messages.map(({ id }) => id)).toEqual(['2-0']);
  });

  it('is the position from which a client resumes that is disconnected right after it', async () => {
    const { world, client } = scene({ transport: 'fetch', lastEventId: '9-0' });
    client.connect();
    await settle();
    world.request.open();
    await settle();
    world.request.send('retry: 2000\nevent: heartbeat\ndata: {}\n\nid: 1-9\nevent: replay_gap\ndata: {"last_event_id": "9-0", "oldest": null}\n\n');
    await settle();
    world.request.fails();
    await pass(4_000);
    expect(world.request.headers.get('Last-Event-ID')).toBe('1-9');
  });
});

describe('an event of the application with the name of a final event of a stream', () => {
  it.each(['evicted', 'token_expired'])('stops nothing by itself: %s', async (name) => {
    const getToken = vi.fn(() => 'two');
    const { world, client, messages } = await openScene({ token: jwt({ user_id: 1 }), getToken, heartbeatTimeout: 0 });
    const heard: unknown[] = [];
    client.on(name, ({ data }) => heard.push(data));
    world.source.send(name, { seat: 7 }, '5-0');
    world.source.send('message', 1, '6-0');
    expect(heard).toEqual([{ seat: 7 }]);
    expect(messages.map(({ data }) => data)).toEqual([1]);
    expect(client.status.state).toBe('open');

    // Nor does it after a later event, or after a long time.
    world.source.breaks();
    expect(client.status.state).toBe('connecting');
    world.source.open();
    world.source.send(name, { seat: 8 }, '7-0');
    await pass(2_001);
    world.source.breaks();
    world.source.open();
    expect(client.status.state).toBe('open');
    expect(world.sources).toHaveLength(1);
    expect(getToken).not.toHaveBeenCalled();
  });

  it.each([
    ['evicted', 'evicted'],
    ['token_expired', 'unauthorized'],
  ])('is the last one with the end right behind it, by fetch too: %s', async (name, state) => {
    const { world, client } = scene({ transport: 'fetch' });
    client.connect();
    await settle();
    world.request.open();
    await settle();
    world.request.send(`event: ${name}\ndata: {}\n\n`);
    world.request.end();
    await settle();
    expect(client.status.state).toBe(state);
    await pass(600_000);
    expect(world.requests).toHaveLength(1);
  });

  it('hands over to a successor that is already open, without an error: the old token has expired meanwhile', async () => {
    const { world, client, states } = await openScene({ getToken: () => 'three' });
    const [old] = world.sources;
    client.setToken('two');
    const next = world.source;
    next.open();
    next.send('message', 1, '1-0');
    old?.ends('token_expired');
    next.send('message', 2, '2-0');
    await pass(1_000);
    expect(old?.readyState).toBe(2);
    expect(client.lastEventId).toBe('2-0');
    expect(states).toEqual(['connecting', 'open']);
    expect(world.sources).toHaveLength(2);
  });

  it('waits for a successor that is not open yet, and opens no other', async () => {
    const { world, client, states } = await openScene({ getToken: () => 'three' });
    client.setToken('two');
    world.sources[0]?.ends('token_expired');
    await settle();
    expect(client.status.state).toBe('connecting');
    world.source.open();
    expect(states).toEqual(['connecting', 'open', 'connecting', 'open']);
    expect(world.sources).toHaveLength(2);
  });

  it('may be caused by a successor that is connecting, which takes over at once', async () => {
    const { world, client, states } = await openScene();
    const [old] = world.sources;
    client.setToken('two');
    old?.ends('evicted');
    expect(old?.readyState).toBe(2);
    world.source.open();
    world.source.send('message', 1, '1-0');
    await pass(20_000);
    expect(client.lastEventId).toBe('1-0');
    expect(client.status.state).toBe('open');
    expect(states).not.toContain('evicted');
    expect(world.sources).toHaveLength(2);
  });
});

it('a server that sends no position gets connections without one', async () => {
  const { world, client } = scene({ transport: 'fetch' });
  client.connect();
  await settle();
  world.request.open();
  await settle();
  world.request.send('retry: 2000\n\n');
  world.request.end();
  await pass(4_000);
  expect(world.request.headers.has('Last-Event-ID')).toBe(false);
});
