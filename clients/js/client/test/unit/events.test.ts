import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openScene, scene, settle, URL_OF_STREAM } from '../support/client.js';
import { FakeEventSource } from '../support/world.js';

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

describe('events', () => {
  it('are parsed if they are JSON, and text otherwise, with their ids', async () => {
    const { world, messages } = await openScene();
    world.source.send('message', { a: 1 }, '5-0');
    world.source.send('message', 'plain {', '6-0');
    expect(messages).toEqual([
      { event: 'message', data: { a: 1 }, raw: '{"a":1}', id: '5-0' },
      { event: 'message', data: 'plain {', raw: 'plain {', id: '6-0' },
    ]);
  });

  it('have no id of their own if the browser only repeats the last one', async () => {
    const { world, messages } = await openScene();
    world.source.send('message', 'kept', '5-0');
    world.source.send('message', 'fleeting');
    expect(messages.map(({ id }) => id)).toEqual(['5-0', null]);
  });

  it('reach listeners for their name, even if added after connecting', async () => {
    const { world, client } = await openScene();
    const heard: unknown[] = [];
    const stop = client.on('order', ({ data }) => heard.push(data));
    world.source.send('order', 1);
    stop();
    world.source.send('order', 2);
    expect(heard).toEqual([1]);
  });

  it('of the server with the name of a client event are distinguished by `event:`', async () => {
    const { world, client, errors } = await openScene();
    const heard: unknown[] = [];
    client.on('event:error', ({ data }) => heard.push(data));
    world.source.send('error', { error: 'mine' });
    expect(heard).toEqual([{ error: 'mine' }]);
    expect(errors).toEqual([]);
  });

  it('are delivered once, even if the server repeats them', async () => {
    const { world, messages } = await openScene();
    world.source.send('message', 1, '5-0');
    world.source.send('message', 1, '4-0');
    world.source.send('message', 2, '5-1');
    expect(messages.map(({ data }) => data)).toEqual([1, 2]);
  });

  it('reach every listener, even if one throws', async () => {
    const { world, client, messages } = await openScene();
    const thrown: unknown[] = [];
    const catchIt = (error: unknown) => thrown.push(error);
    process.once('uncaughtException', catchIt);
    client.on('heartbeat', () => { throw new Error('mine'); });
    const heartbeats: unknown[] = [];
    client.on('heartbeat', (beat) => heartbeats.push(beat));
    world.source.send('heartbeat', {});
    world.source.send('message', 1);
    expect(heartbeats).toHaveLength(1);
    expect(messages).toHaveLength(1);
    vi.useRealTimers();
    await vi.waitFor(() => { expect(thrown).toEqual([new Error('mine')]); });
  });
});

describe('a replay gap', () => {
  it('is reported, and lower ids of the new log are accepted', async () => {
    const { world, client, messages } = await openScene({ lastEventId: '9-0' });
    const gaps: unknown[] = [];
    client.on('replay-gap', (gap) => gaps.push(gap));
    world.source.send('replay_gap', { last_event_id: '9-0', oldest: '2-0' });
    world.source.send('message', 'a', '2-0');
    expect(gaps).toEqual([{ lastEventId: '9-0', oldest: '2-0' }]);
    expect(messages.map(({ id }) => id)).toEqual(['2-0']);
  });
});

describe('a forced log-out', () => {
  const LOGOUT = { type: 'FORCE_LOGOUT', data: { message: 'Signed in elsewhere', reason: 'new_login' } };

  it('is a message, too, and stops the client for good', async () => {
    const { world, client, messages, states } = await openScene();
    const told: unknown[] = [];
    client.on('force-logout', (logout) => told.push(logout));
    world.source.send('message', LOGOUT, '5-0');
    expect(messages.map(({ data }) => data)).toEqual([LOGOUT]);
    expect(told).toEqual([{ message: 'Signed in elsewhere', reason: 'new_login' }]);
    expect(world.source.readyState).toBe(2);
    client.connect();
    client.reconnect();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(world.sources).toHaveLength(1);
    expect(states.at(-1)).toBe('logged-out');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends with a new token, even one that is set while it is reported', async () => {
    const { world, client, states } = await openScene();
    client.on('force-logout', () => { client.setToken('two'); });
    world.source.send('message', LOGOUT);
    await settle();
    expect(world.source.query.get('token')).toBe('two');
    world.source.open();
    expect(states.slice(-4)).toEqual(['logged-out', 'idle', 'connecting', 'open']);
  });
});

