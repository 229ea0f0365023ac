import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TokenReason } from '../../src/index.js';
import { openScene, pass, scene, settle } from '../support/client.js';
import { jwt, World } from '../support/world.js';

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

/** Returns `t1`, `t2`, ... and records the reasons. */
function tokens() {
  const reasons: TokenReason[] = [];
  const getToken = ({ reason }: { reason: TokenReason }) => {
    reasons.push(reason);
    return Promise.resolve(`t${reasons.length}`);
  };
  return { reasons, getToken };
}

const expiring = (seconds: number) => jwt({ exp: Math.floor(Date.now() / 1000) + seconds });

describe('a token', () => {
  it('is requested if there is none', async () => {
    const { reasons, getToken } = tokens();
    const { world } = await openScene({ token: null, getToken });
    expect(reasons).toEqual(['initial']);
    expect(world.source.query.get('token')).toBe('t1');
  });

  it('that is not available yet is requested again after a while', async () => {
    const getToken = vi.fn().mockRejectedValueOnce(new Error('offline')).mockResolvedValue('later');
    const { world, client, errors } = scene({ token: null, getToken });
    client.connect();
    await settle();
    expect(client.status.state).toBe('waiting');
    expect(errors.map(({ code }) => code)).toEqual(['token']);
    await pass(30_000);
    expect(world.source.query.get('token')).toBe('later');
  });

  it('that does not exist stops the client', async () => {
    const { client } = scene({ token: null, getToken: () => null });
    client.connect();
    await settle();
    expect(client.status.state).toBe('unauthorized');
    client.setToken('one');
    await settle();
    expect(client.status.state).toBe('connecting');
  });
});

