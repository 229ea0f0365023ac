// What is particular to WebSocket: close codes, messages in place of blocks, and the server's own retry time.

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket, type RawData } from 'ws';
import { closeAll, connect as connectTo, newUser, soon } from '../support/connect.js';
import { Line } from '../support/line.js';
import { Server } from '../support/server.js';
import { Browser } from '../support/tabs.js';
import type { ClientOptions } from '../../src/index.js';

let server: Server;

beforeAll(async () => {
  server = await Server.start('heartbeat = "1s"');
  return async () => {
    closeAll();
    await server.stop();
  };
});
afterAll(closeAll);

/** Keeps what came and how each connection ended. */
function recorder() {
  const urls: URL[] = [];
  const received: { id?: string; event: string; data: unknown }[] = [];
  const closed: [number, string][] = [];
  const pings: string[] = [];
  class Recorded extends WebSocket {
    constructor(url: string) {
      super(url);
      urls.push(new URL(url));
      this.on('message', (data: RawData) => {
        received.push(JSON.parse((data as Buffer).toString()) as (typeof received)[number]);
      });
      this.on('ping', (payload) => pings.push(payload.toString()));
      this.on('close', (code, reason) => closed.push([code, reason.toString()]));
    }
  }
  return { urls, received, closed, pings, WebSocket: Recorded };
}

function connect(options: Partial<ClientOptions>, to = server) {
  const wire = recorder();
  const environment = { WebSocket: wire.WebSocket, ...options.environment };
  return { ...connectTo(to, { transport: 'websocket', ...options, environment }), ...wire };
}

