// The client with the real server, over real sockets.

import { EventSource } from 'eventsource';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { closeAll, connect, newUser, soon, TRANSPORTS } from '../support/connect.js';
import { Server } from '../support/server.js';

let server: Server;

beforeAll(async () => {
  server = await Server.start();
  return async () => {
    closeAll();
    await server.stop();
  };
});

describe.concurrent.each(TRANSPORTS)('with %s', (_name, options) => {
  it('the client receives published events', async () => {
    const user = newUser();
    const { client, open, messages } = connect(server, { ...options, token: server.token(user) });
    const orders: unknown[] = [];
    client.on('order', (order) => orders.push(order.data));
    await open();
    await server.publish(user, { type: 'greeting', text: 'Grüße 😀\nzwei' });
    await server.publish(user, 7, 'order');
    await soon(() => { expect(orders).toEqual([7]); });
    expect(messages.map(({ data }) => data)).toEqual([{ type: 'greeting', text: 'Grüße 😀\nzwei' }]);
    expect(messages[0]?.id).toMatch(/^\d+-\d+$/);
  });

  it('a forced log-out stops the client for good', async () => {
    const user = newUser();
    const { client, open } = connect(server, { ...options, token: server.token(user) });
    const told: unknown[] = [];
    client.on('force-logout', (logout) => told.push(logout));
    await open();
    await server.logout(user, 'bye');
    await soon(() => { expect(told).toEqual([{ message: 'bye', reason: 'test' }]); });
    expect(client.status.state).toBe('logged-out');
    await soon(async () => { expect(await server.connections(user)).toBe(0); });
  });

  it('a sixth stream is refused with Retry-After, waits, and opens when there is room', async () => {
    const user = newUser();
    const token = server.token(user);
    const five = Array.from({ length: 5 }, () => connect(server, { ...options, token }));
    for (const { open } of five) await open();
    const before = Date.now();
    const sixth = connect(server, { ...options, token });
    await soon(() => { expect(sixth.client.status).toMatchObject({ state: 'waiting', error: { code: 'too-many-connections' } }); });
    expect(sixth.client.status.error).toMatchObject({ status: 429, message: 'The server answered 429 (Too many connections)' });
    expect(sixth.client.status.until).toBeGreaterThanOrEqual(before + 1_000);
    five[0]?.client.close();
    await sixth.open();
  });

  it('a refused token is renewed', async () => {
    const user = newUser();
    const getToken = vi.fn(() => server.token(user));
    const { open, data } = connect(server, { ...options, token: 'not-a-token', getToken });
    await open();
    expect(getToken).toHaveBeenCalledExactlyOnceWith({ reason: 'unauthorized' });
    await server.publish(user, 1);
    await soon(() => { expect(data()).toEqual([1]); });
  });

  it('a token that stays refused stops the client', async () => {
    const { client } = connect(server, { ...options, token: 'bad', getToken: () => 'worse' });
    await soon(() => { expect(client.status.state).toBe('unauthorized'); });
  });

  it('changes to a new token before the old one expires, without losing or repeating an event', async () => {
    const user = newUser();
    const getToken = vi.fn(() => server.token(user));
    // By the client's clock, the token has six seconds left; by the server's, a minute. However slow the machine is, the
    // old token is valid until the new one has taken over.
    const environment = { now: () => Date.now() + 54_000 };
    const { open, data, states } = connect(server, { ...options, environment, token: server.token(user, 60), getToken });
    await open();
    const published: number[] = [];
    while (getToken.mock.calls.length === 0 || published.length < 40) {
      published.push(published.length);
      await server.publish(user, published.length - 1);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await soon(() => { expect(data().length).toBe(published.length); });
    expect(data()).toEqual(published);
    expect(getToken).toHaveBeenCalledExactlyOnceWith({ reason: 'expiring' });
    expect(states).toEqual(['connecting', 'open']);
    await soon(async () => { expect(await server.connections(user)).toBe(1); });
  });

  it('learns that its token has expired, and asks for another', async () => {
    const user = newUser();
    const reasons: string[] = [];
    const getToken = ({ reason }: { reason: string }) => {
      reasons.push(reason);
      if (reason === 'expired') return server.token(user);
      // Made when needed, and again if it was too late: the stream has to be open when the token expires.
      return reason === 'expiring' ? null : server.token(user, 6);
    };
    const { client } = connect(server, { ...options, getToken });
    await soon(() => { expect(reasons).toContain('expired'); });
    await soon(() => { expect(client.status).toMatchObject({ state: 'open', error: null }); });
  });
});

describe.concurrent('a login', () => {
  it('returns a working token, and logs the previous device out', async () => {
    const first = connect(server, { token: await server.login() });
    await first.open();
    const second = connect(server, { token: await server.login() });
    await second.open();
    await soon(() => { expect(first.client.status.state).toBe('logged-out'); });
    await server.publish('1', 'hello');
    await soon(() => { expect(second.data()).toEqual(['hello']); });
  });
});

describe.concurrent('a cookie', () => {
  it('is accepted as a credential', async () => {
    const user = newUser();
    const cookie = `access_token=${server.token(user)}`;
    // Node's fetch has no cookie jar; this is one.
    const jar: typeof fetch = (input, init) => {
      expect(init?.credentials).toBe('include');
      return fetch(input, { ...init, headers: { ...(init?.headers as Record<string, string>), Cookie: cookie } });
    };
    const { open, data } = connect(server, { transport: 'fetch', auth: 'cookie', environment: { fetch: jar } });
    await open();
    await server.publish(user, 1);
    await soon(() => { expect(data()).toEqual([1]); });
  });
});

describe.concurrent('the test stream', () => {
  it('needs no token', async () => {
    const { data } = connect(server, { url: `${server.base}/sse/test/` });
    await soon(() => { expect(data()[0]).toMatch(/^Test message 0 at \d\d:\d\d:\d\d$/); });
  });
});

describe.concurrent('a place in the stream', () => {
  it('that the server does not know causes a gap, followed by the events that the server has', async () => {
    const user = newUser();
    await server.publish(user, 'kept');
    const { client, data } = connect(server, { token: server.token(user), lastEventId: '1-1' });
    const gaps: unknown[] = [];
    client.on('replay-gap', (gap) => gaps.push(gap));
    await soon(() => { expect(data()).toEqual(['kept']); });
    expect(gaps).toEqual([{ lastEventId: '1-1', oldest: expect.stringMatching(/^\d+-\d+$/) as string }]);
  });
});

describe.concurrent('an address that the server does not know', () => {
  it('stops the client with a clear error', async () => {
    const { client } = connect(server, { url: `${server.base}/sse/nothing/`, EventSource });
    await soon(() => { expect(client.status).toMatchObject({ state: 'failed', error: { code: 'refused', status: 404 } }); });
  });
});
