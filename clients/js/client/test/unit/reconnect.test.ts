import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openScene, pass, scene, settle } from '../support/client.js';

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

const FETCH = { transport: 'fetch', token: 'one' } as const;

async function openFetch() {
  const made = scene(FETCH);
  made.client.connect();
  await settle();
  made.world.request.open();
  await settle();
  return made;
}

describe('an EventSource that lost its connection', () => {
  it('is left to reconnect by itself', async () => {
    const { world, states } = await openScene();
    world.source.breaks();
    await pass(5_000);
    world.source.open();
    expect(world.sources).toHaveLength(1);
    expect(states).toEqual(['connecting', 'open', 'connecting', 'open']);
  });

  it('is replaced if it does not reconnect in time, from the last id', async () => {
    const { world } = await openScene();
    world.source.send('message', 1, '5-0');
    world.source.breaks();
    await pass(16_000);
    await pass(8_000);
    expect(world.sources).toHaveLength(2);
    expect(world.sources[0]?.readyState).toBe(2);
    expect(world.source.query.get('last_event_id')).toBe('5-0');
  });
});

describe('an EventSource that does not reconnect', () => {
  it('is replaced after increasing waits, which the browser by itself would not use', async () => {
    const { world } = await openScene();
    world.source.breaks();
    const waits: number[] = [];
    for (let n = 1; n <= 6; n += 1) {
      const made = world.sources.length;
      world.source.breaks();
      let waited = 0;
      for (; world.sources.length === made && waited < 60_000; waited += 1_000) await pass(1_000);
      waits.push(waited);
    }
    expect(waits).toEqual([4_000, 8_000, 15_000, 15_000, 15_000, 15_000]);
  });
});

describe('an EventSource that was refused', () => {
  it('is followed by a fetch that sees the reason, without headers that need a preflight', async () => {
    const { world, client, states } = await openScene({ lastEventId: '5-0' });
    world.source.refused();
    await pass(250);
    const { url, headers } = world.request;
    expect(url.searchParams.get('token')).toBe('one');
    expect(url.searchParams.get('last_event_id')).toBe('5-0');
    expect([...headers.keys()]).toEqual(['accept']);
    world.request.open();
    await settle();
    expect(client.status).toMatchObject({ state: 'open', transport: 'fetch', error: null });
    expect(states).toEqual(['connecting', 'open', 'waiting', 'connecting', 'open']);
  });

  it('is used again after that stream has ended', async () => {
    const { world } = await openScene();
    world.source.refused();
    await pass(250);
    world.request.open();
    await settle();
    world.request.end();
    await pass(4_000);
    expect(world.sources).toHaveLength(2);
  });
});

describe('a refusal', () => {
  it.each([
    [403, 'forbidden', 'forbidden'],
    [404, 'failed', 'refused'],
    [400, 'failed', 'refused'],
    [204, 'failed', 'refused'],
  ] as const)('with %i stops the client: %s', async (status, state, code) => {
    const { world, client, errors } = scene(FETCH);
    client.connect();
    await settle();
    world.request.refused(status);
    await settle();
    expect(client.status).toMatchObject({ state, error: { code, status } });
    expect(errors).toHaveLength(1);
    await pass(600_000);
    expect(world.requests).toHaveLength(1);
    client.reconnect();
    await settle();
    expect(world.requests).toHaveLength(2);
  });

  it.each([[429], [503]])('with %i causes a wait of at least Retry-After, and is reported with its reason', async (status) => {
    const { world, client } = scene(FETCH);
    client.connect();
    await settle();
    world.request.refused(status, { 'Retry-After': '7' }, 'event: error\ndata: {"error": "Server full"}\n\n');
    await settle();
    expect(client.status).toMatchObject({ state: 'waiting', attempt: 1, until: Date.now() + 9_000 });
    expect(client.status.error?.message).toBe(`The server answered ${status} (Server full)`);
    await pass(8_999);
    expect(world.requests).toHaveLength(1);
    await pass(1);
    expect(world.requests).toHaveLength(2);
  });

  it('of any other kind is retried forever, at most half a minute apart', async () => {
    const { world, client } = scene(FETCH);
    client.connect();
    await settle();
    for (let attempt = 1; attempt <= 20; attempt += 1) {
      if (attempt % 2 === 0) world.request.fails();
      else world.request.refused(502, {}, '<html>Bad Gateway</html>');
      for (let second = 0; second < 30 && world.requests.length === attempt; second += 1) await pass(1_000);
      expect(world.requests).toHaveLength(attempt + 1);
    }
  });

  it('with a page that is not a stream is an error, and retried', async () => {
    const { world, client } = scene(FETCH);
    client.connect();
    await settle();
    world.request.open('text/html');
    await settle();
    expect(client.status).toMatchObject({ state: 'waiting', error: { code: 'not-a-stream' } });
    expect(world.request.cancelled).toBe(true);
  });
});

