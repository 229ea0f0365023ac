import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openScene, pass, scene, settle } from '../support/client.js';

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

describe('a change to a new token', () => {
  it('does not delay a long replay', async () => {
    const { world, client, messages } = await openScene();
    client.setToken('two');
    world.source.open();
    for (let n = 1; n <= 1_000; n += 1) world.source.send('message', n, `${n}-0`);
    expect(messages).toHaveLength(1_000);
    expect(world.sources[0]?.readyState).toBe(2);
  });

  it('opens no second stream while the old one is reconnecting', async () => {
    const { world, client } = await openScene();
    world.source.breaks();
    client.setToken('two');
    await settle();
    expect(world.sources.map(({ readyState }) => readyState)).toEqual([2, 0]);
    world.source.open();
    expect(client.status.state).toBe('open');
  });

  it('opens the new stream next to the old one, and loses and repeats nothing', async () => {
    const { world, client, messages, states } = await openScene();
    const [old] = world.sources;
    old?.send('message', 1, '1-0');
    client.setToken('two');
    const next = world.source;
    expect(next.query.get('token')).toBe('two');
    expect(next.query.get('last_event_id')).toBe('1-0');
    old?.send('message', 2, '2-0');
    next.open();
    next.send('message', 2, '2-0');
    next.send('message', 4, '4-0');
    old?.send('message', 3, '3-0');
    await pass(500);
    expect(old?.readyState).toBe(2);
    next.send('message', 5, '5-0');
    expect(messages.map(({ data }) => data)).toEqual([1, 2, 3, 4, 5]);
    expect(states).toEqual(['connecting', 'open']);
  });

  it('repeats no event without an id, and keeps those that only the new stream delivered', async () => {
    const { world, client, messages } = await openScene();
    const [old] = world.sources;
    client.setToken('two');
    const next = world.source;
    old?.send('message', 'a');
    next.open();
    for (const source of [old, next]) source?.send('message', 'b');
    for (const source of [next, old, next]) source?.send('message', 'c');
    next.send('message', 'd');
    await pass(500);
    expect(messages.map(({ data }) => data)).toEqual(['a', 'b', 'c', 'c', 'd']);
  });

  it('closes the old stream first if there is no room for two', async () => {
    const { world, client, states } = scene({ transport: 'fetch' });
    client.connect();
    await settle();
    const first = world.request;
    first.open();
    await settle();
    first.send('id: 1-0\ndata: 1\n\n');
    await settle();
    client.setToken('two');
    await settle();
    world.request.refused(429, { 'Retry-After': '1' });
    await settle();
    expect(first.aborted).toBe(true);
    expect(world.requests).toHaveLength(3);
    expect(world.request.headers.get('Last-Event-ID')).toBe('1-0');
    world.request.open();
    await settle();
    expect(states).toEqual(['connecting', 'open', 'connecting', 'open']);
  });

  it('keeps the old stream if the new token is refused', async () => {
    const { world, client, errors } = scene({ transport: 'fetch' });
    client.connect();
    await settle();
    world.request.open();
    await settle();
    client.setToken('bad');
    await settle();
    world.request.refused(401);
    await settle();
    expect(client.status.state).toBe('open');
    expect(world.requests[0]?.aborted).toBe(false);
    expect(errors.map(({ code }) => code)).toEqual(['unauthorized']);
  });

  it('is retried if the server could not be reached', async () => {
    const { world, client } = scene({ transport: 'fetch' });
    client.connect();
    await settle();
    world.request.open();
    await settle();
    client.setToken('two');
    await settle();
    world.request.fails();
    await pass(4_000);
    expect(world.requests).toHaveLength(3);
    world.request.open();
    await pass(500);
    expect(world.requests[0]?.aborted).toBe(true);
    expect(client.status.state).toBe('open');
  });

  it('waits as long as the server asks for', async () => {
    const { world, client } = scene({ transport: 'fetch', heartbeatTimeout: 0 });
    client.connect();
    await settle();
    world.request.open();
    await settle();
    client.setToken('two');
    await settle();
    world.request.refused(503, { 'Retry-After': '60' });
    await pass(59_000);
    expect(world.requests).toHaveLength(2);
    await pass(3_000);
    expect(world.requests).toHaveLength(3);
  });

  it('does not wait for an old stream that ends meanwhile, and ignores its eviction', async () => {
    const { world, client } = await openScene();
    const [old] = world.sources;
    client.setToken('two');
    old?.send('evicted', {});
    expect(client.status.state).toBe('open');
    world.source.open();
    old?.refused();
    world.source.send('message', 1, '1-0');
    expect(client.lastEventId).toBe('1-0');
    await pass(20_000);
    expect(client.status.state).toBe('open');
    expect(world.sources).toHaveLength(2);
  });
});
