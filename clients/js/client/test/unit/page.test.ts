import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openScene, pass, scene, settle } from '../support/client.js';
import { World } from '../support/world.js';

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

describe('a page that goes offline', () => {
  it('stops trying, and reconnects soon after it is online, from the last id', async () => {
    const { world, client } = await openScene();
    world.source.send('message', 1, '5-0');
    world.goesOffline();
    expect(client.status).toMatchObject({ state: 'offline', transport: null });
    expect(world.source.readyState).toBe(2);
    await pass(600_000);
    expect(world.sources).toHaveLength(1);
    world.comesOnline();
    await pass(250);
    expect(world.source.query.get('last_event_id')).toBe('5-0');
    expect(client.status.state).toBe('connecting');
  });

  it('stays offline if it was online only for a moment', async () => {
    const { world, client } = await openScene();
    world.goesOffline();
    world.comesOnline();
    await pass(100);
    world.goesOffline();
    await pass(10_000);
    expect(client.status.state).toBe('offline');
  });

  it('may be offline from the start', async () => {
    const world = new World();
    world.onLine = false;
    const { client } = scene({}, world);
    client.connect();
    client.reconnect();
    await settle();
    expect(client.status.state).toBe('offline');
    expect(world.sources).toHaveLength(0);
  });
});

describe('a hidden page', () => {
  it('keeps its stream by default', async () => {
    const { world, client } = await openScene({ heartbeatTimeout: 0 });
    world.document.show('hidden');
    await pass(3_600_000);
    expect(client.status.state).toBe('open');
  });

  it('closes the stream after the configured time, and resumes it when visible', async () => {
    const { world, client } = await openScene({ pauseHiddenAfter: 30_000, heartbeatTimeout: 0 });
    world.document.show('hidden');
    await pass(29_000);
    world.document.show('visible');
    await pass(29_000);
    world.document.show('hidden');
    await pass(29_000);
    expect(client.status.state).toBe('open');
    await pass(1_000);
    expect(client.status.state).toBe('paused');
    expect(world.source.readyState).toBe(2);
    world.document.show('visible');
    await settle();
    expect(world.sources).toHaveLength(2);
  });
});

describe('a frozen page', () => {
  it.each([
    ['freeze', 'resume', 'document'],
    ['pagehide', 'pageshow', 'window'],
  ] as const)('lets go at %s and is back at %s', async (down, up, target) => {
    const { world, client } = await openScene();
    world[target].dispatchEvent(new Event(down));
    expect(client.status.state).toBe('paused');
    expect(world.source.readyState).toBe(2);
    world[target].dispatchEvent(new Event(up));
    await settle();
    expect(world.sources).toHaveLength(2);
  });
});

describe('a page that slept without an event', () => {
  it('checks its stream as soon as it is visible again', async () => {
    const { world } = await openScene();
    // The machine sleeps: the clock runs, timers do not.
    vi.setSystemTime(Date.now() + 120_000);
    world.document.show('visible');
    await pass(250);
    expect(world.sources).toHaveLength(2);
  });

  it('does not wait for an attempt that is scheduled for later', async () => {
    const { world, client } = scene({ transport: 'fetch' });
    client.connect();
    await settle();
    world.request.refused(503, { 'Retry-After': '200' });
    await settle();
    world.document.show('visible');
    await pass(250);
    expect(world.requests).toHaveLength(2);
  });
});