describe.concurrent('over WebSocket', () => {
  it('after the server has ended the connection, the client comes back when its first message said', async () => {
    const user = newUser();
    // The clock stands still, so that the end of the wait is known exactly.
    const { client, open, received, closed } = connect({ token: server.token(user), environment: { now: () => 1_000_000 } });
    const waits: (number | null)[] = [];
    client.on('status', ({ state, until }) => { if (state === 'waiting') waits.push(until); });
    await open();
    await server.disconnect(user);
    await soon(() => { expect(waits).toHaveLength(1); });
    expect(closed[0]).toEqual([1001, 'Disconnected']);
    const { retry } = received[0]?.data as { retry: number };
    expect(received[0]?.event).toBe('open');
    expect(retry).toBeGreaterThanOrEqual(100);
    expect(waits).toEqual([1_000_000 + retry]);
    await open();
  });

  it('a heartbeat moves the position on, and a cut goes on from there', async ({ onTestFinished }) => {
    const [user, other] = [newUser(), newUser()];
    const line = await Line.to(server.stream);
    onTestFinished(() => { line.close(); });
    const { client, open, data, urls } = connect({ url: line.url(server.stream), token: server.token(user) });
    const beats: (string | null)[] = [];
    client.on('heartbeat', ({ id }) => beats.push(id));
    await open();
    const first = client.lastEventId;
    expect(first).toMatch(/^\d+-\d+$/);
    // Somebody else's event moves the log on, not this client.
    await server.publish(other, 'not yours');
    await soon(() => { expect(client.lastEventId).not.toBe(first); });
    expect(beats.at(-1)).toBe(client.lastEventId);
    const position = client.lastEventId;
    line.cut();
    await server.publish(user, 'yours');
    await soon(() => { expect(data()).toEqual(['yours']); });
    const resumed = urls[1]?.searchParams.get('last_event_id') ?? '';
    // Another test's event may have moved it on since.
    expect([position, ...beats]).toContain(resumed);
    expect(resumed).not.toBe(first);
  });

  it('an idle client stays: a heartbeat is a ping for its side and a message for its code', async () => {
    const user = newUser();
    const { client, open, states, pings } = connect({ token: server.token(user) });
    let beats = 0;
    client.on('heartbeat', () => { beats += 1; });
    await open();
    // The first is the position that the stream begins with.
    await soon(() => { expect(beats).toBeGreaterThan(4); });
    expect(pings.length).toBeGreaterThanOrEqual(4);
    expect(new Set(pings)).toEqual(new Set(['']));
    expect(states).toEqual(['connecting', 'open']);
  });

  it('a place that the server does not know is reported as a gap, once', async () => {
    const user = newUser();
    await server.publish(user, 'kept');
    const { client, open, data, urls } = connect({ token: server.token(user), lastEventId: '1-1' });
    const gaps: unknown[] = [];
    client.on('replay-gap', (gap) => gaps.push(gap));
    await soon(() => { expect(data()).toEqual(['kept']); });
    await server.disconnect(user);
    await soon(() => { expect(urls).toHaveLength(2); });
    await open();
    await server.publish(user, 'new');
    await soon(() => { expect(data()).toEqual(['kept', 'new']); });
    expect(gaps).toEqual([{ lastEventId: '1-1', oldest: expect.stringMatching(/^\d+-\d+$/) as string }]);
  });

  it('the close codes of refusals: a bad token, a topic that is not allowed, one that is not valid', async () => {
    const user = newUser();
    const getToken = vi.fn(() => 'worse');
    const bad = connect({ token: 'bad', getToken });
    await soon(() => { expect(bad.client.status.state).toBe('unauthorized'); });
    expect(bad.closed).toEqual([[4001, 'Authentication required'], [4001, 'Authentication required']]);
    expect(getToken).toHaveBeenCalledOnce();
    const topic = connect({ token: server.token(user), topics: ['of/others'] });
    await soon(() => { expect(topic.client.status).toMatchObject({ state: 'forbidden', error: { status: 403 } }); });
    expect(topic.closed).toEqual([[4004, 'Topic not allowed']]);
    const invalid = connect({ token: server.token(user), topics: ['a//b'] });
    await soon(() => { expect(invalid.client.status).toMatchObject({ state: 'failed', error: { status: 400 } }); });
    expect(invalid.closed[0]?.[0]).toBe(1008);
  });

  it('the close codes of ends: expired, logged out', async () => {
    const user = newUser();
    // It has to be connected before it expires, however slow the machine is.
    const expiring = connect({ token: server.token(user, 10) });
    await soon(() => { expect(expiring.client.status.state).toBe('unauthorized'); });
    expect(expiring.closed).toEqual([[4001, 'Token expired']]);
    expect(expiring.received.at(-1)).toEqual({ event: 'token_expired', data: {} });
    const second = connect({ token: server.token(user) });
    await second.open();
    await server.logout(user, 'bye');
    await soon(() => { expect(second.closed).toEqual([[4003, 'Logged out']]); });
    expect(second.client.status.state).toBe('logged-out');
  });

  it('the oldest of too many connections is evicted, and does not come back', async ({ onTestFinished }) => {
    const own = await Server.start('max_connections_per_user = 2\non_limit = "evict_oldest"');
    onTestFinished(() => own.stop());
    const token = own.token('1');
    const oldest = connect({ token }, own);
    await oldest.open();
    for (let n = 0; n < 2; n += 1) await connect({ token }, own).open();
    await soon(() => { expect(oldest.client.status.state).toBe('evicted'); });
    expect(oldest.closed).toEqual([[4029, 'Evicted']]);
    expect(oldest.urls).toHaveLength(1);
  });

  it('a full server is waited for, longer each time', async ({ onTestFinished }) => {
    const own = await Server.start('max_connections = 1');
    onTestFinished(() => own.stop());
    const first = connect({ token: own.token('1') }, own);
    await first.open();
    // Waits are drawn from a range that doubles, up to 30 s; its end is taken here.
    let random = 1;
    const second = connect({
      token: own.token('2'),
      // Time runs a hundred times as fast; nothing else that has a limit should notice.
      connectTimeout: 6_000_000,
      heartbeatTimeout: 0,
      environment: { now: () => 0, random: () => random, setTimeout: (callback, ms) => setTimeout(callback, ms / 100) },
    }, own);
    const waits: number[] = [];
    second.client.on('status', ({ state, until }) => {
      if (state === 'waiting' && until !== null) waits.push(until);
    });
    await soon(() => { expect(waits.length).toBeGreaterThanOrEqual(4); });
    expect(second.closed[0]).toEqual([1013, 'Server full']);
    expect(waits.slice(0, 4)).toEqual([4_000, 8_000, 16_000, 30_000]);
    expect(second.client.status).toMatchObject({ error: { code: 'unavailable', status: 503 } });
    random = 0;
    first.client.close();
    await second.open();
  });

  it('tabs share one connection, and another tab goes on when the first closes', async () => {
    const user = newUser();
    const token = server.token(user);
    const browser = new Browser();
    const tabs = Array.from({ length: 3 }, () => {
      const { environment } = browser.tab();
      return connect({ token, share: true, environment });
    });
    for (const { open } of tabs) await open();
    expect(await server.connections(user)).toBe(1);
    await server.publish(user, 1);
    for (const { data } of tabs) await soon(() => { expect(data()).toEqual([1]); });
    const leader = tabs.find(({ client }) => client.status.leader);
    const rest = tabs.filter((tab) => tab !== leader);
    expect(rest).toHaveLength(2);
    leader?.client.close();
    await server.publish(user, 2);
    for (const { data } of rest) await soon(() => { expect(data()).toEqual([1, 2]); });
    await soon(async () => { expect(await server.connections(user)).toBe(1); });
    expect(tabs.flatMap(({ urls }) => urls)).toHaveLength(2);
  });
});