describe('a stream that the server ends', () => {
  it('is resumed after the `retry:` that the server chose, from the last id, sent in a header', async () => {
    const { world } = await openFetch();
    world.request.send('retry: 2345\n\nid: 5-0\ndata: 1\n\n');
    world.request.end();
    await pass(2_344);
    expect(world.requests).toHaveLength(1);
    await pass(1);
    expect(world.requests).toHaveLength(2);
    expect(world.request.headers.get('Last-Event-ID')).toBe('5-0');
    expect(world.request.headers.get('Authorization')).toBe('Bearer one');
    expect(world.request.url.search).toBe('');
  });
});

describe('a connection', () => {
  it('that does not open in time is closed', async () => {
    const { world, client } = scene(FETCH);
    client.connect();
    await pass(10_000);
    expect(world.request.aborted).toBe(true);
    expect(client.status).toMatchObject({ state: 'waiting', error: { code: 'timeout' } });
  });

  it('that falls silent is replaced; one with heartbeats is not', async () => {
    const { world } = await openScene();
    for (let beat = 0; beat < 10; beat += 1) {
      await pass(30_000);
      world.source.send('heartbeat', {});
    }
    expect(world.sources).toHaveLength(1);
    await pass(45_000 + 250);
    expect(world.sources).toHaveLength(2);
  });

  it('is also kept alive by comments', async () => {
    const { world } = await openFetch();
    await pass(30_000);
    world.request.send(':\n');
    await pass(30_000);
    expect(world.requests).toHaveLength(1);
  });

  it('may be silent if the server has no heartbeat', async () => {
    const { world } = await openScene({ heartbeatTimeout: 0 });
    await pass(3_600_000);
    expect(world.sources).toHaveLength(1);
  });

  it('drops an event that is too large, and continues after it', async () => {
    const { world, client, messages, errors } = await openFetch();
    world.request.send(`id: 5-0\ndata: ${'x'.repeat(2 ** 20)}\n\nid: 6-0\ndata: 1\n\n`);
    await settle();
    expect(messages.map(({ id }) => id)).toEqual(['6-0']);
    expect(errors.map(({ code }) => code)).toEqual(['too-large']);
    expect(client.status.state).toBe('open');
  });

  it('that breaks after such an event does not request it again', async () => {
    const { world } = await openFetch();
    world.request.send(`id: 5-0\ndata: ${'x'.repeat(2 ** 20)}\n\n`);
    await settle();
    world.request.end();
    await pass(4_000);
    expect(world.request.headers.get('Last-Event-ID')).toBe('5-0');
  });
});

describe('an eviction', () => {
  it('stops the client, because reconnecting at once would evict another', async () => {
    const { world, client } = await openScene();
    world.source.ends('evicted');
    expect(client.status).toMatchObject({ state: 'evicted', error: { code: 'evicted' } });
    await pass(600_000);
    expect(world.sources).toHaveLength(1);
    client.reconnect();
    await settle();
    expect(world.sources).toHaveLength(2);
  });
});

describe('error messages', () => {
  it('never contain the token', async () => {
    const { world, client, errors } = scene({ transport: 'fetch', auth: 'query', token: 'very-secret' });
    client.connect();
    await settle();
    world.request.fails();
    await pass(2_000);
    world.request.refused(500);
    await pass(4_000);
    world.request.refused(401);
    await settle();
    expect(errors).toHaveLength(3);
    expect(JSON.stringify([errors, client.status])).not.toContain('very-secret');
  });
});