describe('the last event id', () => {
  it('is saved to the storage and loaded from it', async () => {
    let stored: string | null = '4-0';
    const storage = { load: () => stored, save: (id: string) => { stored = id; } };
    const { world } = await openScene({ storage });
    expect(world.source.query.get('last_event_id')).toBe('4-0');
    world.source.send('message', 1, '5-0');
    expect(stored).toBe('5-0');
  });

  it('with a broken storage is an error, but the event is delivered', async () => {
    const storage = { load: () => { throw new Error(); }, save: () => { throw new Error(); } };
    const { world, messages, errors } = await openScene({ storage });
    world.source.send('message', 1, '5-0');
    expect(messages).toHaveLength(1);
    expect(errors.map(({ code }) => code)).toEqual(['storage']);
  });

  it('of one user is not used for another', async () => {
    const { jwt } = await import('../support/world.js');
    const { world, client } = await openScene({ token: jwt({ user_id: 1 }) });
    world.source.send('message', 1, '5-0');
    client.setToken(jwt({ user_id: 2 }));
    await settle();
    expect(world.sources).toHaveLength(2);
    expect(world.sources[0]?.readyState).toBe(2);
    expect(world.source.query.get('last_event_id')).toBeNull();
  });
});

describe('options', () => {
  it('go into the URL: topics after what it had, the token last', async () => {
    const { world } = await openScene({ url: `${URL_OF_STREAM}?v=1`, topics: ['a/b', 'c'] });
    expect(world.source.url).toBe(`${URL_OF_STREAM}?v=1&topic=a%2Fb&topic=c&token=one`);
  });

  it('accept a URL relative to the page', async () => {
    const { world } = await openScene({ url: '/sse/test/' });
    expect(world.source.url).toBe('https://app.test/sse/test/?token=one');
  });

  it.each([
    [{ auth: 'header', transport: 'eventsource' } as const, /cannot send headers/],
    [{ share: true, auth: 'cookie' } as const, /name the user/],
    [{ auth: 'ticket', url: 'https://api.test/stream' } as const, /ticketUrl: needed/],
    [{ transport: 'websocket', environment: { WebSocket: undefined } } as const, /'websocket' needs WebSocket/],
    [{ auth: 'ticket', transport: 'eventsource', environment: { EventSource: FakeEventSource, fetch: undefined } } as const, /'ticket' needs fetch/],
    [{ heartbeatTimeout: -1 }, /heartbeatTimeout: -1 is not/],
  ])('that contradict each other are refused: %o', (options, message) => {
    expect(() => scene(options)).toThrow(message);
  });

  it('send cookies only if they are the credential', async () => {
    const { world } = await openScene({ auth: 'cookie' });
    expect(world.source.init).toEqual({ withCredentials: true });
    expect(world.source.query.has('token')).toBe(false);
    expect((await openScene()).world.source.init).toEqual({ withCredentials: false });
  });
});

describe('closing', () => {
  it('leaves no connection, no timer, and no listener on the page', async () => {
    const { world, client, states, messages } = await openScene({ pauseHiddenAfter: 1000 });
    client.close();
    world.source.send('message', 'late');
    expect(messages).toEqual([]);
    world.goesOffline();
    world.document.show('hidden');
    expect(world.source.readyState).toBe(2);
    expect(vi.getTimerCount()).toBe(0);
    expect(states.at(-1)).toBe('closed');
  });

  it('before the connection was started opens none', async () => {
    const { world, client } = scene();
    client.connect();
    client.close();
    await settle();
    expect(world.sources).toHaveLength(0);
  });

  it('is not final: `connect` resumes from the last id', async () => {
    const { world, client } = await openScene();
    world.source.send('message', 1, '5-0');
    client.close();
    client.connect();
    await settle();
    expect(world.source.query.get('last_event_id')).toBe('5-0');
  });

  it('within a listener is final, whatever was about to happen', async () => {
    const { world, client } = scene();
    client.on('status', ({ state }) => { if (state === 'connecting') client.close(); });
    client.connect();
    await settle();
    expect(world.sources).toHaveLength(0);

    const expired = await openScene({ getToken: () => 'two' });
    expired.client.on('token_expired', () => { expired.client.close(); });
    expired.world.source.ends('token_expired');
    await settle();
    expect(expired.world.sources).toHaveLength(1);

    const waiting = scene({ transport: 'fetch' });
    waiting.client.on('status', ({ state }) => { if (state === 'waiting') waiting.client.close(); });
    waiting.client.connect();
    await settle();
    waiting.world.request.refused(503);
    await settle();
    expect(waiting.client.status.state).toBe('closed');
    expect(vi.getTimerCount()).toBe(0);
  });
});
