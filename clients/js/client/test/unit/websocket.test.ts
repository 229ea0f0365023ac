// The client with a small server that implements the WebSocket part of the contract.

import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { IdlewildClient, type ClientOptions, type StreamMessage } from '../../src/index.js';

let server: WebSocketServer;
let client: IdlewildClient | null = null;
const sockets: { socket: WebSocket; url: string }[] = [];
const soon = (check: () => void) => vi.waitFor(check, { timeout: 10_000, interval: 10 });

beforeEach(async () => {
  sockets.length = 0;
  server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  server.on('connection', (socket, { url }) => sockets.push({ socket, url: url ?? '' }));
  await new Promise((resolve) => server.once('listening', resolve));
});
afterEach(() => {
  client?.close();
  for (const { socket } of sockets) socket.terminate();
  server.close();
});

function connect(options: Partial<ClientOptions> = {}) {
  const { port } = server.address() as AddressInfo;
  const created = new IdlewildClient({
    url: `http://127.0.0.1:${port}/api/v1/auth/sse/notifications/`,
    transport: 'websocket',
    token: 'one',
    // Half of the default retry is too long for a test.
    environment: { WebSocket, random: () => 0.01 },
    ...options,
  });
  client = created;
  const messages: StreamMessage[] = [];
  created.on('message', (message) => messages.push(message));
  created.connect();
  return { client: created, messages };
}

/** The connection with this number. */
function accepted(count = 1): Promise<WebSocket> {
  return vi.waitFor(() => {
    const { socket } = sockets[count - 1] ?? {};
    if (socket === undefined) throw new Error(`${sockets.length} connections so far`);
    return socket;
  }, { timeout: 10_000, interval: 10 });
}

const send = (socket: WebSocket, id: string | null, event: string, data: unknown) => {
  socket.send(JSON.stringify({ id, event, data }));
};

describe('over WebSocket', () => {
  it('events arrive as JSON messages, at the URL of the contract', async () => {
    const { client, messages } = connect();
    const orders: unknown[] = [];
    client.on('order', ({ data, raw }) => orders.push([data, raw]));
    const socket = await accepted();
    expect(sockets[0]?.url).toBe('/api/v1/auth/ws/notifications/?token=one');
    socket.send('not JSON');
    send(socket, '5-0', 'message', { a: 1 });
    send(socket, null, 'order', 'text');
    await soon(() => { expect(orders).toEqual([['text', 'text']]); });
    expect(messages).toEqual([{ event: 'message', data: { a: 1 }, raw: '{"a":1}', id: '5-0' }]);
    expect(client.status).toMatchObject({ state: 'open', transport: 'websocket' });
  });

  it('a handshake alone does not open the stream: a refusal follows it', async () => {
    const getToken = vi.fn(() => 'two');
    const { client } = connect({ getToken });
    const states: string[] = [];
    client.on('status', ({ state }) => states.push(state));
    (await accepted()).close(4001);
    const second = await accepted(2);
    expect(sockets[1]?.url).toContain('token=two');
    second.close(4001);
    await soon(() => { expect(client.status.state).toBe('unauthorized'); });
    expect(states).not.toContain('open');
    expect(getToken).toHaveBeenCalledOnce();
  });

  it('a drain is followed by a new connection, from the last id', async () => {
    const { messages } = connect();
    const socket = await accepted();
    send(socket, '5-0', 'message', 1);
    await soon(() => { expect(messages).toHaveLength(1); });
    socket.close(1001);
    await accepted(2);
    expect(sockets[1]?.url).toContain('last_event_id=5-0');
  });

  it('it resumes from the position of the first message or of a heartbeat; neither is a message', async () => {
    const beats: (string | null)[] = [];
    const { client, messages } = connect();
    client.on('heartbeat', ({ id }) => beats.push(id));
    const socket = await accepted();
    send(socket, '7-0', 'open', { retry: 110 });
    socket.close(1001);
    const second = await accepted(2);
    expect(sockets[1]?.url).toContain('last_event_id=7-0');
    send(second, '7-0', 'open', { retry: 110 });
    send(second, '9-0', 'heartbeat', {});
    await soon(() => { expect(client.lastEventId).toBe('9-0'); });
    client.setToken('two');
    const third = await accepted(3);
    expect(sockets[2]?.url).toMatch(/token=two.*last_event_id=9-0/);
    send(third, '9-0', 'open', { retry: 110 });
    await soon(() => { expect(second.readyState).toBe(WebSocket.CLOSED); });
    third.close(1001);
    await accepted(4);
    expect(sockets[3]?.url).toContain('last_event_id=9-0');
    expect(messages).toEqual([]);
    expect(beats.slice(0, 3)).toEqual(['7-0', '7-0', '9-0']);
  });

  it('the same with tickets, a new one for each connection', async () => {
    let tickets = 0;
    const fetch = () => Promise.resolve(Response.json({ ticket: `ticket-${(tickets += 1)}`, expires_in: 30 }));
    connect({ auth: 'ticket', environment: { WebSocket, random: () => 0.01, fetch } });
    const socket = await accepted();
    send(socket, '7-0', 'open', { retry: 110 });
    socket.close(1001);
    await accepted(2);
    expect(sockets[1]?.url).toMatch(/ticket=ticket-2.*last_event_id=7-0/);
  });

  it('an application event called `evicted` stops nothing; followed by its close code it does', async () => {
    // With a stopped clock, the end follows the event immediately, however slow the machine is.
    const { client } = connect({ environment: { WebSocket, random: () => 0.01, now: () => 1_000 } });
    const socket = await accepted();
    send(socket, '5-0', 'evicted', { seat: 7 });
    send(socket, '6-0', 'message', 1);
    await soon(() => { expect(client.lastEventId).toBe('6-0'); });
    expect(client.status.state).toBe('open');
    send(socket, null, 'evicted', {});
    socket.close(4029);
    await soon(() => { expect(client.status.state).toBe('evicted'); });
  });

  it('a topic that is not allowed stops it', async () => {
    const { client } = connect();
    (await accepted()).close(4004);
    await soon(() => { expect(client.status).toMatchObject({ state: 'forbidden', error: { status: 403 } }); });
  });

  it('the end of a replaced connection has no effect', async () => {
    const { client } = connect();
    const socket = await accepted();
    client.reconnect();
    await accepted(2);
    await soon(() => { expect(socket.readyState).toBe(WebSocket.CLOSED); });
    await soon(() => { expect(client.status.state).toBe('open'); });
    expect(sockets).toHaveLength(2);
  });

  it('after too many connections, it waits and tries again', async () => {
    const { client } = connect();
    (await accepted()).close(4029);
    await soon(() => { expect(client.status).toMatchObject({ state: 'waiting', error: { code: 'too-many-connections' } }); });
    await accepted(2);
  });

  it('a forced log-out is reported once, with its message or the code alone', async () => {
    const told: unknown[] = [];
    const first = connect();
    first.client.on('force-logout', (logout) => told.push(logout));
    const socket = await accepted();
    send(socket, '6-0', 'message', { type: 'FORCE_LOGOUT', data: { message: 'bye', reason: 'r' } });
    socket.close(4003);
    await soon(() => { expect(first.client.status.state).toBe('logged-out'); });
    const second = connect();
    second.client.on('force-logout', (logout) => told.push(logout));
    (await accepted(2)).close(4003);
    await soon(() => { expect(second.client.status.state).toBe('logged-out'); });
    expect(told).toEqual([{ message: 'bye', reason: 'r' }, { message: '', reason: '' }]);
  });
});