describe('a refused token', () => {
  it('is renewed once; if that one is refused, too, the client stops', async () => {
    const { reasons, getToken } = tokens();
    const { world, client } = scene({ transport: 'fetch', getToken });
    client.connect();
    await settle();
    world.request.refused(401);
    await settle();
    expect(world.request.headers.get('Authorization')).toBe('Bearer t1');
    world.request.refused(401);
    await settle();
    expect(reasons).toEqual(['unauthorized']);
    expect(world.requests).toHaveLength(2);
    expect(client.status).toMatchObject({ state: 'unauthorized', error: { code: 'unauthorized', status: 401 } });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('may be renewed again after a stream was open', async () => {
    const { reasons, getToken } = tokens();
    const { world, client } = scene({ transport: 'fetch', getToken });
    client.connect();
    await settle();
    world.request.refused(401);
    await settle();
    world.request.open();
    await settle();
    world.request.end();
    await pass(4_000);
    world.request.refused(401);
    await settle();
    expect(reasons).toEqual(['unauthorized', 'unauthorized']);
    expect(client.status.state).toBe('connecting');
  });

  it('is renewed when possible: a failed `getToken` does not count as a renewal', async () => {
    const getToken = vi.fn().mockRejectedValueOnce(new Error('offline')).mockResolvedValue('two');
    const { world, client } = scene({ transport: 'fetch', getToken });
    client.connect();
    await settle();
    world.request.refused(401);
    await pass(2_000);
    world.request.refused(401);
    await settle();
    expect(world.requests).toHaveLength(3);
    expect(world.request.headers.get('Authorization')).toBe('Bearer two');
  });

  it('is not used again if `getToken` has no other', async () => {
    const { world, client } = scene({ transport: 'fetch', getToken: () => 'one' });
    client.connect();
    await settle();
    world.request.refused(401);
    await settle();
    expect(world.requests).toHaveLength(1);
    expect(client.status.state).toBe('unauthorized');
  });

  it('of an EventSource is detected with fetch, and the next EventSource has the new one', async () => {
    const { getToken } = tokens();
    const { world } = await openScene({ getToken });
    world.source.refused();
    await pass(250);
    world.request.refused(401);
    await settle();
    expect(world.request.url.searchParams.get('token')).toBe('t1');
  });

  it('in a cookie is renewed by the application', async () => {
    const getToken = vi.fn(() => 'done');
    const { world, client } = scene({ auth: 'cookie', transport: 'fetch', getToken });
    client.connect();
    await settle();
    expect(world.request.init.credentials).toBe('include');
    world.request.refused(401);
    await settle();
    expect(getToken).toHaveBeenCalledOnce();
    expect(world.requests).toHaveLength(2);
    world.request.refused(401);
    await settle();
    expect(client.status.state).toBe('unauthorized');
  });
});

describe('a token that expires', () => {
  it('is renewed half a minute before', async () => {
    const { reasons, getToken } = tokens();
    await openScene({ token: expiring(600), getToken });
    await pass(569_000);
    expect(reasons).toEqual([]);
    await pass(1_001);
    expect(reasons).toEqual(['expiring']);
  });

  it('is renewed at two thirds of its life if that is short', async () => {
    const { reasons, getToken } = tokens();
    await openScene({ token: expiring(30), getToken });
    await pass(21_000);
    expect(reasons).toEqual(['expiring']);
  });

  it('does not make the client ask forever on a machine with a wrong clock', async () => {
    const getToken = vi.fn(() => expiring(-3600));
    const { world } = await openScene({ token: expiring(-7200), getToken });
    await pass(20_000);
    world.source.send('heartbeat', {});
    await pass(20_000);
    expect(getToken).not.toHaveBeenCalled();
  });

  it('is requested again while `getToken` fails, and used until it expires', async () => {
    const getToken = vi.fn().mockRejectedValue(new Error('offline'));
    const { client, errors } = await openScene({ token: expiring(30), getToken });
    await pass(30_000);
    expect(getToken.mock.calls.length).toBeGreaterThan(2);
    expect(getToken.mock.calls.length).toBeLessThan(10);
    expect(errors.every(({ code }) => code === 'token')).toBe(true);
    expect(client.status.state).toBe('open');
  });

  it('is renewed when the server says that it has expired', async () => {
    const { reasons, getToken } = tokens();
    const { world } = await openScene({ getToken });
    world.source.send('message', 1, '5-0');
    world.source.ends('token_expired');
    await settle();
    expect(reasons).toEqual(['expired']);
    expect(world.source.query.get('token')).toBe('t1');
    expect(world.source.query.get('last_event_id')).toBe('5-0');
  });

  it('stops a client that cannot get another', async () => {
    const { world, client } = await openScene();
    world.source.ends('token_expired');
    expect(client.status).toMatchObject({ state: 'unauthorized', error: { message: 'The token expired' } });
  });
});

describe('a request for a token', () => {
  const pending = () => {
    const answers: ((token: string) => void)[] = [];
    const getToken = vi.fn(() => new Promise<string>((resolve) => answers.push(resolve)));
    return { answers, getToken };
  };

  it('is sent once, even if there are two reasons for it', async () => {
    const { answers, getToken } = pending();
    const { world } = await openScene({ token: expiring(30), getToken });
    await pass(21_000);
    world.source.ends('token_expired');
    await settle();
    expect(getToken).toHaveBeenCalledExactlyOnceWith({ reason: 'expiring' });
    answers[0]?.('two');
    await settle();
    expect(world.sources).toHaveLength(2);
    expect(world.source.query.get('token')).toBe('two');
  });

  it('is answered by `setToken`, and a later response is ignored', async () => {
    const { answers, getToken } = pending();
    const { world, client } = scene({ transport: 'fetch', token: null, getToken });
    client.connect();
    await settle();
    client.setToken('app');
    answers[0]?.('late');
    await settle();
    expect(world.requests).toHaveLength(1);
    expect(world.request.headers.get('Authorization')).toBe('Bearer app');
  });

  it('that fails after the client was closed is not an error', async () => {
    let fail: (error: Error) => void = () => undefined;
    const getToken = () => new Promise<string>((_, reject) => { fail = reject; });
    const { client, errors } = await openScene({ token: expiring(30), getToken });
    await pass(21_000);
    client.close();
    fail(new Error('offline'));
    await settle();
    expect(errors).toEqual([]);
  });

  it('does not undo a forced log-out or `setToken(null)` with its response', async () => {
    const { answers, getToken } = pending();
    const { world, client, states } = await openScene({ token: expiring(30), getToken });
    await pass(21_000);
    world.source.send('message', { type: 'FORCE_LOGOUT' });
    answers[0]?.('of the session that is over');
    await settle();
    expect(states.at(-1)).toBe('logged-out');
    expect(world.sources).toHaveLength(1);
    client.setToken('of the next');
    await settle();
    expect(world.source.query.get('token')).toBe('of the next');

    const signedOut = scene({ token: null, getToken });
    signedOut.client.connect();
    await settle();
    signedOut.client.setToken(null);
    answers[1]?.('too late');
    await settle();
    signedOut.client.connect();
    await settle();
    expect(getToken).toHaveBeenCalledTimes(3);
  });

  it('after a new token is not merged with an earlier request', async () => {
    const { answers, getToken } = pending();
    const { world, client } = await openScene({ transport: 'eventsource', token: expiring(30), getToken });
    await pass(21_000);
    client.setToken('app');
    world.sources[0]?.refused();
    world.source.open();
    world.source.ends('token_expired');
    await settle();
    expect(getToken.mock.calls).toEqual([[{ reason: 'expiring' }], [{ reason: 'expired' }]]);
    answers[1]?.('three');
    await settle();
    expect(world.source.query.get('token')).toBe('three');
  });
});

describe('a ticket', () => {
  it('is obtained for each connection, so that no URL contains a token', async () => {
    const { world, client } = scene({ auth: 'ticket' });
    client.connect();
    await settle();
    expect(world.request.url.href).toBe('https://api.test/api/v1/auth/sse/ticket/');
    expect(world.request.init.method).toBe('POST');
    expect(world.request.headers.get('Authorization')).toBe('Bearer one');
    world.request.json({ ticket: 'first', expires_in: 30 });
    await settle();
    expect(world.source.url).toBe('https://api.test/api/v1/auth/sse/notifications/?ticket=first');
    world.source.open();
    // The ticket is used up, so the browser must not retry it by itself.
    world.source.breaks();
    expect(world.source.readyState).toBe(2);
    await pass(4_000);
    world.request.json({ ticket: 'second', expires_in: 30 });
    await settle();
    expect(world.source.query.get('ticket')).toBe('second');
  });

  it('that is no longer needed is not awaited, and has no effect', async () => {
    const { world, client } = scene({ auth: 'ticket' });
    client.connect();
    await settle();
    const [first] = world.requests;
    client.reconnect();
    await settle();
    expect(first?.aborted).toBe(true);
    expect(world.requests).toHaveLength(2);
    expect(client.status.state).toBe('connecting');
  });

  it('that arrives too late opens no second stream', async () => {
    const answers: ((answer: Response) => void)[] = [];
    const world = new World();
    const fetch = () => new Promise<Response>((resolve) => answers.push(resolve));
    const { client } = scene({ auth: 'ticket', environment: { ...world.environment, fetch } }, world);
    client.connect();
    await settle();
    client.reconnect();
    await settle();
    answers[1]?.(Response.json({ ticket: 'second' }));
    answers[0]?.(Response.json({ ticket: 'first' }));
    await settle();
    expect(world.sources.map(({ query }) => query.get('ticket'))).toEqual(['second']);
  });

  it('that is refused counts like a refused stream', async () => {
    const { world, client } = scene({ auth: 'ticket' });
    client.connect();
    await settle();
    world.request.refused(503, { 'Retry-After': '9' });
    await settle();
    expect(client.status).toMatchObject({ state: 'waiting', until: Date.now() + 11_000 });
    await pass(11_000);
    world.request.refused(401);
    await settle();
    expect(client.status.state).toBe('unauthorized');
    expect(world.sources).toHaveLength(0);
  });
});
